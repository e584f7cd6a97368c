//! One patient: the page, changing it, and showing the whole identity number.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde_json::{Map, Value};

use super::actions::{self, Changed};
use super::banner::Banner;
use super::details::Details;
use super::forms::{Duplicate, both_sides, errors, identity_hint};
use super::pages::FormPage;
use super::store::{self, Record};
use super::timeline::{Timeline, timeline};
use super::{Identity, identity, phone};
use crate::clock;
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, FieldError, Problems, Result};
use crate::ids::PatientId;
use crate::web::{App, Form, FormId, Page, Permission, Session, Shell, html};

/// `patients/record.html`.
#[derive(serde::Serialize)]
pub(super) struct RecordPage {
    shell: Shell,
    p: Banner,
    actions: Vec<BannerAction>,
    timeline: Timeline,
    contact: Vec<Line>,
    scheme: Vec<Line>,
    allergies: Vec<Item>,
    alerts: Vec<Item>,
    errors: Map<String, Value>,
    typed: Typed,
    can_edit: bool,
    can_book: bool,
    since: String,
}

#[derive(serde::Serialize)]
struct BannerAction {
    href: String,
    label: &'static str,
    icon: &'static str,
}

#[derive(serde::Serialize)]
struct Line {
    label: &'static str,
    value: String,
}

/// An allergy or alert with who recorded it.
#[derive(serde::Serialize)]
struct Item {
    id: String,
    text: String,
    detail: String,
    recorded: String,
}

/// What was typed into a small form that came back.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Typed {
    pub substance: String,
    pub reaction: String,
    pub alert: String,
    pub until: String,
}

impl Page for RecordPage {
    const TEMPLATE: &'static str = "patients/record.html";
    fn samples() -> Vec<Self> {
        let item = || Item {
            id: "1".into(),
            text: "Penicillin".into(),
            detail: "rash".into(),
            recorded: "24-Nov-2026, Zinhle Maseko".into(),
        };
        let page = || Self {
            shell: Shell::sample(),
            p: Banner::sample(),
            actions: vec![BannerAction {
                href: "/patients/1/edit".into(),
                label: "Edit",
                icon: "pencil",
            }],
            timeline: Timeline::default(),
            contact: vec![Line {
                label: "Phone",
                value: "082 123 4567".into(),
            }],
            scheme: Vec::new(),
            allergies: vec![item()],
            alerts: vec![item()],
            errors: Map::new(),
            typed: Typed::default(),
            can_edit: true,
            can_book: true,
            since: "24-Nov-2026".into(),
        };
        let moment = super::timeline::Moment {
            icon: "check",
            state: "past",
            what: "Follow-up".into(),
            detail: "Completed, note signed".into(),
            when: "24-Nov-2026 10:41".into(),
            datetime: "2026-11-24T10:41:00+02:00".into(),
            href: "/day".into(),
        };
        let wrong = [FieldError {
            field: "substance".into(),
            message: "This is needed.".into(),
        }];
        vec![
            page(),
            Self {
                errors: errors(&wrong),
                allergies: Vec::new(),
                alerts: Vec::new(),
                ..page()
            },
            Self {
                timeline: Timeline {
                    coming: vec![moment.clone()],
                    past: vec![moment],
                },
                can_edit: false,
                can_book: false,
                ..page()
            },
        ]
    }
}

fn lines(pairs: &[(&'static str, String)]) -> Vec<Line> {
    pairs
        .iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(label, value)| Line {
            label,
            value: value.clone(),
        })
        .collect()
}

fn day_text(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .map(|at| clock::date_text(clock::local(at).0))
        .unwrap_or_default()
}

/// The page of a patient, in the caller's transaction.
async fn page(
    app: &App,
    session: &Session,
    tx: &mut PracticeTx,
    record: &Record,
    fields: &[FieldError],
    typed: Typed,
) -> Result<RecordPage> {
    let p = &record.patient;
    let today = app.clock.today();
    let banner = Banner::of(record, today);
    let timeline = timeline(
        tx.conn(),
        p.id,
        app.clock.now(),
        session.may(Permission::ViewNotes),
    )
    .await?;
    let number = |e164: &str| {
        if e164.is_empty() {
            String::new()
        } else {
            phone::shown(e164)
        }
    };
    let emergency = [p.emergency_name.clone(), number(&p.emergency_phone)]
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join(", ");
    let name = format!("{}, {}", p.family_name, p.given_name);
    let shell = Shell::load(app, session, tx, name, "patients").await?;
    let mut actions = Vec::new();
    if session.may(Permission::EditPatients) {
        actions.push(BannerAction {
            href: format!("/patients/{}/edit", p.id),
            label: "Edit",
            icon: "pencil",
        });
    }
    if session.may(Permission::ViewAudit) {
        actions.push(BannerAction {
            href: format!("/patients/{}/audit", p.id),
            label: "Who looked",
            icon: "history",
        });
    }
    if session.may(Permission::ErasePatients) {
        actions.push(BannerAction {
            href: format!("/patients/{}/erase", p.id),
            label: "Erase",
            icon: "shield-alert",
        });
    }
    Ok(RecordPage {
        shell,
        actions,
        timeline,
        contact: lines(&[
            ("Phone", number(&p.phone)),
            ("Email", p.email.clone()),
            ("Address", p.address.clone()),
            ("Emergency", emergency),
        ]),
        scheme: lines(&[
            ("Scheme", p.scheme_name.clone()),
            ("Plan", p.scheme_plan.clone()),
            ("Member number", p.member_number.clone()),
            ("Dependant", p.dependant_code.clone()),
        ]),
        allergies: record
            .allergies
            .iter()
            .map(|a| Item {
                id: a.id.to_string(),
                text: a.substance.clone(),
                detail: a.reaction.clone(),
                recorded: format!("{}, {}", day_text(a.recorded_at), a.recorded_by),
            })
            .collect(),
        alerts: record
            .alerts
            .iter()
            .map(|a| Item {
                id: a.id.to_string(),
                text: a.text.clone(),
                detail: a
                    .until
                    .as_deref()
                    .and_then(store::iso_date)
                    .map(|d| {
                        format!(
                            "{} {}",
                            if d < today { "ended on" } else { "until" },
                            clock::date_text(d)
                        )
                    })
                    .unwrap_or_default(),
                recorded: format!("{}, {}", day_text(a.recorded_at), a.recorded_by),
            })
            .collect(),
        errors: errors(fields),
        typed,
        can_edit: session.may(Permission::EditPatients),
        can_book: session.may(Permission::Book),
        since: clock::date_text(clock::local(p.created_at).0),
        p: banner,
    })
}

fn opened(id: PatientId, reason: &'static str) -> AuditEvent {
    AuditEvent::new(Action::Read, "Patient")
        .id(id.0)
        .patient(id)
        .reason(reason)
}

/// `GET /patients/{id}`
pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
) -> Result<Response> {
    session.require(Permission::ViewPatients)?;
    let mut tx = app.begin_with(&session, opened(id, "patient page")).await?;
    let record = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let page = page(&app, &session, &mut tx, &record, &[], Typed::default()).await?;
    tx.commit().await?;
    html(&app, &page)
}

