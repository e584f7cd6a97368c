//! What can be done with a booking: make it, move it, change its state, and who is in a class. Pages and API share it.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::appointment::{Appointment, Kind};
use super::refusal::{Refusal, tried};
use super::rules::{self, LONGEST_BLOCK, LONGEST_VISIT, Span};
use super::status::{self, Status, UNDO};
use super::store::{self, Context};
use super::waiting_store;
use crate::clock;
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, Problems, Result};
use crate::ids::{AppointmentId, PatientId, PractitionerId, WaitingId};
use crate::keys::Place;
use crate::web::{App, FormId, Session, claim};

/// A booking somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The code of the kind of session; none to block time out.
    pub session_type: Option<String>,
    /// Whose visit; for a class, who is in it from the start, if anyone.
    pub patient: Option<PatientId>,
    pub practitioner: PractitionerId,
    pub start: OffsetDateTime,
    /// The session's usual length where none.
    pub minutes: Option<i64>,
    pub reason: String,
    pub payer_tag: String,
    /// It is meant to be outside working hours.
    pub outside_hours: bool,
    /// Who waited for it.
    pub waiting: Option<WaitingId>,
}

/// Books.
///
/// # Errors
/// Fields that break a rule; a conflict that names what takes the time.
pub(super) async fn book(
    app: &App,
    session: &Session,
    wanted: &Wanted,
    key: Option<FormId>,
) -> Result<Appointment> {
    tried!(app, session, try_book(app, session, wanted, key))
}

/// Moves a booking to another time, practitioner or length.
///
/// # Errors
/// As for [`book`], and a conflict when somebody changed it meanwhile or it has begun.
pub(super) async fn move_to(
    app: &App,
    session: &Session,
    id: AppointmentId,
    to: &Move,
) -> Result<Appointment> {
    tried!(app, session, try_move(app, session, id, to))
}

/// Gives a booking another state.
///
/// # Errors
/// A conflict when the state does not follow, somebody changed it meanwhile, or the time is taken again.
pub(super) async fn change_status(
    app: &App,
    session: &Session,
    id: AppointmentId,
    to: &NewStatus,
) -> Result<Appointment> {
    tried!(app, session, try_status(app, session, id, to))
}

/// What the audit log keeps of a booking, sealed.
fn values(a: &Appointment) -> Value {
    json!({
        "start": clock::rfc3339(a.span.start),
        "minutes": a.span.minutes(),
        "practitioner": a.practitioner_id,
        "session_type": a.session_type.as_ref().map(|t| &t.code),
        "status": a.status,
        "reason": a.reason,
        "cancel_reason": a.cancel_reason,
    })
}

/// Records a change of a booking. A class or blocked time is nobody's own, so no patient's key could seal its values.
async fn record(
    app: &App,
    tx: &mut PracticeTx,
    action: Action,
    old: Option<&Appointment>,
    new: &Appointment,
    why: &'static str,
) -> Result<()> {
    let mut event = AuditEvent::new(action, "Appointment")
        .id(new.id.0)
        .reason(why);
    if let Some(patient) = new.patient() {
        let key = app.keys.patient(tx.practice(), patient.patient_id).await?;
        let change = json!({ "old": old.map(values), "new": values(new) });
        event = event
            .patient(patient.patient_id)
            .change(key.seal_json(Place::new("audit_events.change", new.id.0), &change)?);
    } else {
        event = event.shown(new.patients.iter().map(|p| p.patient_id.0));
    }
    tx.record(event).await?;
    tx.announce("appointment", new.id.0).await
}

fn check_hours(problems: &mut Problems, context: &Context, span: Span, meant: bool) {
    if !meant && !rules::is_inside_hours(span, &context.hours) {
        let name = context
            .practitioner
            .as_ref()
            .map_or("", |(_, name)| name.as_str());
        problems.add(
            "start",
            rules::outside_hours_words(name, clock::local(span.start).0, &context.hours),
        );
    }
}

