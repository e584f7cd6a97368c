//! The JSON API of visits.

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use time::{Date, Time};

use super::draft::{self, Running};
use super::note::NoteChange;
use super::pages::{DraftRequest, allow, draft_request, noted, save_note, sign_note};
use super::store;
use super::stream::{self, ApiDraft, wants_events};
use super::visit::{self, NoteView, Signature, Visit, Writer};
use crate::api::List;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Problems, Result};
use crate::ids::{AppointmentId, EncounterId, PatientId, PractitionerId, UserId};
use crate::web::{App, JsonBody, Permission, Query, Session};

/// Most visits of one page of the list.
const MOST: i64 = 100;

/// A visit.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiEncounter {
    /// Its id.
    id: EncounterId,
    /// The booking it came from.
    appointment_id: AppointmentId,
    /// Whose visit.
    patient_id: PatientId,
    /// Who treats, and writes the note.
    practitioner_id: PractitionerId,
    /// `in-progress`, or `finished` once the note is signed.
    status: String,
    /// Why the patient came.
    reason: String,
    /// When it was booked for.
    booked_for: String,
    /// When it was opened.
    started_at: String,
    /// When the note was signed.
    finished_at: Option<String>,
    /// The note's signature.
    signature: Option<ApiSignature>,
}

/// A signature.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiSignature {
    /// The version that was signed.
    version: i32,
    /// Who signed.
    signed_by: UserId,
    /// Their name.
    signed_by_name: String,
    /// When.
    signed_at: String,
    /// SHA-256 of the signed version as it is stored.
    body_sha256: String,
}

impl From<Signature> for ApiSignature {
    fn from(s: Signature) -> Self {
        Self {
            version: s.version,
            signed_by: s.by,
            signed_by_name: s.name,
            signed_at: clock::rfc3339(s.at),
            body_sha256: s.body_sha256,
        }
    }
}

impl From<Visit> for ApiEncounter {
    fn from(v: Visit) -> Self {
        Self {
            id: v.id,
            appointment_id: v.appointment,
            patient_id: v.patient,
            practitioner_id: v.practitioner,
            status: v.status,
            reason: v.reason,
            booked_for: clock::rfc3339(v.booked_for),
            started_at: clock::rfc3339(v.started_at),
            finished_at: v.finished_at.map(clock::rfc3339),
            signature: v.signature.map(ApiSignature::from),
        }
    }
}

/// Which visits to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only this patient's.
    patient_id: Option<PatientId>,
    /// Only this practitioner's.
    practitioner_id: Option<PractitionerId>,
    /// Only those of this booking.
    appointment_id: Option<AppointmentId>,
    /// `in-progress` or `finished`.
    status: Option<String>,
    /// Only those booked for this day, such as `2026-11-24`.
    date: Option<String>,
    /// Most entries, up to 100.
    limit: Option<i64>,
    /// `next` of the page before.
    cursor: Option<EncounterId>,
}

/// The visits of the practice, newest first.
#[utoipa::path(get, path = "/api/v1/encounters", tag = "encounters", params(ListQuery),
    responses((status = 200, body = List<ApiEncounter>), (status = 403, description = "The role may not read notes.")))]
pub(super) async fn list(
    State(app): State<App>,
    session: Session,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<List<ApiEncounter>>> {
    allow(&app, &session, Permission::ViewNotes, None).await?;
    let mut problems = Problems::new();
    let limit = query.limit.unwrap_or(50);
    if !(1..=MOST).contains(&limit) {
        problems.add("limit", format!("A page has 1 to {MOST} entries."));
    }
    if query
        .status
        .as_deref()
        .is_some_and(|s| !matches!(s, "in-progress" | "finished"))
    {
        problems.add("status", "A visit is in-progress or finished.");
    }
    let day = query.date.as_deref().and_then(|d| {
        problems.take(
            "date",
            clock::parse_day(d).ok_or("Give the day as a date, such as 2026-11-24."),
        )
    });
    problems.check()?;
    let filter = store::Filter {
        patient: query.patient_id,
        practitioner: query.practitioner_id,
        appointment: query.appointment_id,
        status: query.status,
        from: day.map(|d| clock::instant(d, Time::MIDNIGHT)),
        until: day
            .and_then(Date::next_day)
            .map(|d| clock::instant(d, Time::MIDNIGHT)),
        after: query.cursor,
    };
    let mut tx = app.begin(&session).await?;
    let ids = store::list(tx.conn(), &filter, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or_default();
    let mut items = Vec::new();
    for &id in ids.iter().take(most) {
        items.push(ApiEncounter::from(Visit::find(&mut tx, id).await?));
    }
    tx.record(
        AuditEvent::new(Action::Read, "Encounter")
            .reason("list")
            .shown(items.iter().map(|i| i.patient_id.0)),
    )
    .await?;
    tx.commit().await?;
    let next = (ids.len() > most)
        .then(|| items.last().map(|i| i.id.to_string()))
        .flatten();
    Ok(axum::Json(List { items, next }))
}

/// Which booking to open the visit of.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEncounter {
    /// The booking.
    appointment_id: AppointmentId,
    /// Whose visit; needed for a class.
    #[serde(default)]
    patient_id: Option<PatientId>,
}

/// Opens the visit of a booking, or gives the one there is. The booking becomes in-session.
#[utoipa::path(post, path = "/api/v1/encounters", tag = "encounters", request_body = NewEncounter,
    responses((status = 201, body = ApiEncounter, description = "Opened."), (status = 200, body = ApiEncounter, description = "It was open already."),
        (status = 404, description = "No such booking in this practice."), (status = 409, description = "The booking was cancelled or not kept.")))]
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    JsonBody(new): JsonBody<NewEncounter>,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, None).await?;
    let mut tx = app.begin(&session).await?;
    let (id, made) = visit::open(
        &mut tx,
        Writer::from(&session),
        new.appointment_id,
        new.patient_id,
    )
    .await?;
    let visit = Visit::find(&mut tx, id).await?;
    tx.commit().await?;
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(ApiEncounter::from(visit))).into_response())
}

