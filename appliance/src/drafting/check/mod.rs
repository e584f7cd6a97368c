//! Compares a drafted sentence with the statements it cites. No model is asked: the same input gives the same
//! flags everywhere.

mod answers;
mod body;
mod dates;
mod drugs;
mod negation;
mod numbers;
mod oddities;
mod polarity;
mod sides;
mod source;
mod spoken;
mod support;
mod tokens;
mod units;
mod words;

pub use drugs::{generic_names, substance};
pub use support::unsupported;

use serde::{Deserialize, Serialize};
use source::Source;

/// What is wrong with a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagKind {
    /// A figure or its unit isn't in the sources.
    Number,
    /// A date, month, year or weekday isn't in the sources.
    Date,
    /// Left, right or both doesn't agree with the sources.
    Side,
    /// The sentence says yes where the sources say no, or the other way round.
    Negation,
    /// A medicine or allergen isn't in the sources.
    Drug,
    /// A part of the body isn't in the sources.
    BodyPart,
    /// Words that the sources don't have.
    Unsupported,
    /// The sentence cites nothing. Set by the caller.
    Unsourced,
}

impl FlagKind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Date => "date",
            Self::Side => "side",
            Self::Negation => "negation",
            Self::Drug => "drug",
            Self::BodyPart => "body_part",
            Self::Unsupported => "unsupported",
            Self::Unsourced => "unsourced",
        }
    }
}

/// One reason why a sentence can't be used as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// What kind of reason.
    pub kind: FlagKind,
    /// The words concerned, as the sentence has them (lower case).
    pub words: Vec<String>,
    /// A sentence for the clinician.
    pub message: String,
}

impl Flag {
    /// A flag with its message for the page.
    pub fn new(kind: FlagKind, words: Vec<String>) -> Self {
        let list = words.join(", ");
        let message = match kind {
            FlagKind::Number => format!("The figure {list} is not in the source."),
            FlagKind::Date => format!("The date {list} is not in the source."),
            FlagKind::Side => format!("The side ({list}) does not agree with the source."),
            FlagKind::Negation => format!("The source says the opposite about: {list}."),
            FlagKind::Drug => format!("{list} is not named in the source."),
            FlagKind::BodyPart => format!("The source does not name: {list}."),
            FlagKind::Unsupported => format!("Not in the source: {list}."),
            FlagKind::Unsourced => "This sentence names no source.".to_owned(),
        };
        Flag {
            kind,
            words,
            message,
        }
    }
}

/// What a text is about, for retrieval: stems and concepts of its content words, its figures and sides.
pub fn content_stems(text: &str) -> std::collections::HashSet<String> {
    let tokens = tokens::read(text);
    let figures = tokens
        .iter()
        .filter_map(|t| t.number.as_ref())
        .map(|n| format!("#{}", n.value));
    source::stems(&tokens)
        .into_iter()
        .chain(figures)
        .chain(sides::named(&tokens).map(|s| format!("@{s}")))
        .collect()
}

/// Whether a stem (of [`content_stems`]) names a part of the body.
pub fn names_body_part(stem: &str) -> bool {
    body::part(stem).is_some()
}

/// Whether a text has a figure with a clinical unit, a range or a score: "0-118", "4/5", "38.2 °".
pub fn measures(text: &str) -> bool {
    numbers::quantities(&tokens::read(text), false)
        .iter()
        .any(|q| {
            q.over.is_some()
                || matches!(
                    q.unit,
                    Some((
                        units::Kind::Angle | units::Kind::Rate | units::Kind::Pressure,
                        _
                    ))
                )
        })
}

/// Statements that sentences are compared with, read once.
pub struct Sources(Source);

impl Sources {
    /// Reads `cited`. Each statement may hold several lines with speakers ("Doctor: …"); a question takes the polarity
    /// of its answer.
    pub fn read(cited: &[&str]) -> Self {
        Sources(Source::read(cited))
    }

    /// Flags of `sentence` against these statements.
    pub fn check(&self, sentence: &str) -> Vec<Flag> {
        let source = &self.0;
        let tokens = tokens::read(sentence);
        let (_, dated) = dates::find(&tokens);
        let found = [
            (FlagKind::Number, numbers::missing(&tokens, &dated, source)),
            (FlagKind::Date, dates::missing(&tokens, source)),
            (FlagKind::Side, sides::missing(&tokens, source)),
            (FlagKind::Drug, drugs::missing(&tokens, source)),
            (FlagKind::Negation, negation::conflicts(&tokens, source)),
            (
                FlagKind::Unsupported,
                negation::new_findings(&tokens, source),
            ),
            (FlagKind::BodyPart, support::missing_parts(&tokens, source)),
        ];
        found
            .into_iter()
            .filter(|(_, words)| !words.is_empty())
            .map(|(kind, words)| Flag::new(kind, words))
            .collect()
    }
}

/// Flags of `sentence` against the statements it cites, as [`Sources::check`].
pub fn check(sentence: &str, cited: &[&str]) -> Vec<Flag> {
    Sources::read(cited).check(sentence)
}
