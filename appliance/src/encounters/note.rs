//! A note's words: what a version holds, what may be in it, and what two sides of a conflict see.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Problems, Result};

/// Most characters of the clinician's own lines or transcript.
pub const SOURCE_LIMIT: usize = 200_000;
/// Most characters of one section.
pub const SECTION_LIMIT: usize = 50_000;
/// Most decisions about drafted sentences kept with a note.
const DECISION_LIMIT: usize = 2_000;

/// What the clinician did with a drafted sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Taken into the note.
    Used,
    /// Taken into the note as the clinician's own finding, though no source says it.
    Kept,
    /// Thrown away.
    Removed,
}

/// One version of a note, as it is sealed. Text is kept byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The clinician's own lines, or a transcript.
    pub source_text: String,
    /// What the patient says.
    pub subjective: String,
    /// What was found, measured and done.
    pub objective: String,
    /// What it means.
    pub assessment: String,
    /// What happens next.
    pub plan: String,
    /// The draft that the decisions are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_id: Option<Uuid>,
    /// By sentence of the draft, what was done with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decisions: BTreeMap<String, Decision>,
}

/// A save: the version it is based on, and what changes. A field left out stays as it is.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
pub struct NoteChange {
    /// The version that the change was made on; 0 before the first save. A newer one on the server answers 409.
    pub version: i32,
    /// The clinician's own lines or a transcript, at most 200 000 characters.
    pub source_text: Option<String>,
    /// What the patient says, at most 50 000 characters.
    pub subjective: Option<String>,
    /// What was found, measured and done, at most 50 000 characters.
    pub objective: Option<String>,
    /// What it means, at most 50 000 characters.
    pub assessment: Option<String>,
    /// What happens next, at most 50 000 characters.
    pub plan: Option<String>,
    /// The draft that the decisions are about.
    pub draft_id: Option<Uuid>,
    /// By sentence of the draft, what was done with it.
    pub decisions: Option<BTreeMap<String, Decision>>,
}

/// Notes what is wrong with a text that may have many lines. It is never changed: what can't be kept is refused.
pub(super) fn check_text(
    problems: &mut Problems,
    field: &'static str,
    label: &str,
    text: &str,
    most: usize,
) {
    if let Some(bad) = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        problems.add(field, format!("{label} holds a control character (U+{:04X}) that can't be stored. Remove it and save again.", u32::from(bad)));
    }
    let length = text.chars().count();
    if length > most {
        problems.add(field, format!("{label} has {length} characters; at most {most} can be saved. Shorten it; nothing was saved."));
    }
}

impl NoteChange {
    /// What the note becomes.
    ///
    /// # Errors
    /// [`crate::error::Error::Invalid`], naming each field with control characters or too much text.
    pub fn apply(self, before: &Note) -> Result<Note> {
        let mut problems = Problems::new();
        let mut take =
            |field: &'static str, label: &str, new: Option<String>, old: &str, most: usize| {
                match new {
                    Some(text) => {
                        check_text(&mut problems, field, label, &text, most);
                        text
                    }
                    None => old.to_owned(),
                }
            };
        let mut note = Note {
            source_text: take(
                "source_text",
                "The text of your lines",
                self.source_text,
                &before.source_text,
                SOURCE_LIMIT,
            ),
            subjective: take(
                "subjective",
                "Subjective",
                self.subjective,
                &before.subjective,
                SECTION_LIMIT,
            ),
            objective: take(
                "objective",
                "Objective",
                self.objective,
                &before.objective,
                SECTION_LIMIT,
            ),
            assessment: take(
                "assessment",
                "Assessment",
                self.assessment,
                &before.assessment,
                SECTION_LIMIT,
            ),
            plan: take("plan", "Plan", self.plan, &before.plan, SECTION_LIMIT),
            draft_id: self.draft_id.or(before.draft_id),
            decisions: BTreeMap::new(),
        };
        note.decisions = match self.decisions {
            Some(decisions) => {
                if decisions.len() > DECISION_LIMIT
                    || decisions.keys().any(|k| k.len() > 40 || k.contains('\0'))
                {
                    problems.add(
                        "decisions",
                        "These are not decisions about one draft's sentences.",
                    );
                }
                decisions
            }
            None if note.draft_id == before.draft_id => before.decisions.clone(),
            None => BTreeMap::new(),
        };
        problems.check()?;
        Ok(note)
    }
}

