//! Splits what the clinician typed or pasted into numbered statements.
//!
//! A statement can stand alone: in rough notes it is a line (or a sentence of a long line), in a transcript a
//! turn, where a short answer is joined to the question it answers, because "No." by itself says nothing.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Most bytes of source text that are read: 1 MB.
pub const MAX_BYTES: usize = 1_000_000;
/// Most statements of one source.
pub const MAX_STATEMENTS: usize = 400;
/// A turn or line longer than this many characters is divided at its sentence ends.
const LONG: usize = 220;
/// An answer of at most this many words is joined to the question before it.
const SHORT_ANSWER_WORDS: usize = 12;
/// So is a longer one, of at most this many words, that begins with yes or no.
const ANSWER_WORDS: usize = 32;

/// Who said a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// Doctor, therapist, nurse.
    Clinician,
    /// The patient.
    Patient,
    /// A family member or another person in the room.
    Other,
}

/// One numbered piece of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// 1-based, in the order of the source.
    pub number: u32,
    /// Where it stands in the source, in bytes.
    pub range: Range<usize>,
    /// The words, without bullets and speaker labels; a question and its answer are joined by a space.
    pub text: String,
    /// Who said it, in a transcript. For a joined question and answer: who answered.
    pub speaker: Option<Speaker>,
    /// The heading that the line stands under, such as "O:" or "Plan", lower case.
    pub heading: Option<String>,
}

/// Why a source can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// More than [`MAX_BYTES`].
    #[error(
        "The text is too long: {bytes} bytes. At most {MAX_BYTES} bytes can be drafted at once."
    )]
    TooLong {
        /// What was given.
        bytes: usize,
    },
    /// More than [`MAX_STATEMENTS`].
    #[error(
        "The text has {statements} statements. At most {MAX_STATEMENTS} can be drafted at once; divide it."
    )]
    TooMany {
        /// What was found.
        statements: usize,
    },
    /// A NUL or another control character that is neither tab nor line end.
    #[error(
        "The text holds a control character (U+{code:04X}) at byte {at}; only tabs and line ends are allowed."
    )]
    ControlCharacter {
        /// The code point.
        code: u32,
        /// Where, in bytes.
        at: usize,
    },
}

/// Numbers the statements of `source`.
///
/// # Errors
/// [`SourceError`] where the text is too long, has too many statements, or holds control characters.
pub fn split(source: &str) -> Result<Vec<Statement>, SourceError> {
    if source.len() > MAX_BYTES {
        return Err(SourceError::TooLong {
            bytes: source.len(),
        });
    }
    if let Some((at, c)) = source
        .char_indices()
        .find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(SourceError::ControlCharacter {
            code: u32::from(c),
            at,
        });
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut heading: Option<String> = None;
    let mut speaker: Option<Speaker> = None;
    let letters = letters_speak(source);
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let (lead, body) = trimmed(line);
        let mut from = start + lead;
        let mut body = body;
        if body.is_empty() {
            speaker = None;
            continue;
        }
        if let Some((who, skip)) = speaker_label(body, letters) {
            speaker = Some(who);
            let (more, rest) = trimmed(&body[skip..]);
            from += skip + more;
            body = rest;
        } else {
            let skip = bullet(body);
            from += skip;
            body = &body[skip..];
            if let Some((name, skip)) = heading_label(body) {
                heading = Some(name);
                let (more, rest) = trimmed(&body[skip..]);
                from += skip + more;
                body = rest;
            }
        }
        for part in parts(body, speaker.is_some()) {
            if !body[part.clone()].chars().any(char::is_alphanumeric) {
                continue;
            }
            pieces.push(Piece {
                range: from + part.start..from + part.end,
                speaker,
                heading: heading.clone(),
            });
        }
    }
    let joined = join_answers(source, pieces);
    if joined.len() > MAX_STATEMENTS {
        return Err(SourceError::TooMany {
            statements: joined.len(),
        });
    }
    Ok(joined
        .into_iter()
        .zip(1..)
        .map(|((piece, text), number)| Statement {
            number,
            range: piece.range,
            text,
            speaker: piece.speaker,
            heading: piece.heading,
        })
        .collect())
}

#[derive(Clone)]
struct Piece {
    range: Range<usize>,
    speaker: Option<Speaker>,
    heading: Option<String>,
}

fn trimmed(text: &str) -> (usize, &str) {
    let rest = text.trim_start();
    (text.len() - rest.len(), rest.trim_end())
}

