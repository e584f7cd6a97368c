//! Other programs: started with what they need through pipes and memory files, never through arguments or variables that
//! others on the machine can read.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

/// How long a program may take that does something small.
pub const SHORT: Duration = Duration::from_secs(600);
/// How long a program may take that works through everything there is.
pub const LONG: Duration = Duration::from_secs(6 * 3600);
/// The most that is kept of what a program says of its errors.
const WORDS: usize = 16 << 10;

/// Between opening a memory file to one child and closing it again, no other child may be started.
static SPAWNING: Mutex<()> = Mutex::new(());

/// Who a program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// The owner of a file or folder.
    ///
    /// # Errors
    /// When it is not there.
    pub fn owner(path: &Path) -> Result<Self> {
        let metadata =
            std::fs::metadata(path).with_context(|| format!("can't look at {}", path.display()))?;
        Ok(Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }

    /// The account of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self> {
        let users = std::fs::read_to_string("/etc/passwd").context("can't read /etc/passwd")?;
        users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))
            .and_then(|fields| {
                Some(Self {
                    uid: fields.get(2)?.parse().ok()?,
                    gid: fields.get(3)?.parse().ok()?,
                })
            })
            .with_context(|| format!("there is no account {name}: run `hadadactl install` again"))
    }

    /// Gives a file or folder to it, where this process may.
    ///
    /// # Errors
    /// When it can't be given.
    pub fn own(self, path: &Path) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            chown(path, Some(self.uid), Some(self.gid)).with_context(|| {
                format!("can't give {} to the account {}", path.display(), self.uid)
            })?;
        }
        Ok(())
    }
}

/// A program about to be started. Of this process's environment it gets only what it needs to find things.
pub struct Program {
    name: String,
    command: Command,
    held: Vec<OwnedFd>,
}

impl Program {
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let path = path.as_ref();
        let mut command = Command::new(path);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8")
            .env("HOME", "/nonexistent")
            .env("TZ", "UTC")
            .env("PGTZ", "UTC")
            .env("PGAPPNAME", "hadadactl")
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some(folder) = std::env::var_os("TMPDIR") {
            command.env("TMPDIR", folder);
        }
        let name = Path::new(path)
            .file_name()
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned();
        Self {
            name,
            command,
            held: Vec::new(),
        }
    }

    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Hands over content as a file that is in memory only and that no other program sees; `option` is followed by its path.
    ///
    /// # Errors
    /// When this machine gives no memory file.
    pub fn with_file(mut self, option: &str, content: &[u8]) -> Result<Self> {
        let fd = rustix::fs::memfd_create("hadada", MemfdFlags::CLOEXEC)
            .context("this machine gives no memory file")?;
        let mut file = std::fs::File::from(fd);
        file.write_all(content).context("writing a memory file")?;
        let fd = OwnedFd::from(file);
        self.command
            .arg(option)
            .arg(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        self.held.push(fd);
        Ok(self)
    }

    /// As which account it runs. Only root can give it another than its own.
    #[must_use]
    pub fn run_as(mut self, account: Option<Account>) -> Self {
        if let Some(account) = account
            && rustix::process::geteuid().is_root()
        {
            self.command.uid(account.uid).gid(account.gid);
        }
        self
    }

    #[must_use]
    pub fn set(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(mut self) -> Result<Running> {
        self.command.stderr(Stdio::piped());
        let _alone = SPAWNING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for fd in &self.held {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).context("sharing a memory file")?;
        }
        let started = self.command.spawn();
        for fd in &self.held {
            rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).context("closing a memory file")?;
        }
        let mut child = started.with_context(|| {
            format!(
                "{} can't be started: is its Debian package installed?",
                self.name
            )
        })?;
        let words = child.stderr.take().map(listen);
        Ok(Running {
            name: self.name,
            child,
            words,
        })
    }

    /// Starts it so that the person hears it directly.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_telling(mut self) -> Result<Child> {
        self.command
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("{} can't be started", self.name))
    }

    /// Runs it to its end and returns what it wrote.
    ///
    /// # Errors
    /// When it can't be started, does not end in time or ends badly; the error says what it said.
    pub fn output(self, patience: Duration) -> Result<Vec<u8>> {
        self.ask(&[], patience)
    }

    /// Runs it to its end with this input, and returns what it wrote.
    ///
    /// # Errors
    /// As [`Program::output`].
    pub fn ask(mut self, input: &[u8], patience: Duration) -> Result<Vec<u8>> {
        self.command.stdout(Stdio::piped());
        if !input.is_empty() {
            self.command.stdin(Stdio::piped());
        }
        let mut running = self.spawn()?;
        let out = running.child.stdout.take().map(read_all);
        let guard = Guard::start(&[&running], None, patience);
        if let Some(mut pipe) = running.child.stdin.take() {
            // What it makes of half an input, it says itself.
            let _ = pipe.write_all(input);
        }
        let ended = running.finish();
        guard.end()?;
        let out = out.map(join).unwrap_or_default();
        ended?;
        Ok(out)
    }
}

