//! A new machine takes the place of one that is lost, with a target and the recovery key on paper.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use zeroize::Zeroizing;

use super::{Done, replace};
use crate::backup::keys::{BackupKeys, Repository};
use crate::backup::ledger::{self, Entry, Ledger, What};
use crate::backup::plan::Point;
use crate::backup::settings::Target;
use crate::backup::{Work, clock, push, say};
use crate::commands::certificate;
use crate::files;
use crate::secrets::{self, AUDIT_KEY, AUTHORITY_KEY, BACKUP_KEY, RECOVERY_BACKUP_KEY};
use crate::trust::recovery::RecoveryKey;

/// Brings a whole box back on a new machine, from a target and the recovery key on paper.
///
/// # Errors
/// When the paper does not open the target, there is no backup, or a step fails.
pub async fn new_box(
    work: &Work,
    target: &Target,
    paper: &RecoveryKey,
    typed: &str,
) -> Result<Done> {
    let place = &work.place;
    let began = Instant::now();
    say("looking for what the old machine left at the target");
    let ledger = adopt(work, target)?;
    say(&format!(
        "  {} nightly backups, {} base backups, {} pieces of the log",
        ledger.sets(&target.name).len(),
        ledger.bases(&target.name).len(),
        ledger.wal(&target.name).len()
    ));
    take_over(work, target, &ledger, paper)?;
    ledger::update(place, &work.keys, |own| {
        let sequence = own.sequence.max(ledger.sequence);
        *own = ledger.clone();
        own.sequence = sequence;
        Ok(())
    })?;
    let mut done = replace(work, target, Point::Latest, Some(typed)).await?;
    let own = secrets::key(place, BACKUP_KEY)?;
    let box_keys = BackupKeys::of_box(place)?;
    say("letting this machine's key open the backups, and the old machine's no more");
    for repository in Repository::ALL {
        let restic = work.use_repository(target, repository)?;
        if !restic.opens_with(&box_keys.password(repository))? {
            restic.add_key(&box_keys.password(repository), "box")?;
        }
        let opened =
            crate::backup::target::open(place, &work.settings, target, &box_keys, repository)?;
        for key in opened.keys()? {
            if !key.current && key.user_name != "recovery" {
                opened.remove_key(&key.id)?;
            }
        }
    }
    drop(own);
    done.seconds = began.elapsed().as_secs();
    Ok(done)
}

/// The newest ledger that is at a target, with the pushes that it does not know yet.
///
/// # Errors
/// When there is none that the recovery key signed.
pub fn adopt(work: &Work, target: &Target) -> Result<Ledger> {
    let mut newest: Option<(Ledger, Entry)> = None;
    let mut foreign = 0;
    for repository in Repository::ALL {
        let restic = work.use_repository(target, repository)?;
        for snapshot in restic.snapshots()? {
            if !snapshot.tags.iter().any(|tag| tag == "ledger") {
                continue;
            }
            let Some((state, bytes)) = find_file(&restic, &snapshot.id, "backup/ledger.json")?
            else {
                foreign += 1;
                continue;
            };
            match ledger::parse(&bytes, &work.keys) {
                Ok(ledger) => {
                    if newest
                        .as_ref()
                        .is_none_or(|(known, _)| known.sequence < ledger.sequence)
                    {
                        let entry = Entry {
                            target: target.name.clone(),
                            repository,
                            snapshot: snapshot.id.clone(),
                            run: snapshot
                                .tags
                                .iter()
                                .find(|tag| tag.len() == 32)
                                .cloned()
                                .unwrap_or_default(),
                            made_at: clock(),
                            what: What::Ledger { state },
                            verified_at: None,
                        };
                        newest = Some((ledger, entry));
                    }
                }
                Err(_) => foreign += 1,
            }
        }
    }
    if foreign > 0 {
        say(&format!(
            "  {foreign} snapshots that claim to be this box's ledger are not, and are left alone"
        ));
    }
    let (mut ledger, own) = newest.context(
        "there is no ledger at this target that this recovery key signed: it is another box's target, or another recovery key",
    )?;
    // A target is known by what it was called on the old machine.
    let called = ledger
        .begun
        .iter()
        .filter(|begun| begun.run == own.run)
        .map(|begun| begun.target.clone())
        .next()
        .or_else(|| ledger.entries.last().map(|entry| entry.target.clone()));
    if let Some(called) = called
        && called != target.name
    {
        ledger.entries.retain(|entry| entry.target == called);
        ledger.superseded.retain(|entry| entry.target == called);
        for entry in &mut ledger.entries {
            entry.target.clone_from(&target.name);
        }
        for entry in &mut ledger.superseded {
            entry.target.clone_from(&target.name);
        }
    }
    ledger.begun.clear();
    if !ledger
        .entries
        .iter()
        .any(|entry| entry.snapshot == own.snapshot)
    {
        ledger.entries.push(own);
    }
    let wrapped = work.use_repository(target, Repository::Keys)?;
    let known: BTreeSet<String> = ledger
        .own(&target.name, Repository::Keys)
        .into_iter()
        .map(str::to_owned)
        .collect();
    for snapshot in wrapped.snapshots()? {
        if known.contains(&snapshot.id) || !snapshot.tags.iter().any(|tag| tag == "wal") {
            continue;
        }
        let Some((_, bytes)) = find_file(&wrapped, &snapshot.id, "backup/push.json")? else {
            continue;
        };
        // What this box did not sign is somebody else's.
        if let Ok(statement) = push::statement(&bytes, &snapshot.tags, &work.keys) {
            ledger.entries.push(Entry {
                target: target.name.clone(),
                repository: Repository::Keys,
                snapshot: snapshot.id,
                run: statement.run,
                made_at: statement.at,
                what: What::Wal(statement.wal),
                verified_at: None,
            });
        }
    }
    Ok(ledger)
}

