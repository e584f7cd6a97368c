//! What waits to be put right from earlier days: counts only, no patient data.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::error::Result;
use crate::ids::PractitionerId;

/// What waits to be put right.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attention {
    /// Notes of the practitioner that wait for their signature, today's too.
    pub to_sign: i64,
    /// Visits before today whose note is not signed.
    pub unsigned: i64,
    /// The day of the newest of them.
    pub unsigned_last: Option<OffsetDateTime>,
    /// The day of the oldest of them.
    pub unsigned_first: Option<OffsetDateTime>,
    /// Completed visits of the last 90 days without an invoice.
    pub not_invoiced: i64,
    /// Bookings of the last 14 days of which nobody said how they ended.
    pub open: i64,
    /// The day of the newest of them.
    pub open_last: Option<OffsetDateTime>,
}

/// Counts what waits, before `today`; the notes only of one practitioner where one is given. Counts, no patient data.
pub(super) async fn count(
    conn: &mut PgConnection,
    today: OffsetDateTime,
    practitioner: Option<PractitionerId>,
) -> Result<Attention> {
    let row = sqlx::query!(
        r#"WITH unsigned AS (
               SELECT e.started_at FROM encounters e
               WHERE e.started_at < $1 AND ($2::uuid IS NULL OR e.practitioner_id = $2)
                 AND e.status = 'in-progress'
           ), open AS (
               SELECT a.starts_at FROM appointments a
               WHERE a.starts_at < $1 AND a.starts_at >= $1 - interval '14 days' AND a.kind <> 'block'
                 AND a.status IN ('booked', 'confirmed', 'arrived', 'in-session')
           )
           SELECT (SELECT count(*) FROM encounters e WHERE e.practitioner_id = $2 AND e.status = 'in-progress') AS "to_sign!",
                  (SELECT count(*) FROM unsigned) AS "unsigned!", (SELECT min(started_at) FROM unsigned) AS unsigned_first,
                  (SELECT max(started_at) FROM unsigned) AS unsigned_last,
                  (SELECT count(*) FROM open) AS "open!", (SELECT max(starts_at) FROM open) AS open_last,
                  (SELECT count(*) FROM encounters e
                   JOIN appointments a ON a.practice_id = e.practice_id AND a.id = e.appointment_id
                   WHERE a.starts_at >= $1 - interval '90 days' AND a.status = 'completed'
                     AND NOT EXISTS (SELECT FROM invoices i WHERE i.practice_id = e.practice_id AND i.encounter_id = e.id)) AS "not_invoiced!""#,
        today,
        practitioner.map(|p| p.0)
    )
    .fetch_one(conn)
    .await?;
    Ok(Attention {
        to_sign: row.to_sign,
        unsigned: row.unsigned,
        unsigned_first: row.unsigned_first,
        unsigned_last: row.unsigned_last,
        not_invoiced: row.not_invoiced,
        open: row.open,
        open_last: row.open_last,
    })
}
