//! The SQL of bookings. Practices are kept apart by row-level security; see `migrations/records/0004_appointments.sql`.

use sqlx::PgConnection;
use time::{OffsetDateTime, Time};

use super::appointment::{Appointment, BookedType, Kind, Participant};
use super::rules::Span;
use super::status::Status;
use crate::error::{Error, Result};
use crate::ids::{
    AppointmentId, EncounterId, InvoiceId, PatientId, PracticeId, PractitionerId, RoomId,
    SessionTypeId, UserId,
};
use crate::practices::WorkingHours;

struct Row {
    id: AppointmentId,
    kind: String,
    status: String,
    previous_status: Option<String>,
    status_at: Option<OffsetDateTime>,
    starts_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    reason: String,
    payer_tag: String,
    arrived_at: Option<OffsetDateTime>,
    cancel_reason: String,
    version: i32,
    session_type_id: Option<SessionTypeId>,
    session_code: Option<String>,
    session_name: Option<String>,
    capacity: Option<i32>,
    practitioner_id: PractitionerId,
    room_id: Option<RoomId>,
}

fn status(text: &str) -> Result<Status> {
    Status::from_text(text)
        .ok_or_else(|| Error::internal(format!("there is no booking state {text}")))
}

impl Row {
    fn into_appointment(self) -> Result<Appointment> {
        let before = match (&self.previous_status, self.status_at) {
            (Some(text), Some(at)) => Some((status(text)?, at)),
            _ => None,
        };
        let session_type = match (
            self.session_type_id,
            self.session_code,
            self.session_name,
            self.capacity,
        ) {
            (Some(id), Some(code), Some(name), Some(capacity)) => Some(BookedType {
                id,
                code,
                name,
                capacity,
            }),
            _ => None,
        };
        Ok(Appointment {
            id: self.id,
            kind: Kind::from_text(&self.kind).ok_or_else(|| {
                Error::internal(format!("there is no kind of booking {}", self.kind))
            })?,
            status: status(&self.status)?,
            before,
            span: Span {
                start: self.starts_at,
                end: self.ends_at,
            },
            session_type,
            practitioner_id: self.practitioner_id,
            room_id: self.room_id,
            reason: self.reason,
            payer_tag: self.payer_tag,
            arrived_at: self.arrived_at,
            cancel_reason: self.cancel_reason,
            version: self.version,
            patients: Vec::new(),
        })
    }
}

/// The bookings that start in a stretch of time, in order, with their patients.
pub(super) async fn list(conn: &mut PgConnection, between: Span) -> Result<Vec<Appointment>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT a.id AS "id: AppointmentId", a.kind, a.status, a.previous_status, a.status_at, a.starts_at, a.ends_at, a.reason,
                  a.payer_tag, a.arrived_at, a.cancel_reason, a.version, t.id AS "session_type_id?: SessionTypeId",
                  t.code AS "session_code?", t.name AS "session_name?", t.capacity AS "capacity?",
                  w.practitioner_id AS "practitioner_id!: PractitionerId", r.room_id AS "room_id?: RoomId"
           FROM appointments a
           JOIN appointment_participants w ON w.practice_id = a.practice_id AND w.appointment_id = a.id AND w.practitioner_id IS NOT NULL
           LEFT JOIN appointment_participants r ON r.practice_id = a.practice_id AND r.appointment_id = a.id AND r.room_id IS NOT NULL
           LEFT JOIN session_types t ON t.practice_id = a.practice_id AND t.id = a.session_type_id
           WHERE a.starts_at >= $1 AND a.starts_at < $2
           ORDER BY a.starts_at, a.id"#,
        between.start,
        between.end
    )
    .fetch_all(&mut *conn)
    .await?;
    with_patients(conn, rows).await
}

/// One booking with its patients.
pub(super) async fn get(conn: &mut PgConnection, id: AppointmentId) -> Result<Appointment> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT a.id AS "id: AppointmentId", a.kind, a.status, a.previous_status, a.status_at, a.starts_at, a.ends_at, a.reason,
                  a.payer_tag, a.arrived_at, a.cancel_reason, a.version, t.id AS "session_type_id?: SessionTypeId",
                  t.code AS "session_code?", t.name AS "session_name?", t.capacity AS "capacity?",
                  w.practitioner_id AS "practitioner_id!: PractitionerId", r.room_id AS "room_id?: RoomId"
           FROM appointments a
           JOIN appointment_participants w ON w.practice_id = a.practice_id AND w.appointment_id = a.id AND w.practitioner_id IS NOT NULL
           LEFT JOIN appointment_participants r ON r.practice_id = a.practice_id AND r.appointment_id = a.id AND r.room_id IS NOT NULL
           LEFT JOIN session_types t ON t.practice_id = a.practice_id AND t.id = a.session_type_id
           WHERE a.id = $1"#,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::NotFound)?;
    with_patients(conn, vec![row])
        .await?
        .pop()
        .ok_or(Error::NotFound)
}

