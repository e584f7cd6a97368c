//! Sentences that no clinician writes: what a lost or added "not" leaves behind, whatever the source says.

use super::polarity::{Polarity, STOPS};
use super::tokens::Token;

/// "Reports any injury": English says "any" under a negation, a question or a condition; after a plain affirmation it
/// is what a lost "no" leaves behind.
fn stray_any(tokens: &[Token], polarity: &[Polarity]) -> Option<usize> {
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

/// "Denies no pain", "is not a nonsmoker", "no tenderness is not elicited": a note says a thing once. A changed word
/// leaves two denials of one clause.
fn denied_twice(tokens: &[Token]) -> Option<usize> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let denial = |k: usize| {
        matches!(
            text(k),
            "no" | "not"
                | "denies"
                | "denied"
                | "deny"
                | "never"
                | "without"
                | "nor"
                | "neither"
                | "none"
                | "nothing"
        ) && !(text(k) == "not" && matches!(text(k + 1), "only" | "just"))
            && !(text(k) == "no" && matches!(text(k + 1), "longer" | "more"))
    };
    let turned = |k: usize| {
        text(k) == "non"
            || super::words::inverted(text(k)).is_some()
            || text(k).starts_with("non") && text(k).len() > 6 && text(k) != "nonsteroidal"
    };
    let mut last: Option<usize> = None;
    for at in 0..tokens.len() {
        if STOPS.contains(&text(at))
            || matches!(
                text(at),
                "," | "but"
                    | "and"
                    | "or"
                    | "which"
                    | "who"
                    | "that"
                    | "because"
                    | "since"
                    | "so"
                    | "if"
                    | "although"
                    | "when"
            )
        {
            // "nor does not" and "no X or is not" are one clause still
            last = last.filter(|k| text(*k) == "nor" && at - k < 3);
            continue;
        }
        if denial(at) || turned(at) {
            if let Some(k) = last
                && denial(k)
                && at - k <= 6
                && (denial(at) || matches!(text(k), "not" | "denies" | "denied" | "no"))
                && !(matches!(text(k), "denies" | "denied") && turned(at))
            {
                return Some(at);
            }
            last = Some(at);
        }
    }
    None
}

/// "Reports nausea or vomiting": what is denied is listed with "or", what is affirmed with "and".
fn or_affirmed(tokens: &[Token], polarity: &[Polarity]) -> Option<usize> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    (1..tokens.len()).find(|&at| {
        if text(at) != "or" || polarity[at] != Polarity::Affirmed {
            return false;
        }
        let start = (0..at)
            .rev()
            .find(|k| matches!(text(*k), "." | ";" | ":" | "?"))
            .map_or(0, |k| k + 1);
        let end = (at..tokens.len())
            .find(|k| matches!(text(*k), "." | ";" | "?"))
            .unwrap_or(tokens.len());
        let word = |k: Option<usize>| {
            k.and_then(|k| tokens.get(k))
                .is_some_and(|t| !t.stem.is_empty() && t.number.is_none())
        };
        let back = at.checked_sub(if at > 1 && text(at - 1) == "," { 2 } else { 1 });
        word(back)
            && (word(Some(at + 1)) || word(Some(at + 2)))
            && !tokens[start..end].iter().any(|t| {
                t.number.is_some()
                    || matches!(
                        t.text.as_str(),
                        "if" | "whether"
                            | "either"
                            | "can"
                            | "could"
                            | "may"
                            | "might"
                            | "should"
                            | "will"
                            | "would"
                            | "must"
                            | "any"
                            | "every"
                            | "possible"
                            | "possibly"
                            | "likely"
                            | "probable"
                            | "versus"
                            | "vs"
                            | "unable"
                            | "avoid"
                            | "prior"
                            | "unclear"
                            | "unknown"
                            | "when"
                            | "worse"
                            | "worsening"
                            | "such"
                            | "each"
                            | "possibility"
                            | "risk"
                            | "risks"
                            | "call"
                            | "return"
                            | "sometimes"
                            | "rather"
                            | "for"
                            | "than"
                            | "to"
                            | "follow"
                            | "continue"
                            | "who"
                            | "unremarkable"
                            | "normal"
                            | "clear"
                            | "intact"
                            | "negative"
                            | "free"
                            | "unlikely"
                            | "rule"
                            | "concern"
                            | "suspect"
                            | "difficulty"
                            | "trouble"
                            | "hard"
                            | "rarely"
                            | "before"
                            | "after"
                            | "otherwise"
                            | "stopped"
                            | "times"
                            | "only"
                            | "not"
                            | "no"
                    )
            })
            && polarity[start..end]
                .iter()
                .all(|p| *p == Polarity::Affirmed)
    })
}

