//! The SQL of the waiting list.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::waiting::Waiting;
use crate::error::{Error, Result};
use crate::ids::{
    AppointmentId, PatientId, PracticeId, PractitionerId, SessionTypeId, UserId, WaitingId,
};
use crate::practices::Discipline;

/// Most entries that are shown beside the diary.
const MOST: i64 = 100;

struct Row {
    id: WaitingId,
    patient_id: PatientId,
    family_name: String,
    given_name: String,
    reason: String,
    duration_minutes: i32,
    practitioner_id: Option<PractitionerId>,
    session_type_id: Option<SessionTypeId>,
    discipline: String,
    not_before: Option<time::Time>,
    not_after: Option<time::Time>,
    weekdays: Vec<i16>,
    created_at: OffsetDateTime,
}

impl From<Row> for Waiting {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            patient_id: row.patient_id,
            family_name: row.family_name,
            given_name: row.given_name,
            reason: row.reason,
            minutes: u16::try_from(row.duration_minutes).unwrap_or(u16::MAX),
            practitioner_id: row.practitioner_id,
            session_type_id: row.session_type_id,
            discipline: Discipline::from_text(&row.discipline),
            not_before: row.not_before,
            not_after: row.not_after,
            weekdays: row.weekdays,
            created_at: row.created_at,
        }
    }
}

/// Everybody who waits, the most urgent and then the longest waiting first.
pub(super) async fn list(conn: &mut PgConnection) -> Result<Vec<Waiting>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT w.id AS "id: WaitingId", w.patient_id AS "patient_id: PatientId", p.family_name, p.given_name, w.reason, w.duration_minutes,
                  w.practitioner_id AS "practitioner_id: PractitionerId", w.session_type_id AS "session_type_id: SessionTypeId",
                  w.discipline, w.not_before, w.not_after, w.weekdays, w.created_at
           FROM waiting_list w JOIN patients p ON p.practice_id = w.practice_id AND p.id = w.patient_id
           WHERE w.status = 'waiting' ORDER BY w.priority, w.created_at, w.id LIMIT $1"#,
        MOST
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

/// One entry that still waits.
pub(super) async fn get(conn: &mut PgConnection, id: WaitingId) -> Result<Waiting> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT w.id AS "id: WaitingId", w.patient_id AS "patient_id: PatientId", p.family_name, p.given_name, w.reason, w.duration_minutes,
                  w.practitioner_id AS "practitioner_id: PractitionerId", w.session_type_id AS "session_type_id: SessionTypeId",
                  w.discipline, w.not_before, w.not_after, w.weekdays, w.created_at
           FROM waiting_list w JOIN patients p ON p.practice_id = w.practice_id AND p.id = w.patient_id
           WHERE w.id = $1 AND w.status = 'waiting' FOR UPDATE OF w"#,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NotFound)?;
    Ok(row.into())
}

/// Adds an entry.
pub(super) async fn insert(
    conn: &mut PgConnection,
    practice: PracticeId,
    user: UserId,
    w: &Waiting,
    priority: i16,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO waiting_list (practice_id, id, patient_id, reason, duration_minutes, practitioner_id, session_type_id, discipline,
                                   not_before, not_after, weekdays, priority, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        practice.0,
        w.id.0,
        w.patient_id.0,
        w.reason,
        i32::from(w.minutes),
        w.practitioner_id.map(|p| p.0),
        w.session_type_id.map(|t| t.0),
        w.discipline.map_or("", Discipline::text),
        w.not_before,
        w.not_after,
        &w.weekdays,
        priority,
        user.0,
        w.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends an entry: booked with this booking, or taken off the list. False when it no longer waits.
pub(super) async fn end(
    conn: &mut PgConnection,
    id: WaitingId,
    appointment: Option<AppointmentId>,
) -> Result<bool> {
    let status = if appointment.is_some() {
        "booked"
    } else {
        "removed"
    };
    let done = sqlx::query!(
        "UPDATE waiting_list SET status = $2, appointment_id = $3, version = version + 1 WHERE id = $1 AND status = 'waiting'",
        id.0,
        status,
        appointment.map(|a| a.0)
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Puts back who was booked from the list a moment ago, when that booking is undone.
pub(super) async fn put_back(
    conn: &mut PgConnection,
    appointment: AppointmentId,
    booked_since: OffsetDateTime,
) -> Result<Option<WaitingId>> {
    let id = sqlx::query_scalar!(
        r#"UPDATE waiting_list w SET status = 'waiting', appointment_id = NULL, version = w.version + 1
           FROM appointments a
           WHERE w.appointment_id = $1 AND w.status = 'booked' AND a.practice_id = w.practice_id AND a.id = w.appointment_id AND a.created_at >= $2
           RETURNING w.id AS "id: WaitingId""#,
        appointment.0,
        booked_since
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}
