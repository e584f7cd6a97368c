//! SQL of visits, notes, signatures, addenda and outcome scores.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::trend::Score;
use super::visit::{Signature, Visit};
use crate::db::constraint_is;
use crate::error::{Error, Result};
use crate::ids::{AppointmentId, EncounterId, PatientId, PracticeId, PractitionerId, UserId};

/// Makes the visit, or gives the one that is there. True when it is new.
pub(super) async fn open(
    conn: &mut PgConnection,
    practice: PracticeId,
    appointment: AppointmentId,
    patient: PatientId,
    practitioner: PractitionerId,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(EncounterId, bool)> {
    let made = sqlx::query_scalar!(
        r#"INSERT INTO encounters (practice_id, id, appointment_id, patient_id, practitioner_id, status, reason, started_at)
           VALUES ($1, $2, $3, $4, $5, 'in-progress', $6, $7)
           ON CONFLICT (practice_id, appointment_id, patient_id) DO NOTHING RETURNING id AS "id: EncounterId""#,
        practice.0, EncounterId::random().0, appointment.0, patient.0, practitioner.0, reason, now
    )
    .fetch_optional(&mut *conn)
    .await?;
    match made {
        Some(id) => Ok((id, true)),
        None => Ok((
            opened(conn, appointment, patient)
                .await?
                .ok_or(Error::NotFound)?,
            false,
        )),
    }
}

/// The visit that was opened from a booking, if one was.
pub(super) async fn opened(
    conn: &mut PgConnection,
    appointment: AppointmentId,
    patient: PatientId,
) -> Result<Option<EncounterId>> {
    Ok(sqlx::query_scalar!(
        r#"SELECT id AS "id: EncounterId" FROM encounters WHERE appointment_id = $1 AND patient_id = $2"#,
        appointment.0,
        patient.0
    )
    .fetch_optional(conn)
    .await?)
}

pub(super) async fn visit(conn: &mut PgConnection, id: EncounterId) -> Result<Option<Visit>> {
    let row = sqlx::query!(
        r#"SELECT e.id AS "id: EncounterId", e.appointment_id AS "appointment: AppointmentId", e.patient_id AS "patient: PatientId",
                  e.practitioner_id AS "practitioner: PractitionerId", e.status, e.reason, e.started_at, e.finished_at,
                  a.starts_at, coalesce(t.name, '') AS "session_type!", p.discipline,
                  btrim(p.title || ' ' || p.given_name || ' ' || p.family_name) AS "practitioner_name!",
                  (SELECT count(*) FROM encounters o WHERE o.patient_id = e.patient_id AND (o.started_at, o.id) <= (e.started_at, e.id)) AS "number!",
                  s.version AS "signed_version?", s.signed_at AS "signed_at?", s.signed_by AS "signed_by?: UserId", s.body_sha256 AS "body_sha256?",
                  u.display_name AS "signer?"
           FROM encounters e
           JOIN appointments a ON a.practice_id = e.practice_id AND a.id = e.appointment_id
           JOIN practitioners p ON p.practice_id = e.practice_id AND p.id = e.practitioner_id
           LEFT JOIN session_types t ON t.practice_id = a.practice_id AND t.id = a.session_type_id
           LEFT JOIN note_signatures s ON s.practice_id = e.practice_id AND s.encounter_id = e.id
           LEFT JOIN users u ON u.practice_id = s.practice_id AND u.id = s.signed_by
           WHERE e.id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| Visit {
        id: r.id,
        appointment: r.appointment,
        patient: r.patient,
        practitioner: r.practitioner,
        practitioner_name: r.practitioner_name,
        discipline: r.discipline,
        status: r.status,
        reason: r.reason,
        session_type: r.session_type,
        number: r.number,
        booked_for: r.starts_at,
        started_at: r.started_at,
        finished_at: r.finished_at,
        signature: match (
            r.signed_version,
            r.signed_at,
            r.signed_by,
            r.signer,
            r.body_sha256,
        ) {
            (Some(version), Some(at), Some(by), Some(name), Some(hash)) => Some(Signature {
                version,
                at,
                by,
                name,
                body_sha256: hex::encode(hash),
            }),
            _ => None,
        },
    }))
}

/// Keeps others from saving or signing this visit's note until the transaction ends.
pub(super) async fn lock(conn: &mut PgConnection, id: EncounterId) -> Result<()> {
    sqlx::query!("SELECT id FROM encounters WHERE id = $1 FOR UPDATE", id.0)
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// A stored version of a note, still sealed.
pub(super) struct Sealed {
    pub(super) version: i32,
    pub(super) author_name: String,
    pub(super) saved_at: OffsetDateTime,
    pub(super) body: Vec<u8>,
}

pub(super) async fn newest(conn: &mut PgConnection, id: EncounterId) -> Result<Option<Sealed>> {
    let row = sqlx::query!(
        r#"SELECT n.version, u.display_name, n.saved_at, n.body
           FROM note_versions n JOIN users u ON u.practice_id = n.practice_id AND u.id = n.author_id
           WHERE n.encounter_id = $1 ORDER BY n.version DESC LIMIT 1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| Sealed {
        version: r.version,
        author_name: r.display_name,
        saved_at: r.saved_at,
        body: r.body,
    }))
}

