//! Sentences that say yes where the source says no, or the other way round.

use super::body;
use super::oddities;
use super::polarity::{Polarity, polarity};
use super::source::{Source, stems};
use super::tokens::Token;
use super::words;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Findings whose polarity in the sentence is the opposite of every near mention in the source.
pub(super) fn conflicts(sentence: &[Token], source: &Source) -> Vec<String> {
    let mine = polarity(sentence);
    let near = stems(sentence);
    let scores: Vec<f64> = (0..source.units.len())
        .map(|i| source.nearness(&near, i))
        .collect();
    let all_top = scores.iter().copied().fold(0.0, f64::max);
    let mut against: Vec<usize> = Vec::new();
    let (mut with, mut with_negated) = (0usize, 0usize);
    for (at, token) in sentence.iter().enumerate() {
        let figure = token
            .number
            .as_ref()
            .filter(|_| {
                mine[at] == Polarity::Negated
                    && sentence[at.saturating_sub(3)..at]
                        .iter()
                        .any(|t| t.text == "not")
            })
            .map(|n| n.value);
        if let Some(value) = figure {
            // "is not 26": figures are denied in no note that affirms them.
            let said: Vec<Polarity> = source
                .units
                .iter()
                .flat_map(|u| u.tokens.iter().zip(&u.polarity))
                .filter(|(t, _)| {
                    t.number
                        .as_ref()
                        .is_some_and(|n| (n.value - value).abs() < 1e-9)
                })
                .map(|(_, p)| *p)
                .collect();
            if !said.is_empty() && said.iter().all(|p| *p == Polarity::Affirmed) {
                against.push(at);
            }
            continue;
        }
        if token.stem.is_empty()
            || mine[at] == Polarity::Open
            || !source.has(&token.stem)
            || body::part(&token.stem).is_some()
            || weightless(&token.stem)
        {
            continue;
        }
        let found: Vec<(f64, Polarity)> = source
            .units
            .iter()
            .zip(&scores)
            .flat_map(|(unit, score)| {
                unit.tokens
                    .iter()
                    .zip(&unit.polarity)
                    .filter(|(t, _)| t.stem == token.stem)
                    .map(|(_, p)| (*score, *p))
            })
            .filter(|(_, p)| *p != Polarity::Open)
            .collect();
        // "ibuprofen for pain" doesn't say that there is any.
        if mine[at] == Polarity::Affirmed
            && finding(&token.stem)
            && (1..4).any(|k| {
                at >= k
                    && matches!(
                        sentence[at - k].text.as_str(),
                        "for" | "if" | "control" | "manage" | "treat" | "help"
                    )
            })
        {
            continue;
        }
        let best = found.iter().map(|f| f.0).fold(0.0, f64::max);
        if found.is_empty() || best < FAR * all_top {
            continue;
        }
        let weigh = |same: bool| {
            found
                .iter()
                .filter(|(s, p)| *s >= best * NEAR && (*p == mine[at]) == same)
                .map(|f| f.0)
                .sum::<f64>()
        };
        if weigh(true) > OUTWEIGHED * weigh(false) || best == 0.0 {
            with += 1;
            with_negated += usize::from(mine[at] == Polarity::Negated);
        } else {
            against.push(at);
        }
    }
    // What is negated is judged by itself: one "not" concerns few of a sentence's words. A finding that is denied
    // in the source weighs more than another word.
    let negated = against
        .iter()
        .filter(|at| mine[**at] == Polarity::Negated)
        .count();
    let findings = against
        .iter()
        .filter(|at| mine[**at] == Polarity::Affirmed && finding(&sentence[**at].stem))
        .count();
    let affirmed = against.len() - negated;
    let with_affirmed = with - with_negated;
    let bad = (negated > 0 && negated >= with_negated)
        || findings > 0 && findings * 4 >= with_affirmed
        || affirmed > with_affirmed;
    if let Some(at) = unanswered(sentence, source, &scores) {
        return sentence[at..]
            .iter()
            .take(3)
            .map(|t| t.text.clone())
            .collect();
    }
    if let Some(at) = oddities::find(sentence, &mine) {
        return vec![sentence[at].text.clone()];
    }
    if bad {
        against
            .into_iter()
            .map(|at| sentence[at].text.clone())
            .collect()
    } else {
        Vec::new()
    }
}

