//! Which release is the vendor's: TUF, and the rules of a box on top of it. A refusal begins with the rule's name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp as Moment;
use tough::error::Error as Tuf;
use tough::schema::{Error as Schema, RoleType, Root, Signed, Timestamp};
use tough::{ExpirationEnforcement, FilesystemTransport, Limits, Repository, RepositoryLoader};
use url::Url;

use super::home::Home;
use super::source::LONGEST_METADATA;
use crate::files;
use crate::release::manifest::PRODUCT;
use crate::release::repository::{self, Said};

/// Whether metadata that has expired may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never by itself.
    Enforced,
    /// Somebody at the console took the responsibility.
    Waived,
}

/// Metadata that passed every rule.
pub struct Trusted {
    /// The release it names.
    pub said: Said,
    repository: Repository,
    datastore: PathBuf,
}

/// The version of the root that this box trusts.
///
/// # Errors
/// When it trusts none.
pub fn root_version(home: &Home) -> Result<u64> {
    Ok(read_root(home)?.0.signed.version.get())
}

/// When the trusted root expires.
///
/// # Errors
/// When the box trusts none.
pub fn root_expires(home: &Home) -> Result<Moment> {
    Ok(read_root(home)?.0.signed.expires)
}

fn read_root(home: &Home) -> Result<(Signed<Root>, Vec<u8>)> {
    let path = home.root();
    let bytes = files::read_if_there(&path)?.with_context(|| {
        format!(
            "this box trusts no vendor yet: there is no {}. The installer puts it there, from the release's own folder",
            path.display()
        )
    })?;
    let root =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    Ok((root, bytes))
}

/// Puts the vendor's root onto a box that has none; what an installer does.
///
/// # Errors
/// When it is no root, is not signed by its own keys, or the box trusts another already.
pub fn adopt(home: &Home, file: &Path) -> Result<()> {
    let bytes =
        files::read_if_there(file)?.with_context(|| format!("there is no {}", file.display()))?;
    let root: Signed<Root> = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no root metadata", file.display()))?;
    root.signed
        .verify_role(&root)
        .with_context(|| format!("{} is not signed by its own keys", file.display()))?;
    home.prepare()?;
    if let Some(before) = files::read_if_there(&home.root())? {
        ensure!(
            before == bytes,
            "this box trusts another root already: {}. A new root comes with a signed update",
            home.root().display()
        );
        return Ok(());
    }
    files::create(&home.root(), 0o644, &bytes)
}

/// Holds a private copy's metadata against all rules. Nothing that the box trusts changes yet.
///
/// # Errors
/// When a rule is broken; the error begins with its name.
pub async fn verify(home: &Home, private: &Path, expiry: Expiry) -> Result<Trusted> {
    let metadata = private.join("metadata");
    let (root, root_bytes) = read_root(home)?;
    check_root_chain(&metadata, root.signed.version.get())?;
    // On a copy: what is refused must not leave a trace in what the box trusts.
    let datastore = private.join("trust");
    files::remove_folder(&datastore)?;
    files::make_folder(&datastore, 0o700)?;
    for entry in fs::read_dir(home.trust())? {
        let entry = entry?;
        fs::copy(entry.path(), datastore.join(entry.file_name()))?;
    }
    let url = |path: PathBuf| {
        Url::from_directory_path(&path).map_err(|()| anyhow!("{} is no whole path", path.display()))
    };
    let loaded = RepositoryLoader::new(
        &root_bytes,
        url(metadata.clone())?,
        url(private.join("targets"))?,
    )
    .transport(FilesystemTransport)
    .limits(Limits {
        max_root_size: LONGEST_METADATA,
        max_targets_size: LONGEST_METADATA,
        max_timestamp_size: LONGEST_METADATA,
        max_snapshot_size: LONGEST_METADATA,
        max_root_updates: 1024,
    })
    .datastore(&datastore)
    .expiration_enforcement(match expiry {
        Expiry::Enforced => ExpirationEnforcement::Safe,
        Expiry::Waived => ExpirationEnforcement::Unsafe,
    })
    .load()
    .await;
    let repository = match loaded {
        Ok(repository) => repository,
        Err(error) => return Err(explain(home, &metadata, error)),
    };
    let targets = &repository.targets().signed;
    ensure!(
        targets
            .delegations
            .as_ref()
            .is_none_or(|delegations| delegations.roles.is_empty()),
        "delegated: this vendor signs releases with the targets keys only"
    );
    let said = repository::release_of(targets)?;
    let product = targets
        .targets
        .get(&said.name)
        .and_then(|target| target.custom.get("product"))
        .and_then(|product| product.as_str())
        .unwrap_or_default();
    ensure!(
        product == PRODUCT,
        "wrong product: this is a release of {:?}, and this box runs {PRODUCT}",
        product.chars().take(40).collect::<String>()
    );
    Ok(Trusted {
        said,
        repository,
        datastore,
    })
}