/// Decides on a wanted booking, with what was found of it.
fn decide(
    now: OffsetDateTime,
    id: AppointmentId,
    wanted: &Wanted,
    context: Context,
) -> Result<Appointment> {
    let mut problems = Problems::new();
    let is_block = wanted.session_type.is_none();
    if context.practitioner.is_none() {
        problems.add(
            "practitioner_id",
            "There is no such practitioner in this practice. Choose one from the list.",
        );
    }
    if !is_block && context.session_type.is_none() {
        problems.add(
            "session_type",
            "There is no such kind of session in this practice. Choose one from the list.",
        );
    }
    let kind = match &context.session_type {
        _ if is_block => Kind::Block,
        Some(session) if session.capacity > 1 => Kind::Class,
        _ => Kind::Visit,
    };
    if wanted.patient.is_some() && context.patient.is_none() {
        problems.add(
            "patient_id",
            "There is no such patient in this practice. Find the patient again.",
        );
    } else if wanted.patient.is_none() && kind == Kind::Visit {
        problems.add("patient_id", "Choose the patient.");
    }
    let longest = if is_block {
        LONGEST_BLOCK
    } else {
        LONGEST_VISIT
    };
    let minutes = wanted
        .minutes
        .unwrap_or_else(|| i64::from(context.usual_minutes));
    let known = is_block || context.session_type.is_some() || wanted.minutes.is_some();
    let span = rules::wanted_time(
        now,
        wanted.start,
        if known { minutes } else { 5 },
        longest,
        &mut problems,
    );
    if let Some(span) = span.filter(|_| context.practitioner.is_some() && !is_block) {
        check_hours(&mut problems, &context, span, wanted.outside_hours);
    }
    let (Some(span), Some((practitioner_id, _))) = (span, context.practitioner) else {
        problems.check()?;
        return Err(Error::internal(
            "a booking without a time or a practitioner had no problem",
        ));
    };
    problems.check()?;
    Ok(Appointment {
        id,
        kind,
        status: Status::Booked,
        before: None,
        span,
        session_type: context.session_type,
        practitioner_id,
        // Somebody at lunch does not hold the room.
        room_id: context.room_id.filter(|_| !is_block),
        reason: wanted.reason.clone(),
        payer_tag: wanted.payer_tag.clone(),
        arrived_at: None,
        cancel_reason: String::new(),
        version: 1,
        patients: context.patient.into_iter().collect(),
    })
}

fn turn(a: &Appointment) -> Vec<uuid::Uuid> {
    let people = a.patients.iter().map(|p| p.patient_id.0);
    people
        .chain([a.practitioner_id.0])
        .chain(a.room_id.map(|r| r.0))
        .collect()
}

async fn try_book(
    app: &App,
    session: &Session,
    wanted: &Wanted,
    key: Option<FormId>,
) -> Result<Appointment, Refusal> {
    let mut tx = app.begin(session).await?;
    let (id, now) = (AppointmentId::random(), tx.now());
    if let Some(key) = key
        && let Some(made) = claim(&mut tx, session, key, "book", id.0).await?
    {
        let made = get_audited(&mut tx, AppointmentId(made), "the form was sent twice").await?;
        tx.commit().await?;
        return Ok(made);
    }
    let weekday = clock::local(wanted.start).0.weekday();
    let context = store::context(
        tx.conn(),
        wanted.practitioner,
        wanted.session_type.as_deref(),
        wanted.patient,
        weekday,
    )
    .await?;
    let booking = decide(now, id, wanted, context)?;
    let storing = |error| Refusal::storing(error, &booking);
    store::wait_turn(tx.conn(), &turn(&booking))
        .await
        .map_err(storing)?;
    let practice = tx.practice();
    store::insert(tx.conn(), practice, session.user_id, now, &booking)
        .await
        .map_err(storing)?;
    if let Some(waiting) = wanted.waiting {
        if !waiting_store::end(tx.conn(), waiting, Some(id)).await? {
            return Err(Error::conflict("Somebody booked this person or took them off the list a moment ago. Nothing was booked.").into());
        }
        tx.announce("waiting", waiting.0).await?;
    }
    record(app, &mut tx, Action::Create, None, &booking, "").await?;
    tx.commit().await?;
    Ok(booking)
}

