//! What the database refuses, in words: who or what already takes the time.

use super::appointment::{Appointment, Kind, Participant};
use super::rules::Span;
use super::store;
use crate::clock;
use crate::db::{Action, AuditEvent, broken_constraint};
use crate::error::{Error, Result};
use crate::ids::{AppointmentId, PatientId, PractitionerId, RoomId};
use crate::web::{App, Session};

/// How often a booking is tried when others are booking the same at the same moment.
pub(super) const TRIES: usize = 4;

/// Whose time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Practitioner,
    Room,
    Patient,
    /// All places of the class.
    Class,
    /// The patient has a place in this class already.
    AlreadyIn,
}

/// What a refused change wanted, so that what stands in its way can be found once its transaction is over.
#[derive(Clone, Debug)]
pub(super) struct Clash {
    taken: Taken,
    span: Span,
    practitioner: PractitionerId,
    room: Option<RoomId>,
    patients: Vec<PatientId>,
    booking: AppointmentId,
}

/// Why a change did not happen.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It clashes.
    Clash(Box<Clash>),
    /// Somebody changed the booking meanwhile.
    Stale(AppointmentId),
    /// Others were changing the same; trying again may do.
    Busy,
    /// Anything else.
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Refusal {
    /// Reads the database's refusal to store this booking.
    pub(super) fn storing(error: sqlx::Error, wanted: &Appointment) -> Self {
        // 40P01 deadlock, 40001 serialisation: Postgres ended one of several that got in each other's way.
        if error
            .as_database_error()
            .and_then(|e| e.code())
            .is_some_and(|code| code == "40P01" || code == "40001")
        {
            return Self::Busy;
        }
        let taken = match broken_constraint(&error) {
            Some("practitioner_free") => Taken::Practitioner,
            Some("room_free") => Taken::Room,
            Some("patient_free") => Taken::Patient,
            Some("class_full") => Taken::Class,
            Some("appointment_participants_patient_once") => Taken::AlreadyIn,
            _ => return Self::Error(error.into()),
        };
        Self::Clash(Box::new(Clash {
            taken,
            span: wanted.span,
            practitioner: wanted.practitioner_id,
            room: wanted.room_id,
            patients: wanted.patients.iter().map(|p| p.patient_id).collect(),
            booking: wanted.id,
        }))
    }

    /// The error to answer with. Looks up what takes the time in a transaction of its own, which also notes the refusal.
    pub(super) async fn explain(self, app: &App, session: &Session) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Busy => Error::conflict(
                "Others are changing the same time just now. Nothing was changed; try again.",
            ),
            Self::Stale(id) => stale(app, session, id).await.unwrap_or_else(|error| error),
            Self::Clash(clash) => clash
                .explain(app, session)
                .await
                .unwrap_or_else(|error| error),
        }
    }
}

/// Names who changed a booking meanwhile, and to what.
async fn stale(app: &App, session: &Session, id: AppointmentId) -> Result<Error> {
    let mut tx = app.begin(session).await?;
    let a = store::get(tx.conn(), id).await?;
    let (who, at) = store::last_change(tx.conn(), id).await?;
    let (practitioner, _) = store::place_names(tx.conn(), a.practitioner_id, None).await?;
    let event = AuditEvent::new(Action::Refuse, "Appointment")
        .id(id.0)
        .reason("changed meanwhile");
    tx.record(event.shown(a.patients.iter().map(|p| p.patient_id.0)))
        .await?;
    tx.commit().await?;
    let (date, time) = clock::local(a.span.start);
    let detail = format!(
        "{who} changed this booking at {}. It is now on {} at {} with {practitioner}: {}.",
        clock::time_text(clock::local(at).1),
        clock::date_text(date),
        clock::time_text(time),
        a.status.label().to_lowercase()
    );
    let theirs = serde_json::json!({
        "version": a.version,
        "status": a.status,
        "start": clock::rfc3339(a.span.start),
        "practitioner_id": a.practitioner_id,
    });
    Ok(Error::Conflict {
        detail: detail.into(),
        theirs: Some(theirs),
    })
}

impl Clash {
    async fn explain(&self, app: &App, session: &Session) -> Result<Error> {
        let refused = AuditEvent::new(Action::Refuse, "Appointment").id(self.booking.0);
        let mut tx = app.begin(session).await?;
        let (practitioner, room, patients): (_, _, &[PatientId]) = match self.taken {
            Taken::Practitioner => (Some(self.practitioner), None, &[]),
            Taken::Room => (None, self.room, &[]),
            Taken::Patient => (None, None, &self.patients),
            Taken::Class | Taken::AlreadyIn => {
                tx.record(
                    refused
                        .reason("no place in the class")
                        .shown(self.patients.iter().map(|p| p.0)),
                )
                .await?;
                tx.commit().await?;
                return Ok(Error::conflict(if self.taken == Taken::Class {
                    "All places of this class are taken. Take someone out first, or put the patient on the waiting list."
                } else {
                    "This patient is in the class already."
                }));
            }
        };
        let Some(id) = store::taken_by(
            tx.conn(),
            self.span,
            practitioner,
            room,
            patients,
            Some(self.booking),
        )
        .await?
        else {
            tx.record(refused.reason("time taken")).await?;
            tx.commit().await?;
            return Ok(Error::conflict(
                "This time was taken a moment ago and is free again. Try again.",
            ));
        };
        let by = store::get(tx.conn(), id).await?;
        let (name, room) = store::place_names(tx.conn(), by.practitioner_id, by.room_id).await?;
        let seen: Vec<_> = if self.taken == Taken::Room {
            Vec::new()
        } else {
            by.patients.iter().map(|p| p.patient_id.0).collect()
        };
        tx.record(refused.reason("time taken").shown(seen)).await?;
        tx.commit().await?;
        let words = by.span.words();
        let detail = match self.taken {
            Taken::Room => format!("{room} is taken {words} by {name}. Choose another time."),
            Taken::Patient => {
                let twice = by
                    .patients
                    .iter()
                    .find(|p| self.patients.contains(&p.patient_id))
                    .map(Participant::name)
                    .unwrap_or_default();
                format!("{twice} is already booked {words} with {name}. Choose another time.")
            }
            _ if by.kind == Kind::Block => format!(
                "{name} is not available {words}: {}. Choose another time.",
                by.who()
            ),
            _ => format!(
                "{name} is taken {words}: {}. Choose another time.",
                by.who()
            ),
        };
        let theirs = serde_json::json!({
            "appointment_id": by.id,
            "practitioner_id": by.practitioner_id,
            "start": clock::rfc3339(by.span.start),
            "end": clock::rfc3339(by.span.end),
        });
        Ok(Error::Conflict {
            detail: detail.into(),
            theirs: Some(theirs),
        })
    }
}

/// Runs an attempt again while others get in its way, and puts the last refusal into words.
macro_rules! tried {
    ($app:expr, $session:expr, $attempt:expr) => {{
        let mut left = $crate::appointments::refusal::TRIES;
        loop {
            left -= 1;
            match $attempt.await {
                Ok(done) => break Ok(done),
                Err($crate::appointments::refusal::Refusal::Busy) if left > 0 => {}
                Err(refusal) => break Err(refusal.explain($app, $session).await),
            }
        }
    }};
}

pub(super) use tried;
