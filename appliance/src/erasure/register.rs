//! The register outside Postgres: one JSON line an erasure, no names. It goes into every backup, and a restore replays it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use time::OffsetDateTime;

use super::rules::Reason;
use crate::ids::{PatientId, PracticeId};

/// One erasure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Whose patient.
    pub practice_id: PracticeId,
    /// Who.
    pub patient_id: PatientId,
    /// When it was decided, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The id of the user who decided.
    pub by: String,
    /// Why.
    pub reason: Reason,
    /// SHA-256 of the reason's words in hexadecimal.
    pub reason_hash: String,
}

impl Entry {
    /// Whether both are about the same patient.
    #[must_use]
    pub fn same_patient(&self, other: &Self) -> bool {
        (self.practice_id, self.patient_id) == (other.practice_id, other.patient_id)
    }
}

/// Why the register can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The file can't be read or written.
    #[error("the register of erasures {0} can't be used: {1}")]
    File(PathBuf, std::io::Error),
    /// A line is none of ours.
    #[error("line {1} of the register of erasures {0} can't be read: {2}")]
    Line(PathBuf, usize, serde_json::Error),
}

/// One writer at a time.
static WRITING: Mutex<()> = Mutex::new(());

/// Appends an entry; when it returns, the entry is on the disk.
pub(super) fn append(path: &Path, entry: &Entry) -> Result<(), RegisterError> {
    let broke = |e| RegisterError::File(path.into(), e);
    let mut line = serde_json::to_vec(entry).map_err(|e| RegisterError::Line(path.into(), 0, e))?;
    line.push(b'\n');
    let _one = WRITING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .map_err(broke)?;
    // A line that a power cut left without its end was never acted on; the next one must not be glued to it.
    let whole = whole_length(&mut file).map_err(broke)?;
    file.set_len(whole).map_err(broke)?;
    file.write_all(&line).map_err(broke)?;
    file.sync_all().map_err(broke)?;
    if let Some(folder) = path.parent() {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(broke)?;
    }
    Ok(())
}

/// The length up to the end of the last whole line.
fn whole_length(file: &mut File) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(4096);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(from, |at| from + at as u64 + 1))
}

/// Every entry, each patient once. No file is an empty register; a last line without its end is left out.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, RegisterError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RegisterError::File(path.into(), e)),
    };
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        if line.trim().is_empty() {
            continue;
        }
        let entry: Entry = serde_json::from_str(line)
            .map_err(|e| RegisterError::Line(path.into(), number + 1, e))?;
        if !entries.iter().any(|known| known.same_patient(&entry)) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            practice_id: PracticeId::random(),
            patient_id: PatientId::random(),
            at: OffsetDateTime::UNIX_EPOCH,
            by: "somebody".into(),
            reason: Reason::RetentionEnded,
            reason_hash: "00".repeat(32),
        }
    }

    #[test]
    fn what_was_appended_is_read_and_a_torn_line_is_neither_read_nor_glued_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erasures.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let (one, two) = (entry(), entry());
        append(&path, &one).unwrap();
        append(&path, &one).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"practice_id\":\"01").unwrap();
        assert_eq!(read(&path).unwrap(), std::slice::from_ref(&one));
        append(&path, &two).unwrap();
        assert_eq!(read(&path).unwrap(), [one, two]);
        file.write_all(b"what?\n").unwrap();
        assert!(matches!(read(&path), Err(RegisterError::Line(_, 4, _))));
    }
}
