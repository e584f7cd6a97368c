//! Cuts a text into the pieces within which byte pairs are merged. Each family of vocabularies has its own rules, given
//! as a regular expression by those who trained it and named in the model file by `tokenizer.ggml.pre`. They are written
//! out by hand here: two of the expressions look ahead, which the fast engines can't, and a text is cut many times.

use regex_syntax::hir::{Class, HirKind};
use std::sync::LazyLock;

/// The rules of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splitting {
    /// One after the other, each within the pieces of the one before.
    steps: &'static [Step],
    /// A piece that is a token is that token, whatever the merges say.
    pub whole_tokens: bool,
    /// The token that opens a text is put there where the file doesn't say.
    pub opening: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// `\p{N}`
    EachNumber,
    /// `\p{N}+`
    Numbers,
    /// `[0-9][0-9][0-9]`
    ThreeDigits,
    /// ``[\p{P}$+<=>^~|]+``
    Marks,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Words,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Lines { digits: usize },
}

/// Names, and the rules they stand for.
const KNOWN: &[(&[&str], Splitting)] = &[
    (
        &["smollm", "starcoder", "refact", "command-r"],
        plain(&[Step::EachNumber, Step::Words]),
    ),
    (&["gpt-2", "mpt", "olmo"], plain(&[Step::Words])),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        Splitting {
            steps: &[Step::Lines { digits: 3 }],
            whole_tokens: true,
            opening: true,
        },
    ),
    (&["dbrx", "smaug-bpe"], plain(&[Step::Lines { digits: 3 }])),
    (
        &["qwen2", "deepseek-r1-qwen", "stablelm2"],
        plain(&[Step::Lines { digits: 1 }]),
    ),
    (
        &["default"],
        plain(&[Step::Marks, Step::Words, Step::Numbers, Step::ThreeDigits]),
    ),
];

const fn plain(steps: &'static [Step]) -> Splitting {
    Splitting {
        steps,
        whole_tokens: false,
        opening: false,
    }
}

impl Splitting {
    /// The rules a model file names.
    pub fn named(name: &str) -> Option<Splitting> {
        KNOWN
            .iter()
            .find(|(names, _)| names.contains(&name))
            .map(|(_, splitting)| *splitting)
    }

    /// All names, for people.
    pub fn names() -> String {
        let names: Vec<&str> = KNOWN
            .iter()
            .flat_map(|(names, _)| *names)
            .copied()
            .collect();
        names.join(", ")
    }

    /// The pieces of a text, in order; together they are the text.
    pub fn pieces(self, text: &str) -> Vec<&str> {
        let letters: Vec<Letter> = text
            .char_indices()
            .map(|(at, char)| Letter {
                at,
                char,
                kind: Kind::of(char),
            })
            .collect();
        let mut lengths = vec![letters.len()];
        for step in self.steps {
            let mut next = Vec::with_capacity(lengths.len() * 2);
            let mut rest = letters.as_slice();
            for length in lengths {
                let (mut piece, after) = rest.split_at(length);
                rest = after;
                while !piece.is_empty() {
                    let cut = step.cut(piece);
                    next.push(cut);
                    piece = &piece[cut..];
                }
            }
            lengths = next;
        }
        let place = |index: usize| letters.get(index).map_or(text.len(), |l| l.at);
        let mut start = 0;
        lengths
            .into_iter()
            .map(|length| {
                let piece = &text[place(start)..place(start + length)];
                start += length;
                piece
            })
            .collect()
    }
}

#[derive(Clone, Copy)]
struct Letter {
    at: usize,
    char: char,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Space,
    Other,
}

impl Kind {
    fn of(char: char) -> Kind {
        if char.is_ascii() {
            return match char {
                'a'..='z' | 'A'..='Z' => Kind::Letter,
                '0'..='9' => Kind::Number,
                '\t'..='\r' | ' ' => Kind::Space,
                _ => Kind::Other,
            };
        }
        if char.is_whitespace() {
            Kind::Space
        } else if CATEGORIES.letters.contains(char) {
            Kind::Letter
        } else if CATEGORIES.numbers.contains(char) {
            Kind::Number
        } else {
            Kind::Other
        }
    }
}

/// Unicode's general categories, from the tables of the regular expression library.
struct Categories {
    letters: Ranges,
    numbers: Ranges,
    punctuation: Ranges,
}

static CATEGORIES: LazyLock<Categories> = LazyLock::new(|| Categories {
    letters: Ranges::of(r"\p{L}"),
    numbers: Ranges::of(r"\p{N}"),
    punctuation: Ranges::of(r"\p{P}"),
});

struct Ranges(Vec<(char, char)>);

impl Ranges {
    fn of(category: &str) -> Ranges {
        let parsed = regex_syntax::parse(category).map(|hir| hir.into_kind());
        match parsed {
            Ok(HirKind::Class(Class::Unicode(class))) => {
                Ranges(class.iter().map(|r| (r.start(), r.end())).collect())
            }
            // The three categories above are in every build of the library; a test sees to it.
            _ => Ranges(Vec::new()),
        }
    }

    fn contains(&self, char: char) -> bool {
        let after = self.0.partition_point(|&(start, _)| start <= char);
        after > 0 && char <= self.0[after - 1].1
    }
}

impl Step {
    /// The length of the first piece of a text that is not empty.
    fn cut(self, text: &[Letter]) -> usize {
        match self {
            Step::EachNumber => apart(text, |l| l.kind == Kind::Number, 1),
            Step::Numbers => apart(text, |l| l.kind == Kind::Number, usize::MAX),
            Step::Marks => apart(text, is_mark, usize::MAX),
            Step::ThreeDigits => three_digits(text),
            Step::Words => word(text),
            Step::Lines { digits } => line(text, digits),
        }
    }
}

