//! Handlers of the visit's pages.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{FromRequest, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, header};
use uuid::Uuid;

use super::draft::{self, Running};
use super::draft_store;
use super::note::NoteChange;
use super::store;
use super::stream;
use super::trend::trends;
use super::view::{
    AddendumView, DraftView, NotesPage, PrintPage, SECTIONS, TimelineItem, Trends, UnsignedRow,
    VisitPage, VisitView,
};
use super::visit::{self, Visit, Writer};
use crate::clock;
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, Result};
use crate::ids::{AppointmentId, EncounterId, PatientId};
use crate::keys::{PatientKey, Place};
use crate::patients::{Banner, banner};
use crate::web::{App, Form, FormId, JsonBody, Permission, Session, Shell, claim, html};

/// Visits that the timeline shows.
const TIMELINE: i64 = 12;
/// Notes that the list of unsigned ones shows.
const UNSIGNED: i64 = 200;

impl From<&Session> for Writer {
    fn from(session: &Session) -> Self {
        Self {
            user: session.user_id,
            practitioner: session.practitioner_id,
        }
    }
}

/// Refuses who may not read or write notes, and puts the refusal in the audit log with the patient it was about.
pub(super) async fn allow(
    app: &App,
    session: &Session,
    permission: Permission,
    id: Option<EncounterId>,
) -> Result<()> {
    let refused = match session.require(permission) {
        Ok(()) => return Ok(()),
        Err(refused) => refused,
    };
    refuse(app, session, id, "role").await?;
    Err(refused.logged())
}

async fn refuse(
    app: &App,
    session: &Session,
    id: Option<EncounterId>,
    reason: &'static str,
) -> Result<()> {
    let mut event = AuditEvent::new(Action::Refuse, "Note").reason(reason);
    let mut tx = app.begin(session).await?;
    let patient = match id {
        Some(id) => store::patient_of(tx.conn(), id).await?,
        None => None,
    };
    if let Some((id, patient)) = id.zip(patient) {
        event = event.id(id.0).patient(patient);
    }
    tx.record(event).await?;
    tx.commit().await
}

/// Records a refusal that came out of the work itself: another practitioner's note.
pub(super) async fn noted<T>(
    app: &App,
    session: &Session,
    id: EncounterId,
    result: Result<T>,
) -> Result<T> {
    if let Err(Error::Forbidden(_)) = &result {
        refuse(app, session, Some(id), "not the visit's practitioner").await?;
    }
    result.map_err(Error::logged)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct OpenForm {
    appointment_id: AppointmentId,
    #[serde(default)]
    patient_id: Option<PatientId>,
}

/// `POST /encounters`.
pub(super) async fn open(
    State(app): State<App>,
    session: Session,
    Form(form): Form<OpenForm>,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, None).await?;
    let mut tx = app.begin(&session).await?;
    let (id, _) = visit::open(
        &mut tx,
        Writer::from(&session),
        form.appointment_id,
        form.patient_id,
    )
    .await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/encounters/{id}")).into_response())
}

/// `GET /encounters/{id}`.
pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
) -> Result<Response> {
    allow(&app, &session, Permission::ViewNotes, Some(id)).await?;
    html(
        &app,
        &visit_page(&app, &session, id, "visit page, with earlier notes").await?,
    )
}

