//! Calendar dates, months, years and weekdays.

use super::source::{Source, stems};
use super::tokens::Token;
use crate::clock::MONTH_NAMES;

/// What a mention says; the rest is open.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Date {
    year: Option<u32>,
    month: Option<u32>,
    day: Option<u32>,
    /// Monday is 1; yesterday 8, tomorrow 9.
    weekday: Option<u32>,
    /// 3/4/2024 may be read either way round.
    swapped: bool,
}

fn month(token: &Token) -> Option<u32> {
    let w = token.text.as_str();
    MONTH_NAMES
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .position(|m| {
            m == w
                || (w.len() == 3 && token.capital && m.starts_with(w))
                || (w == "sept" && m == "september")
        })
        .map(|n| n as u32 + 1)
}

fn weekday(token: &Token) -> Option<u32> {
    const DAYS: [&str; 7] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let w = token.text.strip_suffix('s').unwrap_or(&token.text);
    match w {
        "yesterday" => return Some(8),
        "tomorrow" => return Some(9),
        _ => {}
    }
    DAYS.iter()
        .position(|d| {
            *d == w
                || (token.capital
                    && matches!(
                        token.text.as_str(),
                        "mon" | "tue" | "tues" | "wed" | "thu" | "thur" | "thurs" | "fri"
                    )
                    && d.starts_with(&token.text[..3]))
        })
        .map(|n| n as u32 + 1)
}

fn whole(token: Option<&Token>) -> Option<u32> {
    token
        .and_then(|t| t.number.as_ref())
        .filter(|n| n.value.fract() == 0.0 && n.value >= 0.0 && n.value < 3000.0)
        .map(|n| n.value as u32)
}

fn year_of(value: u32) -> Option<u32> {
    match value {
        1900..=2099 => Some(value),
        0..=40 => Some(2000 + value),
        41..=99 => Some(1900 + value),
        _ => None,
    }
}

