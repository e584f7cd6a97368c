//! Words, numerals and marks of a text, with spoken numbers read as figures.

use super::words;

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

    fn number(text: String, number: Number) -> Self {
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
    words::join_phrases(spoken(lex(text)))
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

pub(super) fn small(word: &str) -> Option<f64> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    SMALL.iter().position(|w| *w == word).map(|n| n as f64)
}

fn tens(word: &str) -> Option<f64> {
    const TENS: [&str; 8] = [
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    if word == "fourty" {
        return Some(40.0);
    }
    TENS.iter()
        .position(|w| *w == word)
        .map(|n| (n as f64 + 2.0) * 10.0)
}

fn ordinal(word: &str) -> Option<f64> {
    const ORDINALS: [&str; 20] = [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "eleventh",
        "twelfth",
        "thirteenth",
        "fourteenth",
        "fifteenth",
        "sixteenth",
        "seventeenth",
        "eighteenth",
        "nineteenth",
        "twentieth",
    ];
    if word == "thirtieth" {
        return Some(30.0);
    }
    ORDINALS
        .iter()
        .position(|w| *w == word)
        .map(|n| n as f64 + 1.0)
}

/// Replaces runs of number words by one figure each.
fn spoken(tokens: Vec<Token>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if let Some((number, used)) = run(&tokens[i..]) {
            out.push(Token::number(
                tokens[i..i + used]
                    .iter()
                    .map(|t| t.text.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
                number,
            ));
            i += used;
            continue;
        }
        // "ninety eight . two", ". five": a spoken point, written as a mark.
        if tokens[i].text == "." {
            let whole = out.last().and_then(|t| t.number.as_ref()).map(|n| n.value);
            if let Some((part, used)) = run(&tokens[i + 1..])
                .filter(|(n, _)| n.value < 10.0 && n.also.is_empty() && !n.ordinal)
            {
                let value = whole.unwrap_or(0.0) + part.value / 10.0;
                match out.last_mut().and_then(|t| t.number.as_mut()) {
                    Some(number) => {
                        let others: Vec<f64> =
                            number.also.iter().map(|v| v + part.value / 10.0).collect();
                        number.also.extend(others);
                        number.also.push(number.value);
                        number.value = (value * 10.0).round() / 10.0;
                    }
                    None => out.push(Token::number(
                        format!(".{}", part.value),
                        Number {
                            value,
                            also: vec![part.value],
                            digits: false,
                            ordinal: false,
                        },
                    )),
                }
                i += 1 + used;
                continue;
            }
        }
        let fixed = match tokens[i].text.as_str() {
            "once" => Some(1.0),
            "twice" | "couple" => Some(2.0),
            "thrice" => Some(3.0),
            "half" => Some(0.5),
            "dozen" => Some(12.0),
            _ => None,
        };
        match fixed {
            // "six and a half", "two and a half"
            Some(half)
                if half < 1.0
                    && out.len() >= 3
                    && out[out.len() - 1].text == "a"
                    && out[out.len() - 2].text == "and"
                    && out[out.len() - 3].number.is_some() =>
            {
                let at = out.len() - 3;
                out.truncate(at + 1);
                if let Some(n) = out[at].number.as_mut() {
                    n.also.push(n.value);
                    n.value += half;
                }
            }
            Some(value) => out.push(Token::number(
                tokens[i].text.clone(),
                Number {
                    value,
                    also: Vec::new(),
                    digits: false,
                    ordinal: false,
                },
            )),
            None => out.push(tokens[i].clone()),
        }
        i += 1;
    }
    out
}

/// The number that starts here in words (or digits followed by "hundred", "point"), and how many tokens it takes.
fn run(tokens: &[Token]) -> Option<(Number, usize)> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut parts: Vec<f64> = Vec::new(); // values that stand beside each other: "one" "twenty"
    let mut i = 0;
    let mut is_ordinal = false;
    let mut digits = false;
    loop {
        let word = text(i);
        if let Some(n) = tokens.get(i).and_then(|t| t.number.as_ref()) {
            if !parts.is_empty()
                || !matches!(text(i + 1), "hundred" | "thousand" | "point" | "million")
                || !text(i + 1).starts_with(|c: char| c.is_alphabetic())
            {
                break;
            }
            parts.push(n.value);
            digits = true;
            i += 1;
        } else if let Some(t) = tens(word) {
            i += 1;
            let dash = usize::from(text(i) == "-");
            let unit = small(text(i + dash)).filter(|u| (1.0..10.0).contains(u));
            if let Some(u) = unit {
                parts.push(t + u);
                i += 1 + dash;
            } else if let Some(u) = ordinal(text(i + dash)).filter(|u| *u < 10.0) {
                parts.push(t + u);
                is_ordinal = true;
                i += 1 + dash;
            } else {
                parts.push(t);
            }
        } else if let Some(s) = small(word) {
            // "one" and "two" joined by a dash are a range, read one by one.
            parts.push(s);
            i += 1;
        } else if matches!(word, "oh" | "o")
            && !parts.is_empty()
            && small(text(i + 1)).is_some_and(|u| u < 10.0)
        {
            let last = parts.pop().unwrap_or_default();
            parts.push(last * 100.0 + small(text(i + 1)).unwrap_or_default());
            i += 2;
        } else if let Some(o) = ordinal(word).filter(|_| word != "second" || parts.is_empty()) {
            parts.push(o);
            is_ordinal = true;
            i += 1;
        } else if matches!(
            word,
            "hundred" | "thousand" | "million" | "hundreds" | "thousands"
        ) && (!parts.is_empty() || i == 0)
        {
            let factor = match word {
                "hundred" | "hundreds" => 100.0,
                "thousand" | "thousands" => 1000.0,
                _ => 1e6,
            };
            if parts.is_empty() && i > 0 {
                break;
            }
            let base = parts.pop().unwrap_or(1.0);
            let mut value = base * factor;
            i += 1;
            let skip = usize::from(
                text(i) == "and" && (small(text(i + 1)).is_some() || tens(text(i + 1)).is_some()),
            );
            if let Some((rest, used)) = rest_of(&tokens[(i + skip).min(tokens.len())..], factor) {
                value += rest;
                i += skip + used;
            }
            parts.push(value);
        } else if word == "point"
            && !parts.is_empty()
            && (small(text(i + 1)).is_some()
                || tokens.get(i + 1).is_some_and(|t| t.number.is_some()))
        {
            let last = parts.pop().unwrap_or_default();
            let (mut value, mut place) = (last, 0.1);
            i += 1;
            while let Some(d) = small(text(i))
                .or_else(|| {
                    tokens
                        .get(i)
                        .and_then(|t| t.number.as_ref())
                        .map(|n| n.value)
                })
                .filter(|d| *d < 10.0)
            {
                value += d * place;
                place /= 10.0;
                i += 1;
            }
            parts.push((value * 1e6).round() / 1e6);
        } else {
            break;
        }
        if is_ordinal {
            break;
        }
    }
    if parts.is_empty() {
        return None;
    }
    let joined = join(&parts);
    let mut also: Vec<f64> = if parts.len() > 1 {
        parts.clone()
    } else {
        Vec::new()
    };
    if parts.len() > 2 {
        also.push(join(&parts[..2]));
        also.push(join(&parts[1..]));
    }
    if is_ordinal && parts.len() > 1 {
        // "january tenth", never "one tenth"; a year after a day is read by `dates`.
        also.push(*parts.last().unwrap_or(&0.0));
    }
    Some((
        Number {
            value: joined,
            also,
            digits,
            ordinal: is_ordinal,
        },
        i,
    ))
}

