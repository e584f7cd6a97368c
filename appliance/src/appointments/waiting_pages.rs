//! The waiting list's form, and booking from it.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::booking::{self, Wanted};
use super::card_pages::card;
use super::forms::{self, Choice};
use super::rules;
use super::waiting::Waiting;
use super::{store, waiting_store};
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::{PatientId, PractitionerId, WaitingId};
use crate::keys::Place;
use crate::practices::{self, Discipline};
use crate::web::{App, Form, Page, Permission, Session, claim, html, optional_text};

#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub(super) struct WaitingForm {
    patient_id: String,
    /// `practitioner:ID`, `discipline:NAME` or empty for anyone.
    with: String,
    duration_minutes: String,
    reason: String,
    not_before: String,
    not_after: String,
    priority: String,
    mon: String,
    tue: String,
    wed: String,
    thu: String,
    fri: String,
    sat: String,
    sun: String,
    idempotency_key: String,
}

#[derive(serde::Serialize)]
struct Day {
    name: &'static str,
    label: &'static str,
    checked: bool,
}

/// `appointments/waiting_new.html`.
#[derive(serde::Serialize)]
pub(super) struct WaitingPage {
    form: WaitingForm,
    patient_name: String,
    with: Vec<Choice>,
    days: Vec<Day>,
    errors: BTreeMap<String, String>,
}

impl WaitingForm {
    fn days(&self) -> [(&'static str, &'static str, &str); 7] {
        [
            ("mon", "Monday", &self.mon),
            ("tue", "Tuesday", &self.tue),
            ("wed", "Wednesday", &self.wed),
            ("thu", "Thursday", &self.thu),
            ("fri", "Friday", &self.fri),
            ("sat", "Saturday", &self.sat),
            ("sun", "Sunday", &self.sun),
        ]
    }

    fn weekdays(&self) -> Vec<i16> {
        (1..)
            .zip(self.days())
            .filter(|(_, (_, _, value))| !value.is_empty())
            .map(|(n, _)| n)
            .collect()
    }
}

async fn waiting_page(
    app: &App,
    session: &Session,
    form: WaitingForm,
    errors: BTreeMap<String, String>,
) -> Result<WaitingPage> {
    let patient: Option<PatientId> = form.patient_id.parse().ok();
    let event = AuditEvent::new(Action::Read, "Appointment")
        .reason("waiting list form")
        .shown(patient.map(|p| p.0));
    let mut tx = app.begin_with(session, event).await?;
    let patient_name = match patient {
        Some(patient) => store::patient_name(tx.conn(), patient)
            .await?
            .unwrap_or_default(),
        None => String::new(),
    };
    let practitioners = practices::practitioners(&mut tx).await?;
    tx.commit().await?;
    let mut disciplines: Vec<Discipline> = Vec::new();
    for p in &practitioners {
        if !disciplines.contains(&p.discipline) {
            disciplines.push(p.discipline);
        }
    }
    let anyone = disciplines.iter().map(|d| {
        Choice::plain(
            format!("discipline:{}", d.text()),
            format!("Any {}", d.person().to_lowercase()),
        )
    });
    let someone = practitioners
        .iter()
        .map(|p| Choice::plain(format!("practitioner:{}", p.id), p.name()));
    let with = anyone.chain(someone).collect();
    let days = form
        .days()
        .map(|(name, label, value)| Day {
            name,
            label,
            checked: !value.is_empty(),
        })
        .into();
    Ok(WaitingPage {
        form,
        patient_name,
        with,
        days,
        errors,
    })
}

/// `GET /waiting-list/new`
pub(super) async fn new(State(app): State<App>, session: Session) -> Result<Response> {
    session.require(Permission::Book)?;
    let form = WaitingForm {
        duration_minutes: "45".into(),
        priority: "2".into(),
        ..WaitingForm::default()
    };
    html(
        &app,
        &waiting_page(&app, &session, form, BTreeMap::new()).await?,
    )
}

