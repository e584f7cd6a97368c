//! The power goes at every step of a good update: after the next boot the box runs the old or the new release, wholly, with all
//! that was acknowledged.

use std::fs;

use super::bench::{Clinic, Release, SECOND, Vendor, finish, hadadactl, release};

fn points() -> Vec<String> {
    let said = hadadactl("", &["update", "crash-points"]).good();
    said.lines().map(str::to_owned).collect()
}

/// Every fourth point, so that four tests share them.
fn crash_at(part: usize) {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&Release {
        migrations: vec![SECOND],
        units: vec![(
            "hadada-new.timer",
            "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n",
        )],
        ..release("0.2.0", 2)
    });
    let repo = vendor.repo();
    let mut rows = String::from("1");
    let mut row = 1;
    for point in points().iter().skip(part).step_by(4) {
        let mut command = clinic.command(&["update", "apply", repo.to_str().unwrap()]);
        let said = finish(command.env("HADADA_UPDATE_CRASH", point), "");
        assert_eq!(said.code, None, "{point} was never reached: {said:?}");
        // While the programs run, somebody enters something; it must still be there afterwards.
        row += 1;
        clinic.write_row(row);
        rows.push_str(&format!(",{row}"));
        let kept_at_crash =
            fs::read_to_string(clinic.path("update/counter.json")).unwrap_or_default();
        clinic.cut_power();
        clinic.start_again();
        let current = clinic.current();
        eprintln!("{point}: {current}");
        let kept = point.starts_with("confirm.") || point == "health.after" && current == "0.2.0";
        assert_eq!(current, if kept { "0.2.0" } else { "0.1.0" }, "{point}");
        clinic.runs_wholly(&current, &rows);
        let history = clinic.ctl(&["update", "history"]).good();
        let last = history.lines().last().unwrap();
        if kept {
            assert!(last.contains("installed"), "{point}: {last}");
            assert_eq!(clinic.json("update/counter.json")["counter"], 2, "{point}");
            assert_eq!(clinic.sql("SHOW hadada.update_counter"), "2", "{point}");
            clinic.ctl(&["update", "revert"]).good();
            clinic.runs_wholly("0.1.0", &rows);
        } else {
            assert!(last.contains("broke off"), "{point}: {last}");
            let counter =
                fs::read_to_string(clinic.path("update/counter.json")).unwrap_or_default();
            assert_eq!(
                counter, kept_at_crash,
                "{point}: only a release that works raises the counter"
            );
            assert_eq!(clinic.fact()["state"], "warning", "{point}");
        }
        // A second boot finds nothing to do.
        let again = clinic.ctl(&["update", "guard", "--boot"]).good();
        assert!(again.contains("Nothing to do."), "{point}: {again}");
    }
    // After all of that the update still goes through.
    clinic.apply(&repo).good();
    clinic.runs_wholly("0.2.0", &rows);
}

#[test]
fn there_are_at_least_twelve_points_and_each_step_has_two() {
    assert!(points().len() >= 37, "{:?}", points());
}

#[test]
fn a_crash_at_the_first_fourth_of_points() {
    crash_at(0);
}

#[test]
fn a_crash_at_the_second_fourth_of_points() {
    crash_at(1);
}

#[test]
fn a_crash_at_the_third_fourth_of_points() {
    crash_at(2);
}

#[test]
fn a_crash_at_the_last_fourth_of_points() {
    crash_at(3);
}

#[test]
fn a_crash_while_taking_it_back_is_taken_back_too() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&Release {
        faults: "{'dies': True}",
        migrations: vec![SECOND],
        ..release("0.2.0", 2)
    });
    // The same places lie on the way back.
    for point in ["units.middle", "flip.middle"] {
        let repo = vendor.repo();
        let mut command = clinic.command(&["update", "apply", repo.to_str().unwrap()]);
        command.env("HADADA_UPDATE_CRASH", format!("back.{point}"));
        assert_eq!(finish(&mut command, "").code, None, "{point}");
        clinic.cut_power();
        clinic.start_again();
        clinic.runs_wholly("0.1.0", "1");
        let history = clinic.ctl(&["update", "history"]).good();
        assert!(
            history.lines().last().unwrap().contains("taken back")
                && history.contains("did not pass its test"),
            "{history}"
        );
    }
}

#[test]
fn an_update_that_broke_off_without_a_reboot_is_settled_by_the_next() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&Release {
        migrations: vec![SECOND],
        ..release("0.2.0", 2)
    });
    let repo = vendor.repo();
    for point in ["clone.after", "start.after"] {
        let mut command = clinic.command(&["update", "apply", repo.to_str().unwrap()]);
        assert_eq!(
            finish(command.env("HADADA_UPDATE_CRASH", point), "").code,
            None,
            "{point}"
        );
        let status = clinic.ctl(&["update", "status"]).good();
        assert!(
            status.contains("it broke off: run `hadadactl update guard`"),
            "{status}"
        );
    }
    let said = clinic.ctl(&["update", "guard"]).good();
    assert!(said.contains("taken back"), "{said}");
    clinic.runs_wholly("0.1.0", "1");
    clinic.apply(&repo).good();
    clinic.runs_wholly("0.2.0", "1");
}

#[test]
fn a_lost_link_is_made_again_at_boot() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    clinic.apply(&vendor.repo()).good();
    clinic.cut_power();
    fs::remove_file(clinic.path("opt/current")).unwrap();
    clinic.start_again();
    clinic.runs_wholly("0.2.0", "1");
}

#[test]
fn a_broken_configuration_does_not_keep_the_old_release_away() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    let repo = vendor.repo();
    let mut command = clinic.command(&["update", "apply", repo.to_str().unwrap()]);
    assert_eq!(
        finish(command.env("HADADA_UPDATE_CRASH", "units.after"), "").code,
        None
    );
    clinic.cut_power();
    let good = fs::read(clinic.path("hadada.toml")).unwrap();
    fs::write(clinic.path("hadada.toml"), "this is [no TOML").unwrap();
    clinic.ctl(&["update", "guard", "--boot"]).good();
    assert_eq!(clinic.current(), "0.1.0");
    fs::write(clinic.path("hadada.toml"), good).unwrap();
    clinic.start_again();
    clinic.runs_wholly("0.1.0", "1");
}