/// What follows "hundred" or "thousand": "two thousand [nine]", "one hundred [and five]".
fn rest_of(tokens: &[Token], below: f64) -> Option<(f64, usize)> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    if let Some(t) = tens(text(0)) {
        let dash = usize::from(text(1) == "-");
        return Some(
            match small(text(1 + dash)).filter(|u| (1.0..10.0).contains(u)) {
                Some(u) => (t + u, 2 + dash),
                None => (t, 1),
            },
        );
    }
    let s = small(text(0))?;
    if below > 100.0 && text(1) == "hundred" {
        let rest = rest_of(&tokens[2..], 100.0);
        return Some((
            s * 100.0 + rest.map_or(0.0, |r| r.0),
            2 + rest.map_or(0, |r| r.1),
        ));
    }
    Some((s, 1))
}

/// Values said beside each other: "one twenty" 120, "nineteen ninety five" 1995, "one two" 12.
fn join(parts: &[f64]) -> f64 {
    parts
        .iter()
        .copied()
        .reduce(|a, b| {
            if (10.0..100.0).contains(&b) && (1.0..100.0).contains(&a) {
                a * 100.0 + b
            } else if b < 10.0 && a < 1000.0 && a.fract() == 0.0 {
                a * 10.0 + b
            } else {
                b
            }
        })
        .unwrap_or_default()
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
