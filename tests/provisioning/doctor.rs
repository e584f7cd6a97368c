//! What doctor finds, and that it says what to do.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::fake::{listen, listen_tls};
use crate::{Home, hadadactl};

fn status(inference: &str, unsealed: i64) -> String {
    json!({
        "version": "0.1.0", "database": "ok", "migrations": "ok", "inference": inference,
        "audit": { "sealed": 0, "unsealed": unsealed },
    })
    .to_string()
}

#[tokio::test]
async fn a_healthy_box_has_no_fault() {
    let home = Home::new().await;
    listen(&home, "run/admin.sock", |_, _| (200, status("ok", 1)));
    listen(&home, "run/inference.sock", |_, _| {
        (200, json!({ "status": "ok" }).to_string())
    });
    let port = listen_tls(&home, |what, _| {
        (
            if what == "GET /readyz" { 200 } else { 404 },
            "{}".to_owned(),
        )
    })
    .await;
    let out = hadadactl(&["doctor", "--dir", home.dir(), "--port", &port.to_string()]).await;
    assert!(!out.out.contains("FAULT"), "{}", out.out);
    let out = out.good();
    for line in [
        "ok    master key",
        "ok    certificate: good for 4",
        "ok    database: ok",
        "0 events sealed, 1 waiting",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
}

#[tokio::test]
async fn each_fault_comes_with_what_to_do() {
    let home = Home::new().await;
    let key = home.path("keys/audit.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::remove_file(home.path("keys/recovery.pub")).unwrap();
    std::fs::write(home.path("tls/cert.pem"), home.text("tls/ca.pem")).unwrap();
    listen(&home, "run/admin.sock", |_, _| (200, status("down", 5000)));
    let out = hadadactl(&["doctor", "--dir", home.dir(), "--port", "1"])
        .await
        .fault();
    for (fault, act) in [
        ("others than its owner can read", "chmod 600"),
        ("a broken board would lose every note", "hadadactl init"),
        (
            "is missing or is not its key",
            "hadadactl certificate renew",
        ),
        ("drafting: down", "works on without drafts"),
        ("5000 events wait for their seal", "hadadactl audit verify"),
        ("nobody listens there", "start hadada"),
    ] {
        let mut lines = out.lines().skip_while(|line| !line.contains(fault)).skip(1);
        assert!(
            lines.next().is_some_and(|line| line.contains(act)),
            "{fault}: {out}"
        );
    }
}

#[tokio::test]
async fn a_web_server_with_an_old_certificate_is_noticed() {
    let home = Home::new().await;
    listen(&home, "run/admin.sock", |_, _| (200, status("ok", 0)));
    let port = listen_tls(&home, |_, _| (200, "{}".to_owned())).await;
    hadadactl(&["certificate", "renew", "--dir", home.dir()])
        .await
        .good();
    let out = hadadactl(&["doctor", "--dir", home.dir(), "--port", &port.to_string()])
        .await
        .good();
    assert!(out.contains("serves another certificate"), "{out}");
}

#[tokio::test]
async fn a_box_that_is_off_is_a_fault_and_not_an_error() {
    let home = Home::new().await;
    let out = hadadactl(&["doctor", "--dir", home.dir(), "--port", "1"])
        .await
        .fault();
    assert!(out.contains("FAULT hadada: hadada is not running"), "{out}");
}

#[tokio::test]
async fn a_box_that_refuses_to_seal_is_a_fault() {
    let home = Home::new().await;
    listen(&home, "run/admin.sock", |_, _| {
        let answer = json!({
            "version": "0.1.0", "database": "ok", "migrations": "ok", "inference": "ok",
            "audit": { "sealed": 0, "unsealed": 2, "refusal": "seals were removed or replaced" },
        });
        (200, answer.to_string())
    });
    let out = hadadactl(&["doctor", "--dir", home.dir(), "--port", "1"])
        .await
        .fault();
    let mut lines = out.lines().skip_while(|line| {
        !line.contains("FAULT audit sealing: hadada refuses to seal: seals were removed")
    });
    assert!(
        lines
            .nth(1)
            .is_some_and(|line| line.contains("hadadactl audit verify")
                && line.contains("information officer")),
        "{out}"
    );
    assert!(out.contains("0 events sealed, 2 waiting"), "{out}");
}

#[tokio::test]
async fn a_log_behind_its_head_is_a_fault() {
    use ed25519_dalek::SigningKey;
    use hadada_audit_log::{Head, Leaf, Seal};

    let home = Home::new().await;
    let key = SigningKey::from_bytes(&home.read("keys/audit.key").try_into().unwrap());
    let mut leaves = [Leaf {
        event_id: uuid::Uuid::from_u128(1),
        hash: [1; 32],
    }];
    let seal = Seal::sign(None, &mut leaves, 0, &key).unwrap();
    std::fs::write(
        home.path("audit/head.json"),
        Head::sign(&seal, &key).to_json(),
    )
    .unwrap();
    listen(&home, "run/admin.sock", |_, _| (200, status("ok", 0)));
    let out = hadadactl(&["doctor", "--dir", home.dir(), "--port", "1"])
        .await
        .fault();
    assert!(
        out.contains("it counts 1 events, the database only 0: the log was cut short"),
        "{out}"
    );
}
