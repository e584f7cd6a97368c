//! `disk`: the records' disk, encrypted with LUKS2, opened by this machine's TPM or by a recovery key on paper.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use zeroize::Zeroizing;

use super::Outcome;
use crate::disk::luks::{self, Header, KeyFile};
use crate::disk::moving::{self, step};
use crate::disk::{self, MOVED, OPENED};
use crate::files;
use crate::place::Place;
use crate::process::run;
use crate::secrets;

/// What stands above the machine's log-in until its next start.
const ISSUE: &str = "/run/issue.d/hadada-disk.issue";

/// Commands about the encrypted disk.
#[derive(Debug, Subcommand)]
pub enum Disk {
    /// Encrypts an empty disk or partition, moves the records to it, and has this machine's TPM open it at each start.
    /// Run again after it was broken off, it goes on from there.
    Encrypt {
        /// The device, such as /dev/nvme0n1p3. Everything on it is lost.
        device: PathBuf,
        /// Say what would be done; do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Meant: what is on the device is lost.
        #[arg(long)]
        yes_erase: bool,
        /// Without a TPM: after each start somebody opens it with `hadadactl disk open`.
        #[arg(long)]
        without_tpm: bool,
    },
    /// Says how the disk is encrypted, what opens it, and whether it is open.
    Status,
    /// Opens a disk that stayed closed and starts the box. The recovery key is read from standard input.
    Open,
    /// Makes a new recovery key, prints it once and makes the old one void. The old one is read from standard input.
    Recovery,
    /// Lets this machine's TPM open the disk, after a new board or a change of its Secure Boot keys; the one before no longer does.
    /// The recovery key is read from standard input. Opens the disk and starts the box where that is still to be done.
    Rebind,
    /// Says on the console when the disk stays closed; a unit runs it at each start.
    #[command(hide = true)]
    Announce,
}

impl Disk {
    /// Runs the command.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn run(self) -> Result<Outcome> {
        if !rustix::process::geteuid().is_root() {
            bail!("only root can do this");
        }
        match self {
            Self::Encrypt {
                device,
                dry_run,
                yes_erase,
                without_tpm,
            } => encrypt(&device, dry_run, yes_erase, without_tpm),
            Self::Status => status(),
            Self::Open => open(),
            Self::Recovery => recovery(),
            Self::Rebind => rebind(),
            Self::Announce => announce(),
        }
    }
}

fn encrypt(device: &Path, dry_run: bool, yes_erase: bool, without_tpm: bool) -> Result<Outcome> {
    use std::os::unix::fs::FileTypeExt;
    let kind =
        fs::metadata(device).with_context(|| format!("can't look at {}", device.display()))?;
    if !kind.file_type().is_block_device() {
        bail!("{} is not a disk or partition", device.display());
    }
    if disk::configured().is_some() && moving::is_in_table() {
        return again(dry_run);
    }
    let mounted = run(
        "lsblk",
        ["-nro".as_ref(), "MOUNTPOINTS".as_ref(), device.as_os_str()],
    )?;
    let mounted: Vec<&str> = mounted.split_whitespace().collect();
    // An attempt that was broken off may have left its own mount.
    if mounted.iter().any(|place| *place != disk::MOUNT) {
        bail!(
            "{} is in use, mounted at {}",
            device.display(),
            mounted.join(", ")
        );
    }
    if !disk::has_tpm() && !without_tpm {
        bail!(
            "this machine has no TPM, so after each start somebody would have to type the recovery key: if that is meant, say --without-tpm"
        );
    }
    let holds = run(
        "blkid",
        ["-o".as_ref(), "export".as_ref(), device.as_os_str()],
    )
    .unwrap_or_default();
    let found = holds
        .lines()
        .find_map(|line| line.strip_prefix("TYPE=").or(line.strip_prefix("PTTYPE=")));
    println!(
        "{}: {}. It is encrypted with LUKS2 and opened by {}; {} move there. The box stands still meanwhile.",
        device.display(),
        found.map_or_else(
            || "empty".to_owned(),
            |kind| format!("holds {kind}, which is lost")
        ),
        if without_tpm {
            "the recovery key"
        } else {
            "this machine's TPM or the recovery key"
        },
        MOVED.join(" and "),
    );
    if dry_run {
        return Ok(Outcome::Good);
    }
    if found.is_some() && !yes_erase {
        bail!(
            "nothing was done: what is on {} would be lost; if that is meant, say --yes-erase",
            device.display()
        );
    }
    if disk::is_open() {
        step("closing what an earlier attempt left", || {
            if !mounted.is_empty() {
                run("umount", [disk::MOUNT])?;
            }
            luks::close()
        })?;
    }
    let paper = make(device, without_tpm)?;
    println!(
        "\nThe disk's recovery key. Write it down or print it now and lock it away; it is stored nowhere:\n\n    {}\n",
        &*paper
    );
    std::io::stdout().flush()?;
    moving::records(&crypttab(device, without_tpm)?)?;
    finish()?;
    println!(
        "The records are on the encrypted disk. Their old places were {}: overwritten and emptied.\n  note: a flash disk may keep traces of what was deleted. Best encrypt before the first patient is entered, or destroy the old disk.",
        MOVED.join(" and ")
    );
    Ok(Outcome::Good)
}