async fn visit_page(
    app: &App,
    session: &Session,
    id: EncounterId,
    reason: &'static str,
) -> Result<VisitPage> {
    let mut tx = app.begin(session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    tx.record(visit.event(Action::Read, "Encounter", reason))
        .await?;
    let key = app.keys.patient(tx.practice(), visit.patient).await?;
    let patient = banner(&mut tx, app, visit.patient).await?;
    let version = visit.newest(&mut tx, &key).await?;
    let may_write = session.may(Permission::WriteNotes);
    let mine = may_write && visit.written_by(session.into()).is_ok() && visit.signature.is_none();
    let draft = match draft_store::newest(tx.conn(), id, &key).await? {
        Some(draft) if mine => DraftView::of(draft, &version.note),
        _ => DraftView::none(app.ai.load().is_serving()),
    };
    let timeline = timeline(&mut tx, &visit, &key, mine).await?;
    let trends = trend_view(&mut tx, &visit, may_write).await?;
    let addenda = addenda(&mut tx, &visit, &key).await?;
    let shell = Shell::load(app, session, &mut tx, patient_name(&patient), "patients").await?;
    let local_key = app
        .keys
        .local_copy_key(tx.practice(), session.user_id)
        .await?;
    tx.commit().await?;
    Ok(VisitPage {
        shell,
        local_key,
        patient,
        visit: visit_view(&visit, mine),
        saved: version.saved_at.map_or_else(
            || "Nothing typed yet".into(),
            |at| format!("Saved {}", clock::time_text(clock::local(at).1)),
        ),
        version: version.version,
        note: version.note,
        sections: SECTIONS,
        draft,
        timeline,
        trends,
        addenda,
        may_add: may_write,
        addendum_key: Uuid::now_v7(),
        addendum_text: String::new(),
        errors: BTreeMap::new(),
    })
}

fn visit_view(visit: &Visit, mine: bool) -> VisitView {
    let (date, time) = clock::local(visit.booked_for);
    let mut when = format!("{}, {}", clock::date_text(date), clock::time_text(time));
    for more in [&visit.session_type, &visit.reason] {
        if !more.is_empty() {
            when.push_str(" · ");
            when.push_str(more);
        }
    }
    VisitView {
        id: visit.id.to_string(),
        patient_id: visit.patient.to_string(),
        title: title(visit.number),
        when,
        state: if visit.signature.is_some() {
            "signed"
        } else if mine {
            "draft"
        } else {
            "read"
        },
        practitioner: visit.practitioner_name.clone(),
        signed: visit
            .signature
            .as_ref()
            .map(|s| format!("Signed by {}, {}.", s.name, clock::stamp_text(s.at))),
    }
}

fn title(number: i64) -> String {
    if number <= 1 {
        "First visit".into()
    } else {
        format!("Visit {number}")
    }
}

async fn timeline(
    tx: &mut PracticeTx,
    visit: &Visit,
    key: &PatientKey,
    mine: bool,
) -> Result<Vec<TimelineItem>> {
    let mut items = Vec::new();
    for past in store::history(tx.conn(), visit.patient, TIMELINE).await? {
        let current = past.id == visit.id;
        let text = match (past.signed, past.version.zip(past.body)) {
            (false, _) if current && mine => "You are writing this note".into(),
            (true, Some((version, body))) => {
                let note: super::Note = key.open_json(
                    Place::new("note_versions.body", past.id.0).version(version),
                    &body,
                )?;
                note.gist()
            }
            _ => format!("{} has not signed it yet", past.practitioner_name),
        };
        items.push(TimelineItem {
            href: format!("/encounters/{}", past.id),
            state: if current { "current" } else { "" },
            icon: match (current, past.number) {
                (true, _) if !past.signed => "pen-line",
                (_, 1) => "clipboard-list",
                _ => "file-text",
            },
            title: if past.session_type.is_empty() {
                title(past.number)
            } else {
                format!("{}, {}", title(past.number), past.session_type)
            },
            text,
            date: short_or_whole(clock::local(past.booked_for).0, clock::local(tx.now()).0),
        });
    }
    Ok(items)
}

/// `24-Nov`, or `24-Nov-2025` of another year.
fn short_or_whole(date: time::Date, today: time::Date) -> String {
    if date.year() == today.year() {
        clock::short_date_text(date)
    } else {
        clock::date_text(date)
    }
}

pub(super) async fn trend_view(
    tx: &mut PracticeTx,
    visit: &Visit,
    may_add: bool,
) -> Result<Trends> {
    let (chart, latest) = trends(&store::scores(tx.conn(), visit.patient).await?);
    Ok(Trends {
        encounter: visit.id.to_string(),
        may_add,
        chart,
        latest,
    })
}

async fn addenda(
    tx: &mut PracticeTx,
    visit: &Visit,
    key: &PatientKey,
) -> Result<Vec<AddendumView>> {
    let mut list = Vec::new();
    for a in store::addenda(tx.conn(), visit.id).await? {
        let text = key.open_text(Place::new("note_addenda.body", a.id), &a.body)?;
        list.push(AddendumView {
            text,
            by: a.author_name,
            at: clock::stamp_text(a.added_at),
        });
    }
    Ok(list)
}

/// `Khumalo, Thandiwe`.
fn patient_name(patient: &Banner) -> String {
    format!("{}, {}", patient.family, patient.given)
}

/// `GET /encounters/{id}/print`.
pub(super) async fn print(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
) -> Result<Response> {
    allow(&app, &session, Permission::ViewNotes, Some(id)).await?;
    let mut tx = app.begin(&session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    tx.record(visit.event(Action::Read, "Note", "print view"))
        .await?;
    let key = app.keys.patient(tx.practice(), visit.patient).await?;
    let patient = banner(&mut tx, &app, visit.patient).await?;
    let note = visit.newest(&mut tx, &key).await?.note;
    let addenda = addenda(&mut tx, &visit, &key).await?;
    let practice = sqlx::query_scalar!("SELECT name FROM practices")
        .fetch_one(tx.conn())
        .await?;
    let shell = Shell::load(
        &app,
        &session,
        &mut tx,
        format!("Note of {}", patient_name(&patient)),
        "patients",
    )
    .await?;
    let printed = clock::stamp_text(tx.now());
    tx.commit().await?;
    html(
        &app,
        &PrintPage {
            shell,
            patient,
            visit: visit_view(&visit, false),
            note,
            sections: SECTIONS,
            addenda,
            practice,
            printed,
        },
    )
}

/// `GET /encounters/{id}/note`.
pub(super) async fn note(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
) -> Result<Response> {
    allow(&app, &session, Permission::ViewNotes, Some(id)).await?;
    let mut tx = app.begin(&session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    tx.record(visit.event(Action::Read, "Note", "")).await?;
    let key = app.keys.patient(tx.practice(), visit.patient).await?;
    let version = visit.newest(&mut tx, &key).await?;
    tx.commit().await?;
    Ok(axum::Json(visit.view(&version, true)).into_response())
}

/// `PUT /encounters/{id}/note`: the autosave.
pub(super) async fn save(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
    JsonBody(change): JsonBody<NoteChange>,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    let saved = save_note(&app, &session, id, change, true).await?;
    let at = saved.saved_at.unwrap_or(app.clock.now());
    Ok(axum::Json(serde_json::json!({ "version": saved.version, "saved_at": clock::time_text(clock::local(at).1) })).into_response())
}

/// Saves in a transaction of its own.
pub(super) async fn save_note(
    app: &App,
    session: &Session,
    id: EncounterId,
    change: NoteChange,
    wall_clock: bool,
) -> Result<super::Version> {
    let mut tx = app.begin(session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    let key = app.keys.patient(tx.practice(), visit.patient).await?;
    let result = visit
        .save(&mut tx, &key, Writer::from(session), change, wall_clock)
        .await;
    settle(app, session, tx, &visit, result).await
}

/// Ends the transaction of a change of the note as its result asks. Whoever is shown the other side of a conflict has read it.
async fn settle<T>(
    app: &App,
    session: &Session,
    mut tx: PracticeTx,
    visit: &Visit,
    result: Result<T>,
) -> Result<T> {
    match &result {
        Ok(_) => {}
        // A conflict is found before anything is written.
        Err(Error::Conflict {
            theirs: Some(_), ..
        }) => {
            tx.record(visit.event(Action::Read, "Note", "other side of a conflict"))
                .await?;
        }
        Err(_) => {
            drop(tx);
            return noted(app, session, visit.id, result).await;
        }
    }
    tx.commit().await?;
    result
}

/// What a draft is made from: the text given, or the note's own lines.
#[derive(Debug, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DraftRequest {
    /// Rough lines or a transcript, at most 200 000 characters. Left out: the lines saved with the note.
    #[serde(default)]
    pub(super) source_text: Option<String>,
}

/// A request without a body asks for the note's own lines.
pub(super) async fn draft_request(request: Request) -> Result<DraftRequest> {
    let typed = request.headers().contains_key(header::CONTENT_TYPE);
    let empty = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .is_some_and(|v| v == "0");
    if !typed || empty {
        return Ok(DraftRequest::default());
    }
    Ok(JsonBody::<DraftRequest>::from_request(request, &())
        .await?
        .0)
}

/// `POST /encounters/{id}/draft`.
pub(super) async fn draft(
    State(app): State<App>,
    session: Session,
    Extension(running): Extension<Running>,
    Path(id): Path<EncounterId>,
    request: Request,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    let wanted = draft_request(request).await?;
    let started = draft::start(
        &app,
        &running,
        &session,
        Writer::from(&session),
        id,
        wanted.source_text,
    )
    .await;
    let (_, heard) = noted(&app, &session, id, started).await?;
    Ok(stream::to_page(&app, heard))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct SignForm {
    version: i32,
}

/// `POST /encounters/{id}/sign`.
pub(super) async fn sign(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
    Form(form): Form<SignForm>,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    sign_note(&app, &session, id, form.version, true).await?;
    Ok(Redirect::to(&format!("/encounters/{id}")).into_response())
}

/// Signs in a transaction of its own.
pub(super) async fn sign_note(
    app: &App,
    session: &Session,
    id: EncounterId,
    version: i32,
    wall_clock: bool,
) -> Result<super::Signature> {
    let mut tx = app.begin(session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    let key = app.keys.patient(tx.practice(), visit.patient).await?;
    let result = visit
        .sign(&mut tx, &key, Writer::from(session), version, wall_clock)
        .await;
    settle(app, session, tx, &visit, result).await
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct AddendumForm {
    #[serde(default)]
    text: String,
    idempotency_key: FormId,
}

/// `POST /encounters/{id}/addenda`.
pub(super) async fn add_addendum(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
    Form(form): Form<AddendumForm>,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    let mut tx = app.begin(&session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    let key = app.keys.patient(tx.practice(), visit.patient).await?;
    let addendum = Uuid::now_v7();
    if claim(
        &mut tx,
        &session,
        form.idempotency_key,
        "addendum",
        addendum,
    )
    .await?
    .is_some()
    {
        return Ok(Redirect::to(&format!("/encounters/{id}")).into_response());
    }
    // Browsers send line ends as CR LF.
    let text = form.text.replace("\r\n", "\n");
    match visit
        .add_addendum(&mut tx, &key, session.user_id, addendum, &text)
        .await
    {
        Ok(()) => {
            tx.commit().await?;
            Ok(Redirect::to(&format!("/encounters/{id}")).into_response())
        }
        Err(Error::Invalid(fields)) => {
            drop(tx);
            let mut page = visit_page(&app, &session, id, "visit page").await?;
            page.errors = fields
                .into_iter()
                .map(|f| (f.field.into_owned(), f.message.into_owned()))
                .collect();
            page.addendum_text = text;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response())
        }
        Err(other) => Err(other),
    }
}

/// `GET /notes`.
pub(super) async fn notes(State(app): State<App>, session: Session) -> Result<Response> {
    allow(&app, &session, Permission::ViewNotes, None).await?;
    let mut tx = app.begin(&session).await?;
    let list = match session.practitioner_id {
        Some(practitioner) => store::unsigned(tx.conn(), practitioner, UNSIGNED).await?,
        None => Vec::new(),
    };
    tx.record(
        AuditEvent::new(Action::Read, "Encounter")
            .reason("notes to sign")
            .shown(list.iter().map(|n| n.patient.0)),
    )
    .await?;
    let shell = Shell::load(&app, &session, &mut tx, "Notes to sign", "notes").await?;
    tx.commit().await?;
    let rows = list
        .into_iter()
        .map(|n| UnsignedRow {
            href: format!("/encounters/{}", n.id),
            patient: n.patient_name,
            file_number: n.file_number,
            session: n.session_type,
            when: clock::stamp_text(n.booked_for),
            saved: n
                .saved_at
                .map_or_else(|| "Nothing typed yet".into(), clock::stamp_text),
        })
        .collect();
    html(
        &app,
        &NotesPage {
            shell,
            rows,
            treats: session.practitioner_id.is_some(),
        },
    )
}
