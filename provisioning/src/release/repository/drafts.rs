//! What waits for signatures: the next root, or the next targets.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp as Moment;
use tough::TargetName;
use tough::schema::decoded::Decoded;
use tough::schema::{Hashes, RoleKeys, RoleType, Root, Signed, Target, Targets};

use super::{Repository, SPEC, after, next, release_of, unsigned};
use crate::files;
use crate::release::archive;
use crate::release::keys::PublicKey;
use crate::release::manifest::Manifest;

/// Signatures that root and targets need, of the keys each has.
const THRESHOLD: u64 = 2;
/// Keys that root and targets have at least.
const HOLDERS: usize = 3;

/// The keys for a root: those of a role that is missing stay as they are.
#[derive(Debug, Default)]
pub struct RootKeys {
    /// Public halves by role.
    pub by_role: HashMap<RoleType, Vec<PublicKey>>,
}

impl Repository {
    /// Begins the next root: the first, or one with some keys replaced. It waits in the draft for signatures.
    ///
    /// # Errors
    /// When there are too few keys, or one has another role.
    pub fn draft_root(&self, keys: &RootKeys, expires: Option<Moment>) -> Result<u64> {
        let before = self.root()?;
        let mut root = match &before {
            Some(before) => Root {
                version: next(before.signed.version),
                ..before.signed.clone()
            },
            None => Root {
                spec_version: SPEC.into(),
                consistent_snapshot: true,
                version: NonZeroU64::MIN,
                expires: Moment::UNIX_EPOCH,
                keys: HashMap::new(),
                roles: HashMap::new(),
                _extra: HashMap::new(),
            },
        };
        root.expires = expires.map_or_else(|| after(2 * 365), Ok)?;
        for (role, threshold, least) in [
            (RoleType::Root, THRESHOLD, HOLDERS),
            (RoleType::Targets, THRESHOLD, HOLDERS),
            (RoleType::Snapshot, 1, 1),
            (RoleType::Timestamp, 1, 1),
        ] {
            let Some(given) = keys.by_role.get(&role).filter(|given| !given.is_empty()) else {
                ensure!(
                    root.roles.contains_key(&role),
                    "the first root needs keys for {role}"
                );
                continue;
            };
            let mut keyids = Vec::new();
            for key in given {
                ensure!(
                    key.role == role,
                    "the key of {} was made for {}, not for {role}",
                    key.holder,
                    key.role
                );
                let id = key.id()?;
                ensure!(
                    !keyids.contains(&id),
                    "the key of {} is given twice",
                    key.holder
                );
                root.keys.insert(id.clone(), key.tuf()?);
                keyids.push(id);
            }
            ensure!(
                keyids.len() >= least,
                "{role} needs at least {least} keys, held by as many people; {} given",
                keyids.len()
            );
            let role_keys = RoleKeys {
                keyids,
                threshold: NonZeroU64::new(threshold).context("the threshold is none")?,
                _extra: HashMap::new(),
            };
            root.roles.insert(role, role_keys);
        }
        // A key without a role would only be a riddle to its readers.
        let used: Vec<_> = root
            .roles
            .values()
            .flat_map(|role| role.keyids.clone())
            .collect();
        root.keys.retain(|id, _| used.contains(id));
        if let Some(before) = &before {
            ensure!(
                root.roles != before.signed.roles || root.expires > before.signed.expires,
                "this root would be the same as the last"
            );
        }
        let version = root.version.get();
        self.put_draft(RoleType::Root, &unsigned(root))?;
        Ok(version)
    }

    /// Begins the next targets: this bundle, and others if given, such as Debian's updates. It waits for signatures.
    ///
    /// # Errors
    /// When a bundle can't be read, or its counter does not grow.
    pub fn draft_targets(
        &self,
        bundle: &Path,
        debian: Option<&Path>,
        expires: Option<Moment>,
    ) -> Result<Manifest> {
        let before: Option<Signed<Targets>> = self.newest("targets")?;
        let manifest = archive::read_manifest(bundle)?;
        let mut targets = Targets::new(
            SPEC.into(),
            before
                .as_ref()
                .map_or(NonZeroU64::MIN, |before| next(before.signed.version)),
            expires.map_or_else(|| after(365), Ok)?,
        );
        targets.delegations = None;
        if let Some(last) = before
            .as_ref()
            .and_then(|before| release_of(&before.signed).ok())
        {
            ensure!(
                manifest.counter > last.counter,
                "the bundle's counter {} is not above {}, which was signed last",
                manifest.counter,
                last.counter
            );
        }
        let name = bundle_name(&manifest);
        let mut target = self.add_target(&name, bundle)?;
        target.custom = HashMap::from([
            ("kind".into(), "release".into()),
            ("product".into(), manifest.product.clone().into()),
            ("version".into(), manifest.version.to_string().into()),
            ("counter".into(), manifest.counter.into()),
            ("files".into(), manifest.files.len().into()),
            ("unpacked".into(), manifest.bytes()?.into()),
        ]);
        targets.add_target(TargetName::new(name)?, target);
        if let Some(debian) = debian {
            let (sha256, _) = archive::hash_file(debian)?;
            let name = format!("debian-{}.tar", &sha256[..12]);
            let mut target = self.add_target(&name, debian)?;
            target.custom = HashMap::from([("kind".into(), "debian".into())]);
            targets.add_target(TargetName::new(name)?, target);
        }
        self.put_draft(RoleType::Targets, &unsigned(targets))?;
        Ok(manifest)
    }

    fn add_target(&self, name: &str, file: &Path) -> Result<Target> {
        let (sha256, length) = archive::hash_file(file)?;
        let place = self.folder.join("targets").join(format!("{sha256}.{name}"));
        if !place.exists() {
            let mut draft = files::Draft::new(&place, 0o644)?;
            std::io::copy(&mut fs::File::open(file)?, &mut draft)
                .with_context(|| format!("can't copy {}", file.display()))?;
            draft.replace()?;
        }
        Ok(Target {
            length,
            hashes: Hashes {
                sha256: Decoded::from(hex::decode(&sha256)?),
                _extra: HashMap::new(),
            },
            custom: HashMap::new(),
            _extra: HashMap::new(),
        })
    }
}

fn bundle_name(manifest: &Manifest) -> String {
    format!("{}-{}.tar.zst", manifest.product, manifest.version)
}