impl Trusted {
    /// The name, length and hash of Debian's updates, where they came along.
    pub fn debian(&self) -> Option<Said> {
        let (name, target) = self
            .repository
            .targets()
            .signed
            .targets
            .iter()
            .find(|(_, target)| repository::kind(target) == "debian")?;
        Some(Said {
            name: name.clone(),
            version: String::new(),
            counter: 0,
            length: target.length,
            unpacked: target.length,
            sha256: hex::encode(&target.hashes.sha256),
        })
    }

    /// From now on the box trusts this root, and takes nothing older than this metadata.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep(&self, home: &Home) -> Result<()> {
        files::replace(
            &home.root(),
            0o644,
            &serde_json::to_vec(self.repository.root())?,
        )?;
        for name in [
            "timestamp.json",
            "snapshot.json",
            "targets.json",
            "latest_known_time.json",
        ] {
            let kept = home.trust().join(name);
            match files::read_if_there(&self.datastore.join(name))? {
                Some(bytes) => files::replace(&kept, 0o600, &bytes)?,
                None => files::remove_file(&kept)?,
            }
        }
        Ok(())
    }
}

/// Roots follow one another without a gap: each is signed by the keys of the one before.
fn check_root_chain(metadata: &Path, trusted: u64) -> Result<()> {
    let mut offered = BTreeSet::new();
    for entry in fs::read_dir(metadata)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(version) = name
            .strip_suffix(".root.json")
            .and_then(|version| version.parse::<u64>().ok())
        {
            offered.insert(version);
        }
    }
    for version in offered.range(trusted + 1..) {
        if *version > trusted + 1 && !offered.contains(&(version - 1)) {
            bail!(
                "root rotation skipped: root {version} is offered without root {}, and this box trusts root {trusted}",
                version - 1
            );
        }
    }
    Ok(())
}

