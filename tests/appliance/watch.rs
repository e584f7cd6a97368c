//! What the box's commands report becomes states, alerts, notices and mail.

use std::io::{BufRead, BufReader, Write};

use hadada::watch::look;
use serde_json::json;
use time::Duration;
use time::format_description::well_known::Rfc3339;

use crate::support::{Clinic, connect_as, programs};

fn report(clinic: &Clinic, kind: &str, ago: Duration, state: &str, more: serde_json::Value) {
    std::fs::create_dir_all(&clinic.config.facts_dir).unwrap();
    let mut body = json!({"kind": kind, "at": (clinic.app.clock.now() - ago).format(&Rfc3339).unwrap(), "state": state,
        "said": format!("{kind} is {state}."), "do": null, "last_good": null, "facts": {}});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    std::fs::write(
        clinic.config.facts_dir.join(format!("{kind}.json")),
        body.to_string(),
    )
    .unwrap();
}

fn all_well(clinic: &Clinic) {
    for kind in ["backup", "drill", "wal", "update", "egress"] {
        report(
            clinic,
            kind,
            Duration::minutes(1),
            "good",
            json!({"facts": {"denied": 0, "version": "0.1.0"}}),
        );
    }
}

/// The text of a page's element, as far as its end tag.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let start = page
        .find(from)
        .unwrap_or_else(|| panic!("no {from} in {page}"));
    page[start..].split(to).next().unwrap()
}

#[tokio::test]
async fn everybody_sees_whether_all_is_well_and_whom_to_call() {
    let clinic = Clinic::start().await;
    all_well(&clinic);
    for user in ["reception", "naledi", "billing", "admin"] {
        let page = clinic
            .login(user)
            .await
            .get("/status")
            .await
            .expect(200)
            .text();
        assert!(
            page.contains("Practice Admin") && page.contains("Copies of everything are made"),
            "{page}"
        );
    }
    clinic.stranger().get("/status").await.expect(303);
    clinic.advance(Duration::hours(30));
    let page = clinic
        .login("reception")
        .await
        .get("/status")
        .await
        .expect(200)
        .text();
    assert!(
        page.contains("Something needs help now") && page.contains("Last heard of 30 hours ago"),
        "{page}"
    );
    assert!(
        !page.contains("I know"),
        "only an admin says that they know"
    );
}

#[tokio::test]
async fn silence_of_the_backup_is_an_alert_until_it_speaks_again() {
    let clinic = Clinic::start().await;
    all_well(&clinic);
    look(&clinic.app).await.unwrap();
    let admin = clinic.login("admin").await;
    assert!(
        !admin
            .get("/day")
            .await
            .expect(200)
            .text()
            .contains("Backup:")
    );

    clinic.advance(Duration::hours(27));
    for kind in ["drill", "wal", "egress"] {
        report(&clinic, kind, Duration::minutes(1), "good", json!({}));
    }
    look(&clinic.app).await.unwrap();
    let admin = clinic.login("admin").await;
    let day = admin.get("/day").await.expect(200).text();
    assert!(
        between(&day, "class=\"boxbar", "</p>").contains("Backup: Last heard of 27 hours ago."),
        "{day}"
    );
    let reception = clinic
        .login("reception")
        .await
        .get("/day")
        .await
        .expect(200)
        .text();
    assert!(
        !reception.contains("class=\"boxbar"),
        "the desk is not bothered on every page"
    );

    // An admin says that they know; the state page goes on saying it.
    let facts = admin.get("/admin/facts").await.expect(200).text();
    let row = facts
        .split("<li>")
        .find(|li| li.contains("<b>Backup</b>"))
        .unwrap();
    let action = between(row, "/admin/alerts/", "\"");
    admin.post_form(action, &[]).await.expect(303);
    assert!(
        !admin
            .get("/day")
            .await
            .expect(200)
            .text()
            .contains("Backup:")
    );
    let facts = admin.get("/admin/facts").await.expect(200).text();
    assert!(facts.contains("somebody knows") && facts.contains("Needs help now"));
    let mut db = clinic.superuser().await;
    let audited: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit_events WHERE reason = 'alert acknowledged'")
            .fetch_one(&mut db)
            .await
            .unwrap();
    assert_eq!(audited, 1);

    report(&clinic, "backup", Duration::minutes(1), "good", json!({}));
    look(&clinic.app).await.unwrap();
    assert!(
        !admin
            .get("/admin/facts")
            .await
            .expect(200)
            .text()
            .contains("<b>Backup</b>")
    );
    admin.post_form(action, &[]).await.expect(404);
}

