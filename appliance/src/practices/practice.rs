//! What a practice is made of.

use time::Time;

use super::details::Details;
use crate::ids::{PracticeId, PractitionerId, RoomId, SessionTypeId};
use crate::money::Rand;

/// A practice.
#[derive(Clone, Debug)]
pub struct Practice {
    /// Which one.
    pub id: PracticeId,
    /// What its paper says of it.
    pub details: Details,
    /// Which change of the details this is.
    pub version: i32,
}

/// What a practitioner is registered for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Discipline {
    /// Physiotherapy.
    Physiotherapy,
    /// Occupational therapy.
    OccupationalTherapy,
    /// Biokinetics.
    Biokinetics,
    /// Speech therapy.
    SpeechTherapy,
    /// General practice.
    GeneralPractice,
}

impl Discipline {
    /// Every discipline.
    pub const ALL: [Self; 5] = [
        Self::Physiotherapy,
        Self::OccupationalTherapy,
        Self::Biokinetics,
        Self::SpeechTherapy,
        Self::GeneralPractice,
    ];

    /// As stored.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Physiotherapy => "physiotherapy",
            Self::OccupationalTherapy => "occupational-therapy",
            Self::Biokinetics => "biokinetics",
            Self::SpeechTherapy => "speech-therapy",
            Self::GeneralPractice => "general-practice",
        }
    }

    /// As stored, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.text() == text)
    }

    /// What someone of this discipline is called.
    #[must_use]
    pub fn person(self) -> &'static str {
        match self {
            Self::Physiotherapy => "Physiotherapist",
            Self::OccupationalTherapy => "Occupational therapist",
            Self::Biokinetics => "Biokineticist",
            Self::SpeechTherapy => "Speech therapist",
            Self::GeneralPractice => "Doctor",
        }
    }
}

/// A room of the practice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Which one.
    pub id: RoomId,
    /// Its name.
    pub name: String,
}

/// Somebody who treats patients.
#[derive(Clone, Debug)]
pub struct Practitioner {
    /// Who.
    pub id: PractitionerId,
    /// Title, such as Dr; often empty.
    pub title: String,
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// What they are registered for.
    pub discipline: Discipline,
    /// Registration number with the Health Professions Council; empty where not recorded.
    pub hpcsa_number: String,
    /// Practice number with the Board of Healthcare Funders; empty where not recorded.
    pub bhf_number: String,
    /// Whether they still treat here.
    pub active: bool,
    /// The room they work in, if they have one of their own.
    pub room: Option<Room>,
}

impl Practitioner {
    /// Given and family name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name)
    }

    /// Two letters for a small round sign.
    #[must_use]
    pub fn initials(&self) -> String {
        [&self.given_name, &self.family_name]
            .iter()
            .filter_map(|n| n.chars().next())
            .collect::<String>()
            .to_uppercase()
    }
}

/// A stretch of a weekday at which a practitioner works, by the practice's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingHours {
    /// Whose.
    pub practitioner: PractitionerId,
    /// From.
    pub starts: Time,
    /// Until.
    pub ends: Time,
}

/// A kind of session, with its usual length and its price.
#[derive(Clone, Debug)]
pub struct SessionType {
    /// Which one.
    pub id: SessionTypeId,
    /// Its code, such as `physio-45`; unique in the practice.
    pub code: String,
    /// Its name on screen and on invoices.
    pub name: String,
    /// Who gives it; anyone where not set.
    pub discipline: Option<Discipline>,
    /// Its usual length.
    pub duration_minutes: i32,
    /// Its price without VAT rules applied.
    pub price: Rand,
    /// The tariff code that claims carry; empty where not recorded.
    pub tariff_code: String,
    /// How many patients it takes; more than one makes it a class.
    pub capacity: i32,
}