/// "She is not a 57-year-old woman": who somebody is, is never denied.
fn nobody(tokens: &[Token]) -> Option<usize> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    (0..tokens.len()).find(|&at| {
        matches!(text(at), "not" | "no")
            && (at + 1..at + 9)
                .take_while(|k| !STOPS.contains(&text(*k)) && text(*k) != ",")
                .any(|k| {
                    tokens.get(k).is_some_and(|t| t.number.is_some())
                        && (k + 1..k + 5).any(|j| text(j) == "old" || matches!(text(j), "yo" | "y"))
                        && !(k + 1..k + 7).any(|j| matches!(text(j), "anymore" | "yet"))
                })
    })
}

/// "One else", "yet", "at all", "either" at the end, "much relief" without a denial before them.
fn stray_word(tokens: &[Token], polarity: &[Polarity]) -> Option<usize> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let denied = |at: usize| {
        polarity.iter().any(|p| *p != Polarity::Affirmed)
            || tokens[..at].iter().any(|t| {
                matches!(
                    t.text.as_str(),
                    "no" | "not"
                        | "never"
                        | "nothing"
                        | "none"
                        | "nobody"
                        | "without"
                        | "denies"
                        | "denied"
                        | "unable"
                        | "if"
                        | "unlikely"
                        | "cannot"
                        | "hardly"
                )
            })
    };
    (0..tokens.len()).find(|&at| {
        let ends = at + 1 == tokens.len() || tokens[at + 1].is_mark();
        let odd = match text(at) {
            "else" => {
                at > 0 && tokens[at - 1].number.is_some() || text(at.wrapping_sub(1)) == "one"
            }
            "either" => ends && at > 1,
            "all" => ends && at > 1 && text(at - 1) == "at",
            "yet" => ends && at > 1,
            "much" => {
                at > 0
                    && matches!(
                        text(at - 1),
                        "has"
                            | "had"
                            | "with"
                            | "provided"
                            | "provide"
                            | "have"
                            | "help"
                            | "provides"
                    )
                    && !ends
                    && !matches!(
                        text(at + 1),
                        "better" | "more" | "less" | "worse" | "improved"
                    )
            }
            "longer" => {
                text(at.wrapping_sub(1)) != "no"
                    && matches!(
                        text(at.wrapping_sub(1)),
                        "is" | "was" | "he" | "she" | "and" | "has"
                    )
                    && !text(at + 1).is_empty()
                    && text(at + 1) != "than"
            }
            _ => false,
        };
        odd && !denied(at)
    })
}

/// The first oddity of a sentence.
pub(super) fn find(tokens: &[Token], polarity: &[Polarity]) -> Option<usize> {
    stray_any(tokens, polarity)
        .or_else(|| denied_twice(tokens))
        .or_else(|| or_affirmed(tokens, polarity))
        .or_else(|| nobody(tokens))
        .or_else(|| stray_word(tokens, polarity))
}

#[cfg(test)]
mod tests {
    use super::super::polarity::polarity;
    use super::super::tokens::read;
    use super::*;

    fn odd(text: &str) -> bool {
        let tokens = read(text);
        find(&tokens, &polarity(&tokens)).is_some()
    }

    #[test]
    fn what_a_lost_or_added_not_leaves_behind_is_odd() {
        for text in [
            "Reports any injury.",
            "Denies no pain.",
            "No tenderness is not elicited.",
            "Reports nausea or vomiting.",
            "She is not a 57-year-old woman.",
            "One else in the family is ill.",
            "The tablets provided much relief.",
        ] {
            assert!(odd(text), "{text}");
        }
    }

    #[test]
    fn plain_sentences_are_not_odd() {
        for text in [
            "Denies any injury.",
            "No pain or swelling.",
            "Reports nausea and vomiting.",
            "Take paracetamol or ibuprofen if needed.",
            "A 57-year-old woman.",
            "The tablets did not provide much relief.",
            "Pain not only at night.",
        ] {
            assert!(!odd(text), "{text}");
        }
    }
}
