//! A practice as the first-run wizard leaves it, until it works.

use hadada::accounts::{NewUser, create_user, hash_password};
use hadada::db::{Action, Actor, AuditEvent, PracticeTx};
use hadada::ids::PracticeId;
use hadada::web::Role;

use super::{KIND, THERAPIST, cookie, made, send, shown, sign_in};
use crate::support::{Bare, Client, PASSWORD, start_counters};

/// A practice as the first-run wizard leaves it: its name, and one admin.
async fn new_practice(bare: &Bare) -> Client {
    let id = PracticeId::random();
    bare.app.keys.create_practice(id).await.unwrap();
    let event = AuditEvent::new(Action::Create, "Organization");
    let actor = Actor::system(id, "setup");
    let mut tx = PracticeTx::open_with(&bare.app.db, &actor, bare.app.clock.now(), event)
        .await
        .unwrap();
    sqlx::query("INSERT INTO practices (practice_id, name) VALUES ($1, 'New Practice')")
        .bind(id)
        .execute(tx.conn())
        .await
        .unwrap();
    start_counters(&mut tx, id).await;
    let admin = NewUser {
        username: "anneke",
        display_name: "Anneke Vermeulen",
        role: Role::Admin,
        practitioner: None,
        password_hash: &hash_password(PASSWORD).unwrap(),
    };
    create_user(tx.conn(), id, &admin).await.unwrap();
    tx.commit().await.unwrap();
    sign_in(&bare.stranger(), "anneke", PASSWORD).await
}

#[tokio::test]
async fn a_new_practice_is_filled_until_its_first_booking() {
    let bare = Bare::start().await;
    let admin = new_practice(&bare).await;
    let day = admin.page("/day").await;
    assert!(day.contains("Getting started") && day.contains("0 of 3"));
    assert!(day.contains("therapists&#x2f;new?user_id="));
    assert!(!day.contains("New appointment</span></button>"));

    let gym = send(&admin, "/settings/rooms", &[("name", "Gym")], &[])
        .await
        .expect(303);
    let gym = made(&gym);
    send(&admin, "/settings/session-types", &KIND, &[])
        .await
        .expect(303);
    let day = admin.page("/day").await;
    assert!(day.contains("2 of 3"), "{day}");

    let page = send(
        &admin,
        "/settings/therapists",
        &THERAPIST,
        &[("room_id", &gym), ("username", " Lerato ")],
    )
    .await
    .expect(200);
    let password = shown(&page);
    let day = admin.page("/day").await;
    assert!(!day.contains("Getting started") && day.contains("Lerato Dlamini"));
    // In the diary, with a room and hours; the code is made from the name.
    let practitioners = admin.read("/api/v1/practitioners").await;
    let therapist = &practitioners["items"][0];
    assert_eq!(therapist["room"], "Gym");
    assert_eq!(therapist["hpcsa_number"], "PT 0012345");
    assert_eq!(therapist["session_types"][0]["code"], "hand-therapy-45");

    // The one-time password leads to a password of one's own, once.
    let stranger = bare.stranger();
    let with = |password: &str, chosen: &str, again: &str| {
        [
            ("username", "lerato".to_owned()),
            ("password", password.to_owned()),
            ("new_password", chosen.to_owned()),
            ("new_password_again", again.to_owned()),
        ]
    };
    let choose = async |password: &str, chosen: &str, again: &str| {
        let fields = with(password, chosen, again);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        stranger.post_form("/login", &fields).await
    };
    let asked = stranger
        .post_form("/login", &[("username", "lerato"), ("password", &password)])
        .await
        .expect(200);
    assert!(asked.text().contains("Choose your password"));
    assert!(
        asked.headers.get("set-cookie").is_none(),
        "signed in already"
    );
    let own = "ghoofkar reent sambreel";
    for (chosen, again, field) in [
        ("short", "short", "new_password"),
        (password.as_str(), password.as_str(), "new_password"),
        ("New Practice 1", "New Practice 1", "new_password"),
        (own, "ghoofkar reent", "new_password_again"),
    ] {
        let reply = choose(&password, chosen, again).await.expect(422);
        assert!(
            reply.text().contains(&format!("href=\"#f-{field}\"")),
            "{chosen}: {}",
            reply.text()
        );
    }
    let lerato = cookie(&stranger, &choose(&password, own, own).await.expect(303));
    lerato.get("/notes").await.expect(200);
    choose(&password, own, own).await.expect(422);
    sign_in(&stranger, "lerato", own).await;

    // 24 November is a Tuesday: she works until 16:30.
    let patient = [
        ("family_name", "Khumalo"),
        ("given_name", "Thandiwe"),
        ("birth_date", "1992-03-14"),
        ("sex", "female"),
        ("identity_kind", "none"),
    ];
    let patient = send(&lerato, "/patients", &patient, &[]).await.expect(303);
    let patient = patient.location().rsplit('/').next().unwrap().to_owned();
    let booking = [
        ("patient_id", patient.as_str()),
        ("practitioner_id", therapist["id"].as_str().unwrap()),
        ("session_type", "hand-therapy-45"),
        ("date", "2026-11-24"),
        ("start", "10:00"),
        ("duration_minutes", "45"),
    ];
    send(&lerato, "/appointments", &booking, &[])
        .await
        .expect(201);
}

#[tokio::test]
async fn the_first_admin_says_that_they_treat_patients_and_then_writes_notes() {
    let bare = Bare::start().await;
    let admin = new_practice(&bare).await;
    admin.get("/notes").await.expect(403);
    let day = admin.get("/day").await.text();
    let (_, link) = day.split_once("therapists&#x2f;new?user_id=").unwrap();
    let user = link.split('"').next().unwrap().to_owned();
    let form = admin
        .page(&format!("/settings/therapists/new?user_id={user}"))
        .await;
    assert!(form.contains("value=\"Anneke\"") && form.contains("value=\"Vermeulen\""));
    let own = [("given_name", "Anneke"), ("user_id", user.as_str())];
    let both = [own[0], own[1], ("username", "another")];
    send(&admin, "/settings/therapists", &THERAPIST, &both)
        .await
        .expect(422);
    let reply = send(&admin, "/settings/therapists", &THERAPIST, &own)
        .await
        .expect(303);
    let therapist = made(&reply);
    // At once, and still an admin.
    admin.get("/notes").await.expect(200);
    admin.get("/admin").await.expect(200);
    // One log-in is one therapist.
    send(&admin, "/settings/therapists", &THERAPIST, &own)
        .await
        .expect(422);
    // No longer a therapist: an admin without notes.
    admin
        .post_form(&format!("/settings/therapists/{therapist}/end"), &[])
        .await
        .expect(303);
    admin.get("/notes").await.expect(403);
    admin.get("/settings").await.expect(200);
}
