//! Parts that are signed, but old, mixed or no longer fresh.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::edit;
use crate::update::bench::{Clinic, Vendor, bundle_in, release};

#[test]
fn rolled_back() {
    let vendor = Vendor::new();
    let bundle = vendor.publish(&release("0.1.0", 1));
    let old = vendor.copy("old");
    let clinic = Clinic::installed(&vendor, &bundle, "0.1.0", "");
    vendor.publish(&release("0.2.0", 2));
    clinic.apply(&vendor.repo()).good();
    clinic.apply(&old).refused("rolled back: ");
    // As old a release, freshly signed: TUF has nothing against it, the counter has.
    let fresh = vendor.copy("fresh");
    for name in ["2.targets.json", "2.snapshot.json"] {
        fs::remove_file(fresh.join("metadata").join(name)).unwrap();
    }
    fs::rename(
        fresh.join("metadata/1.targets.json"),
        fresh.join("draft/targets.json"),
    )
    .unwrap();
    edit(&fresh.join("draft/targets.json"), |json| {
        json["signed"]["version"] = 7.into();
        json["signatures"] = Value::Array(Vec::new());
    });
    for key in [
        "targets-a",
        "targets-b",
        "snapshot-s",
        "snapshot-s",
        "snapshot-s",
        "timestamp-t",
        "timestamp-t",
    ] {
        vendor.sign_in("fresh", key, &[]).good();
    }
    let said = clinic
        .ctl(&["update", "check", fresh.to_str().unwrap()])
        .good();
    assert!(said.contains("older than what this box has had"), "{said}");
    let reason = clinic.apply(&fresh).refused("rolled back: ");
    assert!(
        reason.contains("counter 1") && reason.contains("with 2"),
        "{reason}"
    );
    // The counter is kept twice: neither a lost file nor an old database lets it through.
    fs::remove_file(clinic.path("update/counter.json")).unwrap();
    clinic.apply(&fresh).refused("rolled back: ");
    fs::write(
        clinic.path("update/counter.json"),
        r#"{"counter":2,"version":"0.2.0"}"#,
    )
    .unwrap();
    let database = clinic.sql("SELECT current_database()");
    clinic.sql_in(
        "postgres",
        &format!("ALTER DATABASE {database} RESET hadada.update_counter"),
    );
    clinic.apply(&fresh).refused("rolled back: ");
    clinic.runs_wholly("0.2.0", "1");
}

#[test]
fn mix_and_match() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    let second = vendor.copy("second");
    vendor.publish(&release("0.3.0", 3));
    for (name, from) in [
        ("3.snapshot.json", "2.snapshot.json"),
        ("3.targets.json", "2.targets.json"),
    ] {
        let mixed = vendor.copy(&format!("mixed-{name}"));
        fs::copy(
            second.join("metadata").join(from),
            mixed.join("metadata").join(name),
        )
        .unwrap();
        clinic.apply(&mixed).refused("mix and match: ");
    }
    // The newest metadata with the bundle of the release before, under its name.
    let mixed = vendor.copy("mixed-bundle");
    fs::copy(bundle_in(&second), bundle_named(&mixed, "0.3.0")).unwrap();
    let said = clinic.apply(&mixed);
    assert!(
        said.err.contains("refused: tampered") || said.err.contains("refused: too big"),
        "{said:?}"
    );
    // A description that is signed, of another release than the bundle.
    let other = vendor.copy("other");
    fs::rename(
        other.join("metadata/3.targets.json"),
        other.join("draft/targets.json"),
    )
    .unwrap();
    edit(&other.join("draft/targets.json"), |json| {
        json["signatures"] = Value::Array(Vec::new())
    });
    let described = other.join("draft/targets.json");
    edit(&described, |json| {
        for target in json["signed"]["targets"]
            .as_object_mut()
            .unwrap()
            .values_mut()
        {
            target["custom"]["unpacked"] = 12.into();
        }
        json["signed"]["version"] = 4.into();
    });
    for key in ["targets-a", "targets-b", "snapshot-s", "timestamp-t"] {
        vendor.sign_in("other", key, &[]).good();
    }
    clinic
        .apply(&other)
        .refused("mix and match: the bundle is release");
    clinic.untouched("0.1.0");
}

fn bundle_named(repo: &Path, version: &str) -> PathBuf {
    fs::read_dir(repo.join("targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains(version))
        .unwrap()
}

#[test]
fn frozen_and_expired() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(10);
    let soon = format!("{soon:.0}");
    vendor.sign("timestamp-t", &["--expires", &soon]).good();
    clinic.apply(&vendor.repo()).good();
    // The source goes on offering the same when it is no longer fresh.
    while jiff::Timestamp::now() <= soon.parse().unwrap() {
        std::thread::sleep(Duration::from_millis(100));
    }
    clinic.apply(&vendor.repo()).refused("frozen: ");
    clinic
        .ctl(&["update", "check", vendor.repo().to_str().unwrap()])
        .refused("frozen: ");
    // Something newer that has expired as well.
    vendor.publish(&release("0.3.0", 3));
    vendor
        .sign("timestamp-t", &["--expires", "2026-01-01T00:00:00Z"])
        .good();
    clinic
        .apply(&vendor.repo())
        .refused("expired: the timestamp");
    vendor.freshen(&["--expires", "2026-01-01T00:00:00Z"]);
    vendor.sign("timestamp-t", &[]).good();
    clinic
        .apply(&vendor.repo())
        .refused("expired: the snapshot");
    // A box whose clock was set back can't tell.
    vendor.freshen(&[]);
    fs::write(
        clinic.path("update/trust/latest_known_time.json"),
        "\"2090-01-01T00:00:00Z\"",
    )
    .unwrap();
    clinic.apply(&vendor.repo()).refused("clock: ");
    fs::remove_file(clinic.path("update/trust/latest_known_time.json")).unwrap();
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.3.0", "1");
}
