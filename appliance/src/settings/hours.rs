//! Working hours as a person types them: `08:00-12:30, 13:30-17:00`. Pure.

use time::Time;

use crate::clock;

/// A stretch of a day: from, until.
pub(super) type Stretch = (Time, Time);

/// Most stretches of one day.
const MOST: usize = 6;
const FORM: &str =
    "Enter from and until, such as 08:00-16:30, or 08:00-12:30, 13:30-17:00. Empty: not at work.";

/// Reads a day; empty is a day off.
pub(super) fn parse(text: &str) -> Result<Vec<Stretch>, &'static str> {
    let mut day = Vec::new();
    for part in text.split([',', ';']).map(str::trim) {
        if part.is_empty() {
            continue;
        }
        let (from, until) = part
            .split_once(['-', '\u{2013}', '\u{2014}'])
            .or_else(|| part.split_once(" to "))
            .ok_or(FORM)?;
        let (from, until) = (time(from)?, time(until)?);
        if from >= until {
            return Err("The end comes after the start, on the same day.");
        }
        day.push((from, until));
    }
    if day.len() > MOST {
        return Err("At most six stretches in a day.");
    }
    day.sort();
    if day.windows(2).any(|w| w[0].1 > w[1].0) {
        return Err("Two of these stretches overlap.");
    }
    Ok(day)
}

/// `8`, `8:30`, `08h30` or `08.30`.
fn time(text: &str) -> Result<Time, &'static str> {
    let text = text.trim();
    let (hour, minute) = text.split_once([':', 'h', '.']).unwrap_or((text, "00"));
    let number = |digits: &str| {
        ((1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse::<u8>().ok())
            .flatten()
            .ok_or(FORM)
    };
    let minute = if minute.is_empty() { "00" } else { minute };
    let time = Time::from_hms(number(hour)?, number(minute)?, 0)
        .map_err(|_| "A day has the times from 00:00 to 23:55.")?;
    if time.minute() % 5 != 0 {
        return Err("The diary counts in steps of five minutes.");
    }
    Ok(time)
}

/// A day as it stands in the form.
pub(super) fn text(day: &[Stretch]) -> String {
    day.iter()
        .map(|(from, until)| format!("{}-{}", clock::time_text(*from), clock::time_text(*until)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A week in one line: `Mon-Fri 08:00-16:30; Sat 08:00-12:00`.
pub(super) fn week_text(week: &[String; 7]) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let mut parts = Vec::new();
    let mut from = 0;
    while from < 7 {
        let mut to = from;
        while to + 1 < 7 && week[to + 1] == week[from] {
            to += 1;
        }
        if !week[from].is_empty() {
            let days = if to == from {
                DAYS[from].to_owned()
            } else {
                format!("{}-{}", DAYS[from], DAYS[to])
            };
            parts.push(format!("{days} {}", week[from]));
        }
        from = to + 1;
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::time;

    use super::*;

    #[test]
    fn hours_are_read_as_people_write_them() {
        let morning = (time!(8:00), time!(12:30));
        let afternoon = (time!(13:30), time!(17:00));
        for typed in [
            "08:00-12:30, 13:30-17:00",
            "13h30 - 17h; 8 – 12.30",
            "8 to 12:30,13:30 to 17,",
        ] {
            assert_eq!(parse(typed), Ok(vec![morning, afternoon]), "{typed}");
        }
        assert_eq!(parse("  "), Ok(Vec::new()));
        for bad in [
            "8",
            "08:00-",
            "17:00-08:00",
            "08:00-08:00",
            "08:00-24:00",
            "08:02-09:00",
            "8-12, 11-13",
            "+8-12",
            "1-2,3-4,5-6,7-8,9-10,11-12,13-14",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_week_is_told_in_one_line() {
        let day = |text: &str| text.to_owned();
        let week = [
            day("08:00-16:30"),
            day("08:00-16:30"),
            day(""),
            day("09:00-12:00"),
            day(""),
            day(""),
            day(""),
        ];
        assert_eq!(week_text(&week), "Mon-Tue 08:00-16:30; Thu 09:00-12:00");
        assert_eq!(week_text(&Default::default()), "");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(starts in proptest::collection::btree_set(0_u16..288, 0..12)) {
            let at = |n: u16| Time::from_hms(u8::try_from(n / 12).unwrap(), u8::try_from(n % 12 * 5).unwrap(), 0).unwrap();
            let day: Vec<Stretch> = starts.iter().copied().collect::<Vec<_>>().chunks_exact(2).map(|c| (at(c[0]), at(c[1]))).collect();
            prop_assert_eq!(parse(&text(&day)), Ok(day));
        }

        #[test]
        fn nothing_typed_breaks_it(typed in ".{0,40}") {
            if let Ok(day) = parse(&typed) {
                prop_assert!(day.iter().all(|(from, until)| from < until));
            }
        }
    }
}