impl Note {
    /// Whether the note proper has no word yet; the clinician's own lines are not the note.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        [
            &self.subjective,
            &self.objective,
            &self.assessment,
            &self.plan,
        ]
        .iter()
        .all(|text| text.trim().is_empty())
    }

    /// The first words of what matters most to the next reader, for the timeline.
    #[must_use]
    pub fn gist(&self) -> String {
        let text = [
            &self.assessment,
            &self.objective,
            &self.subjective,
            &self.plan,
        ]
        .into_iter()
        .find(|t| !t.trim().is_empty());
        let Some(text) = text else {
            return String::new();
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(60) {
            None => text,
            Some((at, _)) => {
                let words = text[..at]
                    .rsplit_once(' ')
                    .map_or(&text[..at], |(head, _)| head);
                format!("{}…", words.trim_end_matches(['.', ',', ';', ':']))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn fields(result: Result<Note>) -> Vec<String> {
        match result {
            Err(Error::Invalid(fields)) => {
                fields.into_iter().map(|f| f.field.into_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bad_field_is_named_and_a_tab_is_fine() {
        let change = NoteChange {
            subjective: Some("a\0b".into()),
            plan: Some("x".repeat(SECTION_LIMIT + 1)),
            objective: Some("ROM\t0–118°\r\n".into()),
            ..NoteChange::default()
        };
        assert_eq!(
            fields(change.apply(&Note::default())),
            ["subjective", "plan"]
        );
        let long = NoteChange {
            source_text: Some("ṱ".repeat(SOURCE_LIMIT)),
            ..NoteChange::default()
        };
        assert!(
            long.apply(&Note::default()).is_ok(),
            "the limit counts characters, not bytes"
        );
    }

    #[test]
    fn a_field_left_out_stays() {
        let before = Note {
            plan: "ice".into(),
            ..Note::default()
        };
        let after = NoteChange {
            subjective: Some("sore 🦵".into()),
            ..NoteChange::default()
        }
        .apply(&before)
        .unwrap();
        assert_eq!(
            (after.subjective.as_str(), after.plan.as_str()),
            ("sore 🦵", "ice")
        );
    }

    #[test]
    fn decisions_about_an_older_draft_do_not_carry_over() {
        let old = Uuid::now_v7();
        let before = Note {
            draft_id: Some(old),
            decisions: BTreeMap::from([("1".into(), Decision::Used)]),
            ..Note::default()
        };
        let same = NoteChange::default().apply(&before).unwrap();
        assert_eq!(same, before);
        let new = NoteChange {
            draft_id: Some(Uuid::now_v7()),
            ..NoteChange::default()
        }
        .apply(&before)
        .unwrap();
        assert!(new.decisions.is_empty());
    }

    #[test]
    fn lines_alone_are_no_note() {
        assert!(
            Note {
                source_text: "knee better".into(),
                plan: " \n".into(),
                ..Note::default()
            }
            .is_blank()
        );
        assert!(
            !Note {
                plan: "ice".into(),
                ..Note::default()
            }
            .is_blank()
        );
    }

    #[test]
    fn the_gist_ends_at_a_word() {
        let note = Note {
            objective: format!("Flexion\n112° {}", "and quads firing well ".repeat(6)),
            ..Note::default()
        };
        assert!(
            note.gist().starts_with("Flexion 112° and")
                && note.gist().ends_with('…')
                && note.gist().chars().count() <= 61
        );
    }
}
