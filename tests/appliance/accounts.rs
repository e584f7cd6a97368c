//! Signing in, being refused, and signing out.

use time::Duration;

use crate::support::{Clinic, PASSWORD};

#[tokio::test]
async fn signing_in_leads_to_the_page_asked_for_and_out_again() {
    let clinic = Clinic::start().await;
    let stranger = clinic.stranger();
    let turned_away = stranger.get("/events").await.expect(303);
    assert_eq!(turned_away.location(), "/login?next=/events");

    let reply = stranger
        .post_form(
            "/login",
            &[
                ("username", " Reception "),
                ("password", PASSWORD),
                ("next", "/patients"),
            ],
        )
        .await
        .expect(303);
    assert_eq!(reply.location(), "/patients");
    let cookie = reply.headers.get("set-cookie").unwrap().to_str().unwrap();
    for part in [
        "__Host-hadada=",
        "Secure",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }

    let browser = clinic.login("reception").await;
    browser.get("/login").await.expect(303);
    browser.post_form("/logout", &[]).await.expect(303);
    browser.get("/login").await.expect(200);
}

#[tokio::test]
async fn ten_wrong_passwords_close_the_account_for_a_while() {
    let clinic = Clinic::start().await;
    let stranger = clinic.stranger();
    for _ in 0..10 {
        let reply = stranger
            .post_form("/login", &[("username", "naledi"), ("password", "wrong")])
            .await
            .expect(422);
        assert!(
            reply
                .text()
                .contains("The user name or the password is wrong")
        );
    }
    let closed = stranger
        .post_form("/login", &[("username", "naledi"), ("password", PASSWORD)])
        .await
        .expect(429);
    assert_eq!(closed.headers.get("retry-after").unwrap(), "900");
    assert!(closed.text().contains("opens again in 15 minutes"));
    clinic.advance(Duration::minutes(16));
    stranger
        .post_form("/login", &[("username", "naledi"), ("password", PASSWORD)])
        .await
        .expect(303);
}

#[tokio::test]
async fn an_unknown_name_is_answered_like_a_wrong_password() {
    let clinic = Clinic::start().await;
    let unknown = clinic
        .stranger()
        .post_form("/login", &[("username", "nobody"), ("password", "x")])
        .await
        .expect(422);
    assert!(
        unknown
            .text()
            .contains("The user name or the password is wrong")
    );
    clinic
        .stranger()
        .post_form("/login", &[("username", "nul\0"), ("password", "x")])
        .await
        .expect(422);
}

#[tokio::test]
async fn a_session_ends_after_an_idle_hour_and_after_eight_hours() {
    let clinic = Clinic::start().await;
    let browser = clinic.login("reception").await;
    clinic.advance(Duration::minutes(61));
    browser.get("/events").await.expect(303);

    let busy = clinic.login("reception").await;
    for _ in 0..9 {
        clinic.advance(Duration::minutes(50));
        busy.get("/login").await.expect(303);
    }
    clinic.advance(Duration::minutes(50));
    busy.get("/login").await.expect(200);
}

#[tokio::test]
async fn requests_from_another_site_are_refused() {
    let clinic = Clinic::start().await;
    let browser = clinic.login("reception").await;
    let request = http::Request::post("/logout")
        .header("sec-fetch-site", "cross-site")
        .body(axum::body::Body::empty())
        .unwrap();
    browser.send(request).await.expect(403);
    browser.get("/login").await.expect(303);
}

#[tokio::test]
async fn every_response_carries_the_security_headers() {
    let clinic = Clinic::start().await;
    for path in ["/login", "/nowhere", "/healthz", "/api/openapi.json"] {
        let reply = clinic.stranger().get(path).await;
        for name in [
            "content-security-policy",
            "x-content-type-options",
            "referrer-policy",
            "permissions-policy",
            "strict-transport-security",
        ] {
            assert!(reply.headers.contains_key(name), "{path} lacks {name}");
        }
        assert_eq!(
            reply.headers.get("cache-control").unwrap(),
            "no-store",
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_program_without_a_valid_token_gets_a_problem_document() {
    let clinic = Clinic::start().await;
    let reply = clinic
        .stranger()
        .post_json("/api/v1/nowhere", &serde_json::json!({}))
        .await
        .expect(404);
    assert_eq!(
        reply.headers.get("content-type").unwrap(),
        "application/problem+json"
    );
    assert_eq!(reply.json()["status"], 404);
}

#[tokio::test]
async fn a_person_changes_their_own_password_and_is_signed_out_elsewhere() {
    let clinic = Clinic::start().await;
    let (here, elsewhere) = (clinic.login("naledi").await, clinic.login("naledi").await);
    let colleague = clinic.login("reception").await;
    let change = async |now: &str, new: &str, again: &str| {
        let fields = [
            ("password", now),
            ("new_password", new),
            ("new_password_again", again),
        ];
        here.post_form("/password", &fields).await
    };
    let own = "vier woorde vir naledi";
    for (now, new, again, field) in [
        ("wrong", own, own, "password"),
        (PASSWORD, "short", "short", "new_password"),
        (PASSWORD, PASSWORD, PASSWORD, "new_password"),
        (
            PASSWORD,
            own,
            "vier woorde vir lerato",
            "new_password_again",
        ),
    ] {
        let text = change(now, new, again).await.expect(422).text();
        assert!(text.contains(&format!("href=\"#f-{field}\"")), "{text}");
        assert!(!text.contains(own), "a password is sent back");
    }
    let reply = change(PASSWORD, own, own).await.expect(303);
    assert!(here.page(reply.location()).await.contains("is changed"));
    elsewhere.get("/day").await.expect(303);
    colleague.get("/day").await.expect(200);
    let sign_in = async |password: &str| {
        let fields = [("username", "naledi"), ("password", password)];
        clinic.stranger().post_form("/login", &fields).await
    };
    sign_in(PASSWORD).await.expect(422);
    sign_in(own).await.expect(303);
    let mut db = clinic.superuser().await;
    let logged: Vec<String> = sqlx::query_scalar(
        "SELECT action || ' ' || entity || ': ' || reason FROM audit_events
         WHERE entity IN ('User', 'Session') AND reason IN ('wrong password', 'changed their password') ORDER BY at, id",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    assert_eq!(
        logged,
        [
            "refuse Session: wrong password",
            "update User: changed their password",
            "refuse Session: wrong password"
        ]
    );
}

#[tokio::test]
async fn an_open_page_is_no_way_to_try_passwords() {
    let clinic = Clinic::start().await;
    let here = clinic.login("naledi").await;
    let own = "vier woorde vir naledi";
    let fields = |password| {
        [
            ("password", password),
            ("new_password", own),
            ("new_password_again", own),
        ]
    };
    for _ in 0..10 {
        here.post_form("/password", &fields("wrong"))
            .await
            .expect(422);
    }
    let closed = here.post_form("/password", &fields(PASSWORD)).await;
    assert!(closed.expect(429).text().contains("opens again in"));
    clinic.advance(Duration::minutes(16));
    here.post_form("/password", &fields(PASSWORD))
        .await
        .expect(303);
    // A program's token changes nobody's password.
    let program = clinic.program("naledi").await;
    assert!(
        program
            .post_form("/password", &fields(own))
            .await
            .status
            .is_client_error()
    );
}