/// The volume with its keys and its file system, opened; gives its recovery key.
fn make(device: &Path, without_tpm: bool) -> Result<Zeroizing<String>> {
    // The first key is random, lives in memory and is void at the end.
    let mut first = Zeroizing::new([0u8; 64]);
    getrandom::fill(&mut *first)
        .map_err(|error| anyhow::anyhow!("this machine gives no random numbers: {error}"))?;
    let key = KeyFile::new(&*first)?;
    step("encrypting", || luks::format(device, &key))?;
    let paper = step("making the recovery key", || {
        luks::add_recovery(device, &key)
    })?;
    if !without_tpm {
        step("binding it to this machine's TPM", || {
            luks::bind_tpm(device, &key)
        })?;
    }
    step("opening it", || luks::open(device, &key))?;
    step("making its file system", || {
        run("mkfs.ext4", ["-q", "-L", disk::NAME, OPENED]).map(drop)
    })?;
    // From here on only the TPM and the paper open it.
    step("making the first key void", || luks::remove(device, &key))?;
    Ok(paper)
}

/// The line by which the machine opens the disk at each start. It never waits for somebody to type: it starts without the
/// records then, and says so.
fn crypttab(device: &Path, without_tpm: bool) -> Result<String> {
    let uuid = run(
        "blkid",
        [
            "-s".as_ref(),
            "UUID".as_ref(),
            "-o".as_ref(),
            "value".as_ref(),
            device.as_os_str(),
        ],
    )?;
    let tpm = if without_tpm { "" } else { ",tpm2-device=auto" };
    Ok(format!(
        "{} UUID={} none luks,discard,nofail,headless=yes{tpm}\n",
        disk::NAME,
        uuid.trim()
    ))
}

/// Takes up an encryption that was broken off after the records had moved.
fn again(dry_run: bool) -> Result<Outcome> {
    if let Some((what, act)) = disk::closed_words() {
        bail!("{what}\n      → {act}");
    }
    if dry_run || !moving::plain_is_left()? {
        println!("The records' disk is encrypted already: `hadadactl disk status`.");
        return Ok(Outcome::Good);
    }
    println!("The records are on the encrypted disk; what still lies on the old one goes now.");
    finish()?;
    Ok(Outcome::Good)
}

/// What must be done once the records are there; doing it twice does no harm.
fn finish() -> Result<()> {
    let place = Place::installed();
    if disk::has_tpm() {
        step("sealing the box's secrets to this machine's TPM", || {
            secrets::seal_again(&place)
        })?;
    } else {
        step("keeping copies of the box's secrets on it", || {
            secrets::seal_again(&place)
        })?;
    }
    step("overwriting the records on the old disk", || {
        moving::forget_plain()
    })
}

