//! Figures and their units.

use super::drugs;
use super::source::{Source, stems};
use super::tokens::{Number, Token};
use super::units::{Kind, unit};

#[derive(Debug, Clone)]
pub(super) struct Quantity {
    pub number: Number,
    pub unit: Option<(Kind, f64)>,
    /// The figure after "/", "out of" or "over".
    pub over: Option<f64>,
    /// Whether it stands after "/", "out of" or "over".
    pub under: bool,
    /// The other end of a range: "2-3", "four or five".
    pub to: Option<f64>,
    /// "type", "grade", "stage" before it.
    pub label: Option<String>,
    /// Said without a figure: "a week", "daily".
    pub implied: bool,
    /// "once", "twice": how often, never how much.
    pub often: bool,
    /// Somebody's age, or in the source what may be one.
    pub age: bool,
    pub at: usize,
}

/// The quantities of a text. `implied` adds "a week" as 1 week and "daily" as once: what a source may mean by them.
pub(super) fn quantities(tokens: &[Token], implied: bool) -> Vec<Quantity> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let mut out = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if let Some(number) = &token.number {
            let before = |back: usize| at.checked_sub(back).map_or("", |k| text(k));
            out.push(Quantity {
                number: number.clone(),
                unit: unit_after(tokens, at),
                over: over(tokens, at),
                under: matches!(before(1), "/" | "over")
                    || (before(1) == "of" && before(2) == "out"),
                to: range_end(tokens, at),
                implied: false,
                often: matches!(token.text.as_str(), "once" | "twice" | "thrice"),
                age: age(tokens, at)
                    || (implied
                        && (number.value >= 13.0
                            || matches!(
                                before(1),
                                "i" | "am"
                                    | "is"
                                    | "was"
                                    | "age"
                                    | "turned"
                                    | "he"
                                    | "she"
                                    | "just"
                                    | "be"
                            ))),
                label: Some(before(1))
                    .filter(|w| matches!(*w, "type" | "grade" | "stage" | "class"))
                    .map(str::to_owned),
                at,
            });
        } else if implied {
            let one = |unit| Quantity {
                number: Number {
                    value: 1.0,
                    also: vec![],
                    digits: false,
                    ordinal: false,
                },
                unit,
                over: None,
                under: false,
                to: None,
                label: None,
                implied: true,
                often: false,
                age: false,
                at,
            };
            match token.text.as_str() {
                "a" | "an" | "every" | "each" | "per" | "last" | "next" | "another" => {
                    let noun = if text(at + 1) == "single" {
                        text(at + 2)
                    } else {
                        text(at + 1)
                    };
                    if let Some(u) = unit(noun) {
                        // "twice a day" is no day; "in a week", "a week ago" is one.
                        let before = at.checked_sub(1).map_or("", |k| text(k));
                        let spans = matches!(
                            before,
                            "about"
                                | "in"
                                | "for"
                                | "over"
                                | "within"
                                | "after"
                                | "than"
                                | "like"
                                | "maybe"
                                | "approximately"
                                | "almost"
                                | "around"
                                | "of"
                                | "been"
                                | "or"
                                | "least"
                                | "the"
                                | "just"
                                | "s"
                        ) || matches!(
                            text(at + 2),
                            "ago" | "later" | "old" | "now" | "or" | "and" | "off"
                        ) || matches!(token.text.as_str(), "last" | "next" | "another");
                        if spans {
                            out.push(one(Some(u)));
                        }
                        out.push(one(None));
                    } else if matches!(noun, "night" | "morning" | "evening" | "time") {
                        out.push(one(None));
                    }
                }
                "daily" | "nightly" | "weekly" | "monthly" | "yearly" | "annually" | "annual"
                | "single" => out.push(one(None)),
                "both" | "bid" | "pair" => out.push(Quantity {
                    number: Number {
                        value: 2.0,
                        ..one(None).number
                    },
                    ..one(None)
                }),
                "tid" => out.push(Quantity {
                    number: Number {
                        value: 3.0,
                        ..one(None).number
                    },
                    ..one(None)
                }),
                "qid" => out.push(Quantity {
                    number: Number {
                        value: 4.0,
                        ..one(None).number
                    },
                    ..one(None)
                }),
                "quarter" => out.push(Quantity {
                    number: Number {
                        value: 0.25,
                        ..one(None).number
                    },
                    ..one(None)
                }),
                _ => {}
            }
        }
    }
    out
}

