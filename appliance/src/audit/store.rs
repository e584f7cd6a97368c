//! SQL of the audit log.

use std::collections::HashMap;

use hadada_audit_log::{Change, Event, Leaf, Seal};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::SealingState;
use crate::error::{Error, Result};
use crate::ids::PatientId;

/// Microseconds since 1970 UTC: what Postgres keeps.
pub(super) fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn instant(micros: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(Error::internal)
}

/// One sealer at a time, also across programs.
pub(super) async fn lock_sealing(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('hadada audit sealing'))")
        .execute(conn)
        .await?;
    Ok(())
}

struct EventRow {
    practice_id: Uuid,
    id: Uuid,
    at: OffsetDateTime,
    actor: String,
    action: String,
    entity: String,
    entity_id: Option<Uuid>,
    patient_id: Option<Uuid>,
    reason: String,
    shown: Vec<Uuid>,
    change: Option<Vec<u8>>,
}

impl From<EventRow> for Event {
    fn from(r: EventRow) -> Self {
        Self {
            id: r.id,
            practice_id: r.practice_id,
            at_micros: micros(r.at),
            actor: r.actor,
            action: r.action,
            entity: r.entity,
            entity_id: r.entity_id,
            patient_id: r.patient_id,
            reason: r.reason,
            shown: r.shown,
            change: r.change.map(Change::Ciphertext),
        }
    }
}

/// Events no seal covers yet, of every practice.
pub(super) async fn unsealed(conn: &mut PgConnection, limit: i32) -> Result<Vec<Event>> {
    let rows = sqlx::query_as!(
        EventRow,
        r#"SELECT practice_id AS "practice_id!", id AS "id!", at AS "at!", actor AS "actor!", action AS "action!", entity AS "entity!",
                  entity_id, patient_id, reason AS "reason!", shown AS "shown!", change
           FROM audit_unsealed($1)"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Event::from).collect())
}

/// Every practice that has log-ins.
pub(super) async fn practices(conn: &mut PgConnection) -> Result<Vec<Uuid>> {
    Ok(
        sqlx::query_scalar!("SELECT DISTINCT practice_id FROM logins ORDER BY practice_id")
            .fetch_all(conn)
            .await?,
    )
}

/// A practice's events that no seal covers, whether or not they are on the list of those that wait.
pub(super) async fn without_seal(conn: &mut PgConnection, practice: Uuid) -> Result<Vec<Event>> {
    sqlx::query!("SELECT open_scope($1, 'audit export')", practice)
        .execute(&mut *conn)
        .await?;
    let rows = sqlx::query_as!(
        EventRow,
        "SELECT practice_id, id, at, actor, action, entity, entity_id, patient_id, reason, shown, change FROM audit_events e
         WHERE NOT EXISTS (SELECT FROM audit_leaves l WHERE l.event_id = e.id) ORDER BY at, id"
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Event::from).collect())
}

/// The end of the chain.
pub(super) async fn newest_seal(conn: &mut PgConnection) -> Result<Option<Seal>> {
    Ok(seals_after(conn, None, 1).await?.pop())
}

/// Seals in order after a number; with none, only the newest.
pub(super) async fn seals_after(
    conn: &mut PgConnection,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Seal>> {
    let rows = sqlx::query!(
        "SELECT seq, count, total, root, previous, sealed_at, signature FROM audit_seals
         WHERE ($1::bigint IS NOT NULL AND seq > $1) OR ($1 IS NULL AND seq = (SELECT max(seq) FROM audit_seals))
         ORDER BY seq LIMIT $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            let wrong =
                |_| Error::internal("a seal in the database has fields of the wrong length");
            Ok(Seal {
                seq: r.seq,
                count: r.count,
                total: r.total,
                root: r.root.try_into().map_err(wrong)?,
                previous: r.previous.try_into().map_err(wrong)?,
                sealed_at_micros: micros(r.sealed_at),
                signature: r.signature.try_into().map_err(wrong)?,
            })
        })
        .collect()
}