/// What became of a new version.
pub(super) enum Inserted {
    Done,
    /// Somebody wrote the same version first.
    Taken,
    /// The note was signed first.
    Signed,
}

pub(super) async fn insert_version(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: EncounterId,
    version: i32,
    author: UserId,
    now: OffsetDateTime,
    body: &[u8],
) -> Result<Inserted> {
    let done = sqlx::query!(
        "INSERT INTO note_versions (practice_id, encounter_id, version, author_id, saved_at, body) VALUES ($1, $2, $3, $4, $5, $6)",
        practice.0, id.0, version, author.0, now, body
    )
    .execute(conn)
    .await;
    match done {
        Ok(_) => Ok(Inserted::Done),
        Err(e) if constraint_is(&e, "note_versions_pkey") => Ok(Inserted::Taken),
        Err(e) if constraint_is(&e, "note_signed") => Ok(Inserted::Signed),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn insert_signature(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: EncounterId,
    version: i32,
    by: UserId,
    now: OffsetDateTime,
    hash: &[u8],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO note_signatures (practice_id, encounter_id, version, signed_by, signed_at, body_sha256) VALUES ($1, $2, $3, $4, $5, $6)",
        practice.0, id.0, version, by.0, now, hash
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn finish(
    conn: &mut PgConnection,
    id: EncounterId,
    now: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "UPDATE encounters SET status = 'finished', finished_at = $2 WHERE id = $1",
        id.0,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether another patient's visit of the same booking is still open.
pub(super) async fn others_open(
    conn: &mut PgConnection,
    appointment: AppointmentId,
    but: EncounterId,
) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM encounters WHERE appointment_id = $1 AND id <> $2 AND status = 'in-progress') AS "open!""#,
        appointment.0,
        but.0
    )
    .fetch_one(conn)
    .await?)
}

/// An addendum, still sealed.
pub(super) struct SealedAddendum {
    pub(super) id: Uuid,
    pub(super) author_name: String,
    pub(super) added_at: OffsetDateTime,
    pub(super) body: Vec<u8>,
}

pub(super) async fn addenda(
    conn: &mut PgConnection,
    id: EncounterId,
) -> Result<Vec<SealedAddendum>> {
    let rows = sqlx::query!(
        r#"SELECT d.id, u.display_name, d.added_at, d.body
           FROM note_addenda d JOIN users u ON u.practice_id = d.practice_id AND u.id = d.author_id
           WHERE d.encounter_id = $1 ORDER BY d.added_at, d.id"#,
        id.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| SealedAddendum {
            id: r.id,
            author_name: r.display_name,
            added_at: r.added_at,
            body: r.body,
        })
        .collect())
}

pub(super) async fn insert_addendum(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: Uuid,
    encounter: EncounterId,
    author: UserId,
    now: OffsetDateTime,
    body: &[u8],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO note_addenda (practice_id, id, encounter_id, author_id, added_at, body) VALUES ($1, $2, $3, $4, $5, $6)",
        practice.0, id, encounter.0, author.0, now, body
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An earlier or later visit of the same patient, with its newest note still sealed.
pub(super) struct Past {
    pub(super) id: EncounterId,
    pub(super) booked_for: OffsetDateTime,
    pub(super) session_type: String,
    pub(super) practitioner_name: String,
    pub(super) signed: bool,
    pub(super) number: i64,
    pub(super) version: Option<i32>,
    pub(super) body: Option<Vec<u8>>,
}

/// The patient's newest visits, newest first.
pub(super) async fn history(
    conn: &mut PgConnection,
    patient: PatientId,
    most: i64,
) -> Result<Vec<Past>> {
    let rows = sqlx::query!(
        r#"SELECT e.id AS "id!: EncounterId", a.starts_at, coalesce(t.name, '') AS "session_type!",
                  btrim(p.title || ' ' || p.given_name || ' ' || p.family_name) AS "practitioner_name!",
                  e.status = 'finished' AS "signed!",
                  count(*) OVER (ORDER BY e.started_at, e.id) AS "number!",
                  n.version AS "version?", n.body AS "body?"
           FROM encounters e
           JOIN appointments a ON a.practice_id = e.practice_id AND a.id = e.appointment_id
           JOIN practitioners p ON p.practice_id = e.practice_id AND p.id = e.practitioner_id
           LEFT JOIN session_types t ON t.practice_id = a.practice_id AND t.id = a.session_type_id
           LEFT JOIN LATERAL (SELECT v.version, v.body FROM note_versions v
                              WHERE v.practice_id = e.practice_id AND v.encounter_id = e.id ORDER BY v.version DESC LIMIT 1) n ON true
           WHERE e.patient_id = $1 ORDER BY e.started_at DESC, e.id DESC LIMIT $2"#,
        patient.0,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Past {
            id: r.id,
            booked_for: r.starts_at,
            session_type: r.session_type,
            practitioner_name: r.practitioner_name,
            signed: r.signed,
            number: r.number,
            version: r.version,
            body: r.body,
        })
        .collect())
}

