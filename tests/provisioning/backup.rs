//! Nightly backups, base backups, the continuous log and the drill, on a real Postgres with real restic.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::backup_site::{Site, password_of};
use crate::{Home, hadadactl, hadadactl_reading};

#[tokio::test]
async fn a_backup_is_verified_by_a_restore_and_by_nothing_else() {
    let site = Site::backed_up().await;
    let list = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(list.matches("not tried yet").count(), 2, "{list}");
    assert!(!list.contains("verified"), "{list}");
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();

    let said = site.ctl(&["drill", "run"]).await.good();
    for step in [
        "each file as the server sent it",
        "replayed to its end",
        "each row in each index",
        "by its checksum",
        "each table as it was",
        "the keys as they were",
        "audit log's chain holds",
        "questions about the content",
        "1 documents",
        "The backup is verified.",
    ] {
        assert!(said.contains(step), "{step}: {said}");
    }
    let list = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(list.matches("verified 20").count(), 2, "{list}");
    assert!(list.contains("any second from"), "{list}");
    let fact = site.fact("drill");
    assert_eq!(
        (&fact["state"], &fact["facts"]["failed"]),
        (&"good".into(), &0.into()),
        "{fact}"
    );
    assert_eq!(site.fact("backup")["state"], "good");
    assert_eq!(site.fact("wal")["state"], "good");
    // Nothing of the trial stays.
    let scratch = site.dir().join("backup/scratch");
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);

    // The report is signed.
    assert!(
        site.ctl(&["drill", "show"])
            .await
            .good()
            .contains("The backup is verified.")
    );
    let report = site.dir().join("backup/drill.json");
    let changed = fs::read_to_string(&report)
        .unwrap()
        .replace("good\\\":true", "good\\\":false");
    fs::write(&report, changed).unwrap();
    assert!(
        site.ctl(&["drill", "show"])
            .await
            .error()
            .contains("did not sign it")
    );
}

#[tokio::test]
async fn without_its_disk_nothing_is_written_to_the_boxs_own() {
    let site = Site::with(|target| {
        format!(
            "[[box.backup.target]]\nname = \"usb\"\nfolder = \"{}\"\n",
            target.display()
        )
    });
    for command in [&["backup", "setup"][..], &["backup", "run"]] {
        let said = site.ctl(command).await;
        let words = format!("{}{}", said.out, said.err);
        assert_ne!(said.code, Some(0), "{words}");
        assert!(words.contains("nothing is mounted at"), "{words}");
    }
    assert_eq!(fs::read_dir(&site.target).unwrap().count(), 0);
    let fact = site.fact("backup");
    assert_eq!(fact["state"], "bad", "{fact}");
    assert!(
        fact["do"].as_str().unwrap().contains("Plug the disk in"),
        "{fact}"
    );
    // The same with the folder gone altogether.
    fs::remove_dir(&site.target).unwrap();
    assert_ne!(site.ctl(&["backup", "run"]).await.code, Some(0));
    assert!(!site.target.exists());
}

