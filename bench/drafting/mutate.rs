//! The written rules by which the bench makes wrong sentences out of right ones. Each returns every way that one
//! place of the sentence can be changed; the bench picks one of them by its seeded generator.
//!
//! number: one figure (not inside a name such as A1c, not part of a date) plus or minus 1, times 10, divided by 10,
//!   its digits swapped, or another of the same length; a spelled number becomes another; a dose or time unit
//!   becomes another (mg, mcg, g; days, weeks, months, years).
//! side: left and right exchanged (also L and R before a word); bilateral or both becomes left or right.
//! drug: one medicine becomes another generic that the dialogue doesn't name.
//! date: one month, weekday, year, day of month or part of a numeric date becomes another; "yesterday" and
//!   "tomorrow" change places; of a day counted from today ("3 weeks ago", "the past 2 months", "in 6 weeks") the count
//!   or the unit becomes another.
//! negation: one cue removed ("no", "denies" → "reports", "not", "without" → "with", "negative" → "positive"), or one
//!   put in ("reports" → "denies", "is" → "is not", "has a" → "has no").

/// SplitMix64: small, seeded, the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() {
            None
        } else {
            Some(&list[self.below(list.len())])
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Number,
    Side,
    Drug,
    Date,
    Negation,
}

pub const CLASSES: [Class; 5] = [
    Class::Number,
    Class::Side,
    Class::Drug,
    Class::Date,
    Class::Negation,
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const SPELLED: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];
const UNITS: [&[&str]; 2] = [&["mg", "mcg", "g"], &["day", "week", "month", "year"]];

/// A word of the sentence: where it stands, and itself.
struct Word<'a> {
    start: usize,
    text: &'a str,
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut out = Vec::new();
    let mut start = None;
    for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let inside = c.is_alphanumeric()
            || c == '\''
            || c == '’'
            || (matches!(c, '.' | ',')
                && start.is_some()
                && text[..i].ends_with(|c: char| c.is_ascii_digit())
                && text[i + 1..].starts_with(|c: char| c.is_ascii_digit()));
        match (inside, start) {
            (true, None) => start = Some(i),
            (false, Some(s)) => {
                out.push(Word {
                    start: s,
                    text: &text[s..i],
                });
                start = None;
            }
            _ => {}
        }
    }
    out
}

fn replaced(text: &str, word: &Word<'_>, with: &str) -> String {
    let with = if word.text.starts_with(char::is_uppercase) && with.starts_with(char::is_lowercase)
    {
        with[..1].to_uppercase() + &with[1..]
    } else {
        with.to_owned()
    };
    format!(
        "{}{with}{}",
        &text[..word.start],
        &text[word.start + word.text.len()..]
    )
}

/// One changed copy of `sentence`, or none where the class doesn't occur in it.
pub fn mutate(
    class: Class,
    sentence: &str,
    dialogue: &str,
    drugs: &[&str],
    rng: &mut Rng,
) -> Option<String> {
    let all = words(sentence);
    let mut places: Vec<Vec<String>> = Vec::new();
    for (i, word) in all.iter().enumerate() {
        let ways = match class {
            Class::Number => number(sentence, &all, i, rng),
            Class::Side => side(sentence, &all, i),
            Class::Drug => drug(sentence, word, dialogue, drugs, rng),
            Class::Date => date(sentence, &all, i, rng),
            Class::Negation => negation(sentence, &all, i),
        };
        let ways: Vec<String> = ways.into_iter().filter(|w| w != sentence).collect();
        if !ways.is_empty() {
            places.push(ways);
        }
    }
    let place = rng.pick(&places)?;
    rng.pick(place).cloned()
}

fn dated(text: &str, all: &[Word<'_>], i: usize) -> bool {
    let word = &all[i];
    let after = &text[word.start + word.text.len()..];
    let before = &text[..word.start];
    let slashes = |s: &str| {
        s.starts_with('/')
            && s[1..].split('/').count() > 1
            && s[1..]
                .split('/')
                .nth(1)
                .is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()))
    };
    let year = word
        .text
        .parse::<u32>()
        .is_ok_and(|n| (1900..2100).contains(&n));
    let month = |w: Option<&Word<'_>>| w.is_some_and(|w| MONTHS.contains(&w.text));
    year || slashes(after)
        || (before.ends_with('/') && (before.matches('/').count() > 1 || after.starts_with('/')))
        || month(i.checked_sub(1).and_then(|k| all.get(k)))
        || month(all.get(i + 1))
}