fn bullet(text: &str) -> usize {
    let rest = text.trim_start_matches(['-', '*', '•', '–', '—', '·', '>']);
    if rest.len() < text.len()
        && (rest.starts_with(' ')
            || !text.starts_with('-')
            || rest.starts_with(char::is_alphabetic))
    {
        return text.len() - rest.trim_start().len();
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let after = &text[digits..];
    if (1..=2).contains(&digits) && (after.starts_with(") ") || after.starts_with(". ")) {
        return digits + 2;
    }
    0
}

/// Whether "P:", "D:" and "T:" are speakers: two sides take turns in the text. Beside "S:", "O:" or "A:" they are
/// headings ("P:" the plan), and alone they may be anything ("T: 37.2").
fn letters_speak(source: &str) -> bool {
    let mut last = None;
    let mut changes = 0;
    for line in source.lines() {
        let Some((name, said)) = line.trim().split_once(':') else {
            continue;
        };
        let name = name.trim().to_lowercase();
        let name = name.trim_matches(|c: char| c == '[' || c == ']' || c.is_ascii_digit());
        if said.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let side = match name {
            "s" | "o" | "a" | "subjective" | "objective" | "assessment" | "plan" => return false,
            "p" => Speaker::Patient,
            _ => match who(name) {
                Some(side) => side,
                None => continue,
            },
        };
        changes += usize::from(last.is_some_and(|l| l != side));
        last = Some(side);
    }
    changes > 0
}

fn speaker_label(text: &str, letters: bool) -> Option<(Speaker, usize)> {
    let (name, end) = if let Some(rest) = text.strip_prefix('[') {
        let close = rest.find(']')?;
        (&rest[..close], close + 2)
    } else {
        let colon = text.find(':').filter(|&c| c <= 24)?;
        (&text[..colon], colon + 1)
    };
    let end = end + usize::from(text[end..].starts_with(':'));
    let name = name.trim().to_lowercase();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_' || c == ' ');
    let who = match name {
        "p" if letters => Speaker::Patient,
        "d" | "t" if !letters => return None,
        _ => who(name)?,
    };
    Some((who, end))
}

/// Whom a label names. "P" alone may be the plan as well.
fn who(name: &str) -> Option<Speaker> {
    Some(match name {
        "doctor" | "dr" | "d" | "physician" | "clinician" | "therapist" | "physio"
        | "physiotherapist" | "ot" | "nurse" | "practitioner" | "t" => Speaker::Clinician,
        "patient" | "pt" | "client" => Speaker::Patient,
        "guest" | "family" | "mother" | "father" | "mom" | "dad" | "wife" | "husband" | "son"
        | "daughter" | "parent" | "caregiver" | "guest_family" => Speaker::Other,
        _ => return None,
    })
}

/// Headings that say where a line belongs.
const HEADINGS: &[&str] = &[
    "s",
    "o",
    "a",
    "p",
    "subjective",
    "objective",
    "assessment",
    "plan",
    "hx",
    "history",
    "exam",
    "examination",
    "o/e",
    "findings",
    "impression",
    "analysis",
    "next",
    "treatment",
    "rx",
    "tx",
    "goals",
    "hpi",
    "vitals",
    "results",
    "medications",
    "meds",
    "allergies",
    "social history",
    "chief complaint",
    "review of systems",
    "physical exam",
    "assessment and plan",
    "follow up",
    "follow-up",
];

fn heading_label(text: &str) -> Option<(String, usize)> {
    let end = text.find(':').unwrap_or(text.len());
    let name = text[..end].trim().to_lowercase();
    let whole_line = end == text.len();
    (HEADINGS.contains(&name.as_str()) && !(whole_line && name.len() < 3))
        .then(|| (name, (end + 1).min(text.len())))
}

/// Divides a long line at its sentence ends; in rough notes also at semicolons.
fn parts(text: &str, transcript: bool) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    let bytes = text.as_bytes();
    let short = text.len() <= LONG && transcript;
    if !short {
        for (i, c) in text.char_indices() {
            let next = i + c.len_utf8();
            let ends = match c {
                '?' | '!' | ';' | '。' => true,
                '.' if text[..i].ends_with(' ') && starts_with_digit_word(&text[next..]) => false,
                '.' => {
                    let decimal = i > 0
                        && bytes[i - 1].is_ascii_digit()
                        && bytes.get(next).is_some_and(u8::is_ascii_digit);
                    !abbreviation(&text[start..i]) && !decimal
                }
                _ => false,
            };
            if ends && (next >= text.len() || text[next..].starts_with(char::is_whitespace)) {
                push_trimmed(text, start..next, &mut out);
                start = next;
            }
        }
    }
    push_trimmed(text, start..text.len(), &mut out);
    if transcript && !short {
        out = regroup(out)
            .into_iter()
            .flat_map(|part| unmarked(text, part))
            .collect();
    }
    out
}

