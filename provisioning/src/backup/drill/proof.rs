//! What is proved of a backup: the files and the log lead to a sound database, and the nightly set is what it was.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use ed25519_dalek::VerifyingKey;
use hadada_audit_log::{Anchor, Head, Verifier};
use time::{Duration, OffsetDateTime};

use super::{Chosen, Scratch, Steps, account};
use crate::backup::nightly::{Manifest, answers, fingerprints};
use crate::backup::plan::Point;
use crate::backup::recovery::{self, Hadada, Sources};
use crate::backup::{Work, clock, written};
use crate::files;
use crate::postgres::{Cluster, Databases, FINGERPRINTS, GOLDEN, Server};
use crate::programs::LONG;

/// How much older the newest change in the backup may be than the newest in the clinic.
const LAG: Duration = Duration::minutes(5);

/// The database's files and the log. None where a step failed after which the rest makes no sense.
pub(super) fn physical(
    work: &Work,
    chosen: &Chosen,
    steps: &mut Steps,
) -> Option<Option<OffsetDateTime>> {
    let databases = Databases::of(&work.place).ok()?;
    let about = chosen.base.base()?;
    let (scratch, account, mut cluster) =
        steps.attempt("base backup: read and unpacked", || {
            let scratch = Scratch::new(work, "p")?;
            let account = account(&work.place)?;
            let cluster = Cluster::over(
                scratch.path().join("data"),
                scratch.path().join("s"),
                account,
            )?;
            recovery::unpack(&cluster, &chosen.wrapped, &chosen.base.snapshot, about)?;
            Ok((
                (scratch, account, cluster),
                crate::backup::size(about.bytes),
            ))
        })?;
    steps.attempt("base backup: each file as the server sent it", || {
        cluster.verify()?;
        Ok(((), "pg_verifybackup found no fault".into()))
    })?;
    steps.attempt("the log: replayed to its end", || {
        let sources = Sources {
            restic: &chosen.wrapped,
            pieces: &chosen.wal,
            folders: &[],
        };
        let folder = scratch.path().join("s");
        recovery::replay(
            &mut cluster,
            &folder,
            account,
            &sources,
            Point::Latest,
            false,
        )?;
        Ok(((), "the database opened".into()))
    })?;
    let newest = steps.attempt("the log: newest change", || {
        let restored = recovery::newest(&cluster, &databases.records)?;
        let live = Server::of_box(&work.place)
            .and_then(|server| server.value(&databases.records, &format!("{};", crate::postgres::NEWEST)));
        let live = match live {
            Ok(text) => text.and_then(|text| crate::postgres::instant(&text)),
            Err(_) => None,
        };
        let Some(restored) = restored else {
            return Ok((None, "nothing was ever recorded".into()));
        };
        // What happened in the last minutes may be on its way; older things must have arrived.
        if let Some(live) = live
            && live.min(clock() - LAG) - restored > LAG
        {
            bail!(
                "the backup ends at {}, but the clinic worked until {}: the continuous log does not arrive at the target",
                written(restored),
                written(live)
            );
        }
        Ok((Some(restored), format!("of {}", written(restored))))
    });
    steps.attempt("tables and indexes: each row in each index", || {
        cluster.amcheck()?;
        Ok(((), "pg_amcheck found no fault".into()))
    });
    let dump = chosen.set.records.records();
    // A change after the dump says that all before it is here, its seal too. Where there was none, or the dump is younger than
    // what of the log is at the target, nothing follows.
    let reaches = newest.flatten() > dump.and_then(|dump| dump.newest);
    steps.attempt("audit log: the chain holds", || {
        audit(
            work,
            &cluster,
            &databases,
            dump.and_then(|dump| dump.head.as_deref()),
            reaches,
        )
    });
    steps.attempt("questions about the content", || {
        let mut golden = BTreeMap::new();
        answers(
            cluster.server().ask(&databases.records, GOLDEN)?,
            &mut golden,
        );
        // The log is pushed in order: what arrived well after the dump says so too.
        let set_of = chosen.set.records.made_at;
        let reaches = reaches || chosen.wal.iter().any(|piece| piece.made_at > set_of + LAG);
        let of_set = dump.filter(|_| reaches).map(|dump| &dump.golden);
        let number = |answers: &BTreeMap<String, String>, name: &str| {
            answers.get(name).and_then(|text| text.parse::<u64>().ok())
        };
        // These only grow, so the newer copy must not have fewer.
        for name in ["signed notes", "audit events", "newest seal"] {
            if let (Some(now), Some(then)) = (
                number(&golden, name),
                of_set.and_then(|of_set| number(of_set, name)),
            ) && now < then
            {
                bail!(
                    "{name}: {now} in the restored copy, and the nightly backup had {then} before"
                );
            }
        }
        Ok(((), format!("{} answered", golden.len())))
    });
    steps.attempt("pages: each by its checksum", || {
        cluster.stop()?;
        cluster.checksums()?;
        Ok(((), "pg_checksums found no fault".into()))
    });
    newest
}