/// Where a booking should go.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub start: OffsetDateTime,
    /// The same practitioner where none.
    pub practitioner: Option<PractitionerId>,
    /// The same length where none.
    pub minutes: Option<i64>,
    pub version: i32,
    pub outside_hours: bool,
}

async fn try_move(
    app: &App,
    session: &Session,
    id: AppointmentId,
    to: &Move,
) -> Result<Appointment, Refusal> {
    let mut tx = app.begin(session).await?;
    let now = tx.now();
    let old = store::get(tx.conn(), id).await?;
    if old.version != to.version {
        return Err(Refusal::Stale(id));
    }
    if !old.status.is_movable() {
        let words = format!(
            "This booking is {}. Only bookings that have not started can move.",
            old.status.label().to_lowercase()
        );
        return Err(Error::conflict(words).into());
    }
    let practitioner = to.practitioner.unwrap_or(old.practitioner_id);
    let context = store::context(
        tx.conn(),
        practitioner,
        None,
        None,
        clock::local(to.start).0.weekday(),
    )
    .await?;
    let mut problems = Problems::new();
    if context.practitioner.is_none() {
        problems.add(
            "practitioner_id",
            "There is no such practitioner in this practice. Choose one from the list.",
        );
    }
    let longest = if old.kind == Kind::Block {
        LONGEST_BLOCK
    } else {
        LONGEST_VISIT
    };
    let span = rules::wanted_time(
        now,
        to.start,
        to.minutes.unwrap_or_else(|| old.span.minutes()),
        longest,
        &mut problems,
    );
    if let Some(span) = span.filter(|_| context.practitioner.is_some() && old.kind != Kind::Block) {
        check_hours(&mut problems, &context, span, to.outside_hours);
    }
    problems.check()?;
    let Some(span) = span else {
        return Err(Error::internal("a move without a time had no problem").into());
    };
    let changes_place = practitioner != old.practitioner_id;
    let room_id = if changes_place {
        context.room_id.filter(|_| old.kind != Kind::Block)
    } else {
        old.room_id
    };
    let new = Appointment {
        span,
        practitioner_id: practitioner,
        room_id,
        version: old.version + 1,
        ..old.clone()
    };
    let storing = |error| Refusal::storing(error, &new);
    let mut ids = turn(&old);
    ids.extend(turn(&new));
    store::wait_turn(tx.conn(), &ids).await.map_err(storing)?;
    if changes_place {
        store::delete_places(tx.conn(), id).await.map_err(storing)?;
    }
    if !store::set_time(tx.conn(), id, to.version, span, session.user_id, now)
        .await
        .map_err(storing)?
    {
        return Err(Refusal::Stale(id));
    }
    if changes_place {
        let practice = tx.practice();
        store::replace_places(tx.conn(), practice, id, practitioner, room_id)
            .await
            .map_err(storing)?;
    }
    record(app, &mut tx, Action::Update, Some(&old), &new, "moved").await?;
    tx.commit().await?;
    Ok(new)
}

/// A state somebody gives a booking.
#[derive(Clone, Debug)]
pub(super) struct NewStatus {
    pub to: Status,
    pub version: i32,
    /// Why it is called off, or empty.
    pub reason: String,
}

