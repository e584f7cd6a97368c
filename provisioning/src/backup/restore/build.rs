//! From a backup to a whole database: filled as the plan says, brought up to date, with its keys, its erasures and the files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;

use super::erased::replay_erasures;
use super::site::Site;
use crate::backup::drill::Scratch;
use crate::backup::keys::Repository;
use crate::backup::ledger::{Ledger, What};
use crate::backup::plan::{Plan, Point};
use crate::backup::recovery::{self, Hadada, Sources};
use crate::backup::settings::Target;
use crate::backup::spool::Spool;
use crate::backup::{Work, say};
use crate::files;
use crate::postgres::{Cluster, Databases};
use crate::programs::{Account, LONG, SHORT};
use crate::secrets::{self, MASTER_KEY};

#[expect(
    clippy::too_many_arguments,
    reason = "each is another thing, and it is called once"
)]
pub(super) fn build(
    work: &Work,
    target: &Target,
    site: &Site,
    ledger: &Ledger,
    plan: &Plan,
    point: Point,
    databases: &Databases,
    paper: Option<&str>,
) -> Result<Option<OffsetDateTime>> {
    let data = site.beside("restoring");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| {
            format!("can't remove {}, which an earlier run left", data.display())
        })?;
    }
    let scratch = Scratch::new(work, "r")?;
    let folder = scratch.path().join("s");
    // A new folder's parent may belong to root, so it is made here and given away.
    let mut cluster = Cluster::over(data, folder.clone(), site.account)?;
    // What of the log never left this machine is on its disk yet, in the spool or in the database's own folder.
    let spool = Spool::of(&work.place);
    // A second of the last minute is reached through it too.
    let folders = vec![spool.waiting(), spool.pushed(), site.data.join("pg_wal")];
    assemble(
        work,
        target,
        &mut cluster,
        &folder,
        site.account,
        plan,
        point,
        databases,
        &folders,
    )?;

    say("bringing the schema up to date");
    let master = secrets::key(&work.place, MASTER_KEY)?;
    let hadada = Hadada::over(&work.place, &cluster, databases, Some(&master[..]))?;
    hadada.command("migrate").output(LONG)?;
    if let Some(paper) = paper {
        say("wrapping the practices' keys with this machine's master key");
        let said = hadada
            .command("rewrap-keys")
            .arg("--recovery-from-stdin")
            .ask(paper.as_bytes(), SHORT)?;
        say(&format!("  {}", String::from_utf8_lossy(&said).trim()));
    } else {
        hadada.command("check-keys").output(SHORT).context(
            "this backup's text would stay closed, so it was not restored: run this again with --recovery-key",
        )?;
    }
    replay_erasures(work, target, ledger, &cluster, databases, &hadada)?;
    documents(work, target, ledger, point, &scratch)?;
    let newest = recovery::newest(&cluster, &databases.records)?;
    say("closing the restored database");
    cluster.stop()?;
    Ok(newest)
}

/// Fills the cluster as the plan says, and leaves it running.
#[expect(clippy::too_many_arguments, reason = "each is another thing")]
pub(super) fn assemble(
    work: &Work,
    target: &Target,
    cluster: &mut Cluster,
    folder: &Path,
    account: Option<Account>,
    plan: &Plan,
    point: Point,
    databases: &Databases,
    folders: &[PathBuf],
) -> Result<()> {
    let wrapped = work.use_repository(target, Repository::Keys)?;
    match plan {
        Plan::Physical { base, wal } => {
            let about = base
                .base()
                .context("the ledger names something else as a base backup")?;
            recovery::unpack(cluster, &wrapped, &base.snapshot, about)?;
            say("  checking each file");
            cluster.verify()?;
            say("  replaying the log");
            let sources = Sources {
                restic: &wrapped,
                pieces: wal,
                folders,
            };
            recovery::replay(cluster, folder, account, &sources, point, true)
        }
        Plan::Logical { set, keys } => {
            let records = work.use_repository(target, Repository::Records)?;
            cluster.make_data_folder()?;
            cluster.init()?;
            cluster.start(&[], true)?;
            cluster.make_databases(databases)?;
            let dump = set
                .records
                .records()
                .context("the ledger names something else as records")?;
            recovery::load(
                cluster,
                &records,
                &set.records.snapshot,
                "records.dump",
                dump,
                &databases.records,
            )?;
            let What::Keys(dump) = &keys.what else {
                bail!("the ledger names something else as keys");
            };
            recovery::load(
                cluster,
                &wrapped,
                &keys.snapshot,
                "keys.dump",
                dump,
                &databases.keys,
            )
        }
    }
}

/// Puts back the patients' files that are not here.
fn documents(
    work: &Work,
    target: &Target,
    ledger: &Ledger,
    point: Point,
    scratch: &Scratch,
) -> Result<()> {
    let set = ledger
        .sets(&target.name)
        .into_iter()
        .rfind(|set| match point {
            // The next night's has what was added until the point.
            Point::Latest | Point::At(_) => !set.files.snapshot.is_empty(),
        });
    let Some(set) = set else {
        return Ok(());
    };
    let What::Files { state } = &set.files.what else {
        return Ok(());
    };
    let into = scratch.path().join("files");
    files::make_folder(&into, 0o700)?;
    say("putting back files that are missing");
    let records = work.use_repository(target, Repository::Records)?;
    records.restore(&set.files.snapshot, &into)?;
    let restored = into.join(state.strip_prefix("/").unwrap_or(state));
    let owner = Account::owner(work.place.state())?;
    let mut count = 0;
    for name in crate::backup::nightly::Manifest::of(&restored)?
        .documents
        .keys()
    {
        let path = work.place.state().join(name);
        if path.exists() {
            continue;
        }
        if let Some(folder) = path.parent() {
            files::make_folder(folder, 0o750)?;
        }
        files::create(&path, 0o640, &fs::read(restored.join(name))?)?;
        Account::owner(&work.place.documents())
            .unwrap_or(owner)
            .own(&path)?;
        count += 1;
    }
    say(&format!("  {count} files"));
    Ok(())
}