/// The dates of a text, and which tokens they take.
pub(super) fn find(tokens: &[Token]) -> (Vec<Date>, Vec<bool>) {
    let mut taken = vec![false; tokens.len()];
    let mut out = Vec::new();
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let mut i = 0;
    while i < tokens.len() {
        let mut used = 0;
        let mut date = Date::default();
        if let (Some(a), Some(b), Some(c)) = (
            whole(tokens.get(i)),
            whole(tokens.get(i + 2)),
            whole(tokens.get(i + 4)),
        ) && matches!(text(i + 1), "/" | "-")
            && text(i + 1) == text(i + 3)
        {
            if (1900..2100).contains(&a) && b <= 12 && c <= 31 {
                date = Date {
                    year: Some(a),
                    month: Some(b),
                    day: Some(c),
                    ..date
                };
                used = 5;
            } else if (1..=31).contains(&a)
                && (1..=31).contains(&b)
                && (a <= 12 || b <= 12)
                && year_of(c).is_some()
            {
                let (m, d) = if a <= 12 { (a, b) } else { (b, a) };
                date = Date {
                    year: year_of(c),
                    month: Some(m),
                    day: Some(d),
                    swapped: a <= 12 && b <= 12,
                    ..date
                };
                used = 5;
            }
        }
        if used == 0 && matches!(text(i + 1), "/" | "-") {
            if let (Some(m @ 1..=12), Some(y @ 1900..=2099)) =
                (whole(tokens.get(i)), whole(tokens.get(i + 2)))
            {
                date = Date {
                    year: Some(y),
                    month: Some(m),
                    ..date
                };
                used = 3;
            } else if text(i + 1) == "/"
                && let (Some(m @ 1..=12), Some(y @ 32..=99)) =
                    (whole(tokens.get(i)), whole(tokens.get(i + 2)))
            {
                date = Date {
                    year: Some(1900 + y),
                    month: Some(m),
                    ..date
                };
                used = 3;
            }
        }
        if used == 0 {
            if let Some(m) = tokens
                .get(i)
                .and_then(month)
                .filter(|_| surely_month(tokens, i))
            {
                date.month = Some(m);
                used = 1;
                let mut k = i + 1;
                while matches!(text(k), "-" | "the" | "of") {
                    k += 1;
                }
                if let Some(d) = whole(tokens.get(k)).filter(|d| (1..=31).contains(d)) {
                    date.day = Some(d);
                    used = k + 1 - i;
                    k += 1;
                    while matches!(text(k), "," | "-" | "of" | "in") {
                        k += 1;
                    }
                }
                if let Some(y) = whole(tokens.get(k)).filter(|y| (1900..2100).contains(y)) {
                    date.year = Some(y);
                    used = k + 1 - i;
                }
                // "12 November", "12-Nov", "the twelfth of november"
                if date.day.is_none() {
                    let mut back = i;
                    while back > 0 && matches!(text(back - 1), "-" | "of" | "the") {
                        back -= 1;
                    }
                    if back > 0
                        && let Some(d) = whole(tokens.get(back - 1))
                            .filter(|d| (1..=31).contains(d) && !taken[back - 1])
                    {
                        date.day = Some(d);
                        taken[back - 1] = true;
                    }
                }
            } else if let Some(w) = tokens.get(i).and_then(weekday) {
                date.weekday = Some(w);
                used = 1;
            } else if let Some(y) = whole(tokens.get(i)).filter(|y| (1900..2100).contains(y)) {
                let counted = matches!(
                    text(i + 1),
                    "mg" | "milligrams"
                        | "ml"
                        | "units"
                        | "mcg"
                        | "calories"
                        | "steps"
                        | "/"
                        | "%"
                        | "kg"
                ) || text(i.wrapping_sub(1)) == "/"
                    || tokens[i].text.contains(',')
                    || (i > 0 && text(i - 1) == "$");
                if !counted {
                    date.year = Some(y);
                    used = 1;
                }
            }
        }
        // "back in ninety six"
        if used == 0
            && matches!(text(i.wrapping_sub(1)), "in" | "since")
            && tokens[i]
                .number
                .as_ref()
                .is_some_and(|n| !n.digits && !n.ordinal)
            && let Some(y @ 50..=99) = whole(tokens.get(i))
            && tokens.get(i + 1).is_none_or(|t| {
                t.is_mark()
                    || matches!(
                        t.text.as_str(),
                        "and" | "i" | "he" | "she" | "we" | "they" | "when" | "with" | "for" | "or"
                    )
            })
        {
            date.year = Some(1900 + y);
            used = 1;
        }
        if used > 0 {
            taken[i..(i + used).min(tokens.len())].fill(true);
            out.push(date);
            i += used;
        } else {
            i += 1;
        }
    }
    (out, taken)
}

/// "may" and "march" are also verbs.
fn surely_month(tokens: &[Token], i: usize) -> bool {
    if !matches!(
        tokens[i].text.as_str(),
        "may" | "march" | "mar" | "jun" | "dec" | "sep"
    ) {
        return true;
    }
    let beside = |k: usize| tokens.get(k).is_some_and(|t| t.number.is_some());
    let before = i.checked_sub(1).map_or("", |k| tokens[k].text.as_str());
    beside(i + 1)
        || i.checked_sub(1).is_some_and(beside)
        || matches!(
            before,
            "in" | "of"
                | "since"
                | "last"
                | "next"
                | "until"
                | "early"
                | "late"
                | "by"
                | "-"
                | "this"
        ) && !matches!(
            tokens.get(i + 1).map_or("", |t| t.text.as_str()),
            "be" | "have" | "need" | "help" | "not" | "cause" | "take" | "also"
        )
}