async fn try_status(
    app: &App,
    session: &Session,
    id: AppointmentId,
    wanted: &NewStatus,
) -> Result<Appointment, Refusal> {
    let mut tx = app.begin(session).await?;
    let now = tx.now();
    let old = store::get(tx.conn(), id).await?;
    if old.version != wanted.version {
        return Err(Refusal::Stale(id));
    }
    status::transition(old.standing(), wanted.to, now)
        .map_err(|refused| Error::conflict(refused.to_string()))?;
    if let Some(visit) = old.patients.iter().find(|p| p.encounter_id.is_some())
        && matches!(wanted.to, Status::Cancelled | Status::NoShow)
    {
        let words = format!(
            "{} has a visit in this booking, so it can't be called off. Open the visit instead.",
            visit.name()
        );
        let refused = AuditEvent::new(Action::Refuse, "Appointment")
            .id(id.0)
            .patient(visit.patient_id)
            .reason("has a visit");
        tx.record(refused).await?;
        tx.commit().await?;
        return Err(Error::conflict(words).into());
    }
    let storing = |error| Refusal::storing(error, &old);
    if wanted.to.takes_time() && !old.status.takes_time() {
        store::wait_turn(tx.conn(), &turn(&old))
            .await
            .map_err(storing)?;
    }
    if !store::set_status(
        tx.conn(),
        &old,
        wanted.to,
        &wanted.reason,
        Some(session.user_id),
        now,
    )
    .await
    .map_err(storing)?
    {
        return Err(Refusal::Stale(id));
    }
    if wanted.to == Status::Cancelled
        && let Some(waiting) = waiting_store::put_back(tx.conn(), id, now - UNDO).await?
    {
        tx.announce("waiting", waiting.0).await?;
    }
    let new = store::get(tx.conn(), id).await?;
    record(app, &mut tx, Action::Update, Some(&old), &new, "state").await?;
    tx.commit().await?;
    Ok(new)
}

/// Reads a booking and records that it was seen.
pub(super) async fn get_audited(
    tx: &mut PracticeTx,
    id: AppointmentId,
    why: &'static str,
) -> Result<Appointment> {
    let found = store::get(tx.conn(), id).await?;
    let event = AuditEvent::new(Action::Read, "Appointment")
        .id(id.0)
        .reason(why);
    let event = match found.patient() {
        Some(patient) => event.patient(patient.patient_id),
        None => event.shown(found.patients.iter().map(|p| p.patient_id.0)),
    };
    tx.record(event).await?;
    Ok(found)
}

/// One booking. For other rooms: they record what they do with it.
///
/// # Errors
/// [`Error::NotFound`] when there is none in this practice.
pub async fn get(tx: &mut PracticeTx, id: AppointmentId) -> Result<Appointment> {
    store::get(tx.conn(), id).await
}

/// Gives a booking a state, in another room's transaction. Nothing happens when it has that state.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] when the state does not follow or somebody is changing the booking.
pub async fn set_status(
    tx: &mut PracticeTx,
    id: AppointmentId,
    to: Status,
    now: OffsetDateTime,
) -> Result<Appointment> {
    let old = store::get(tx.conn(), id).await?;
    if old.status == to {
        return Ok(old);
    }
    status::transition(old.standing(), to, now)
        .map_err(|refused| Error::conflict(refused.to_string()))?;
    let user = tx.actor().name.parse().ok();
    let stored = store::set_status(tx.conn(), &old, to, "", user, now)
        .await
        .map_err(|error| match Refusal::storing(error, &old) {
            Refusal::Error(error) => error,
            Refusal::Busy | Refusal::Stale(_) | Refusal::Clash(_) => {
                Error::conflict("The time of this booking is taken by another one. Move it first.")
            }
        })?;
    if !stored {
        return Err(Error::conflict(
            "Somebody changed this booking at the same moment. Try again.",
        ));
    }
    let event = AuditEvent::new(Action::Update, "Appointment")
        .id(id.0)
        .reason("state");
    let event = match old.patient() {
        Some(patient) => event.patient(patient.patient_id),
        None => event.shown(old.patients.iter().map(|p| p.patient_id.0)),
    };
    tx.record(event).await?;
    tx.announce("appointment", id.0).await?;
    store::get(tx.conn(), id).await
}
