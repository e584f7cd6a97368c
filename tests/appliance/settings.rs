//! The practice's settings: staff, rooms and session types, from an empty practice on.

use hadada::accounts::{NewUser, create_user, hash_password};
use hadada::db::{Action, Actor, AuditEvent, PracticeTx};
use hadada::ids::PracticeId;
use hadada::web::Role;
use time::Duration;
use uuid::Uuid;

use crate::support::{Bare, Client, Clinic, PASSWORD, Reply};

fn key() -> String {
    Uuid::now_v7().to_string()
}

/// Sends a form with a key of its own, and other fields than usual.
async fn send(
    client: &Client,
    path: &str,
    usual: &[(&str, &str)],
    other: &[(&str, &str)],
) -> Reply {
    let key = key();
    let mut fields: Vec<(&str, &str)> = usual
        .iter()
        .filter(|(name, _)| other.iter().all(|(o, _)| o != name))
        .copied()
        .collect();
    fields.extend(other);
    fields.push(("idempotency_key", &key));
    client.post_form(path, &fields).await
}

/// A form's usual fields.
type Usual = &'static [(&'static str, &'static str)];

const THERAPIST: [(&str, &str); 6] = [
    ("given_name", "Lerato"),
    ("family_name", "Dlamini"),
    ("discipline", "physiotherapy"),
    ("hpcsa_number", "pt0012345"),
    ("monday", "8-12:30, 13h30-17:00"),
    ("tuesday", "08:00-16:30"),
];
const KIND: [(&str, &str); 4] = [
    ("name", "Hand therapy"),
    ("duration_minutes", "45"),
    ("price", "R 650,00"),
    ("capacity", "1"),
];

/// The id that a redirect back to the list names.
fn made(reply: &Reply) -> String {
    let location = reply.location();
    let id = location.strip_prefix("/settings?done=");
    id.unwrap_or_else(|| panic!("{location}: {}", reply.text()))
        .to_owned()
}

/// A password that a page shows once.
fn shown(reply: &Reply) -> String {
    let text = reply.text();
    let (_, rest) = text
        .split_once("onetime-p\">")
        .unwrap_or_else(|| panic!("no password in {text}"));
    rest.split('<').next().unwrap().to_owned()
}

/// Signs in as a browser does.
async fn sign_in(stranger: &Client, username: &str, password: &str) -> Client {
    let fields = [("username", username), ("password", password)];
    cookie(
        stranger,
        &stranger.post_form("/login", &fields).await.expect(303),
    )
}

fn cookie(stranger: &Client, reply: &Reply) -> Client {
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    stranger.with_cookie(cookie.split(';').next().unwrap())
}

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
    for counter in ["patient_counters", "invoice_counters"] {
        let statement = format!("INSERT INTO {counter} (practice_id) VALUES ($1)");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(id)
            .execute(tx.conn())
            .await
            .unwrap();
    }
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
    let day = admin.get("/day").await.expect(200).text();
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
    let day = admin.get("/day").await.expect(200).text();
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
    let day = admin.get("/day").await.expect(200).text();
    assert!(!day.contains("Getting started") && day.contains("Lerato Dlamini"));
    // In the diary, with a room and hours; the code is made from the name.
    let practitioners = admin.get("/api/v1/practitioners").await.expect(200).json();
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
        .get(&format!("/settings/therapists/new?user_id={user}"))
        .await
        .expect(200)
        .text();
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