/// Dates of the sentence that no mention in the source carries.
pub(super) fn missing(sentence: &[Token], source: &Source) -> Vec<String> {
    let (mine, _) = find(sentence);
    if mine.is_empty() {
        return Vec::new();
    }
    let theirs: Vec<Vec<Date>> = source.units.iter().map(|u| find(&u.tokens).0).collect();
    let near = stems(sentence);
    let numbers = |i: usize| {
        source.units[i]
            .tokens
            .iter()
            .filter_map(|t| t.number.as_ref())
            .flat_map(|n| std::iter::once(n.value).chain(n.also.iter().copied()))
    };
    let mut out = Vec::new();
    for date in mine {
        let (mut same, mut other) = (None::<f64>, 0.0f64);
        for (i, list) in theirs.iter().enumerate() {
            let around: Vec<&Date> = theirs[i.saturating_sub(1)..(i + 2).min(theirs.len())]
                .iter()
                .flatten()
                .collect();
            // "oh eight" and "'08" are years too.
            let has_number = |v: u32| {
                numbers(i).any(|n| {
                    n == f64::from(v)
                        || (v >= 1900
                            && n < 100.0
                            && year_of(n as u32) == Some(v)
                            && n.fract() == 0.0
                            && n > 0.0
                            && around.iter().any(|d| d.month.is_some()))
                })
            };
            let part = |want: Option<u32>, get: fn(&Date) -> Option<u32>| {
                want.is_none_or(|w| around.iter().any(|d| get(d) == Some(w)))
            };
            let straight = part(date.month, |d| d.month)
                && (part(date.day, |d| d.day) || date.day.is_some_and(has_number));
            let turned = part(date.day, |d| d.month)
                && part(date.month, |d| d.day)
                && (date.swapped || list.iter().any(|d| d.swapped))
                && date.day.is_some();
            let hit = (straight || turned)
                && (part(date.year, |d| d.year) || date.year.is_some_and(has_number))
                && part(date.weekday, |d| d.weekday)
                && (!list.is_empty() || date.year.is_some_and(has_number));
            let score = source.nearness(&near, i);
            if hit {
                same = Some(same.unwrap_or(0.0).max(score));
            } else if list.iter().any(|d| {
                d.weekday.is_some() == date.weekday.is_some()
                    && d.month.is_some() == date.month.is_some()
                    && d.year.is_some() == date.year.is_some()
            }) {
                other = other.max(score);
            }
        }
        // Another date of the same form, said much nearer to these words, makes this one doubtful.
        let ok = same.is_some_and(|s| other <= s * RIVAL + RIVAL_MORE);
        if !ok {
            out.push(date.to_string());
        }
    }
    out
}

const RIVAL: f64 = 1.3;
const RIVAL_MORE: f64 = 1.0;

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DAYS: [&str; 10] = [
            "",
            "Monday",
            "Tuesday",
            "Wednesday",
            "Thursday",
            "Friday",
            "Saturday",
            "Sunday",
            "yesterday",
            "tomorrow",
        ];
        let parts: Vec<String> = [
            self.weekday
                .and_then(|d| DAYS.get(d as usize))
                .map(|d| (*d).to_owned()),
            self.day.map(|d| d.to_string()),
            self.month
                .and_then(|m| MONTH_NAMES.get((m as usize).checked_sub(1)?))
                .map(|m| (*m).to_owned()),
            self.year.map(|y| y.to_string()),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::read;
    use super::*;

    fn wrong(sentence: &str, source: &str) -> bool {
        !missing(&read(sentence), &Source::read(&[source])).is_empty()
    }

    #[test]
    fn forms_of_one_date_meet() {
        assert!(!wrong(
            "Review on 12-Nov.",
            "see you on the 12th of november"
        ));
        assert!(!wrong("Seen 01/10/09.", "january tenth two thousand nine"));
        assert!(!wrong(
            "Injury in August 2008.",
            "in august of two thousand eight"
        ));
        assert!(!wrong("Surgery in 1995.", "back in nineteen ninety five"));
        assert!(!wrong("Fell on Tuesday.", "i fell on tuesday"));
    }

    #[test]
    fn another_day_month_year_or_weekday_shows() {
        assert!(wrong(
            "Review on 13-Nov.",
            "see you on the 12th of november"
        ));
        assert!(wrong("Review on 12 December.", "12 november"));
        assert!(wrong("Surgery in 1996.", "back in nineteen ninety five"));
        assert!(wrong("Fell on Wednesday.", "i fell on tuesday"));
    }

    #[test]
    fn may_and_march_as_verbs_are_no_dates() {
        assert!(!wrong("She may march on.", "no date"));
    }
}
