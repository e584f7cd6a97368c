//! Pure decisions about patients.

use time::Date;

use crate::clock;

/// What is known about allergies: exactly one of these is shown, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AllergyState {
    /// There are some, and they are listed.
    Known,
    /// Asked, and there are none.
    None,
    /// Nobody asked.
    Unrecorded,
    /// There are some, but they can't be read now: never to be taken for none.
    Unavailable,
}

impl AllergyState {
    /// The state as stored, held against the allergies that were read.
    #[must_use]
    pub fn of(stored: &str, listed: usize) -> Self {
        match (stored, listed) {
            ("known", 1..) => Self::Known,
            ("none-known", 0) => Self::None,
            ("not-recorded", 0) => Self::Unrecorded,
            // The two sides contradict each other: claim nothing.
            _ => Self::Unavailable,
        }
    }

    /// In the API.
    #[must_use]
    pub fn api(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::None => "none-known",
            Self::Unrecorded => "not-recorded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a patient may be one that is already there. The order is that of certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SameAs {
    /// The same identity number: certain, and refused.
    Identity,
    /// The same birth date and a similar name.
    BirthDate,
    /// The same phone and a similar name.
    Phone,
}

impl SameAs {
    /// For whoever decides.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Identity => "Has the same ID or passport number",
            Self::BirthDate => "Was born on the same day and has a similar name",
            Self::Phone => "Has the same phone number and a similar name",
        }
    }

    /// In the API.
    #[must_use]
    pub fn api(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::BirthDate => "birth-date-and-name",
            Self::Phone => "phone-and-name",
        }
    }
}

/// Age as it is said: days to a month, months to two years, then years.
#[must_use]
pub fn age_text(birth: Date, today: Date) -> String {
    let plural = |n: i32, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
    let years = clock::age_on(birth, today);
    if years >= 2 {
        return years.to_string();
    }
    let had_day = today.day() >= birth.day();
    let months = (today.year() - birth.year()) * 12 + i32::from(u8::from(today.month()))
        - i32::from(u8::from(birth.month()))
        - i32::from(!had_day);
    if months >= 1 {
        plural(months, "month")
    } else {
        plural((today - birth).whole_days().try_into().unwrap_or(0), "day")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn no_contradiction_is_shown_as_no_allergy() {
        assert_eq!(AllergyState::of("known", 2), AllergyState::Known);
        assert_eq!(AllergyState::of("none-known", 0), AllergyState::None);
        assert_eq!(
            AllergyState::of("not-recorded", 0),
            AllergyState::Unrecorded
        );
        for (stored, listed) in [
            ("known", 0),
            ("none-known", 1),
            ("not-recorded", 1),
            ("garbled", 0),
        ] {
            assert_eq!(AllergyState::of(stored, listed), AllergyState::Unavailable);
        }
    }

    #[test]
    fn ages_are_said_as_people_say_them() {
        let today = date!(2026 - 11 - 22);
        for (birth, text) in [
            (date!(2026 - 11 - 22), "0 days"),
            (date!(2026 - 11 - 21), "1 day"),
            (date!(2026 - 10 - 23), "30 days"),
            (date!(2026 - 10 - 22), "1 month"),
            (date!(2024 - 11 - 23), "23 months"),
            (date!(2024 - 11 - 22), "2"),
            (date!(1992 - 03 - 14), "34"),
        ] {
            assert_eq!(age_text(birth, today), text, "{birth}");
        }
    }
}