/// Stores a seal with its leaves and takes its events off the waiting list.
pub(super) async fn insert_seal(
    conn: &mut PgConnection,
    seal: &Seal,
    leaves: &[Leaf],
    practices: &HashMap<Uuid, Uuid>,
) -> Result<()> {
    let events: Vec<Uuid> = leaves.iter().map(|l| l.event_id).collect();
    let owners: Vec<Uuid> = events
        .iter()
        .filter_map(|id| practices.get(id).copied())
        .collect();
    let hashes: Vec<Vec<u8>> = leaves.iter().map(|l| l.hash.to_vec()).collect();
    sqlx::query!(
        "SELECT audit_store_seal($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        seal.seq,
        seal.total,
        &seal.root[..],
        &seal.previous[..],
        instant(seal.sealed_at_micros)?,
        &seal.signature[..],
        &events,
        &owners,
        &hashes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One leaf of a seal, with its event if it is still there.
pub(super) struct SealedEvent {
    pub position: i32,
    pub leaf: Leaf,
    pub event: Option<Event>,
}

/// The leaves of a seal, in order.
pub(super) async fn sealed(conn: &mut PgConnection, seq: i64) -> Result<Vec<SealedEvent>> {
    let rows = sqlx::query!(
        r#"SELECT leaf_position AS "position!", leaf_hash AS "leaf_hash!", leaf_event_id AS "event_id!",
                  (event).practice_id, (event).id, (event).at, (event).actor, (event).action, (event).entity, (event).entity_id,
                  (event).patient_id, (event).reason, (event).shown, (event).change
           FROM audit_sealed($1)"#,
        seq
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            let hash = r
                .leaf_hash
                .try_into()
                .map_err(|_| Error::internal("a leaf in the database has the wrong length"))?;
            let event =
                r.id.zip(r.practice_id)
                    .zip(r.at)
                    .map(|((id, practice_id), at)| Event {
                        id,
                        practice_id,
                        at_micros: micros(at),
                        actor: r.actor.unwrap_or_default(),
                        action: r.action.unwrap_or_default(),
                        entity: r.entity.unwrap_or_default(),
                        entity_id: r.entity_id,
                        patient_id: r.patient_id,
                        reason: r.reason.unwrap_or_default(),
                        shown: r.shown.unwrap_or_default(),
                        change: r.change.map(Change::Ciphertext),
                    });
            Ok(SealedEvent {
                position: r.position,
                leaf: Leaf {
                    event_id: r.event_id,
                    hash,
                },
                event,
            })
        })
        .collect()
}

/// How far sealing has come.
pub(super) async fn state(
    conn: &mut PgConnection,
    refusal: Option<String>,
) -> Result<SealingState> {
    let newest =
        sqlx::query!("SELECT seq, total, sealed_at FROM audit_seals ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut *conn)
            .await?;
    let waiting = sqlx::query!(r#"SELECT events AS "events!", oldest FROM audit_waiting()"#)
        .fetch_one(conn)
        .await?;
    Ok(SealingState {
        sealed: newest.as_ref().map_or(0, |n| n.total),
        seq: newest.as_ref().map_or(0, |n| n.seq),
        sealed_at: newest.map(|n| n.sealed_at),
        unsealed: waiting.events,
        oldest_unsealed: waiting.oldest,
        refusal,
    })
}

/// Which events a page shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub patient: Option<PatientId>,
    /// A user's id.
    pub actor: Option<String>,
    pub from: Option<OffsetDateTime>,
    /// Not included.
    pub until: Option<OffsetDateTime>,
    /// The last line of the page before.
    pub before: Option<(OffsetDateTime, Uuid)>,
}

/// One event, with the names that its ids stand for.
pub(super) struct Entry {
    pub id: Uuid,
    pub at: OffsetDateTime,
    pub who: String,
    pub role: Option<String>,
    pub action: String,
    pub entity: String,
    pub reason: String,
    pub patient: Option<PatientId>,
    /// `Khumalo, Thandiwe`.
    pub patient_name: Option<String>,
    /// How many patients a list showed.
    pub shown: i32,
    pub seal: Option<i64>,
}

/// The practice's events, newest first.
pub(super) async fn find(
    conn: &mut PgConnection,
    filter: &Filter,
    limit: i32,
) -> Result<Vec<Entry>> {
    let (at, id) = filter.before.unzip();
    Ok(sqlx::query_as!(
        Entry,
        r#"SELECT e.id AS "id!", e.at AS "at!", coalesce(u.display_name, e.actor) AS "who!", u.role AS "role?", e.action AS "action!",
                  e.entity AS "entity!", e.reason AS "reason!", e.patient_id AS "patient?: PatientId",
                  p.family_name || ', ' || p.given_name AS "patient_name?", cardinality(e.shown) AS "shown!", l.seal_seq AS "seal?"
           FROM audit_find($1, $2, $3, $4, $5, $6, $7) e
           LEFT JOIN users u ON u.id::text = e.actor
           LEFT JOIN patients p ON p.id = e.patient_id
           LEFT JOIN audit_leaves l ON l.event_id = e.id
           ORDER BY e.at DESC, e.id DESC"#,
        filter.patient.map(|p| p.0),
        filter.actor,
        filter.from,
        filter.until,
        at,
        id,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// A patient's name, `Khumalo, Thandiwe`.
pub(super) async fn patient_name(conn: &mut PgConnection, id: PatientId) -> Result<Option<String>> {
    let name = sqlx::query_scalar!(
        r#"SELECT family_name || ', ' || given_name AS "name!" FROM patients WHERE id = $1"#,
        id.0
    );
    Ok(name.fetch_optional(conn).await?)
}

/// The practice's people, by name.
pub(super) async fn people(conn: &mut PgConnection) -> Result<Vec<(Uuid, String)>> {
    let rows = sqlx::query!("SELECT id, display_name FROM users ORDER BY display_name, id")
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|r| (r.id, r.display_name)).collect())
}