#[tokio::test]
async fn what_is_wrong_is_said_beside_its_field_and_nothing_is_written() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let mut db = clinic.superuser().await;
    let before = crate::input::rows(&mut db).await;
    let elsewhere = clinic.elsewhere.room.to_string();
    let cases: [(&str, Usual, &str, &str); 24] = [
        ("/settings/rooms", &[], "name", " "),
        ("/settings/rooms", &[], "name", "room 1"),
        ("/settings/session-types", &KIND, "name", ""),
        (
            "/settings/session-types",
            &KIND,
            "name",
            "PHYSIOTHERAPY session",
        ),
        ("/settings/session-types", &KIND, "duration_minutes", "47"),
        ("/settings/session-types", &KIND, "duration_minutes", "485"),
        ("/settings/session-types", &KIND, "price", "-1"),
        ("/settings/session-types", &KIND, "price", "1,234"),
        ("/settings/session-types", &KIND, "capacity", "0"),
        ("/settings/session-types", &KIND, "given_by", "astrology"),
        ("/settings/session-types", &KIND, "tariff_code", "72 302"),
        ("/settings/therapists", &THERAPIST, "given_name", ""),
        ("/settings/therapists", &THERAPIST, "family_name", ""),
        ("/settings/therapists", &THERAPIST, "discipline", ""),
        ("/settings/therapists", &THERAPIST, "hpcsa_number", "12345"),
        ("/settings/therapists", &THERAPIST, "bhf_number", "123"),
        // Another practice's room is none.
        ("/settings/therapists", &THERAPIST, "room_id", &elsewhere),
        ("/settings/therapists", &THERAPIST, "sunday", "17:00-08:00"),
        ("/settings/therapists", &THERAPIST, "username", "Lerato D"),
        // Of another practice on the same box.
        ("/settings/therapists", &THERAPIST, "username", "other"),
        (
            "/settings/accounts",
            &[("role", "billing"), ("display_name", "X")],
            "username",
            "naledi",
        ),
        (
            "/settings/accounts",
            &[("role", "billing"), ("username", "xx")],
            "display_name",
            "",
        ),
        (
            "/settings/accounts",
            &[("display_name", "X"), ("username", "xx")],
            "role",
            "owner",
        ),
        (
            "/settings/accounts",
            &[
                ("role", "practitioner"),
                ("display_name", "X"),
                ("username", "xx"),
            ],
            "practitioner_id",
            "",
        ),
    ];
    for (path, usual, field, value) in cases {
        let reply = send(&admin, path, usual, &[(field, value)]).await;
        assert_eq!(
            reply.status,
            422,
            "{path} {field}={value}: {}",
            reply.text()
        );
        let text = reply.text();
        assert!(
            text.contains(&format!("href=\"#f-{field}\""))
                && text.contains(&format!("id=\"f-{field}\"")),
            "{path} {field}={value}: {text}"
        );
    }
    assert_eq!(crate::input::rows(&mut db).await, before);
}

#[tokio::test]
async fn two_admins_who_change_the_same_thing_see_both_sides() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let practice = &clinic.practice;
    let cases: [(String, Usual, &str, &str, &str); 4] = [
        (
            format!("rooms/{}", practice.room),
            &[],
            "name",
            "Gym",
            "Pool",
        ),
        (
            format!("session-types/{}", practice.session_type),
            &KIND,
            "price",
            "700,00",
            "710,00",
        ),
        (
            format!("therapists/{}", practice.physio),
            &THERAPIST,
            "monday",
            "09:00-12:00",
            "10:00-12:00",
        ),
        (
            format!("accounts/{}", practice.admin),
            &[("role", "admin")],
            "display_name",
            "Anneke V",
            "Anneke W",
        ),
    ];
    for (path, usual, field, mine, theirs) in cases {
        let path = format!("/settings/{path}");
        let save = async |version: &str, value: &str| {
            send(
                &admin,
                &path,
                usual,
                &[("version", version), (field, value)],
            )
            .await
        };
        admin.get(&path).await.expect(200);
        save("1", theirs).await.expect(303);
        let reply = save("1", mine).await.expect(409).text();
        assert!(reply.contains("Somebody changed this meanwhile"), "{path}");
        assert!(
            reply.contains("Save mine over it") && reply.contains("name=\"version\" value=\"2\"")
        );
        let bare = |text: &str| text.trim_end_matches(",00").to_owned();
        assert!(
            reply.contains(&bare(mine)) && reply.contains(&bare(theirs)),
            "{path}: {reply}"
        );
        save("2", mine).await.expect(303);
        // The same again changes nothing, whatever version it is over.
        save("1", mine).await.expect(303);
        save("", mine).await.expect(422);
    }
}

