//! `recovery check`: proves that the key on paper is this box's, before it is needed.

use std::io;

use anyhow::{Context, Result};
use zeroize::Zeroizing;

use super::Outcome;
use crate::files;
use crate::place::Place;
use crate::trust::recovery::RecoveryKey;

/// Reads the key from standard input, up to its end.
///
/// # Errors
/// When the box has no recovery key, or what was typed is none.
pub fn check(place: &Place) -> Result<Outcome> {
    let path = place.recovery_public_key();
    let public = files::read_key(&path)?
        .with_context(|| format!("there is no {}: run `hadadactl init` first", path.display()))?;
    eprintln!("Type the recovery key, then Ctrl-D on an empty line:");
    let text = Zeroizing::new(io::read_to_string(io::stdin())?);
    if RecoveryKey::from_paper(&text)?.public() == public {
        println!("This is the recovery key of this box.");
        Ok(Outcome::Good)
    } else {
        println!("This is a recovery key, but not the one of this box.");
        Ok(Outcome::Fault)
    }
}
