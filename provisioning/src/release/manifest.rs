//! What a release says of itself: the first file of its bundle, and `manifest.json` of an installed one.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::version::Version;

/// The only product a box takes.
pub const PRODUCT: &str = "hadada";
/// Its name in a bundle and in an installed release.
pub const NAME: &str = "manifest.json";
/// A longer one is not read.
pub const LONGEST: u64 = 4 << 20;
/// More files than this no release has.
pub const MOST_FILES: usize = 20_000;
/// More bytes than this no release has, unpacked: programs and models.
pub const MOST_BYTES: u64 = 64 << 30;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`PRODUCT`].
    pub product: String,
    /// Which release it is.
    pub version: Version,
    /// Grows with each release, patches of old versions included; a box never takes a smaller one than it has had.
    pub counter: u64,
    /// The oldest release that a box may be on to update to this one.
    pub minimum_version: Version,
    /// The last migration of each database.
    pub schema: Schema,
    /// The version of the wire protocol between the web program and the drafting service.
    pub inference_protocol: u32,
    /// Every file but this one, sorted by path.
    pub files: Vec<File>,
}

/// The last migration of each database; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Of the records.
    pub records: u64,
    /// Of the wrapped keys.
    pub keys: u64,
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path in the release, with `/`.
    pub path: String,
    /// Whether it is a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub program: bool,
    /// Bytes.
    pub size: u64,
    /// Of its content, in hex.
    pub sha256: String,
}

impl File {
    /// The permissions it is installed with.
    pub fn mode(&self) -> u32 {
        if self.program { 0o755 } else { 0o644 }
    }
}

impl Manifest {
    /// Reads a manifest and holds it to every rule that needs no other file.
    ///
    /// # Errors
    /// When it is not one; the error names the rule.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes).context("the manifest can't be read")?;
        ensure!(
            manifest.product == PRODUCT,
            "wrong product: this is a release of {:?}, and this box runs {PRODUCT}",
            manifest.product.chars().take(40).collect::<String>()
        );
        ensure!(
            manifest.files.len() <= MOST_FILES,
            "too big: the manifest lists {} files, more than {MOST_FILES}",
            manifest.files.len()
        );
        let mut seen = BTreeSet::new();
        for file in &manifest.files {
            check_path(&file.path)?;
            ensure!(
                seen.insert(&file.path) && file.path != NAME,
                "the manifest lists {} twice",
                file.path
            );
            ensure!(
                file.sha256.len() == 64
                    && file
                        .sha256
                        .bytes()
                        .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()),
                "the manifest has no SHA-256 of {}",
                file.path
            );
        }
        // A file must not be another's folder.
        for file in &manifest.files {
            let mut folder = file.path.as_str();
            while let Some((above, _)) = folder.rsplit_once('/') {
                ensure!(
                    !seen.contains(&above.to_owned()),
                    "the manifest has {above} as a file and as a folder"
                );
                folder = above;
            }
        }
        manifest.bytes()?;
        Ok(manifest)
    }

    /// The release's size, unpacked, in bytes.
    ///
    /// # Errors
    /// When it is more than any release has.
    pub fn bytes(&self) -> Result<u64> {
        self.files
            .iter()
            .try_fold(0_u64, |sum, file| sum.checked_add(file.size))
            .filter(|sum| *sum <= MOST_BYTES)
            .with_context(|| {
                format!("too big: unpacked, the release has more than {MOST_BYTES} bytes")
            })
    }

    /// As it is written into a bundle.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// A path that stays in its folder: no root, no `..`, nothing hidden, plain letters only.
///
/// # Errors
/// When it is another.
pub fn check_path(path: &str) -> Result<()> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"@._+-".contains(&b))
    };
    if path.len() > 200 || !path.split('/').all(plain) {
        bail!(
            "path traversal: {:?} is not a path within a release",
            path.chars().take(120).collect::<String>()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_stays_in_its_folder() {
        for good in [
            "bin/hadada",
            "systemd/hadada-typeset@.service",
            "migrations/records/0001_a.sql",
        ] {
            check_path(good).unwrap();
        }
        for wrong in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".ssh/x",
            "a/.b",
            "a\\b",
            "a\0b",
            "ä",
        ] {
            assert!(check_path(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_its_folder(path in "[a./\\\\@-]{0,12}") {
            if check_path(&path).is_ok() {
                let joined = std::path::Path::new("/base").join(&path);
                prop_assert!(joined.starts_with("/base"));
                let plain = joined.components().all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::RootDir));
                prop_assert!(plain);
            }
        }
    }
}
