//! `recovery check`: proves that the key on paper is this box's, before it is needed. `recovery allow-backups`: takes from it,
//! once, what lets it open the backups.

use std::io;

use anyhow::{Context, Result};
use zeroize::Zeroizing;

use super::Outcome;
use crate::files;
use crate::place::Place;
use crate::secrets::{self, RECOVERY_BACKUP_KEY};
use crate::trust::recovery::RecoveryKey;

/// Reads the key from standard input, up to its end.
///
/// # Errors
/// When the box has no recovery key, or what was typed is none.
pub fn check(place: &Place) -> Result<Outcome> {
    if read_own(place)?.is_some() {
        println!("This is the recovery key of this box.");
        Ok(Outcome::Good)
    } else {
        println!("This is a recovery key, but not the one of this box.");
        Ok(Outcome::Fault)
    }
}

/// Keeps the secret that lets this recovery key open the backups; boxes of earlier releases lack it.
///
/// # Errors
/// As [`check`], or when the secret can't be kept.
pub fn allow_backups(place: &Place) -> Result<Outcome> {
    let Some(key) = read_own(place)? else {
        println!("This is a recovery key, but not the one of this box. Nothing was changed.");
        return Ok(Outcome::Fault);
    };
    secrets::replace(place, RECOVERY_BACKUP_KEY, &*key.backup_secret())?;
    println!("The recovery key will open each backup from now on.");
    Ok(Outcome::Good)
}

/// The recovery key typed in, where it is this box's.
fn read_own(place: &Place) -> Result<Option<RecoveryKey>> {
    let path = place.recovery_public_key();
    let public = files::read_key(&path)?
        .with_context(|| format!("there is no {}: run `hadadactl init` first", path.display()))?;
    let key = read()?;
    Ok((key.public() == public).then_some(key))
}

/// Reads a recovery key from standard input, up to its end.
///
/// # Errors
/// When it is none.
pub fn read() -> Result<RecoveryKey> {
    eprintln!("Type the recovery key, then Ctrl-D on an empty line:");
    let text = Zeroizing::new(io::read_to_string(io::stdin())?);
    Ok(RecoveryKey::from_paper(&text)?)
}