fn unit_after(tokens: &[Token], at: usize) -> Option<(Kind, f64)> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let mut k = at + 1;
    for _ in 0..3 {
        while matches!(text(k), "-" | "'") {
            k += 1;
        }
        if text(k) == "half"
            || text(k) == "a"
            || text(k) == "more"
            || text(k) == "additional"
            || text(k) == "of" && matches!(tokens[at].text.as_str(), "couple" | "few")
            || text(k) == "consecutive"
            || text(k) == "or" && text(k + 1) == "so"
        {
            k += 1;
            continue;
        }
        // "in the 50s" counts no seconds.
        if text(k) == "s"
            && tokens[at]
                .number
                .as_ref()
                .is_some_and(|n| n.value >= 20.0 && n.value % 10.0 == 0.0)
        {
            return None;
        }
        if let Some(found) = unit(text(k)) {
            // "s" and "m" only beside digits; "x" joins sets and repetitions.
            return (text(k).len() > 1
                || text(k) == "%"
                || tokens[at].number.as_ref().is_some_and(|n| n.digits))
            .then_some(found);
        }
        // "2 to 3 weeks", "four or five days"
        if matches!(text(k), "to" | "or" | "and" | "-")
            && tokens.get(k + 1).is_some_and(|t| t.number.is_some())
            || tokens.get(k).is_some_and(|t| t.number.is_some()) && k > at + 1
        {
            let next = if tokens.get(k).is_some_and(|t| t.number.is_some()) {
                k
            } else {
                k + 1
            };
            k = next + 1;
            continue;
        }
        break;
    }
    None
}

fn over(tokens: &[Token], at: usize) -> Option<f64> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let next = match (text(at + 1), text(at + 2)) {
        ("/" | "over", _) => at + 2,
        ("out", "of") => at + 3,
        _ => return None,
    };
    tokens
        .get(next)
        .and_then(|t| t.number.as_ref())
        .map(|n| n.value)
}

/// "2-3", "2 to 3", "two or three".
fn range_end(tokens: &[Token], at: usize) -> Option<f64> {
    matches!(tokens.get(at + 1)?.text.as_str(), "-" | "to" | "or")
        .then(|| tokens.get(at + 2)?.number.as_ref().map(|n| n.value))?
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0)
}

fn agree(mine: &Quantity, theirs: &Quantity) -> bool {
    let plain =
        |x: f64| same(x, theirs.number.value) || theirs.number.also.iter().any(|v| same(x, *v));
    // "five or six hundred"
    let hundreds = theirs
        .to
        .is_some_and(|t| t >= 100.0 && t % 100.0 == 0.0 && theirs.number.value < 10.0)
        && same(mine.number.value, theirs.number.value * 100.0);
    let equal = hundreds
        || plain(mine.number.value)
        || (!mine.number.digits && mine.number.also.iter().any(|v| plain(*v)));
    match (mine.unit, theirs.unit) {
        (Some((ka, fa)), Some((kb, fb))) if comparable(ka) && comparable(kb) => {
            if ka != kb {
                return false;
            }
            // 14 days are two weeks; months and years only among themselves.
            same(mine.number.value * fa, theirs.number.value * fb)
                || (same(fa, fb) && equal)
                || (fa >= 365.0
                    && same(fb, 30.4)
                    && same(mine.number.value * 12.0, theirs.number.value))
                || (same(fa, 30.4)
                    && fb >= 365.0
                    && same(mine.number.value, theirs.number.value * 12.0))
        }
        // A bare figure in the source may be an age in years or a dose in mg, as people say them; nothing rarer.
        _ if theirs.often && mine.unit.is_some_and(|u| u.0 != Kind::Count) => false,
        (Some((Kind::Time, f)), None) => {
            equal
                && !theirs.implied
                && (f < 0.1 || theirs.to.is_some() || (f >= 365.0 && mine.age && theirs.age))
        }
        (Some((Kind::Mass, f)), None) => equal && !theirs.implied && (same(f, 0.001) || f >= 400.0),
        (Some((Kind::Length | Kind::Volume | Kind::Percent, _)), None) => equal && !theirs.implied,
        (Some((Kind::Count, _)) | None, _) => equal,
        _ => equal && !theirs.implied,
    }
}

