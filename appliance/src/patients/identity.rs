//! Identity numbers: the South African ID number and passports.

use time::{Date, Month};

use crate::clock;

/// Administrative sex, in FHIR's four codes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Sex {
    /// Female.
    Female,
    /// Male.
    Male,
    /// Neither.
    Other,
    /// Not said.
    Unknown,
}

impl Sex {
    /// Every code, in the order a form offers them.
    pub const ALL: [Self; 4] = [Self::Female, Self::Male, Self::Other, Self::Unknown];

    /// As stored.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }

    /// On screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Female => "Female",
            Self::Male => "Male",
            Self::Other => "Other",
            Self::Unknown => "Not known",
        }
    }

    /// As stored, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.text() == text)
    }
}

/// Why a number is no South African ID number, or not this person's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaIdError {
    /// Not 13 digits.
    #[error("An SA ID number has 13 digits; this has {0}.")]
    Length(usize),
    /// Something else than digits.
    #[error("An SA ID number has digits only. For a passport, choose Passport.")]
    NotDigits,
    /// The first six digits are no date in any century.
    #[error(
        "The first six digits of an SA ID number are the birth date, and {0} is no date. Check the number against the ID."
    )]
    NoDate(String),
    /// The eleventh digit says citizen (0), permanent resident (1) or refugee (2).
    #[error(
        "The eleventh digit of an SA ID number is 0, 1 or 2; here it is {0}. Check the number against the ID."
    )]
    Citizenship(char),
    /// The check digit does not fit.
    #[error("The check digit is wrong, so a digit is mistyped. Check the number against the ID.")]
    CheckDigit,
    /// The number's birth date is another than the one given.
    #[error(
        "The birth date in the ID number ({in_number}) is not the birth date given ({given}). One of the two is mistyped."
    )]
    BirthDate {
        /// First six digits.
        in_number: String,
        /// The birth date given.
        given: String,
    },
    /// The number's sex is another than the one given.
    #[error(
        "The ID number is of a {in_number} person, the sex given is {given}. One of the two is mistyped."
    )]
    Sex {
        /// What digits 7 to 10 say.
        in_number: &'static str,
        /// The sex given.
        given: &'static str,
    },
}

/// A South African ID number whose own rules hold: `YYMMDD SSSS C A Z` (Identification Act 68 of 1997, section 7, and the
/// Department of Home Affairs' layout): birth date, sequence (5000 and above male), citizenship, a digit without meaning today,
/// and a Luhn check digit.
#[derive(Clone, PartialEq, Eq)]
pub struct SaId(String);

impl std::fmt::Debug for SaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SaId(…)")
    }
}

impl SaId {
    /// Reads a number; blanks and hyphens between digits are left out.
    ///
    /// # Errors
    /// The first of the number's own rules that it breaks.
    pub fn parse(text: &str) -> Result<Self, SaIdError> {
        let digits: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .collect();
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SaIdError::NotDigits);
        }
        if digits.len() != 13 {
            return Err(SaIdError::Length(digits.len()));
        }
        let id = Self(digits);
        if ![1900, 2000]
            .into_iter()
            .any(|century| id.date_in(century).is_some())
        {
            return Err(SaIdError::NoDate(id.0[..6].to_owned()));
        }
        let citizenship = char::from(id.0.as_bytes()[10]);
        if !matches!(citizenship, '0'..='2') {
            return Err(SaIdError::Citizenship(citizenship));
        }
        if !luhn_sum(&id.0).is_multiple_of(10) {
            return Err(SaIdError::CheckDigit);
        }
        Ok(id)
    }

    fn two_digits(&self, at: usize) -> u8 {
        self.0[at..at + 2].parse().unwrap_or(0)
    }

    fn date_in(&self, century: i32) -> Option<Date> {
        let month = Month::try_from(self.two_digits(2)).ok()?;
        Date::from_calendar_date(
            century + i32::from(self.two_digits(0)),
            month,
            self.two_digits(4),
        )
        .ok()
    }

    /// Checks the number against the person. The number holds no century; the birth date given decides it. A sex recorded as
    /// other or unknown fits every number.
    ///
    /// # Errors
    /// When the birth date or the sex is another.
    pub fn check(&self, birth: Date, sex: Sex) -> Result<(), SaIdError> {
        let century = birth.year() - birth.year().rem_euclid(100);
        if self.date_in(century) != Some(birth) {
            return Err(SaIdError::BirthDate {
                in_number: self.0[..6].to_owned(),
                given: clock::date_text(birth),
            });
        }
        let male = self.0.as_bytes()[6] >= b'5';
        match sex {
            Sex::Female if male => Err(SaIdError::Sex {
                in_number: "male",
                given: "female",
            }),
            Sex::Male if !male => Err(SaIdError::Sex {
                in_number: "female",
                given: "male",
            }),
            _ => Ok(()),
        }
    }

    /// All 13 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The Luhn sum (ISO/IEC 7812-1, annex B) over digits whose last is the check digit; a multiple of ten when it fits.
