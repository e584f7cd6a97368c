//! Decisions about times, made without a database.

use time::{Date, Duration, OffsetDateTime, Time};

use crate::clock;
use crate::error::Problems;
use crate::practices::WorkingHours;

/// The diary's step.
const STEP_MINUTES: i64 = 5;
/// Longest booking of patients.
pub const LONGEST_VISIT: i64 = 480;
/// Longest time blocked in one piece.
pub const LONGEST_BLOCK: i64 = 720;
/// How far ahead a booking may lie.
const AHEAD: Duration = Duration::days(731);

/// A stretch of time, its end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first instant.
    pub start: OffsetDateTime,
    /// The instant after its last.
    pub end: OffsetDateTime,
}

impl Span {
    /// Its length.
    #[must_use]
    pub fn minutes(self) -> i64 {
        (self.end - self.start).whole_minutes()
    }

    /// `10:45 to 11:30`.
    #[must_use]
    pub fn words(self) -> String {
        let time = |at| clock::time_text(clock::local(at).1);
        format!("{} to {}", time(self.start), time(self.end))
    }
}

/// Checks a wanted time: in steps of five minutes, no longer than `longest`, not on a day that is over (earlier today is
/// allowed: a visit may be written down after it began) and not more than two years ahead.
pub fn wanted_time(
    now: OffsetDateTime,
    start: OffsetDateTime,
    minutes: i64,
    longest: i64,
    problems: &mut Problems,
) -> Option<Span> {
    let (date, time) = clock::local(start);
    let mut ok = true;
    if i64::from(time.minute()) % STEP_MINUTES != 0 || time.second() != 0 || time.nanosecond() != 0
    {
        problems.add(
            "start",
            "The diary works in steps of 5 minutes. Choose a time such as 10:45.",
        );
        ok = false;
    }
    let today = clock::local(now).0;
    if date < today {
        problems.add(
            "start",
            format!(
                "{} is over. Choose today or a later day.",
                clock::date_text(date)
            ),
        );
        ok = false;
    } else if date > today.saturating_add(AHEAD) {
        problems.add(
            "start",
            format!(
                "{} is more than two years ahead. Check the year.",
                clock::date_text(date)
            ),
        );
        ok = false;
    }
    if minutes <= 0 {
        problems.add(
            "duration_minutes",
            "The end must come after the start. Give a length of at least 5 minutes.",
        );
        ok = false;
    } else if minutes > longest {
        problems.add(
            "duration_minutes",
            format!("At most {longest} minutes ({} hours).", longest / 60),
        );
        ok = false;
    } else if minutes % STEP_MINUTES != 0 {
        problems.add(
            "duration_minutes",
            "The diary works in steps of 5 minutes. Choose a length such as 45.",
        );
        ok = false;
    }
    ok.then(|| Span {
        start,
        end: start + Duration::minutes(minutes),
    })
}

/// Whether a stretch lies wholly inside working hours; hours that touch count as one.
#[must_use]
pub fn is_inside_hours(span: Span, hours: &[WorkingHours]) -> bool {
    let (date, from) = clock::local(span.start);
    let (end_date, to) = clock::local(span.end);
    if date != end_date {
        return false;
    }
    let mut reached = from;
    let mut sorted: Vec<_> = hours.to_vec();
    sorted.sort_by_key(|h| h.starts);
    for h in sorted {
        if h.starts <= reached && reached < h.ends {
            reached = h.ends;
        }
    }
    to <= reached && reached > from
}

/// What to say when a time is outside working hours.
#[must_use]
pub fn outside_hours_words(name: &str, date: Date, hours: &[WorkingHours]) -> String {
    let day = format!("{} {}", date.weekday(), clock::date_text(date));
    if hours.is_empty() {
        return format!(
            "{name} does not work on {day}. Choose another day, or say that it is meant."
        );
    }
    let hours: Vec<_> = hours
        .iter()
        .map(|h| {
            format!(
                "{} to {}",
                clock::time_text(h.starts),
                clock::time_text(h.ends)
            )
        })
        .collect();
    format!(
        "{name} works {} on {day}. Choose a time inside that, or say that it is meant.",
        hours.join(" and ")
    )
}

/// Reads a day of the calendar as `2026-11-24`.
///
/// # Errors
/// A sentence for the field.
pub fn parse_date(text: &str) -> Result<Date, &'static str> {
    clock::parse_day(text).ok_or("This is not a day of the calendar. Write it as 2026-11-24.")
}