/// Kinds whose mismatch is an error by itself.
fn comparable(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Mass | Kind::Volume | Kind::Length | Kind::Time | Kind::Percent
    )
}

/// Nearest medicine named up to six words before (or three after) the figure.
fn medicine(tokens: &[Token], at: usize) -> Option<String> {
    tokens[..at]
        .iter()
        .rev()
        .take(6)
        .take_while(|t| t.text != "." && t.text != ";")
        .find_map(|t| drugs::substance(&t.text))
        .or_else(|| {
            tokens[(at + 1).min(tokens.len())..]
                .iter()
                .take(4)
                .find_map(|t| drugs::substance(&t.text))
        })
}

/// Figures of the sentence that the source doesn't carry. `dated` marks tokens that belong to a date.
pub(super) fn missing(sentence: &[Token], dated: &[bool], source: &Source) -> Vec<String> {
    let near = stems(sentence);
    let theirs: Vec<Vec<Quantity>> = source
        .units
        .iter()
        .map(|u| quantities(&u.tokens, true))
        .collect();
    let long = source.units.len() > 12;
    let mut out = Vec::new();
    for mine in quantities(sentence, false) {
        if dated[mine.at] || passed_over(&mine, sentence) {
            continue;
        }
        let needed = if mine.age {
            0.0
        } else if !long {
            if source.units.len() > 3 && mine.number.value <= 12.0 && mine.unit.is_none() {
                NEAR_SHORT
            } else {
                0.0
            }
        } else if mine.number.value <= 12.0 && mine.unit.is_none() {
            NEAR_SMALL
        } else {
            NEAR
        };
        let drug = mine
            .unit
            .is_some_and(|(k, f)| k == Kind::Mass && f < 1.0)
            .then(|| medicine(sentence, mine.at))
            .flatten();
        let margin = if matches!(mine.unit, Some((Kind::Time, _))) {
            RIVAL_MORE_TIME
        } else {
            RIVAL_MORE
        };
        let mut best_same: f64 = 0.0;
        let mut best_other: f64 = 0.0;
        let mut found = false;
        for (i, list) in theirs.iter().enumerate() {
            let unit = &source.units[i];
            let hits = list.iter().filter(|q| {
                agree(&mine, q)
                    && (!q.under || mine.under)
                    && (mine.label.is_none() || mine.label == q.label)
                    && mine.over.is_none_or(|o| match q.over {
                        Some(x) => same(o, x),
                        None => {
                            list.iter()
                                .any(|p| p.at > q.at && p.at - q.at < 6 && agrees_value(o, p))
                                || scale(&theirs, i, o)
                        }
                    })
                    && mine.to.is_none_or(|o| {
                        q.to.is_some_and(|t| same(t, o))
                            || q.number.also.iter().any(|v| same(*v, o))
                            || (q.to.is_none()
                                && list
                                    .iter()
                                    .any(|p| p.at > q.at && p.at - q.at <= 3 && agrees_value(o, p)))
                            || (q.to.is_some_and(|t| t >= 100.0)
                                && same(q.to.unwrap_or_default(), o))
                    })
                    && drug.as_ref().is_none_or(|d| {
                        medicine(&unit.tokens, q.at).map_or(q.unit.is_some(), |m| m == *d)
                    })
            });
            let mut hit = false;
            for q in hits {
                hit = true;
                // The same unit is as good as a word in common.
                let unit_too = if mine.unit.is_some() && q.unit.is_some() {
                    NEAR
                } else {
                    0.0
                };
                best_same = best_same.max(source.nearness(&near, i) + unit_too);
            }
            if hit {
                found = true;
            } else if list.iter().any(|q| !q.implied && rivals(&mine, q)) {
                best_other = best_other.max(source.nearness(&near, i) + NEAR);
            }
        }
        let padded = mine.number.digits
            && sentence[mine.at].text.len() > 1
            && sentence[mine.at].text.starts_with('0')
            && !sentence[mine.at].text.starts_with("0.")
            && !clock(sentence, mine.at);
        let equal_ends = mine.to.is_some_and(|o| same(o, mine.number.value));
        if !found
            || ill_formed(sentence, &mine)
            || best_same < needed
            || best_other > best_same * RIVAL + margin
            || padded
            || equal_ends
        {
            out.push(shown(sentence, &mine));
        }
    }
    out
}

