//! The box's secrets: sealed by systemd-creds on an installed box, files of one user's in a demo.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use crate::disk;
use crate::files;
use crate::place::Place;

/// Wraps the practices' keys: 32 bytes.
pub const MASTER_KEY: &str = "master.key";
/// The key that is to be [`MASTER_KEY`], while it is being changed: 32 bytes.
pub const NEXT_MASTER_KEY: &str = "next-master.key";
/// The key that was [`MASTER_KEY`], until the change is done: 32 bytes.
pub const PREVIOUS_MASTER_KEY: &str = "previous-master.key";
/// The Ed25519 key that signs the audit log: 32 bytes.
pub const AUDIT_KEY: &str = "audit.key";
/// The Ed25519 key that signs models which IT adds itself: 32 bytes.
pub const MODELS_KEY: &str = "models.key";
/// Opens the box's backups, for the box: 32 bytes.
pub const BACKUP_KEY: &str = "backup.key";
/// The key that is to be [`BACKUP_KEY`], while it is being changed: 32 bytes.
pub const NEXT_BACKUP_KEY: &str = "next-backup.key";
/// Opens the box's backups too, and can be worked out from the recovery key on paper: 32 bytes.
pub const RECOVERY_BACKUP_KEY: &str = "recovery-backup.key";
/// The key of the box's certificate authority, as PEM.
pub const AUTHORITY_KEY: &str = "ca.key";
/// The key of the certificate that browsers see, as PEM.
pub const CERTIFICATE_KEY: &str = "tls.key";
/// The key of the authority for the certificates of IT staff and vendors, as PEM.
pub const CLIENT_AUTHORITY_KEY: &str = "client-ca.key";
/// What the mail server wants to hear.
pub const MAIL_PASSWORD: &str = "mail.password";

/// The recovery key as it goes on paper; only until the first-run pages have shown it.
pub const RECOVERY_PAPER: &str = "recovery.paper";

/// Where systemd looks for sealed credentials.
const STORE: &str = "/etc/credstore.encrypted";

/// How their names begin there.
const PREFIX: &str = "hadada.";
/// Sealed for this machine: by its TPM, and by a key that only its root can read. Not left to systemd-creds, which without a
/// word does without a TPM that the firmware does not use itself.
const TO_MACHINE: &str = "--with-key=host+tpm2";
/// By that key alone.
const TO_HOST: &str = "--with-key=host";

/// What a secret's file in the store is called.
fn sealed_path(place: &Place, name: &str) -> PathBuf {
    place
        .root()
        .join(&STORE[1..])
        .join(format!("{PREFIX}{name}"))
}

/// Its file in a box that lives in one folder.
fn plain_path(place: &Place, name: &str) -> PathBuf {
    match name {
        AUTHORITY_KEY => place.tls().join("ca.key"),
        CERTIFICATE_KEY => place.tls().join("key.pem"),
        _ => place.keys().join(name),
    }
}

/// The secret called `name`, such as `backup.key`: what systemd handed to this unit, else the sealed one (which only root can
/// open), else the file in the box's folder of keys. None where there is none of them.
///
/// # Errors
/// When there is one and it can't be read or opened.
pub fn read(place: &Place, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY")
        && let Some(content) = files::read_if_there(&Path::new(&folder).join(name))?
    {
        return Ok(Some(Zeroizing::new(content)));
    }
    let sealed = sealed_path(place, name);
    if place.is_installed() && sealed.exists() {
        return open(name, &sealed).map(Some);
    }
    Ok(files::read_if_there(&plain_path(place, name))?.map(Zeroizing::new))
}

/// As [`read`], for a secret that must be there.
///
/// # Errors
/// Also when there is none.
pub fn demand(place: &Place, name: &str) -> Result<Zeroizing<Vec<u8>>> {
    read(place, name)?.with_context(|| {
        if place.is_installed() {
            format!("this box has no secret {name}: run `hadadactl install` again, or put {} back from a backup of this machine", sealed_path(place, name).display())
        } else {
            format!("there is no {}: run `hadadactl init` first", plain_path(place, name).display())
        }
    })
}

/// As [`demand`], for one of 32 bytes.
///
/// # Errors
/// Also when it has another length.
pub fn key(place: &Place, name: &str) -> Result<Zeroizing<[u8; 32]>> {
    let secret = demand(place, name)?;
    let key = secret.as_slice().try_into().map_err(|_| {
        anyhow::anyhow!(
            "{} holds {} bytes and a key has 32: put it back from a backup",
            path(place, name).display(),
            secret.len()
        )
    })?;
    Ok(Zeroizing::new(key))
}

