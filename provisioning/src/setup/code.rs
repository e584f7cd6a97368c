//! The one-time code: whoever can read the console may set the box up.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

use super::disks;
use crate::files;
use crate::place::Place;
use crate::process;
use crate::secrets::{self, RECOVERY_PAPER};

/// Crockford's letters: none that is taken for another.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Twelve letters, 60 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneTimeCode(String);

impl OneTimeCode {
    fn new(random: [u8; 12]) -> Self {
        Self(
            random
                .iter()
                .map(|byte| LETTERS[usize::from(byte % 32)] as char)
                .collect(),
        )
    }

    /// As it is printed: three groups of four.
    pub fn shown(&self) -> String {
        let (first, rest) = self.0.split_at(4);
        let (second, third) = rest.split_at(4);
        format!("{first}-{second}-{third}")
    }

    fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

/// Where the first-run pages find what root made for them; gone with the machine's next start.
pub fn folder(place: &Place) -> PathBuf {
    if place.is_installed() {
        place.root().join("run/hadada-setup")
    } else {
        place.run().join("setup")
    }
}

/// Made when the last page was done.
pub fn finished(place: &Place) -> PathBuf {
    place.state().join("setup-finished")
}

/// Makes a new code and lays out what the pages need. None where the box is set up already.
///
/// # Errors
/// When it can't be written.
pub fn prepare(place: &Place) -> Result<Option<OneTimeCode>> {
    if finished(place).exists() {
        return Ok(None);
    }
    let mut random = [0; 12];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow!("this machine gives no random numbers: {error}"))?;
    let code = OneTimeCode::new(random);
    let folder = folder(place);
    files::make_folder(&folder, 0o750)?;
    if secrets::read(place, RECOVERY_PAPER)?.is_some() {
        show_recovery(place)?;
    }
    disks::write(place)?;
    for_web(
        place,
        &folder.join("code.sha256"),
        format!("{}\n", code.hash()).as_bytes(),
    )?;
    // The last page may have been done meanwhile, as at a start that finds its request waiting: then none of this may stay.
    if finished(place).exists() {
        forget(place)?;
        return Ok(None);
    }
    Ok(Some(code))
}

/// Takes away what was laid out for the first-run pages.
///
/// # Errors
/// When a file can't be removed.
pub fn forget(place: &Place) -> Result<()> {
    let folder = folder(place);
    for name in ["code.sha256", "recovery", "disks.json"] {
        files::remove_file(&folder.join(name))?;
    }
    Ok(())
}

/// Lays out the recovery key for the first-run pages.
///
/// # Errors
/// When it is on paper only already.
pub fn show_recovery(place: &Place) -> Result<()> {
    let paper = secrets::read(place, RECOVERY_PAPER)?
        .context("the recovery key is on paper only: it was shown and confirmed, or printed when the box was made")?;
    for_web(place, &folder(place).join("recovery"), &paper)
}

/// A file that only root writes and only the web program reads.
pub fn for_web(place: &Place, path: &Path, content: &[u8]) -> Result<()> {
    files::replace(path, 0o640, content)?;
    if place.is_installed() {
        process::run("chgrp", ["hadada".as_ref(), path.as_os_str()])
            .with_context(|| format!("can't give {} to the web program", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_three_groups_without_letters_that_look_alike() {
        let code = OneTimeCode::new([0, 255, 17, 18, 19, 20, 21, 22, 23, 24, 30, 31]);
        let shown = code.shown();
        assert_eq!(shown.len(), 14);
        assert!(!shown.contains(['I', 'L', 'O', 'U']));
        // The page hashes what was typed without its hyphens.
        assert_eq!(
            code.hash(),
            hex::encode(Sha256::digest(shown.replace('-', "").as_bytes()))
        );
    }
}
