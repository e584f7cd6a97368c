//! When a patient's record may be erased. Pure.
//!
//! Sources: HPCSA, Guidelines on the Keeping of Patient Records (Booklet 9, 2016), paragraphs 9.2 (not less than six years
//! from when they became dormant), 9.3.1 (of minors until the 21st birthday), 9.3.2 (of mentally incompetent patients for
//! life), 9.4 (occupational health 20 years) and 9.6 (slow diseases 25 years); Tax Administration Act 28 of 2011, section
//! 29(3)(a) (five years from the date of the return); Protection of Personal Information Act 4 of 2013, section 14.

use time::{Date, Month};

/// Why a record is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It does not have to be kept any longer.
    RetentionEnded,
    /// The patient asked (POPIA, section 24), and it does not have to be kept any longer.
    PatientAsked,
    /// It should never have been there.
    RegisteredByMistake,
    /// A court or the Information Regulator ordered it.
    CourtOrder,
}

impl Reason {
    /// All of them, in the form's order.
    pub const ALL: [Self; 4] = [
        Self::RetentionEnded,
        Self::PatientAsked,
        Self::RegisteredByMistake,
        Self::CourtOrder,
    ];

    /// As stored.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::RetentionEnded => "retention-ended",
            Self::PatientAsked => "patient-asked",
            Self::RegisteredByMistake => "registered-by-mistake",
            Self::CourtOrder => "court-order",
        }
    }

    /// As stored, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.text() == text)
    }

    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::RetentionEnded => "The time for keeping the record is over",
            Self::PatientAsked => "The patient asked for it",
            Self::RegisteredByMistake => "Registered by mistake, never treated",
            Self::CourtOrder => "A court or the Information Regulator ordered it",
        }
    }
}

/// What decides about erasing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// When the patient was born.
    pub born: Date,
    /// The last visit, score or addendum.
    pub last_care: Option<Date>,
    /// The last invoice or payment.
    pub last_money: Option<Date>,
    /// A booking that is still to come.
    pub booked: bool,
}

/// Why a record may not be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has to be kept until this day, exclusive.
    Until(Date, &'static str),
    /// Somebody expects the patient.
    Booked,
    /// There are visits or invoices: it was no mistake.
    Treated,
}

impl Refusal {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Until(day, why) => format!(
                "This record has to be kept until {}: {why}.",
                crate::clock::date_text(*day)
            ),
            Self::Booked => "This patient has a booking that is still to come. Cancel it first.".into(),
            Self::Treated => "This patient has visits or invoices, so the record is no mistake. Choose another reason.".into(),
        }
    }
}

fn years_after(day: Date, years: i32) -> Date {
    let year = day.year() + years;
    // Whoever is born on 29 February has the birthday of a common year on 1 March.
    day.replace_year(year)
        .or_else(|_| Date::from_calendar_date(year, Month::March, 1))
        .unwrap_or(Date::MAX)
}

/// The last day on which a return that covers this day is due, at the usual latest: 31 January after the end of its year of
/// assessment, which ends in February.
fn return_due(day: Date) -> Date {
    let ends = if day.month() as u8 <= 2 {
        day.year()
    } else {
        day.year() + 1
    };
    Date::from_calendar_date(ends + 1, Month::January, 31).unwrap_or(Date::MAX)
}

/// From which day on the record need not be kept, and why not before. None where nothing has to be kept.
pub(super) fn free_from(kept: Kept) -> Option<(Date, &'static str)> {
    let care = kept.last_care.map(|last| {
        let six = years_after(last, 6);
        let grown = years_after(kept.born, 21);
        if last < years_after(kept.born, 18) && grown > six {
            (
                grown,
                "records of minors are kept until the 21st birthday (HPCSA Booklet 9, 9.3.1)",
            )
        } else {
            (
                six,
                "records are kept for six years after the last visit (HPCSA Booklet 9, 9.2)",
            )
        }
    });
    let money = kept.last_money.map(|last| {
        (
            years_after(return_due(last), 5),
            "invoices are kept for five years after the tax return (Tax Administration Act, section 29)",
        )
    });
    care.into_iter().chain(money).max_by_key(|(day, _)| *day)
}

/// Whether the record may be erased today.
pub(super) fn may_erase(kept: Kept, reason: Reason, today: Date) -> Result<(), Refusal> {
    if kept.booked {
        return Err(Refusal::Booked);
    }
    match reason {
        Reason::CourtOrder => Ok(()),
        Reason::RegisteredByMistake if kept.last_care.is_some() || kept.last_money.is_some() => {
            Err(Refusal::Treated)
        }
        _ => match free_from(kept) {
            Some((day, why)) if today < day => Err(Refusal::Until(day, why)),
            _ => Ok(()),
        },
    }
}