/// A file of a snapshot by the end of its name, and the folder that the name begins with: the old machine's is not known yet.
fn find_file(
    restic: &crate::restic::Restic,
    snapshot: &str,
    end: &str,
) -> Result<Option<(PathBuf, Vec<u8>)>> {
    let end = format!("/{end}");
    let Some(path) = restic
        .names(snapshot)?
        .into_iter()
        .find(|name| name.ends_with(&end))
    else {
        return Ok(None);
    };
    let state = PathBuf::from(&path[..path.len() - end.len()]);
    Ok(restic
        .read(snapshot, Path::new(&path))?
        .map(|bytes| (state, bytes)))
}

/// Takes the old machine's place: its recovery key, and what only that opens.
fn take_over(work: &Work, target: &Target, ledger: &Ledger, paper: &RecoveryKey) -> Result<()> {
    let place = &work.place;
    files::make_folder(&place.backup(), 0o755)?;
    files::replace(&place.recovery_public_key(), 0o644, &paper.public())?;
    secrets::replace(place, RECOVERY_BACKUP_KEY, &paper.backup_secret()[..])?;
    let copy = ledger
        .entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Ledger { state } => Some((entry, state)),
            _ => None,
        })
        .max_by_key(|(entry, _)| entry.made_at);
    let Some((entry, state)) = copy else {
        return Ok(());
    };
    let restic = work.use_repository(target, entry.repository)?;
    for name in [AUDIT_KEY, AUTHORITY_KEY] {
        let Some(text) = restic.read(&entry.snapshot, &state.join("backup/escrow").join(name))?
        else {
            say(&format!(
                "  the old machine left no {name}: this machine's own is used"
            ));
            continue;
        };
        let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
        let secret = text
            .split_whitespace()
            .nth(1)
            .and_then(|sealed| hex::decode(sealed).ok())
            .and_then(|sealed| paper.open(name, &sealed))
            .with_context(|| {
                format!("the old machine's {name} does not open with this recovery key")
            })?;
        secrets::replace(place, name, &secret)?;
        say(&format!("  the old machine's {name} is this machine's now"));
    }
    for (name, path) in [
        ("audit.pub", place.audit_public_key()),
        ("ca.pem", place.authority()),
    ] {
        for folder in ["keys", "tls"] {
            if let Some(content) = restic.read(&entry.snapshot, &state.join(folder).join(name))? {
                files::replace(&path, 0o644, &content)?;
            }
        }
    }
    if files::read_if_there(&place.authority())?.is_some()
        && secrets::read(place, AUTHORITY_KEY)?.is_some()
    {
        // The certificate from this machine's installation is of an authority that no device trusts.
        certificate::renew_for_authority(place, clock())?;
    }
    Ok(())
}
