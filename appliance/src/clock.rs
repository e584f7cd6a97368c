//! Time: UTC in the database, Africa/Johannesburg on screen. Rules get the time passed in; only this file asks the system.

use std::sync::{Arc, LazyLock};

use jiff::tz::TimeZone;
use time::{Date, OffsetDateTime, Time};

/// The practice's time zone. South Africa has kept UTC+2 without daylight saving since 1944.
static ZONE: LazyLock<TimeZone> = LazyLock::new(|| {
    TimeZone::get("Africa/Johannesburg").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(2)))
});

/// Where the present time comes from: the system, or a test.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> OffsetDateTime + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock(…)")
    }
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(OffsetDateTime::now_utc))
    }

    /// A clock that a test steers.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present, in UTC, cut to the microseconds that Postgres keeps.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let now = (self.0)().to_offset(time::UtcOffset::UTC);
        now.replace_microsecond(now.microsecond()).unwrap_or(now)
    }

    /// Today on the practice's wall calendar.
    #[must_use]
    pub fn today(&self) -> Date {
        local(self.now()).0
    }
}

fn zoned(at: OffsetDateTime) -> jiff::Zoned {
    let stamp = jiff::Timestamp::from_nanosecond(at.unix_timestamp_nanos()).unwrap_or_default();
    stamp.to_zoned(ZONE.clone())
}

/// The practice's wall date and time of an instant.
#[must_use]
pub fn local(at: OffsetDateTime) -> (Date, Time) {
    let here = zoned(at);
    let offset = time::UtcOffset::from_whole_seconds(here.offset().seconds())
        .unwrap_or(time::UtcOffset::UTC);
    // The last hours of the calendar's last year have no wall date here; UTC's stands in for it.
    let at = at.checked_to_offset(offset).unwrap_or(at);
    (at.date(), at.time())
}

/// The instant at which the practice's wall clock shows this date and time.
#[must_use]
pub fn instant(date: Date, time: Time) -> OffsetDateTime {
    let naive = time::PrimitiveDateTime::new(date, time).assume_utc();
    let offset = zoned(naive).offset().seconds();
    naive.saturating_sub(time::Duration::seconds(i64::from(offset)))
}

/// Reads a day as browsers' date fields and programs send it, `2026-11-24`. None for what is no day, and for years that no
/// record of a practice is about: before 1900 and after 2199.
#[must_use]
pub fn parse_day(text: &str) -> Option<Date> {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    Date::parse(text.trim(), form)
        .ok()
        .filter(|day| (1900..2200).contains(&day.year()))
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// The months' names, January first.
pub(crate) const MONTH_NAMES: [&str; 12] = [
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

/// `24-Nov-2026`, the form of every date on screen and paper.
#[must_use]
pub fn date_text(date: Date) -> String {
    format!(
        "{:02}-{}-{}",
        date.day(),
        MONTHS[usize::from(u8::from(date.month())) - 1],
        date.year()
    )
}

/// `24-Nov`.
#[must_use]
pub fn short_date_text(date: Date) -> String {
    format!(
        "{:02}-{}",
        date.day(),
        MONTHS[usize::from(u8::from(date.month())) - 1]
    )
}

/// `24 November 2026`, for headings.
#[must_use]
pub fn long_date_text(date: Date) -> String {
    format!(
        "{} {} {}",
        date.day(),
        MONTH_NAMES[usize::from(u8::from(date.month())) - 1],
        date.year()
    )
}

/// `10:41`.
#[must_use]
pub fn time_text(time: Time) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// `24-Nov-2026 10:41` on the practice's wall clock.
#[must_use]
pub fn stamp_text(at: OffsetDateTime) -> String {
    let (date, time) = local(at);
    format!("{} {}", date_text(date), time_text(time))
}

/// RFC 3339 with the practice's offset, as the API sends times.
#[must_use]
pub fn rfc3339(at: OffsetDateTime) -> String {
    let (date, time) = local(at);
    let offset = zoned(at).offset().seconds();
    let sign = if offset < 0 { '-' } else { '+' };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{sign}{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        offset.abs() / 3600,
        offset.abs() / 60 % 60
    )
}

/// Whole years from a birth date to a day. A person born on 29 February is a year older on 1 March of a common year.
#[must_use]
pub fn age_on(birth: Date, day: Date) -> i32 {
    let had_birthday = (u8::from(day.month()), day.day()) >= (u8::from(birth.month()), birth.day());
    day.year() - birth.year() - i32::from(!had_birthday)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime, time};

    #[test]
    fn wall_time_round_trips() {
        assert_eq!(
            instant(date!(2026 - 11 - 24), time!(00:30)),
            datetime!(2026-11-23 22:30 UTC)
        );
        assert_eq!(
            local(datetime!(2026-11-23 22:30 UTC)),
            (date!(2026 - 11 - 24), time!(00:30))
        );
        assert_eq!(
            rfc3339(datetime!(2026-11-24 08:41:05 UTC)),
            "2026-11-24T10:41:05+02:00"
        );
        assert_eq!(
            stamp_text(datetime!(2026-11-24 08:41:05 UTC)),
            "24-Nov-2026 10:41"
        );
    }

    #[test]
    fn age_counts_birthdays() {
        assert_eq!(age_on(date!(1992 - 03 - 14), date!(2026 - 03 - 13)), 33);
        assert_eq!(age_on(date!(1992 - 03 - 14), date!(2026 - 03 - 14)), 34);
        assert_eq!(age_on(date!(2004 - 02 - 29), date!(2026 - 02 - 28)), 21);
        assert_eq!(age_on(date!(2004 - 02 - 29), date!(2026 - 03 - 01)), 22);
    }
}
