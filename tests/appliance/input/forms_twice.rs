//! A form that comes twice, as after a double click or a lost answer.

use super::forms::{forms, settings};
use super::post;
use crate::support::{Furnished, key, rows};

/// Every form that makes something, sent twice, and twice at once, makes one.
#[tokio::test]
async fn a_form_sent_twice_makes_one_record() {
    let all = Furnished::start().await;
    let open = &all.open;
    open.sign("1").await.expect(303);
    let clinic = &open.clinic;
    let mut db = clinic.superuser().await;
    for (path, table) in [
        ("/patients", "patients"),
        ("/allergies", "allergies"),
        ("/alerts", "alerts"),
        ("/appointments", "appointments"),
        ("/appointments/blocks", "appointments"),
        ("/waiting-list", "waiting_list"),
        ("/addenda", "note_addenda"),
        ("/scores", "outcome_scores"),
        ("/payments", "payments"),
        ("/settings/rooms", "rooms"),
        ("/settings/session-types", "session_types"),
        ("/settings/therapists", "practitioners"),
        ("/settings/accounts", "users"),
    ] {
        let mut form = forms(&all)
            .into_iter()
            .chain(settings(&all))
            .find(|f| f.path.ends_with(path))
            .unwrap_or_else(|| panic!("no form {path}"));
        if path == "/appointments/blocks" {
            for (name, value) in [("start", "13:00"), ("duration_minutes", "30")] {
                form.set(name, value);
            }
        }
        for at_once in [false, true] {
            if at_once && path.starts_with("/appointments") {
                form.set("date", "2026-11-26");
            }
            if at_once && path.starts_with("/settings") {
                form.fields[0].1.push('2');
            }
            if at_once && path == "/patients" {
                form.fields[2].1 = "Rendani".into();
            }
            form.set("idempotency_key", &key());
            let client = clinic.login(form.user).await;
            let before = rows(&mut db).await[table];
            let (first, second) = if at_once {
                tokio::join!(
                    post(&client, &form.path, &form.fields),
                    post(&client, &form.path, &form.fields)
                )
            } else {
                (
                    post(&client, &form.path, &form.fields).await,
                    post(&client, &form.path, &form.fields).await,
                )
            };
            for reply in [&first, &second] {
                assert!(
                    reply.status.is_success() || reply.status.is_redirection(),
                    "{path}: {} {}",
                    reply.status,
                    reply.text()
                );
            }
            assert_eq!(first.location(), second.location(), "{path}");
            assert_eq!(
                rows(&mut db).await[table],
                before + 1,
                "{path}, at once: {at_once}"
            );
        }
    }
}
