//! The box's state page, metrics, and the practice's audit pages.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use hadada::audit::Sealer;
use http::{Request, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::support::Clinic;

#[tokio::test]
async fn only_the_admin_sees_the_state_of_the_box() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let page = admin.get("/admin").await.expect(200).text();
    for words in [
        "PostgreSQL 15",
        "Audit log",
        "Clinic data",
        "This program",
        "Drafting",
        "Certificate",
    ] {
        assert!(
            page.to_lowercase().contains(&words.to_lowercase()),
            "{words} is missing"
        );
    }
    assert!(
        page.contains("Starting"),
        "the drafting service has not been asked yet"
    );
    assert!(
        admin
            .get("/admin/facts")
            .await
            .expect(200)
            .text()
            .contains("hx-trigger=\"every 5s\"")
    );
    for user in ["reception", "naledi", "billing"] {
        let client = clinic.login(user).await;
        client.get("/admin").await.expect(403);
        client.get("/admin/facts").await.expect(403);
        client.get("/admin/audit").await.expect(403);
    }
}

#[tokio::test]
async fn sealing_that_lags_is_said() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    clinic.patient("Khumalo", "Thandiwe").await;
    clinic.advance(time::Duration::minutes(2));
    let behind = admin.get("/admin/facts").await.expect(200).text();
    assert!(
        behind.contains("Waiting to be sealed")
            && behind.contains("Something below needs help now.")
    );
    let sealer = Sealer::load(
        clinic.app.db.clone(),
        clinic.app.clock.clone(),
        &clinic.config.audit_key,
        &clinic.config.audit_head,
    )
    .unwrap();
    while sealer.seal_once().await.unwrap() > 0 {}
    let page = admin.get("/admin/facts").await.expect(200).text();
    assert!(!page.contains("Waiting to be sealed") && page.contains("0 waiting"));
}

async fn metrics_from(clinic: &Clinic, peer: [u8; 4], token: Option<&str>) -> (u16, String) {
    let mut request = Request::get("/metrics").body(Body::empty()).unwrap();
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::from((peer, 40_000))));
    if let Some(token) = token {
        request.headers_mut().insert(
            header::AUTHORIZATION,
            format!("Bearer {token}").parse().unwrap(),
        );
    }
    let response = clinic.router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap(),
    )
}