pub(super) async fn scores(conn: &mut PgConnection, patient: PatientId) -> Result<Vec<Score>> {
    Ok(sqlx::query_as!(
        Score,
        "SELECT measure, score, taken_on FROM outcome_scores WHERE patient_id = $1 ORDER BY taken_on, recorded_at, id",
        patient.0
    )
    .fetch_all(conn)
    .await?)
}

#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
pub(super) async fn insert_score(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: Uuid,
    patient: PatientId,
    encounter: Option<EncounterId>,
    score: &Score,
    by: UserId,
    now: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO outcome_scores (practice_id, id, patient_id, encounter_id, measure, score, taken_on, recorded_by, recorded_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        practice.0, id, patient.0, encounter.map(|e| e.0), score.measure, score.score, score.taken_on, by.0, now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A visit whose note waits for its signature.
pub(super) struct Unsigned {
    pub(super) id: EncounterId,
    pub(super) patient: PatientId,
    pub(super) patient_name: String,
    pub(super) file_number: String,
    pub(super) booked_for: OffsetDateTime,
    pub(super) session_type: String,
    pub(super) saved_at: Option<OffsetDateTime>,
}

pub(super) async fn unsigned(
    conn: &mut PgConnection,
    practitioner: PractitionerId,
    most: i64,
) -> Result<Vec<Unsigned>> {
    Ok(sqlx::query_as!(
        Unsigned,
        r#"SELECT e.id AS "id!: EncounterId", e.patient_id AS "patient!: PatientId",
                  p.family_name || ', ' || p.given_name AS "patient_name!", p.file_number AS "file_number!",
                  a.starts_at AS "booked_for!", coalesce(t.name, '') AS "session_type!",
                  (SELECT max(v.saved_at) FROM note_versions v WHERE v.practice_id = e.practice_id AND v.encounter_id = e.id) AS saved_at
           FROM encounters e
           JOIN patients p ON p.practice_id = e.practice_id AND p.id = e.patient_id
           JOIN appointments a ON a.practice_id = e.practice_id AND a.id = e.appointment_id
           LEFT JOIN session_types t ON t.practice_id = a.practice_id AND t.id = a.session_type_id
           WHERE e.practitioner_id = $1 AND e.status = 'in-progress' ORDER BY e.started_at, e.id LIMIT $2"#,
        practitioner.0,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// What the API's list of visits is narrowed by.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) patient: Option<PatientId>,
    pub(super) practitioner: Option<PractitionerId>,
    pub(super) appointment: Option<AppointmentId>,
    pub(super) status: Option<String>,
    /// The local day the booking is on.
    pub(super) from: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
    /// Only visits older than this one.
    pub(super) after: Option<EncounterId>,
}

/// Ids are time-ordered (UUID version 7), so the newest come first by id.
pub(super) async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    most: i64,
) -> Result<Vec<EncounterId>> {
    Ok(sqlx::query_scalar!(
        r#"SELECT e.id AS "id!: EncounterId" FROM encounters e
           JOIN appointments a ON a.practice_id = e.practice_id AND a.id = e.appointment_id
           WHERE ($1::uuid IS NULL OR e.patient_id = $1) AND ($2::uuid IS NULL OR e.practitioner_id = $2)
             AND ($3::uuid IS NULL OR e.appointment_id = $3) AND ($4::text IS NULL OR e.status = $4)
             AND ($5::timestamptz IS NULL OR a.starts_at >= $5) AND ($6::timestamptz IS NULL OR a.starts_at < $6)
             AND ($7::uuid IS NULL OR e.id < $7)
           ORDER BY e.id DESC LIMIT $8"#,
        filter.patient.map(|i| i.0),
        filter.practitioner.map(|i| i.0),
        filter.appointment.map(|i| i.0),
        filter.status,
        filter.from,
        filter.until,
        filter.after.map(|i| i.0),
        most
    )
    .fetch_all(conn)
    .await?)
}

/// The patient of a visit, to say in the audit log whose note was refused.
pub(super) async fn patient_of(
    conn: &mut PgConnection,
    id: EncounterId,
) -> Result<Option<PatientId>> {
    Ok(sqlx::query_scalar!(
        r#"SELECT patient_id AS "patient: PatientId" FROM encounters WHERE id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?)
}
