//! `audit export` and `audit verify`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ed25519_dalek::VerifyingKey;
use hadada_audit_log::{Anchor, Head, Report, Slip, Verifier};
use time::OffsetDateTime;
use time::macros::format_description;

use super::Outcome;
use crate::admin::Socket;
use crate::files::{self, Draft};
use crate::place::Place;

/// Sealing takes about a second; an event that has waited this long was forgotten, or slipped in.
const LONG_UNSEALED_MICROS: i64 = 60_000_000;

/// Writes the box's log to `out`, or to standard output.
///
/// # Errors
/// When the box can't be reached or the file can't be written; no half-written file stays.
pub async fn export(place: &Place, out: Option<&Path>) -> Result<Outcome> {
    match out {
        Some(path) => {
            let mut draft = Draft::new(path, 0o600)?;
            let mut writer = BufWriter::new(&mut draft);
            let lines = copy_export(place, &mut writer).await?;
            writer
                .flush()
                .with_context(|| format!("can't write {}", path.display()))?;
            drop(writer);
            draft.replace()?;
            eprintln!(
                "{lines} lines in {}. It names patients by their ids: keep it safe.",
                path.display()
            );
        }
        None => {
            let mut writer = BufWriter::new(io::stdout().lock());
            copy_export(place, &mut writer).await?;
            writer.flush()?;
        }
    }
    Ok(Outcome::Good)
}

async fn copy_export(place: &Place, writer: &mut impl Write) -> Result<u64> {
    let mut lines = Socket::new(place.admin_socket())
        .lines("/audit/export")
        .await?;
    let mut count = 0;
    while let Some(line) = lines.next().await? {
        writer.write_all(&line)?;
        writer.write_all(b"\n")?;
        count += 1;
    }
    Ok(count)
}

/// What to verify, and against what.
pub struct Sources {
    pub file: Option<PathBuf>,
    pub head: Option<PathBuf>,
    pub slips: Vec<String>,
    pub key: Option<PathBuf>,
}

/// Proves the log, or names the first thing wrong with it.
///
/// # Errors
/// When there is no key to trust, or the log, the head or a slip can't be read.
pub async fn verify(place: &Place, sources: Sources) -> Result<Outcome> {
    let key = trusted_key(place, sources.key.as_deref())?;
    // The head is read before the log, which may only grow: it must reach every head that was there before.
    let mut anchors = Vec::new();
    let head = read_head(place, sources.head.as_deref(), &key);
    let head = match head {
        Ok(head) => head,
        Err(error) => {
            println!("The head outside the database can't be trusted: {error:#}");
            return Ok(Outcome::Fault);
        }
    };
    anchors.extend(head.map(Anchor::Head));
    for slip in &sources.slips {
        anchors.push(Anchor::Slip(slip.parse::<Slip>()?));
    }
    let anchored = !anchors.is_empty();

    let mut verifier = Verifier::new(key, anchors);
    match &sources.file {
        Some(path) => read_file(path, &mut verifier)?,
        None => read_box(place, &mut verifier).await?,
    }
    let report = verifier.finish();
    let live = sources.file.is_none();
    Ok(tell(&report, anchored, live))
}

fn tell(report: &Report, anchored: bool, live: bool) -> Outcome {
    if let Some(finding) = &report.finding {
        println!("The audit log was changed or is not whole: {finding}.");
        println!("Read: {report}.");
        return Outcome::Fault;
    }
    if !anchored && live && report.seals > 0 {
        println!(
            "Every event fits its seal ({report}), but the head outside the database is missing, so the log may have \
             been cut short: put the newest head back from a backup, or give a cash-up slip with --slip."
        );
        return Outcome::Fault;
    }
    println!("The audit log is whole: {report}.");
    if !anchored {
        println!(
            "No head or slip was given, so this can't say whether newer events were cut off the end."
        );
    }
    if let Some(oldest) = report.oldest_unsealed_micros
        && report.exported_at_micros - oldest > LONG_UNSEALED_MICROS
    {
        println!(
            "Look into this: an event of {} is not sealed yet. Sealing has stopped, or the event was slipped in.",
            date(oldest)
        );
    }
    Outcome::Good
}

fn date(micros: i64) -> String {
    let format = format_description!("[day]-[month repr:short]-[year] [hour]:[minute] UTC");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_else(|| format!("{micros} microseconds after 1970"))
}

fn trusted_key(place: &Place, given: Option<&Path>) -> Result<VerifyingKey> {
    let own = place.audit_public_key();
    let path = given.unwrap_or(&own);
    let Some(bytes) = files::read_public_key(path)? else {
        bail!(
            "there is no {}: say with --key which public audit key to trust, or with --dir where the box is",
            path.display()
        );
    };
    VerifyingKey::from_bytes(&bytes)
        .with_context(|| format!("{} is not an Ed25519 key", path.display()))
}

fn read_head(place: &Place, given: Option<&Path>, key: &VerifyingKey) -> Result<Option<Head>> {
    let own = place.head();
    let path = given.unwrap_or(&own);
    match files::read_if_there(path)? {
        Some(json) => {
            let head = Head::from_json(&String::from_utf8_lossy(&json), key);
            head.map(Some).with_context(|| path.display().to_string())
        }
        None if given.is_some() => bail!("there is no {}", path.display()),
        None => Ok(None),
    }
}

fn read_file(path: &Path, verifier: &mut Verifier) -> Result<()> {
    let unreadable = || format!("can't read {}", path.display());
    let mut reader = BufReader::new(File::open(path).with_context(unreadable)?);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .with_context(unreadable)?
        > 0
    {
        verifier.push_line(&String::from_utf8_lossy(
            line.strip_suffix(b"\n").unwrap_or(&line),
        ));
        line.clear();
    }
    Ok(())
}

async fn read_box(place: &Place, verifier: &mut Verifier) -> Result<()> {
    let mut lines = Socket::new(place.admin_socket())
        .lines("/audit/export")
        .await?;
    while let Some(line) = lines.next().await? {
        verifier.push_line(&String::from_utf8_lossy(&line));
    }
    Ok(())
}