/// Where the clause of a token begins and ends.
fn clause(tokens: &[Token], at: usize) -> std::ops::Range<usize> {
    let cuts = |k: usize| {
        matches!(
            tokens[k].text.as_str(),
            "." | ","
                | ";"
                | ":"
                | "?"
                | "!"
                | "but"
                | "which"
                | "who"
                | "that"
                | "because"
                | "while"
                | "when"
                | "although"
                | "however"
                | "if"
                | "though"
        ) || (matches!(tokens[k].text.as_str(), "and" | "or" | "so")
            && tokens
                .get(k + 1)
                .is_some_and(|t| AFTER_AND.contains(&t.text.as_str())))
    };
    let start = (0..at).rev().find(|k| cuts(*k)).map_or(0, |k| k + 1);
    let end = (at + 1..tokens.len())
        .find(|k| cuts(*k))
        .unwrap_or(tokens.len());
    start..end
}

/// Words that begin a clause of their own after "and".
const AFTER_AND: &[&str] = &[
    "he", "she", "i", "we", "they", "you", "it", "patient", "there", "has", "have", "had", "is",
    "are", "was", "were", "does", "did", "will", "can", "the", "his", "her", "reports", "denies",
    "no", "not",
];

/// Words that deny, refuse or fail.
fn says_no(token: &Token) -> bool {
    matches!(
        token.text.as_str(),
        "no" | "not"
            | "never"
            | "none"
            | "nothing"
            | "without"
            | "stop"
            | "stopped"
            | "avoid"
            | "unable"
            | "trouble"
            | "hard"
            | "difficult"
            | "difficulty"
            | "cannot"
            | "denies"
            | "negative"
            | "nope"
            | "instead"
            | "rarely"
            | "hardly"
            | "nobody"
            | "neither"
            | "nah"
            | "barely"
            | "less"
            | "quit"
            | "refused"
            | "except"
            | "only"
    ) || words::inverted(&token.text).is_some()
}

/// A "not" to which no near line of the source says no: a sentence that denies needs a denial in its source.
fn unanswered(sentence: &[Token], source: &Source, scores: &[f64]) -> Option<usize> {
    let highest = |list: &[f64]| list.iter().copied().fold(0.0, f64::max);
    (0..sentence.len()).find(|&at| {
        let next = sentence.get(at + 1).map_or("", |t| t.text.as_str());
        if sentence[at].text != "not"
            || matches!(next, "limited" | "only" | "just" | "necessarily")
            || sentence[..at].iter().any(|t| t.text == "if")
        {
            return false;
        }
        // The words of its own clause say where to look; where the source has none of them, the whole sentence's.
        let near = stems(&sentence[clause(sentence, at)]);
        let own: Vec<f64> = (0..source.units.len())
            .map(|i| source.nearness(&near, i))
            .collect();
        let score = if highest(&own) >= KNOWN { &own } else { scores };
        let top = highest(score);
        if top < KNOWN {
            return !source.units.iter().any(|u| u.tokens.iter().any(says_no));
        }
        !source.units.iter().zip(score).any(|(u, s)| {
            *s >= top * AROUND
                && (u.tokens.iter().any(says_no) || u.polarity.contains(&Polarity::Negated))
        })
    })
}

/// Overlap with the source from which a "not" without any counterpart is in doubt, and how near its counterpart must be.
const KNOWN: f64 = 2.0;
const AROUND: f64 = 0.85;

/// Mentions much farther off than the source's nearest line speak of something else.
const FAR: f64 = 0.3;

/// One mention is outweighed by several near ones that say the opposite.
const OUTWEIGHED: f64 = 0.34;

/// Mentions nearly as near as the nearest count too.
const NEAR: f64 = 0.8;

