//! Questions, whose words hold or don't by their answer.

use super::polarity::Polarity;
use super::source::Unit;
use super::tokens::Token;

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
        let next = units[i + 1..]
            .iter()
            .take(2)
            .find(|u| u.tokens.iter().any(|t| !t.is_mark() && !filler(&t.text)));
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

pub(super) fn filler(word: &str) -> bool {
    matches!(
        word,
        "um" | "uh"
            | "well"
            | "oh"
            | "so"
            | "hmm"
            | "mm"
            | "okay"
            | "you"
            | "know"
            | "like"
            | "i"
            | "mean"
    )
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
    if tokens.iter().any(|t| t.text == "any")
        && !tokens
            .iter()
            .any(|t| matches!(t.text.as_str(), "no" | "not"))
    {
        return true;
    }
    if pair("how", "about")
        || pair("what", "about")
        || ["do", "have", "are", "did"].iter().any(|v| pair(v, "you"))
        || pair("is", "there")
    {
        return true;
    }
    let first = tokens.iter().find(|t| {
        !t.is_mark()
            && !matches!(
                t.text.as_str(),
                "and" | "okay" | "so" | "um" | "uh" | "alright" | "all" | "right"
            )
    });
    first.is_some_and(|t| {
        matches!(
            t.text.as_str(),
            "any" | "do" | "does" | "did" | "have" | "are"
        )
    })
}

fn answer(tokens: &[Token]) -> Option<Answer> {
    let words: Vec<&str> = tokens
        .iter()
        .filter(|t| !t.is_mark())
        .map(|t| t.text.as_str())
        .skip_while(|w| filler(w) && *w != "i")
        .take(5)
        .collect();
    match *words.first()? {
        "yes" | "yeah" | "yep" | "yup" | "mm-hmm" | "uh-huh" | "correct" | "absolutely"
        | "definitely" | "sure" | "exactly" | "unfortunately" => Some(Answer::Yes),
        "no" | "nope" | "nah" | "never" | "none" | "negative" | "nothing" | "denies"
        | "neither" => Some(Answer::No),
        "not" if !words.contains(&"sure") => Some(Answer::No),
        "i" => match (words.get(1).copied(), words.get(2).copied()) {
            (Some("do" | "have" | "did" | "am" | "has"), Some("not")) => Some(Answer::No),
            (Some("do" | "have" | "am" | "did"), None) => Some(Answer::Yes),
            _ => None,
        },
        "that"
            if words
                .get(1)
                .is_some_and(|w| matches!(*w, "is" | "right" | "correct")) =>
        {
            Some(Answer::Yes)
        }
        _ => None,
    }
}