/// "1 weeks", "7/5", "4-3 weeks": no such figure is meant, whatever the source says.
fn ill_formed(tokens: &[Token], q: &Quantity) -> bool {
    let next = tokens.get(q.at + 1).map_or("", |t| t.text.as_str());
    let plural_of_one = same(q.number.value, 1.0)
        && !q.number.ordinal
        && next.len() > 3
        && next.ends_with('s')
        && (unit(next).is_some()
            || !next.ends_with("ss")
                && !next.ends_with("us")
                && !next.ends_with("is")
                && tokens.get(q.at + 1).is_some_and(|t| !t.stem.is_empty())
                && !q.at.checked_sub(1).is_some_and(|k| {
                    matches!(
                        tokens[k].text.as_str(),
                        "the" | "that" | "this" | "which" | "no"
                    )
                }));
    let above_scale = q
        .over
        .is_some_and(|o| (same(o, 5.0) || same(o, 10.0)) && q.number.value > o);
    let falling = matches!(q.unit, Some((Kind::Time, _)))
        && matches!(next, "-" | "to")
        && q.to.is_some_and(|t| t < q.number.value);
    let after = tokens.get(q.at + 2);
    // "in 2 week", but "a 2 week history", "2-week-old"
    let singular_of_many = q.number.digits
        && q.number.value > 1.0
        && matches!(next, "day" | "week" | "month" | "year")
        && after.is_none_or(|t| {
            t.text == "."
                || t.text == ","
                || matches!(t.text.as_str(), "ago" | "for" | "with" | "when" | "to")
        });
    let none_of_time = same(q.number.value, 0.0)
        && matches!(
            next,
            "day" | "days" | "week" | "weeks" | "month" | "months" | "year" | "years"
        );
    plural_of_one || above_scale || falling || singular_of_many || none_of_time
}

/// How much nearer another figure of the same kind must be said for this one to be in doubt.
const RIVAL: f64 = 1.3;
const RIVAL_MORE: f64 = 2.5;
/// Times are many in a conversation, so a nearer one counts sooner.
const RIVAL_MORE_TIME: f64 = 1.5;

/// Another figure that measures the same.
fn rivals(mine: &Quantity, theirs: &Quantity) -> bool {
    match (mine.unit, theirs.unit) {
        (Some((a, x)), Some((b, y))) => {
            a == b && a != Kind::Count && (a != Kind::Time || (x >= 1.0) == (y >= 1.0))
        }
        _ => false,
    }
}

/// "57-year-old", "age 57", "53 y.o."
fn age(tokens: &[Token], at: usize) -> bool {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let before = at.checked_sub(1).map_or("", |k| text(k));
    matches!(before, "age" | "aged")
        || (at + 1..at + 5).any(|k| text(k) == "old" || text(k) == "yo")
        || (text(at + 1) == "y" && text(at + 3) == "o")
}

/// Overlap that a figure's surroundings must have with the sentence, when the source is long.
const NEAR: f64 = 1.0;
const NEAR_SMALL: f64 = 2.0;
const NEAR_SHORT: f64 = 0.5;