/// The page again, with what was wrong in one of its small forms.
pub(super) async fn show_again(
    app: &App,
    session: &Session,
    id: PatientId,
    fields: &[FieldError],
    typed: Typed,
) -> Result<Response> {
    let mut tx = app.begin_with(session, opened(id, "patient page")).await?;
    let record = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let page = page(app, session, &mut tx, &record, fields, typed).await?;
    tx.commit().await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, html(app, &page)?).into_response())
}

/// `GET /patients/{id}/identity`: the whole number as plain text, logged as such.
pub(super) async fn identity(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
) -> Result<Response> {
    session.require(Permission::RevealIdentity)?;
    let mut tx = app
        .begin_with(&session, opened(id, "identity number shown"))
        .await?;
    let record = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let identity = stored_identity(&app, &tx, &record).await?;
    tx.commit().await?;
    let number = identity.value().ok_or(Error::NotFound)?;
    Ok(identity::grouped(identity.kind(), number).into_response())
}

pub(super) async fn stored_identity(
    app: &App,
    tx: &PracticeTx,
    record: &Record,
) -> Result<Identity> {
    if record.patient.identity.is_none() {
        return Ok(Identity::None);
    }
    let key = app.keys.patient(tx.practice(), record.patient.id).await?;
    actions::open_identity(&key, &record.patient)
}

async fn edit_page(
    app: &App,
    session: &Session,
    tx: &mut PracticeTx,
    record: &Record,
    form: Details,
) -> Result<FormPage> {
    let p = &record.patient;
    let heading = format!("Change {}, {}", p.family_name, p.given_name);
    let shell = Shell::load(app, session, tx, heading.clone(), "patients").await?;
    Ok(FormPage {
        heading,
        action: format!("/patients/{}/edit", p.id),
        back: format!("/patients/{}", p.id),
        submit: "Save",
        identity_hint: identity_hint(p),
        version: Some(p.version),
        ..FormPage::with(shell, form, None, FormId::now_v7())
    })
}

/// `GET /patients/{id}/edit`
pub(super) async fn edit(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let mut tx = app
        .begin_with(&session, opened(id, "form to change it"))
        .await?;
    let record = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let form = Details::of(&record.patient);
    let page = edit_page(&app, &session, &mut tx, &record, form).await?;
    tx.commit().await?;
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct EditForm {
    #[serde(default)]
    version: String,
    #[serde(flatten)]
    details: Details,
}

/// `POST /patients/{id}/edit`
pub(super) async fn save(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
    Form(form): Form<EditForm>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let version: i32 = form
        .version
        .parse()
        .map_err(|_| Error::field("version", "The form has no version. Open it again."))?;
    let mut tx = app.begin(&session).await?;
    let record = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let identity = stored_identity(&app, &tx, &record).await?;
    let checked = form.details.check(app.clock.today(), Some(&identity));
    let page = FormPage {
        version: Some(version),
        ..edit_page(&app, &session, &mut tx, &record, form.details).await?
    };
    let person = match checked {
        Ok(person) => person,
        Err(problems) => {
            tx.record(opened(id, "form to change it")).await?;
            tx.commit().await?;
            let page = FormPage {
                errors: errors(&Problems::into_fields(problems)),
                ..page
            };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
        }
    };
    match actions::change(&app, &session, tx, &record, &identity, &person, version).await? {
        Changed::Saved => Ok(Redirect::to(&format!("/patients/{id}")).into_response()),
        Changed::Newer => {
            let mut tx = app
                .begin_with(&session, opened(id, "form to change it"))
                .await?;
            let newer = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
            tx.commit().await?;
            let conflict = both_sides(&page.form, &Details::of(&newer.patient));
            let page = FormPage {
                version: Some(newer.patient.version),
                conflict,
                submit: "Save mine over it",
                ..page
            };
            Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response())
        }
        Changed::Taken(found) => {
            let page = FormPage {
                duplicates: found.iter().map(Duplicate::of).collect(),
                ..page
            };
            Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response())
        }
    }
}