#[tokio::test]
async fn what_it_staff_want_is_on_the_state_page() {
    let clinic = Clinic::start().await;
    all_well(&clinic);
    report(
        &clinic,
        "update",
        Duration::minutes(1),
        "warning",
        json!({"said": "Installing.", "facts": {"version": "0.2.0", "step": "migrating the clone", "percent": 35}}),
    );
    report(
        &clinic,
        "egress",
        Duration::minutes(1),
        "bad",
        json!({"said": "17 connections were refused.", "do": "Run `hadadactl egress report`.", "facts": {"denied": 17}}),
    );
    report(
        &clinic,
        "unit-hadada-backup",
        Duration::minutes(1),
        "bad",
        json!({"said": "hadada-backup failed with exit code 1."}),
    );
    std::fs::write(clinic.config.facts_dir.join("drill.json"), "{").unwrap();
    let page = clinic
        .login("admin")
        .await
        .get("/admin")
        .await
        .expect(200)
        .text();
    for words in [
        "Version 0.2.0",
        "migrating the clone",
        "value=\"35\"",
        "17 refused",
        "hadadactl egress report",
        "Service hadada-backup",
        "exit code 1",
        "drill.json can&#x27;t be read",
        "Remote access",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
    // Days' measurements tell when the disk will be full.
    let mut db = clinic.superuser().await;
    let mount: String = {
        hadada::watch::forecasts(&clinic.app).await.unwrap();
        sqlx::query_scalar("SELECT name FROM box_samples LIMIT 1")
            .fetch_one(&mut db)
            .await
            .unwrap()
    };
    sqlx::query("INSERT INTO box_samples SELECT '2026-11-24'::date - d, 'disk-free', $1, value + d * (value / 10) FROM box_samples, generate_series(1, 9) d WHERE name = $1")
        .bind(&mount).execute(&mut db).await.unwrap();
    let page = clinic
        .login("admin")
        .await
        .get("/admin")
        .await
        .expect(200)
        .text();
    assert!(
        page.contains("full in 10 days") || page.contains("full in 9 days"),
        "{page}"
    );
}

#[tokio::test]
async fn metrics_open_with_the_token_of_the_file_and_tell_of_reports() {
    let clinic = Clinic::start_with(|config| {
        let path = config.audit_key.with_file_name("metrics.token");
        std::fs::write(&path, "s3cret\n").unwrap();
        config.metrics_token = Some(path);
    })
    .await;
    all_well(&clinic);
    let from_elsewhere = |token: &str| clinic.with_token(token.into()).at([192, 168, 1, 7]);
    from_elsewhere("wrong").get("/metrics").await.expect(401);
    clinic
        .stranger()
        .at([192, 168, 1, 7])
        .get("/metrics")
        .await
        .expect(401);
    let text = from_elsewhere("s3cret")
        .get("/metrics")
        .await
        .expect(200)
        .text();
    assert!(
        text.contains("hadada_report_state{kind=\"backup\"} 0")
            && text.contains("hadada_alerts_open"),
        "{text}"
    );
}

/// A mail server of one connection a thread, which keeps what it was given.
fn mail_server() -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut out = stream.unwrap();
            let mut lines = BufReader::new(out.try_clone().unwrap()).lines();
            out.write_all(b"220 test\r\n").unwrap();
            let mut data = None;
            while let Some(Ok(line)) = lines.next() {
                let reply = match &mut data {
                    Some(text) if line == "." => {
                        let done: String = std::mem::take(text);
                        data = None;
                        sender.send(done).unwrap();
                        "250 kept\r\n"
                    }
                    Some(text) => {
                        text.push_str(&line);
                        text.push('\n');
                        continue;
                    }
                    None if line.starts_with("DATA") => {
                        data = Some(String::new());
                        "354 go on\r\n"
                    }
                    None if line.starts_with("QUIT") => {
                        out.write_all(b"221 bye\r\n").unwrap();
                        break;
                    }
                    None => "250 ok\r\n",
                };
                out.write_all(reply.as_bytes()).unwrap();
            }
        }
    });
    (port, receiver)
}