/// The nightly set.
pub(super) fn logical(work: &Work, chosen: &Chosen, steps: &mut Steps) -> Option<()> {
    let databases = Databases::of(&work.place).ok()?;
    let dump = chosen.set.records.records()?.clone();
    let (scratch, cluster) =
        steps.attempt("nightly backup: read into an empty database", || {
            let scratch = Scratch::new(work, "l")?;
            let account = account(&work.place)?;
            let mut cluster = Cluster::over(
                scratch.path().join("data"),
                scratch.path().join("s"),
                account,
            )?;
            cluster.make_data_folder()?;
            cluster.init()?;
            cluster.start(&[], false)?;
            cluster.make_databases(&databases)?;
            recovery::load(
                &cluster,
                &chosen.records,
                &chosen.set.records.snapshot,
                "records.dump",
                &dump,
                &databases.records,
            )?;
            Ok(((scratch, cluster), crate::backup::size(dump.bytes)))
        })?;
    steps.attempt("nightly backup: each table as it was", || {
        let rows = compare(&cluster, &databases.records, &dump.counts, &dump.golden)?;
        Ok(((), format!("{} tables with {rows} rows", dump.counts.len())))
    });
    steps.attempt("nightly backup: the keys as they were", || {
        let Some(entry) = &chosen.set.keys else {
            bail!("the newest set has no keys");
        };
        let crate::backup::ledger::What::Keys(dump) = &entry.what else {
            bail!("the ledger names something else as keys");
        };
        recovery::load(
            &cluster,
            &chosen.wrapped,
            &entry.snapshot,
            "keys.dump",
            dump,
            &databases.keys,
        )?;
        let rows = compare(&cluster, &databases.keys, &dump.counts, &dump.golden)?;
        Ok(((), format!("{rows} rows")))
    });
    steps.attempt("nightly backup: the audit log's chain holds", || {
        audit(work, &cluster, &databases, dump.head.as_deref(), true)
    });
    steps.attempt("nightly backup: questions about the content", || {
        let mut golden = BTreeMap::new();
        answers(
            cluster.server().ask(&databases.records, GOLDEN)?,
            &mut golden,
        );
        for (question, answer) in &golden {
            if dump.golden.get(question) != Some(answer) {
                bail!(
                    "{question}: {answer} in the restored copy, {:?} when the backup was made",
                    dump.golden.get(question)
                );
            }
        }
        Ok(((), format!("{} answered as on the day", golden.len())))
    });
    steps.attempt("the files: each as it was", || {
        let into = scratch.path().join("files");
        files::make_folder(&into, 0o700)?;
        chosen.records.restore(&chosen.set.files.snapshot, &into)?;
        let crate::backup::ledger::What::Files { state } = &chosen.set.files.what else {
            bail!("the ledger names something else as files");
        };
        let restored = into.join(state.strip_prefix("/").unwrap_or(state));
        let manifest = restored.join("backup").join(Manifest::NAME);
        let manifest: Manifest = serde_json::from_slice(
            &files::read_if_there(&manifest)?.context("the list of documents is missing")?,
        )
        .context("the list of documents is damaged")?;
        let found = Manifest::of(&restored)?;
        for (name, hash) in &manifest.documents {
            match found.documents.get(name) {
                Some(there) if there == hash => {}
                Some(_) => bail!("{name} is not as it was"),
                None => bail!("{name} is missing"),
            }
        }
        Ok(((), format!("{} documents", manifest.documents.len())))
    });
    Some(())
}

fn compare(
    cluster: &Cluster,
    database: &str,
    counts: &BTreeMap<String, u64>,
    golden: &BTreeMap<String, String>,
) -> Result<u64> {
    let (mut found, mut sums) = (BTreeMap::new(), BTreeMap::new());
    fingerprints(
        cluster.server().ask(database, FINGERPRINTS)?,
        &mut found,
        &mut sums,
    );
    for (table, count) in counts {
        match found.get(table) {
            Some(there) if there == count => {}
            Some(there) => bail!("{table} has {there} rows and had {count}"),
            None => bail!("the table {table} is missing"),
        }
        let name = format!("content of {table}");
        if golden.get(&name) != sums.get(&name) {
            bail!("{table} has other content than when the backup was made");
        }
    }
    if let Some(table) = found.keys().find(|table| !counts.contains_key(*table)) {
        bail!("the table {table} was not in the database when the backup was made");
    }
    Ok(counts.values().sum())
}

/// Proves the audit log of a restored database; `reaches` says whether it must reach the head.
fn audit(
    work: &Work,
    cluster: &Cluster,
    databases: &Databases,
    head: Option<&str>,
    reaches: bool,
) -> Result<((), String)> {
    let key = files::read_public_key(&work.place.audit_public_key())?
        .context("there is no audit.pub: run `hadadactl init`")?;
    let key = VerifyingKey::from_bytes(&key).context("audit.pub is not a key")?;
    let mut anchors = Vec::new();
    if let Some(head) = head.filter(|_| reaches) {
        anchors.push(Anchor::Head(
            Head::from_json(head, &key).context("the head kept with the backup")?,
        ));
    }
    let hadada = Hadada::over(&work.place, cluster, databases, None)?;
    let export = hadada
        .command("audit-export")
        .arg("--key")
        .arg(work.place.audit_public_key())
        .output(LONG)?;
    let mut verifier = Verifier::new(key, anchors);
    for line in export
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        verifier.push_line(&String::from_utf8_lossy(line));
    }
    let report = verifier.finish();
    if let Some(finding) = &report.finding {
        bail!("{finding}");
    }
    Ok(((), report.to_string()))
}
