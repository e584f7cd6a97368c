//! Which words of a sentence are said to hold, and which are denied.

use super::answers::filler;
use super::tokens::Token;
use super::words;

/// Whether a word is said to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polarity {
    Affirmed,
    Negated,
    /// Asked without a clear answer, or only supposed ("if you have fever").
    Open,
}

/// Cues whose scope runs through a list ("denies fever, chills or cough").
const LIST_CUES: &[&str] = &[
    "no", "denies", "deny", "denied", "denying", "without", "never", "nor", "neither", "unaware",
    "nothing",
];
/// Words that begin another clause, where a scope ends.
const NEW_CLAUSE: &[&str] = &[
    "which", "who", "when", "while", "but", "however", "although", "though", "except", "because",
    "until", "unless", "so", "yet",
];
const AFTER_COMMA: &[&str] = &[
    "he",
    "she",
    "i",
    "we",
    "they",
    "you",
    "it",
    "patient",
    "there",
    "has",
    "have",
    "had",
    "is",
    "are",
    "was",
    "reports",
    "endorses",
    "admits",
    "states",
    "notes",
    "which",
    "who",
    "with",
    "and he",
    "positive",
    "does",
    "did",
    "will",
    "just",
    "drinks",
    "works",
    "lives",
    "takes",
    "continues",
    "feels",
    "smokes",
    "uses",
    "complains",
    "can",
    "says",
    "presents",
    "remains",
    "appears",
    "wants",
];
pub(super) const STOPS: &[&str] = &[".", ";", "?", "!", ":"];

/// Polarity of each token of one sentence.
pub(super) fn polarity(tokens: &[Token]) -> Vec<Polarity> {
    let n = tokens.len();
    let mut flips = vec![0u32; n];
    let mut open = vec![false; n];
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    for i in 0..n {
        let word = text(i);
        if LIST_CUES.contains(&word)
            || (word == "negative" && text(i + 1) == "for")
            || (matches!(word, "free" | "absence" | "lack") && matches!(text(i + 1), "of" | "from"))
            || word == "lacks"
        {
            if matches!(word, "denies" | "denied") && i > 0 && (i + 1 >= n || text(i + 1) == ".") {
                flips[..i].iter_mut().for_each(|f| *f += 1); // "Alcohol use, denies."
                continue;
            }
            let closes = i + 1 >= n || (tokens[i + 1].is_mark() && text(i + 1) != "-");
            if word == "no"
                && closes
                && i > 0
                && !tokens[i - 1].is_mark()
                && !filler(text(i - 1))
                && text(i - 1) != "no"
                && text(i - 1) != "or"
            {
                backwards(tokens, i, &mut flips); // "nausea no"
                continue;
            }
            if word == "no" && (closes || text(i + 1) == "no" || NOT_A_CUE.contains(&text(i + 1))) {
                continue; // an answer
            }
            scope(tokens, i + 1, true, &mut flips);
        } else if word == "non" {
            // "non-smoker" denies one word
            if let Some(k) = (i + 1..n).find(|k| !tokens[*k].is_mark()) {
                if text(k + 1) == "-"
                    || !matches!(
                        tokens[k].stem.as_str(),
                        "smoke" | "alcohol" | "pain" | "tender" | "distend" | "pregnant"
                    )
                {
                    // "non-weight-bearing", "non-healing" name a thing of their own
                    for (j, o) in open.iter_mut().enumerate().skip(k) {
                        if j > k && text(j) != "-" && text(j - 1) != "-" {
                            break;
                        }
                        *o = true;
                    }
                } else {
                    flips[k] += 1;
                }
            }
        } else if word == "not" && text(i + 1) != "only" {
            if matches!(
                text(i + 1),
                "present"
                    | "noted"
                    | "seen"
                    | "appreciated"
                    | "evident"
                    | "visible"
                    | "found"
                    | "identified"
                    | "apparent"
                    | "palpable"
                    | "needed"
                    | "required"
                    | "indicated"
            ) {
                backwards(tokens, i, &mut flips); // "a fracture is not seen"
            }
            scope(tokens, i + 1, false, &mut flips);
        } else if matches!(word, "if" | "whether" | "unless" | "should")
            && (word != "should" || text(i + 1) == "you")
        {
            for (k, o) in open.iter_mut().enumerate().skip(i + 1) {
                if STOPS.contains(&text(k)) {
                    break;
                }
                *o = true;
            }
        } else if matches!(word, "unknown" | "unclear") {
            open.iter_mut().for_each(|o| *o = true);
        } else if word == "none" && text(i + 1) == "of" {
            scope(tokens, i + 1, false, &mut flips);
        } else if matches!(word, "negative" | "absent" | "none")
            && text(i + 1) != "for"
            && (i + 1 >= n || tokens[i + 1].is_mark())
        {
            backwards(tokens, i, &mut flips); // "Spurling's is negative", "Fever: none"
        } else if word == "negative"
            && !matches!(text(i + 1), "impact" | "effect" | "effects" | "thoughts")
        {
            scope(tokens, i + 1, true, &mut flips); // "Negative varus stress test"
        }
    }
    (0..n)
        .map(|i| {
            let inverted = u32::from(words::inverted(&tokens[i].text).is_some());
            match (open[i], (flips[i] + inverted) % 2) {
                (true, _) => Polarity::Open,
                (_, 0) => Polarity::Affirmed,
                _ => Polarity::Negated,
            }
        })
        .collect()
}

/// After these, "no" answers and doesn't negate: "no i just", "no it's fine".
const NOT_A_CUE: &[&str] = &[
    "just", "i", "it", "he", "she", "but", "not", "really", "that", "we", "they", "you", "um",
    "uh", "only", "thank", "so", "actually", "nothing", "my", "the", "this", "there", "okay",
    "longer", "well",
];

/// A cue that stands behind what it negates.
fn backwards(tokens: &[Token], from: usize, flips: &mut [u32]) {
    let mut k = from;
    while k > 0
        && !matches!(
            tokens[k - 1].text.as_str(),
            "." | ";" | "," | "but" | "?" | "okay" | "alright"
        )
    {
        k -= 1;
        flips[k] += 1;
    }
}

fn scope(tokens: &[Token], from: usize, list: bool, flips: &mut [u32]) {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut seen = 0;
    for i in from..tokens.len() {
        let word = text(i);
        if STOPS.contains(&word) || NEW_CLAUSE.contains(&word) {
            break;
        }
        if word == ","
            && (!list
                || AFTER_COMMA.contains(&text(i + 1))
                || (text(i + 1) == "and" && AFTER_COMMA.contains(&text(i + 2))))
        {
            break;
        }
        if word == "and" && (AFTER_COMMA.contains(&text(i + 1)) || !list) {
            break;
        }
        // A cue inside the scope of another starts its own; "denies no pain" is flipped twice on purpose,
        // but "no fever, no chills" is one list of two.
        if word == "no" && text(i.wrapping_sub(1)) != "denies" && i > from {
            break;
        }
        if matches!(word, "not" | "without" | "never" | "denies") && i > from {
            break;
        }
        if i > from
            && !matches!(
                text(i - 1),
                "that" | "if" | "whether" | "think" | "believe" | "feel" | "know"
            )
            && matches!(word, "i" | "you" | "we" | "they" | "he" | "she" | "your")
        {
            break;
        }
        seen += usize::from(!tokens[i].is_mark());
        if word == "," {
            seen = 0;
        }
        if seen > if list { 12 } else { 9 } {
            break;
        }
        flips[i] += 1;
    }
}
