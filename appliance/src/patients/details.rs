//! What is known of a person: as typed, and as checked.

use time::{Date, Month};

use super::identity::{Identity, Passport, SaId, Sex};
use super::phone::Phone;
use super::search::parse_date;
use crate::clock;
use crate::error::Problems;
use crate::web::{email_address, optional_text, required_text};

/// The fields of a patient's form, as typed. Kept whole, so that a form that comes back holds everything.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Details {
    /// Mrs, Dr, …
    pub title: String,
    /// Surname.
    pub family_name: String,
    /// First names.
    pub given_name: String,
    /// What the person likes to be called.
    pub preferred_name: String,
    /// `14-Mar-1992`, `1992-03-14` or `14/03/1992`.
    pub birth_date: String,
    /// `female`, `male`, `other` or `unknown`.
    pub sex: String,
    /// `sa-id`, `passport` or `none`.
    pub identity_kind: String,
    /// The number on the document.
    pub identity_value: String,
    /// Any form of phone number.
    pub phone: String,
    /// Email address.
    pub email: String,
    /// Postal or street address on one line.
    pub address: String,
    /// Medical scheme.
    pub scheme_name: String,
    /// The scheme's plan.
    pub scheme_plan: String,
    /// Membership number.
    pub member_number: String,
    /// `00` for the main member.
    pub dependant_code: String,
    /// Whom to call.
    pub emergency_name: String,
    /// Their phone.
    pub emergency_phone: String,
}

/// What is known of a person, every rule checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demographics {
    /// Mrs, Dr, …; may be empty.
    pub title: String,
    /// Surname.
    pub family_name: String,
    /// First names.
    pub given_name: String,
    /// What the person likes to be called; may be empty.
    pub preferred_name: String,
    /// Date of birth.
    pub birth_date: Date,
    /// Administrative sex.
    pub sex: Sex,
    /// ID number or passport.
    pub identity: Identity,
    /// May be none.
    pub phone: Phone,
    /// May be empty.
    pub email: String,
    /// May be empty.
    pub address: String,
    /// May be empty.
    pub scheme_name: String,
    /// May be empty.
    pub scheme_plan: String,
    /// May be empty.
    pub member_number: String,
    /// May be empty.
    pub dependant_code: String,
    /// May be empty.
    pub emergency_name: String,
    /// May be none.
    pub emergency_phone: Phone,
}

/// The oldest birth date taken: nobody alive was born before it.
const EARLIEST: Date = match Date::from_calendar_date(1900, Month::January, 1) {
    Ok(date) => date,
    Err(_) => Date::MIN,
};

