//! The diary's forms for new bookings and blocked time: the dialog, and what comes back from it.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use time::{Date, OffsetDateTime};

use super::api;
use super::booking::{self, Wanted};
use super::card::{Block, Card, Grid};
use super::appointment::{Appointment, Kind};
use super::rules;
use super::slots::minute_text;
use super::status::Status;
use super::{day, store};
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::{AppointmentId, PatientId, PractitionerId};
use crate::practices;
use crate::web::{App, Form, FormId, Page, Permission, Query, Session, html, optional_text};

/// A choice of a select box.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Choice {
    pub value: String,
    pub label: String,
    pub minutes: i32,
}

/// `appointments/card.html`: what a change of one booking answers with.
#[derive(serde::Serialize)]
pub(super) struct CardPage {
    card: Option<Card>,
    block: Option<Block>,
}

impl Page for CardPage {
    const TEMPLATE: &'static str = "appointments/card.html";
    fn samples() -> Vec<Self> {
        vec![
            Self { card: Some(Card::sample("arrived", "arrived")), block: None },
            Self { card: Some(Card { given: None, group: true, lane: None, movable: false, cancel_href: None, ..Card::sample("done", "completed") }), block: None },
            Self { card: None, block: None },
        ]
    }
}

/// The card of a booking on a day, or nothing where it is not on it.
pub(super) fn card(app: &App, session: &Session, a: &Appointment, date: Date) -> Result<Response> {
    let here = clock::local(a.span.start).0 == date && a.status != Status::Cancelled;
    let (card, block) = match a.kind {
        _ if !here => (None, None),
        Kind::Block => (None, Some(Block::new(a, date, Grid::DAY, session))),
        Kind::Visit | Kind::Class => (Some(Card::new(a, date, Grid::DAY, session, app.clock.now())), None),
    };
    html(app, &CardPage { card, block })
}

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct NewQuery {
    #[serde(default)]
    date: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    practitioner_id: String,
    #[serde(default)]
    patient_id: String,
}

/// What a form holds, as typed.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub(super) struct NewForm {
    patient_id: String,
    practitioner_id: String,
    session_type: String,
    date: String,
    start: String,
    duration_minutes: String,
    reason: String,
    outside_hours: String,
    idempotency_key: String,
}

/// `appointments/new.html` and `appointments/block.html`.
#[derive(serde::Serialize)]
pub(super) struct NewPage {
    form: NewForm,
    patient_name: String,
    practitioners: Vec<Choice>,
    session_types: Vec<Choice>,
    slots: Slots,
    errors: BTreeMap<String, String>,
    asks_outside_hours: bool,
    /// The form to block the same time instead.
    block_href: String,
}

/// Open times to choose from.
#[derive(Clone, Debug, Default, serde::Serialize)]
struct Slots {
    day: String,
    starts: Vec<String>,
    /// Said where there are none.
    none: String,
}

/// `appointments/slots.html`.
#[derive(serde::Serialize)]
pub(super) struct SlotsPage {
    slots: Slots,
}

/// `appointments/block.html`.
#[derive(serde::Serialize)]
pub(super) struct BlockPage {
    form: NewForm,
    practitioners: Vec<Choice>,
    errors: BTreeMap<String, String>,
}

/// Every error beside its field; a clash belongs to the start.
pub(super) fn by_field(error: Error) -> Result<(StatusCode, BTreeMap<String, String>)> {
    let status = error.status();
    match error {
        Error::Invalid(fields) => {
            let mut errors = BTreeMap::new();
            for field in fields {
                errors.entry(field.field.into_owned()).or_insert_with(|| field.message.into_owned());
            }
            Ok((status, errors))
        }
        Error::Conflict { detail, .. } => Ok((status, BTreeMap::from([("start".to_owned(), detail.into_owned())]))),
        other => Err(other),
    }
}

pub(super) async fn choices(tx: &mut crate::db::PracticeTx) -> Result<(Vec<Choice>, Vec<Choice>)> {
    let practitioners = practices::practitioners(tx).await?;
    let types = practices::session_types(tx).await?;
    Ok((
        practitioners.iter().map(|p| Choice { value: p.id.to_string(), label: p.name(), minutes: 0 }).collect(),
        types
            .into_iter()
            .map(|t| Choice { label: format!("{}, {} min", t.name, t.duration_minutes), minutes: t.duration_minutes, value: t.code })
            .collect(),
    ))
}

