//! The export: JSON lines that hold everything needed to check the log without the box.
//!
//! ```text
//! {"header":{"format":"hadada-audit-export-1","public_key":hex,"exported_at_micros":n}}
//! {"seal":{…}}                                                     each seal in turn, and after it
//! {"event":{"position":0,"event_id":id,"leaf":hex,"event":{…}}}    its leaves in order; a leaf whose event
//! {"event":{"position":1,"event_id":id,"leaf":hex}}                is gone is exported without one
//! {"unsealed":{…}}                                                 events not yet sealed
//! {"end":{"seals":n,"events":n,"unsealed":n}}
//! ```

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Event;
use crate::merkle::Hash;
use crate::seal::{Leaf, Seal};
use crate::text;

pub(crate) const FORMAT: &str = "hadada-audit-export-1";

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineOut<'a> {
    Header(Header),
    Seal(&'a Seal),
    Event(Record<&'a Event>),
    Unsealed(&'a Event),
    End(End),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Header(Header),
    Seal(Seal),
    Event(Record<Event>),
    Unsealed(Event),
    End(End),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) format: String,
    #[serde(with = "text::hex")]
    pub(crate) public_key: [u8; 32],
    pub(crate) exported_at_micros: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record<E> {
    pub(crate) position: i32,
    pub(crate) event_id: Uuid,
    #[serde(with = "text::hex")]
    pub(crate) leaf: Hash,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<E>,
}

fn none<E>() -> Option<E> {
    None
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    pub(crate) seals: u64,
    pub(crate) events: u64,
    pub(crate) unsealed: u64,
}

/// Writes an export line by line, so that a log of any size streams. It writes what it is given, faults included:
/// finding them is the verifier's work.
#[derive(Debug, Default)]
pub struct ExportWriter {
    seals: u64,
    events: u64,
    unsealed: u64,
}

impl ExportWriter {
    /// Starts an export and returns its first line.
    #[must_use]
    pub fn start(key: &VerifyingKey, exported_at_micros: i64) -> (Self, String) {
        let header = Header {
            format: FORMAT.to_owned(),
            public_key: key.to_bytes(),
            exported_at_micros,
        };
        (Self::default(), line(&LineOut::Header(header)))
    }

    /// The line of a seal. Its events follow it.
    pub fn seal(&mut self, seal: &Seal) -> String {
        self.seals += 1;
        line(&LineOut::Seal(seal))
    }

    /// The line of one sealed event; `event` is none where the leaf is there and the event is gone.
    pub fn event(&mut self, position: i32, leaf: &Leaf, event: Option<&Event>) -> String {
        self.events += 1;
        line(&LineOut::Event(Record {
            position,
            event_id: leaf.event_id,
            leaf: leaf.hash,
            event,
        }))
    }

    /// The line of an event that waits for its seal. These come after all seals.
    pub fn unsealed(&mut self, event: &Event) -> String {
        self.unsealed += 1;
        line(&LineOut::Unsealed(event))
    }

    /// The last line, with the counts.
    #[must_use]
    pub fn finish(self) -> String {
        line(&LineOut::End(End {
            seals: self.seals,
            events: self.events,
            unsealed: self.unsealed,
        }))
    }
}

fn line(content: &LineOut<'_>) -> String {
    // These types hold only numbers, strings and lists, which always have a JSON form; were it otherwise, the empty
    // line would fail verification loudly.
    let mut line = serde_json::to_string(content).unwrap_or_default();
    line.push('\n');
    line
}
