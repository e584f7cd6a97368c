//! The statements that a sentence is compared with, read once: units of about one sentence, each with its words'
//! polarity, and how near a unit is to the sentence under test.

use super::answers;
use super::polarity::{Polarity, polarity};
use super::spoken;
use super::tokens::{self, Token};
use std::collections::{HashMap, HashSet};

/// About one sentence of the source.
pub(super) struct Unit {
    pub tokens: Vec<Token>,
    /// One per token.
    pub polarity: Vec<Polarity>,
    pub stems: HashSet<String>,
    /// Which turn or line it belongs to.
    pub turn: usize,
}

/// All units of the cited statements.
pub(super) struct Source {
    pub units: Vec<Unit>,
    weight: HashMap<String, f64>,
}

impl Source {
    pub(super) fn read(statements: &[&str]) -> Self {
        let mut units = Vec::new();
        for (turn, line) in statements.iter().flat_map(|s| s.lines()).enumerate() {
            let line = without_speaker(line);
            for text in sentences(line) {
                for tokens in clauses(tokens::read(text)) {
                    let stems = stems(&tokens);
                    units.push(Unit {
                        polarity: polarity(&tokens),
                        tokens,
                        stems,
                        turn,
                    });
                }
            }
        }
        answers::answer_questions(&mut units);
        let mut count: HashMap<String, usize> = HashMap::new();
        for unit in &units {
            for stem in &unit.stems {
                *count.entry(stem.clone()).or_default() += 1;
            }
        }
        let n = units.len() as f64;
        let weight = count
            .into_iter()
            .map(|(s, c)| (s, ((n + 1.0) / c as f64).ln().max(0.1)))
            .collect();
        Source { units, weight }
    }

    /// How rare a stem is here; 0 for one that isn't here at all.
    pub(super) fn weight(&self, stem: &str) -> f64 {
        self.weight.get(stem).copied().unwrap_or(0.0)
    }

    pub(super) fn has(&self, stem: &str) -> bool {
        self.weight.contains_key(stem)
    }

    /// Overlap of `stems` with unit `i` and, at half weight, the units beside it.
    pub(super) fn nearness(&self, stems: &HashSet<String>, i: usize) -> f64 {
        let mut score = 0.0;
        for stem in stems {
            let weight = self.weight(stem);
            if weight == 0.0 {
                continue;
            }
            if self.units[i].stems.contains(stem) {
                score += weight;
            } else if (i > 0 && self.units[i - 1].stems.contains(stem))
                || self
                    .units
                    .get(i + 1)
                    .is_some_and(|u| u.stems.contains(stem))
            {
                score += weight * 0.6;
            }
        }
        score
    }
}

/// Words with which speech begins another thought, where a transcript has no marks.
const MARKERS: &[&str] = &[
    "okay", "alright", "so", "now", "um", "uh", "but", "because", "well",
];
/// Most words of a clause that has no marks.
const CLAUSE: usize = 36;

/// Cuts a long run without marks into clauses.
fn clauses(tokens: Vec<Token>) -> Vec<Vec<Token>> {
    if tokens.len() <= 24 {
        return if tokens.is_empty() {
            Vec::new()
        } else {
            vec![tokens]
        };
    }
    let mut out: Vec<Vec<Token>> = Vec::new();
    let mut current: Vec<Token> = Vec::new();
    for token in tokens {
        let marker = MARKERS.contains(&token.text.as_str());
        if (marker && current.len() >= 6) || (current.len() >= CLAUSE && token.number.is_none()) {
            out.push(std::mem::take(&mut current));
        }
        current.push(token);
    }
    out.push(current);
    out
}

/// Content stems of a text.
pub(super) fn stems(tokens: &[Token]) -> HashSet<String> {
    tokens
        .iter()
        .filter(|t| !t.stem.is_empty())
        .map(|t| t.stem.clone())
        .collect()
}

/// "Doctor: …", "[patient] …" without the label.
fn without_speaker(line: &str) -> &str {
    let line = line.trim();
    if let Some((label, rest)) = line.strip_prefix('[').and_then(|l| l.split_once(']'))
        && label.len() < 20
    {
        return rest.trim();
    }
    match line.split_once(':') {
        Some((label, rest))
            if matches!(
                label.trim().to_lowercase().as_str(),
                "doctor"
                    | "patient"
                    | "dr"
                    | "d"
                    | "p"
                    | "guest"
                    | "guest_family"
                    | "guest_clinician"
                    | "therapist"
                    | "nurse"
                    | "pt"
            ) =>
        {
            rest.trim()
        }
        _ => line,
    }
}

/// Cuts at ends of sentences, keeping their marks.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        let next = i + c.len_utf8();
        let end = match c {
            '?' | '!' | ';' => true,
            // "ninety eight . two": some transcripts write the point so.
            '.' if text[..i].ends_with(' ')
                && spoken::small(text[next..].split_whitespace().next().unwrap_or(""))
                    .is_some() =>
            {
                false
            }
            '.' => {
                let word = text[start..i]
                    .rsplit(char::is_whitespace)
                    .next()
                    .unwrap_or("");
                !matches!(
                    word.to_lowercase().as_str(),
                    "dr" | "mr" | "mrs" | "ms" | "st" | "vs"
                )
            }
            _ => false,
        };
        if end && chars.peek().is_none_or(|(_, n)| n.is_whitespace()) {
            out.push(text[start..next].trim());
            start = next;
        }
    }
    out.push(text[start..].trim());
    out.retain(|s| !s.is_empty());
    out
}
