//! The verifier: takes an export line by line and names the first thing wrong with it.

use std::collections::HashSet;
use std::fmt;

use ed25519_dalek::VerifyingKey;
use uuid::Uuid;

use crate::event::{Change, Event};
use crate::export::{self, End, Header, Line, Record};
use crate::finding::Finding;
use crate::head::Anchor;
use crate::merkle::{Hash, merkle_root};
use crate::seal::{NO_SEAL_BEFORE, Seal};

/// Checks an export against a trusted key and what is known from outside the database. Holds one seal's events in
/// memory, never the whole log.
#[derive(Debug)]
pub struct Verifier {
    key: VerifyingKey,
    anchors: Vec<Anchor>,
    line: u64,
    stage: Stage,
    newest: Option<Seal>,
    /// Whether the newest seal's events are still being read.
    open: bool,
    /// The events of the newest seal, each with its line's number.
    batch: Vec<(u64, Record<Event>)>,
    unsealed_ids: HashSet<Uuid>,
    report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Sealed,
    Unsealed,
    Ended,
}

/// The verifier's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Seals read.
    pub seals: u64,
    /// Sealed events read.
    pub sealed: u64,
    /// Events read that no seal covers yet: they can still be changed without a trace.
    pub unsealed: u64,
    /// Sealed events whose old and new values were erased; their proof stands.
    pub erased: u64,
    /// When the export was made, in microseconds since 1970 UTC.
    pub exported_at_micros: i64,
    /// When the oldest event that is not yet sealed happened. More than seconds before the export, it says that
    /// sealing has stopped or that the event was slipped in.
    pub oldest_unsealed_micros: Option<i64>,
    /// The first thing wrong; none for a log that is whole.
    pub finding: Option<Finding>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.finding.is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events in {} seals", self.sealed, self.seals)?;
        if self.erased > 0 {
            write!(f, ", {} of them with their values erased", self.erased)?;
        }
        write!(f, "; {} events not yet sealed", self.unsealed)
    }
}

impl Verifier {
    /// A verifier that trusts `key` and expects the log to agree with, and reach, each of `anchors`.
    #[must_use]
    pub fn new(key: VerifyingKey, anchors: Vec<Anchor>) -> Self {
        Self {
            key,
            anchors,
            line: 0,
            stage: Stage::Header,
            newest: None,
            open: false,
            batch: Vec::new(),
            unsealed_ids: HashSet::new(),
            report: Report::default(),
        }
    }

    /// Takes the next line. After the first fault the rest is only counted.
    pub fn push_line(&mut self, text: &str) {
        self.line += 1;
        if let Err(finding) = self.take(text) {
            self.report.finding.get_or_insert(finding);
        }
    }

    /// Checks what only the end can tell, and answers.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if self.report.finding.is_none() {
            self.report.finding = self.check_end().err();
        }
        self.report
    }

    fn take(&mut self, text: &str) -> Result<(), Finding> {
        let line = serde_json::from_str(text).map_err(|error| Finding::Unreadable {
            line: self.line,
            reason: error.to_string(),
        })?;
        self.count(&line);
        if self.report.finding.is_some() {
            return Ok(());
        }
        match (self.stage, line) {
            (Stage::Header, Line::Header(header)) => self.header(&header),
            (Stage::Header, _) => Err(self.out_of_place("an export begins with its header")),
            (Stage::Ended, _) => Err(self.out_of_place("nothing follows the last line")),
            (_, Line::Header(_)) => Err(self.out_of_place("an export has one header")),
            (Stage::Sealed, Line::Seal(seal)) => {
                self.close_batch()?;
                self.open_seal(seal)
            }
            (Stage::Sealed, Line::Event(record)) => {
                if self.newest.is_none() {
                    return Err(self.out_of_place("a sealed event comes after its seal"));
                }
                self.batch.push((self.line, record));
                Ok(())
            }
            (Stage::Unsealed, Line::Seal(_) | Line::Event(_)) => {
                Err(self.out_of_place("seals and their events come before what is not yet sealed"))
            }
            (_, Line::Unsealed(event)) => {
                self.close_batch()?;
                self.stage = Stage::Unsealed;
                self.unsealed(&event)
            }
            (_, Line::End(end)) => {
                self.close_batch()?;
                self.stage = Stage::Ended;
                self.end(end)
            }
        }
    }

    fn out_of_place(&self, reason: &'static str) -> Finding {
        Finding::OutOfPlace {
            line: self.line,
            reason,
        }
    }

    fn count(&mut self, line: &Line) {
        match line {
            Line::Seal(_) => self.report.seals += 1,
            Line::Event(record) => {
                self.report.sealed += 1;
                if let Some(Event {
                    change: Some(Change::Erased(_)),
                    ..
                }) = record.event
                {
                    self.report.erased += 1;
                }
            }
            Line::Unsealed(_) => self.report.unsealed += 1,
            Line::Header(_) | Line::End(_) => {}
        }
    }

    fn header(&mut self, header: &Header) -> Result<(), Finding> {
        if header.format != export::FORMAT {
            let reason = format!(
                "its format is \"{}\", not {}",
                header.format,
                export::FORMAT
            );
            return Err(Finding::Unreadable {
                line: self.line,
                reason,
            });
        }
        if header.public_key != self.key.to_bytes() {
            return Err(Finding::WrongKey {
                export: hex::encode(header.public_key),
                trusted: hex::encode(self.key.to_bytes()),
            });
        }
        self.report.exported_at_micros = header.exported_at_micros;
        self.stage = Stage::Sealed;
        Ok(())
    }

    fn open_seal(&mut self, seal: Seal) -> Result<(), Finding> {
        let seq = seal.seq;
        if !seal.is_signed_by(&self.key) {
            return Err(Finding::SealEdited { seq });
        }
        let (before, total, hash) = self
            .newest
            .as_ref()
            .map_or((0, 0, NO_SEAL_BEFORE), |newest| {
                (newest.seq, newest.total, newest.hash())
            });
        if seq <= before {
            return Err(Finding::SealMoved { seq, before });
        }
        if seq != before + 1 {
            return Err(Finding::SealMissing {
                seq: before + 1,
                before,
                found: seq,
            });
        }
        if seal.previous != hash || seal.total != total + i64::from(seal.count) {
            return Err(Finding::SealUnlinked { seq, before });
        }
        if self
            .anchors
            .iter()
            .any(|anchor| anchor.seq() == seq && !anchor.agrees_with(&seal))
        {
            return Err(Finding::SealReplaced { seq });
        }
        self.newest = Some(seal);
        self.open = true;
        Ok(())
    }

    fn close_batch(&mut self) -> Result<(), Finding> {
        let batch = std::mem::take(&mut self.batch);
        match &self.newest {
            Some(seal) if std::mem::take(&mut self.open) => check_batch(seal, &batch),
            _ => Ok(()),
        }
    }

    fn unsealed(&mut self, event: &Event) -> Result<(), Finding> {
        if !self.unsealed_ids.insert(event.id) {
            return Err(Finding::EventTwice {
                id: event.id,
                line: self.line,
            });
        }
        let oldest = self
            .report
            .oldest_unsealed_micros
            .get_or_insert(event.at_micros);
        *oldest = event.at_micros.min(*oldest);
        Ok(())
    }

    fn end(&self, end: End) -> Result<(), Finding> {
        for (what, counted, found) in [
            ("seals", end.seals, self.report.seals),
            ("sealed events", end.events, self.report.sealed),
            ("events not yet sealed", end.unsealed, self.report.unsealed),
        ] {
            if counted != found {
                return Err(Finding::Miscounted {
                    what,
                    counted,
                    found,
                });
            }
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), Finding> {
        self.close_batch()?;
        let (seq, total) = self
            .newest
            .as_ref()
            .map_or((0, 0), |seal| (seal.seq, seal.total));
        if let Some(anchor) = self
            .anchors
            .iter()
            .filter(|anchor| anchor.seq() > seq)
            .max_by_key(|anchor| anchor.seq())
        {
            return Err(Finding::CutShort {
                head_seq: anchor.seq(),
                head_total: anchor.total(),
                seq,
                total,
            });
        }
        if self.stage == Stage::Ended {
            Ok(())
        } else {
            Err(Finding::NoEnd { line: self.line })
        }
    }
}

