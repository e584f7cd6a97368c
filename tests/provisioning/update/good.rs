//! Updates that go well.

use std::fs;

use serde_json::Value;

use super::bench::{Clinic, Release, SECOND, Vendor, finish, release};

fn second() -> Release {
    Release {
        migrations: vec![SECOND],
        units: vec![(
            "hadada-new.timer",
            "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n",
        )],
        ..release("0.2.0", 2)
    }
}

#[test]
fn an_update_from_a_stick_is_tried_switched_to_and_kept() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&second());

    let offer = clinic
        .ctl(&["update", "check", vendor.repo().to_str().unwrap()])
        .good();
    assert!(
        offer.contains("Release 0.2.0 can be installed") && offer.contains("this box runs 0.1.0"),
        "{offer}"
    );
    let said = clinic.apply(&vendor.repo()).good();
    for (number, step) in [
        "private copy",
        "who signed",
        "room",
        "unpacking",
        "saving the records",
        "on a copy",
        "old release would still work",
        "stopping",
        "changing the databases",
        "switching",
        "units",
        "starting",
        "works",
        "keeping",
    ]
    .into_iter()
    .enumerate()
    {
        let line = said
            .lines()
            .find(|line| line.starts_with(&format!("[{:>2}/14]", number + 1)))
            .unwrap();
        assert!(line.contains(step), "{line}");
    }
    assert!(
        said.contains("records: 1 new migrations on the copy"),
        "{said}"
    );

    clinic.runs_wholly("0.2.0", "1");
    assert_eq!(clinic.sql("SELECT count(room) FROM ledger"), "0");
    assert_eq!(
        fs::read_link(clinic.path("opt/previous")).unwrap().to_str(),
        Some("releases/0.1.0")
    );
    assert_eq!(
        fs::read_link(clinic.path("opt/guard")).unwrap().to_str(),
        Some("releases/0.2.0")
    );
    assert!(clinic.log().contains("enable hadada-new.timer"));
    assert_eq!(clinic.json("update/counter.json")["counter"], 2);
    let fact = clinic.fact();
    assert_eq!(
        (
            &fact["state"],
            &fact["facts"]["running"],
            &fact["facts"]["version"]
        ),
        (
            &Value::from("good"),
            &Value::from(false),
            &Value::from("0.2.0")
        )
    );

    // A third one: the first release is no longer needed.
    vendor.publish(&Release {
        migrations: vec![SECOND],
        ..release("0.3.0", 3)
    });
    clinic.write_row(2);
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.3.0", "1,2");
    assert!(
        !clinic.path("opt/releases/0.1.0").exists() && clinic.path("opt/releases/0.2.0").exists()
    );
    assert!(!clinic.path("etc/systemd/system/hadada-new.timer").exists());
    assert!(clinic.log().contains("disable hadada-new.timer"));
    let history = clinic.ctl(&["update", "history"]).good();
    assert_eq!(history.lines().count(), 2, "{history}");
    assert!(history.contains("0.2.0 → 0.3.0  installed"), "{history}");
    let again = clinic.apply(&vendor.repo()).good();
    assert!(again.contains("This box runs 0.3.0 already."), "{again}");
    let status = clinic.ctl(&["update", "status"]).good();
    assert!(
        status.contains("runs      0.3.0")
            && status.contains("counter   3")
            && status.contains("under way nothing"),
        "{status}"
    );
}

#[test]
fn the_way_back_keeps_what_was_entered_since_and_the_counter() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&second());
    clinic.apply(&vendor.repo()).good();
    clinic.write_row(2);
    let said = clinic.ctl(&["update", "revert"]).good();
    assert!(said.contains("This box runs 0.1.0 again."), "{said}");
    // On the newer schema, with what was entered on the newer release.
    clinic.runs_wholly("0.1.0", "1,2");
    assert_eq!(clinic.json("update/counter.json")["counter"], 2);
    assert_eq!(clinic.sql("SHOW hadada.update_counter"), "2");
    // The same release may come back, for it is not older than what the box has had.
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.2.0", "1,2");
}

#[test]
fn a_pushed_file_is_installed_once_and_gone_whether_it_was_good_or_not() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&second());
    let incoming = clinic.path("update/incoming");
    fs::create_dir_all(&incoming).unwrap();
    fs::write(incoming.join("0-bad.update"), b"no tar at all").unwrap();
    fs::copy(vendor.pack("new.update"), incoming.join("1-new.update")).unwrap();
    fs::write(incoming.join("2-later.part"), b"still on its way").unwrap();
    let said = clinic.ctl(&["update", "run"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("0-bad.update") || said.err.contains("0-bad.update"),
        "{said:?}"
    );
    assert_eq!(clinic.current(), "0.2.0", "{said:?}");
    clinic.runs_wholly("0.2.0", "1");
    let left: Vec<_> = fs::read_dir(&incoming)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["2-later.part"]);
}

