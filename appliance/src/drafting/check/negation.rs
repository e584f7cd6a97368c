//! What is said to be so, and what is said not to be.

use super::body;
use super::source::{Source, Unit, stems};
use super::tokens::Token;
use super::words;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Whether a word is said to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polarity {
    Affirmed,
    Negated,
    /// Asked without a clear answer, or only supposed ("if you have fever").
    Open,
}

/// Cues whose scope runs through a list ("denies fever, chills or cough").
const LIST_CUES: &[&str] = &["no", "denies", "deny", "denied", "denying", "without", "never", "nor", "neither", "unaware", "nothing"];
/// Words that begin another clause, where a scope ends.
const NEW_CLAUSE: &[&str] = &["which", "who", "when", "while", "but", "however", "although", "though", "except", "because", "until", "unless", "so", "yet"];
const AFTER_COMMA: &[&str] = &[
    "he", "she", "i", "we", "they", "you", "it", "patient", "there", "has", "have", "had", "is", "are", "was", "reports", "endorses", "admits", "states", "notes", "which", "who", "with", "and he", "positive", "does", "did", "will", "just", "drinks", "works", "lives", "takes", "continues", "feels", "smokes", "uses", "complains", "can", "says", "presents", "remains", "appears", "wants",
];
const STOPS: &[&str] = &[".", ";", "?", "!", ":"];

/// Polarity of each token of one sentence.
pub(super) fn polarity(tokens: &[Token]) -> Vec<Polarity> {
    let n = tokens.len();
    let mut flips = vec![0u32; n];
    let mut open = vec![false; n];
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    for i in 0..n {
        let word = text(i);
        if LIST_CUES.contains(&word) || (word == "negative" && text(i + 1) == "for") || (matches!(word, "free" | "absence" | "lack") && matches!(text(i + 1), "of" | "from")) || word == "lacks" {
            if matches!(word, "denies" | "denied") && i > 0 && (i + 1 >= n || text(i + 1) == ".") {
                flips[..i].iter_mut().for_each(|f| *f += 1); // "Alcohol use, denies."
                continue;
            }
            let closes = i + 1 >= n || (tokens[i + 1].is_mark() && text(i + 1) != "-");
            if word == "no" && closes && i > 0 && !tokens[i - 1].is_mark() && !filler(text(i - 1)) && text(i - 1) != "no" && text(i - 1) != "or" {
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
                flips[k] += 1;
            }
        } else if word == "not" && text(i + 1) != "only" {
            if matches!(text(i + 1), "present" | "noted" | "seen" | "appreciated" | "evident" | "visible" | "found" | "identified" | "apparent" | "palpable" | "needed" | "required" | "indicated") {
                backwards(tokens, i, &mut flips); // "a fracture is not seen"
            }
            scope(tokens, i + 1, false, &mut flips);
        } else if matches!(word, "if" | "whether" | "unless" | "should") && (word != "should" || text(i + 1) == "you") {
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
        } else if matches!(word, "negative" | "absent" | "none") && text(i + 1) != "for" && (i + 1 >= n || tokens[i + 1].is_mark()) {
            backwards(tokens, i, &mut flips); // "Spurling's is negative", "Fever: none"
        } else if word == "negative" && !matches!(text(i + 1), "impact" | "effect" | "effects" | "thoughts") {
            scope(tokens, i + 1, true, &mut flips); // "Negative varus stress test"
        }
    }
    (0..n)
        .map(|i| {
            let inverted = u32::from(words::inverted(&tokens[i].text).is_some());
            match (open[i] || flips[i] >= OPEN, (flips[i] + inverted) % 2) {
                (true, _) => Polarity::Open,
                (_, 0) => Polarity::Affirmed,
                _ => Polarity::Negated,
            }
        })
        .collect()
}

/// After these, "no" answers and doesn't negate: "no i just", "no it's fine".
const NOT_A_CUE: &[&str] = &["just", "i", "it", "he", "she", "but", "not", "really", "that", "we", "they", "you", "um", "uh", "only", "thank", "so", "actually", "nothing", "my", "the", "this", "there", "okay", "longer", "well"];

