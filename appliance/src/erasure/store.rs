//! SQL of erasures.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::register::Entry;
use super::rules::Kept;
use crate::error::{Error, Result};
use crate::ids::PatientId;

/// Who is to be erased, and what decides about it.
pub(super) struct Candidate {
    pub family_name: String,
    pub given_name: String,
    pub preferred_name: String,
    pub file_number: String,
    pub kept: Kept,
}

pub(super) async fn candidate(
    conn: &mut PgConnection,
    id: PatientId,
    now: OffsetDateTime,
) -> Result<Option<Candidate>> {
    let row = sqlx::query!(
        r#"SELECT p.family_name, p.given_name, p.preferred_name, p.file_number, p.birth_date, p.erased_at,
                  greatest(
                      (SELECT max(greatest(e.started_at, e.finished_at)) FROM encounters e WHERE e.practice_id = p.practice_id AND e.patient_id = p.id),
                      (SELECT max(a.added_at) FROM note_addenda a JOIN encounters e ON e.practice_id = a.practice_id AND e.id = a.encounter_id
                       WHERE e.practice_id = p.practice_id AND e.patient_id = p.id),
                      (SELECT max(s.recorded_at) FROM outcome_scores s WHERE s.practice_id = p.practice_id AND s.patient_id = p.id),
                      (SELECT max(b.starts_at) FROM appointments b
                       JOIN appointment_participants x ON x.practice_id = b.practice_id AND x.appointment_id = b.id
                       WHERE x.practice_id = p.practice_id AND x.patient_id = p.id AND b.status IN ('arrived', 'in-session', 'completed'))
                  ) AS last_care,
                  greatest(
                      (SELECT max(i.issued_at) FROM invoices i WHERE i.practice_id = p.practice_id AND i.patient_id = p.id),
                      (SELECT max(y.received_at) FROM payments y JOIN invoices i ON i.practice_id = y.practice_id AND i.id = y.invoice_id
                       WHERE i.practice_id = p.practice_id AND i.patient_id = p.id)
                  ) AS last_money,
                  EXISTS (SELECT FROM appointments b
                          JOIN appointment_participants x ON x.practice_id = b.practice_id AND x.appointment_id = b.id
                          WHERE x.practice_id = p.practice_id AND x.patient_id = p.id AND b.ends_at > $2
                            AND b.status NOT IN ('cancelled', 'no-show', 'completed')) AS "booked!"
           FROM patients p WHERE p.id = $1"#,
        id.0,
        now
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.erased_at.is_some() {
        return Err(Error::Erased);
    }
    let day = |at: OffsetDateTime| crate::clock::local(at).0;
    Ok(Some(Candidate {
        family_name: row.family_name,
        given_name: row.given_name,
        preferred_name: row.preferred_name,
        file_number: row.file_number,
        kept: Kept {
            born: row.birth_date,
            last_care: row.last_care.map(day),
            last_money: row.last_money.map(day),
            booked: row.booked,
        },
    }))
}

/// Whether the record's side is done.
pub(super) async fn is_complete(conn: &mut PgConnection, id: PatientId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM erasures e JOIN patients p ON p.practice_id = e.practice_id AND p.id = e.patient_id
                          WHERE e.patient_id = $1 AND p.erased_at IS NOT NULL) AS "done!""#,
        id.0
    )
    .fetch_one(conn)
    .await?)
}

/// Takes away what can be read of the patient. False where there is no such patient.
pub(super) async fn erase(
    conn: &mut PgConnection,
    id: PatientId,
    now: OffsetDateTime,
) -> Result<bool> {
    Ok(
        sqlx::query_scalar!(r#"SELECT erase_patient($1, $2) AS "there!""#, id.0, now)
            .fetch_one(conn)
            .await?,
    )
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    entry: &Entry,
    now: OffsetDateTime,
) -> Result<()> {
    let hash = hex::decode(&entry.reason_hash).map_err(Error::internal)?;
    sqlx::query!(
        "INSERT INTO erasures (practice_id, patient_id, registered_at, registered_by, reason, reason_hash, completed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        entry.practice_id.0,
        entry.patient_id.0,
        entry.at,
        entry.by,
        entry.reason.text(),
        hash,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}