/// Whether a text names a patient: any of these words stands in it.
pub(super) fn names(text: &str, words: &[&str]) -> bool {
    let low = text.to_lowercase();
    let parts: Vec<&str> = low.split(|c: char| !c.is_alphanumeric()).collect();
    words
        .iter()
        .flat_map(|w| w.split_whitespace())
        .map(str::to_lowercase)
        .filter(|w| w.chars().count() > 1)
        .any(|w| parts.contains(&w.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::date;

    use super::*;

    fn kept(born: Date, last_care: Option<Date>, last_money: Option<Date>) -> Kept {
        Kept {
            born,
            last_care,
            last_money,
            booked: false,
        }
    }

    #[test]
    fn six_years_after_the_last_visit_and_not_a_day_sooner() {
        let facts = kept(date!(1980 - 01 - 01), Some(date!(2020 - 03 - 10)), None);
        let ask = |day| may_erase(facts, Reason::PatientAsked, day);
        assert!(
            matches!(ask(date!(2026 - 03 - 09)), Err(Refusal::Until(day, _)) if day == date!(2026 - 03 - 10))
        );
        assert_eq!(ask(date!(2026 - 03 - 10)), Ok(()));
    }

    #[test]
    fn a_child_s_record_is_kept_until_the_21st_birthday() {
        let child = kept(date!(2015 - 06 - 01), Some(date!(2020 - 03 - 10)), None);
        assert_eq!(free_from(child).unwrap().0, date!(2036 - 06 - 01));
        let nearly_grown = kept(date!(2002 - 06 - 01), Some(date!(2020 - 05 - 31)), None);
        assert_eq!(
            free_from(nearly_grown).unwrap().0,
            date!(2026 - 05 - 31),
            "six years are longer"
        );
        let leap = kept(date!(2016 - 02 - 29), Some(date!(2020 - 03 - 10)), None);
        assert_eq!(free_from(leap).unwrap().0, date!(2037 - 03 - 01));
    }

    #[test]
    fn invoices_are_kept_for_five_years_after_the_return() {
        for (paid, until) in [
            (date!(2020 - 03 - 10), date!(2027 - 01 - 31)),
            (date!(2020 - 02 - 10), date!(2026 - 01 - 31)),
        ] {
            assert_eq!(
                free_from(kept(date!(1980 - 01 - 01), None, Some(paid)))
                    .unwrap()
                    .0,
                until
            );
        }
    }

    #[test]
    fn a_mistake_has_no_visits_and_a_court_s_word_stands() {
        let treated = kept(date!(1980 - 01 - 01), Some(date!(2026 - 03 - 10)), None);
        let today = date!(2026 - 11 - 24);
        assert_eq!(
            may_erase(treated, Reason::RegisteredByMistake, today),
            Err(Refusal::Treated)
        );
        assert_eq!(may_erase(treated, Reason::CourtOrder, today), Ok(()));
        let never = kept(date!(2020 - 01 - 01), None, None);
        assert_eq!(may_erase(never, Reason::RegisteredByMistake, today), Ok(()));
        assert_eq!(
            may_erase(
                Kept {
                    booked: true,
                    ..never
                },
                Reason::CourtOrder,
                today
            ),
            Err(Refusal::Booked)
        );
    }

    #[test]
    fn a_reference_does_not_name_the_patient() {
        let patient = ["Khumalo", "Thandiwe Grace"];
        assert!(names("letter of Ms KHUMALO, 3 May", &patient) && names("grace asked", &patient));
        assert!(!names(
            "letter of 3 May, filed under requests 2026/14",
            &patient
        ));
    }

    proptest! {
        #[test]
        fn nothing_is_free_before_its_time(born in 0_i64..30_000, care in 0_i64..10_000, money in proptest::option::of(0_i64..10_000)) {
            let born = date!(1930 - 01 - 01) + Duration::days(born);
            let day = |d: i64| born + Duration::days(d);
            let one = free_from(kept(born, Some(day(care)), money.map(day))).unwrap().0;
            prop_assert!(one >= years_after(day(care), 6));
            if care < 6_574 {
                prop_assert!(one >= years_after(born, 21));
            }
            if let Some(m) = money {
                prop_assert!(one >= years_after(day(m), 5));
            }
        }
    }
}
