//! The diary's forms for new bookings and blocked time: the dialog, and what comes back from it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use time::OffsetDateTime;

use super::booking::{self, Wanted};
use super::card_pages::card;
use super::rules;
use super::slot_pages::{Slots, SlotsQuery, find_slots};
use super::store;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::{PatientId, PractitionerId};
use crate::practices::{self, Discipline};
use crate::web::{App, Form, FormId, Page, Permission, Query, Session, html, optional_text};

/// A choice of a select box.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Choice {
    pub value: String,
    pub label: String,
    /// The usual length of a session.
    pub minutes: i32,
    /// Whose it is: of a practitioner, or for a session.
    pub discipline: &'static str,
    pub is_class: bool,
}

impl Choice {
    /// A choice that is only its words.
    pub(super) fn plain(value: String, label: String) -> Self {
        Self {
            value,
            label,
            minutes: 0,
            discipline: "",
            is_class: false,
        }
    }
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
                errors
                    .entry(field.field.into_owned())
                    .or_insert_with(|| field.message.into_owned());
            }
            Ok((status, errors))
        }
        Error::Conflict { detail, .. } => Ok((
            status,
            BTreeMap::from([("start".to_owned(), detail.into_owned())]),
        )),
        other => Err(other),
    }
}

pub(super) async fn choices(tx: &mut crate::db::PracticeTx) -> Result<(Vec<Choice>, Vec<Choice>)> {
    let practitioners = practices::practitioners(tx).await?;
    let types = practices::session_types(tx).await?;
    Ok((
        practitioners
            .iter()
            .map(|p| Choice {
                discipline: p.discipline.text(),
                ..Choice::plain(p.id.to_string(), p.name())
            })
            .collect(),
        types
            .into_iter()
            .map(|t| Choice {
                label: format!("{}, {} min", t.name, t.duration_minutes),
                minutes: t.duration_minutes,
                discipline: t.discipline.map_or("", Discipline::text),
                is_class: t.capacity > 1,
                value: t.code,
            })
            .collect(),
    ))
}

async fn new_page(
    app: &App,
    session: &Session,
    mut form: NewForm,
    mut errors: BTreeMap<String, String>,
) -> Result<NewPage> {
    let patient: Option<PatientId> = form.patient_id.parse().ok();
    let event = AuditEvent::new(Action::Read, "Appointment")
        .reason("booking form")
        .shown(patient.map(|p| p.0));
    let mut tx = app.begin_with(session, event).await?;
    let patient_name = match patient {
        Some(patient) => store::patient_name(tx.conn(), patient)
            .await?
            .unwrap_or_default(),
        None => String::new(),
    };
    let (practitioners, session_types) = choices(&mut tx).await?;
    if form.practitioner_id.is_empty() {
        form.practitioner_id = practitioners
            .first()
            .map(|p| p.value.clone())
            .unwrap_or_default();
    }
    let discipline = practitioners
        .iter()
        .find(|p| p.value == form.practitioner_id)
        .map_or("", |p| p.discipline);
    let usual = session_types
        .iter()
        .find(|t| !t.is_class && (t.discipline.is_empty() || t.discipline == discipline));
    let chosen = session_types
        .iter()
        .find(|t| t.value == form.session_type)
        .or(usual)
        .or(session_types.first());
    if let Some(chosen) = chosen {
        form.session_type.clone_from(&chosen.value);
        if form.duration_minutes.is_empty() {
            form.duration_minutes = chosen.minutes.to_string();
        }
        // All that is missing at once, not one after the other.
        if !errors.is_empty() && !chosen.is_class && form.patient_id.trim().is_empty() {
            errors
                .entry("patient_id".into())
                .or_insert_with(|| "Choose the patient.".into());
        }
    }
    let query = SlotsQuery {
        date: form.date.clone(),
        practitioner_id: form.practitioner_id.clone(),
        duration_minutes: form.duration_minutes.clone(),
    };
    let slots = find_slots(&mut tx, &query).await?;
    tx.commit().await?;
    let asks_outside_hours = !form.outside_hours.is_empty()
        || errors
            .get("start")
            .is_some_and(|text| text.contains("say that it is meant"));
    let mut block_href = format!(
        "/appointments/blocks/new?date={}",
        rules::parse_date(&form.date).unwrap_or_else(|_| app.clock.today())
    );
    if let Ok(time) = rules::parse_time(&form.start) {
        block_href.push_str(&format!("&start={}", clock::time_text(time)));
    }
    if let Ok(practitioner) = form.practitioner_id.parse::<PractitionerId>() {
        block_href.push_str(&format!("&practitioner_id={practitioner}"));
    }
    Ok(NewPage {
        form,
        patient_name,
        practitioners,
        session_types,
        slots,
        errors,
        asks_outside_hours,
        block_href,
    })
}

/// `GET /appointments/new`
pub(super) async fn new(
    State(app): State<App>,
    session: Session,
    Query(query): Query<NewQuery>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let date = if query.date.is_empty() {
        app.clock.today().to_string()
    } else {
        query.date
    };
    let form = NewForm {
        patient_id: query.patient_id,
        practitioner_id: query.practitioner_id,
        date,
        start: query.start,
        ..NewForm::default()
    };
    html(
        &app,
        &new_page(&app, &session, form, BTreeMap::new()).await?,
    )
}