#[tokio::test]
async fn alerts_leave_by_mail_through_the_outbox_and_the_ledger_has_each_attempt() {
    let (port, mails) = mail_server();
    let mail = |port: u16| {
        format!("[mail]\nserver = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\nfrom = \"box@example.org\"\nto = \"it@example.org\"\n")
            .parse::<toml::Table>()
            .unwrap()
    };
    let clinic = Clinic::start_with(|config| config.the_box = mail(port)).await;
    all_well(&clinic);
    report(
        &clinic,
        "backup",
        Duration::minutes(1),
        "bad",
        json!({"said": "The backup disk is full.", "do": "Change the disk."}),
    );
    look(&clinic.app).await.unwrap();
    look(&clinic.app).await.unwrap();
    let mut db = clinic.superuser().await;
    // The test's clock is ahead of the sender's, which is the machine's.
    sqlx::query("UPDATE outbox SET next_at = now() - interval '1 minute'")
        .execute(&mut db)
        .await
        .unwrap();

    let mut config = clinic.config.clone();
    config.the_box = mail(port);
    let mut gone = config.clone();
    gone.the_box = mail(1);
    hadada::outbox::run_sender(&gone, "hadada_sender", true)
        .await
        .unwrap();
    let state = "SELECT state || ' ' || attempts FROM outbox WHERE subject LIKE '%Backup%'";
    let queued: String = sqlx::query_scalar(state).fetch_one(&mut db).await.unwrap();
    assert_eq!(queued, "queued 1", "kept for another try");
    sqlx::query("UPDATE outbox SET next_at = now() - interval '1 minute'")
        .execute(&mut db)
        .await
        .unwrap();
    hadada::outbox::run_sender(&config, "hadada_sender", true)
        .await
        .unwrap();
    hadada::outbox::run_sender(&config, "hadada_sender", true)
        .await
        .unwrap();

    let mail = mails
        .recv_timeout(std::time::Duration::from_secs(5))
        .unwrap();
    assert!(
        mail.contains("The backup disk is full.") && mail.contains("Change the disk."),
        "{mail}"
    );
    assert!(mail.contains("To: it@example.org") && mail.contains("Backup needs help now"));
    let sent: String = sqlx::query_scalar(state).fetch_one(&mut db).await.unwrap();
    assert_eq!(sent, "sent 2");
    let ledger: Vec<(String, i32, bool)> = sqlx::query_as("SELECT destination, port, outcome = 'sent' FROM egress_ledger l JOIN outbox o ON o.id = l.outbox_id WHERE o.subject LIKE '%Backup%' ORDER BY at")
        .fetch_all(&mut db).await.unwrap();
    assert_eq!(
        ledger,
        [
            ("127.0.0.1".to_owned(), 1, false),
            ("127.0.0.1".to_owned(), i32::from(port), true)
        ]
    );
    let mut sender = connect_as("hadada_sender", &clinic.config.records_database).await;
    for table in ["patients", "audit_events", "logins", "box_alerts"] {
        let refused = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT FROM {table}")))
            .execute(&mut sender)
            .await;
        assert!(refused.is_err(), "the sender reads {table}");
    }
    assert!(programs().exists());
}

