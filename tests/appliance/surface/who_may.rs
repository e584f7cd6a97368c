//! Each route with each role, each scope of a token, and from another practice.

use hadada::accounts::TokenRequest;
use serde_json::json;
use uuid::Uuid;

use super::ask;
use super::table::Who::{Anyone, SignedIn, These};
use super::table::{ROUTES, SCOPES, USERS};
use crate::support::{Clinic, Furnished, Open, rows};

#[tokio::test]
async fn each_route_serves_whom_it_may_and_refuses_everybody_else() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    for &(method, route, who) in ROUTES {
        let address = all.address(route);
        let reply = ask(&clinic.stranger(), method, route, &address).await;
        match who {
            // Files are named by what is in them; web's own tests ask for real ones.
            Anyone if route == "/a/{file}" => assert_eq!(reply.status, 404),
            // It answers, and says so, also when the box is not ready.
            Anyone if route == "/readyz" => assert!(reply.text().contains("\"ready\":")),
            Anyone => assert!(
                !matches!(reply.status.as_u16(), 401 | 403 | 404 | 500..),
                "{method} {route}: {}",
                reply.status
            ),
            _ => assert!(
                reply.status == 401
                    || (method == "GET" && reply.location().starts_with("/login?next=")),
                "{method} {route} to a stranger: {}",
                reply.status
            ),
        }
        for user in USERS {
            let may = match who {
                These(users, _) => users.contains(&user),
                Anyone | SignedIn => true,
            };
            let reply = ask(&clinic.login(user).await, method, route, &address).await;
            let status = reply.status.as_u16();
            assert_eq!(status != 403, may, "{method} {route} by {user}: {status}");
            // The model and the typesetter do not run in every test.
            let away = status == 503
                && (route.ends_with("/draft") || route.ends_with("/pdf") || route == "/readyz");
            assert!(
                away || status < 500,
                "{method} {route} by {user}: {status} {}",
                reply.text()
            );
        }
    }
}

#[tokio::test]
async fn a_token_does_only_what_its_scope_says() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    for user in ["naledi", "admin"] {
        for scope in SCOPES {
            let request = TokenRequest {
                user: user.into(),
                scope: scope.into(),
            };
            let token = hadada::accounts::create_token(&clinic.app.db, &clinic.app.clock, &request)
                .await
                .unwrap();
            let client = clinic.with_token(token);
            for &(method, route, who) in ROUTES {
                let These(users, needed) = who else { continue };
                let reply = ask(&client, method, route, &all.address(route)).await;
                assert_eq!(
                    reply.status != 403,
                    users.contains(&user) && scope == needed,
                    "{method} {route} with {scope} of {user}: {}",
                    reply.status
                );
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_role_is_in_the_log_once() {
    let open = Open::start().await;
    let (clinic, patient) = (&open.clinic, open.patient);
    let refusals = async || -> Vec<String> {
        let mut db = clinic.superuser().await;
        sqlx::query_scalar(
            "SELECT entity || ' ' || reason || ' ' || coalesce(patient_id::text, '-') FROM audit_events
             WHERE action = 'refuse' ORDER BY at, id",
        )
        .fetch_all(&mut db)
        .await
        .unwrap()
    };
    let billing = clinic.login("billing").await;
    billing
        .get(&format!("/patients/{patient}/edit"))
        .await
        .expect(403);
    let mut told = vec![format!("Patient role: GET /patients/{{id}}/edit {patient}")];
    assert_eq!(refusals().await, told);
    billing
        .get(&format!("/patients/{patient}/audit"))
        .await
        .expect(403);
    told.push(format!(
        "AuditEvent role: GET /patients/{{id}}/audit {patient}"
    ));
    billing.get("/admin").await.expect(403);
    told.push("Device role: GET /admin -".into());
    // Notes name the patient themselves.
    billing.get(&open.path("")).await.expect(403);
    told.push(format!("Note role {patient}"));
    clinic
        .program("billing")
        .await
        .get("/api/v1/encounters")
        .await
        .expect(403);
    told.push("Note role -".into());
    // Another practitioner's visit.
    let ayesha = clinic.login("ayesha").await;
    ayesha
        .put_json(&open.path("/note"), &json!({ "version": 0, "plan": "x" }))
        .await
        .expect(403);
    told.push(format!("Note not the visit's practitioner {patient}"));
    // Another practice's patient is nobody there.
    let other = clinic.login("other-therapist").await;
    other
        .get(&format!("/patients/{patient}/audit"))
        .await
        .expect(403);
    told.push("AuditEvent role: GET /patients/{id}/audit -".into());
    let mut told_now = refusals().await;
    // The clock stands still, so events of one instant come in any order.
    told.sort();
    told_now.sort();
    assert_eq!(told_now, told);
}

#[tokio::test]
async fn every_id_of_another_practice_is_answered_as_if_it_did_not_exist() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let mut db = clinic.superuser().await;
    let before = rows(&mut db).await;
    for user in ["other", "other-therapist"] {
        let client = clinic.login(user).await;
        for &(method, route, _) in ROUTES.iter().filter(|(_, route, _)| route.contains("{id}")) {
            let reply = ask(&client, method, route, &all.address(route)).await;
            let nowhere = ask(
                &client,
                method,
                route,
                &route
                    .replace("{id}", &Uuid::now_v7().to_string())
                    .replace("{allergy}", &Uuid::now_v7().to_string())
                    .replace("{alert}", &Uuid::now_v7().to_string()),
            )
            .await;
            assert_eq!(
                reply.status,
                nowhere.status,
                "{method} {route} by {user}: {}",
                reply.text()
            );
            // 422: the body is wrong before anything is looked up, whoever's id it is.
            assert!(
                matches!(reply.status.as_u16(), 404 | 403 | 422),
                "{method} {route} by {user}: {}",
                reply.status
            );
            assert!(
                !reply.text().contains("Khumalo") && !reply.text().contains("Thandiwe"),
                "{method} {route} by {user} names the patient"
            );
        }
    }
    assert_eq!(rows(&mut db).await, before);
    let theirs: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit_events WHERE practice_id = $1 AND (patient_id = $2 OR $2 = ANY (shown))",
    )
    .bind(clinic.elsewhere.id)
    .bind(all.open.patient)
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(theirs, 0, "their log has our patient's id");
}

#[tokio::test]
async fn an_address_with_a_broken_id_leads_nowhere() {
    let clinic = Clinic::start().await;
    let naledi = clinic.login("naledi").await;
    for broken in [
        "x",
        "%00",
        "1",
        "00000000-0000-0000-0000-00000000000g",
        "..%2f..",
        "%F0%9F%A6%B5",
    ] {
        for path in [
            "/patients/",
            "/encounters/",
            "/invoices/",
            "/api/v1/patients/",
            "/api/v1/appointments/",
        ] {
            let reply = naledi.get(&format!("{path}{broken}")).await.expect(404);
            assert!(
                reply.text().contains("not in your practice"),
                "{path}{broken}"
            );
        }
    }
}
