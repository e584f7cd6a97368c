//! What the signed targets say of the files among them.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tough::TargetName;
use tough::schema::{Target, Targets};

/// What the targets say of the release among them.
pub struct Said {
    /// Its name among the targets.
    pub name: TargetName,
    /// Its version, as written.
    pub version: String,
    /// Its counter.
    pub counter: u64,
    /// Bytes, packed.
    pub length: u64,
    /// Bytes, unpacked.
    pub unpacked: u64,
    /// In hex.
    pub sha256: String,
}

/// The one release among the targets.
///
/// # Errors
/// When there is none, or more than one, or it is described badly.
pub fn release_of(targets: &Targets) -> Result<Said> {
    let mut releases = targets
        .targets
        .iter()
        .filter(|(_, target)| kind(target) == "release");
    let Some((name, target)) = releases.next() else {
        bail!("there is no release among the signed files");
    };
    ensure!(
        releases.next().is_none(),
        "there is more than one release among the signed files"
    );
    let number = |field: &str| {
        target
            .custom
            .get(field)
            .and_then(Value::as_u64)
            .with_context(|| format!("the signed description of the release lacks its {field}"))
    };
    Ok(Said {
        name: name.clone(),
        version: target
            .custom
            .get("version")
            .and_then(Value::as_str)
            .context("the signed description of the release lacks its version")?
            .into(),
        counter: number("counter")?,
        length: target.length,
        unpacked: number("unpacked")?,
        sha256: hex::encode(&target.hashes.sha256),
    })
}

/// What a target is: `release` or `debian`.
pub fn kind(target: &Target) -> &str {
    target
        .custom
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
