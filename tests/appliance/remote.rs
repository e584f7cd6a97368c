//! Remote access: only while somebody has opened it, only with a certificate, and all of it in the log.

use std::sync::Arc;

use axum::body::Body;
use hadada::lifecycle::{ClientCertificate, admin_router, remote_router};
use http::Request;
use serde_json::json;
use time::Duration;
use time::format_description::well_known::Rfc3339;

use crate::support::{Client, Clinic, Reply};

async fn clinic() -> (Clinic, Client) {
    let clinic = Clinic::start_with(|config| {
        config.client_authority = Some(config.audit_key.with_file_name("clients.pem"))
    })
    .await;
    let sealer = hadada::audit::Sealer::load(
        clinic.app.db.clone(),
        clinic.app.clock.clone(),
        &clinic.config.audit_key,
        &clinic.config.audit_head,
    )
    .unwrap();
    let admin = Client::stranger(admin_router(clinic.app.clone(), sealer));
    (clinic, admin)
}

fn until(clinic: &Clinic, after: Duration) -> String {
    (clinic.app.clock.now() + after).format(&Rfc3339).unwrap()
}

fn vendor(clinic: &Clinic) -> Client {
    Client::stranger(remote_router(clinic.app.clone()))
}

async fn push(client: &Client, body: Body) -> Reply {
    let mut request = Request::post("/box/update/push").body(body).unwrap();
    request
        .extensions_mut()
        .insert(ClientCertificate(Arc::from(*b"not parsed here")));
    client.send(request).await
}

async fn status(client: &Client) -> Reply {
    let mut request = Request::get("/box/status").body(Body::empty()).unwrap();
    request
        .extensions_mut()
        .insert(ClientCertificate(Arc::from(*b"not parsed here")));
    client.send(request).await
}

async fn told(clinic: &Clinic) -> Vec<String> {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT reason FROM audit_events WHERE actor = 'remote access' AND practice_id = $1 ORDER BY at, id")
        .bind(clinic.practice.id)
        .fetch_all(&mut db)
        .await
        .unwrap()
}

fn incoming(clinic: &Clinic) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(&clinic.config.update_incoming)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn it_opens_for_a_while_and_both_ends_are_in_the_log() {
    let (clinic, admin) = clinic().await;
    let open = async |after, reason: &str| {
        admin
            .post_json(
                "/remote-access",
                &json!({"until": until(&clinic, after), "reason": reason}),
            )
            .await
    };
    open(Duration::hours(9), "update").await.expect(422);
    open(-Duration::hours(1), "update").await.expect(422);
    open(Duration::hours(1), "").await.expect(422);
    assert_eq!(
        admin.get("/remote-access").await.expect(200).json(),
        json!(null)
    );
    open(Duration::hours(2), "update of 24 November")
        .await
        .expect(200);
    assert_eq!(
        admin.get("/remote-access").await.expect(200).json()["reason"],
        "update of 24 November"
    );
    hadada::watch::look(&clinic.app).await.unwrap();
    let page = clinic
        .login("admin")
        .await
        .get("/day")
        .await
        .expect(200)
        .text();
    assert!(
        page.contains("Remote access is open until 11:00: update of 24 November"),
        "on every page of an admin"
    );
    let page = clinic
        .login("admin")
        .await
        .get("/admin")
        .await
        .expect(200)
        .text();
    assert!(page.contains("Open until 11:00"));
    let closed = admin
        .send(
            Request::delete("/remote-access")
                .body(Body::empty())
                .unwrap(),
        )
        .await
        .expect(200);
    assert_eq!(closed.json()["was_open"], true);
    status(&vendor(&clinic)).await.expect(403);
    let log = told(&clinic).await;
    assert!(
        log[0].starts_with("remote access opened until")
            && log[0].contains("update of 24 November"),
        "{log:?}"
    );
    assert!(log[1].starts_with("remote access closed"), "{log:?}");
}

#[tokio::test]
async fn its_end_comes_by_itself() {
    let (clinic, admin) = clinic().await;
    admin
        .post_json(
            "/remote-access",
            &json!({"until": until(&clinic, Duration::hours(1)), "reason": "update"}),
        )
        .await
        .expect(200);
    status(&vendor(&clinic)).await.expect(200);
    clinic.advance(Duration::hours(1));
    status(&vendor(&clinic)).await.expect(403);
    let stop = tokio_util::sync::CancellationToken::new();
    let app = clinic.app.clone();
    let stopped = stop.clone();
    let expiring = tokio::spawn(async move { hadada::remote::expire(&app, &stopped).await });
    while !told(&clinic)
        .await
        .iter()
        .any(|l| l.contains("its time was over"))
    {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    stop.cancel();
    expiring.await.unwrap();
}

#[tokio::test]
async fn without_an_authority_there_is_no_remote_access() {
    let clinic = Clinic::start().await;
    let sealer = hadada::audit::Sealer::load(
        clinic.app.db.clone(),
        clinic.app.clock.clone(),
        &clinic.config.audit_key,
        &clinic.config.audit_head,
    )
    .unwrap();
    let admin = Client::stranger(admin_router(clinic.app.clone(), sealer));
    let refused = admin
        .post_json(
            "/remote-access",
            &json!({"until": until(&clinic, Duration::hours(1)), "reason": "update"}),
        )
        .await
        .expect(409);
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("client_authority")
    );
}

#[tokio::test]
async fn a_push_lands_whole_or_not_at_all() {
    let (clinic, admin) = clinic().await;
    let vendor = vendor(&clinic);
    push(&vendor, Body::from("bundle")).await.expect(403);
    admin
        .post_json(
            "/remote-access",
            &json!({"until": until(&clinic, Duration::hours(1)), "reason": "update"}),
        )
        .await
        .expect(200);
    let stored = push(&vendor, Body::from("bundle bytes"))
        .await
        .expect(202)
        .json();
    assert_eq!(stored["bytes"], 12);
    let names = incoming(&clinic);
    assert_eq!(names, [stored["name"].as_str().unwrap()]);
    assert_eq!(
        std::fs::read(clinic.config.update_incoming.join(&names[0])).unwrap(),
        b"bundle bytes"
    );
    push(&vendor, Body::empty()).await.expect(422);
    let broken = futures_util::stream::iter([
        Ok(bytes::Bytes::from_static(b"half")),
        Err(std::io::Error::other("cut")),
    ]);
    push(&vendor, Body::from_stream(broken)).await.expect(409);
    assert_eq!(incoming(&clinic), names, "nothing half-written is left");
    let log = told(&clinic).await;
    assert!(
        log.iter()
            .any(|l| l.contains("update of 12 bytes")
                && l.contains(stored["sha256"].as_str().unwrap())),
        "{log:?}"
    );
}
