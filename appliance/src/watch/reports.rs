//! What the box's commands found out: one JSON file a kind, in a folder that only root writes.

use std::path::Path;

use serde_json::{Map, Value};
use time::OffsetDateTime;

/// Largest file that is read.
const LARGEST: u64 = 64 * 1024;

/// How a command found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// Fine.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody should help.
    Bad,
}

/// What a command found out. Fields of later releases are passed over.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Report {
    /// What it is about: `backup`, `drill`, `wal`, `update`, `egress`, `certificate`, `disk`, `setup`, `unit-…`.
    pub kind: String,
    /// When, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How it stands.
    pub state: Told,
    /// One sentence for staff.
    pub said: String,
    /// What to do.
    #[serde(default, rename = "do")]
    pub what_to_do: Option<String>,
    /// When it was last good, UTC.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_good: Option<OffsetDateTime>,
    /// Numbers and short words.
    #[serde(default)]
    pub facts: Map<String, Value>,
}

impl Report {
    /// A number among the facts.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.facts.get(name).and_then(Value::as_i64)
    }

    /// A word among the facts.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<&str> {
        self.facts.get(name).and_then(Value::as_str)
    }
}

/// All reports, and the names of files that can't be read.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// By kind, in the order of their names.
    pub read: Vec<Report>,
    /// Files that hold something else.
    pub unreadable: Vec<String>,
    /// Whether there is such a folder: an installed box has one.
    pub installed: bool,
}

impl Reports {
    /// The report of a kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> Option<&Report> {
        self.read.iter().find(|r| r.kind == kind)
    }

    /// Reads the folder.
    #[must_use]
    pub fn load(folder: &Path) -> Self {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Self::default();
        };
        let mut found = Self {
            installed: true,
            ..Self::default()
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
            .collect();
        names.sort();
        for name in names {
            let kind = name.trim_end_matches(".json");
            match read(&folder.join(&name)).filter(|report| report.kind == kind) {
                Some(report) => found.read.push(report),
                None => found.unreadable.push(name),
            }
        }
        found
    }
}

fn read(path: &Path) -> Option<Report> {
    if std::fs::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    let mut report: Report = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    report.said = one_line(&report.said);
    report.what_to_do = report.what_to_do.as_deref().map(one_line);
    Some(report)
}

/// Words for a line of a page or the subject of a mail.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let line = words
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    line.chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_and_what_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put(
            "backup.json",
            r#"{"kind":"backup","at":"2026-11-24T06:00:00Z","state":"good","said":"Backed\nup.","do":null,"last_good":null,"facts":{"bytes":7},"later":1}"#,
        );
        put("drill.json", "{");
        put(
            "wal.json",
            r#"{"kind":"backup","at":"2026-11-24T06:00:00Z","state":"good","said":""}"#,
        );
        put(".tmp.json", "{");
        let reports = Reports::load(folder.path());
        let backup = reports.of("backup").unwrap();
        assert_eq!(
            (backup.said.as_str(), backup.number("bytes")),
            ("Backed up.", Some(7))
        );
        assert_eq!(reports.unreadable, ["drill.json", "wal.json"]);
        assert!(reports.installed && !Reports::load(&folder.path().join("none")).installed);
    }
}
