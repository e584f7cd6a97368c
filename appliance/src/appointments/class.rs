//! Who is in a class.

use super::appointment::{Appointment, Kind, Participant};
use super::refusal::{Refusal, tried};
use super::store;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Result};
use crate::ids::{AppointmentId, PatientId};
use crate::web::{App, Session};

/// Changes who is in a class.
///
/// # Errors
/// A conflict when it is full or over, or the patient is booked elsewhere at that time.
pub(super) async fn change_class(
    app: &App,
    session: &Session,
    id: AppointmentId,
    change: ClassChange,
) -> Result<Appointment> {
    tried!(app, session, try_class(app, session, id, change))
}

/// A change of who is in a class.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClassChange {
    Add(PatientId),
    Remove(PatientId),
    /// Whether they came; none when that was a slip.
    Attended(PatientId, Option<bool>),
}

async fn try_class(
    app: &App,
    session: &Session,
    id: AppointmentId,
    change: ClassChange,
) -> Result<Appointment, Refusal> {
    let mut tx = app.begin(session).await?;
    let now = tx.now();
    let mut old = store::get(tx.conn(), id).await?;
    if old.kind != Kind::Class {
        return Err(
            Error::conflict("This booking is not a class. Book the other patient apart.").into(),
        );
    }
    let (ClassChange::Add(patient)
    | ClassChange::Remove(patient)
    | ClassChange::Attended(patient, _)) = change;
    let why = match change {
        ClassChange::Add(_) => {
            if !old.status.takes_time() {
                return Err(
                    Error::conflict("This class is cancelled. Nobody can be added.").into(),
                );
            }
            if old.patients.iter().any(|p| p.patient_id == patient) {
                return Err(Error::conflict("This patient is in the class already.").into());
            }
            if store::patient_name(tx.conn(), patient).await?.is_none() {
                return Err(Error::field(
                    "patient_id",
                    "There is no such patient in this practice. Find the patient again.",
                )
                .into());
            }
            store::wait_turn(tx.conn(), &[id.0, patient.0])
                .await
                .map_err(|e| Refusal::storing(e, &old))?;
            let practice = tx.practice();
            if let Err(error) = store::insert_patient(tx.conn(), practice, id, patient).await {
                old.patients.retain(|p| p.patient_id == patient);
                old.patients.push(only_id(patient));
                return Err(Refusal::storing(error, &old));
            }
            "added to the class"
        }
        ClassChange::Remove(_) => {
            if old
                .patients
                .iter()
                .any(|p| p.patient_id == patient && p.encounter_id.is_some())
            {
                return Err(Error::conflict(
                    "This patient's visit in the class has begun, so they can't be taken out.",
                )
                .into());
            }
            if !store::delete_patient(tx.conn(), id, patient).await? {
                return Err(Error::NotFound.into());
            }
            "taken out of the class"
        }
        ClassChange::Attended(_, attended) => {
            if !store::set_attended(tx.conn(), id, patient, attended).await? {
                return Err(Error::NotFound.into());
            }
            "attendance"
        }
    };
    store::touch(tx.conn(), id, session.user_id, now).await?;
    let new = store::get(tx.conn(), id).await?;
    tx.record(
        AuditEvent::new(Action::Update, "Appointment")
            .id(id.0)
            .patient(patient)
            .reason(why),
    )
    .await?;
    tx.announce("appointment", id.0).await?;
    tx.commit().await?;
    Ok(new)
}

/// A participant of whom only the id matters: to find what else takes their time.
fn only_id(patient_id: PatientId) -> Participant {
    Participant {
        patient_id,
        family_name: String::new(),
        given_name: String::new(),
        attended: None,
        encounter_id: None,
        is_signed: false,
        invoice_id: None,
    }
}
