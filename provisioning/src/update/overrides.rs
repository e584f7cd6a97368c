//! The list of times that somebody let expired metadata pass: who, when, why, at which screen. Each line is signed with the
//! box's audit key and carries the hash of the line before, so that none can be changed or taken out unseen.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::json;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::home::Home;
use crate::files;
use crate::secrets;

/// What the person types, so that it is no slip of the finger.
const WORDS: &str = "accept expired";

/// Makes sure that a person at the box's own screen wants this; gives the screen's name.
///
/// # Errors
/// When it is a remote session, a script, or the person does not type the words.
pub fn ask_at_console(reason: &str) -> Result<String> {
    ensure!(
        reason.trim().chars().count() >= 10,
        "a reason of a few words is needed: --reason TEXT; it is kept in a signed list"
    );
    let screen = console()?;
    eprintln!(
        "Expired metadata can hide from this box that there are newer releases. This is kept in a signed list.\nTo go on, type: {WORDS}"
    );
    io::stderr().flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    ensure!(
        typed.trim() == WORDS,
        "that was not \"{WORDS}\": nothing was done"
    );
    Ok(screen)
}

fn console() -> Result<String> {
    const ONLY: &str =
        "expired metadata is let pass only by somebody at the box's own screen and keyboard";
    #[cfg(debug_assertions)]
    if let Ok(screen) = std::env::var("HADADA_UPDATE_CONSOLE") {
        return Ok(screen);
    }
    for variable in ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"] {
        ensure!(
            std::env::var_os(variable).is_none(),
            "{ONLY}, and this is a remote session"
        );
    }
    let stdin = io::stdin();
    ensure!(stdin.is_terminal(), "{ONLY}, and this is no terminal");
    let name = std::fs::read_link("/proc/self/fd/0").context("the terminal has no name")?;
    if !is_console(&name) {
        bail!("{ONLY}, and {} is none", name.display());
    }
    Ok(name.display().to_string())
}

/// A virtual terminal, a serial line or a hypervisor's console; not a pseudo-terminal, which anything can make.
fn is_console(path: &Path) -> bool {
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix("/dev/")) else {
        return false;
    };
    name == "console"
        || ["ttyS", "ttyAMA", "hvc", "tty"].iter().any(|kind| {
            name.strip_prefix(kind).is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
            })
        })
}

/// Adds a line.
///
/// # Errors
/// When the audit key is not there or the file can't be written: then nothing is let pass.
pub fn record(
    home: &Home,
    screen: &str,
    reason: &str,
    what: &str,
    at: OffsetDateTime,
) -> Result<()> {
    let key = SigningKey::from_bytes(&*secrets::key(home.place(), secrets::AUDIT_KEY)?);
    let path = home.overrides();
    let before = files::read_if_there(&path)?.unwrap_or_default();
    let last = before
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty());
    let entry = json!({
        "what": "expired update metadata was let pass",
        "update": what,
        "at": at.format(&Rfc3339)?,
        "screen": screen,
        "user": std::env::var("SUDO_USER").unwrap_or_else(|_| "root".into()),
        "reason": reason,
        "before": last.map(|line| hex::encode(Sha256::digest(line))),
    })
    .to_string();
    let signature = hex::encode(key.sign(entry.as_bytes()).to_bytes());
    let mut line = json!({ "entry": entry, "signature": signature }).to_string();
    line.push('\n');
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o644)
            .open(&path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_screens_are_consoles() {
        for screen in ["/dev/tty1", "/dev/ttyS0", "/dev/hvc0", "/dev/console"] {
            assert!(is_console(Path::new(screen)), "{screen}");
        }
        for other in [
            "/dev/pts/0",
            "/dev/tty",
            "/dev/null",
            "pipe:[12]",
            "/dev/ttyS",
            "/tmp/tty1",
        ] {
            assert!(!is_console(Path::new(other)), "{other}");
        }
    }
}
