//! Log-ins: who gets one, the one-time password, and how one ends.

use time::Duration;

use super::{THERAPIST, account, made, send, shown, sign_in};
use crate::support::{Clinic, PASSWORD, key};

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
        assert!(!admin.page(page).await.contains(&password), "{page}");
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
async fn a_therapist_without_a_log_in_gets_one_and_only_one() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let made = made(
        &send(&admin, "/settings/therapists", &THERAPIST, &[])
            .await
            .expect(303),
    );
    let form = admin
        .page(&format!("/settings/accounts/new?practitioner_id={made}"))
        .await;
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
