//! The SQL of session types.

use sqlx::PgConnection;

use crate::error::{Error, Result};
use crate::ids::{PracticeId, SessionTypeId};
use crate::money::Rand;

/// A session type, in use or not.
#[derive(Clone, Debug)]
pub(super) struct TypeRow {
    pub id: SessionTypeId,
    pub code: String,
    pub name: String,
    pub discipline: String,
    pub duration_minutes: i32,
    pub price: Rand,
    pub tariff_code: String,
    pub capacity: i32,
    pub active: bool,
    pub version: i32,
}

pub(super) async fn types(conn: &mut PgConnection) -> Result<Vec<TypeRow>> {
    Ok(sqlx::query_as!(
        TypeRow,
        r#"SELECT id AS "id: SessionTypeId", code, name, discipline, duration_minutes, price AS "price: Rand", tariff_code, capacity,
                  active, version
           FROM session_types ORDER BY position, name, id"#
    )
    .fetch_all(conn)
    .await?)
}

pub(super) async fn session_type(conn: &mut PgConnection, id: SessionTypeId) -> Result<TypeRow> {
    let all = types(conn).await?;
    all.into_iter().find(|t| t.id == id).ok_or(Error::NotFound)
}

/// Whether anything was ever booked as this.
pub(super) async fn is_used(conn: &mut PgConnection, id: SessionTypeId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM appointments WHERE session_type_id = $1) AS "used!""#,
        id.0
    )
    .fetch_one(conn)
    .await?)
}

/// What a form says of a session type, checked.
#[derive(Debug)]
pub(super) struct NewType {
    pub name: String,
    pub discipline: String,
    pub duration_minutes: i32,
    pub price: Rand,
    pub tariff_code: String,
    pub capacity: i32,
}

/// Adds a session type, as the last of the list.
pub(super) async fn insert_type(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: SessionTypeId,
    code: &str,
    t: &NewType,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO session_types (practice_id, id, code, name, discipline, duration_minutes, price, tariff_code, capacity, position)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce(max(position) + 1, 0) FROM session_types",
        practice.0,
        id.0,
        code,
        t.name,
        t.discipline,
        t.duration_minutes,
        t.price.amount(),
        t.tariff_code,
        t.capacity
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn update_type(
    conn: &mut PgConnection,
    id: SessionTypeId,
    t: &NewType,
) -> Result<()> {
    sqlx::query!(
        "UPDATE session_types SET name = $2, discipline = $3, duration_minutes = $4, price = $5, tariff_code = $6, capacity = $7,
                version = version + 1
         WHERE id = $1",
        id.0,
        t.name,
        t.discipline,
        t.duration_minutes,
        t.price.amount(),
        t.tariff_code,
        t.capacity
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_type_active(
    conn: &mut PgConnection,
    id: SessionTypeId,
    active: bool,
) -> Result<()> {
    sqlx::query!(
        "UPDATE session_types SET active = $2, version = version + 1 WHERE id = $1",
        id.0,
        active
    )
    .execute(conn)
    .await?;
    Ok(())
}