async fn new_page(app: &App, session: &Session, mut form: NewForm, errors: BTreeMap<String, String>) -> Result<NewPage> {
    let patient: Option<PatientId> = form.patient_id.parse().ok();
    let event = AuditEvent::new(Action::Read, "Appointment").reason("booking form").shown(patient.map(|p| p.0));
    let mut tx = app.begin_with(session, event).await?;
    let patient_name = match patient {
        Some(patient) => store::patient_name(tx.conn(), patient).await?.unwrap_or_default(),
        None => String::new(),
    };
    let (practitioners, session_types) = choices(&mut tx).await?;
    if form.duration_minutes.is_empty()
        && let Some(chosen) = session_types.iter().find(|t| t.value == form.session_type).or(session_types.first())
    {
        form.duration_minutes = chosen.minutes.to_string();
    }
    let query = SlotsQuery {
        date: form.date.clone(),
        practitioner_id: if form.practitioner_id.is_empty() { practitioners.first().map(|p| p.value.clone()).unwrap_or_default() } else { form.practitioner_id.clone() },
        duration_minutes: form.duration_minutes.clone(),
    };
    let slots = find_slots(&mut tx, &query).await?;
    tx.commit().await?;
    let asks_outside_hours = !form.outside_hours.is_empty() || errors.get("start").is_some_and(|text| text.contains("say that it is meant"));
    let mut block_href = format!("/appointments/blocks/new?date={}", rules::parse_date(&form.date).unwrap_or_else(|_| app.clock.today()));
    if let Ok(time) = rules::parse_time(&form.start) {
        block_href.push_str(&format!("&start={}", clock::time_text(time)));
    }
    if let Ok(practitioner) = form.practitioner_id.parse::<PractitionerId>() {
        block_href.push_str(&format!("&practitioner_id={practitioner}"));
    }
    Ok(NewPage { form, patient_name, practitioners, session_types, slots, errors, asks_outside_hours, block_href })
}

/// `GET /appointments/new`
pub(super) async fn new(State(app): State<App>, session: Session, Query(query): Query<NewQuery>) -> Result<Response> {
    session.require(Permission::Book)?;
    let date = if query.date.is_empty() { app.clock.today().to_string() } else { query.date };
    let form = NewForm { patient_id: query.patient_id, practitioner_id: query.practitioner_id, date, start: query.start, ..NewForm::default() };
    html(&app, &new_page(&app, &session, form, BTreeMap::new()).await?)
}

pub(super) fn id<T: std::str::FromStr>(problems: &mut Problems, field: &'static str, text: &str, words: &'static str) -> Option<T> {
    problems.take(field, text.trim().parse().map_err(|_| words))
}

/// Reads a day and a time of it.
pub(super) fn start(problems: &mut Problems, date: &str, start: &str) -> Option<OffsetDateTime> {
    let date = problems.take("date", rules::parse_date(date));
    let time = problems.take("start", rules::parse_time(start));
    date.zip(time).map(|(date, time)| clock::instant(date, time))
}

pub(super) fn minutes(problems: &mut Problems, text: &str) -> Option<i64> {
    problems.take("duration_minutes", text.trim().parse().map_err(|_| "Give the length in minutes, such as 45."))
}

/// Reads the form of a booking, or of blocked time, where there is no session type.
fn read(form: &NewForm, is_block: bool) -> Result<(Wanted, Option<FormId>)> {
    let mut problems = Problems::new();
    let practitioner = id(&mut problems, "practitioner_id", &form.practitioner_id, "Choose the practitioner.");
    let patient = if form.patient_id.trim().is_empty() || is_block {
        None
    } else {
        id(&mut problems, "patient_id", &form.patient_id, "Choose the patient from the list that opens while you type.")
    };
    let start = start(&mut problems, &form.date, &form.start);
    let minutes = minutes(&mut problems, &form.duration_minutes);
    let reason = optional_text(&mut problems, "reason", Some(&form.reason), 200);
    let session_type = optional_text(&mut problems, "session_type", Some(&form.session_type), 80);
    let key = key(&mut problems, &form.idempotency_key);
    let (Some(practitioner), Some(start)) = (practitioner, start) else {
        problems.check()?;
        return Err(Error::internal("a form without a practitioner or a start had no problem"));
    };
    problems.check()?;
    let wanted = Wanted {
        session_type: (!is_block).then_some(session_type),
        patient,
        practitioner,
        start,
        minutes,
        reason,
        payer_tag: String::new(),
        outside_hours: !form.outside_hours.is_empty(),
        waiting: None,
    };
    Ok((wanted, key))
}

