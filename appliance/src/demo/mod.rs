//! The demo practice: fictional people, three weeks of diary, finished notes, outcome trends and invoices, made by the same
//! code that staff use, with the clock steered to when each thing happened.

mod calendar;
mod notes;
mod people;
mod practice;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use time::{Duration, OffsetDateTime};

use crate::accounts::{NewUser, create_user, hash_password};
use crate::clock::{self, Clock};
use crate::db::{Action, Actor, AuditEvent, PracticeTx};
use crate::error::Result;
use crate::ids::{PracticeId, PractitionerId, RoomId, SessionTypeId, UserId};
use crate::web::{App, Role, Session, SessionKind};
use practice::Practice;

/// Password of every log-in of the demo.
const PASSWORD: &str = "hadada-demo";
/// Days of diary before and after the first day.
const BEFORE: i64 = 10;
const AFTER: i64 = 10;

/// A clock that the demo sets to when a thing happened.
#[derive(Clone, Debug, Default)]
pub struct Steering(Arc<AtomicI64>);

impl Steering {
    /// The clock to build the [`App`] with.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let at = self.0.clone();
        Clock::from_fn(move || {
            OffsetDateTime::from_unix_timestamp(at.load(Ordering::Relaxed))
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        })
    }

    fn set(&self, at: OffsetDateTime) {
        self.0.store(at.unix_timestamp(), Ordering::Relaxed);
    }
}

/// Fills the databases, unless the demo's log-ins are there already.
///
/// # Errors
/// When a database does not answer, or the demo breaks one of the product's own rules.
pub async fn load(app: &App, steering: &Steering, now: OffsetDateTime) -> Result<bool> {
    let there: i64 =
        sqlx::query_scalar!(r#"SELECT count(*) AS "n!" FROM logins WHERE username = 'reception'"#)
            .fetch_one(&app.db.records)
            .await?;
    if there > 0 {
        return Ok(false);
    }
    steering.set(now - Duration::days(BEFORE + 1));
    let password_hash = hash_password(PASSWORD)?;
    let practice = Practice::furnish(app, now, &password_hash).await?;
    let patients = practice.add_patients(app).await?;
    let today = clock::local(now).0;
    for day in -BEFORE..=AFTER {
        let date = today + Duration::days(day);
        let weekend = matches!(
            date.weekday(),
            time::Weekday::Saturday | time::Weekday::Sunday
        );
        // The first day is a working day whichever it is, so that the demo has something to show.
        if !weekend || day == 0 {
            practice
                .fill_day(
                    app,
                    steering,
                    date,
                    usize::try_from(day + BEFORE).unwrap_or_default(),
                    now,
                    &patients,
                )
                .await?;
        }
    }
    steering.set(now);
    practice.add_scores(app, today, &patients).await?;
    practice.add_waiting_list(app, &patients).await?;
    second_practice(app, &password_hash).await?;
    Ok(true)
}

fn session(
    practice: PracticeId,
    user: UserId,
    username: &str,
    name: &str,
    role: Role,
    practitioner: Option<PractitionerId>,
) -> Session {
    Session {
        practice_id: practice,
        user_id: user,
        username: username.into(),
        display_name: name.into(),
        role,
        practitioner_id: practitioner,
        kind: SessionKind::Token("all".into()),
    }
}

async fn new_practice(
    app: &App,
    name: &str,
    contact: [&str; 5],
) -> Result<(PracticeId, PracticeTx)> {
    let id = PracticeId::random();
    app.keys.create_practice(id).await?;
    let event = AuditEvent::new(Action::Create, "Organization")
        .id(id.0)
        .reason("demo practice");
    let mut tx =
        PracticeTx::open_with(&app.db, &Actor::system(id, "demo"), app.clock.now(), event).await?;
    let [bhf, vat, address, phone, bank] = contact;
    sqlx::query!(
        "INSERT INTO practices (practice_id, name, bhf_number, vat_number, address, phone, email, bank_details)
         VALUES ($1, $2, $3, $4, $5, $6, 'desk@example.co.za', $7)",
        id.0,
        name,
        bhf,
        vat,
        address,
        phone,
        bank
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO patient_counters (practice_id) VALUES ($1)",
        id.0
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO invoice_counters (practice_id) VALUES ($1)",
        id.0
    )
    .execute(tx.conn())
    .await?;
    Ok((id, tx))
}

/// A second practice on the same box, to see that it sees nothing of the first.
async fn second_practice(app: &App, password_hash: &str) -> Result<()> {
    let (id, mut tx) = new_practice(
        app,
        "Umhlanga Hand Clinic",
        [
            "0654321",
            "",
            "4 Lagoon Drive, Umhlanga 4319",
            "031 555 0100",
            "",
        ],
    )
    .await?;
    let (practitioner, room) = (PractitionerId::random(), RoomId::random());
    sqlx::query!(
        "INSERT INTO rooms (practice_id, id, name) VALUES ($1, $2, 'Room 1')",
        id.0,
        room.0
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO practitioners (practice_id, id, given_name, family_name, discipline, hpcsa_number, room_id)
         VALUES ($1, $2, 'Other', 'Therapist', 'occupational-therapy', 'OT 0011223', $3)",
        id.0,
        practitioner.0,
        room.0
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO working_hours (practice_id, practitioner_id, weekday, starts, ends) SELECT $1, $2, d, '08:00', '16:00' FROM generate_series(1, 5) d",
        id.0,
        practitioner.0
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO session_types (practice_id, id, code, name, discipline, duration_minutes, price, tariff_code)
         VALUES ($1, $2, 'ot-60', 'Occupational therapy session', 'occupational-therapy', 60, 780.00, '66201')",
        id.0,
        SessionTypeId::random().0
    )
    .execute(tx.conn())
    .await?;
    // A practitioner, so that no refusal of another practice's record can be mistaken for a missing permission.
    let other = NewUser {
        username: "other",
        display_name: "Other Therapist",
        role: Role::Practitioner,
        practitioner: Some(practitioner),
        password_hash,
    };
    create_user(tx.conn(), id, &other).await?;
    tx.commit().await
}
