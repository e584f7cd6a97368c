//! The SQL of the practice's details, rooms, therapists and their hours.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::hours::{self, Stretch};
use crate::clock;
use crate::error::{Error, Result};
use crate::ids::{PracticeId, PractitionerId, RoomId};
use crate::practices::Details;

/// Changes what the practice says of itself.
pub(super) async fn update_details(conn: &mut PgConnection, to: &Details) -> Result<()> {
    sqlx::query!(
        "UPDATE practices SET name = $1, bhf_number = $2, vat_number = $3, address = $4, phone = $5, email = $6, bank_details = $7,
             version = version + 1",
        to.name,
        to.bhf_number,
        to.vat_number,
        to.address,
        to.phone,
        to.email,
        to.bank_details
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A room, in use or not.
#[derive(Clone, Debug)]
pub(super) struct RoomRow {
    pub id: RoomId,
    pub name: String,
    pub active: bool,
    pub version: i32,
}

pub(super) async fn rooms(conn: &mut PgConnection) -> Result<Vec<RoomRow>> {
    Ok(sqlx::query_as!(
        RoomRow,
        r#"SELECT id AS "id: RoomId", name, active, version FROM rooms ORDER BY name, id"#
    )
    .fetch_all(conn)
    .await?)
}

pub(super) async fn room(conn: &mut PgConnection, id: RoomId) -> Result<RoomRow> {
    let all = rooms(conn).await?;
    all.into_iter().find(|r| r.id == id).ok_or(Error::NotFound)
}

pub(super) async fn insert_room(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: RoomId,
    name: &str,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO rooms (practice_id, id, name) VALUES ($1, $2, $3)",
        practice.0,
        id.0,
        name
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn update_room(
    conn: &mut PgConnection,
    id: RoomId,
    name: &str,
    active: bool,
) -> Result<()> {
    sqlx::query!(
        "UPDATE rooms SET name = $2, active = $3, version = version + 1 WHERE id = $1",
        id.0,
        name,
        active
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Bookings still to come of a room or a therapist: how many, and when the first one begins.
pub(super) async fn coming(
    conn: &mut PgConnection,
    of: Uuid,
    now: OffsetDateTime,
) -> Result<Option<(i64, OffsetDateTime)>> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "n!", min(a.starts_at) AS first
           FROM appointment_participants p JOIN appointments a ON a.practice_id = p.practice_id AND a.id = p.appointment_id
           WHERE (p.room_id = $1 OR p.practitioner_id = $1) AND p.busy AND a.kind <> 'block' AND a.ends_at > $2
             AND a.status IN ('booked', 'confirmed', 'arrived', 'in-session')"#,
        of,
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(row.first.map(|first| (row.n, first)))
}

/// Why something with bookings can't be ended yet.
pub(super) fn still_booked(who: &str, coming: (i64, OffsetDateTime)) -> Error {
    let (n, first) = coming;
    let (date, time) = clock::local(first);
    let bookings = if n == 1 {
        "1 booking to come".to_owned()
    } else {
        format!("{n} bookings to come, the first")
    };
    Error::conflict(format!(
        "{who} still has {bookings} on {} at {}. Move or cancel what is booked first.",
        clock::date_text(date),
        clock::time_text(time)
    ))
}

/// A therapist, at work here or not.
#[derive(Clone, Debug)]
pub(super) struct TherapistRow {
    pub id: PractitionerId,
    pub title: String,
    pub given_name: String,
    pub family_name: String,
    pub discipline: String,
    pub hpcsa_number: String,
    pub bhf_number: String,
    pub room_id: Option<RoomId>,
    pub active: bool,
    pub version: i32,
}

impl TherapistRow {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name)
    }
}

pub(super) async fn therapists(conn: &mut PgConnection) -> Result<Vec<TherapistRow>> {
    Ok(sqlx::query_as!(
        TherapistRow,
        r#"SELECT id AS "id: PractitionerId", title, given_name, family_name, discipline, hpcsa_number, bhf_number,
                  room_id AS "room_id: RoomId", active, version
           FROM practitioners ORDER BY position, family_name, given_name, id"#
    )
    .fetch_all(conn)
    .await?)
}

pub(super) async fn therapist(conn: &mut PgConnection, id: PractitionerId) -> Result<TherapistRow> {
    let all = therapists(conn).await?;
    all.into_iter().find(|t| t.id == id).ok_or(Error::NotFound)
}

/// What a form says of a therapist, checked.
#[derive(Debug)]
pub(super) struct NewTherapist {
    pub title: String,
    pub given_name: String,
    pub family_name: String,
    pub discipline: String,
    pub hpcsa_number: String,
    pub bhf_number: String,
    pub room_id: Option<RoomId>,
    /// Monday first.
    pub week: [Vec<Stretch>; 7],
}

/// Adds a therapist, as the last column of the diary.
pub(super) async fn insert_therapist(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: PractitionerId,
    t: &NewTherapist,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO practitioners (practice_id, id, title, given_name, family_name, discipline, hpcsa_number, bhf_number, room_id, position)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce(max(position) + 1, 0) FROM practitioners",
        practice.0,
        id.0,
        t.title,
        t.given_name,
        t.family_name,
        t.discipline,
        t.hpcsa_number,
        t.bhf_number,
        t.room_id.map(|r| r.0)
    )
    .execute(&mut *conn)
    .await?;
    replace_hours(conn, practice, id, &t.week).await
}

pub(super) async fn update_therapist(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: PractitionerId,
    t: &NewTherapist,
) -> Result<()> {
    sqlx::query!(
        "UPDATE practitioners SET title = $2, given_name = $3, family_name = $4, discipline = $5, hpcsa_number = $6, bhf_number = $7,
                room_id = $8, version = version + 1
         WHERE id = $1",
        id.0,
        t.title,
        t.given_name,
        t.family_name,
        t.discipline,
        t.hpcsa_number,
        t.bhf_number,
        t.room_id.map(|r| r.0)
    )
    .execute(&mut *conn)
    .await?;
    replace_hours(conn, practice, id, &t.week).await
}

pub(super) async fn set_therapist_active(
    conn: &mut PgConnection,
    id: PractitionerId,
    active: bool,
) -> Result<()> {
    sqlx::query!(
        "UPDATE practitioners SET active = $2, version = version + 1 WHERE id = $1",
        id.0,
        active
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn replace_hours(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: PractitionerId,
    week: &[Vec<Stretch>; 7],
) -> Result<()> {
    sqlx::query!("DELETE FROM working_hours WHERE practitioner_id = $1", id.0)
        .execute(&mut *conn)
        .await?;
    for (weekday, day) in (1_i16..).zip(week) {
        for (starts, ends) in day {
            sqlx::query!(
                "INSERT INTO working_hours (practice_id, practitioner_id, weekday, starts, ends) VALUES ($1, $2, $3, $4, $5)",
                practice.0,
                id.0,
                weekday,
                *starts,
                *ends
            )
            .execute(&mut *conn)
            .await?;
        }
    }
    Ok(())
}

/// Each therapist's week as it stands in the form, Monday first.
pub(super) async fn weeks(
    conn: &mut PgConnection,
) -> Result<std::collections::BTreeMap<PractitionerId, [String; 7]>> {
    let rows = sqlx::query!(
        r#"SELECT practitioner_id AS "id: PractitionerId", weekday, starts, ends FROM working_hours ORDER BY practitioner_id, weekday, starts"#
    )
    .fetch_all(conn)
    .await?;
    let mut weeks = std::collections::BTreeMap::<PractitionerId, [String; 7]>::new();
    for row in rows {
        let week = weeks.entry(row.id).or_default();
        // The database keeps weekdays from 1 to 7.
        let Some(day) = usize::try_from(row.weekday - 1)
            .ok()
            .and_then(|at| week.get_mut(at))
        else {
            continue;
        };
        if !day.is_empty() {
            day.push_str(", ");
        }
        day.push_str(&hours::text(&[(row.starts, row.ends)]));
    }
    Ok(weeks)
}

/// Whose room was ended while they were away has none when they come back.
pub(super) async fn leave_room(conn: &mut PgConnection, id: PractitionerId) -> Result<()> {
    sqlx::query!(
        "UPDATE practitioners SET room_id = NULL WHERE id = $1",
        id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}
