//! What updates there were and how they ended.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::home::Home;
use super::journal::{Journal, Kind, Step};
use crate::files;
use crate::release::version::Version;

/// How one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// The box runs it.
    Installed,
    /// It was not let in.
    Refused,
    /// It broke off before anything that runs was changed.
    Abandoned,
    /// It was switched to and taken back.
    Reverted,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// The journal's id.
    pub id: String,
    /// What it was.
    pub kind: Kind,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How.
    pub ending: Ending,
    /// The release before.
    pub from: Version,
    /// The release it was about.
    pub to: Option<Version>,
    /// Where it came from.
    pub source: String,
    /// The step it got to.
    pub step: Step,
    /// How long it took.
    pub seconds: i64,
    /// Why it ended so, where it did not go well.
    pub why: Option<String>,
}

/// Keeps how the update under way ended.
///
/// # Errors
/// When it can't be written.
pub fn append(
    home: &Home,
    journal: &Journal,
    ending: Ending,
    why: Option<String>,
    at: OffsetDateTime,
) -> Result<()> {
    let line = Line {
        id: journal.id.clone(),
        kind: journal.kind,
        at,
        ending,
        from: journal.from,
        to: journal.to,
        source: journal.source.clone(),
        step: journal.step,
        seconds: (at - journal.began).whole_seconds(),
        why,
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    let path = home.history();
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o644)
            .open(&path)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// All of them, the oldest first. A line that a power cut tore is left out, and one that was written twice counts once.
///
/// # Errors
/// When the file can't be read.
pub fn read(home: &Home) -> Result<Vec<Line>> {
    let content = files::read_if_there(&home.history())?.unwrap_or_default();
    let mut seen = BTreeSet::new();
    Ok(content
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .filter(|line| seen.insert(line.id.clone()))
        .collect())
}