#[tokio::test]
async fn box_events_are_in_every_practice_s_log() {
    let clinic = Clinic::start().await;
    let sealer = hadada::audit::Sealer::load(
        clinic.app.db.clone(),
        clinic.app.clock.clone(),
        &clinic.config.audit_key,
        &clinic.config.audit_head,
    )
    .unwrap();
    let admin = crate::support::Client::stranger(hadada::lifecycle::admin_router(
        clinic.app.clone(),
        sealer,
    ));
    let told = admin
        .post_json(
            "/audit/event",
            &json!({"kind": "update", "text": "0.2.0 was confirmed"}),
        )
        .await
        .expect(200);
    assert_eq!(told.json()["recorded"], 2);
    for user in ["admin", "other"] {
        let page = clinic
            .login(user)
            .await
            .get("/admin/audit")
            .await
            .expect(200)
            .text();
        assert!(page.contains("update: 0.2.0 was confirmed"));
    }
    let long = "x".repeat(501);
    for wrong in [
        json!({"kind": "Up date", "text": "x"}),
        json!({"kind": "update", "text": ""}),
        json!({"kind": "update", "text": long}),
    ] {
        admin.post_json("/audit/event", &wrong).await.expect(422);
    }
}

#[tokio::test]
async fn a_restored_log_is_sealed_on_only_after_somebody_accepted_it() {
    let clinic = Clinic::start().await;
    let sealer = |key: &std::path::Path| {
        hadada::audit::Sealer::load(
            clinic.app.db.clone(),
            clinic.app.clock.clone(),
            key,
            &clinic.config.audit_head,
        )
        .unwrap()
    };
    let ours = sealer(&clinic.config.audit_key);
    clinic.patient("Khumalo", "Thandiwe").await;
    while ours.seal_once().await.unwrap() > 0 {}
    let old_head = std::fs::read_to_string(&clinic.config.audit_head).unwrap();
    clinic.patient("Naidoo", "Priya").await;
    while ours.seal_once().await.unwrap() > 0 {}
    // A restore to before the second seal, on another machine with a key of its own.
    let mut db = clinic.superuser().await;
    sqlx::raw_sql(
        "DELETE FROM audit_leaves WHERE seal_seq > 1; DELETE FROM audit_seals WHERE seq > 1",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let other_key = clinic.config.audit_key.with_extension("new");
    std::fs::write(&other_key, [9; 32]).unwrap();
    let theirs = sealer(&other_key);
    clinic.patient("Dlamini", "Sipho").await;
    theirs.seal_once().await.unwrap_err();
    assert!(theirs.state().await.unwrap().refusal.is_some());

    let admin = crate::support::Client::stranger(hadada::lifecycle::admin_router(
        clinic.app.clone(),
        theirs.clone(),
    ));
    admin
        .post_json(
            "/audit/accept-head",
            &json!({"by": "", "reason": "restore"}),
        )
        .await
        .expect(422);
    let accepted = admin
        .post_json(
            "/audit/accept-head",
            &json!({"by": "Pieter of IT", "reason": "restored from last night"}),
        )
        .await
        .expect(200)
        .json();
    assert!(
        accepted["old"].as_str().unwrap().starts_with("2-"),
        "{accepted}"
    );
    assert!(
        accepted["new"].as_str().unwrap().starts_with("1-"),
        "{accepted}"
    );
    assert_ne!(
        std::fs::read_to_string(&clinic.config.audit_head).unwrap(),
        old_head,
        "signed by this box"
    );
    while theirs.seal_once().await.unwrap() > 0 {}
    assert_eq!(theirs.state().await.unwrap().refusal, None);
    let page = clinic
        .login("admin")
        .await
        .get("/admin/audit")
        .await
        .expect(200)
        .text();
    assert!(page.contains("audit head accepted by Pieter of IT: restored from last night"));
    // Seals cut out of the middle are no log to accept.
    sqlx::raw_sql("ALTER TABLE audit_leaves DROP CONSTRAINT audit_leaves_seal_seq_fkey; DELETE FROM audit_seals WHERE seq = 1").execute(&mut db).await.unwrap();
    admin
        .post_json("/audit/accept-head", &json!({"by": "x", "reason": "y"}))
        .await
        .expect(409);
}
