//! Changes of a booking from the diary: move, state, calling off, and who is in a class.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::appointment::{Appointment, Participant};
use super::booking::{self, ClassChange, Move, NewStatus};
use super::forms::{self, card, shown_date};
use super::rules;
use super::status::Status;
use crate::clock;
use crate::error::{Error, Problems, Result};
use crate::ids::{AppointmentId, PatientId};
use crate::web::{App, Form, Page, Permission, Query, Session, html, optional_text};

#[derive(Debug, serde::Deserialize)]
pub(super) struct MoveForm {
    date: String,
    start: String,
    #[serde(default)]
    practitioner_id: String,
    #[serde(default)]
    duration_minutes: String,
    version: i32,
    #[serde(default)]
    outside_hours: String,
}

/// `POST /appointments/{id}/move`
pub(super) async fn move_to(
    State(app): State<App>, session: Session, Path(id): Path<AppointmentId>, Form(form): Form<MoveForm>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let mut problems = Problems::new();
    let start = forms::start(&mut problems, &form.date, &form.start);
    let practitioner = if form.practitioner_id.is_empty() {
        None
    } else {
        forms::id(&mut problems, "practitioner_id", &form.practitioner_id, "Choose the practitioner.")
    };
    let minutes = if form.duration_minutes.is_empty() { None } else { forms::minutes(&mut problems, &form.duration_minutes) };
    let Some(start) = start else {
        problems.check()?;
        return Err(Error::internal("a move without a start had no problem"));
    };
    problems.check()?;
    let to = Move { start, practitioner, minutes, version: form.version, outside_hours: !form.outside_hours.is_empty() };
    let moved = booking::move_to(&app, &session, id, &to).await?;
    card(&app, &session, &moved, clock::local(start).0)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct StatusForm {
    to: String,
    version: i32,
    #[serde(default)]
    date: Option<String>,
    #[serde(default)]
    reason: String,
}

/// `POST /appointments/{id}/status`
pub(super) async fn status(
    State(app): State<App>, session: Session, Path(id): Path<AppointmentId>, Form(form): Form<StatusForm>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let mut problems = Problems::new();
    let to = problems.take("to", Status::from_text(&form.to).ok_or("There is no such state."));
    let reason = optional_text(&mut problems, "reason", Some(&form.reason), 200);
    let Some(to) = to else {
        problems.check()?;
        return Err(Error::internal("no state and no problem"));
    };
    problems.check()?;
    let changed = booking::change_status(&app, &session, id, &NewStatus { to, version: form.version, reason }).await?;
    let date = shown_date(form.date.as_deref(), clock::local(changed.span.start).0)?;
    card(&app, &session, &changed, date)
}

/// `appointments/cancel.html`.
#[derive(serde::Serialize)]
pub(super) struct CancelPage {
    id: AppointmentId,
    version: i32,
    who: String,
    from: Status,
    when: String,
    date: String,
    is_class: bool,
    people: usize,
}

impl Page for CancelPage {
    const TEMPLATE: &'static str = "appointments/cancel.html";
    fn samples() -> Vec<Self> {
        let page = |is_class| Self {
            id: AppointmentId(uuid::Uuid::nil()),
            version: 1,
            who: "Khumalo, Thandiwe".into(),
            from: Status::Booked,
            when: "24-Nov-2026, 10:45 to 11:30".into(),
            date: "2026-11-24".into(),
            is_class,
            people: 5,
        };
        vec![page(false), page(true)]
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct DialogQuery {
    date: Option<String>,
}

async fn seen(app: &App, session: &Session, id: AppointmentId) -> Result<Appointment> {
    let mut tx = app.begin(session).await?;
    let found = booking::get_audited(&mut tx, id, "").await?;
    tx.commit().await?;
    Ok(found)
}

fn when(a: &Appointment) -> String {
    format!("{}, {}", clock::date_text(clock::local(a.span.start).0), a.span.words())
}

/// `GET /appointments/{id}/cancel`
pub(super) async fn cancel(
    State(app): State<App>, session: Session, Path(id): Path<AppointmentId>, Query(query): Query<DialogQuery>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let found = seen(&app, &session, id).await?;
    let date = shown_date(query.date.as_deref(), clock::local(found.span.start).0)?;
    let page = CancelPage {
        id,
        version: found.version,
        who: found.who(),
        from: found.status,
        when: when(&found),
        date: date.to_string(),
        is_class: found.patient().is_none(),
        people: found.patients.len(),
    };
    html(&app, &page)
}

#[derive(serde::Serialize)]
struct Person {
    patient_id: PatientId,
    name: String,
    href: String,
    came: Option<bool>,
    encounter_href: Option<String>,
    can_start: bool,
    invoice_href: Option<String>,
    bills: Option<String>,
}

/// `appointments/participants.html`.
#[derive(serde::Serialize)]
pub(super) struct ParticipantsPage {
    id: AppointmentId,
    who: String,
    when: String,
    date: String,
    people: Vec<Person>,
    places: i32,
    has_places: bool,
    can_book: bool,
    /// Whether it makes sense to say who came: on its day and after.
    has_begun: bool,
    errors: std::collections::BTreeMap<String, String>,
}

impl Page for ParticipantsPage {
    const TEMPLATE: &'static str = "appointments/participants.html";
    fn samples() -> Vec<Self> {
        let person = |came| Person {
            patient_id: PatientId(uuid::Uuid::nil()),
            name: "Khumalo, Thandiwe".into(),
            href: "/patients/0".into(),
            came,
            encounter_href: Some("/encounters/0".into()),
            can_start: true,
            invoice_href: None,
            bills: Some("0".into()),
        };
        let page = |people, has_begun, can_book| Self {
            id: AppointmentId(uuid::Uuid::nil()),
            who: "Back care class".into(),
            when: "24-Nov-2026, 07:00 to 08:00".into(),
            date: "2026-11-24".into(),
            people,
            places: 8,
            has_places: true,
            can_book,
            has_begun,
            errors: [("patient_id".to_owned(), "All places are taken.".to_owned())].into(),
        };
        vec![page(vec![person(None), person(Some(true)), person(Some(false))], true, true), page(Vec::new(), false, false)]
    }
}

fn participants_page(app: &App, session: &Session, a: &Appointment, date: String, error: Option<String>) -> ParticipantsPage {
    let person = |p: &Participant| Person {
        patient_id: p.patient_id,
        name: p.name(),
        href: format!("/patients/{}", p.patient_id),
        came: p.attended,
        encounter_href: p.encounter_id.filter(|_| session.may(Permission::ViewNotes)).map(|e| format!("/encounters/{e}")),
        can_start: p.encounter_id.is_none() && session.may(Permission::WriteNotes) && a.status.takes_time(),
        invoice_href: p.invoice_id.map(|i| format!("/invoices/{i}")),
        bills: p.encounter_id.filter(|_| p.invoice_id.is_none() && a.status == Status::Completed && session.may(Permission::Bill)).map(|e| e.to_string()),
    };
    let places = a.session_type.as_ref().map_or(0, |t| t.capacity);
    ParticipantsPage {
        id: a.id,
        who: a.who(),
        when: when(a),
        date,
        people: a.patients.iter().map(person).collect(),
        places,
        has_places: i32::try_from(a.patients.len()).is_ok_and(|n| n < places),
        can_book: session.may(Permission::Book) && a.status.takes_time(),
        has_begun: clock::local(a.span.start).0 <= app.clock.today(),
        errors: error.map(|text| ("patient_id".to_owned(), text)).into_iter().collect(),
    }
}

/// `GET /appointments/{id}/participants`
pub(super) async fn participants(
    State(app): State<App>, session: Session, Path(id): Path<AppointmentId>, Query(query): Query<DialogQuery>,
) -> Result<Response> {
    session.require(Permission::ViewDiary)?;
    let found = seen(&app, &session, id).await?;
    let date = shown_date(query.date.as_deref(), clock::local(found.span.start).0)?.to_string();
    html(&app, &participants_page(&app, &session, &found, date, None))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct ClassForm {
    #[serde(default)]
    patient_id: String,
    action: String,
    #[serde(default)]
    date: Option<String>,
}

/// `POST /appointments/{id}/participants`: the dialog again, as it is now.
pub(super) async fn change_participants(
    State(app): State<App>, session: Session, Path(id): Path<AppointmentId>, Form(form): Form<ClassForm>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let patient = form.patient_id.trim().parse::<PatientId>().ok();
    let change = match (patient, form.action.as_str()) {
        (None, _) => Err(Error::field("patient_id", "Choose the patient from the list that opens while you type.")),
        (Some(patient), "add") => Ok(ClassChange::Add(patient)),
        (Some(patient), "remove") => Ok(ClassChange::Remove(patient)),
        (Some(patient), "came") => Ok(ClassChange::Attended(patient, Some(true))),
        (Some(patient), "missed") => Ok(ClassChange::Attended(patient, Some(false))),
        (Some(patient), "unknown") => Ok(ClassChange::Attended(patient, None)),
        _ => Err(Error::field("action", "There is no such change.")),
    };
    let changed = match change {
        Ok(change) => booking::change_class(&app, &session, id, change).await,
        Err(error) => Err(error),
    };
    let date = form.date.filter(|d| rules::parse_date(d).is_ok());
    match changed {
        Ok(a) => {
            let status = if form.action == "add" { StatusCode::CREATED } else { StatusCode::OK };
            let date = date.unwrap_or_else(|| clock::local(a.span.start).0.to_string());
            Ok((status, html(&app, &participants_page(&app, &session, &a, date, None))?).into_response())
        }
        Err(error @ (Error::Invalid(_) | Error::Conflict { .. })) => {
            let status = error.status();
            let (_, errors) = forms::by_field(error)?;
            let text = errors.into_values().next();
            let a = seen(&app, &session, id).await?;
            let date = date.unwrap_or_else(|| clock::local(a.span.start).0.to_string());
            Ok((status, html(&app, &participants_page(&app, &session, &a, date, text))?).into_response())
        }
        Err(other) => Err(other),
    }
}