#[tokio::test]
async fn metrics_are_for_this_machine_or_an_admins_token() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let admin = clinic.login("admin").await;
    admin.get(&format!("/patients/{patient}")).await.expect(200);
    admin.get("/nowhere").await.expect(404);
    let token = |user: &'static str, scope: &'static str| {
        let request = hadada::accounts::TokenRequest {
            user: user.into(),
            scope: scope.into(),
        };
        let (db, clock) = (clinic.app.db.clone(), clinic.app.clock.clone());
        async move {
            hadada::accounts::create_token(&db, &clock, &request)
                .await
                .unwrap()
        }
    };
    let (status, text) = metrics_from(&clinic, [127, 0, 0, 1], None).await;
    assert_eq!(status, 200);
    assert!(
        text.contains(
            "hadada_http_requests_total{method=\"GET\",route=\"/patients/{id}\",status=\"200\"}"
        ),
        "{text}"
    );
    assert!(text.contains(
        "hadada_http_request_duration_seconds_bucket{route=\"/patients/{id}\",le=\"0.001\"}"
    ));
    assert!(
        text.contains("hadada_database_up 1")
            && text.contains("hadada_audit_unsealed")
            && text.contains("hadada_inference_state{state=\"starting\"} 1")
    );
    assert!(
        !text.contains(&patient.to_string()) && !text.contains("nowhere"),
        "no id and no stranger's path becomes a label"
    );

    let lan = [192, 168, 1, 20];
    assert_eq!(metrics_from(&clinic, lan, None).await.0, 401);
    assert_eq!(metrics_from(&clinic, lan, Some("wrong")).await.0, 401);
    assert_eq!(
        metrics_from(&clinic, lan, Some(&token("admin", "admin").await))
            .await
            .0,
        200
    );
    assert_eq!(
        metrics_from(&clinic, lan, Some(&token("admin", "patients").await))
            .await
            .0,
        403
    );
    assert_eq!(
        metrics_from(&clinic, lan, Some(&token("reception", "all").await))
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn the_admin_sees_who_did_what_and_filters_it() {
    let clinic = Clinic::start().await;
    let (thandiwe, sipho) = (
        clinic.patient("Khumalo", "Thandiwe").await,
        clinic.patient("Dlamini", "Sipho").await,
    );
    let theirs = clinic
        .patient_in(&clinic.elsewhere, "Elsewhere", "Person")
        .await;
    let (admin, naledi) = (clinic.login("admin").await, clinic.login("naledi").await);
    naledi
        .get(&format!("/patients/{thandiwe}"))
        .await
        .expect(200);
    naledi.get(&format!("/patients/{sipho}")).await.expect(200);
    naledi.get("/patients").await.expect(200);

    let rows = |text: &str| text.matches("data-label=\"What\"").count();
    let all = admin.get("/admin/audit").await.expect(200).text();
    assert!(
        all.contains("Opened the patient&#x27;s record")
            && all.contains("Saw 2 patients in a list")
            && all.contains("Khumalo, Thandiwe")
    );
    assert!(
        !all.contains("Elsewhere, Person"),
        "another practice's events"
    );
    let of_sipho = admin
        .get(&format!("/admin/audit?patient={sipho}"))
        .await
        .expect(200)
        .text();
    assert!(
        rows(&of_sipho) >= 3 && of_sipho.contains("Saw 2 patients in a list"),
        "{}",
        rows(&of_sipho)
    );
    assert!(
        !of_sipho.contains(&format!("/patients/{thandiwe}"))
            && !of_sipho.contains(&format!("&#x2f;patients&#x2f;{thandiwe}")),
        "only events about Sipho"
    );
    admin
        .get(&format!("/admin/audit?patient={theirs}"))
        .await
        .expect(404);

    let mut db = clinic.superuser().await;
    let naledi_id: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM users WHERE username = 'naledi'")
            .fetch_one(&mut db)
            .await
            .unwrap();
    let hers = admin
        .get(&format!(
            "/admin/audit?user={naledi_id}&patient=&date=2026-11-24"
        ))
        .await
        .expect(200)
        .text();
    assert_eq!(rows(&hers), 3);
    assert!(
        admin
            .get("/admin/audit?date=2026-11-23")
            .await
            .expect(200)
            .text()
            .contains("Nothing fits")
    );
    for wrong in ["user=x", "patient=x", "date=2026-02-30", "before=x"] {
        admin
            .get(&format!("/admin/audit?{wrong}"))
            .await
            .expect(422);
    }
    assert!(
        clinic
            .audited(sipho)
            .await
            .contains(&"read AuditEvent".to_owned()),
        "reading the log is in the log"
    );
}

#[tokio::test]
async fn the_log_pages_through_every_event_once() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    // Same instant for many, so that the id must break ties.
    let mut tx = clinic.tx().await;
    for _ in 0..230 {
        tx.record(
            hadada::db::AuditEvent::new(hadada::db::Action::Read, "Patient")
                .patient(patient)
                .reason("paging"),
        )
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    let admin = clinic.login("admin").await;
    for start in [
        format!("/patients/{patient}/audit"),
        "/admin/audit".to_owned(),
    ] {
        let (mut address, mut seen, mut pages) = (start.clone(), 0, 0);
        loop {
            let text = admin.get(&address).await.expect(200).text();
            seen += text.matches(">paging<").count();
            pages += 1;
            let Some((_, rest)) = text
                .split_once("rel=\"next\"")
                .map(|(before, after)| (after, before.to_owned()))
            else {
                break;
            };
            address = rest
                .rsplit_once("href=\"")
                .unwrap()
                .1
                .split_once('"')
                .unwrap()
                .0
                .replace("&#x2f;", "/")
                .replace("&amp;", "&");
        }
        assert_eq!((seen, pages), (230, 3), "{start}");
    }
}
