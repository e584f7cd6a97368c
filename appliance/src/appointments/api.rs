//! `/api/v1/appointments`.

use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode, header};
use time::format_description::well_known::Rfc3339;
use time::{Date, Duration, OffsetDateTime, Time};

use super::appointment::{Appointment, Kind};
use super::booking::{self, Wanted};
use super::rules::{self, Span};
use super::status::Status;
use super::store;
use crate::api::List;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::{AppointmentId, EncounterId, InvoiceId, PatientId, PractitionerId, RoomId};
use crate::web::{App, JsonBody, Permission, Query, Session, optional_text};

/// A booking.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct AppointmentBody {
    id: AppointmentId,
    kind: Kind,
    status: Status,
    /// RFC 3339 with the practice's offset.
    #[schema(format = "date-time", example = "2026-11-24T10:45:00+02:00")]
    start: String,
    /// The instant after the last.
    #[schema(format = "date-time")]
    end: String,
    duration_minutes: i64,
    /// The code of the kind of session; null for blocked time.
    session_type: Option<String>,
    practitioner_id: PractitionerId,
    room_id: Option<RoomId>,
    /// Whose visit it is; null for classes and blocked time.
    patient_id: Option<PatientId>,
    patients: Vec<ParticipantBody>,
    reason: String,
    payer_tag: String,
    #[schema(format = "date-time")]
    arrived_at: Option<String>,
    cancel_reason: String,
    /// Counts changes.
    version: i32,
}

/// A patient in a booking.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct ParticipantBody {
    patient_id: PatientId,
    family_name: String,
    given_name: String,
    /// In a class: whether they came; null until somebody says so.
    attended: Option<bool>,
    /// The visit, once it began.
    encounter_id: Option<EncounterId>,
    invoice_id: Option<InvoiceId>,
}

impl From<Appointment> for AppointmentBody {
    fn from(a: Appointment) -> Self {
        Self {
            id: a.id,
            kind: a.kind,
            status: a.status,
            start: clock::rfc3339(a.span.start),
            end: clock::rfc3339(a.span.end),
            duration_minutes: a.span.minutes(),
            patient_id: a.patient().map(|p| p.patient_id),
            session_type: a.session_type.map(|t| t.code),
            practitioner_id: a.practitioner_id,
            room_id: a.room_id,
            patients: a
                .patients
                .into_iter()
                .map(|p| ParticipantBody {
                    patient_id: p.patient_id,
                    family_name: p.family_name,
                    given_name: p.given_name,
                    attended: p.attended,
                    encounter_id: p.encounter_id,
                    invoice_id: p.invoice_id,
                })
                .collect(),
            reason: a.reason,
            payer_tag: a.payer_tag,
            arrived_at: a.arrived_at.map(clock::rfc3339),
            cancel_reason: a.cancel_reason,
            version: a.version,
        }
    }
}

/// What to book. Give a length or an end, or neither for the session's usual length.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAppointment {
    /// Whose visit. May be left out for a class.
    patient_id: Option<String>,
    /// With whom.
    practitioner_id: String,
    /// RFC 3339 with offset, in steps of 5 minutes.
    #[schema(format = "date-time", example = "2026-11-24T10:45:00+02:00")]
    start: String,
    /// RFC 3339 with offset.
    #[schema(format = "date-time")]
    end: Option<String>,
    /// 5 to 480, in steps of 5.
    #[schema(minimum = 5, maximum = 480, example = 45)]
    duration_minutes: Option<i64>,
    /// The code of a kind of session, from `/api/v1/practitioners`.
    #[schema(example = "physio-45")]
    session_type: String,
    /// At most 200 characters.
    #[serde(default)]
    reason: Option<String>,
    /// A UUID that stands for this request: sent twice, it books once.
    idempotency_key: Option<uuid::Uuid>,
}

fn id<T: std::str::FromStr>(problems: &mut Problems, field: &'static str, text: &str) -> Option<T> {
    problems.take(
        field,
        text.trim()
            .parse()
            .map_err(|_| "This is not an id. Ids are UUIDs."),
    )
}

fn instant(problems: &mut Problems, field: &'static str, text: &str) -> Option<OffsetDateTime> {
    let read = OffsetDateTime::parse(text.trim(), &Rfc3339)
        .ok()
        .and_then(|at| at.checked_to_offset(time::UtcOffset::UTC))
        .filter(|at| (1900..2200).contains(&at.year()));
    problems.take(
        field,
        read.ok_or(
            "This is not a date and time that exists. Write it as 2026-11-24T10:45:00+02:00.",
        ),
    )
}

