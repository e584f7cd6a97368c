//! One patient's record out of a backup, without touching the box's database.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Result, bail};

use super::build::assemble;
use super::erased::registers;
use crate::backup::drill::{Scratch, account};
use crate::backup::ledger;
use crate::backup::plan::{Point, choose};
use crate::backup::settings::Target;
use crate::backup::{Work, erasures, say};
use crate::files;
use crate::postgres::{Cluster, Databases, Server};

/// Writes everything that is recorded of one patient into a file, from a backup and without touching the box's database.
/// Encrypted text stays encrypted.
///
/// # Errors
/// When nothing reaches the point, there is no such patient or several, or the patient was erased.
pub fn patient(
    work: &Work,
    target: &Target,
    number: &str,
    practice: Option<&str>,
    point: Point,
    out: &Path,
) -> Result<(u64, String)> {
    let _held = work.hold(target)?;
    let ledger = ledger::read(&work.place, &work.keys)?;
    let plan = choose(&ledger, &target.name, point)?;
    say(&format!("from {}: {}", target.name, plan.words()));
    let databases = Databases::of(&work.place)?;
    let account = account(&work.place)?;
    let scratch = Scratch::new(work, "o")?;
    let folder = scratch.path().join("s");
    let mut cluster = Cluster::over(scratch.path().join("data"), folder.clone(), account)?;
    assemble(
        work,
        target,
        &mut cluster,
        &folder,
        account,
        &plan,
        point,
        &databases,
        &[],
    )?;
    let server = cluster.server();
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut sql = format!(
        "SELECT p.practice_id, p.id, r.name FROM patients p JOIN practices r USING (practice_id) WHERE p.file_number = {}",
        quoted(number)
    );
    if let Some(practice) = practice {
        sql.push_str(&format!(" AND r.name = {}", quoted(practice)));
    }
    let found = server.ask(&databases.records, &sql)?;
    let (practice_id, id) = match found.as_slice() {
        [] => bail!("the backup has no patient with the number {number}"),
        [one] => {
            let mut fields = one.split('\t');
            (
                fields.next().unwrap_or_default().to_owned(),
                fields.next().unwrap_or_default().to_owned(),
            )
        }
        several => bail!(
            "{} practices have a patient with the number {number}: say which with --practice ({})",
            several.len(),
            several
                .iter()
                .filter_map(|line| line.split('\t').nth(2))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    let mut erased = files::read_if_there(&work.place.erasures())?.unwrap_or_default();
    for register in registers(work, target, &ledger)? {
        erased.push(b'\n');
        erased.extend(register);
    }
    if erasures(&erased)
        .iter()
        .any(|erasure| erasure.patient_id == id && erasure.practice_id == practice_id)
    {
        bail!(
            "this patient was erased, as the register says: the record is not taken from backups any more"
        );
    }
    let mut draft = files::Draft::new(out, 0o600)?;
    let mut count = 0;
    {
        let mut writer = BufWriter::new(&mut draft);
        for (table, condition) in of_patient(&server, &databases.records, &practice_id, &id)? {
            let rows = server.ask(
                &databases.records,
                &format!("SELECT json_build_object('table', {}, 'row', to_jsonb(t)) FROM \"{table}\" t WHERE {condition}", quoted(&table)),
            )?;
            for row in rows {
                writeln!(writer, "{row}")?;
                count += 1;
            }
        }
        writer.flush()?;
    }
    draft.replace()?;
    Ok((count, plan.words()))
}

/// The tables that say something of a patient, each with its condition: those that name the patient, and those whose rows
/// belong to such a row.
fn of_patient(
    server: &Server,
    database: &str,
    practice: &str,
    id: &str,
) -> Result<Vec<(String, String)>> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let own =
        |column: &str| format!("{SELF}.practice_id = '{practice}' AND {SELF}.{column} = '{id}'");
    all.insert("patients".into(), own("id"));
    for table in server.ask(
        database,
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'patient_id' AND NOT a.attisdropped",
    )? {
        all.insert(table, own("patient_id"));
    }
    let references = server.ask(
        database,
        "SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, \
         string_agg(format('CHILD.%I = PARENT.%I', a.attname, f.attname), ' AND ') \
         FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair (own, other) \
         JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.own \
         JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = pair.other \
         WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace GROUP BY k.oid, k.conrelid, k.confrelid \
         ORDER BY 1, 2, 3",
    )?;
    // Rows of rows: as deep as there are any.
    let mut number = 0;
    loop {
        let mut more = BTreeMap::new();
        for line in &references {
            let mut fields = line.split('\t');
            let (Some(child), Some(parent), Some(pairs)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if let Some(condition) = all.get(parent)
                && !all.contains_key(child)
                && parent != "patients"
            {
                number += 1;
                let alias = format!("a{number}");
                let pairs = pairs.replace("CHILD", SELF).replace("PARENT", &alias);
                more.insert(
                    child.to_owned(),
                    format!(
                        "EXISTS (SELECT FROM \"{parent}\" {alias} WHERE {pairs} AND {})",
                        condition.replace(SELF, &alias)
                    ),
                );
            }
        }
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    // A booking names its patient through those who take part.
    if all.contains_key("appointment_participants") && !all.contains_key("appointments") {
        all.insert(
            "appointments".into(),
            format!(
                "{SELF}.practice_id = '{practice}' AND {SELF}.id IN (SELECT appointment_id FROM appointment_participants WHERE patient_id = '{id}')"
            ),
        );
    }
    Ok(all
        .into_iter()
        .map(|(table, condition)| (table, condition.replace(SELF, "t")))
        .collect())
}

/// Stands for the table that a condition is about.
const SELF: &str = "\u{1}";