/// Words that begin a place or an aim, which a negation before them doesn't deny.
const PLACE: &[&str] = &["in", "on", "at", "over", "around", "from", "along", "between", "into", "toward", "for", "due", "secondary", "by"];
/// Added to a token's count of flips where its polarity is open.
const OPEN: u32 = 1000;

/// A cue that stands behind what it negates.
fn backwards(tokens: &[Token], from: usize, flips: &mut [u32]) {
    let mut k = from;
    while k > 0 && !matches!(tokens[k - 1].text.as_str(), "." | ";" | "," | "but" | "?" | "okay" | "alright") {
        k -= 1;
        flips[k] += 1;
    }
}

fn scope(tokens: &[Token], from: usize, list: bool, flips: &mut [u32]) {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut seen = 0;
    let mut place = false;
    for i in from..tokens.len() {
        let word = text(i);
        if STOPS.contains(&word) || NEW_CLAUSE.contains(&word) {
            break;
        }
        if word == "," && (!list || AFTER_COMMA.contains(&text(i + 1)) || (text(i + 1) == "and" && AFTER_COMMA.contains(&text(i + 2)))) {
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
        if i > from && !matches!(text(i - 1), "that" | "if" | "whether" | "think" | "believe" | "feel" | "know") && matches!(word, "i" | "you" | "we" | "they" | "he" | "she" | "your") {
            break;
        }
        seen += usize::from(!tokens[i].is_mark());
        if word == "," {
            seen = 0;
        }
        // "no swelling in the palm" says nothing of the palm.
        place = (place || i > from && PLACE.contains(&word)) && !matches!(word, "," | "or" | "and");
        if place {
            flips[i] += 1;
            continue;
        }
        if seen > if list { 12 } else { 9 } {
            break;
        }
        flips[i] += 1;
    }
}

#[derive(PartialEq, Clone, Copy)]
enum Answer {
    Yes,
    No,
}

/// Gives the words of a question the polarity of its answer.
pub(super) fn answer_questions(units: &mut [Unit]) {
    for i in 0..units.len() {
        let last_of_turn = units.get(i + 1).is_none_or(|u| u.turn != units[i].turn);
        if !is_question(&units[i].tokens, last_of_turn) {
            continue;
        }
        let next = units[i + 1..].iter().take(2).find(|u| u.tokens.iter().any(|t| !t.is_mark() && !filler(&t.text)));
        let answer = next.and_then(|u| answer(&u.tokens));
        for polarity in &mut units[i].polarity {
            *polarity = match (answer, *polarity) {
                (Some(Answer::No), _) => Polarity::Negated,
                (Some(Answer::Yes), p) => p,
                (None, _) => Polarity::Open,
            };
        }
    }
}

fn filler(word: &str) -> bool {
    matches!(word, "um" | "uh" | "well" | "oh" | "so" | "hmm" | "mm" | "okay" | "you" | "know" | "like" | "i" | "mean")
}

fn is_question(tokens: &[Token], last_of_turn: bool) -> bool {
    if tokens.last().is_some_and(|t| t.text == "?") {
        return true;
    }
    if !last_of_turn {
        return false;
    }
    // Transcripts without marks: "okay and how about any nausea or vomiting"
    let pair = |a: &str, b: &str| tokens.windows(2).any(|w| w[0].text == a && w[1].text == b);
    if tokens.iter().any(|t| t.text == "any") && !tokens.iter().any(|t| matches!(t.text.as_str(), "no" | "not")) {
        return true;
    }
    if pair("how", "about") || pair("what", "about") || ["do", "have", "are", "did"].iter().any(|v| pair(v, "you")) || pair("is", "there") {
        return true;
    }
    let first = tokens.iter().find(|t| !t.is_mark() && !matches!(t.text.as_str(), "and" | "okay" | "so" | "um" | "uh" | "alright" | "all" | "right"));
    first.is_some_and(|t| matches!(t.text.as_str(), "any" | "do" | "does" | "did" | "have" | "are"))
}

fn answer(tokens: &[Token]) -> Option<Answer> {
    let words: Vec<&str> = tokens.iter().filter(|t| !t.is_mark()).map(|t| t.text.as_str()).skip_while(|w| filler(w) && *w != "i").take(5).collect();
    match *words.first()? {
        "yes" | "yeah" | "yep" | "yup" | "mm-hmm" | "uh-huh" | "correct" | "absolutely" | "definitely" | "sure" | "exactly" | "unfortunately" => Some(Answer::Yes),
        "no" | "nope" | "nah" | "never" | "none" | "negative" | "nothing" | "denies" | "neither" => Some(Answer::No),
        "not" if !words.contains(&"sure") => Some(Answer::No),
        "i" => match (words.get(1).copied(), words.get(2).copied()) {
            (Some("do" | "have" | "did" | "am" | "has"), Some("not")) => Some(Answer::No),
            (Some("do" | "have" | "am" | "did"), None) => Some(Answer::Yes),
            _ => None,
        },
        "that" if words.get(1).is_some_and(|w| matches!(*w, "is" | "right" | "correct")) => Some(Answer::Yes),
        _ => None,
    }
}

/// Findings whose polarity in the sentence is the opposite of every near mention in the source.
pub(super) fn conflicts(sentence: &[Token], source: &Source) -> Vec<String> {
    let mine = polarity(sentence);
    let near = stems(sentence);
    let scores: Vec<f64> = (0..source.units.len()).map(|i| source.nearness(&near, i)).collect();
    let known = near.iter().filter(|s| source.has(s)).count();
    let mut against: Vec<usize> = Vec::new();
    let (mut with, mut with_negated) = (0usize, 0usize);
    for (at, token) in sentence.iter().enumerate() {
        let figure = token.number.as_ref().filter(|_| mine[at] == Polarity::Negated && sentence[at.saturating_sub(3)..at].iter().any(|t| t.text == "not")).map(|n| n.value);
        if let Some(value) = figure {
            // "is not 26": figures are denied in no note that affirms them.
            let said: Vec<Polarity> = source.units.iter().flat_map(|u| u.tokens.iter().zip(&u.polarity)).filter(|(t, _)| t.number.as_ref().is_some_and(|n| (n.value - value).abs() < 1e-9)).map(|(_, p)| *p).collect();
            if !said.is_empty() && said.iter().all(|p| *p == Polarity::Affirmed) {
                against.push(at);
            }
            continue;
        }
        if token.stem.is_empty() || mine[at] == Polarity::Open || !source.has(&token.stem) || body::part(&token.stem).is_some() || weightless(&token.stem) {
            continue;
        }
        let found: Vec<(f64, Polarity)> = source
            .units
            .iter()
            .zip(&scores)
            .flat_map(|(unit, score)| unit.tokens.iter().zip(&unit.polarity).filter(|(t, _)| t.stem == token.stem).map(|(_, p)| (*score, *p)))
            .filter(|(_, p)| *p != Polarity::Open)
            .collect();
        let best = found.iter().map(|f| f.0).fold(0.0, f64::max);
        // A mention that shares nothing else with a longer sentence is about something else.
        if found.is_empty() || (known > 200 && best < source.weight(&token.stem) + SHARED) {
            continue;
        }
        let weigh = |same: bool| found.iter().filter(|(s, p)| *s >= best * NEAR && (*p == mine[at]) == same).map(|f| f.0).sum::<f64>();
        if weigh(true) > OUTWEIGHED * weigh(false) || best == 0.0 {
            with += 1;
            with_negated += usize::from(mine[at] == Polarity::Negated);
        } else {
            against.push(at);
        }
    }
    // What is negated is judged by itself: one "not" concerns few of a sentence's words. A finding that is denied
    // in the source weighs more than another word.
    let negated = against.iter().filter(|at| mine[**at] == Polarity::Negated).count();
    let findings = against.iter().filter(|at| mine[**at] == Polarity::Affirmed && finding(&sentence[**at].stem)).count();
    let affirmed = against.len() - negated;
    let with_affirmed = with - with_negated;
    let bad = (negated > 0 && negated >= with_negated) || findings > 0 && findings * 2 >= with_affirmed || affirmed > with_affirmed;
    if let Some(at) = stray_any(sentence, &mine) {
        return vec![sentence[at].text.clone()];
    }
    if bad { against.into_iter().map(|at| sentence[at].text.clone()).collect() } else { Vec::new() }
}

/// "Reports any injury": English says "any" under a negation, a question or a condition; after a plain affirmation it
/// is what a lost "no" leaves behind.
fn stray_any(tokens: &[Token], polarity: &[Polarity]) -> Option<usize> {
    const AFFIRMS: &[&str] = &["reports", "reported", "endorses", "endorsed", "notes", "noted", "admits", "has", "had", "have", "having", "was", "were", "is", "are", "with", "prescribed", "shows", "showed", "reveals", "revealed", "demonstrates", "feels", "states", "appreciate", "see"];
    (1..tokens.len()).find(|at| {
        let next = tokens.get(at + 1).map_or("", |t| t.text.as_str());
        let before = &tokens[at.saturating_sub(2)..*at];
        match tokens[*at].text.as_str() {
            "any" => polarity[*at] == Polarity::Affirmed && !polarity[..*at].contains(&Polarity::Negated) && !tokens[..*at].iter().any(|t| matches!(t.text.as_str(), "not" | "unlikely" | "doubt" | "rule")) && before.iter().any(|t| AFFIRMS.contains(&t.text.as_str())) && !matches!(next, "questions" | "concerns" | "question" | "concern" | "issues" | "additional" | "further" | "time" | "other" | "new" | "changes"),
            "anymore" => polarity[*at] == Polarity::Affirmed && !polarity.contains(&Polarity::Negated),
            _ => false,
        }
    })
}

/// What else a mention must share with a sentence of several known words.
const SHARED: f64 = 0.5;

/// One mention is outweighed by several near ones that say the opposite.
const OUTWEIGHED: f64 = 0.34;

/// Mentions nearly as near as the nearest count too.
const NEAR: f64 = 0.8;

/// Findings that the sentence affirms and the source doesn't name at all.
pub(super) fn new_findings(sentence: &[Token], source: &Source) -> Vec<String> {
    let mine = polarity(sentence);
    sentence.iter().zip(mine).filter(|(t, p)| *p == Polarity::Affirmed && finding(&t.stem) && !PARAPHRASED.contains(&t.stem.as_str()) && !source.has(&t.stem)).map(|(t, _)| t.text.clone()).collect()
}

/// Findings that people put in many other words; their absence says nothing.
const PARAPHRASED: &[&str] = &["pain", "dyspnea", "nausea", "tingl", "syncope", "palpitation", "instability", "dysuria", "discharg", "fractur", "numb", "weak", "dizzy", "swell", "fatigue", "itch", "contractur", "deform", "crackl", "rale", "crackle", "rales"];

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
    matches!(stem, "negative" | "negativ" | "positive" | "positiv" | "school" | "medical" | "work" | "sound" | "significant" | "recent" | "aspect" | "blood" | "test" | "many" | "late" | "able" | "medicine" | "type" | "question" | "history" | "issue" | "issu" | "evidenc" | "chang" | "problem" | "symptom" | "exam" | "examin" | "examination" | "evidence" | "sign" | "change" | "level" | "side" | "area" | "year" | "family" | "show" | "discuss" | "recommend" | "plan" | "follow" | "visit")
}

#[cfg(test)]
mod tests {
    use super::super::tokens::read;
    use super::*;

    fn negated(text: &str) -> Vec<String> {
        let tokens = read(text);
        polarity(&tokens).iter().zip(&tokens).filter(|(p, t)| **p == Polarity::Negated && !t.stem.is_empty()).map(|(_, t)| t.stem.clone()).collect()
    }

    #[test]
    fn scopes_end_where_the_clause_does() {
        assert_eq!(negated("Denies fever, chills or cough, but has a rash."), ["fever", "chill", "cough"]);
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
        let source = Source::read(&["Doctor: Any fever?\nPatient: No.\nDoctor: And a rash?\nPatient: Yes, since Monday."]);
        assert!(!conflicts(&read("Reports fever."), &source).is_empty());
        assert!(conflicts(&read("Denies fever."), &source).is_empty());
        assert!(!conflicts(&read("Denies rash."), &source).is_empty());
        assert!(conflicts(&read("Has a rash."), &source).is_empty());
    }
}