impl Details {
    /// Checks every field and collects every rule that is broken. `kept` is the identity a patient already has; an empty number
    /// of the same kind leaves it as it is.
    ///
    /// # Errors
    /// Every broken rule, beside the field's name.
    pub fn check(&self, today: Date, kept: Option<&Identity>) -> Result<Demographics, Problems> {
        let mut problems = Problems::new();
        let p = &mut problems;
        let title = optional_text(p, "title", Some(&self.title), 20);
        let family_name = required_text(p, "family_name", &self.family_name, 80);
        let given_name = required_text(p, "given_name", &self.given_name, 80);
        let preferred_name = optional_text(p, "preferred_name", Some(&self.preferred_name), 80);
        let birth_date = p.take("birth_date", birth_date(&self.birth_date, today));
        let sex = p.take(
            "sex",
            Sex::from_text(&self.sex).ok_or("Choose one of female, male, other or unknown."),
        );
        let identity = self.identity(p, kept);
        if let (Some(Identity::SaId(id)), Some(birth), Some(sex)) = (&identity, birth_date, sex)
            && let Err(broken) = id.check(birth, sex)
        {
            p.add("identity_value", broken.to_string());
        }
        let phone = p.take("phone", Phone::parse(&self.phone));
        let email = p.take("email", email_address(&self.email));
        let address = optional_text(p, "address", Some(&self.address), 300);
        let scheme_name = optional_text(p, "scheme_name", Some(&self.scheme_name), 80);
        let scheme_plan = optional_text(p, "scheme_plan", Some(&self.scheme_plan), 80);
        let member_number = optional_text(p, "member_number", Some(&self.member_number), 30);
        let dependant_code = p.take("dependant_code", dependant_code(&self.dependant_code));
        let emergency_name = optional_text(p, "emergency_name", Some(&self.emergency_name), 120);
        let emergency_phone = p.take("emergency_phone", Phone::parse(&self.emergency_phone));
        if scheme_name.is_empty() && !member_number.is_empty() {
            p.add(
                "scheme_name",
                "A member number needs the name of its scheme.",
            );
        }
        match (
            birth_date,
            sex,
            identity,
            phone,
            email,
            dependant_code,
            emergency_phone,
        ) {
            (
                Some(birth_date),
                Some(sex),
                Some(identity),
                Some(phone),
                Some(email),
                Some(dependant_code),
                Some(emergency_phone),
            ) if problems.is_empty() => Ok(Demographics {
                title,
                family_name,
                given_name,
                preferred_name,
                birth_date,
                sex,
                identity,
                phone,
                email,
                address,
                scheme_name,
                scheme_plan,
                member_number,
                dependant_code,
                emergency_name,
                emergency_phone,
            }),
            _ => Err(problems),
        }
    }

    fn identity(&self, p: &mut Problems, kept: Option<&Identity>) -> Option<Identity> {
        let value = self.identity_value.trim();
        if value.is_empty()
            && let Some(kept) = kept.filter(|k| k.kind() == self.identity_kind)
        {
            return Some(kept.clone());
        }
        match self.identity_kind.as_str() {
            "sa-id" if value.is_empty() => p.take(
                "identity_value",
                Err("Type the ID number, or choose that no document was seen."),
            ),
            "passport" if value.is_empty() => p.take(
                "identity_value",
                Err("Type the passport number, or choose that no document was seen."),
            ),
            "sa-id" => p.take(
                "identity_value",
                SaId::parse(value)
                    .map(Identity::SaId)
                    .map_err(|e| e.to_string()),
            ),
            "passport" => p.take(
                "identity_value",
                Passport::parse(value).map(Identity::Passport),
            ),
            "none" if value.is_empty() => Some(Identity::None),
            "none" => p.take(
                "identity_value",
                Err("Choose whether this is an SA ID number or a passport, or leave it empty."),
            ),
            _ => p.take(
                "identity_kind",
                Err("Choose one of sa-id, passport or none."),
            ),
        }
    }
}

fn birth_date(text: &str, today: Date) -> Result<Date, String> {
    if text.trim().is_empty() {
        return Err("This is needed.".into());
    }
    let date = parse_date(text)?;
    if date > today {
        return Err(format!("{} is in the future.", clock::date_text(date)));
    }
    if date < EARLIEST {
        return Err(format!(
            "{} is before 1900; check the year.",
            clock::date_text(date)
        ));
    }
    Ok(date)
}

/// Two digits, as schemes print them on their cards; one digit is filled up.
fn dependant_code(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    match text.len() {
        0 => Ok(String::new()),
        1 | 2 if text.bytes().all(|b| b.is_ascii_digit()) => Ok(format!("{text:0>2}")),
        _ => Err("A dependant code has two digits, such as 00 for the main member."),
    }
}

/// Whether a patient has allergies, as asked when they are registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllergyAnswer {
    /// Nobody asked yet.
    #[default]
    NotRecorded,
    /// Asked, and there are none.
    NoneKnown,
    /// These.
    Known(Vec<NewAllergy>),
}

/// An allergy to record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NewAllergy {
    /// What the person reacts to.
    pub substance: String,
    /// How; may be empty.
    pub reaction: String,
}