/// A program that runs.
pub struct Running {
    name: String,
    pub child: Child,
    words: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it ended badly; the error says what it said.
    pub fn finish(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().context("waiting for a program")?;
        let words = self.words.take().map(join).unwrap_or_default();
        judge(&self.name, status, &words)
    }

    /// Waits for its end, but not for what it started and left running with its pipes.
    ///
    /// # Errors
    /// When it ended badly.
    pub fn finish_detached(mut self) -> Result<()> {
        let status = self.child.wait().context("waiting for a program")?;
        judge(&self.name, status, &[])
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it whatever it does, first with the chance to tidy up.
    fn end(mut self) {
        self.signal(Signal::INT);
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn judge(name: &str, status: ExitStatus, words: &[u8]) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(words);
    let words = words.trim();
    if words.is_empty() {
        bail!("{name} ended with {status}");
    }
    bail!("{name}: {words}");
}

fn join(reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        // Half an answer is judged by the program's exit status.
        let _ = pipe.read_to_end(&mut all);
        all
    })
}

/// Keeps the last of what a program says.
fn listen(mut pipe: ChildStderr) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut words = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            words.extend_from_slice(&buffer[..length]);
            if words.len() > 2 * WORDS {
                words.drain(..words.len() - WORDS);
            }
        }
        words
    })
}

/// Ends programs that make no progress.
struct Guard {
    done: Arc<AtomicBool>,
    late: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    patience: Duration,
}

impl Guard {
    /// Without `moved`, the whole run is limited; with it, the time in which it does not change.
    fn start(programs: &[&Running], moved: Option<Arc<AtomicU64>>, patience: Duration) -> Self {
        let pids: Vec<_> = programs
            .iter()
            .filter_map(|running| {
                i32::try_from(running.child.id())
                    .ok()
                    .and_then(Pid::from_raw)
            })
            .collect();
        let done = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicBool::new(false));
        let (ended, gave_up) = (Arc::clone(&done), Arc::clone(&late));
        let thread = thread::spawn(move || {
            let mut before = 0;
            let mut since = Instant::now();
            while !ended.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(200));
                let now = moved
                    .as_ref()
                    .map_or(0, |moved| moved.load(Ordering::Acquire));
                if now != before {
                    before = now;
                    since = Instant::now();
                }
                if since.elapsed() > patience && !ended.load(Ordering::Acquire) {
                    gave_up.store(true, Ordering::Release);
                    for pid in &pids {
                        let _ = kill_process(*pid, Signal::KILL);
                    }
                    return;
                }
            }
        });
        Self {
            done,
            late,
            thread,
            patience,
        }
    }

    fn end(self) -> Result<()> {
        self.done.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let _ = self.thread.join();
        if self.late.load(Ordering::Acquire) {
            bail!(
                "no progress for {} seconds: it was stopped. The disk or the network to the target is too slow, or hangs",
                self.patience.as_secs()
            );
        }
        Ok(())
    }
}

/// What flowed from one program to another.
pub struct Poured {
    pub bytes: u64,
    pub sha256: [u8; 32],
    /// Its first bytes.
    pub head: Vec<u8>,
    /// What the taker wrote.
    pub answer: Vec<u8>,
}

/// Pours what one program makes into another. The taker sees an end only when the maker ended well: a stream cut short is
/// never taken for a whole one. Both are stopped where nothing moves for `patience`.
///
/// # Errors
/// When either ends badly, or nothing moves.
pub fn pour(
    maker: Program,
    taker: Program,
    patience: Duration,
    progress: &mut dyn FnMut(u64),
) -> Result<Poured> {
    let mut taker = taker
        .set(|command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        })
        .spawn()?;
    let mut maker = match maker
        .set(|command| {
            command.stdout(Stdio::piped());
        })
        .spawn()
    {
        Ok(maker) => maker,
        Err(error) => {
            taker.end();
            return Err(error);
        }
    };
    let answer = taker.child.stdout.take().map(read_all);
    let (Some(mut from), Some(mut into)) = (maker.child.stdout.take(), taker.child.stdin.take())
    else {
        bail!("a pipe is missing");
    };
    let moved = Arc::new(AtomicU64::new(0));
    let guard = Guard::start(&[&maker, &taker], Some(Arc::clone(&moved)), patience);
    let mut hash = Sha256::new();
    let mut head = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    let mut taken = true;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        hash.update(&buffer[..length]);
        if head.len() < 4096 {
            head.extend_from_slice(&buffer[..length.min(4096)]);
        }
        if into.write_all(&buffer[..length]).is_err() {
            taken = false;
            break;
        }
        bytes += length as u64;
        moved.store(bytes, Ordering::Release);
        progress(bytes);
    }
    if !taken {
        maker.end();
        let said = taker.finish();
        guard.end()?;
        said?;
        bail!("the target stopped taking the backup");
    }
    drop(from);
    if let Err(error) = maker.finish() {
        // With its input still open, so that it can't take this for the end.
        taker.end();
        drop(into);
        guard.end()?;
        return Err(error);
    }
    drop(into);
    let said = taker.finish();
    guard.end()?;
    said?;
    Ok(Poured {
        bytes,
        sha256: hash.finalize().into(),
        head,
        answer: answer.map(join).unwrap_or_default(),
    })
}