/// Reads a form's key; forms without one are taken as new each time.
pub(super) fn key(problems: &mut Problems, text: &str) -> Option<FormId> {
    if text.is_empty() {
        return None;
    }
    problems.take("form", text.parse().map_err(|_| "The form's key is broken. Open the form again."))
}

/// `POST /appointments`
pub(super) async fn create(State(app): State<App>, session: Session, Form(form): Form<NewForm>) -> Result<Response> {
    session.require(Permission::Book)?;
    let made = match read(&form, false) {
        Ok((wanted, key)) => booking::book(&app, &session, &wanted, key).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(made) => {
            let date = clock::local(made.span.start).0;
            Ok((StatusCode::CREATED, card(&app, &session, &made, date)?).into_response())
        }
        Err(error) => {
            let (status, mut errors) = by_field(error)?;
            // The form has a day beside the time; a rule about either stands at the time.
            if let Some(text) = errors.remove("date") {
                errors.entry("start".into()).or_insert(text);
            }
            Ok((status, html(&app, &new_page(&app, &session, form, errors).await?)?).into_response())
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct SlotsQuery {
    #[serde(default)]
    date: String,
    #[serde(default)]
    practitioner_id: String,
    #[serde(default)]
    duration_minutes: String,
}

async fn find_slots(tx: &mut crate::db::PracticeTx, query: &SlotsQuery) -> Result<Slots> {
    let (Ok(date), Ok(practitioner), Ok(minutes)) =
        (rules::parse_date(&query.date), query.practitioner_id.parse::<PractitionerId>(), query.duration_minutes.parse::<u16>())
    else {
        return Ok(Slots::default());
    };
    let now = tx.now();
    let weekday = format!("{} {}", date.weekday(), clock::short_date_text(date));
    if date < clock::local(now).0 {
        return Ok(Slots { day: weekday, starts: Vec::new(), none: "This day is over.".into() });
    }
    let hours: Vec<_> = practices::working_hours(tx, date.weekday()).await?.into_iter().filter(|h| h.practitioner == practitioner).collect();
    let mut bookings = store::list(tx.conn(), api::day(date)).await?;
    bookings.retain(|a| a.practitioner_id == practitioner);
    let starts: Vec<_> = day::open_starts(now, date, &hours, &bookings, minutes).into_iter().map(minute_text).collect();
    let none = match (hours.is_empty(), starts.is_empty()) {
        (true, _) => "Not working on this day.",
        (false, true) => "No open time of this length on this day.",
        _ => "",
    };
    Ok(Slots { day: weekday, starts, none: none.into() })
}

/// `GET /appointments/slots`: open times of a practitioner on a day.
pub(super) async fn slots(State(app): State<App>, session: Session, Query(query): Query<SlotsQuery>) -> Result<Response> {
    session.require(Permission::Book)?;
    let mut tx = app.begin(&session).await?;
    let slots = find_slots(&mut tx, &query).await?;
    // Times only: who has booked them is not shown.
    tx.close_without_patient_data().await?;
    html(&app, &SlotsPage { slots })
}

async fn block_page(app: &App, session: &Session, mut form: NewForm, errors: BTreeMap<String, String>) -> Result<BlockPage> {
    let mut tx = app.begin(session).await?;
    let (practitioners, _) = choices(&mut tx).await?;
    tx.close_without_patient_data().await?;
    if form.duration_minutes.is_empty() {
        form.duration_minutes = "60".into();
    }
    Ok(BlockPage { form, practitioners, errors })
}

/// `GET /appointments/blocks/new`
pub(super) async fn new_block(State(app): State<App>, session: Session, Query(query): Query<NewQuery>) -> Result<Response> {
    session.require(Permission::Book)?;
    let date = if query.date.is_empty() { app.clock.today().to_string() } else { query.date };
    let form = NewForm { practitioner_id: query.practitioner_id, date, start: query.start, ..NewForm::default() };
    html(&app, &block_page(&app, &session, form, BTreeMap::new()).await?)
}

/// `POST /appointments/blocks`
pub(super) async fn create_block(State(app): State<App>, session: Session, Form(form): Form<NewForm>) -> Result<Response> {
    session.require(Permission::Book)?;
    let made = match read(&form, true) {
        Ok((wanted, key)) => booking::book(&app, &session, &wanted, key).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(made) => {
            let date = clock::local(made.span.start).0;
            Ok((StatusCode::CREATED, card(&app, &session, &made, date)?).into_response())
        }
        Err(error) => {
            let (status, errors) = by_field(error)?;
            Ok((status, html(&app, &block_page(&app, &session, form, errors).await?)?).into_response())
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct CardQuery {
    date: Option<String>,
}

/// `GET /appointments/{id}/card`: 404 when it is no longer on that day.
pub(super) async fn show_card(
    State(app): State<App>, session: Session, Path(id): Path<AppointmentId>, Query(query): Query<CardQuery>,
) -> Result<Response> {
    session.require(Permission::ViewDiary)?;
    let mut tx = app.begin(&session).await?;
    let found = booking::get_audited(&mut tx, id, "card").await?;
    tx.commit().await?;
    let own = clock::local(found.span.start).0;
    let date = shown_date(query.date.as_deref(), own)?;
    if date != own || found.status == Status::Cancelled {
        return Err(Error::NotFound);
    }
    card(&app, &session, &found, date)
}

/// The day a page shows; a booking's own where it does not say.
pub(super) fn shown_date(text: Option<&str>, own: Date) -> Result<Date> {
    text.filter(|t| !t.is_empty()).map_or(Ok(own), |t| rules::parse_date(t).map_err(|m| Error::field("date", m)))
}

fn sample_form() -> NewForm {
    NewForm { date: "2026-11-24".into(), start: "10:45".into(), duration_minutes: "45".into(), ..NewForm::default() }
}

fn sample_choice() -> Vec<Choice> {
    vec![Choice { value: "physio-45".into(), label: "Physiotherapy session, 45 min".into(), minutes: 45 }]
}

impl Page for NewPage {
    const TEMPLATE: &'static str = "appointments/new.html";
    fn samples() -> Vec<Self> {
        let page = |errors: &[(&str, &str)], starts: &[&str]| Self {
            form: sample_form(),
            patient_name: "Khumalo, Thandiwe".into(),
            practitioners: sample_choice(),
            session_types: sample_choice(),
            slots: Slots { day: "Tuesday 24-Nov".into(), starts: starts.iter().map(|&s| s.into()).collect(), none: "Not working on this day.".into() },
            errors: errors.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect(),
            asks_outside_hours: !errors.is_empty(),
            block_href: "/appointments/blocks/new".into(),
        };
        vec![page(&[], &["10:45", "11:00"]), page(&[("start", "Naledi Mokoena is taken 10:45 to 11:30: Botha, Johannes.")], &[])]
    }
}

impl Page for SlotsPage {
    const TEMPLATE: &'static str = "appointments/slots.html";
    fn samples() -> Vec<Self> {
        vec![
            Self { slots: Slots { day: "Tuesday 24-Nov".into(), starts: vec!["10:45".into()], none: String::new() } },
            Self { slots: Slots { day: "Tuesday 24-Nov".into(), starts: Vec::new(), none: "This day is over.".into() } },
            Self { slots: Slots::default() },
        ]
    }
}

impl Page for BlockPage {
    const TEMPLATE: &'static str = "appointments/block.html";
    fn samples() -> Vec<Self> {
        vec![Self { form: sample_form(), practitioners: sample_choice(), errors: BTreeMap::from([("start".into(), "Taken.".into())]) }]
    }
}