fn number(text: &str, all: &[Word<'_>], i: usize, rng: &mut Rng) -> Vec<String> {
    let word = &all[i];
    let low = word.text.to_lowercase();
    let mut out = Vec::new();
    if word
        .text
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.' || b == b',')
    {
        let covid = i > 0 && all[i - 1].text.eq_ignore_ascii_case("covid");
        if dated(text, all, i) || covid {
            return out;
        }
        let plain = word.text.replace(',', "");
        let Ok(value) = plain.parse::<f64>() else {
            return out;
        };
        let whole = !plain.contains('.');
        let show = |v: f64| {
            if whole && v.fract() == 0.0 {
                format!("{v:.0}")
            } else {
                format!("{}", (v * 100.0).round() / 100.0)
            }
        };
        out.push(show(value + 1.0));
        if value >= 1.0 {
            out.push(show(value - 1.0));
            out.push(show(value * 10.0));
            out.push(show(value / 10.0));
        }
        let mut other: Vec<u8> = plain.bytes().collect();
        if let Some(k) = other.iter().position(u8::is_ascii_digit) {
            other[k] = b'1' + ((other[k] - b'0') as usize + rng.below(8)) as u8 % 9;
            out.extend(String::from_utf8(other));
        }
        if whole && plain.len() == 2 {
            out.push(plain.chars().rev().collect());
        }
        out.retain(|n| n.parse::<f64>().is_ok_and(|v| v != value));
        return out.iter().map(|n| replaced(text, word, n)).collect();
    }
    if let Some(at) = SPELLED.iter().position(|s| *s == low) {
        // "one" is a number only before a unit.
        let counts = at != 1
            || all
                .get(i + 1)
                .is_some_and(|w| UNITS[1].contains(&w.text.trim_end_matches('s')));
        if counts {
            out.push(replaced(text, word, SPELLED[1 + (at + rng.below(10)) % 12]));
        }
    }
    let after_number = i > 0
        && (all[i - 1].text.ends_with(|c: char| c.is_ascii_digit())
            || SPELLED.contains(&all[i - 1].text.to_lowercase().as_str()));
    for group in UNITS {
        let (stem, plural) = match low.strip_suffix('s') {
            Some(stem) if group.contains(&stem) => (stem, "s"),
            _ => (low.as_str(), ""),
        };
        if group.contains(&stem) && after_number {
            let others: Vec<&&str> = group.iter().filter(|u| **u != stem).collect();
            if let Some(other) = rng.pick(&others) {
                out.push(replaced(text, word, &format!("{other}{plural}")));
            }
        }
    }
    out
}

fn side(text: &str, all: &[Word<'_>], i: usize) -> Vec<String> {
    let word = &all[i];
    let next = all.get(i + 1).map_or("", |w| w.text);
    let with: &[&str] = match word.text.to_lowercase().as_str() {
        "left"
            if matches!(
                next,
                "the"
                    | "a"
                    | "his"
                    | "her"
                    | "for"
                    | "work"
                    | "school"
                    | "home"
                    | "against"
                    | "over"
                    | "AMA"
            ) =>
        {
            &[]
        }
        "right" if matches!(next, "now" | "away" | "after" | "before") => &[],
        "left" => &["right"],
        "right" => &["left"],
        "bilateral" | "both" => &["left", "right"],
        "bilaterally" => &["on the left", "on the right"],
        "l" if word.text == "L" && next.starts_with(char::is_lowercase) => &["R"],
        "r" if word.text == "R" && next.starts_with(char::is_lowercase) => &["L"],
        _ => &[],
    };
    if word.text.eq_ignore_ascii_case("both")
        && !text.to_lowercase().split("both ").nth(1).is_some_and(|r| {
            [
                "knee", "leg", "hand", "arm", "eye", "ear", "shoulder", "hip", "feet", "ankle",
                "side", "lung", "upper", "lower", "breast", "wrist", "elbow", "of her", "of his",
            ]
            .iter()
            .any(|p| r.starts_with(p))
        })
    {
        return Vec::new();
    }
    with.iter().map(|w| replaced(text, word, w)).collect()
}

fn drug(text: &str, word: &Word<'_>, dialogue: &str, drugs: &[&str], rng: &mut Rng) -> Vec<String> {
    if hadada::drafting::check::substance(&word.text.to_lowercase()).is_none() {
        return Vec::new();
    }
    let low = dialogue.to_lowercase();
    let others: Vec<&&str> = drugs
        .iter()
        .filter(|d| !low.contains(**d) && !word.text.to_lowercase().contains(**d))
        .collect();
    rng.pick(&others)
        .map(|d| replaced(text, word, d))
        .into_iter()
        .collect()
}

fn date(text: &str, all: &[Word<'_>], i: usize, rng: &mut Rng) -> Vec<String> {
    let word = &all[i];
    if let Some(at) = MONTHS.iter().position(|m| *m == word.text) {
        return vec![replaced(text, word, MONTHS[(at + 1 + rng.below(11)) % 12])];
    }
    if let Some(at) = DAYS.iter().position(|d| *d == word.text) {
        return vec![replaced(text, word, DAYS[(at + 1 + rng.below(6)) % 7])];
    }
    match word.text.to_lowercase().as_str() {
        "yesterday" => return vec![replaced(text, word, "tomorrow")],
        "tomorrow" => return vec![replaced(text, word, "yesterday")],
        _ => {}
    }
    if from_today(all, i) {
        return number(text, all, i, rng);
    }
    let Ok(value) = word.text.parse::<u32>() else {
        return Vec::new();
    };
    if !dated(text, all, i) {
        return Vec::new();
    }
    if (1900..2100).contains(&value) {
        return [value + 1, value - 1, value - 10]
            .iter()
            .map(|v| replaced(text, word, &v.to_string()))
            .collect();
    }
    let other = 1 + (value as usize + rng.below(26)) as u32 % 28;
    if other == value {
        Vec::new()
    } else {
        vec![replaced(
            text,
            word,
            &format!("{other:0w$}", w = word.text.len()),
        )]
    }
}

/// Whether the word is the count or the unit of "3 weeks ago", "in 6 weeks", "the past 2 months".
fn from_today(all: &[Word<'_>], i: usize) -> bool {
    let low = |k: usize| all.get(k).map_or(String::new(), |w| w.text.to_lowercase());
    let is_unit = |k: usize| UNITS[1].contains(&low(k).trim_end_matches('s'));
    let count = if is_unit(i) { i.wrapping_sub(1) } else { i };
    let counts = low(count).starts_with(|c: char| c.is_ascii_digit())
        || SPELLED.contains(&low(count).as_str());
    let before = count.checked_sub(1).map_or(String::new(), low);
    counts
        && is_unit(count + 1)
        && (low(count + 2) == "ago"
            || matches!(before.as_str(), "in" | "past" | "last" | "within" | "next"))
}

fn negation(text: &str, all: &[Word<'_>], i: usize) -> Vec<String> {
    let word = &all[i];
    let next = all.get(i + 1);
    let without = |word: &Word<'_>| {
        let end = word.start + word.text.len();
        let rest = text[end..].trim_start();
        let mut rest = rest.to_owned();
        if word.start == 0
            && let Some(c) = rest.chars().next()
        {
            rest = c.to_uppercase().collect::<String>() + &rest[c.len_utf8()..];
        }
        format!("{}{rest}", &text[..word.start])
    };
    match word.text.to_lowercase().as_str() {
        "no" if next.is_some_and(|n| n.text != "longer") => vec![without(word)],
        "not" => vec![without(word)],
        "never" => vec![without(word)],
        "denies" => vec![replaced(text, word, "reports")],
        "denied" => vec![replaced(text, word, "reported")],
        "without" => vec![replaced(text, word, "with")],
        "negative" => vec![replaced(text, word, "positive")],
        "reports" | "endorses" => vec![replaced(text, word, "denies")],
        "reported" => vec![replaced(text, word, "denied")],
        "is" | "was" | "are" | "does" | "did" | "can"
            if next.is_some_and(|n| {
                n.text != "not"
                    && n.text != "no"
                    && !n.text.starts_with("un")
                    && !n.text.starts_with("non")
            }) =>
        {
            vec![replaced(text, word, &format!("{} not", word.text))]
        }
        "a" | "an" | "some"
            if i > 0
                && matches!(all[i - 1].text, "has" | "have" | "had")
                && next.is_some_and(|n| !matches!(n.text, "little" | "lot" | "few")) =>
        {
            vec![replaced(text, word, "no")]
        }
        _ => Vec::new(),
    }
}