/// "ninety eight . two": some transcripts write the decimal point so.
fn starts_with_digit_word(rest: &str) -> bool {
    matches!(
        rest.split_whitespace().next().unwrap_or(""),
        "zero" | "one" | "two" | "three" | "four" | "five" | "six" | "seven" | "eight" | "nine"
    )
}

/// Divides speech without marks where another thought begins ("okay", "alright", "so", "now").
fn unmarked(text: &str, part: Range<usize>) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = part.start;
    let mut at = part.start;
    for word in text[part.clone()].split_inclusive(' ') {
        let marker = matches!(word.trim(), "okay" | "alright" | "so" | "now");
        if (marker && at - start > LONG / 2 && part.end - start > LONG) || at - start > 2 * LONG {
            push_trimmed(text, start..at, &mut out);
            start = at;
        }
        at += word.len();
    }
    push_trimmed(text, start..part.end, &mut out);
    out
}

/// Whether a turn asks, where a transcript has no question marks.
fn asks(text: &str) -> bool {
    if text.ends_with('?') {
        return true;
    }
    let words: Vec<String> = text
        .split_whitespace()
        .rev()
        .take(16)
        .map(str::to_lowercase)
        .collect();
    let asked = words.windows(2).any(|w| {
        matches!(
            (w[1].as_str(), w[0].as_str()),
            ("do" | "did" | "have" | "are" | "can" | "were", "you")
                | ("is" | "was", "there" | "it" | "that")
                | ("how" | "what", _)
                | ("which" | "when" | "where", _)
                | ("any", _)
        )
    });
    asked && !text.ends_with(['.', '!'])
}

/// Puts the short sentences of a long turn together again, so that a turn becomes a few statements, not thirty.
fn regroup(parts: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for part in parts {
        match out.last_mut() {
            Some(last) if part.end - last.start <= LONG * 3 / 4 => last.end = part.end,
            _ => out.push(part),
        }
    }
    out
}

fn abbreviation(before: &str) -> bool {
    let word = before
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or("")
        .to_lowercase();
    matches!(
        word.as_str(),
        "dr" | "mr"
            | "mrs"
            | "ms"
            | "prof"
            | "st"
            | "vs"
            | "approx"
            | "e.g"
            | "i.e"
            | "no"
            | "cx"
            | "reps"
    ) || (word.len() == 1 && word.chars().all(char::is_alphabetic))
}

fn push_trimmed(text: &str, range: Range<usize>, out: &mut Vec<Range<usize>>) {
    let (lead, body) = trimmed(&text[range.clone()]);
    if !body.is_empty() {
        out.push(range.start + lead..range.start + lead + body.len());
    }
}

/// Whether a turn is no more than an answer to the question before it.
fn answers(text: &str) -> bool {
    let mut words = text
        .split_whitespace()
        .map(|w| {
            w.trim_matches(|c: char| !c.is_alphanumeric())
                .to_lowercase()
        })
        .filter(|w| !w.is_empty())
        .skip_while(|w| matches!(w.as_str(), "um" | "uh" | "oh" | "well" | "so"));
    let first = words.next().unwrap_or_default();
    let most = if matches!(
        first.as_str(),
        "yes" | "yeah" | "yep" | "no" | "nope" | "not" | "never" | "none"
    ) {
        ANSWER_WORDS
    } else {
        SHORT_ANSWER_WORDS
    };
    words.count() < most
}