/// Reads a time of the day as people type it: `10:45`, `9:05`, `9h05`, `905`, `9`.
///
/// # Errors
/// A sentence for the field.
pub fn parse_time(text: &str) -> Result<Time, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("Give a time such as 10:45.");
    }
    let (hour, minute) = match text.split_once([':', '.', 'h', 'H']) {
        Some((hour, "")) => (hour, "0"),
        Some((_, minute)) if minute.len() != 2 => ("", ""),
        Some(parts) => parts,
        None if text.len() > 2 && text.is_ascii() => text.split_at(text.len() - 2),
        None => (text, "0"),
    };
    let number = |digits: &str| {
        digits
            .parse::<u8>()
            .ok()
            .filter(|_| digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    number(hour)
        .zip(number(minute))
        .and_then(|(hour, minute)| Time::from_hms(hour, minute, 0).ok())
        .ok_or("This is not a time of the day. Write it as 10:45.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PractitionerId;
    use time::macros::{date, datetime, time};

    const NOW: OffsetDateTime = datetime!(2026-11-24 08:41 UTC);

    fn fields(start: OffsetDateTime, minutes: i64) -> Vec<String> {
        let mut problems = Problems::new();
        let span = wanted_time(NOW, start, minutes, LONGEST_VISIT, &mut problems);
        let fields: Vec<_> = problems
            .into_fields()
            .into_iter()
            .map(|f| f.field.into_owned())
            .collect();
        assert_eq!(span.is_some(), fields.is_empty());
        fields
    }

    #[test]
    fn times_that_make_no_sense_are_named() {
        assert!(fields(datetime!(2026-11-24 09:00 UTC), 45).is_empty());
        assert!(
            fields(datetime!(2026-11-23 22:00 UTC), 45).is_empty(),
            "00:00 today in Johannesburg"
        );
        assert_eq!(
            fields(datetime!(2026-11-23 21:55 UTC), 45),
            ["start"],
            "23:55 yesterday"
        );
        assert_eq!(fields(datetime!(2026-11-24 09:01 UTC), 45), ["start"]);
        assert_eq!(fields(datetime!(2036-11-24 09:00 UTC), 45), ["start"]);
        for minutes in [0, -45, i64::MIN, 485, i64::MAX, 44] {
            assert_eq!(
                fields(datetime!(2026-11-24 09:00 UTC), minutes),
                ["duration_minutes"],
                "{minutes}"
            );
        }
    }

    #[test]
    fn hours_that_touch_are_one() {
        let hours = |a, b| WorkingHours {
            practitioner: PractitionerId(uuid::Uuid::nil()),
            starts: a,
            ends: b,
        };
        let span = |a, b| Span {
            start: clock::instant(date!(2026 - 11 - 24), a),
            end: clock::instant(date!(2026 - 11 - 24), b),
        };
        let day = [
            hours(time!(12:00), time!(16:00)),
            hours(time!(08:00), time!(12:00)),
            hours(time!(17:00), time!(18:00)),
        ];
        assert!(is_inside_hours(span(time!(11:30), time!(12:30)), &day));
        assert!(is_inside_hours(span(time!(08:00), time!(16:00)), &day));
        assert!(!is_inside_hours(span(time!(15:45), time!(17:15)), &day));
        assert!(!is_inside_hours(span(time!(07:30), time!(08:30)), &day));
        assert!(!is_inside_hours(span(time!(18:00), time!(18:30)), &day));
        assert!(!is_inside_hours(span(time!(09:00), time!(09:30)), &[]));
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        assert!(parse_date("2026-02-30").is_err());
        assert!(parse_date("2026-13-01").is_err());
        assert!(parse_date("").is_err());
        assert_eq!(parse_date("2028-02-29"), Ok(date!(2028 - 02 - 29)));
        for nonsense in [
            "24:00", "10:60", "1261", "10:5", "", "a", "10:45:00", "-1:00", "ṱoḓa", "99999",
            "+9:00",
        ] {
            assert!(parse_time(nonsense).is_err(), "{nonsense}");
        }
        for (typed, meant) in [
            ("07:05", time!(07:05)),
            ("7:05", time!(07:05)),
            ("9h30", time!(09:30)),
            ("930", time!(09:30)),
            ("1045", time!(10:45)),
            ("9", time!(09:00)),
        ] {
            assert_eq!(parse_time(typed), Ok(meant), "{typed}");
        }
    }
}
