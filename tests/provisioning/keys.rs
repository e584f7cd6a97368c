//! `hadadactl keys`: another master key, wherever the change is broken off, and backups from before it.

use std::fs;

use crate::backup_site::Site;

/// Whether the box's master key opens the practices' keys in its database.
fn opens(site: &Site) -> bool {
    let said = site.hadada(&["check-keys"], "");
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.status.success() || words.contains("does not have"),
        "{words}"
    );
    said.status.success()
}

#[tokio::test]
async fn a_new_master_key_makes_the_old_one_void_and_older_backups_want_the_paper() {
    let site = Site::backed_up().await;
    let path = site.dir().join("keys/master.key");
    let old = fs::read(&path).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let before = site.sql("SELECT to_char(date_trunc('second', now()) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;

    let said = site.ctl(&["keys", "new-master"]).await.good();
    assert!(said.contains("opens nothing in its database"), "{said}");
    let new = fs::read(&path).unwrap();
    assert!(new != old && opens(&site));
    for left in ["next-master.key", "previous-master.key"] {
        assert!(!site.dir().join("keys").join(left).exists(), "{left}");
    }
    fs::write(&path, &old).unwrap();
    assert!(!opens(&site), "the key before still opens the database");
    fs::write(&path, &new).unwrap();

    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.sql("CREATE TABLE today (n int)");
    let error = site.ctl(&["restore", "at", &before, "--yes"]).await.error();
    assert!(error.contains("--recovery-key"), "{error}");
    assert_eq!(site.sql("SELECT count(*) FROM today"), "0");
    let back = ["restore", "at", &before, "--yes", "--recovery-key"];
    site.ctl_reading("7KQ2-9F4M", &back).await.error();
    assert_eq!(site.sql("SELECT count(*) FROM today"), "0");
    site.ctl_reading(&site.paper(), &back).await.good();
    assert!(opens(&site));
}

#[tokio::test]
async fn a_change_of_the_master_key_that_was_broken_off_is_completed() {
    let site = Site::ready().await;
    let keys = site.dir().join("keys");
    for step in 0..4 {
        let old = fs::read(keys.join("master.key")).unwrap();
        let new = [step + 1; 32];
        fs::write(keys.join("next-master.key"), new).unwrap();
        let both = format!("{}\n{}\n", hex::encode(&old), hex::encode(new));
        if step > 0 {
            let wrapped = site.hadada(&["change-master-key", "--keys-from-stdin"], &both);
            assert!(wrapped.status.success(), "{wrapped:?}");
        }
        if step > 1 {
            fs::write(keys.join("previous-master.key"), &old).unwrap();
        }
        if step > 2 {
            fs::write(keys.join("master.key"), new).unwrap();
        }
        assert!(opens(&site), "after step {step} the pages would not work");
        site.ctl(&["keys", "new-master"]).await.good();
        assert_eq!(fs::read(keys.join("master.key")).unwrap(), new);
        assert!(opens(&site) && !keys.join("next-master.key").exists());
        fs::write(keys.join("master.key"), &old).unwrap();
        assert!(!opens(&site), "after step {step} the key before opens");
        fs::write(keys.join("master.key"), new).unwrap();
    }
}
