//! Rooms, session types and therapists: what is refused, what meets another change, what is logged.

use time::Duration;

use super::{KIND, THERAPIST, Usual, account, made, send, sign_in};
use crate::support::{Clinic, PASSWORD, rows};

#[tokio::test]
async fn what_is_wrong_is_said_beside_its_field_and_nothing_is_written() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let mut db = clinic.superuser().await;
    let before = rows(&mut db).await;
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
    assert_eq!(rows(&mut db).await, before);
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

#[tokio::test]
async fn reception_reads_the_settings_and_the_log_has_every_change() {
    let clinic = Clinic::start().await;
    let (admin, reception) = (clinic.login("admin").await, clinic.login("reception").await);
    let seen = reception.page("/settings").await;
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
    let seen = admin.page("/admin/audit").await;
    assert!(seen.contains("Added a room") && seen.contains("Added a session type"));
}