#[tokio::test]
async fn what_is_booked_holds_back_what_would_lose_it() {
    let clinic = Clinic::start().await;
    let (admin, practice) = (clinic.login("admin").await, &clinic.practice);
    let patient = clinic.patient("Khumalo", "Thandiwe").await.to_string();
    let physio = practice.physio.to_string();
    let booking = [
        ("patient_id", patient.as_str()),
        ("practitioner_id", &physio),
        ("session_type", "physio-45"),
        ("date", "2026-11-25"),
        ("start", "10:00"),
        ("duration_minutes", "45"),
    ];
    send(&admin, "/appointments", &booking, &[])
        .await
        .expect(201);
    let post = async |path: String| admin.post_form(&format!("/settings/{path}"), &[]).await;
    let refused = post(format!("therapists/{physio}/end"))
        .await
        .expect(409)
        .text();
    assert!(
        refused.contains("1 booking to come on 25-Nov-2026 at 10:00"),
        "{refused}"
    );
    let refused = post(format!("rooms/{}/end", practice.room))
        .await
        .expect(409);
    assert!(refused.text().contains("Naledi Mokoena works in Room 1"));
    // A booked session can't turn into a class under its patient.
    let kind = format!("/settings/session-types/{}", practice.session_type);
    let reply = send(&admin, &kind, &KIND, &[("version", "1"), ("capacity", "8")]).await;
    assert!(reply.expect(422).text().contains("href=\"#f-capacity\""));
    // It may be ended: what is booked stays, and nothing new is booked.
    post(format!("session-types/{}/end", practice.session_type))
        .await
        .expect(303);
    let again = [("start", "12:00")];
    send(&admin, "/appointments", &booking, &again)
        .await
        .expect(422);
    let day = admin.get("/day?date=2026-11-25").await.text();
    assert!(day.contains("Khumalo") && day.contains("Physiotherapy session"));
    post(format!("session-types/{}/back", practice.session_type))
        .await
        .expect(303);
    send(&admin, "/appointments", &booking, &again)
        .await
        .expect(201);

    // Once it is over, the therapist can be ended; the past keeps their column, and they are signed out.
    let naledi = clinic.login("naledi").await;
    naledi.get("/day").await.expect(200);
    clinic.advance(Duration::days(2));
    let (admin, naledi) = (clinic.login("admin").await, clinic.login("naledi").await);
    let post = async |path: String| admin.post_form(&format!("/settings/{path}"), &[]).await;
    let ended = post(format!("therapists/{physio}/end")).await.expect(303);
    let page = admin.get(ended.location()).await.text();
    assert!(
        page.contains("Naledi Mokoena is no longer in use") && page.contains("Undo"),
        "{page}"
    );
    naledi.get("/day").await.expect(303);
    let fields = [("username", "naledi"), ("password", PASSWORD)];
    clinic
        .stranger()
        .post_form("/login", &fields)
        .await
        .expect(422);
    let past = admin.get("/day?date=2026-11-25").await.text();
    assert!(past.contains(&format!("data-practitioner=\"{physio}\"")));
    let coming = admin.get("/day?date=2026-12-01").await.text();
    assert!(!coming.contains(&physio), "{coming}");
    post(format!(
        "accounts/{}/back",
        account(&clinic, "naledi").await
    ))
    .await
    .expect(409);
    post(format!("therapists/{physio}/back")).await.expect(303);
    sign_in(&clinic.stranger(), "naledi", PASSWORD).await;
}

async fn account(clinic: &Clinic, username: &str) -> Uuid {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT user_id FROM logins WHERE username = $1")
        .bind(username)
        .fetch_one(&mut db)
        .await
        .unwrap()
}