/// Findings that the sentence affirms and the source doesn't name at all.
pub(super) fn new_findings(sentence: &[Token], source: &Source) -> Vec<String> {
    let mine = polarity(sentence);
    sentence
        .iter()
        .zip(mine)
        .filter(|(t, p)| {
            *p == Polarity::Affirmed
                && finding(&t.stem)
                && !PARAPHRASED.contains(&t.stem.as_str())
                && !source.has(&t.stem)
        })
        .map(|(t, _)| t.text.clone())
        .collect()
}

/// Findings that people put in many other words; their absence says nothing.
const PARAPHRASED: &[&str] = &[
    "pain",
    "fractur",
    "discharg",
    "rale",
    "crackl",
    "rales",
    "instability",
    "dysuria",
    "stiff",
    "weak",
];

/// Signs and symptoms: words that a note either affirms or denies.
fn finding(stem: &str) -> bool {
    static FINDINGS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        "murmur gallop rub rubs swelling thyromegaly lymphadenopathy adenopathy pain fever chills nausea vomiting diarrhea constipation cough wheezing wheeze rash dyspnea headache headaches dizziness numbness tingling weakness erythema ecchymosis
         fracture dislocation infection bleeding syncope palpitations seizure hernia mass lesion ulcer rhonchi crackles rales cyanosis clubbing jaundice bruit bruits distension deformity instability contracture crepitus spasm atrophy drainage
         melena hematochezia dysuria hematuria incontinence laxity guarding rebound thrombosis hydronephrosis pneumonia congestion itching spasticity clonus lag bruising"
            .split_whitespace()
            .map(words::stem_of)
            .collect()
    });
    FINDINGS.contains(stem)
}

/// Words too general for their polarity to say anything.
fn weightless(stem: &str) -> bool {
    matches!(
        stem,
        "negative"
            | "negativ"
            | "positive"
            | "positiv"
            | "school"
            | "medical"
            | "work"
            | "sound"
            | "significant"
            | "recent"
            | "aspect"
            | "blood"
            | "test"
            | "many"
            | "late"
            | "able"
            | "medicine"
            | "type"
            | "question"
            | "history"
            | "issue"
            | "issu"
            | "evidenc"
            | "chang"
            | "problem"
            | "symptom"
            | "exam"
            | "examin"
            | "examination"
            | "evidence"
            | "sign"
            | "change"
            | "level"
            | "side"
            | "area"
            | "year"
            | "family"
            | "show"
            | "discuss"
            | "recommend"
            | "plan"
            | "follow"
            | "visit"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tokens::read;
    use super::*;

    fn negated(text: &str) -> Vec<String> {
        let tokens = read(text);
        polarity(&tokens)
            .iter()
            .zip(&tokens)
            .filter(|(p, t)| **p == Polarity::Negated && !t.stem.is_empty())
            .map(|(_, t)| t.stem.clone())
            .collect()
    }

    #[test]
    fn scopes_end_where_the_clause_does() {
        assert_eq!(
            negated("Denies fever, chills or cough, but has a rash."),
            ["fever", "chill", "cough"]
        );
        assert_eq!(negated("No swelling. Bruise on the shin."), ["swell"]);
        assert_eq!(negated("Lachman test is negative."), ["lachman", "test"]);
    }

    #[test]
    fn a_double_negation_affirms() {
        assert!(negated("denies no pain").is_empty());
        assert_eq!(negated("not abnormal"), Vec::<String>::new());
    }

    #[test]
    fn answers_decide_their_questions() {
        let source = Source::read(&[
            "Doctor: Any fever?\nPatient: No.\nDoctor: And a rash?\nPatient: Yes, since Monday.",
        ]);
        assert!(!conflicts(&read("Reports fever."), &source).is_empty());
        assert!(conflicts(&read("Denies fever."), &source).is_empty());
        assert!(!conflicts(&read("Denies rash."), &source).is_empty());
        assert!(conflicts(&read("Has a rash."), &source).is_empty());
    }
}
