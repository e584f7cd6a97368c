//! Bookings and who takes part in them.

use time::OffsetDateTime;

use super::rules::Span;
use super::status::{Standing, Status};
use crate::ids::{
    AppointmentId, EncounterId, InvoiceId, PatientId, PractitionerId, RoomId, SessionTypeId,
};

/// What a booking is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One patient.
    Visit,
    /// Several patients at once.
    Class,
    /// Time at which a practitioner sees nobody: lunch, leave, a course.
    Block,
}

impl Kind {
    /// As stored.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Visit => "visit",
            Self::Class => "class",
            Self::Block => "block",
        }
    }

    /// As stored, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Visit, Self::Class, Self::Block]
            .into_iter()
            .find(|k| k.text() == text)
    }
}

/// The kind of session of a booking.
#[derive(Clone, Debug)]
pub struct BookedType {
    /// Which one.
    pub id: SessionTypeId,
    /// Its code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// How many patients it takes.
    pub capacity: i32,
}

/// A patient in a booking.
#[derive(Clone, Debug)]
pub struct Participant {
    /// Who.
    pub patient_id: PatientId,
    /// Family name.
    pub family_name: String,
    /// Given name.
    pub given_name: String,
    /// In a class: whether they came. Not known until somebody says so.
    pub attended: Option<bool>,
    /// The visit, once it began.
    pub encounter_id: Option<EncounterId>,
    /// Whether the visit's note is signed.
    pub is_signed: bool,
    /// The visit's invoice.
    pub invoice_id: Option<InvoiceId>,
}

impl Participant {
    /// `Khumalo, Thandiwe`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}, {}", self.family_name, self.given_name)
    }
}

/// A booking.
#[derive(Clone, Debug)]
pub struct Appointment {
    /// Which one.
    pub id: AppointmentId,
    /// What it is for.
    pub kind: Kind,
    /// Its state.
    pub status: Status,
    /// The state before, and since when it has the present one.
    pub before: Option<(Status, OffsetDateTime)>,
    /// When.
    pub span: Span,
    /// The kind of session; none for blocked time.
    pub session_type: Option<BookedType>,
    /// With whom.
    pub practitioner_id: PractitionerId,
    /// Where.
    pub room_id: Option<RoomId>,
    /// Why, in the patient's or reception's words; for blocked time, what for.
    pub reason: String,
    /// Who pays, where that is not the patient or their scheme: `COIDA`, `RAF`.
    pub payer_tag: String,
    /// When the patient came in.
    pub arrived_at: Option<OffsetDateTime>,
    /// Why it was called off.
    pub cancel_reason: String,
    /// Counts changes, so that two people can't overwrite each other.
    pub version: i32,
    /// The patients, by name.
    pub patients: Vec<Participant>,
}

impl Appointment {
    /// Where it stands, for [`super::status::transition`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            status: self.status,
            before: self.before,
            starts_at: self.span.start,
        }
    }

    /// Whose visit it is; none for classes and blocked time.
    #[must_use]
    pub fn patient(&self) -> Option<&Participant> {
        if self.kind == Kind::Visit {
            self.patients.first()
        } else {
            None
        }
    }

    /// What stands below the name on a card.
    #[must_use]
    pub fn what(&self) -> String {
        match (&self.session_type, self.reason.is_empty()) {
            (Some(session), true) => session.name.clone(),
            _ => self.reason.clone(),
        }
    }

    /// How a sentence calls it: the patient's name, the class's, or what the time is blocked for.
    #[must_use]
    pub fn who(&self) -> String {
        match self.kind {
            Kind::Visit => self
                .patients
                .first()
                .map(Participant::name)
                .unwrap_or_default(),
            Kind::Class => self
                .session_type
                .as_ref()
                .map(|s| s.name.clone())
                .unwrap_or_default(),
            Kind::Block if self.reason.is_empty() => "Blocked".into(),
            Kind::Block => self.reason.clone(),
        }
    }
}
