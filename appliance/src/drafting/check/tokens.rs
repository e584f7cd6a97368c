//! Words, numerals and marks of a text, with spoken numbers read as figures.

use super::{spoken, words};

/// One word, numeral or mark.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// Lower case; a figure's own digits.
    pub text: String,
    /// As typed: needed for "L" and "R", and for month names that are also words.
    pub capital: bool,
    /// Stem or concept; empty for marks, stop words and figures.
    pub stem: String,
    /// Whether a joined phrase ended in a plural: "lower extremities".
    pub plural: bool,
    /// Value of a numeral or spoken number.
    pub number: Option<Number>,
}

/// A number's value and how it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    pub value: f64,
    /// Other readings: "one twenty" is 120, or 1 and 20.
    pub also: Vec<f64>,
    /// Written with digits.
    pub digits: bool,
    /// "third", "21st".
    pub ordinal: bool,
}

impl Token {
    fn word(text: &str) -> Self {
        let lower = text.to_lowercase();
        Token {
            stem: words::stem_of(&lower),
            capital: text.starts_with(char::is_uppercase),
            text: lower,
            plural: false,
            number: None,
        }
    }

    fn mark(c: char) -> Self {
        Token {
            text: c.to_string(),
            capital: false,
            stem: String::new(),
            plural: false,
            number: None,
        }
    }

    pub(super) fn number(text: String, number: Number) -> Self {
        Token {
            text,
            capital: false,
            stem: String::new(),
            plural: false,
            number: Some(number),
        }
    }

    /// Whether this is a mark such as a comma.
    pub(super) fn is_mark(&self) -> bool {
        self.number.is_none() && !self.text.starts_with(char::is_alphanumeric)
    }
}

/// Reads `text`. Phrases such as "shortness of breath" become one token.
pub(super) fn read(text: &str) -> Vec<Token> {
    words::join_phrases(spoken::joined(lex(text)))
}

fn lex(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text
        .chars()
        .map(|c| {
            if matches!(c, '’' | '‘' | '`') {
                '\''
            } else if matches!(c, '–' | '—' | '−') {
                '-'
            } else {
                c
            }
        })
        .collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c.is_ascii_digit()
            || (c == '.'
                && chars.get(i + 1).is_some_and(char::is_ascii_digit)
                && (i == 0 || !chars[i - 1].is_alphanumeric()))
        {
            let start = i;
            while i < chars.len()
                && (chars[i].is_ascii_digit()
                    || (matches!(chars[i], '.' | ',')
                        && chars.get(i + 1).is_some_and(char::is_ascii_digit)
                        && digit_joins(&chars, i)))
            {
                i += 1;
            }
            let raw: String = chars[start..i].iter().collect();
            let suffix: String = chars[i..]
                .iter()
                .take_while(|c| c.is_alphabetic())
                .collect::<String>()
                .to_lowercase();
            let ordinal = matches!(suffix.as_str(), "st" | "nd" | "rd" | "th");
            if ordinal {
                i += 2;
            }
            if let Some(value) = value_of(&raw) {
                out.push(Token::number(
                    raw,
                    Number {
                        value,
                        also: Vec::new(),
                        digits: true,
                        ordinal,
                    },
                ));
            }
            continue;
        }
        if c.is_alphabetic() {
            let start = i;
            while i < chars.len()
                && (chars[i].is_alphabetic()
                    || matches!(chars[i], '\u{300}'..='\u{36f}')
                    || (chars[i] == '\'' && chars.get(i + 1).is_some_and(|n| n.is_alphabetic())))
            {
                i += 1;
            }
            let raw: String = chars[start..i].iter().collect();
            if let Some(fixed) = identifier(&raw, &chars[i..]) {
                i += fixed.1;
                out.push(Token {
                    text: fixed.0.to_owned(),
                    capital: true,
                    stem: fixed.0.to_owned(),
                    plural: false,
                    number: None,
                });
                continue;
            }
            push_word(&raw, &mut out);
            continue;
        }
        if !c.is_whitespace() {
            out.push(Token::mark(c));
        }
        i += 1;
    }
    out
}