/// Compares a seal with the events that stand after it.
fn check_batch(seal: &Seal, batch: &[(u64, Record<Event>)]) -> Result<(), Finding> {
    let (seq, count) = (seal.seq, seal.count);
    check_places(seal, batch)?;

    // A batch is in ascending order of event ids, so the first place that differs from the sorted order names the
    // event that moved.
    let mut sorted: Vec<Uuid> = batch.iter().map(|(_, record)| record.event_id).collect();
    sorted.sort_unstable();
    for ((_, record), expected) in batch.iter().zip(&sorted) {
        let (id, position) = (record.event_id, record.position);
        if id != *expected {
            return Err(Finding::EventMoved {
                id,
                seal: seq,
                position,
            });
        }
        match &record.event {
            None => {
                return Err(Finding::EventMissing {
                    id,
                    seal: seq,
                    position,
                });
            }
            Some(event) if event.id != id => {
                return Err(Finding::EventMoved {
                    id: event.id,
                    seal: seq,
                    position,
                });
            }
            Some(event) if event.leaf_hash() != record.leaf => {
                return Err(Finding::EventEdited {
                    id,
                    seal: seq,
                    position,
                });
            }
            Some(_) => {}
        }
    }

    let leaves: Vec<Hash> = batch.iter().map(|(_, record)| record.leaf).collect();
    if merkle_root(&leaves) == seal.root {
        return Ok(());
    }
    match (batch.first(), batch.last()) {
        (Some((_, first)), Some((_, last))) => Err(Finding::BatchEdited {
            seal: seq,
            count,
            first: first.event_id,
            last: last.event_id,
        }),
        _ => Err(Finding::SealEdited { seq }),
    }
}

/// Checks that the places of a batch are 0, 1, 2 … up to what the seal covers.
fn check_places(seal: &Seal, batch: &[(u64, Record<Event>)]) -> Result<(), Finding> {
    let (seq, count) = (seal.seq, seal.count);
    let mut seen = HashSet::with_capacity(batch.len());
    for (expected, (line, record)) in (0..).zip(batch) {
        let (id, position) = (record.event_id, record.position);
        if !seen.insert(id) {
            return Err(Finding::EventTwice { id, line: *line });
        }
        if position == expected && expected >= count {
            return Err(Finding::EventAdded {
                id,
                seal: seq,
                count,
            });
        }
        if position != expected {
            let comes_later = batch.iter().any(|(_, later)| later.position == expected);
            return Err(if comes_later || position < expected {
                Finding::EventMoved {
                    id,
                    seal: seq,
                    position: expected,
                }
            } else {
                Finding::LeafMissing {
                    seal: seq,
                    position: expected,
                    count,
                }
            });
        }
    }
    match i32::try_from(batch.len()) {
        Ok(found) if found < count => Err(Finding::LeafMissing {
            seal: seq,
            position: found,
            count,
        }),
        _ => Ok(()),
    }
}