pub(super) fn id<T: std::str::FromStr>(
    problems: &mut Problems,
    field: &'static str,
    text: &str,
    words: &'static str,
) -> Option<T> {
    problems.take(field, text.trim().parse().map_err(|_| words))
}

/// Reads a day and a time of it.
pub(super) fn start(problems: &mut Problems, date: &str, start: &str) -> Option<OffsetDateTime> {
    let date = problems.take("date", rules::parse_date(date));
    let time = problems.take("start", rules::parse_time(start));
    date.zip(time)
        .map(|(date, time)| clock::instant(date, time))
}

pub(super) fn minutes(problems: &mut Problems, text: &str) -> Option<i64> {
    problems.take(
        "duration_minutes",
        text.trim()
            .parse()
            .map_err(|_| "Give the length in minutes, such as 45."),
    )
}

/// Reads the form of a booking, or of blocked time, where there is no session type.
fn read(form: &NewForm, is_block: bool) -> Result<(Wanted, Option<FormId>)> {
    let mut problems = Problems::new();
    let practitioner = id(
        &mut problems,
        "practitioner_id",
        &form.practitioner_id,
        "Choose the practitioner.",
    );
    let patient = if form.patient_id.trim().is_empty() || is_block {
        None
    } else {
        id(
            &mut problems,
            "patient_id",
            &form.patient_id,
            "Choose the patient from the list that opens while you type.",
        )
    };
    let start = start(&mut problems, &form.date, &form.start);
    let minutes = minutes(&mut problems, &form.duration_minutes);
    let reason = optional_text(&mut problems, "reason", Some(&form.reason), 200);
    let session_type = optional_text(&mut problems, "session_type", Some(&form.session_type), 80);
    let key = key(&mut problems, &form.idempotency_key);
    let (Some(practitioner), Some(start)) = (practitioner, start) else {
        problems.check()?;
        return Err(Error::internal(
            "a form without a practitioner or a start had no problem",
        ));
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
    problems.take(
        "form",
        text.parse()
            .map_err(|_| "The form's key is broken. Open the form again."),
    )
}

/// `POST /appointments`
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<NewForm>,
) -> Result<Response> {
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
            let (status, errors) = by_field(error)?;
            Ok((
                status,
                html(&app, &new_page(&app, &session, form, errors).await?)?,
            )
                .into_response())
        }
    }
}

async fn block_page(
    app: &App,
    session: &Session,
    mut form: NewForm,
    errors: BTreeMap<String, String>,
) -> Result<BlockPage> {
    let mut tx = app.begin(session).await?;
    let (practitioners, _) = choices(&mut tx).await?;
    tx.close_without_patient_data().await?;
    if form.duration_minutes.is_empty() {
        form.duration_minutes = "60".into();
    }
    Ok(BlockPage {
        form,
        practitioners,
        errors,
    })
}

/// `GET /appointments/blocks/new`
pub(super) async fn new_block(
    State(app): State<App>,
    session: Session,
    Query(query): Query<NewQuery>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let date = if query.date.is_empty() {
        app.clock.today().to_string()
    } else {
        query.date
    };
    let form = NewForm {
        practitioner_id: query.practitioner_id,
        date,
        start: query.start,
        ..NewForm::default()
    };
    html(
        &app,
        &block_page(&app, &session, form, BTreeMap::new()).await?,
    )
}

/// `POST /appointments/blocks`
pub(super) async fn create_block(
    State(app): State<App>,
    session: Session,
    Form(form): Form<NewForm>,
) -> Result<Response> {
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
            Ok((
                status,
                html(&app, &block_page(&app, &session, form, errors).await?)?,
            )
                .into_response())
        }
    }
}

fn sample_form() -> NewForm {
    NewForm {
        date: "2026-11-24".into(),
        start: "10:45".into(),
        duration_minutes: "45".into(),
        ..NewForm::default()
    }
}

fn sample_choice() -> Vec<Choice> {
    vec![Choice {
        minutes: 45,
        discipline: "physiotherapy",
        ..Choice::plain("physio-45".into(), "Physiotherapy session, 45 min".into())
    }]
}

impl Page for NewPage {
    const TEMPLATE: &'static str = "appointments/new.html";
    fn samples() -> Vec<Self> {
        let page = |errors: &[(&str, &str)], starts: &[&str]| Self {
            form: sample_form(),
            patient_name: "Khumalo, Thandiwe".into(),
            practitioners: sample_choice(),
            session_types: sample_choice(),
            slots: Slots {
                day: "Tuesday 24-Nov".into(),
                starts: starts.iter().map(|&s| s.into()).collect(),
                none: "Not working on this day.".into(),
            },
            errors: errors
                .iter()
                .map(|&(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            asks_outside_hours: !errors.is_empty(),
            block_href: "/appointments/blocks/new".into(),
        };
        vec![
            page(&[], &["10:45", "11:00"]),
            page(
                &[(
                    "start",
                    "Naledi Mokoena is taken 10:45 to 11:30: Botha, Johannes.",
                )],
                &[],
            ),
        ]
    }
}

impl Page for BlockPage {
    const TEMPLATE: &'static str = "appointments/block.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            form: sample_form(),
            practitioners: sample_choice(),
            errors: BTreeMap::from([("start".into(), "Taken.".into())]),
        }]
    }
}