fn luhn_sum(digits: &str) -> u32 {
    digits
        .bytes()
        .rev()
        .map(|b| u32::from(b - b'0'))
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum()
}

/// What identifies a person to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A South African ID number.
    SaId(SaId),
    /// A passport number, in upper case.
    Passport(Passport),
    /// No document seen.
    None,
}

/// A passport number: 5 to 20 letters and digits (ICAO Doc 9303 part 3 holds 9 in the machine-readable zone, longer ones pass
/// over it).
#[derive(Clone, PartialEq, Eq)]
pub struct Passport(String);

impl std::fmt::Debug for Passport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passport(…)")
    }
}

impl Passport {
    /// Reads a number; blanks and hyphens are left out.
    ///
    /// # Errors
    /// A sentence with the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let number: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .map(|c| c.to_ascii_uppercase())
            .collect();
        if !(5..=20).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("A passport number has 5 to 20 letters and digits.");
        }
        Ok(Self(number))
    }
}

impl Identity {
    /// As stored.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SaId(_) => "sa-id",
            Self::Passport(_) => "passport",
            Self::None => "none",
        }
    }

    /// The number, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::SaId(id) => Some(&id.0),
            Self::Passport(number) => Some(&number.0),
            Self::None => None,
        }
    }
}

/// How an identity number is shown until somebody asks for it: what the birth date beside it says already, and dots.
/// It needs no key.
#[must_use]
pub fn masked(kind: &str, birth: Date) -> Option<String> {
    match kind {
        "sa-id" => {
            let year = birth.year().rem_euclid(100);
            Some(format!(
                "{year:02}{:02}{:02} •••• •••",
                u8::from(birth.month()),
                birth.day()
            ))
        }
        "passport" => Some("•••••••••".into()),
        _ => None,
    }
}