/// Book a visit or a class. Times outside working hours are taken as meant; blocked and booked times are refused.
#[utoipa::path(
    post, path = "/api/v1/appointments", tag = "appointments", request_body = NewAppointment,
    responses(
        (status = 201, description = "Booked", body = AppointmentBody),
        (status = 409, description = "The practitioner, the room or the patient is taken; `detail` says by what", content_type = "application/problem+json"),
        (status = 422, description = "Fields break rules; `errors` names them", content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_appointment(
    State(app): State<App>,
    session: Session,
    headers: HeaderMap,
    JsonBody(body): JsonBody<NewAppointment>,
) -> Result<(
    StatusCode,
    [(header::HeaderName, String); 1],
    Json<AppointmentBody>,
)> {
    session.require(Permission::Book)?;
    let mut problems = Problems::new();
    let patient = body
        .patient_id
        .as_deref()
        .and_then(|text| id(&mut problems, "patient_id", text));
    let practitioner = id(&mut problems, "practitioner_id", &body.practitioner_id);
    let start = instant(&mut problems, "start", &body.start);
    let end = body
        .end
        .as_deref()
        .and_then(|text| instant(&mut problems, "end", text));
    let between = start
        .zip(end)
        .map(|(start, end)| (end - start).whole_minutes());
    if between.is_some_and(|minutes| minutes <= 0) {
        problems.add("end", "The end must come after the start.");
    } else if let (Some(between), Some(given)) = (between, body.duration_minutes)
        && between != given
    {
        problems.add(
            "end",
            "The end and duration_minutes do not agree. Give one of them.",
        );
    }
    let reason = optional_text(&mut problems, "reason", body.reason.as_deref(), 200);
    let session_type = optional_text(&mut problems, "session_type", Some(&body.session_type), 80);
    let (Some(practitioner), Some(start)) = (practitioner, start) else {
        problems.check()?;
        return Err(Error::internal(
            "a booking without a practitioner or a start had no problem",
        ));
    };
    problems.check()?;
    let wanted = Wanted {
        session_type: Some(session_type),
        patient,
        practitioner,
        start,
        minutes: body.duration_minutes.or(between),
        reason,
        payer_tag: String::new(),
        outside_hours: true,
        waiting: None,
    };
    let key = match headers
        .get("idempotency-key")
        .and_then(|v| v.to_str().ok())
        .map(str::parse)
    {
        Some(Ok(key)) => Some(key),
        Some(Err(_)) => return Err(Error::field("idempotency-key", "This is not a UUID.")),
        None => body.idempotency_key,
    };
    let made = booking::book(&app, &session, &wanted, key).await?;
    let location = [(
        header::LOCATION,
        format!("/api/v1/appointments/{}", made.id),
    )];
    Ok((StatusCode::CREATED, location, Json(made.into())))
}

/// Which bookings to list.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The day, as `2026-11-24`; today where left out.
    #[param(value_type = Option<String>, format = "date")]
    date: Option<String>,
    /// Only with this practitioner.
    #[param(value_type = Option<PractitionerId>)]
    practitioner_id: Option<String>,
    /// From `next` of the page before.
    cursor: Option<String>,
    /// Most entries, 1 to 500; 200 where left out.
    limit: Option<usize>,
}

/// The stretch of time that is a day on the practice's calendar.
pub(super) fn day(date: Date) -> Span {
    let start = clock::instant(date, Time::MIDNIGHT);
    let end = date.next_day().map_or(start + Duration::days(1), |next| {
        clock::instant(next, Time::MIDNIGHT)
    });
    Span { start, end }
}

/// A day's bookings in the order of their start, cancelled ones too.
#[utoipa::path(
    get, path = "/api/v1/appointments", tag = "appointments", params(ListQuery),
    responses((status = 200, description = "The bookings of the day", body = List<AppointmentBody>))
)]
pub(super) async fn list_appointments(
    State(app): State<App>,
    session: Session,
    Query(query): Query<ListQuery>,
) -> Result<Json<List<AppointmentBody>>> {
    session.require(Permission::ViewDiary)?;
    let mut problems = Problems::new();
    let date = match &query.date {
        Some(text) => problems.take("date", rules::parse_date(text)),
        None => Some(app.clock.today()),
    };
    let practitioner: Option<PractitionerId> = query
        .practitioner_id
        .as_deref()
        .and_then(|text| id(&mut problems, "practitioner_id", text));
    let after: Option<AppointmentId> = query
        .cursor
        .as_deref()
        .and_then(|text| id(&mut problems, "cursor", text));
    let limit = query.limit.unwrap_or(200);
    if !(1..=500).contains(&limit) {
        problems.add("limit", "Between 1 and 500.");
    }
    problems.check()?;
    let Some(date) = date else {
        return Err(Error::internal("no day and no problem"));
    };
    let mut tx = app.begin(&session).await?;
    let mut found = store::list(tx.conn(), day(date)).await?;
    found.retain(|a| practitioner.is_none_or(|p| p == a.practitioner_id));
    if let Some(after) = after {
        let place = found
            .iter()
            .position(|a| a.id == after)
            .ok_or_else(|| Error::field("cursor", "This is not a place in the list."))?;
        found.drain(..=place);
    }
    let next = (found.len() > limit)
        .then(|| found.get(limit - 1).map(|a| a.id.to_string()))
        .flatten();
    found.truncate(limit);
    let mut seen: Vec<_> = found
        .iter()
        .flat_map(|a| &a.patients)
        .map(|p| p.patient_id.0)
        .collect();
    seen.sort_unstable();
    seen.dedup();
    tx.record(
        AuditEvent::new(Action::Read, "Appointment")
            .reason("day list")
            .shown(seen),
    )
    .await?;
    tx.commit().await?;
    Ok(Json(List {
        items: found.into_iter().map(AppointmentBody::from).collect(),
        next,
    }))
}

/// One booking.
#[utoipa::path(
    get, path = "/api/v1/appointments/{id}", tag = "appointments", params(("id" = AppointmentId, Path, description = "The booking")),
    responses((status = 200, description = "The booking", body = AppointmentBody), (status = 404, description = "None in this practice"))
)]
pub(super) async fn get_appointment(
    State(app): State<App>,
    session: Session,
    Path(id): Path<AppointmentId>,
) -> Result<Json<AppointmentBody>> {
    session.require(Permission::ViewDiary)?;
    let mut tx = app.begin(&session).await?;
    let found = booking::get_audited(&mut tx, id, "").await?;
    tx.commit().await?;
    Ok(Json(found.into()))
}
