//! Exporting and proving the audit log: through the socket of a running box, and offline from a file.

use ed25519_dalek::SigningKey;
use hadada_audit_log::{Event, ExportWriter, Head, Leaf, Seal};
use uuid::Uuid;

use crate::fake::listen;
use crate::{Home, hadadactl};

const AT: i64 = 1_795_000_000_000_000;

fn event(number: u128) -> Event {
    Event {
        id: Uuid::from_u128(number),
        practice_id: Uuid::from_u128(1),
        at_micros: AT - 5_000_000,
        actor: "naledi".to_owned(),
        action: "read".to_owned(),
        entity: "Patient".to_owned(),
        entity_id: Some(Uuid::from_u128(77)),
        patient_id: Some(Uuid::from_u128(77)),
        reason: "handover ḓḽṅ".to_owned(),
        shown: Vec::new(),
        change: None,
    }
}

/// Three seals of two events, and one event that waits; and the head after the last seal.
fn log(home: &Home) -> (Vec<String>, Head) {
    let key = SigningKey::from_bytes(&home.read("keys/audit.key").try_into().unwrap());
    let (mut writer, header) = ExportWriter::start(&key.verifying_key(), AT);
    let mut lines = vec![header];
    let mut newest: Option<Seal> = None;
    for first in [10, 20, 30] {
        let events = [event(first), event(first + 1)];
        let mut leaves = events.each_ref().map(|event| Leaf {
            event_id: event.id,
            hash: event.leaf_hash(),
        });
        let seal = Seal::sign(newest.as_ref(), &mut leaves, AT, &key).unwrap();
        lines.push(writer.seal(&seal));
        for ((position, leaf), event) in (0..).zip(&leaves).zip(&events) {
            lines.push(writer.event(position, leaf, Some(event)));
        }
        newest = Some(seal);
    }
    lines.push(writer.unsealed(&event(40)));
    lines.push(writer.finish());
    (lines, Head::sign(&newest.unwrap(), &key))
}

fn serve(home: &Home, lines: &[String]) {
    let export = lines.concat();
    listen(home, "run/admin.sock", move |what, _| {
        assert_eq!(what, "GET /audit/export");
        (200, export.clone())
    });
}

fn keep_head(home: &Home, head: &Head) {
    std::fs::write(home.path("audit/head.json"), head.to_json()).unwrap();
}

#[tokio::test]
async fn a_running_boxs_log_is_proved() {
    let home = Home::new().await;
    let (lines, head) = log(&home);
    serve(&home, &lines);
    keep_head(&home, &head);
    let out = hadadactl(&["audit", "verify", "--dir", home.dir()])
        .await
        .good();
    assert_eq!(
        out,
        "The audit log is whole: 6 events in 3 seals; 1 events not yet sealed.\n"
    );
}

#[tokio::test]
async fn an_edited_event_is_named() {
    let home = Home::new().await;
    let (mut lines, head) = log(&home);
    lines[5] = lines[5].replace("naledi", "nobody");
    lines[8] = lines[8].replace("naledi", "nobody");
    serve(&home, &lines);
    keep_head(&home, &head);
    let out = hadadactl(&["audit", "verify", "--dir", home.dir()])
        .await
        .fault();
    let expected = format!(
        "event {} was edited: seal 2, position 0",
        Uuid::from_u128(20)
    );
    assert!(out.contains(&expected), "{out}");
}

#[tokio::test]
async fn a_cut_tail_shows_by_the_head_outside_and_by_a_slip() {
    let home = Home::new().await;
    let (mut lines, head) = log(&home);
    let file = home.path("export.jsonl");
    lines.drain(7..10);
    *lines.last_mut().unwrap() = "{\"end\":{\"seals\":2,\"events\":4,\"unsealed\":1}}\n".to_owned();
    std::fs::write(&file, lines.concat()).unwrap();
    let file = file.to_str().unwrap();

    let out = hadadactl(&["audit", "verify", file, "--dir", home.dir()])
        .await
        .good();
    assert!(
        out.contains("can't say whether newer events were cut off"),
        "{out}"
    );

    let slip = head.slip().to_string();
    let out = hadadactl(&[
        "audit",
        "verify",
        file,
        "--slip",
        &slip,
        "--dir",
        home.dir(),
    ])
    .await
    .fault();
    assert!(
        out.contains("the log was cut short") && out.contains("seal 3 with 6 events"),
        "{out}"
    );

    keep_head(&home, &head);
    let out = hadadactl(&["audit", "verify", file, "--dir", home.dir()])
        .await
        .fault();
    assert!(out.contains("seal 3 is the first one missing"), "{out}");
}

#[tokio::test]
async fn a_running_box_without_its_head_is_not_taken_on_trust() {
    let home = Home::new().await;
    let (lines, _) = log(&home);
    serve(&home, &lines);
    let out = hadadactl(&["audit", "verify", "--dir", home.dir()])
        .await
        .fault();
    assert!(
        out.contains("the head outside the database is missing"),
        "{out}"
    );
}

#[tokio::test]
async fn a_changed_head_is_refused() {
    let home = Home::new().await;
    let (lines, head) = log(&home);
    serve(&home, &lines);
    std::fs::write(
        home.path("audit/head.json"),
        head.to_json().replace("\"total\":6", "\"total\":4"),
    )
    .unwrap();
    let out = hadadactl(&["audit", "verify", "--dir", home.dir()])
        .await
        .fault();
    assert!(out.contains("the head's signature is wrong"), "{out}");
}

#[tokio::test]
async fn an_export_is_proved_elsewhere_with_the_public_key_alone() {
    let home = Home::new().await;
    let (lines, head) = log(&home);
    serve(&home, &lines);
    let elsewhere = tempfile::tempdir().unwrap();
    let place = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let out = place("log.jsonl");
    hadadactl(&["audit", "export", "--out", &out, "--dir", home.dir()])
        .await
        .good();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), lines.concat());
    assert_eq!(crate::mode(out.as_ref()), 0o600);

    std::fs::copy(home.path("keys/audit.pub"), place("box.pub")).unwrap();
    std::fs::write(place("head.json"), head.to_json()).unwrap();
    let nowhere = place("nowhere");
    let arguments = [
        "audit",
        "verify",
        &out,
        "--key",
        &place("box.pub"),
        "--head",
        &place("head.json"),
        "--dir",
        &nowhere,
    ];
    hadadactl(&arguments).await.good();

    let other = Home::new().await;
    let said = hadadactl(&["audit", "verify", &out, "--dir", other.dir()])
        .await
        .fault();
    assert!(said.contains("wrong key"), "{said}");

    let error = hadadactl(&["audit", "verify", &out, "--dir", &nowhere])
        .await
        .error();
    assert!(error.contains("which public audit key to trust"), "{error}");
}

#[tokio::test]
async fn an_export_that_fails_leaves_no_file() {
    let home = Home::new().await;
    let out = home.path("log.jsonl");
    hadadactl(&[
        "audit",
        "export",
        "--out",
        out.to_str().unwrap(),
        "--dir",
        home.dir(),
    ])
    .await
    .error();
    let left: Vec<_> = std::fs::read_dir(home.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains("log.jsonl")),
        "{left:?}"
    );
}