/// Joins "Any fever?" and "No." into one statement, where the speaker changes between them.
fn join_answers(source: &str, pieces: Vec<Piece>) -> Vec<(Piece, String)> {
    let mut out: Vec<(Piece, String)> = Vec::new();
    for piece in pieces {
        let text = source[piece.range.clone()].to_owned();
        let joins = out.last().is_some_and(|(last, question)| {
            last.speaker.is_some()
                && piece.speaker.is_some()
                && last.speaker != piece.speaker
                && asks(question)
                && question.len() <= LONG * 2
                && answers(&text)
        });
        match out.last_mut() {
            Some((last, question)) if joins => {
                last.range.end = piece.range.end;
                last.speaker = piece.speaker;
                question.push(' ');
                question.push_str(&text);
            }
            _ => out.push((piece, text)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(source: &str) -> Vec<String> {
        split(source).unwrap().into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn rough_lines_lose_their_bullets_and_keep_their_figures() {
        assert_eq!(
            texts("- knee better, 2/10\n* ROM 0-118; no quads lag\n\n1) ice 10 min. Next: 50 kg"),
            [
                "knee better, 2/10",
                "ROM 0-118;",
                "no quads lag",
                "ice 10 min.",
                "Next: 50 kg"
            ]
        );
    }

    #[test]
    fn a_short_answer_is_joined_to_its_question() {
        let found =
            split("Doctor: Any fever?\nPatient: No.\nDoctor: Show me the wrist. It looks swollen.")
                .unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].text, "Any fever? No.");
        assert_eq!(found[0].speaker, Some(Speaker::Patient));
        assert_eq!(found[1].speaker, Some(Speaker::Clinician));
    }

    #[test]
    fn bracketed_speakers_and_headings_are_read() {
        let found = split("[doctor] hi , how are you ?\n[patient] my hip hurts when i stand up from the low chair at home .").unwrap();
        assert_eq!(found[0].speaker, Some(Speaker::Clinician));
        let found = split("O:\nflex 110\nPlan: ice").unwrap();
        assert_eq!(found.last().unwrap().heading.as_deref(), Some("plan"));
    }

    #[test]
    fn p_is_the_patient_where_turns_alternate_and_the_plan_beside_s_o_a() {
        let found = split("D: What brings you in today?\nP: My knee hurts when I climb the stairs at home, and it has been swollen since Monday.\nD: Show me.\nP: Here.").unwrap();
        assert_eq!(found[0].speaker, Some(Speaker::Clinician));
        assert_eq!(found[1].speaker, Some(Speaker::Patient));
        assert!(found.iter().all(|s| s.heading.is_none()));
        let found = split("T: How is the hand?\nP: I can hold a cup again.").unwrap();
        assert_eq!(found[0].text, "How is the hand? I can hold a cup again.");
        let found = split("S: knee sore\nO: flex 110\nA: improving\nP: ice, HEP").unwrap();
        let headings: Vec<_> = found.iter().map(|s| s.heading.as_deref()).collect();
        assert_eq!(headings, [Some("s"), Some("o"), Some("a"), Some("p")]);
        let found = split("knee sore\nT: 37.2\nP: review in 2 weeks").unwrap();
        assert!(found.iter().all(|s| s.speaker.is_none()));
        assert_eq!(found[2].heading.as_deref(), Some("p"));
    }

    #[test]
    fn tshivenda_letters_and_emoji_are_kept() {
        assert_eq!(
            texts("Mulalo u ṱoḓa u ṅwala 🙂\nḽiṅwe ḓuvha"),
            ["Mulalo u ṱoḓa u ṅwala 🙂", "ḽiṅwe ḓuvha"]
        );
    }

    #[test]
    fn nul_is_refused_with_its_place() {
        assert_eq!(
            split("ab\0c"),
            Err(SourceError::ControlCharacter { code: 0, at: 2 })
        );
    }

    #[test]
    fn too_long_and_too_many_are_refused() {
        assert!(matches!(
            split(&"a ".repeat(MAX_BYTES)),
            Err(SourceError::TooLong { .. })
        ));
        assert!(matches!(
            split(&"pain\n".repeat(401)),
            Err(SourceError::TooMany { statements: 401 })
        ));
    }

    proptest! {
        #[test]
        fn every_range_lies_in_the_source_and_loses_no_letter(source in "([a-zA-Zṱḓ0-9.,;:?🙂 \\-]{0,40}\n){0,12}") {
            let found = split(&source).unwrap();
            let mut last = 0;
            for (statement, number) in found.iter().zip(1..) {
                prop_assert_eq!(statement.number, number);
                prop_assert!(statement.range.start >= last && statement.range.end <= source.len());
                prop_assert!(source.is_char_boundary(statement.range.start) && source.is_char_boundary(statement.range.end));
                last = statement.range.end;
            }
        }
    }
}
