//! The SQL of the practice's own settings. None of it is patient data.

use super::details::Details;
use super::practice::{Discipline, Practice, Practitioner, Room, SessionType, WorkingHours};
use crate::db::PracticeTx;
use crate::error::{Error, Result};
use crate::ids::{PracticeId, PractitionerId, RoomId, SessionTypeId};
use crate::money::Rand;

/// The practice of this transaction.
///
/// # Errors
/// When the database does not answer.
pub async fn practice(tx: &mut PracticeTx) -> Result<Practice> {
    let row = sqlx::query!(
        r#"SELECT practice_id AS "id: PracticeId", name, bhf_number, vat_number, address, phone, email, bank_details,
                  version
           FROM practices"#
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Practice {
        id: row.id,
        details: Details {
            name: row.name,
            bhf_number: row.bhf_number,
            vat_number: row.vat_number,
            address: row.address,
            phone: row.phone,
            email: row.email,
            bank_details: row.bank_details,
        },
        version: row.version,
    })
}

fn discipline(text: &str) -> Result<Discipline> {
    Discipline::from_text(text)
        .ok_or_else(|| Error::internal(format!("there is no discipline {text}")))
}

/// Everybody who treats patients, in the order of the diary's columns.
///
/// # Errors
/// When the database does not answer.
pub async fn practitioners(tx: &mut PracticeTx) -> Result<Vec<Practitioner>> {
    let mut everybody = practitioners_ever(tx).await?;
    everybody.retain(|p| p.active);
    Ok(everybody)
}

/// Everybody who treats patients or did, in the order of the diary's columns.
///
/// # Errors
/// When the database does not answer.
pub async fn practitioners_ever(tx: &mut PracticeTx) -> Result<Vec<Practitioner>> {
    let rows = sqlx::query!(
        r#"SELECT p.id AS "id: PractitionerId", p.title, p.given_name, p.family_name, p.discipline, p.hpcsa_number, p.bhf_number, p.active,
                  r.id AS "room_id?: RoomId", r.name AS "room_name?"
           FROM practitioners p LEFT JOIN rooms r ON r.practice_id = p.practice_id AND r.id = p.room_id
           ORDER BY p.position, p.family_name, p.given_name, p.id"#
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Practitioner {
                id: row.id,
                title: row.title,
                given_name: row.given_name,
                family_name: row.family_name,
                discipline: discipline(&row.discipline)?,
                hpcsa_number: row.hpcsa_number,
                bhf_number: row.bhf_number,
                active: row.active,
                room: row
                    .room_id
                    .zip(row.room_name)
                    .map(|(id, name)| Room { id, name }),
            })
        })
        .collect()
}

/// Who works when on a weekday; nobody who has left.
///
/// # Errors
/// When the database does not answer.
pub async fn working_hours(
    tx: &mut PracticeTx,
    weekday: time::Weekday,
) -> Result<Vec<WorkingHours>> {
    let rows = sqlx::query_as!(
        WorkingHours,
        r#"SELECT practitioner_id AS "practitioner: PractitionerId", starts, ends FROM working_hours
           WHERE weekday = $1 AND practitioner_id IN (SELECT id FROM practitioners WHERE active) ORDER BY practitioner_id, starts"#,
        i16::from(weekday.number_from_monday())
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}

/// Whether the practice has a room.
///
/// # Errors
/// When the database does not answer.
pub async fn has_rooms(tx: &mut PracticeTx) -> Result<bool> {
    Ok(
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM rooms WHERE active) AS "there!""#)
            .fetch_one(tx.conn())
            .await?,
    )
}

/// The kinds of session the practice gives.
///
/// # Errors
/// When the database does not answer.
pub async fn session_types(tx: &mut PracticeTx) -> Result<Vec<SessionType>> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: SessionTypeId", code, name, discipline, duration_minutes, price AS "price: Rand", tariff_code, capacity
           FROM session_types WHERE active ORDER BY position, name, id"#
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SessionType {
            id: row.id,
            code: row.code,
            name: row.name,
            discipline: Discipline::from_text(&row.discipline),
            duration_minutes: row.duration_minutes,
            price: row.price,
            tariff_code: row.tariff_code,
            capacity: row.capacity,
        })
        .collect())
}