impl NewAllergy {
    /// Checks the two texts.
    pub fn check(problems: &mut Problems, substance: &str, reaction: &str) -> Self {
        Self {
            substance: required_text(problems, "substance", substance, 120),
            reaction: optional_text(problems, "reaction", Some(reaction), 200),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    const TODAY: Date = date!(2026 - 11 - 22);

    fn thandiwe() -> Details {
        Details {
            family_name: "Khumalo".into(),
            given_name: "Thandiwe".into(),
            birth_date: "14-Mar-1992".into(),
            sex: "female".into(),
            identity_kind: "none".into(),
            ..Details::default()
        }
    }

    fn fields(details: &Details) -> Vec<String> {
        details
            .check(TODAY, None)
            .unwrap_err()
            .into_fields()
            .into_iter()
            .map(|f| f.field.into_owned())
            .collect()
    }

    #[test]
    fn little_is_needed() {
        let checked = thandiwe().check(TODAY, None).unwrap();
        assert_eq!(
            (checked.birth_date, checked.identity),
            (date!(1992 - 03 - 14), Identity::None)
        );
        assert_eq!(
            fields(&Details::default()),
            [
                "family_name",
                "given_name",
                "birth_date",
                "sex",
                "identity_kind"
            ]
        );
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let wrong = Details {
            family_name: "x".repeat(81),
            given_name: "Thandiwe\0".into(),
            birth_date: "31-Feb-1992".into(),
            phone: "12".into(),
            email: "nobody@".into(),
            dependant_code: "1a".into(),
            ..thandiwe()
        };
        assert_eq!(
            fields(&wrong),
            [
                "family_name",
                "given_name",
                "birth_date",
                "phone",
                "email",
                "dependant_code"
            ]
        );
    }

    #[test]
    fn a_birth_date_is_a_day_somebody_alive_was_born_on() {
        for (text, fits) in [
            ("22-Nov-2026", true),
            ("23-Nov-2026", false),
            ("01-Jan-1900", true),
            ("31-Dec-1899", false),
        ] {
            assert_eq!(
                Details {
                    birth_date: text.into(),
                    ..thandiwe()
                }
                .check(TODAY, None)
                .is_ok(),
                fits,
                "{text}"
            );
        }
    }

    #[test]
    fn the_id_number_must_be_this_person_s() {
        let with = |value: &str, birth: &str, sex: &str| Details {
            identity_kind: "sa-id".into(),
            identity_value: value.into(),
            birth_date: birth.into(),
            sex: sex.into(),
            ..thandiwe()
        };
        assert!(
            with("8001015009087", "1980-01-01", "male")
                .check(TODAY, None)
                .is_ok()
        );
        assert_eq!(
            fields(&with("8001015009087", "1980-01-02", "male")),
            ["identity_value"]
        );
        assert_eq!(
            fields(&with("8001015009087", "1980-01-01", "female")),
            ["identity_value"]
        );
        assert_eq!(
            fields(&with("8001015009088", "1980-01-01", "male")),
            ["identity_value"]
        );
        assert_eq!(fields(&with("", "1980-01-01", "male")), ["identity_value"]);
    }

    #[test]
    fn an_empty_number_keeps_the_one_there_is_and_still_checks_it() {
        let kept = Identity::SaId(SaId::parse("8001015009087").unwrap());
        let edit = |birth: &str| Details {
            identity_kind: "sa-id".into(),
            birth_date: birth.into(),
            sex: "male".into(),
            ..thandiwe()
        };
        assert_eq!(
            edit("1980-01-01")
                .check(TODAY, Some(&kept))
                .unwrap()
                .identity,
            kept
        );
        assert!(edit("1980-01-02").check(TODAY, Some(&kept)).is_err());
        let removed = Details {
            identity_kind: "none".into(),
            ..thandiwe()
        };
        assert_eq!(
            removed.check(TODAY, Some(&kept)).unwrap().identity,
            Identity::None
        );
    }
}
