//! Signatures: each key signs for its role, and what has enough takes its place.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp as Moment;
use serde::de::DeserializeOwned;
use tough::schema::decoded::Decoded;
use tough::schema::{
    Hashes, Metafile, Role, RoleType, Root, Signature, Signed, Snapshot, Targets, Timestamp,
};

use super::{Repository, SPEC, after, kind, next, pretty, read, release_of, unsigned};
use crate::files;
use crate::release::archive;
use crate::release::keys::ReleaseKey;

/// What a signature did.
#[derive(Debug, PartialEq, Eq)]
pub enum Signing {
    /// So many more signatures are needed.
    Needs(u64),
    /// The metadata is in place, under this name.
    Done(String),
}

impl Repository {
    /// Signs whatever waits for this key's role.
    ///
    /// # Errors
    /// When nothing waits, the key is none of the role's, or what it would sign is not as described.
    pub fn sign(&self, key: &ReleaseKey, expires: Option<Moment>) -> Result<Signing> {
        match key.public.role {
            RoleType::Root => self.sign_root(key),
            RoleType::Targets => self.sign_targets(key),
            RoleType::Snapshot => self.sign_snapshot(key, expires),
            RoleType::Timestamp => self.sign_timestamp(key, expires),
            other @ RoleType::DelegatedTargets => bail!("there are no keys for {other}"),
        }
    }

    fn sign_root(&self, key: &ReleaseKey) -> Result<Signing> {
        let mut draft: Signed<Root> = self.waiting(RoleType::Root)?;
        let before = self.root()?;
        let trusted = |root: &Root| holds(root, key);
        ensure!(
            trusted(&draft.signed)
                || before
                    .as_ref()
                    .is_some_and(|before| trusted(&before.signed)),
            "the key of {} is a root key neither of this root nor of the last",
            key.public.holder
        );
        add_signature(&mut draft, key)?;
        // A new root is trusted by those who trust the last one, so both sets of keys sign.
        let mut needs = lacking(&draft.signed, &draft)?;
        if let Some(before) = &before {
            needs = needs.max(lacking(&before.signed, &draft)?);
        }
        self.settle(
            RoleType::Root,
            &draft,
            needs,
            &format!("{}.root.json", draft.signed.version),
        )
    }

    fn sign_targets(&self, key: &ReleaseKey) -> Result<Signing> {
        let mut draft: Signed<Targets> = self.waiting(RoleType::Targets)?;
        let root = self.demand_root()?;
        ensure!(
            holds(&root.signed, key),
            "the key of {} is no targets key of this root",
            key.public.holder
        );
        // Nobody signs what they have not read: the bundle must be here and be what the draft says.
        for (name, target) in &draft.signed.targets {
            let sha256 = hex::encode(&target.hashes.sha256);
            let path = self
                .folder
                .join("targets")
                .join(format!("{sha256}.{}", name.raw()));
            let (found, length) = archive::hash_file(&path)?;
            ensure!(
                found == sha256 && length == target.length,
                "{} is not the file that the draft names",
                path.display()
            );
            if kind(target) == "release" {
                let manifest = archive::read_manifest(&path)?;
                let said = release_of(&draft.signed)?;
                ensure!(
                    manifest.version.to_string() == said.version
                        && manifest.counter == said.counter,
                    "the draft describes another release than {} holds",
                    path.display()
                );
                println!(
                    "release {} (counter {}), SHA-256 {sha256}",
                    manifest.version, manifest.counter
                );
            } else {
                println!("{}, SHA-256 {sha256}", name.raw());
            }
        }
        add_signature(&mut draft, key)?;
        let needs = lacking(&root.signed, &draft)?;
        self.settle(
            RoleType::Targets,
            &draft,
            needs,
            &format!("{}.targets.json", draft.signed.version),
        )
    }

    fn sign_snapshot(&self, key: &ReleaseKey, expires: Option<Moment>) -> Result<Signing> {
        let root = self.demand_root()?;
        ensure!(
            holds(&root.signed, key),
            "the key of {} is not this root's snapshot key",
            key.public.holder
        );
        let targets: Signed<Targets> = self
            .newest("targets")?
            .context("no targets are signed yet: two targets keys sign first")?;
        let before: Option<Signed<Snapshot>> = self.newest("snapshot")?;
        let mut snapshot = Snapshot::new(
            SPEC.into(),
            before.map_or(NonZeroU64::MIN, |before| next(before.signed.version)),
            expires.map_or_else(|| after(180), Ok)?,
        );
        let name = format!("{}.targets.json", targets.signed.version);
        snapshot.meta.insert(
            "targets.json".into(),
            self.describe(&name, targets.signed.version)?,
        );
        self.publish(snapshot, key, |snapshot| {
            format!("{}.snapshot.json", snapshot.version)
        })
    }

    fn sign_timestamp(&self, key: &ReleaseKey, expires: Option<Moment>) -> Result<Signing> {
        let root = self.demand_root()?;
        ensure!(
            holds(&root.signed, key),
            "the key of {} is not this root's timestamp key",
            key.public.holder
        );
        let snapshot: Signed<Snapshot> = self
            .newest("snapshot")?
            .context("no snapshot is signed yet: the snapshot key signs first")?;
        let before: Option<Signed<Timestamp>> = read(&self.metadata("timestamp.json"))?;
        let mut timestamp = Timestamp::new(
            SPEC.into(),
            before.map_or(NonZeroU64::MIN, |before| next(before.signed.version)),
            expires.map_or_else(|| after(30), Ok)?,
        );
        let name = format!("{}.snapshot.json", snapshot.signed.version);
        timestamp.meta.insert(
            "snapshot.json".into(),
            self.describe(&name, snapshot.signed.version)?,
        );
        self.publish(timestamp, key, |_| "timestamp.json".into())
    }

