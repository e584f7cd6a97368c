//! What the box's own commands know about it, for the status page and its alerts: one small file a kind, without patient data.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::files;
use crate::place::Place;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do.
    Good,
    /// Somebody should look at it soon.
    Warning,
    /// Somebody must act now.
    Bad,
}

/// One thing known, as staff and IT staff read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fact {
    /// What it is about, such as `backup`; also the file's name.
    pub kind: String,
    /// When it was found out.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How it stands.
    pub state: State,
    /// One sentence for staff.
    pub said: String,
    /// What to do, where something is to be done.
    #[serde(rename = "do")]
    pub to_do: Option<String>,
    /// When it was last good.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_good: Option<OffsetDateTime>,
    /// Numbers and short texts of the kind's own.
    #[serde(default)]
    pub facts: BTreeMap<String, serde_json::Value>,
}

impl Fact {
    /// Something that stands well.
    pub fn good(kind: &str, at: OffsetDateTime, said: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            at,
            state: State::Good,
            said: said.into(),
            to_do: None,
            last_good: Some(at),
            facts: BTreeMap::new(),
        }
    }

    /// Something that does not, with what to do about it.
    pub fn fault(
        kind: &str,
        at: OffsetDateTime,
        state: State,
        said: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Self {
        Self {
            state,
            to_do: Some(to_do.into()),
            last_good: None,
            ..Self::good(kind, at, said)
        }
    }

    /// With a number or short text of the kind's own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.facts.insert(name.into(), value.into());
        self
    }
}

/// Keeps a fact over the last one of its kind. Where it does not stand well and says not when it last did, that is taken from
/// the last one.
///
/// # Errors
/// When the file can't be written.
pub fn write(place: &Place, mut fact: Fact) -> Result<()> {
    if fact.last_good.is_none() {
        fact.last_good = read(place, &fact.kind).and_then(|before| before.last_good);
    }
    files::make_folder(&place.facts(), 0o755)?;
    let mut content = serde_json::to_vec_pretty(&fact)?;
    content.push(b'\n');
    files::replace(
        &place.facts().join(format!("{}.json", fact.kind)),
        0o644,
        &content,
    )
}

/// The last fact of a kind; none where there is none that can be read.
pub fn read(place: &Place, kind: &str) -> Option<Fact> {
    let content = files::read_if_there(&place.facts().join(format!("{kind}.json"))).ok()??;
    serde_json::from_slice(&content).ok()
}
