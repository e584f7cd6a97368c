//! Updates that the vendor meant well and that do not work: found on the copy of the records, or taken back by themselves.

use super::bench::{Clinic, Release, SECOND, Vendor, release};

#[test]
fn a_migration_that_fails_on_the_copy_never_reaches_the_records() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    for (counter, sql, reason) in [
        (
            2,
            "ALTER TABLE ledger ADD COLUMN x int; SELECT 1 / (count(*) - 1) FROM ledger;",
            "division by zero",
        ),
        (
            3,
            "ALTER TABLE ledger DROP COLUMN said;",
            "not expand-only: ",
        ),
        (4, "ALTER TABLE ledger RENAME TO book;", "not expand-only: "),
    ] {
        vendor.publish(&Release {
            migrations: vec![("0002_bad.sql", sql)],
            ..release("0.2.0", counter)
        });
        let said = clinic.apply(&vendor.repo());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(reason), "{said:?}");
        clinic.untouched("0.1.0");
        assert_eq!(clinic.sql("SELECT count(*) FROM _sqlx_migrations"), "1");
    }
    // What was read is not what the program runs.
    vendor.publish(&Release {
        migrations: vec![SECOND],
        faults: "{'other_migration': True}",
        ..release("0.2.0", 5)
    });
    let reason = clinic.apply(&vendor.repo());
    assert!(reason.err.contains("ran another migration 2"), "{reason:?}");
    clinic.untouched("0.1.0");
}

#[test]
fn no_way_back_means_no_way_forward() {
    let vendor = Vendor::new();
    // It only adds, but this release can't bear it all the same.
    let clinic = Clinic::running(
        &vendor,
        &Release {
            faults: "{'breaks_on': 'room'}",
            ..release("0.1.0", 1)
        },
        "",
    );
    vendor.publish(&Release {
        migrations: vec![SECOND],
        ..release("0.2.0", 2)
    });
    let reason = clinic
        .apply(&vendor.repo())
        .refused("the release in use would not work after the migrations");
    assert!(reason.contains("no way back"), "{reason}");
    clinic.untouched("0.1.0");
}

#[test]
fn a_release_that_does_not_work_is_taken_back_by_itself_and_says_why() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    let mut rows = String::from("1");
    for (counter, faults, reason) in [
        (2, "{'dies': True}", "does not answer"),
        (3, "{'version': '0.2.9'}", "is release \"0.2.9\", not 0.2.0"),
        (4, "{'inference': 'down'}", "drafting service worked before"),
        (5, "{'live_migration': True}", "not like its copy"),
    ] {
        vendor.publish(&Release {
            migrations: vec![SECOND],
            faults,
            units: vec![(
                "hadada-new.timer",
                "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n",
            )],
            ..release("0.2.0", counter)
        });
        let said = clinic.apply(&vendor.repo());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.err.contains("taken back: ") && said.err.contains(reason),
            "{said:?}"
        );
        clinic.runs_wholly("0.1.0", &rows);
        let fact = clinic.fact();
        assert_eq!(fact["state"], "warning");
        let said = fact["said"].as_str().unwrap();
        assert!(
            said.contains("The update to 0.2.0 was taken back")
                && said.contains(reason)
                && said.contains("works on with 0.1.0"),
            "{said}"
        );
        // It may be tried again, but it was never kept.
        assert!(!clinic.path("update/counter.json").exists());
        let history = clinic.ctl(&["update", "history"]).good();
        assert!(
            history.lines().last().unwrap().contains("taken back"),
            "{history}"
        );
        clinic.write_row(counter as u32);
        rows.push_str(&format!(",{counter}"));
    }
    // The migrations have stayed; a mended release builds on them.
    vendor.publish(&Release {
        migrations: vec![SECOND],
        ..release("0.2.1", 6)
    });
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.2.1", &rows);
}

#[test]
fn a_box_without_drafting_may_be_updated_all_the_same() {
    let vendor = Vendor::new();
    let without = |version, counter| Release {
        faults: "{'inference': 'down'}",
        ..release(version, counter)
    };
    let clinic = Clinic::running(&vendor, &without("0.1.0", 1), "");
    vendor.publish(&without("0.2.0", 2));
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.2.0", "1");
}

#[test]
fn nobodys_word_means_it_is_taken_back() {
    let vendor = Vendor::new();
    let clinic = Clinic::running(
        &vendor,
        &release("0.1.0", 1),
        "confirm_by_hand = true\nconfirm_seconds = 3",
    );
    vendor.publish(&release("0.2.0", 2));
    let said = clinic.apply(&vendor.repo());
    assert!(
        said.code == Some(1) && said.err.contains("nobody confirmed release 0.2.0"),
        "{said:?}"
    );
    clinic.runs_wholly("0.1.0", "1");
}