#[tokio::test]
async fn ending_a_log_in_ends_its_sessions_and_tokens_and_never_the_last_admin() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let reception = account(&clinic, "reception").await;
    let browser = clinic.login("reception").await;
    let program = clinic.program("reception").await;
    program.get("/api/v1/patients").await.expect(200);
    let path = format!("/settings/accounts/{reception}");
    admin
        .post_form(&format!("{path}/end"), &[])
        .await
        .expect(303);
    browser.get("/day").await.expect(303);
    program.get("/api/v1/patients").await.expect(401);
    admin
        .post_form(&format!("{path}/back"), &[])
        .await
        .expect(303);
    // A token that ended stays ended.
    program.get("/api/v1/patients").await.expect(401);
    sign_in(&clinic.stranger(), "reception", PASSWORD).await;

    let own = format!("/settings/accounts/{}", clinic.practice.admin);
    for what in ["end", "password"] {
        send(&admin, &format!("{own}/{what}"), &[], &[])
            .await
            .expect(409);
    }
    let fields = [
        ("version", "1"),
        ("display_name", "Practice Admin"),
        ("role", "billing"),
    ];
    let reply = admin.post_form(&own, &fields).await.expect(422);
    assert!(reply.text().contains("href=\"#f-role\""));
    // Two admins may end each other, but not both at once.
    let fields = [("display_name", "Zinhle Maseko"), ("role", "admin")];
    let fields = [fields[0], fields[1], ("version", "3")];
    admin.post_form(&path, &fields).await.expect(303);
    let second = clinic.login("reception").await;
    let (theirs, mine) = (format!("{path}/end"), format!("{own}/end"));
    let (one, two) = tokio::join!(admin.post_form(&theirs, &[]), second.post_form(&mine, &[]));
    let done = [&one, &two].iter().filter(|r| r.status == 303).count();
    let mut db = clinic.superuser().await;
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM users WHERE practice_id = $1 AND role = 'admin' AND active",
    )
    .bind(clinic.practice.id)
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert!(
        left >= 1 && done >= 1,
        "{left} admins, {} {}",
        one.status,
        two.status
    );
}

#[tokio::test]
async fn a_one_time_password_is_shown_once_works_once_and_runs_out() {
    let clinic = Clinic::start().await;
    let (admin, stranger) = (clinic.login("admin").await, clinic.stranger());
    let billing = account(&clinic, "billing").await;
    let browser = clinic.login("billing").await;
    let path = format!("/settings/accounts/{billing}/password");
    let key = key();
    let first = admin
        .post_form(&path, &[("idempotency_key", &key)])
        .await
        .expect(200);
    let password = shown(&first);
    // The old one is gone, and whoever had it is out.
    browser.get("/day").await.expect(303);
    let old = [("username", "billing"), ("password", PASSWORD)];
    stranger.post_form("/login", &old).await.expect(422);
    // A double click shows the same one; nothing else shows it.
    let again = admin
        .post_form(&path, &[("idempotency_key", &key)])
        .await
        .expect(200);
    assert_eq!(shown(&again), password);
    for page in [
        "/settings",
        &format!("/settings/accounts/{billing}"),
        "/admin/audit",
    ] {
        assert!(
            !admin.get(page).await.expect(200).text().contains(&password),
            "{page}"
        );
    }
    let mut db = clinic.superuser().await;
    let kept: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM audit_events WHERE reason LIKE '%' || $1 || '%')
              + (SELECT count(*) FROM logins WHERE password_hash LIKE '%' || $1 || '%')",
    )
    .bind(&password)
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(kept, 0);
    // It is no way around the choice: wrong ones count, and a session begins only after it.
    let given = [("username", "billing"), ("password", password.as_str())];
    stranger.post_form("/login", &given).await.expect(200);
    clinic.advance(Duration::days(7) + Duration::minutes(1));
    let late = stranger.post_form("/login", &given).await.expect(422);
    assert!(late.text().contains("too old"), "{}", late.text());
    let chosen = [
        given[0],
        given[1],
        ("new_password", "ghoofkar reent sambreel"),
        ("new_password_again", "ghoofkar reent sambreel"),
    ];
    stranger.post_form("/login", &chosen).await.expect(422);
    // A later one takes the place of an earlier one, whose form shows nothing any more.
    let admin = clinic.login("admin").await;
    let newer = send(&admin, &path, &[], &[]).await.expect(200);
    assert_ne!(shown(&newer), password);
    admin
        .post_form(&path, &[("idempotency_key", &key)])
        .await
        .expect(303);
}

