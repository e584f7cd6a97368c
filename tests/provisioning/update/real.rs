//! One update with the real `hadada` on both sides: its migrations on a copy of the records, the old program on the migrated copy,
//! the version it says it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::bench::{Clinic, Vendor, release};

fn real() -> PathBuf {
    let programs = std::env::var("HADADA_BIN_DIR")
        .unwrap_or_else(|_| panic!("HADADA_BIN_DIR names the folder of the built programs; `tests/run provisioning` sets it"));
    PathBuf::from(programs).join("hadada")
}

/// A release with the real program and the real migrations.
fn build(vendor: &Vendor, version: &'static str, counter: u64, more: Option<&str>) -> PathBuf {
    let source = vendor.write(&release(version, counter), &format!("real-{version}"));
    fs::copy(real(), source.join("bin/hadada")).unwrap();
    fs::set_permissions(source.join("bin/hadada"), fs::Permissions::from_mode(0o755)).unwrap();
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    for kind in ["records", "keys"] {
        let folder = source.join("migrations").join(kind);
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(format!("{repository}/{kind}")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    if let Some(more) = more {
        fs::write(source.join("migrations/records/9999_more.sql"), more).unwrap();
    }
    let out = vendor.path(&format!("real-out-{version}"));
    vendor
        .run(&[
            "release",
            "build",
            "--out",
            out.to_str().unwrap(),
            "--version",
            version,
            "--counter",
            &counter.to_string(),
            "--bin",
            source.join("bin").to_str().unwrap(),
            "--source",
            source.to_str().unwrap(),
        ])
        .good();
    out.join(format!("hadada-{version}.tar.zst"))
}

#[test]
fn the_real_program_is_updated_and_taken_back() {
    let vendor = Vendor::new();
    let first = build(&vendor, "0.1.0", 1, None);
    let publish = |bundle: &PathBuf| {
        vendor.sign_bundle(bundle).good();
        vendor.sign("targets-b", &[]).good();
        vendor.freshen(&[]);
    };
    publish(&first);
    let clinic = Clinic::bare(&vendor, &first, "0.1.0", "health_seconds = 60");
    assert_eq!(clinic.status().unwrap()["version"], "0.1.0");
    clinic.sql("CREATE TABLE ledger (id int PRIMARY KEY, said text NOT NULL)");
    clinic.write_row(1);

    publish(&build(&vendor, "0.2.0", 2, None));
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.2.0", "1");
    clinic.ctl(&["update", "revert"]).good();
    clinic.runs_wholly("0.1.0", "1");

    // Its manifest promises a migration that the program does not carry: found on the copy.
    publish(&build(
        &vendor,
        "0.3.0",
        3,
        Some("CREATE TABLE more (id int);"),
    ));
    let reason = clinic
        .apply(&vendor.repo())
        .refused("the migrations on a copy of the records ended at");
    assert!(reason.contains("not at 9999"), "{reason}");
    clinic.runs_wholly("0.1.0", "1");

    // On a database that a newer release has been on, the old program's own migration step must not stop it.
    clinic.sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9998, 'newer', true, '', 0)");
    clinic.cut_power();
    clinic.start_again();
    clinic.runs_wholly("0.1.0", "1");
}