fn agrees_value(value: f64, q: &Quantity) -> bool {
    same(value, q.number.value) || q.number.also.iter().any(|v| same(value, *v))
}

/// "on a scale of zero to ten" a little before "a six".
fn scale(all: &[Vec<Quantity>], i: usize, value: f64) -> bool {
    all[i.saturating_sub(3)..i].iter().flatten().any(|q| {
        q.to.map_or_else(|| agrees_value(value, q), |t| same(t, value))
    })
}

/// "9:05"
fn clock(tokens: &[Token], at: usize) -> bool {
    at > 0 && tokens[at - 1].text == ":"
}

/// Number words that count nothing: "one of", "first", "second".
fn passed_over(q: &Quantity, tokens: &[Token]) -> bool {
    let before =
        q.at.checked_sub(1)
            .and_then(|k| tokens.get(k))
            .map_or("", |t| t.text.as_str());
    let list_mark = q.at == 0
        && q.number.digits
        && tokens
            .get(1)
            .is_some_and(|t| matches!(t.text.as_str(), "." | ")"));
    let next = tokens.get(q.at + 1).map_or("", |t| t.text.as_str());
    // "moving all four extremities" is no count of the source's.
    let all_four =
        same(q.number.value, 4.0) && matches!(next, "extremities" | "limbs" | "quadrants");
    list_mark
        || all_four
        || (!q.number.digits && q.number.ordinal)
        || (!q.number.digits
            && same(q.number.value, 1.0)
            && q.unit.is_none()
            && tokens[q.at].text != "once")
        || (tokens[q.at].text == "once"
            && !matches!(
                tokens.get(q.at + 1).map_or("", |t| t.text.as_str()),
                "a" | "daily" | "per" | "every" | "weekly"
            ))
        || (tokens[q.at].text == "half" && before != "a")
}

fn shown(tokens: &[Token], q: &Quantity) -> String {
    let next = tokens.get(q.at + 1).map_or("", |t| t.text.as_str());
    if q.unit.is_some() && next.chars().all(|c| c.is_alphabetic() || c == '%') {
        format!("{} {next}", tokens[q.at].text)
    } else {
        tokens[q.at].text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::read;
    use super::*;

    fn wrong(sentence: &str, source: &[&str]) -> Vec<String> {
        let tokens = read(sentence);
        missing(&tokens, &vec![false; tokens.len()], &Source::read(source))
    }

    #[test]
    fn written_and_spoken_figures_meet() {
        for (sentence, source) in [
            ("Knee flexion 105 degrees.", "flexion one oh five"),
            ("26 years old.", "i'm twenty six"),
            ("Pain 2/10.", "two out of ten"),
            ("BP 120/80.", "one twenty over eighty"),
            ("Two weeks ago.", "14 days ago"),
            ("1 g twice daily.", "1000 mg two times a day"),
            ("3 x 10 leg press.", "3x10 leg press"),
            ("1 week ago.", "a week ago"),
            ("Rest for half an hour.", "rest half an hour"),
            ("2-3 weeks.", "two or three weeks"),
        ] {
            assert!(
                wrong(sentence, &[source]).is_empty(),
                "{sentence} / {source}: {:?}",
                wrong(sentence, &[source])
            );
        }
    }

    #[test]
    fn changed_figures_and_units_show() {
        for (sentence, source) in [
            ("Knee flexion 115 degrees.", "flexion one oh five"),
            ("Pain 2/10.", "two out of five"),
            ("Amlodipine 50 mg.", "amlodipine 5 mg"),
            ("Levothyroxine 50 mg.", "levothyroxine 50 micrograms"),
            ("Three weeks ago.", "three days ago"),
            ("BP 120/90.", "one twenty over eighty"),
            (
                "Lisinopril 500 mg, metformin 20 mg.",
                "metformin 500 mg and lisinopril 20 mg",
            ),
        ] {
            assert!(
                !wrong(sentence, &[source]).is_empty(),
                "{sentence} / {source}"
            );
        }
    }
}