fn explain(home: &Home, metadata: &Path, error: Tuf) -> anyhow::Error {
    let said = whole(&error);
    match &error {
        Tuf::VerifyMetadata {
            role,
            source: Schema::SignatureThreshold {
                valid, threshold, ..
            },
            ..
        } => match valid {
            0 => anyhow!(
                "unsigned: the {role} metadata has no valid signature of a key this box trusts: it is not the vendor's, or it was \
                 changed after it was signed"
            ),
            valid => anyhow!(
                "too few signatures: the {role} metadata is signed by {valid} of the {threshold} people who must sign it"
            ),
        },
        Tuf::VerifyMetadata { role, .. } => {
            anyhow!("tampered: the signatures of the {role} metadata are not in order ({said})")
        }
        Tuf::ExpiredMetadata { role, .. } => {
            if seen_before(home, metadata) {
                anyhow!(
                    "frozen: this source offers only what this box has seen before, and its {role} metadata has expired: somebody \
                     may be keeping newer releases from it. Get the update from another source"
                )
            } else {
                anyhow!(
                    "expired: the {role} metadata has expired. Get a fresh copy from the vendor; somebody at the box's own screen \
                     can let it pass with --accept-expired and a reason"
                )
            }
        }
        Tuf::OlderMetadata { .. }
        | Tuf::OlderSnapshotInTimestamp { .. }
        | Tuf::SnapshotRoleRollback { .. } => {
            anyhow!("rolled back: this is older than what this box has seen ({said})")
        }
        Tuf::VersionMismatch { .. }
        | Tuf::SnapshotRoleMissing { .. }
        | Tuf::SnapshotTargetsMetaMissing { .. } => {
            anyhow!("mix and match: the parts do not belong together ({said})")
        }
        Tuf::SystemTimeSteppedBackward { .. } => anyhow!(
            "clock: this box's clock is behind the time of its last check, so it can't tell what has expired. Set the clock ({said})"
        ),
        Tuf::Transport { .. } if said.contains("ash mismatch") || said.contains("exceeded") => {
            // Taking signatures away changes a part as well: say what was done to it.
            if let Some(why) = lacks_signatures(home, metadata) {
                return why;
            }
            anyhow!("mix and match: the parts do not belong together, or one was changed ({said})")
        }
        Tuf::Transport { .. } => anyhow!("incomplete: a part of the metadata is missing ({said})"),
        Tuf::ParseMetadata { .. } | Tuf::ParseTrustedMetadata { .. } => {
            anyhow!("tampered: the metadata can't be read ({said})")
        }
        _ => anyhow!("unsigned: {said}"),
    }
}

/// Whether a part that is offered carries fewer signatures than its role must have, good or bad ones.
fn lacks_signatures(home: &Home, metadata: &Path) -> Option<anyhow::Error> {
    let root = read_root(home).ok()?.0.signed;
    for kind in [RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp] {
        let needed = root.roles.get(&kind)?.threshold.get();
        let Some(there) = newest_of(metadata, kind).and_then(|part| signatures_on(&part)) else {
            continue;
        };
        if there == 0 {
            return Some(anyhow!(
                "unsigned: the {kind} metadata carries no signature"
            ));
        }
        if (there as u64) < needed {
            return Some(anyhow!(
                "too few signatures: the {kind} metadata carries {there} of the {needed} it must have"
            ));
        }
    }
    None
}

fn signatures_on(part: &Path) -> Option<usize> {
    let part: serde_json::Value = serde_json::from_slice(&fs::read(part).ok()?).ok()?;
    Some(part.get("signatures")?.as_array()?.len())
}

/// The newest version of a part: `7.targets.json` before `6.targets.json`; the timestamp has no number.
fn newest_of(metadata: &Path, kind: RoleType) -> Option<PathBuf> {
    let end = format!("{kind}.json");
    let numbered = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let number = name.strip_suffix(&end)?;
        match number.strip_suffix('.') {
            Some(number) => number.parse::<u64>().ok(),
            None => number.is_empty().then_some(0),
        }
    };
    fs::read_dir(metadata)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((numbered(&path)?, path)))
        .max_by_key(|(number, _)| *number)
        .map(|(_, path)| path)
}

fn whole(error: &Tuf) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_said = inner.to_string();
        if !said.contains(&inner_said) {
            said.push_str(": ");
            said.push_str(&inner_said);
        }
        source = inner.source();
    }
    said
}

fn seen_before(home: &Home, metadata: &Path) -> bool {
    let version = |path: PathBuf| -> Option<u64> {
        let bytes = files::read_if_there(&path).ok()??;
        let timestamp: Signed<Timestamp> = serde_json::from_slice(&bytes).ok()?;
        Some(timestamp.signed.version.get())
    };
    match (
        version(home.trust().join("timestamp.json")),
        version(metadata.join("timestamp.json")),
    ) {
        (Some(seen), Some(offered)) => offered <= seen,
        _ => false,
    }
}
