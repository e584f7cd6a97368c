//! Spoken numbers: "twenty six", "one oh five", "ninety eight point six".

use super::tokens::{Number, Token};

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
    // "in her seventies"
    if let Some(one) = word.strip_suffix("ies") {
        return TENS
            .iter()
            .position(|w| w.strip_suffix('y') == Some(one))
            .map(|n| (n as f64 + 2.0) * 10.0);
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
pub(super) fn joined(tokens: Vec<Token>) -> Vec<Token> {
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