#[tokio::test]
async fn a_target_that_was_gone_gets_the_log_when_it_is_back() {
    let site = Site::backed_up().await;
    let away = site.target.with_extension("away");
    fs::rename(&site.target, &away).unwrap();
    for round in 0..3 {
        site.sql(&format!("CREATE TABLE away_{round} (n int)"));
        site.switch_wal().await;
    }
    site.ctl(&["wal", "push"]).await.fault();
    let fact = site.fact("wal");
    assert_eq!(fact["state"], "warning", "{fact}");
    assert!(
        fact["facts"]["waiting_files"].as_u64().unwrap() >= 3,
        "{fact}"
    );
    // What waits is on this machine's disk, and takes no more room than what is in it.
    let waiting: u64 = fs::read_dir(site.dir().join("wal/spool"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512)
        .sum();
    assert!(waiting < 24 << 20, "{waiting}");
    fs::rename(&away, &site.target).unwrap();
    site.ctl(&["wal", "push"]).await.good();
    let fact = site.fact("wal");
    assert_eq!(
        (&fact["state"], &fact["facts"]["waiting_files"]),
        (&"good".into(), &0.into()),
        "{fact}"
    );
    site.ctl(&["drill", "run"]).await.good();
    // A push replaces the one before it: the repository does not grow a snapshot a minute.
    for round in 0..3 {
        site.sql(&format!("CREATE TABLE back_{round} (n int)"));
        site.switch_wal().await;
        site.ctl(&["wal", "push"]).await.good();
    }
    let ledger = fs::read_to_string(site.dir().join("backup/ledger.json")).unwrap();
    assert_eq!(ledger.matches("\\\"wal\\\":{").count(), 1, "{ledger}");
}

#[tokio::test]
async fn backups_and_the_log_wait_for_one_another() {
    let site = Site::backed_up().await;
    let backups = async {
        for command in [
            &["backup", "run"][..],
            &["backup", "check", "--read", "1/1"],
            &["backup", "base"],
            &["backup", "run"],
            &["drill", "run"],
        ] {
            let said = site.ctl(command).await;
            assert_eq!(said.code, Some(0), "{command:?}: {}{}", said.out, said.err);
        }
    };
    let log = async {
        // More than are removed at once.
        for _ in 0..18 {
            site.sql("SELECT pg_logical_emit_message(true, 'test', 'busy')");
            site.switch_wal().await;
            site.ctl(&["wal", "push"]).await.good();
            assert_eq!(site.fact("wal")["state"], "good");
        }
    };
    tokio::join!(backups, log);
    assert_eq!(site.fact("backup")["state"], "good");
}

#[tokio::test]
async fn a_second_backup_or_drill_says_that_one_runs_and_raises_no_alarm() {
    let site = Site::ready().await;
    for (lock, command, kind) in [
        ("nightly", ["backup", "run"], "backup"),
        ("drill", ["drill", "run"], "drill"),
    ] {
        let file = fs::File::create(site.dir().join(format!("backup/{lock}.lock"))).unwrap();
        file.lock().unwrap();
        let said = site.ctl(&command).await;
        assert_eq!(said.code, Some(3), "{said:?}");
        let said = said.err;
        assert!(said.contains("wait for it to end"), "{said}");
        assert!(!site.dir().join(format!("facts/{kind}.json")).exists());
    }
}

#[tokio::test]
async fn old_backups_that_cannot_be_removed_take_nothing_from_the_new_one() {
    let site = Site::backed_up().await;
    site.ctl(&["backup", "run"]).await.good();
    let before = site.snapshots("records").len();
    // Another machine writes there, and restic removes nothing meanwhile.
    let mut other = site.restic_begun(
        "records",
        &[
            "backup",
            "--stdin",
            "--stdin-filename",
            "x",
            "--host",
            "other",
        ],
    );
    let locks = site.target.join("records/locks");
    for _ in 0..600 {
        if fs::read_dir(&locks).unwrap().count() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = site.ctl(&["backup", "run"]).await.fault();
    assert!(
        said.contains("Backed up to usb, but old backups could not be removed."),
        "{said}"
    );
    let fact = site.fact("backup");
    assert_eq!(fact["state"], "warning", "{fact}");
    assert!(
        fact["do"]
            .as_str()
            .unwrap()
            .contains("another program uses"),
        "{fact}"
    );
    assert_eq!(fact["last_good"], fact["at"], "{fact}");
    assert!(site.snapshots("records").len() > before);
    other.kill().unwrap();
    other.wait().unwrap();
    // It is as good as any other, and the next run removes what was left.
    site.ctl(&["drill", "run"]).await.good();
    site.ctl(&["backup", "run"]).await.good();
    assert_eq!(site.fact("backup")["state"], "good");
}

#[tokio::test]
async fn a_gap_in_the_log_is_closed_by_a_new_base_backup() {
    let site = Site::backed_up().await;
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    for round in 0..2 {
        site.sql(&format!("CREATE TABLE t_{round} (n int)"));
        site.switch_wal().await;
    }
    let mut waiting: Vec<_> = fs::read_dir(site.dir().join("wal/spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    waiting.sort();
    // As if the spool's limit had taken it.
    fs::remove_file(&waiting[0]).unwrap();
    let before = site
        .ctl(&["backup", "list"])
        .await
        .good()
        .matches("  base ")
        .count();
    site.ctl(&["wal", "push"]).await.good();
    let after = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(after.matches("  base ").count(), before + 1, "{after}");
    assert!(!site.dir().join("wal/base-demanded").exists());
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.ctl(&["drill", "run"]).await.good();
}

#[tokio::test]
async fn a_log_that_does_not_arrive_makes_the_drill_red() {
    let site = Site::ready().await;
    site.sql("UPDATE audit_events SET at = at - interval '2 hours'");
    site.ctl(&["backup", "run"]).await.good();
    // The clinic worked on until ten minutes ago, and nothing was pushed.
    site.sql(
        "INSERT INTO audit_events (practice_id, id, at, actor, action, entity) SELECT practice_id, gen_random_uuid(), \
         now() - interval '10 minutes', 'system', 'execute', 'Device' FROM practices LIMIT 1",
    );
    let said = site.ctl(&["drill", "run"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("the continuous log does not arrive"),
        "{}",
        said.out
    );
    assert_eq!(site.fact("drill")["state"], "bad");
}

#[tokio::test]
async fn a_dump_cut_short_is_never_a_backup() {
    let site = Site::backed_up().await;
    let before = site.snapshots("records");
    site.sql(
        "CREATE TABLE large AS SELECT g AS id, string_agg(md5(g::text || h), '') AS words FROM generate_series(1, 40000) g, \
         generate_series(1, 60) h GROUP BY g; GRANT SELECT ON large TO hadada_backup",
    );
    let running = async { site.ctl(&["backup", "run"]).await };
    let cutting = async {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            // pg_dump loses its connection half way through the large table.
            let cut = site.sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'COPY public.large%'",
            );
            if cut != "0" {
                return;
            }
            assert!(
                Instant::now() < until,
                "pg_dump never came to the large table"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (said, ()) = tokio::join!(running, cutting);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("pg_dump"), "{}", said.err);
    assert_eq!(site.snapshots("records"), before);
    assert_eq!(site.fact("backup")["state"], "bad");
    let list = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(list.matches("  nightly ").count(), 1, "{list}");
    // hadadactl killed while it streams: restic takes the end of its input for the end of the dump, the ledger does not.
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_hadadactl"))
        .args(["backup", "run", "--dir", site.dir().to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while site.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY public.large%'")
        == "0"
    {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().await.unwrap();
    let list = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(list.matches("  nightly ").count(), 1, "{list}");
    site.sql("DROP TABLE large");
    let broken = site.snapshots("records");
    site.ctl(&["backup", "run"]).await.good();
    let list = site.ctl(&["backup", "list"]).await.good();
    // The newest of the day stays, the leftover goes, and nothing is a stranger's.
    assert_eq!(list.matches("  nightly ").count(), 1, "{list}");
    assert!(!list.contains("not this box's"), "{list}");
    let there = site.snapshots("records");
    assert!(
        broken
            .iter()
            .filter(|id| !before.contains(id))
            .all(|id| !there.contains(id))
    );
}

#[tokio::test]
async fn the_record_backup_has_no_keys() {
    let site = Site::backed_up().await;
    let wrapped = site.keys_sql(
        "SELECT encode(wrapped, 'hex') FROM patient_keys UNION ALL SELECT encode(wrapped, 'hex') FROM practice_keys \
         UNION ALL SELECT encode(recovery_wrapped, 'hex') FROM practice_keys",
    );
    let wrapped: Vec<&str> = wrapped.lines().collect();
    assert!(wrapped.len() > 20);
    let has_one = |repository: &str| {
        site.snapshots(repository).iter().any(|id| {
            let into = site.dir().join(format!("out-{repository}-{id}"));
            let output = site.restic(
                repository,
                &["restore", id, "--target", into.to_str().unwrap()],
                b"",
            );
            assert!(output.status.success(), "{output:?}");
            let mut folders = vec![into];
            let mut found = false;
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        let content = fs::read(&path).unwrap();
                        found |= wrapped.iter().any(|key| {
                            let bytes = hex::decode(key).unwrap();
                            content
                                .windows(key.len())
                                .any(|window| window == key.as_bytes())
                                || content.windows(bytes.len()).any(|window| window == bytes)
                        });
                    }
                }
            }
            found
        })
    };
    assert!(!has_one("records"));
    // The control: where keys are, this finds them.
    assert!(has_one("keys"));
    // Nor does its password lead to them.
    let output = std::process::Command::new("restic")
        .args(["--no-cache", "-r"])
        .arg(site.target.join("keys"))
        .arg("-p")
        .arg(site.dir().join("password-records"))
        .arg("snapshots")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("wrong password"),
        "{output:?}"
    );
}

#[tokio::test]
async fn no_secret_shows_in_the_process_table() {
    let site = Site::ready().await;
    let secret = fs::read(site.dir().join("keys/backup.key")).unwrap();
    let recovery = fs::read(site.dir().join("keys/recovery-backup.key")).unwrap();
    let mut secrets: Vec<Vec<u8>> = vec![
        secret.clone(),
        recovery.clone(),
        hex::encode(&secret).into(),
        hex::encode(&recovery).into(),
    ];
    for repository in ["records", "keys"] {
        secrets.push(password_of(&secret, repository).into());
        secrets.push(password_of(&recovery, repository).into());
    }
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watched = done.clone();
    let watching = std::thread::spawn(move || {
        let (mut restic, mut shown) = (0, Vec::new());
        while !watched.load(std::sync::atomic::Ordering::Relaxed) {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                for file in ["cmdline", "environ"] {
                    // It may be gone, or another's.
                    let Ok(content) = fs::read(entry.path().join(file)) else {
                        continue;
                    };
                    restic += usize::from(
                        file == "environ"
                            && content.windows(4).any(|word| word == b"PATH")
                            && fs::read(entry.path().join("comm"))
                                .is_ok_and(|name| name == b"restic\n"),
                    );
                    if secrets.iter().any(|secret| {
                        content
                            .windows(secret.len())
                            .any(|window| window == *secret)
                    }) {
                        shown.push(entry.path().join(file));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        (restic, shown)
    });
    site.ctl(&["backup", "run"]).await.good();
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let (restic, shown) = watching.join().unwrap();
    assert!(restic > 0, "restic was never seen, so this shows nothing");
    assert_eq!(shown, Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_box_of_an_earlier_release_gets_its_backup_keys_by_typing_the_paper_once() {
    let home = Home::new().await;
    let paper: String = home
        .said
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.contains('-'))
        .collect::<Vec<_>>()
        .join("-");
    let kept = home.read("keys/recovery-backup.key");
    fs::remove_file(home.path("keys/recovery-backup.key")).unwrap();
    fs::remove_file(home.path("keys/backup.key")).unwrap();
    fs::remove_dir_all(home.path("backup")).unwrap();
    let said = hadadactl(&["init", "--dir", home.dir(), "--host", "clinic.local"])
        .await
        .good();
    assert!(said.contains("hadadactl recovery allow-backups"), "{said}");
    assert!(!said.contains("The recovery key of this box"), "{said}");
    assert_eq!(home.read("keys/backup.key").len(), 32);
    hadadactl_reading(
        "0000-0000",
        &["recovery", "allow-backups", "--dir", home.dir()],
    )
    .await
    .error();
    hadadactl_reading(&paper, &["recovery", "allow-backups", "--dir", home.dir()])
        .await
        .good();
    assert_eq!(home.read("keys/recovery-backup.key"), kept);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_with_their_names() {
    let home = Home::new().await;
    for (settings, field) in [
        ("[box.backup]\nretention = 3\n", "retention"),
        (
            "[[box.backup.target]]\nname = \"usb\"\n",
            "folder, sftp, rest",
        ),
        (
            "[box.backup]\nkeep = { any_second_days = 90 }\n",
            "keep.any_second_days",
        ),
        ("", "no backup target is set"),
    ] {
        fs::write(home.path("hadada.toml"), settings).unwrap();
        let error = hadadactl(&["backup", "setup", "--dir", home.dir()])
            .await
            .error();
        assert!(error.contains(field), "{field}: {error}");
    }
}

/// Whether a secret opens both repositories at the target.
fn opens(site: &Site, secret: &[u8]) -> bool {
    ["records", "keys"].iter().all(|repository| {
        let password = site.dir().join("tried");
        fs::write(
            &password,
            crate::backup_site::password_of(secret, repository),
        )
        .unwrap();
        std::process::Command::new("restic")
            .args(["--no-cache", "--no-lock", "-r"])
            .arg(site.target.join(repository))
            .arg("-p")
            .arg(&password)
            .args(["cat", "config"])
            .output()
            .unwrap()
            .status
            .success()
    })
}

#[tokio::test]
async fn a_new_backup_key_makes_the_old_one_void() {
    let site = Site::backed_up().await;
    let path = site.dir().join("keys/backup.key");
    let old = fs::read(&path).unwrap();
    // Without a target nothing changes: it would be left with the old key for ever.
    let away = site.target.with_extension("away");
    fs::rename(&site.target, &away).unwrap();
    let error = site.ctl(&["backup", "new-key"]).await.error();
    assert!(
        error.contains("the key was not changed") && error.contains("Plug the disk in"),
        "{error}"
    );
    fs::rename(&away, &site.target).unwrap();
    assert_eq!(fs::read(&path).unwrap(), old);
    assert!(opens(&site, &old));

    let said = site.ctl(&["backup", "new-key"]).await.good();
    assert!(said.contains("going on with the new key"), "{said}");
    let new = fs::read(&path).unwrap();
    assert_ne!(new, old);
    assert!(!opens(&site, &old), "{said}");
    assert!(opens(&site, &new));
    assert!(opens(
        &site,
        &fs::read(site.dir().join("keys/recovery-backup.key")).unwrap()
    ));
    assert!(!site.dir().join("keys/next-backup.key").exists());
    // Backups go on, and those from before are still proved.
    site.ctl(&["backup", "run"]).await.good();
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.ctl(&["drill", "run"]).await.good();
}

#[tokio::test]
async fn a_change_of_the_backup_key_that_was_broken_off_is_completed() {
    let site = Site::backed_up().await;
    let path = site.dir().join("keys/backup.key");
    let next = site.dir().join("keys/next-backup.key");
    for swapped in [false, true] {
        let old = fs::read(&path).unwrap();
        let new = [if swapped { 8 } else { 7 }; 32];
        fs::write(&next, new).unwrap();
        site.ctl(&["backup", "new-key", "--part", "add"])
            .await
            .good();
        // Both open it: wherever it ends now, the backups can be read and written.
        assert!(opens(&site, &old) && opens(&site, &new));
        if swapped {
            fs::write(&path, new).unwrap();
        }
        site.ctl(&["backup", "new-key"]).await.good();
        assert_eq!(fs::read(&path).unwrap(), new);
        assert!(!next.exists() && opens(&site, &new) && !opens(&site, &old));
    }
}