/// One visit.
#[utoipa::path(get, path = "/api/v1/encounters/{id}", tag = "encounters", params(("id" = EncounterId, Path)),
    responses((status = 200, body = ApiEncounter), (status = 404, description = "No such visit in this practice.")))]
pub(super) async fn get(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
) -> Result<axum::Json<ApiEncounter>> {
    allow(&app, &session, Permission::ViewNotes, Some(id)).await?;
    let mut tx = app.begin(&session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    tx.record(visit.event(Action::Read, "Encounter", ""))
        .await?;
    tx.commit().await?;
    Ok(axum::Json(visit.into()))
}

/// The newest version of a visit's note.
#[utoipa::path(get, path = "/api/v1/encounters/{id}/note", tag = "encounters", params(("id" = EncounterId, Path)),
    responses((status = 200, body = NoteView), (status = 403, description = "The role may not read notes."), (status = 404, description = "No such visit in this practice.")))]
pub(super) async fn note(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
) -> Result<axum::Json<NoteView>> {
    allow(&app, &session, Permission::ViewNotes, Some(id)).await?;
    let mut tx = app.begin(&session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    tx.record(visit.event(Action::Read, "Note", "")).await?;
    let key = app.keys.patient(tx.practice(), visit.patient).await?;
    let version = visit.newest(&mut tx, &key).await?;
    tx.commit().await?;
    Ok(axum::Json(visit.view(&version, false)))
}

/// What a save answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Saved {
    /// The newest version now; unchanged words make no new one.
    version: i32,
    /// When it was saved.
    saved_at: String,
}

/// Saves the note as a new version. `version` is the one the change was made on.
#[utoipa::path(put, path = "/api/v1/encounters/{id}/note", tag = "encounters", params(("id" = EncounterId, Path)), request_body = NoteChange,
    responses((status = 200, body = Saved), (status = 403, description = "Only the visit's practitioner writes its note."),
        (status = 404, description = "No such visit in this practice."),
        (status = 409, description = "Saved or signed meanwhile; `theirs` has the other side."), (status = 422, description = "Words that can't be kept; each field is named.")))]
pub(super) async fn put_note(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
    JsonBody(change): JsonBody<NoteChange>,
) -> Result<axum::Json<Saved>> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    let saved = save_note(&app, &session, id, change, false).await?;
    Ok(axum::Json(Saved {
        version: saved.version,
        saved_at: clock::rfc3339(saved.saved_at.unwrap_or(app.clock.now())),
    }))
}

/// Which version to sign.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignRequest {
    /// The version the signer read; it must be the newest.
    version: i32,
}

/// Signs the note. It can't change afterwards; signing the same version again gives the same answer.
#[utoipa::path(post, path = "/api/v1/encounters/{id}/note/sign", tag = "encounters", params(("id" = EncounterId, Path)), request_body = SignRequest,
    responses((status = 200, body = ApiSignature), (status = 403, description = "Only the visit's practitioner signs its note."),
        (status = 404, description = "No such visit in this practice."),
        (status = 409, description = "Not the newest version, or signed already; `theirs` has the newest."), (status = 422, description = "The note is empty.")))]
pub(super) async fn sign(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
    JsonBody(request): JsonBody<SignRequest>,
) -> Result<axum::Json<ApiSignature>> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    Ok(axum::Json(
        sign_note(&app, &session, id, request.version, false)
            .await?
            .into(),
    ))
}

/// Drafts note sentences on this box, each with its sources. With `Accept: text/event-stream` they come one by one as events
/// `draft`, `statements`, `section`, `sentence`, `unused` and, last, one of `done`, `refused` and `error`.
#[utoipa::path(post, path = "/api/v1/encounters/{id}/draft", tag = "encounters", params(("id" = EncounterId, Path)), request_body = DraftRequest,
    responses((status = 200, body = ApiDraft), (status = 403, description = "Only the visit's practitioner drafts its note."),
        (status = 404, description = "No such visit in this practice."),
        (status = 409, description = "The note is signed, or a draft of it runs."), (status = 422, description = "Text that can't be read."),
        (status = 503, description = "The model is away.")))]
pub(super) async fn draft(
    State(app): State<App>,
    session: Session,
    Extension(running): Extension<Running>,
    Path(id): Path<EncounterId>,
    request: Request,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    let as_events = wants_events(request.headers());
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
    let (draft, heard) = noted(&app, &session, id, started).await?;
    if as_events {
        return Ok(stream::to_program(heard));
    }
    let whole: ApiDraft = stream::collect(draft, heard).await;
    Ok(axum::Json(whole).into_response())
}