/// How many letters from the beginning fit.
fn run(text: &[Letter], fits: impl Fn(&Letter) -> bool) -> usize {
    text.iter().take_while(|l| fits(l)).count()
}

/// Letters that fit stand apart from those that don't, at most `most` together.
fn apart(text: &[Letter], fits: impl Fn(&Letter) -> bool, most: usize) -> usize {
    match run(text, &fits) {
        0 => run(text, |l| !fits(l)),
        n => n.min(most),
    }
}

fn is_mark(letter: &Letter) -> bool {
    match letter.char {
        '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|' => true,
        c => letter.kind == Kind::Other && CATEGORIES.punctuation.contains(c),
    }
}

fn three_digits(text: &[Letter]) -> usize {
    let three_at = |at: usize| {
        text[at..]
            .first_chunk::<3>()
            .is_some_and(|three| three.iter().all(|l| l.char.is_ascii_digit()))
    };
    match (0..text.len()).find(|&at| three_at(at)) {
        Some(0) => 3,
        Some(at) => at,
        None => text.len(),
    }
}

/// An English ending such as `'ve`, at the beginning of the text.
fn ending(text: &[Letter], lower: impl Fn(char) -> char) -> Option<usize> {
    let at = |i: usize| text.get(i).map(|l| lower(l.char));
    if text[0].char != '\'' {
        return None;
    }
    match (at(1)?, at(2)) {
        ('s' | 't' | 'm' | 'd', _) => Some(2),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(3),
        _ => None,
    }
}

/// White space; its last letter is left to the word that follows.
fn spaces(text: &[Letter]) -> usize {
    let length = run(text, |l| l.kind == Kind::Space);
    if length > 1 && length < text.len() {
        length - 1
    } else {
        length
    }
}

fn word(text: &[Letter]) -> usize {
    if let Some(length) = ending(text, |c| c) {
        return length;
    }
    let lead = usize::from(text[0].char == ' ');
    match text.get(lead).map(|l| l.kind) {
        None | Some(Kind::Space) => spaces(text),
        Some(kind) => lead + run(&text[lead..], |l| l.kind == kind),
    }
}

fn line(text: &[Letter], digits: usize) -> usize {
    if let Some(length) = ending(text, |c| c.to_ascii_lowercase()) {
        return length;
    }
    let first = text[0];
    let is_break = |l: &Letter| matches!(l.char, '\r' | '\n');
    let is_letter = |l: &Letter| l.kind == Kind::Letter;
    if first.kind == Kind::Number {
        return run(text, |l| l.kind == Kind::Number).min(digits);
    }
    if is_letter(&first) || (!is_break(&first) && text.get(1).is_some_and(is_letter)) {
        return 1 + run(&text[1..], is_letter);
    }
    let lead = usize::from(first.char == ' ');
    let other = run(&text[lead..], |l| l.kind == Kind::Other);
    if other > 0 {
        let end = lead + other;
        return end + run(&text[end..], is_break);
    }
    let white = run(text, |l| l.kind == Kind::Space);
    match text[..white].iter().rposition(is_break) {
        Some(last) => last + 1,
        None => spaces(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        Splitting::named(name).unwrap().pieces(text)
    }

    #[test]
    fn each_family_cuts_by_its_own_rules() {
        let text = "It's 2026,  e.g.\r\n\r\n  Ḽiṅwe'LL!\n";
        assert_eq!(
            pieces("gpt-2", text),
            [
                "It",
                "'s",
                " 2026",
                ",",
                " ",
                " e",
                ".",
                "g",
                ".",
                "\r\n\r\n ",
                " Ḽiṅwe",
                "'",
                "LL",
                "!",
                "\n"
            ]
        );
        assert_eq!(
            pieces("smollm", text)[..8],
            ["It", "'s", " ", "2", "0", "2", "6", ","]
        );
        assert_eq!(
            pieces("llama-bpe", text),
            [
                "It",
                "'s",
                " ",
                "202",
                "6",
                ",",
                " ",
                " e",
                ".g",
                ".\r\n\r\n",
                " ",
                " Ḽiṅwe",
                "'LL",
                "!\n"
            ]
        );
        assert_eq!(
            pieces("qwen2", text)[..7],
            ["It", "'s", " ", "2", "0", "2", "6"]
        );
        assert_eq!(
            pieces("default", "a+b 12345, x"),
            ["a", "+", "b", " ", "123", "45", ",", " x"]
        );
        assert_eq!(Splitting::named("gpt-9"), None);
    }

    #[test]
    fn the_tables_know_letters_and_numbers() {
        assert!("aṱ日ʰ".chars().all(|c| Kind::of(c) == Kind::Letter));
        assert!("7٣Ⅷ½".chars().all(|c| Kind::of(c) == Kind::Number));
        assert!(
            " \u{a0}\u{3000}\u{85}\t"
                .chars()
                .all(|c| Kind::of(c) == Kind::Space)
        );
        assert!(
            "!😀\u{301}\u{200d}\0"
                .chars()
                .all(|c| Kind::of(c) == Kind::Other)
        );
        assert!(CATEGORIES.punctuation.contains('。'));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "(\\PC|[ \t\r\n'0-9a-zA-ZṱḓñÉ]){0,60}") {
            for (names, splitting) in KNOWN {
                let pieces = splitting.pieces(&text);
                prop_assert!(pieces.iter().all(|p| !p.is_empty()), "{names:?}");
                prop_assert_eq!(pieces.concat(), text.clone(), "{:?}", names);
            }
        }
    }
}
