//! A running daemon, and a small HTTP client for its socket.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where the programs under test are.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("HADADA_BIN_DIR").map_or_else(
        || {
            std::env::current_exe()
                .unwrap()
                .parent()
                .unwrap()
                .parent()
                .unwrap()
                .to_owned()
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: build it first (cargo build -p hadada-inference)",
        path.display()
    );
    path
}

/// Where the models are.
pub fn models() -> PathBuf {
    let folder = std::env::var_os("HADADA_MODELS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/hadada/models"),
        PathBuf::from,
    );
    assert!(
        folder.join("smollm2-135m-instruct-q4_1.gguf").exists(),
        "the models are missing in {}: run provisioning/models",
        folder.display()
    );
    folder
}

/// The model that writes.
pub fn writing_model() -> PathBuf {
    models().join("smollm2-135m-instruct-q4_1.gguf")
}

/// A daemon of one test's own; it ends with it.
pub struct Daemon {
    pub folder: PathBuf,
    pub child: Child,
}

impl Daemon {
    /// A daemon with both models, ready.
    pub fn ready() -> Daemon {
        Daemon::ready_with(&[])
    }

    /// The same with more flags.
    pub fn ready_with(flags: &[&str]) -> Daemon {
        let daemon = Daemon::start(
            Command::new(program("hadada-inference")),
            &writing_model(),
            flags,
        );
        daemon.wait_until("ready", Duration::from_secs(60));
        daemon
    }

    /// Starts a daemon by a command that ends in the program's name, and waits for its socket only.
    pub fn start(mut command: Command, model: &Path, flags: &[&str]) -> Daemon {
        command
            .arg("--model")
            .arg(model)
            .arg("--embedding-model")
            .arg(models().join("minilm-l6-v2"));
        Daemon::start_bare(command, flags)
    }

    /// The same without models.
    pub fn start_bare(mut command: Command, flags: &[&str]) -> Daemon {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!(
            "hadada-inference-test-{}-{number}",
            std::process::id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let child = command
            .arg("--socket")
            .arg(folder.join("socket"))
            .arg("--threads")
            .arg(std::env::var_os("HADADA_TEST_THREADS").unwrap_or_else(|| "2".into()))
            .args(flags)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Daemon { folder, child };
        wait_for("the socket", Duration::from_secs(20), || {
            UnixStream::connect(daemon.socket()).ok()
        });
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, body.to_string().as_bytes())
    }

    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.send_with(method, path, &[], body)
    }

    pub fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut stream = self.connect();
        request(&mut stream, method, path, headers, body);
        Reply::read(stream)
    }

    /// Begins a stream; events come one by one.
    pub fn events(&self, path: &str, body: &Value) -> Events {
        let mut stream = self.connect();
        request(&mut stream, "POST", path, &[], body.to_string().as_bytes());
        let mut from = BufReader::new(stream);
        let (status, _) = head(&mut from);
        assert_eq!(status, 200);
        Events {
            from: BufReader::new(Chunked {
                from,
                left: 0,
                done: false,
            }),
        }
    }

    pub fn health(&self) -> Value {
        self.get("/health").json()
    }

    pub fn wait_until(&self, state: &str, limit: Duration) -> Value {
        wait_for(&format!("the state '{state}'"), limit, || {
            Some(self.health()).filter(|h| h["state"] == state)
        })
    }

    pub fn worker(&self) -> u32 {
        self.health()["worker_pid"].as_u64().unwrap() as u32
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}",
                std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Sends a signal to a process.
pub fn signal(name: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Whether a process runs.
pub fn alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty()
        && !state
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
}

/// Asks again and again until there is an answer.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn request(
    stream: &mut UnixStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses a body may close before it has read it all.
    let _ = stream.write_all(body);
}

fn head(from: &mut impl BufRead) -> (u16, Vec<String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let status = lines
        .first()
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|s| s.parse().ok())
        .expect("a status line");
    (status, lines)
}

/// A whole response.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: String,
}

impl Reply {
    fn read(stream: UnixStream) -> Reply {
        let mut from = BufReader::new(stream);
        let (status, headers) = head(&mut from);
        let mut body = String::new();
        if headers.iter().any(|h| h == "transfer-encoding: chunked") {
            Chunked {
                from,
                left: 0,
                done: false,
            }
            .read_to_string(&mut body)
            .unwrap();
        } else {
            from.read_to_string(&mut body).unwrap();
        }
        Reply {
            status,
            headers,
            body,
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The JSON of a response that must be a success.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The error of a response that must have this status.
    pub fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let error = self.json()["error"].clone();
        assert!(
            error["message"].as_str().is_some_and(|m| m.len() > 10),
            "{}",
            self.body
        );
        error
    }
}

struct Chunked {
    from: BufReader<UnixStream>,
    left: usize,
    done: bool,
}

impl Read for Chunked {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            self.from.read_line(&mut line)?;
            self.left = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            self.done = self.left == 0;
            if self.done {
                return Ok(0);
            }
        }
        let most = out.len().min(self.left);
        let n = self.from.read(&mut out[..most])?;
        self.left -= n;
        if self.left == 0 {
            let mut end = [0; 2];
            self.from.read_exact(&mut end)?;
        }
        Ok(n)
    }
}

/// A stream of server-sent events: name (empty for plain data) and data.
pub struct Events {
    from: BufReader<Chunked>,
}

impl Iterator for Events {
    type Item = (String, String);

    fn next(&mut self) -> Option<(String, String)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                _ if line.trim().is_empty() => return Some((name, data)),
                _ => panic!("an unknown line in the stream: {line}"),
            }
        }
    }
}