async fn with_patients(conn: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Appointment>> {
    let ids: Vec<_> = rows.iter().map(|r| r.id.0).collect();
    let people = sqlx::query!(
        r#"SELECT x.appointment_id AS "appointment_id: AppointmentId", p.id AS "patient_id: PatientId", p.family_name, p.given_name, x.attended,
                  e.id AS "encounter_id?: EncounterId", s.encounter_id IS NOT NULL AS "is_signed!", i.id AS "invoice_id?: InvoiceId"
           FROM appointment_participants x
           JOIN patients p ON p.practice_id = x.practice_id AND p.id = x.patient_id
           LEFT JOIN encounters e ON e.practice_id = x.practice_id AND e.appointment_id = x.appointment_id AND e.patient_id = x.patient_id
           LEFT JOIN note_signatures s ON s.practice_id = e.practice_id AND s.encounter_id = e.id
           LEFT JOIN invoices i ON i.practice_id = e.practice_id AND i.encounter_id = e.id
           WHERE x.appointment_id = ANY ($1) AND x.patient_id IS NOT NULL
           ORDER BY p.family_name, p.given_name, p.id"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    let mut appointments = rows
        .into_iter()
        .map(Row::into_appointment)
        .collect::<Result<Vec<_>>>()?;
    let places: std::collections::HashMap<_, _> = appointments
        .iter()
        .enumerate()
        .map(|(i, a)| (a.id, i))
        .collect();
    for row in people {
        if let Some(appointment) = places
            .get(&row.appointment_id)
            .and_then(|&i| appointments.get_mut(i))
        {
            appointment.patients.push(Participant {
                patient_id: row.patient_id,
                family_name: row.family_name,
                given_name: row.given_name,
                attended: row.attended,
                encounter_id: row.encounter_id,
                is_signed: row.is_signed,
                invoice_id: row.invoice_id,
            });
        }
    }
    Ok(appointments)
}

/// What a decision about a booking needs to know; what was not found, or is another practice's, is none.
pub(super) struct Context {
    pub practitioner: Option<(PractitionerId, String)>,
    pub room_id: Option<RoomId>,
    pub hours: Vec<WorkingHours>,
    pub session_type: Option<BookedType>,
    pub usual_minutes: i32,
    pub patient: Option<Participant>,
}

/// Looks up all of it in one round trip.
pub(super) async fn context(
    conn: &mut PgConnection,
    practitioner: PractitionerId,
    session_code: Option<&str>,
    patient: Option<PatientId>,
    weekday: time::Weekday,
) -> Result<Context> {
    let row = sqlx::query!(
        r#"SELECT pr.id AS "practitioner_id?: PractitionerId", pr.given_name || ' ' || pr.family_name AS practitioner_name,
                  pr.room_id AS "room_id?: RoomId",
                  ARRAY(SELECT w.starts FROM working_hours w WHERE w.practitioner_id = $1 AND w.weekday = $4 ORDER BY w.starts) AS "starts!: Vec<Time>",
                  ARRAY(SELECT w.ends FROM working_hours w WHERE w.practitioner_id = $1 AND w.weekday = $4 ORDER BY w.starts) AS "ends!: Vec<Time>",
                  t.id AS "type_id?: SessionTypeId", t.code AS "code?", t.name AS "type_name?", t.capacity AS "capacity?",
                  t.duration_minutes AS "duration_minutes?",
                  p.id AS "patient_id?: PatientId", p.family_name AS "family_name?", p.given_name AS "given_name?"
           FROM (SELECT current_practice() AS practice_id) one
           LEFT JOIN practitioners pr ON pr.practice_id = one.practice_id AND pr.id = $1 AND pr.active
           LEFT JOIN session_types t ON t.practice_id = one.practice_id AND t.code = $2 AND t.active
           LEFT JOIN patients p ON p.practice_id = one.practice_id AND p.id = $3"#,
        practitioner.0,
        session_code,
        patient.map(|p| p.0),
        i16::from(weekday.number_from_monday())
    )
    .fetch_one(conn)
    .await?;
    let session_type = match (row.type_id, row.code, row.type_name, row.capacity) {
        (Some(id), Some(code), Some(name), Some(capacity)) => Some(BookedType {
            id,
            code,
            name,
            capacity,
        }),
        _ => None,
    };
    let patient = match (row.patient_id, row.family_name, row.given_name) {
        (Some(patient_id), Some(family_name), Some(given_name)) => Some(Participant {
            patient_id,
            family_name,
            given_name,
            attended: None,
            encounter_id: None,
            is_signed: false,
            invoice_id: None,
        }),
        _ => None,
    };
    Ok(Context {
        practitioner: row.practitioner_id.zip(row.practitioner_name),
        room_id: row.room_id,
        hours: row
            .starts
            .into_iter()
            .zip(row.ends)
            .map(|(starts, ends)| WorkingHours {
                practitioner,
                starts,
                ends,
            })
            .collect(),
        session_type,
        usual_minutes: row.duration_minutes.unwrap_or_default(),
        patient,
    })
}

/// Makes everyone who books these people, rooms or bookings wait for each other, so that the constraints meet one booking
/// at a time. Without it, two at once each wait for the other's row and Postgres ends one after a second as a deadlock.
pub(super) async fn wait_turn(conn: &mut PgConnection, ids: &[uuid::Uuid]) -> sqlx::Result<()> {
    let mut keys: Vec<i64> = ids
        .iter()
        .map(|id| id.as_u64_pair().0.cast_signed() ^ id.as_u64_pair().1.cast_signed())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key",
        &keys
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Writes a new booking and those who take part.
pub(super) async fn insert(
    conn: &mut PgConnection,
    practice: PracticeId,
    user: UserId,
    now: OffsetDateTime,
    a: &Appointment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, reason, payer_tag, arrived_at,
                                   status_at, created_by, created_at, updated_by, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, $11, $12, $11, $12)",
        practice.0,
        a.id.0,
        a.kind.text(),
        a.session_type.as_ref().map(|t| t.id.0),
        a.span.start,
        a.span.end,
        a.status.text(),
        a.reason,
        a.payer_tag,
        a.arrived_at,
        user.0,
        now
    )
    .execute(&mut *conn)
    .await?;
    insert_places(conn, practice, a.id, a.practitioner_id, a.room_id).await?;
    for patient in &a.patients {
        insert_patient(conn, practice, a.id, patient.patient_id).await?;
    }
    Ok(())
}

/// Adds the practitioner and the room to a booking.
async fn insert_places(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: AppointmentId,
    practitioner: PractitionerId,
    room: Option<RoomId>,
) -> sqlx::Result<()> {
    // The trigger fills in the time from the booking.
    sqlx::query!(
        "INSERT INTO appointment_participants (practice_id, id, appointment_id, practitioner_id, room_id, during)
         SELECT $1, x.id, $2, x.practitioner_id, x.room_id, 'empty'::tstzrange
         FROM (VALUES ($3::uuid, $4::uuid, NULL::uuid), ($5, NULL, $6)) AS x (id, practitioner_id, room_id)
         WHERE x.practitioner_id IS NOT NULL OR x.room_id IS NOT NULL",
        practice.0,
        id.0,
        uuid::Uuid::now_v7(),
        practitioner.0,
        uuid::Uuid::now_v7(),
        room.map(|r| r.0)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds a patient to a booking.
pub(super) async fn insert_patient(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: AppointmentId,
    patient: PatientId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO appointment_participants (practice_id, id, appointment_id, patient_id, during) VALUES ($1, $2, $3, $4, 'empty'::tstzrange)",
        practice.0,
        uuid::Uuid::now_v7(),
        id.0,
        patient.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a patient out of a class; false when they are not in it.
pub(super) async fn delete_patient(
    conn: &mut PgConnection,
    id: AppointmentId,
    patient: PatientId,
) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM appointment_participants WHERE appointment_id = $1 AND patient_id = $2",
        id.0,
        patient.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes whether a patient came to a class; false when they are not in it.
pub(super) async fn set_attended(
    conn: &mut PgConnection,
    id: AppointmentId,
    patient: PatientId,
    attended: Option<bool>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE appointment_participants SET attended = $3 WHERE appointment_id = $1 AND patient_id = $2",
        id.0,
        patient.0,
        attended
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the practitioner and the room out, so that a booking can go to others without clashing half-way.
pub(super) async fn delete_places(conn: &mut PgConnection, id: AppointmentId) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM appointment_participants WHERE appointment_id = $1 AND patient_id IS NULL",
        id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts a practitioner and a room in again.
pub(super) async fn replace_places(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: AppointmentId,
    practitioner: PractitionerId,
    room: Option<RoomId>,
) -> sqlx::Result<()> {
    insert_places(conn, practice, id, practitioner, room).await
}

/// Gives a booking another time. False when somebody changed it since `version`.
pub(super) async fn set_time(
    conn: &mut PgConnection,
    id: AppointmentId,
    version: i32,
    span: Span,
    user: UserId,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE appointments SET starts_at = $3, ends_at = $4, version = version + 1, updated_by = $5, updated_at = $6
         WHERE id = $1 AND version = $2",
        id.0,
        version,
        span.start,
        span.end,
        user.0,
        now
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a booking another state. False when somebody changed it since `version`.
pub(super) async fn set_status(
    conn: &mut PgConnection,
    a: &Appointment,
    to: Status,
    cancel_reason: &str,
    user: Option<UserId>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let arrived_at = match to {
        Status::Booked | Status::Confirmed => None,
        Status::Arrived => a.arrived_at.or(Some(now)),
        _ => a.arrived_at,
    };
    let done = sqlx::query!(
        "UPDATE appointments SET status = $3, previous_status = $4, status_at = $5, arrived_at = $6, cancel_reason = $7,
                version = version + 1, updated_by = coalesce($8, updated_by), updated_at = $5
         WHERE id = $1 AND version = $2",
        a.id.0,
        a.version,
        to.text(),
        a.status.text(),
        now,
        arrived_at,
        if to == Status::Cancelled { cancel_reason } else { "" },
        user.map(|u| u.0)
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Counts a change of who takes part.
pub(super) async fn touch(
    conn: &mut PgConnection,
    id: AppointmentId,
    user: UserId,
    now: OffsetDateTime,
) -> Result<()> {
    sqlx::query!("UPDATE appointments SET version = version + 1, updated_by = $2, updated_at = $3 WHERE id = $1", id.0, user.0, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Who changed a booking last, and when.
pub(super) async fn last_change(
    conn: &mut PgConnection,
    id: AppointmentId,
) -> Result<(String, OffsetDateTime)> {
    let row = sqlx::query!(
        "SELECT u.display_name, a.updated_at FROM appointments a JOIN users u ON u.practice_id = a.practice_id AND u.id = a.updated_by WHERE a.id = $1",
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NotFound)?;
    Ok((row.display_name, row.updated_at))
}

/// The first booking that takes time of a practitioner, a room or one of the patients, other than `except`.
pub(super) async fn taken_by(
    conn: &mut PgConnection,
    span: Span,
    practitioner: Option<PractitionerId>,
    room: Option<RoomId>,
    patients: &[PatientId],
    except: Option<AppointmentId>,
) -> Result<Option<AppointmentId>> {
    let patients: Vec<_> = patients.iter().map(|p| p.0).collect();
    let id = sqlx::query_scalar!(
        r#"SELECT x.appointment_id AS "id: AppointmentId" FROM appointment_participants x
           WHERE x.busy AND x.during && tstzrange($1, $2)
             AND (x.practitioner_id = $3 OR x.room_id = $4 OR x.patient_id = ANY ($5))
             AND x.appointment_id IS DISTINCT FROM $6
           ORDER BY lower(x.during) LIMIT 1"#,
        span.start,
        span.end,
        practitioner.map(|p| p.0),
        room.map(|r| r.0),
        &patients,
        except.map(|a| a.0)
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// A practitioner's and a room's name, for sentences.
pub(super) async fn place_names(
    conn: &mut PgConnection,
    practitioner: PractitionerId,
    room: Option<RoomId>,
) -> Result<(String, String)> {
    let row = sqlx::query!(
        r#"SELECT (SELECT given_name || ' ' || family_name FROM practitioners WHERE id = $1) AS practitioner,
                  (SELECT name FROM rooms WHERE id = $2) AS room"#,
        practitioner.0,
        room.map(|r| r.0)
    )
    .fetch_one(conn)
    .await?;
    Ok((
        row.practitioner.unwrap_or_default(),
        row.room.unwrap_or_default(),
    ))
}

/// A patient's name, for a picker that was filled before; none when there is no such patient here.
pub(super) async fn patient_name(
    conn: &mut PgConnection,
    patient: PatientId,
) -> Result<Option<String>> {
    let name = sqlx::query_scalar!(
        r#"SELECT family_name || ', ' || given_name AS "name!" FROM patients WHERE id = $1"#,
        patient.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(name)
}