    fn describe(&self, name: &str, version: NonZeroU64) -> Result<Metafile> {
        let (sha256, length) = archive::hash_file(&self.metadata(name))?;
        Ok(Metafile {
            length: Some(length),
            hashes: Some(Hashes {
                sha256: Decoded::from(hex::decode(sha256)?),
                _extra: HashMap::new(),
            }),
            version,
            _extra: HashMap::new(),
        })
    }

    fn publish<T: Role>(
        &self,
        role: T,
        key: &ReleaseKey,
        name: impl Fn(&T) -> String,
    ) -> Result<Signing> {
        warn_if_past(role.expires());
        let mut signed = unsigned(role);
        add_signature(&mut signed, key)?;
        let name = name(&signed.signed);
        files::replace(&self.metadata(&name), 0o644, &pretty(&signed)?)?;
        Ok(Signing::Done(name))
    }

    fn waiting<T: DeserializeOwned>(&self, role: RoleType) -> Result<Signed<T>> {
        read(&self.draft(role))?.with_context(|| {
            format!(
                "nothing waits for a signature of {role} in {}",
                self.folder.join("draft").display()
            )
        })
    }

    fn settle<T: Role>(
        &self,
        role: RoleType,
        draft: &Signed<T>,
        needs: u64,
        name: &str,
    ) -> Result<Signing> {
        warn_if_past(draft.signed.expires());
        if needs > 0 {
            self.put_draft(role, draft)?;
            return Ok(Signing::Needs(needs));
        }
        files::replace(&self.metadata(name), 0o644, &pretty(draft)?)?;
        files::remove_file(&self.draft(role))?;
        Ok(Signing::Done(name.into()))
    }

    /// Takes over signatures that somebody made on a copy of this folder's draft.
    ///
    /// # Errors
    /// When the copy's draft says something else, or neither has one.
    pub fn merge(&self, other: &Path) -> Result<Vec<(RoleType, Signing)>> {
        let mut done = Vec::new();
        if let Some((draft, needs)) = self.merged::<Root>(RoleType::Root, other)? {
            let before = self.root()?;
            let needs = match &before {
                Some(before) => needs(&draft.signed)?.max(needs(&before.signed)?),
                None => needs(&draft.signed)?,
            };
            let name = format!("{}.root.json", draft.signed.version);
            done.push((
                RoleType::Root,
                self.settle(RoleType::Root, &draft, needs, &name)?,
            ));
        }
        if let Some((draft, needs)) = self.merged::<Targets>(RoleType::Targets, other)? {
            let name = format!("{}.targets.json", draft.signed.version);
            let needs = needs(&self.demand_root()?.signed)?;
            done.push((
                RoleType::Targets,
                self.settle(RoleType::Targets, &draft, needs, &name)?,
            ));
        }
        ensure!(
            !done.is_empty(),
            "there is no draft in both folders to merge"
        );
        Ok(done)
    }

    #[expect(
        clippy::type_complexity,
        reason = "a draft, and how to count what it lacks"
    )]
    fn merged<T: Role + DeserializeOwned + PartialEq + Clone + 'static>(
        &self,
        role: RoleType,
        other: &Path,
    ) -> Result<Option<(Signed<T>, Box<dyn Fn(&Root) -> Result<u64>>)>> {
        let theirs: Option<Signed<T>> = read(&other.join("draft").join(format!("{role}.json")))?;
        let ours: Option<Signed<T>> = read(&self.draft(role))?;
        let (Some(mut ours), Some(theirs)) = (ours, theirs) else {
            return Ok(None);
        };
        ensure!(
            ours.signed == theirs.signed,
            "the two drafts for {role} are not the same: they can't be merged"
        );
        for signature in theirs.signatures {
            if !ours
                .signatures
                .iter()
                .any(|ours| ours.keyid == signature.keyid)
            {
                ours.signatures.push(signature);
            }
        }
        let copy = ours.clone();
        Ok(Some((ours, Box::new(move |root| lacking(root, &copy)))))
    }
}

fn holds(root: &Root, key: &ReleaseKey) -> bool {
    let Ok(id) = key.public.id() else {
        return false;
    };
    root.roles
        .get(&key.public.role)
        .is_some_and(|role| role.keyids.contains(&id))
}

/// How many signatures are missing by what `root` demands.
fn lacking<T: Role>(root: &Root, draft: &Signed<T>) -> Result<u64> {
    let role = root
        .roles
        .get(&T::TYPE)
        .with_context(|| format!("the root says nothing of {}", T::TYPE))?;
    if root.verify_role(draft).is_ok() {
        return Ok(0);
    }
    let good = draft
        .signatures
        .iter()
        .filter(|signature| role.keyids.contains(&signature.keyid))
        .count() as u64;
    Ok(role.threshold.get().saturating_sub(good).max(1))
}

fn add_signature<T: Role>(draft: &mut Signed<T>, key: &ReleaseKey) -> Result<()> {
    let id = key.public.id()?;
    let signature = Signature {
        keyid: id.clone(),
        sig: Decoded::from(key.sign(&draft.signed.canonical_form()?)),
    };
    draft.signatures.retain(|other| other.keyid != id);
    draft.signatures.push(signature);
    Ok(())
}

fn warn_if_past(expires: Moment) {
    if expires <= Moment::now() {
        eprintln!("warning: this expired on {expires}, so every box will refuse it");
    }
}
