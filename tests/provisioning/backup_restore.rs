//! Restoring: to a second, one patient, a new machine, and after an erasure.

use std::fs;

use crate::backup_site::{Site, plain_folder};

/// A table of the test's own, with rows that say when they came.
async fn mark(site: &Site, name: &str) -> String {
    site.sql(&format!("INSERT INTO marks VALUES ('{name}')"));
    // Points of recovery are between transactions, and people name whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let at = site.sql("SELECT to_char(date_trunc('second', now()) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    at
}

#[tokio::test]
async fn the_database_goes_back_to_a_second() {
    let site = Site::ready().await;
    site.sql("CREATE TABLE marks (name text); GRANT SELECT ON marks TO hadada_backup");
    site.ctl(&["backup", "run"]).await.good();
    mark(&site, "one").await;
    let second = mark(&site, "two").await;
    mark(&site, "three").await;
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();

    let plan = site
        .ctl(&["restore", "at", &second, "--dry-run"])
        .await
        .good();
    assert!(plan.contains("base backup of"), "{plan}");
    assert_eq!(site.sql("SELECT count(*) FROM marks"), "3");
    site.ctl(&["restore", "at", &second]).await.error();

    let said = site.ctl(&["restore", "at", &second, "--yes"]).await.good();
    assert!(
        said.contains("Time: ") && said.contains("is gone from the database, as asked"),
        "{said}"
    );
    assert_eq!(
        site.sql("SELECT string_agg(name, ' ' ORDER BY name) FROM marks"),
        "one two"
    );

    // The old one is there until somebody confirms.
    let aside = || {
        fs::read_dir(site.dir())
            .unwrap()
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("postgres.before-")
            })
            .count()
    };
    assert_eq!(aside(), 1);
    site.ctl(&["restore", "confirm"]).await.good();
    assert_eq!(aside(), 0);

    // It goes on from here: a new base backup, and the log of the new time.
    site.sql("INSERT INTO marks VALUES ('four')");
    site.ctl(&["backup", "run"]).await.good();
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.sql("INSERT INTO marks VALUES ('five')");
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.ctl(&["restore", "latest", "--yes"]).await.good();
    assert_eq!(
        site.sql("SELECT string_agg(name, ' ' ORDER BY name) FROM marks"),
        "five four one two"
    );
}

#[tokio::test]
async fn with_the_disk_still_there_the_newest_state_is_everything() {
    let site = Site::backed_up().await;
    // Never switched, never pushed: only in the old database's own folder.
    site.sql("CREATE TABLE late (n int); INSERT INTO late VALUES (1)");
    let said = site.ctl(&["restore", "latest", "--yes"]).await.good();
    assert!(said.contains("Data loss: none"), "{said}");
    assert_eq!(site.sql("SELECT count(*) FROM late"), "1");
}