#[test]
fn where_a_person_must_confirm_nothing_stays_without_their_word() {
    let vendor = Vendor::new();
    let clinic = Clinic::running(&vendor, &release("0.1.0", 1), "confirm_by_hand = true");
    vendor.publish(&second());
    let refused = clinic.ctl(&["update", "confirm"]).error();
    assert!(refused.contains("no new release waits"), "{refused}");
    let repo = vendor.repo();
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| clinic.apply(&repo));
        let began = std::time::Instant::now();
        while clinic.ctl(&["update", "confirm"]).code != Some(0) {
            assert!(
                began.elapsed().as_secs() < 50,
                "{:?}",
                applying.join().unwrap()
            );
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        applying.join().unwrap().good();
    });
    clinic.runs_wholly("0.2.0", "1");
}

#[test]
fn a_new_root_signed_by_the_old_one_is_taken_over() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    rotate(&vendor);
    vendor.sign("root-a", &[]).good();
    let half = vendor.sign("root-d", &[]).good();
    assert!(half.contains("more signature"), "{half}");
    vendor.sign("root-b", &[]).good();
    let done = vendor.sign("root-e", &[]).good();
    assert!(done.contains("complete, metadata/2.root.json"), "{done}");
    vendor.publish(&second());
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.2.0", "1");
    assert_eq!(clinic.json("update/root.json")["signed"]["version"], 2);
}

/// Begins a root whose root keys are all new.
pub(super) fn rotate(vendor: &Vendor) {
    vendor
        .run(&[
            "release",
            "keys",
            "rotate",
            "--repository",
            "repo",
            "--root-key",
            "keys/root-d.pub",
            "--root-key",
            "keys/root-e.pub",
            "--root-key",
            "keys/root-f.pub",
        ])
        .good();
}

#[test]
fn expired_metadata_passes_only_at_the_boxs_own_screen_with_a_reason_that_is_kept() {
    use ed25519_dalek::{Signature, VerifyingKey};
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&second());
    vendor
        .sign("timestamp-t", &["--expires", "2026-01-01T00:00:00Z"])
        .good();
    let repo = vendor.repo();
    let repo = repo.to_str().unwrap();
    clinic.apply(&vendor.repo()).refused("expired: ");
    let without = clinic.ctl(&["update", "apply", repo, "--accept-expired"]);
    assert!(
        without.code == Some(2) && without.err.contains("--reason"),
        "{without:?}"
    );
    let waived = [
        "update",
        "apply",
        repo,
        "--accept-expired",
        "--reason",
        "The vendor closed; we have its last stick",
    ];
    // Not from a script, not over the network.
    let script = clinic.ctl(&waived).error();
    assert!(script.contains("own screen"), "{script}");
    let remote = finish(
        clinic.command(&waived).env("SSH_CONNECTION", "10.0.0.9"),
        "accept expired\n",
    )
    .error();
    assert!(remote.contains("remote session"), "{remote}");
    let slip = finish(
        clinic
            .command(&waived)
            .env("HADADA_UPDATE_CONSOLE", "/dev/tty1"),
        "yes\n",
    )
    .error();
    assert!(slip.contains("nothing was done"), "{slip}");
    assert!(!clinic.path("update/overrides.jsonl").exists());

    finish(
        clinic
            .command(&waived)
            .env("HADADA_UPDATE_CONSOLE", "/dev/tty1"),
        "accept expired\n",
    )
    .good();
    clinic.runs_wholly("0.2.0", "1");
    let lines = fs::read_to_string(clinic.path("update/overrides.jsonl")).unwrap();
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let entry: Value = serde_json::from_str(line["entry"].as_str().unwrap()).unwrap();
    assert_eq!(entry["reason"], "The vendor closed; we have its last stick");
    assert_eq!(entry["screen"], "/dev/tty1");
    let hex = |text: &str| -> Vec<u8> { hex::decode(text.trim()).unwrap() };
    let key: [u8; 32] = hex(&fs::read_to_string(clinic.path("keys/audit.pub")).unwrap())
        .try_into()
        .unwrap();
    let signature = Signature::from_slice(&hex(line["signature"].as_str().unwrap())).unwrap();
    VerifyingKey::from_bytes(&key)
        .unwrap()
        .verify_strict(line["entry"].as_str().unwrap().as_bytes(), &signature)
        .unwrap();
}
