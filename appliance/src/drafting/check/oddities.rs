//! Sentences that no clinician writes: what a lost or added "not" leaves behind, whatever the source says.

use super::polarity::Polarity;
use super::tokens::Token;

/// "Reports any injury": English says "any" under a negation, a question or a condition; after a plain affirmation it
/// is what a lost "no" leaves behind.
pub(super) fn stray_any(tokens: &[Token], polarity: &[Polarity]) -> Option<usize> {
    const AFFIRMS: &[&str] = &[
        "reports",
        "reported",
        "endorses",
        "endorsed",
        "notes",
        "noted",
        "admits",
        "has",
        "had",
        "have",
        "having",
        "was",
        "were",
        "is",
        "are",
        "with",
        "prescribed",
        "shows",
        "showed",
        "reveals",
        "revealed",
        "demonstrates",
        "feels",
        "states",
        "appreciate",
        "see",
    ];
    (1..tokens.len()).find(|at| {
        let next = tokens.get(at + 1).map_or("", |t| t.text.as_str());
        let before = &tokens[at.saturating_sub(2)..*at];
        match tokens[*at].text.as_str() {
            "any" => {
                polarity[*at] == Polarity::Affirmed
                    && !polarity[..*at].contains(&Polarity::Negated)
                    && !tokens[..*at]
                        .iter()
                        .any(|t| matches!(t.text.as_str(), "not" | "unlikely" | "doubt" | "rule"))
                    && before.iter().any(|t| AFFIRMS.contains(&t.text.as_str()))
                    && !matches!(
                        next,
                        "questions"
                            | "concerns"
                            | "question"
                            | "concern"
                            | "issues"
                            | "additional"
                            | "further"
                            | "time"
                            | "other"
                            | "new"
                            | "changes"
                    )
            }
            "anymore" => {
                polarity[*at] == Polarity::Affirmed && !polarity.contains(&Polarity::Negated)
            }
            _ => false,
        }
    })
}
