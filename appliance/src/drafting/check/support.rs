//! Words of a sentence that its sources don't have.

use super::body;
use super::polarity::{Polarity, polarity};
use super::source::Source;
use super::tokens::{self, Token};
use super::{Flag, FlagKind};

/// Parts of the body that the source names neither itself nor by its region or a part within it.
pub(super) fn missing_parts(sentence: &[Token], source: &Source) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let held = polarity(sentence);
    // "Neck: supple" and "Ears, nose, throat: clear" are headings of an examination.
    let heading = sentence
        .iter()
        .position(|t| t.text == ":")
        .map_or(0, |at| at + 1);
    for (token, _) in sentence
        .iter()
        .zip(held)
        .skip(heading)
        .filter(|(_, p)| *p != Polarity::Negated)
    {
        let Some(part) = body::part(&token.stem).filter(|_| !body::general(&token.stem)) else {
            continue;
        };
        let named = source
            .units
            .iter()
            .flat_map(|u| &u.stems)
            .filter_map(|s| body::part(s))
            .any(|p| body::fits(p, part));
        if !named && !out.contains(&token.text) {
            out.push(token.text.clone());
        }
    }
    out
}

/// A flag where more than `tolerance` (0 to 1) of the sentence's content words are in no cited statement.
/// Meant for what a small model writes, whose inventions are new words; a clinician's note paraphrases freely.
pub fn unsupported(sentence: &str, cited: &[&str], tolerance: f64) -> Option<Flag> {
    let source = Source::read(cited);
    let tokens = tokens::read(sentence);
    let new: Vec<String> = tokens
        .iter()
        .filter(|t| {
            !t.stem.is_empty()
                && t.text.chars().count() > 2
                && !NEUTRAL.contains(&t.text.as_str())
                && !source.has(&t.stem)
        })
        .map(|t| t.text.clone())
        .collect();
    let content = tokens
        .iter()
        .filter(|t| t.number.is_some() || (!t.stem.is_empty() && t.text.chars().count() > 2))
        .count();
    (!new.is_empty() && new.len() as f64 > tolerance * content as f64)
        .then(|| Flag::new(FlagKind::Unsupported, new))
}

/// Words with which a note spells out what a rough line leaves unsaid; new, they claim nothing.
const NEUTRAL: &[&str] = &[
    "strength",
    "muscle",
    "test",
    "exam",
    "examination",
    "assessment",
    "observed",
    "measured",
    "performed",
    "found",
    "present",
    "shows",
    "showed",
    "reports",
    "advised",
    "plan",
    "planned",
    "session",
    "treatment",
    "review",
    "visit",
    "score",
    "rated",
    "rates",
    "level",
    "out",
    "was",
    "were",
    "will",
    "clinician",
    "therapist",
    "recommended",
    "recommend",
    "instructed",
    "experiencing",
    "experiences",
    "complains",
    "complaint",
    "describes",
    "following",
    "including",
    "range",
    "motion",
    "minutes",
    "degrees",
    "daily",
];