fn status() -> Result<Outcome> {
    let Some(device) = disk::configured() else {
        println!(
            "The records' disk is not encrypted by this box: see `hadadactl disk encrypt --help`."
        );
        return Ok(Outcome::Fault);
    };
    if let Some((what, act)) = disk::closed_words() {
        println!("FAULT {what}\n      → {act}");
        return Ok(Outcome::Fault);
    }
    let header = Header::read(&device)?;
    println!(
        "{} is encrypted with LUKS2 and open; {} keys open it:",
        device.display(),
        header.slots
    );
    for (kind, _) in &header.tokens {
        println!(
            "  {}",
            match kind.as_str() {
                "systemd-tpm2" => "a machine's TPM, which was this one when it was bound",
                "systemd-recovery" => "a recovery key on paper",
                other => other,
            }
        );
    }
    let mut good = true;
    if header.slots > header.tokens.len() {
        println!(
            "FAULT another key opens it, which this box did not make\n      → `cryptsetup luksDump {}` shows its slot; remove it with luksKillSlot",
            device.display()
        );
        good = false;
    }
    if header.recovery_slots().len() != 1 {
        println!(
            "FAULT {} recovery keys open it, and one should: without any, a broken board would lose the records\n      → `hadadactl disk recovery` makes a new one the only one",
            header.recovery_slots().len()
        );
        good = false;
    }
    if moving::plain_is_left()? {
        println!(
            "FAULT records still lie on the old disk, not encrypted\n      → `hadadactl disk encrypt {}` again: it removes them",
            device.display()
        );
        good = false;
    }
    Ok(if good { Outcome::Good } else { Outcome::Fault })
}

fn open() -> Result<Outcome> {
    let device = disk::device()?;
    if !disk::is_open() {
        let key = typed_key(&device)?;
        step("opening the disk", || luks::open(&device, &key))?;
    }
    // Another TPM can't open what the box's units need to start either.
    if let Some(name) = secrets::first_that_stays_closed(&Place::installed())? {
        println!(
            "The disk is open, but the box can't start: its secret {name} is sealed to another TPM, or to another Secure Boot state of this one.\n      → `hadadactl disk rebind` seals its secrets to this one"
        );
        return Ok(Outcome::Fault);
    }
    moving::start_all()?;
    println!("The disk is open and the box runs.");
    Ok(Outcome::Good)
}

fn recovery() -> Result<Outcome> {
    let device = disk::device()?;
    let key = typed_key(&device)?;
    let before = Header::read(&device)?.recovery_slots();
    let paper = luks::add_recovery(&device, &key)?;
    println!(
        "The new recovery key. Write it down or print it now and lock it away; it is stored nowhere:\n\n    {}\n",
        &*paper
    );
    std::io::stdout().flush()?;
    // Only now that the new one was said: were this broken off before, the old one would still open the disk.
    for slot in before {
        luks::wipe(&device, slot)?;
    }
    println!("The one before is void: destroy its paper.");
    Ok(Outcome::Good)
}

fn rebind() -> Result<Outcome> {
    if !disk::has_tpm() {
        bail!("this machine has no TPM: switch it on in the firmware's settings");
    }
    let device = disk::device()?;
    let key = typed_key(&device)?;
    if !disk::is_open() {
        step("opening the disk", || luks::open(&device, &key))?;
    }
    step("binding it to this machine's TPM", || {
        luks::bind_tpm(&device, &key)
    })?;
    drop(key);
    moving::mount_all()?;
    step("sealing the box's secrets to this machine's TPM", || {
        secrets::seal_from_copies(&Place::installed())
    })?;
    moving::start_all()?;
    println!("This machine's TPM opens the disk at each start; the one before no longer does.");
    Ok(Outcome::Good)
}

/// The present recovery key, read from standard input and tried.
fn typed_key(device: &Path) -> Result<KeyFile> {
    eprintln!("Type the disk's present recovery key, then Ctrl-D on an empty line:");
    let typed = Zeroizing::new(std::io::read_to_string(std::io::stdin())?);
    let key = KeyFile::new(luks::recovery_key(&typed)?.as_bytes())?;
    if !luks::opens(device, &key) {
        bail!(
            "this is not the recovery key of {}. Look for a newer paper: `hadadactl disk recovery` makes older ones void",
            device.display()
        );
    }
    Ok(key)
}

fn announce() -> Result<Outcome> {
    let Some((what, act)) = disk::closed_words() else {
        let _ = fs::remove_file(ISSUE);
        return Ok(Outcome::Good);
    };
    let text = format!(
        "\nHadada: {what}.\n  What to do, as root: {act}.\n  Until then no record can be read or written.\n\n"
    );
    files::make_folder(Path::new("/run/issue.d"), 0o755)?;
    files::replace(Path::new(ISSUE), 0o644, text.as_bytes())?;
    if let Ok(mut console) = fs::OpenOptions::new().write(true).open("/dev/console") {
        let _ = console.write_all(text.replace('\n', "\r\n").as_bytes());
    }
    println!("{}", text.trim());
    Ok(Outcome::Fault)
}
