//! A practice of a test, and who works in it.

use hadada::accounts::{NewUser, create_user, hash_password};
use hadada::db::{Action, Actor, AuditEvent, PracticeTx};
use hadada::ids::{PracticeId, PractitionerId, RoomId, SessionTypeId, UserId};
use hadada::web::{App, Role};

use super::PASSWORD;

/// A practice and the people in it.
#[derive(Clone, Debug)]
pub struct Practice {
    pub id: PracticeId,
    pub physio: PractitionerId,
    pub occupational: PractitionerId,
    pub room: RoomId,
    pub session_type: SessionTypeId,
    pub class_type: SessionTypeId,
    pub admin: UserId,
}

/// Puts in the counters that a practice numbers its patients and invoices with.
pub async fn start_counters(tx: &mut PracticeTx, id: PracticeId) {
    for counter in ["patient_counters", "invoice_counters"] {
        let statement = format!("INSERT INTO {counter} (practice_id) VALUES ($1)");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(id)
            .execute(tx.conn())
            .await
            .unwrap();
    }
}

/// Makes a practice with practitioners, hours, session types and users.
pub async fn furnish(app: &App, name: &str, users: &[&str]) -> Practice {
    let id = PracticeId::random();
    app.keys.create_practice(id).await.unwrap();
    let actor = Actor::system(id, "test");
    let mut tx = PracticeTx::open_with(
        &app.db,
        &actor,
        app.clock.now(),
        AuditEvent::new(Action::Create, "Organization"),
    )
    .await
    .unwrap();
    sqlx::query("INSERT INTO practices (practice_id, name, bhf_number, vat_number) VALUES ($1, $2, '0123456', '4123456789')")
        .bind(id)
        .bind(name)
        .execute(tx.conn())
        .await
        .unwrap();
    start_counters(&mut tx, id).await;
    let room = RoomId::random();
    sqlx::query("INSERT INTO rooms (practice_id, id, name) VALUES ($1, $2, 'Room 1')")
        .bind(id)
        .bind(room)
        .execute(tx.conn())
        .await
        .unwrap();
    let mut practitioners = Vec::new();
    for (position, (given, family, discipline, room)) in [
        ("Naledi", "Mokoena", "physiotherapy", Some(room)),
        ("Ayesha", "Patel", "occupational-therapy", None),
    ]
    .into_iter()
    .enumerate()
    {
        let practitioner = PractitionerId::random();
        sqlx::query(
            "INSERT INTO practitioners (practice_id, id, given_name, family_name, discipline, hpcsa_number, room_id, position)
             VALUES ($1, $2, $3, $4, $5, 'PT 0012345', $6, $7)",
        )
        .bind(id)
        .bind(practitioner)
        .bind(given)
        .bind(family)
        .bind(discipline)
        .bind(room)
        .bind(i32::try_from(position).unwrap())
        .execute(tx.conn())
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO working_hours (practice_id, practitioner_id, weekday, starts, ends)
             SELECT $1, $2, d, '07:30', '16:30' FROM generate_series(1, 5) d",
        )
        .bind(id)
        .bind(practitioner)
        .execute(tx.conn())
        .await
        .unwrap();
        practitioners.push(practitioner);
    }
    let (session_type, class_type) = (SessionTypeId::random(), SessionTypeId::random());
    for (type_id, code, title, minutes, price, capacity) in [
        (
            session_type,
            "physio-45",
            "Physiotherapy session",
            45,
            "650.00",
            1,
        ),
        (class_type, "back-class", "Back care class", 60, "120.00", 8),
    ] {
        sqlx::query(
            "INSERT INTO session_types (practice_id, id, code, name, discipline, duration_minutes, price, tariff_code, capacity)
             VALUES ($1, $2, $3, $4, 'physiotherapy', $5, $6::numeric, '72302', $7)",
        )
        .bind(id)
        .bind(type_id)
        .bind(code)
        .bind(title)
        .bind(minutes)
        .bind(price)
        .bind(capacity)
        .execute(tx.conn())
        .await
        .unwrap();
    }
    let password_hash = hash_password(PASSWORD).unwrap();
    let mut admin = None;
    for username in users {
        let (role, practitioner, display_name) = match *username {
            "naledi" => (Role::Practitioner, Some(practitioners[0]), "Naledi Mokoena"),
            "ayesha" => (Role::Practitioner, Some(practitioners[1]), "Ayesha Patel"),
            "other-therapist" => (
                Role::Practitioner,
                Some(practitioners[0]),
                "Other Therapist",
            ),
            "reception" => (Role::Receptionist, None, "Zinhle Maseko"),
            "billing" => (Role::Billing, None, "Bongi Khumalo"),
            _ => (Role::Admin, None, "Practice Admin"),
        };
        let user = NewUser {
            username,
            display_name,
            role,
            practitioner,
            password_hash: &password_hash,
        };
        let user_id = create_user(tx.conn(), id, &user).await.unwrap();
        if role == Role::Admin {
            admin = Some(user_id);
        }
    }
    tx.commit().await.unwrap();
    Practice {
        id,
        physio: practitioners[0],
        occupational: practitioners[1],
        room,
        session_type,
        class_type,
        admin: admin.unwrap(),
    }
}