#[tokio::test]
async fn a_restore_that_fails_leaves_the_clinic_as_it_was() {
    let site = Site::backed_up().await;
    site.sql("CREATE TABLE today (n int)");
    for entry in walk(&site.target.join("keys/data")) {
        let mut content = fs::read(&entry).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        fs::remove_file(&entry).unwrap();
        fs::write(&entry, content).unwrap();
    }
    let error = site.ctl(&["restore", "latest", "--yes"]).await.error();
    assert!(error.contains("other bytes than it was given"), "{error}");
    assert_eq!(site.sql("SELECT count(*) FROM today"), "0");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .flatten()
        .flat_map(|entry| {
            if entry.path().is_dir() {
                walk(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

#[tokio::test]
async fn one_patients_record_comes_back_without_touching_the_rest() {
    let site = Site::backed_up().await;
    let patient = "(SELECT patient_id FROM encounters JOIN note_versions USING (practice_id) WHERE encounters.id = encounter_id GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1)";
    let number = site.sql(&format!(
        "SELECT file_number FROM patients WHERE id = {patient}"
    ));
    let practice = site.sql(&format!(
        "SELECT name FROM practices JOIN patients USING (practice_id) WHERE patients.id = {patient}"
    ));
    let notes = site.sql(&format!("SELECT count(*) FROM note_versions n JOIN encounters e ON e.id = n.encounter_id WHERE e.patient_id = {patient}"));
    let body = site.sql(&format!("SELECT encode(n.body, 'hex') FROM note_versions n JOIN encounters e ON e.id = n.encounter_id WHERE e.patient_id = {patient} LIMIT 1"));
    site.sql("UPDATE patients SET given_name = 'Overwritten'");
    let out = site.dir().join("record.jsonl");
    site.ctl(&[
        "restore",
        "patient",
        &number,
        "--practice",
        &practice,
        "--out",
        out.to_str().unwrap(),
    ])
    .await
    .good();
    assert_eq!(crate::mode(&out), 0o600);
    let rows: Vec<serde_json::Value> = fs::read_to_string(&out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |table: &str| {
        rows.iter()
            .filter(|row| row["table"] == table)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("patients").len(), 1);
    assert_ne!(of("patients")[0]["row"]["given_name"], "Overwritten");
    assert_eq!(of("note_versions").len().to_string(), notes);
    assert!(!of("appointments").is_empty() && !of("appointment_participants").is_empty());
    // Encrypted text stays so.
    assert!(
        of("note_versions")
            .iter()
            .any(|row| row["row"]["body"].as_str().unwrap().contains(&body))
    );
    let id = of("patients")[0]["row"]["id"].as_str().unwrap().to_owned();
    for row in rows
        .iter()
        .filter(|row| row["row"].get("patient_id").is_some())
    {
        assert_eq!(row["row"]["patient_id"], id.as_str(), "{row}");
    }
    // Of other people there is nothing, least of all passwords.
    assert!(of("users").is_empty());
    site.ctl(&[
        "restore",
        "patient",
        "no-such",
        "--out",
        out.to_str().unwrap(),
    ])
    .await
    .error();
}

#[tokio::test]
async fn a_new_machine_comes_back_from_paper_alone() {
    let site = Site::backed_up().await;
    site.sql("CREATE TABLE marks (name text); GRANT SELECT ON marks TO hadada_backup; INSERT INTO marks VALUES ('pushed')");
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    let paper = site.paper();
    let audit = fs::read(site.dir().join("keys/audit.key")).unwrap();
    let authority = fs::read(site.dir().join("tls/ca.pem")).unwrap();
    let patients = site.sql("SELECT count(*) FROM patients");
    let wrapped = site.keys_sql("SELECT wrapped FROM practice_keys ORDER BY practice_id LIMIT 1");

    let new = site.new_hardware();
    let folder = site.target.to_str().unwrap();
    let other = hadada_paper();
    let error = new
        .ctl_reading(&other, &["restore", "new-box", "--folder", folder])
        .await
        .error();
    assert!(error.contains("another box"), "{error}");
    let said = new
        .ctl_reading(&paper, &["restore", "new-box", "--folder", folder])
        .await
        .good();
    assert!(said.contains("Time: "), "{said}");
    assert!(
        said.contains("Data loss: whatever was entered after"),
        "{said}"
    );
    assert_eq!(new.sql("SELECT count(*) FROM patients"), patients);
    // What was pushed after the nightly copy of the ledger is there too.
    assert_eq!(new.sql("SELECT name FROM marks"), "pushed");
    assert_eq!(fs::read(new.dir().join("keys/audit.key")).unwrap(), audit);
    assert_eq!(fs::read(new.dir().join("tls/ca.pem")).unwrap(), authority);
    assert_eq!(
        fs::read(new.dir().join("documents/scans/one.pdf")).unwrap(),
        fs::read(site.dir().join("documents/scans/one.pdf")).unwrap()
    );
    // Wrapped by the new machine's master key.
    assert_ne!(
        new.keys_sql("SELECT wrapped FROM practice_keys ORDER BY practice_id LIMIT 1"),
        wrapped
    );
    // The paper is this machine's now, and backups go on; the old machine's key opens them no more.
    new.ctl_reading(&paper, &["recovery", "check"]).await.good();
    new.configure(&plain_folder(&site.target));
    new.ctl(&["backup", "setup"]).await.good();
    new.ctl(&["backup", "run"]).await.good();
    new.switch_wal().await;
    new.ctl(&["wal", "push"]).await.good();
    new.ctl(&["drill", "run"]).await.good();
    assert_ne!(site.ctl(&["backup", "run"]).await.code, Some(0));
}

/// A recovery key of some other box.
fn hadada_paper() -> String {
    use sha2::{Digest, Sha256};
    let secret = [9_u8; 32];
    let hash = Sha256::new()
        .chain_update(b"hadada recovery key v1\0")
        .chain_update(secret)
        .finalize();
    let mut bytes = secret.to_vec();
    bytes.extend(&hash[..3]);
    hadada_audit_log::paper::encode(&bytes)
}

#[tokio::test]
async fn who_was_erased_stays_erased() {
    let site = Site::backed_up().await;
    let before = {
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        site.sql("SELECT to_char(date_trunc('second', now()) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    };
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let ids = site
        .keys_sql("SELECT practice_id || ' ' || patient_id FROM patient_keys ORDER BY 1 LIMIT 2");
    let ids: Vec<(&str, &str)> = ids
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let line = |(practice, patient): (&str, &str)| {
        format!(
            "{{\"practice_id\":\"{practice}\",\"patient_id\":\"{patient}\",\"at\":\"2026-11-22T10:00:00Z\",\"by\":\"somebody\",\"reason\":\"patient-asked\",\"reason_hash\":\"{}\"}}\n",
            "00".repeat(32)
        )
    };
    let number = site.sql(&format!(
        "SELECT file_number FROM patients WHERE id = '{}'",
        ids[0].1
    ));
    for (_, patient) in &ids {
        site.keys_sql(&format!(
            "DELETE FROM patient_keys WHERE patient_id = '{patient}'"
        ));
    }
    // The first reached the target with the log; the second is only in the box's own register.
    let register = site.dir().join("audit/erasures.jsonl");
    fs::write(&register, line(ids[0])).unwrap();
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    fs::write(&register, line(ids[1])).unwrap();

    site.ctl(&["restore", "at", &before, "--yes"]).await.good();
    for (_, patient) in &ids {
        assert_eq!(
            site.keys_sql(&format!(
                "SELECT count(*) FROM patient_keys WHERE patient_id = '{patient}'"
            )),
            "0",
            "{patient}"
        );
    }
    // The control: the others' keys came back.
    assert!(
        site.keys_sql("SELECT count(*) FROM patient_keys")
            .parse::<u32>()
            .unwrap()
            > 20
    );
    let register = fs::read_to_string(&register).unwrap();
    for (_, patient) in &ids {
        assert!(register.contains(patient), "{register}");
    }
    // Nor is a record taken from the backup for somebody: the name was in the clear in it.
    let out = site.dir().join("record.jsonl");
    let practice = site.sql(&format!(
        "SELECT name FROM practices WHERE practice_id = '{}'",
        ids[0].0
    ));
    let command = [
        "restore",
        "patient",
        &number,
        "--practice",
        &practice,
        "--at",
        &before,
        "--out",
        out.to_str().unwrap(),
    ];
    let error = site.ctl(&command).await.error();
    assert!(error.contains("was erased"), "{error}");
    assert!(!out.exists());
}

#[tokio::test]
async fn the_page_for_the_safe_can_be_printed() {
    let page = crate::hadadactl(&["restore", "procedure"]).await.good();
    for words in [
        "hadadactl restore new-box --folder",
        "recovery key",
        "hadadactl restore at",
        "15 minutes for 5 GB",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.lines().all(|line| line.len() <= 120));
}