fn read(app: &App, form: &WaitingForm) -> Result<(Waiting, i16, Option<uuid::Uuid>)> {
    let mut problems = Problems::new();
    let patient_id = forms::id(
        &mut problems,
        "patient_id",
        &form.patient_id,
        "Choose the patient from the list that opens while you type.",
    );
    let minutes = forms::minutes(&mut problems, &form.duration_minutes).filter(|m| {
        let ok = (5..=rules::LONGEST_VISIT).contains(m) && m % 5 == 0;
        if !ok {
            problems.add(
                "duration_minutes",
                "Between 5 and 480 minutes, in steps of 5.",
            );
        }
        ok
    });
    let reason = optional_text(&mut problems, "reason", Some(&form.reason), 200);
    let mut time = |field, text: &str| {
        if text.is_empty() {
            None
        } else {
            problems.take(field, rules::parse_time(text))
        }
    };
    let (not_before, not_after) = (
        time("not_before", &form.not_before),
        time("not_after", &form.not_after),
    );
    if let (Some(from), Some(to), Some(minutes)) = (not_before, not_after, minutes)
        && to - from < time::Duration::minutes(minutes)
    {
        problems.add(
            "not_after",
            "There is not enough time between the two. Give a later end or an earlier start.",
        );
    }
    let (mut practitioner_id, mut discipline) = (None, None);
    match form.with.split_once(':') {
        None if form.with.is_empty() => {}
        Some(("practitioner", id)) => {
            practitioner_id =
                forms::id::<PractitionerId>(&mut problems, "with", id, "Choose one from the list.")
        }
        Some(("discipline", name)) => {
            discipline = problems.take(
                "with",
                Discipline::from_text(name).ok_or("Choose one from the list."),
            )
        }
        _ => problems.add("with", "Choose one from the list."),
    }
    let priority = match form.priority.as_str() {
        "" => Some(2),
        text => problems.take(
            "priority",
            text.parse()
                .ok()
                .filter(|p| (1..=3).contains(p))
                .ok_or("Choose one of the three."),
        ),
    };
    let key = forms::key(&mut problems, &form.idempotency_key);
    let (Some(patient_id), Some(minutes), Some(priority)) = (
        patient_id,
        minutes.and_then(|m| u16::try_from(m).ok()),
        priority,
    ) else {
        problems.check()?;
        return Err(Error::internal(
            "a form without a patient or a length had no problem",
        ));
    };
    problems.check()?;
    let entry = Waiting {
        id: WaitingId::random(),
        patient_id,
        family_name: String::new(),
        given_name: String::new(),
        reason,
        minutes,
        practitioner_id,
        session_type_id: None,
        discipline,
        not_before,
        not_after,
        weekdays: form.weekdays(),
        created_at: app.clock.now(),
    };
    Ok((entry, priority, key))
}

async fn add(app: &App, session: &Session, form: &WaitingForm) -> Result<()> {
    let (entry, priority, key) = read(app, form)?;
    let mut tx = app.begin(session).await?;
    if store::patient_name(tx.conn(), entry.patient_id)
        .await?
        .is_none()
    {
        return Err(Error::field(
            "patient_id",
            "There is no such patient in this practice. Find the patient again.",
        ));
    }
    if let Some(id) = entry.practitioner_id
        && !practices::practitioners(&mut tx)
            .await?
            .iter()
            .any(|p| p.id == id)
    {
        return Err(Error::field(
            "with",
            "There is no such practitioner in this practice. Choose one from the list.",
        ));
    }
    if let Some(key) = key
        && claim(&mut tx, session, key, "wait", entry.id.0)
            .await?
            .is_some()
    {
        return tx.close_without_patient_data().await;
    }
    let practice = tx.practice();
    waiting_store::insert(tx.conn(), practice, session.user_id, &entry, priority).await?;
    let sealed = app.keys.patient(practice, entry.patient_id).await?;
    let change = serde_json::json!({ "old": null, "new": { "reason": entry.reason, "minutes": entry.minutes } });
    let event = AuditEvent::new(Action::Create, "Appointment")
        .id(entry.id.0)
        .patient(entry.patient_id)
        .reason("waiting list");
    tx.record(
        event.change(sealed.seal_json(Place::new("audit_events.change", entry.id.0), &change)?),
    )
    .await?;
    tx.announce("waiting", entry.id.0).await?;
    tx.commit().await
}

