//! Whoever was erased stays erased, whatever a backup still holds.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::backup::ledger::{Ledger, What};
use crate::backup::recovery::Hadada;
use crate::backup::settings::Target;
use crate::backup::{Work, erasures, say};
use crate::files;
use crate::postgres::{Cluster, Databases};
use crate::programs::{Account, LONG};

/// Whoever was erased before stays erased: the box's own register and the newest at the target, together.
pub(super) fn replay_erasures(
    work: &Work,
    target: &Target,
    ledger: &Ledger,
    cluster: &Cluster,
    databases: &Databases,
    hadada: &Hadada,
) -> Result<()> {
    let own = files::read_if_there(&work.place.erasures())?.unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut add = |register: &[u8]| {
        for line in String::from_utf8_lossy(register).lines() {
            if let Some(erasure) = erasures(line.as_bytes()).pop()
                && seen.insert((erasure.practice_id, erasure.patient_id))
            {
                lines.push(line.to_owned());
            }
        }
    };
    add(&own);
    for register in registers(work, target, ledger)? {
        add(&register);
    }
    if lines.is_empty() {
        return Ok(());
    }
    say(&format!(
        "erasing again the {} patients whom the register names",
        lines.len()
    ));
    let values: Vec<String> = lines
        .iter()
        .flat_map(|line| erasures(line.as_bytes()))
        .filter(|erasure| {
            [&erasure.practice_id, &erasure.patient_id]
                .into_iter()
                .all(|id| is_uuid(id))
        })
        .map(|erasure| {
            format!(
                "('{}'::uuid, '{}'::uuid)",
                erasure.practice_id, erasure.patient_id
            )
        })
        .collect();
    if values.len() != lines.len() {
        bail!(
            "the register of erasures has a line that names no patient: {}",
            work.place.erasures().display()
        );
    }
    // The law's part, whatever else goes wrong: without the key nothing opens.
    cluster.server().ask(
        &databases.keys,
        &format!(
            "DELETE FROM patient_keys WHERE (practice_id, patient_id) IN (VALUES {})",
            values.join(", ")
        ),
    )?;
    let register = crate::backup::target::Private::new()?;
    let path = register.path().join("erasures.jsonl");
    files::create(&path, 0o600, format!("{}\n", lines.join("\n")).as_bytes())?;
    let said = hadada
        .command("replay-erasures")
        .arg("--register")
        .arg(&path)
        .output(LONG)?;
    say(&format!("  {}", String::from_utf8_lossy(&said).trim()));
    // As root it may have made the box's own register, which the web program must go on writing.
    if let Ok(owner) = Account::owner(&work.place.audit())
        && work.place.erasures().exists()
    {
        owner.own(&work.place.erasures())?;
    }
    Ok(())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The registers in the newest snapshots at the target: each push of the log brings one.
pub(super) fn registers(work: &Work, target: &Target, ledger: &Ledger) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let newest = |wanted: fn(&What) -> Option<&PathBuf>| {
        ledger
            .entries
            .iter()
            .filter(|entry| entry.target == target.name)
            .filter_map(|entry| Some((entry, wanted(&entry.what)?)))
            .max_by_key(|(entry, _)| entry.made_at)
    };
    let wal = newest(|what| match what {
        What::Wal(wal) => Some(&wal.state),
        _ => None,
    });
    let files = newest(|what| match what {
        What::Files { state } => Some(state),
        _ => None,
    });
    let copy = newest(|what| match what {
        What::Ledger { state } => Some(state),
        _ => None,
    });
    for (entry, state) in [wal, files, copy].into_iter().flatten() {
        let restic = work.use_repository(target, entry.repository)?;
        found.extend(restic.read(&entry.snapshot, &state.join("audit/erasures.jsonl"))?);
    }
    Ok(found)
}
