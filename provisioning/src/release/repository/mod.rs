//! The signed repository: a folder that goes onto a USB stick, a mirror or into one file to be pushed. Each key holder signs
//! in turn; a role's metadata takes its place once enough have.
//!
//! `metadata/` holds what boxes read, `targets/` the bundles by hash, `draft/` what still lacks signatures.

mod drafts;
mod said;
mod signing;

pub use drafts::RootKeys;
pub use said::{Said, kind, release_of};
pub use signing::Signing;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jiff::{Timestamp as Moment, ToSpan};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tough::schema::{RoleType, Root, Signed, Targets};

use super::archive;
use crate::files;

const SPEC: &str = "1.0.0";

/// A repository's folder.
pub struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// A repository in `folder`, which is made where it is not there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(folder: &Path) -> Result<Self> {
        for part in ["metadata", "targets", "draft"] {
            files::make_folder(&folder.join(part), 0o755)?;
        }
        Ok(Self {
            folder: folder.into(),
        })
    }

    fn metadata(&self, name: &str) -> PathBuf {
        self.folder.join("metadata").join(name)
    }

    fn draft(&self, role: RoleType) -> PathBuf {
        self.folder.join("draft").join(format!("{role}.json"))
    }

    /// The newest root in place.
    ///
    /// # Errors
    /// When a root can't be read.
    pub fn root(&self) -> Result<Option<Signed<Root>>> {
        self.newest("root")
    }

    fn demand_root(&self) -> Result<Signed<Root>> {
        self.root()?.with_context(|| {
            format!(
                "{} has no signed root yet: run `hadadactl release keys root`, and have two root keys sign it",
                self.folder.display()
            )
        })
    }

    fn newest<T: DeserializeOwned>(&self, role: &str) -> Result<Option<Signed<T>>> {
        let mut newest = 0_u64;
        for entry in fs::read_dir(self.folder.join("metadata"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(version) = name
                .strip_suffix(&format!(".{role}.json"))
                .and_then(|version| version.parse().ok())
            {
                newest = newest.max(version);
            }
        }
        if newest == 0 {
            return Ok(None);
        }
        read(&self.metadata(&format!("{newest}.{role}.json")))
    }

    fn put_draft<T: Serialize>(&self, role: RoleType, draft: &Signed<T>) -> Result<()> {
        files::replace(&self.draft(role), 0o644, &pretty(draft)?)
    }

    /// Writes what boxes read into one file, to be pushed or carried.
    ///
    /// # Errors
    /// When something is unsigned still, or missing.
    pub fn pack(&self, target: &Path) -> Result<()> {
        self.demand_root()?;
        ensure!(
            self.metadata("timestamp.json").exists(),
            "the timestamp key has not signed yet"
        );
        let mut sources = BTreeMap::new();
        for part in ["metadata", "targets"] {
            for entry in fs::read_dir(self.folder.join(part))? {
                let entry = entry?;
                sources.insert(
                    format!("{part}/{}", entry.file_name().to_string_lossy()),
                    entry.path(),
                );
            }
        }
        // Bundles of earlier releases need not travel.
        let targets: Signed<Targets> = self
            .newest("targets")?
            .context("no targets are signed yet")?;
        let wanted: Vec<String> = targets
            .signed
            .targets
            .iter()
            .map(|(name, target)| {
                format!(
                    "targets/{}.{}",
                    hex::encode(&target.hashes.sha256),
                    name.raw()
                )
            })
            .collect();
        sources.retain(|name, _| name.starts_with("metadata/") || wanted.contains(name));
        archive::write_plain(target, &sources)
    }
}

fn unsigned<T>(signed: T) -> Signed<T> {
    Signed {
        signed,
        signatures: Vec::new(),
    }
}

fn next(version: NonZeroU64) -> NonZeroU64 {
    version.saturating_add(1)
}

fn after(days: i64) -> Result<Moment> {
    let later = Moment::now().checked_add((days * 24).hours())?;
    // Whole seconds: all that TUF's format has.
    Ok(Moment::from_second(later.as_second())?)
}

fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    // By way of a value with sorted keys: the same metadata makes the same bytes.
    let value: BTreeMap<String, Value> = match json!(value) {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, sorted(value)))
            .collect(),
        _ => bail!("metadata is an object"),
    };
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted_map: BTreeMap<_, _> = map
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            Value::Object(sorted_map.into_iter().collect())
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<Signed<T>>> {
    files::read_if_there(path)?
        .map(|bytes| {
            serde_json::from_slice(&bytes)
                .with_context(|| format!("{} can't be read", path.display()))
        })
        .transpose()
}