/// A whole number in groups that can be read out.
#[must_use]
pub fn grouped(kind: &str, value: &str) -> String {
    if kind == "sa-id" && value.len() == 13 && value.is_ascii() {
        format!("{} {} {}", &value[..6], &value[6..10], &value[10..])
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::date;

    /// A valid number of a person: the generator that the checks are tested against.
    fn number(birth: Date, sequence: u16, citizenship: u8) -> String {
        let stem = format!(
            "{:02}{:02}{:02}{sequence:04}{citizenship}8",
            birth.year().rem_euclid(100),
            u8::from(birth.month()),
            birth.day()
        );
        let check = (0..10)
            .find(|d| luhn_sum(&format!("{stem}{d}")).is_multiple_of(10))
            .unwrap();
        format!("{stem}{check}")
    }

    prop_compose! {
        fn births()(day in date!(1900-01-01).to_julian_day()..date!(2027-01-01).to_julian_day()) -> Date {
            Date::from_julian_day(day).unwrap()
        }
    }

    proptest! {
        #[test]
        fn a_person_s_own_number_fits(birth in births(), sequence in 0u16..10_000, citizenship in 0u8..3) {
            let sex = if sequence >= 5000 { Sex::Male } else { Sex::Female };
            let id = SaId::parse(&number(birth, sequence, citizenship)).unwrap();
            prop_assert_eq!(id.check(birth, sex), Ok(()));
            prop_assert_eq!(id.check(birth, Sex::Unknown), Ok(()));
            let other = if sex == Sex::Male { Sex::Female } else { Sex::Male };
            prop_assert!(matches!(id.check(birth, other), Err(SaIdError::Sex { .. })), "wrong sex passed");
            let next = birth.next_day().unwrap();
            prop_assert!(matches!(id.check(next, sex), Err(SaIdError::BirthDate { .. })), "wrong birth date passed");
        }

        #[test]
        fn one_wrong_digit_is_found(birth in births(), sequence in 0u16..10_000, place in 0usize..13, by in 1u8..10) {
            let mut digits = number(birth, sequence, 0).into_bytes();
            digits[place] = b'0' + (digits[place] - b'0' + by) % 10;
            prop_assert!(SaId::parse(std::str::from_utf8(&digits).unwrap()).is_err());
        }

        #[test]
        fn two_swapped_digits_are_found(birth in births(), sequence in 0u16..10_000, place in 0usize..12) {
            let mut digits = number(birth, sequence, 0).into_bytes();
            let pair = (digits[place], digits[place + 1]);
            // Luhn can't tell 09 from 90; equal digits swap to themselves.
            prop_assume!(pair.0 != pair.1 && !matches!(pair, (b'0', b'9') | (b'9', b'0')));
            digits.swap(place, place + 1);
            prop_assert!(SaId::parse(std::str::from_utf8(&digits).unwrap()).is_err());
        }

        #[test]
        fn reading_never_panics(text in ".{0,40}") {
            let _whatever_it_says = (SaId::parse(&text), Passport::parse(&text));
        }
    }

    #[test]
    fn says_which_rule_is_broken() {
        assert_eq!(SaId::parse("920314 5800 08"), Err(SaIdError::Length(12)));
        assert_eq!(SaId::parse("A920314580008"), Err(SaIdError::NotDigits));
        assert_eq!(
            SaId::parse("9213145800088"),
            Err(SaIdError::NoDate("921314".into()))
        );
        assert_eq!(
            SaId::parse("9202305800088"),
            Err(SaIdError::NoDate("920230".into()))
        );
        assert_eq!(
            SaId::parse("8001015009587"),
            Err(SaIdError::Citizenship('5'))
        );
        assert_eq!(SaId::parse("8001015009088"), Err(SaIdError::CheckDigit));
        assert!(SaId::parse("800101 5009-087").is_ok());
    }

    #[test]
    fn the_birth_date_decides_the_century() {
        let id = SaId::parse(&number(date!(2020 - 02 - 29), 100, 0)).unwrap();
        assert_eq!(id.check(date!(2020 - 02 - 29), Sex::Female), Ok(()));
        assert_eq!(id.check(date!(1920 - 02 - 29), Sex::Female), Ok(()));
        // 1900 was no leap year, 2000 was.
        let id = SaId::parse(&number(date!(2000 - 02 - 29), 100, 0)).unwrap();
        assert_eq!(id.check(date!(2000 - 02 - 29), Sex::Female), Ok(()));
        assert!(id.check(date!(1900 - 03 - 01), Sex::Female).is_err());
    }

    #[test]
    fn a_mask_tells_nothing_beyond_the_birth_date() {
        assert_eq!(
            masked("sa-id", date!(1992 - 03 - 14)).unwrap(),
            "920314 •••• •••"
        );
        assert_eq!(masked("none", date!(1992 - 03 - 14)), None);
        assert_eq!(grouped("sa-id", "8001015009087"), "800101 5009 087");
    }
}