/// Keeps a secret that is not there yet.
///
/// # Errors
/// When there is one of that name, or it can't be sealed or written.
pub fn create(place: &Place, name: &str, secret: &[u8]) -> Result<()> {
    if !place.is_installed() {
        return files::create(&plain_path(place, name), 0o600, secret);
    }
    let path = sealed_path(place, name);
    if path.exists() {
        bail!("there is a secret {name} already: {}", path.display());
    }
    let sealed = seal(name, secret, TO_MACHINE)?;
    keep_copy(place, name, secret)?;
    files::create(&path, 0o600, &sealed)
}

/// Keeps a secret over the one that was there.
///
/// # Errors
/// When it can't be sealed or written; the old one then stays.
pub fn replace(place: &Place, name: &str, secret: &[u8]) -> Result<()> {
    if !place.is_installed() {
        return files::replace(&plain_path(place, name), 0o600, secret);
    }
    let sealed = seal(name, secret, TO_MACHINE)?;
    keep_copy(place, name, secret)?;
    files::replace(&sealed_path(place, name), 0o600, &sealed)
}

/// Forgets a secret; one that is not there is forgotten already.
///
/// # Errors
/// When it can't be removed.
pub fn remove(place: &Place, name: &str) -> Result<()> {
    let copy = copies(place).map(|folder| folder.join(format!("{PREFIX}{name}")));
    for path in [Some(path(place, name)), copy].into_iter().flatten() {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("can't remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where the encrypted disk keeps copies of the secrets, where it does. Without them a new board, whose TPM opens none of the
/// sealed ones, would cost the box its keys. They are sealed by the machine's own key, which is on the other disk.
fn copies(place: &Place) -> Option<PathBuf> {
    let folder = Path::new(disk::SECRETS);
    (place.root() == Path::new("/") && place.is_installed() && folder.is_dir())
        .then(|| folder.to_owned())
}

fn keep_copy(place: &Place, name: &str, secret: &[u8]) -> Result<()> {
    let Some(folder) = copies(place) else {
        return Ok(());
    };
    files::replace(
        &folder.join(format!("{PREFIX}{name}")),
        0o600,
        &seal(name, secret, TO_HOST)?,
    )
}

/// The names of the secrets in a folder of sealed ones.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?
    {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_prefix(PREFIX) {
            found.push(name.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// Seals each secret again with what the machine has now: its TPM too, where it got one since. The encrypted disk gets copies.
///
/// # Errors
/// When one does not open or can't be sealed; it then stays as it was.
pub fn seal_again(place: &Place) -> Result<()> {
    for name in names(&place.root().join(&STORE[1..]))? {
        let secret = open(&name, &sealed_path(place, &name))?;
        replace(place, &name, &secret)?;
    }
    Ok(())
}

/// Seals each secret again from its copy on the encrypted disk, because another TPM sealed the ones there are.
///
/// # Errors
/// When a copy does not open or can't be sealed.
pub fn seal_from_copies(place: &Place) -> Result<()> {
    let folder = copies(place).with_context(|| {
        format!(
            "there is no {}: were the records' disk closed, it could not be seen",
            disk::SECRETS
        )
    })?;
    for name in names(&folder)? {
        let secret = open(&name, &folder.join(format!("{PREFIX}{name}")))?;
        let sealed = seal(&name, &secret, TO_MACHINE)?;
        files::replace(&sealed_path(place, &name), 0o600, &sealed)?;
    }
    Ok(())
}

/// The first secret that does not open on this machine.
///
/// # Errors
/// When the store can't be read.
pub fn first_that_stays_closed(place: &Place) -> Result<Option<String>> {
    Ok(names(&place.root().join(&STORE[1..]))?
        .into_iter()
        .find(|name| open(name, &sealed_path(place, name)).is_err()))
}

/// Where the secret is kept, for words to the person.
pub fn path(place: &Place, name: &str) -> PathBuf {
    if place.is_installed() {
        sealed_path(place, name)
    } else {
        plain_path(place, name)
    }
}

fn seal(name: &str, secret: &[u8], with: &str) -> Result<Zeroizing<Vec<u8>>> {
    let with = if disk::has_tpm() { with } else { TO_HOST };
    creds(
        &["encrypt", &format!("--name={name}"), with, "-", "-"],
        secret,
    )
    .with_context(|| format!("systemd-creds could not seal the secret {name}"))
}

fn open(name: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let sealed = files::read_if_there(path)?.unwrap_or_default();
    creds(&["decrypt", &format!("--name={name}"), "-", "-"], &sealed).with_context(|| {
        format!(
            "{} does not open: only root can, on the machine that sealed it",
            path.display()
        )
    })
}

/// Secrets go in and out through pipes: an argument or a variable could be read by others.
fn creds(arguments: &[&str], input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut child = Command::new("systemd-creds")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("systemd-creds can't be run")?;
    if let Some(mut pipe) = child.stdin.take() {
        // What it makes of half an input, it says below.
        match io::Write::write_all(&mut pipe, input) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    let output = child.wait_with_output()?;
    let answer = Zeroizing::new(output.stdout);
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(answer)
}