/// `POST /waiting-list`
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<WaitingForm>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    match add(&app, &session, &form).await {
        Ok(()) => Ok(StatusCode::CREATED.into_response()),
        Err(error) => {
            let (status, errors) = forms::by_field(error)?;
            Ok((
                status,
                html(&app, &waiting_page(&app, &session, form, errors).await?)?,
            )
                .into_response())
        }
    }
}

/// `POST /waiting-list/{id}/remove`
pub(super) async fn remove(
    State(app): State<App>,
    session: Session,
    Path(id): Path<WaitingId>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let mut tx = app.begin(&session).await?;
    let entry = waiting_store::get(tx.conn(), id).await?;
    waiting_store::end(tx.conn(), id, None).await?;
    tx.record(
        AuditEvent::new(Action::Delete, "Appointment")
            .id(id.0)
            .patient(entry.patient_id)
            .reason("waiting list"),
    )
    .await?;
    tx.announce("waiting", id.0).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct OfferForm {
    date: String,
    start: String,
    practitioner_id: String,
    #[serde(default)]
    idempotency_key: String,
}

/// `POST /waiting-list/{id}/book`: books the open time that was offered.
pub(super) async fn book(
    State(app): State<App>,
    session: Session,
    Path(id): Path<WaitingId>,
    Form(form): Form<OfferForm>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let mut problems = Problems::new();
    let start = forms::start(&mut problems, &form.date, &form.start);
    let practitioner = forms::id::<PractitionerId>(
        &mut problems,
        "practitioner_id",
        &form.practitioner_id,
        "Choose the practitioner.",
    );
    let key = forms::key(&mut problems, &form.idempotency_key);
    let (Some(start), Some(practitioner)) = (start, practitioner) else {
        problems.check()?;
        return Err(Error::internal(
            "an offer without a start or a practitioner had no problem",
        ));
    };
    problems.check()?;
    let mut tx = app.begin(&session).await?;
    let entry = waiting_store::get(tx.conn(), id).await?;
    let practitioners = practices::practitioners(&mut tx).await?;
    let types = practices::session_types(&mut tx).await?;
    tx.record(
        AuditEvent::new(Action::Read, "Appointment")
            .id(id.0)
            .patient(entry.patient_id)
            .reason("waiting list"),
    )
    .await?;
    tx.commit().await?;
    let with = practitioners
        .iter()
        .find(|p| p.id == practitioner)
        .ok_or_else(|| {
            Error::field(
                "practitioner_id",
                "There is no such practitioner in this practice.",
            )
        })?;
    let session_type = entry.session_type(with, &types).ok_or_else(|| {
        Error::field(
            "session_type",
            format!(
                "{} gives no kind of session that fits. Book it by hand.",
                with.name()
            ),
        )
    })?;
    let wanted = Wanted {
        session_type: Some(session_type.code.clone()),
        patient: Some(entry.patient_id),
        practitioner,
        start,
        minutes: Some(i64::from(entry.minutes)),
        reason: entry.reason.clone(),
        payer_tag: String::new(),
        outside_hours: false,
        waiting: Some(id),
    };
    let made = booking::book(&app, &session, &wanted, key).await?;
    Ok((
        StatusCode::CREATED,
        card(&app, &session, &made, clock::local(start).0)?,
    )
        .into_response())
}

impl Page for WaitingPage {
    const TEMPLATE: &'static str = "appointments/waiting_new.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            form: WaitingForm {
                duration_minutes: "45".into(),
                priority: "2".into(),
                ..WaitingForm::default()
            },
            patient_name: String::new(),
            with: vec![Choice::plain(
                "discipline:physiotherapy".into(),
                "Any physiotherapist".into(),
            )],
            days: WaitingForm::default()
                .days()
                .map(|(name, label, _)| Day {
                    name,
                    label,
                    checked: false,
                })
                .into(),
            errors: BTreeMap::from([("patient_id".into(), "Choose the patient.".into())]),
        }]
    }
}