#[tokio::test]
async fn reception_reads_the_settings_and_the_log_has_every_change() {
    let clinic = Clinic::start().await;
    let (admin, reception) = (clinic.login("admin").await, clinic.login("reception").await);
    let seen = reception.get("/settings").await.expect(200).text();
    assert!(seen.contains("Naledi Mokoena") && seen.contains("Room 1") && seen.contains("650,00"));
    assert!(!seen.contains("/settings/rooms/new") && !seen.contains("/end\""));
    // Another practice's settings are not among them.
    assert!(!seen.contains("other-therapist"));
    let mut db = clinic.superuser().await;
    let mut logged = async || -> Vec<String> {
        sqlx::query_scalar(
            "SELECT action || ' ' || entity || ' ' || reason FROM audit_events
             WHERE practice_id = $1 AND entity IN ('Location', 'HealthcareService', 'Practitioner', 'User') ORDER BY at, id",
        )
        .bind(clinic.practice.id)
        .fetch_all(&mut db)
        .await
        .unwrap()
    };
    assert_eq!(logged().await, Vec::<String>::new());
    let room = send(&admin, "/settings/rooms", &[("name", "Gym")], &[])
        .await
        .expect(303);
    let room = format!("/settings/rooms/{}", made(&room));
    let fields = [("name", "Pool"), ("version", "1")];
    admin.post_form(&room, &fields).await.expect(303);
    admin
        .post_form(&format!("{room}/end"), &[])
        .await
        .expect(303);
    admin
        .post_form(&format!("{room}/end"), &[])
        .await
        .expect(303);
    admin
        .post_form(&format!("{room}/back"), &[])
        .await
        .expect(303);
    send(&admin, "/settings/session-types", &KIND, &[])
        .await
        .expect(303);
    let account = [
        ("username", "lerato"),
        ("display_name", "Lerato Dlamini"),
        ("role", "receptionist"),
    ];
    send(&admin, "/settings/accounts", &account, &[])
        .await
        .expect(200);
    let naledi = format!("/settings/therapists/{}", clinic.practice.physio);
    let fields = [
        ("version", "1"),
        ("given_name", "Naledi"),
        ("family_name", "Mokoena-Smit"),
    ];
    send(&admin, &naledi, &THERAPIST, &fields).await.expect(303);
    let logged = logged().await;
    let told = |what: &str| assert!(logged.iter().any(|l| l == what), "{what} in {logged:#?}");
    for what in [
        "create Location Name: Gym",
        "update Location Name: Gym → Pool",
        "delete Location Pool",
        "update Location Pool: in use again",
        "create HealthcareService Name: Hand therapy; Given by: Any therapist; Length: 45 min; Price: R\u{a0}650,00; Places: 1",
        "create User lerato, role Reception",
        "update User was given a one-time password",
        "update User Name: Naledi Mokoena → Naledi Mokoena-Smit",
    ] {
        told(what);
    }
    assert!(
        logged
            .iter()
            .any(|l| l.starts_with("update Practitioner Family name: Mokoena → Mokoena-Smit"))
    );
    // Ended twice is ended once, and so is the log.
    assert_eq!(
        logged
            .iter()
            .filter(|l| l.starts_with("delete Location"))
            .count(),
        1
    );
    let seen = admin.get("/admin/audit").await.expect(200).text();
    assert!(seen.contains("Added a room") && seen.contains("Added a session type"));
}

#[tokio::test]
async fn a_therapist_without_a_log_in_gets_one_and_only_one() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let made = made(
        &send(&admin, "/settings/therapists", &THERAPIST, &[])
            .await
            .expect(303),
    );
    let form = admin
        .get(&format!("/settings/accounts/new?practitioner_id={made}"))
        .await
        .expect(200)
        .text();
    assert!(form.contains("value=\"Lerato Dlamini\""));
    let account = [
        ("username", "lerato"),
        ("display_name", "Lerato Dlamini"),
        ("role", "practitioner"),
        ("practitioner_id", made.as_str()),
    ];
    let refused = send(
        &admin,
        "/settings/accounts",
        &account,
        &[("role", "billing")],
    )
    .await;
    assert!(refused.expect(422).text().contains("href=\"#f-role\""));
    send(&admin, "/settings/accounts", &account, &[])
        .await
        .expect(200);
    let second = send(
        &admin,
        "/settings/accounts",
        &account,
        &[("username", "lerato2")],
    )
    .await;
    assert!(
        second
            .expect(422)
            .text()
            .contains("href=\"#f-practitioner_id\"")
    );
    // Whose id is another practice's is nobody.
    let theirs = clinic.elsewhere.occupational.to_string();
    let other = [
        ("username", "lerato3"),
        ("practitioner_id", theirs.as_str()),
    ];
    send(&admin, "/settings/accounts", &account, &other)
        .await
        .expect(422);
}