/// A comma joins digits only before a group of three.
fn digit_joins(chars: &[char], i: usize) -> bool {
    chars[i] == '.'
        || chars[i + 1..]
            .iter()
            .take_while(|c| c.is_ascii_digit())
            .count()
            == 3
}

fn value_of(raw: &str) -> Option<f64> {
    raw.replace(',', "").parse().ok()
}

/// Names that carry a digit which is no figure.
fn identifier(raw: &str, rest: &[char]) -> Option<(&'static str, usize)> {
    let low = raw.to_lowercase();
    let next: String = rest.iter().take(4).collect::<String>().to_lowercase();
    match low.as_str() {
        "a" | "hba" | "hgba" if next.starts_with("1c") => Some(("a1c", 2)),
        "a" if next.starts_with(" 1 c") || next.starts_with(" 1c") => {
            Some(("a1c", if next.starts_with(" 1 c") { 4 } else { 3 }))
        }
        "spo" if next.starts_with('2') => Some(("spo", 1)),
        "covid" if next.starts_with("-19") => Some(("covid", 3)),
        "covid" if next.starts_with(" 19") => Some(("covid", 3)),
        _ => None,
    }
}

fn push_word(raw: &str, out: &mut Vec<Token>) {
    let low = raw.to_lowercase();
    if low == "n't" || low == "nt" {
        out.push(Token::word("not"));
    } else if low == "cannot" || low == "can't" {
        out.push(Token::word("can"));
        out.push(Token::word("not"));
    } else if low == "won't" {
        out.push(Token::word("will"));
        out.push(Token::word("not"));
    } else if let Some(base) = low.strip_suffix("n't") {
        out.push(Token::word(base));
        out.push(Token::word("not"));
    } else if matches!(
        low.as_str(),
        "dont"
            | "doesnt"
            | "didnt"
            | "isnt"
            | "wasnt"
            | "hasnt"
            | "havent"
            | "hadnt"
            | "couldnt"
            | "wouldnt"
            | "arent"
    ) {
        out.push(Token::word(&low[..low.len() - 2]));
        out.push(Token::word("not"));
    } else {
        let base = low
            .strip_suffix("'s")
            .or_else(|| low.strip_suffix("'m"))
            .or_else(|| low.strip_suffix("'re"))
            .or_else(|| low.strip_suffix("'ve"))
            .or_else(|| low.strip_suffix("'ll"))
            .or_else(|| low.strip_suffix("'d"));
        let mut token = Token::word(base.unwrap_or(&low));
        token.capital = raw.starts_with(char::is_uppercase);
        out.push(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<f64> {
        read(text)
            .into_iter()
            .filter_map(|t| t.number.map(|n| n.value))
            .collect()
    }

    #[test]
    fn spoken_numbers_are_read() {
        for (text, want) in [
            ("twenty six", 26.0),
            ("twenty-six", 26.0),
            ("one oh five", 105.0),
            ("one twenty", 120.0),
            ("one hundred and five", 105.0),
            ("two thousand nine", 2009.0),
            ("nineteen ninety five", 1995.0),
            ("twenty twenty one", 2021.0),
            ("eight point five", 8.5),
            ("ninety eight point six", 98.6),
            ("1,000", 1000.0),
            ("two and a half", 2.5),
            ("a couple", 2.0),
            ("twelve hundred", 1200.0),
            ("thirty first", 31.0),
            ("21st", 21.0),
        ] {
            assert_eq!(numbers(text), [want], "{text}");
        }
    }

    #[test]
    fn separate_numbers_stay_separate() {
        assert_eq!(numbers("120 over 80"), [120.0, 80.0]);
        assert_eq!(numbers("four or five"), [4.0, 5.0]);
        assert_eq!(numbers("3x10"), [3.0, 10.0]);
        assert_eq!(numbers("2/10"), [2.0, 10.0]);
        assert_eq!(numbers("0-118"), [0.0, 118.0]);
        assert_eq!(numbers("hemoglobin A1c of 8"), [8.0]);
    }
}
