//! When something about the box is fine, needs a look, or needs help. Pure.

use time::{Duration, OffsetDateTime};

use super::reports::{Report, Told};

/// How a fact stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nothing to do.
    Good,
    /// Somebody should look soon.
    Warn,
    /// Somebody should help now.
    Bad,
}

/// Free space of a disk, in bytes: below a tenth or 5 GB somebody should look, below a twentieth or 1 GB Postgres is about to stop.
#[must_use]
pub fn disk(free: u64, total: u64) -> Standing {
    const GB: u64 = 1_000_000_000;
    if total == 0 || free < GB || free < total / 20 {
        Standing::Bad
    } else if free < 5 * GB || free < total / 10 {
        Standing::Warn
    } else {
        Standing::Good
    }
}

/// Days a certificate is still valid. The box renews its own with 14 days left, so fewer mean that nothing did.
#[must_use]
pub fn certificate(days: i64) -> Standing {
    match days {
        ..7 => Standing::Bad,
        7..14 => Standing::Warn,
        _ => Standing::Good,
    }
}

/// Age in seconds of the oldest event that waits for its seal; sealing takes a second.
#[must_use]
pub fn sealing(oldest: Option<i64>) -> Standing {
    match oldest {
        None | Some(..5) => Standing::Good,
        Some(5..60) => Standing::Warn,
        Some(_) => Standing::Bad,
    }
}

/// Bytes as people say them.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
    ];
    for (size, unit) in UNITS {
        if bytes >= size {
            let tenths = bytes / (size / 10);
            return if tenths >= 100 {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{},{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{} kB", bytes / 1000)
}

/// Seconds as people say them, in the largest unit that fits.
#[must_use]
pub fn span_text(seconds: i64) -> String {
    let (n, unit) = match seconds {
        ..120 => (seconds.max(0), "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// What is wrong with the box, for an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about; one alert at a time for each.
    pub kind: String,
    /// Never good.
    pub standing: Standing,
    /// What is wrong.
    pub said: String,
    /// What to do.
    pub what_to_do: String,
}

/// How old what a command found out may be before its silence is the news, by kind. The backup objective is a day, with two
/// hours for a slow night; the log of changes leaves the box every minute.
fn oldest(kind: &str) -> Option<Duration> {
    match kind {
        "backup" | "drill" => Some(Duration::hours(26)),
        "base-backup" => Some(Duration::days(8)),
        "wal" => Some(Duration::minutes(5)),
        "certificate" | "disk" | "egress" => Some(Duration::hours(50)),
        _ => None,
    }
}

/// Kinds whose absence is a fault on an installed box.
pub const EXPECTED: [&str; 3] = ["backup", "drill", "wal"];

/// What a kind is called by staff.
#[must_use]
pub fn title(kind: &str) -> String {
    match kind {
        "backup" => "Backup".into(),
        "base-backup" => "Weekly full backup".into(),
        "wal" => "Backup of each change".into(),
        "drill" => "Restore rehearsal".into(),
        "update" => "Update".into(),
        "egress" => "Outgoing connections".into(),
        "certificate" => "Certificate".into(),
        "disk" => "Disk".into(),
        "setup" => "Set-up".into(),
        "database" => "Database".into(),
        "audit" => "Audit log".into(),
        "mail" => "Alert mail".into(),
        "remote" => "Remote access".into(),
        other => match other.strip_prefix("unit-") {
            Some(unit) => format!("Service {unit}"),
            None => other.to_owned(),
        },
    }
}

/// How a kind stands: as its command said, and worse where it has been silent for too long.
///
/// `changed` is when records last changed: the log of changes has nothing to say while nothing happens. `since` is when the
/// box was set up: its first night is still to come.
#[must_use]
pub fn judge(
    kind: &str,
    report: Option<&Report>,
    now: OffsetDateTime,
    changed: Option<OffsetDateTime>,
    since: Option<OffsetDateTime>,
) -> (Standing, String, String) {
    let call = "Tell IT: `hadadactl doctor` says why.";
    let Some(report) = report else {
        return if since.is_some_and(|at| now - at < Duration::hours(26)) {
            (
                Standing::Warn,
                "Not yet. The first one comes within a day.".into(),
                "Nothing yet; look again tomorrow.".into(),
            )
        } else {
            (
                Standing::Bad,
                "There has never been one.".into(),
                call.into(),
            )
        };
    };
    let said = match report.state {
        Told::Good => Standing::Good,
        Told::Warning => Standing::Warn,
        Told::Bad => Standing::Bad,
    };
    let age = now - report.at;
    let silent = oldest(kind).is_some_and(|most| {
        age > most && (kind != "wal" || changed.is_some_and(|at| at - report.at > most))
    });
    if silent && said < Standing::Bad {
        let text = format!("Last heard of {} ago.", span_text(age.whole_seconds()));
        let standing = match kind {
            "certificate" | "disk" | "egress" => Standing::Warn,
            _ => Standing::Bad,
        };
        if standing >= said {
            return (standing, text, call.into());
        }
    }
    // A clock that was set back must not make a report fresh for ever.
    if age < -Duration::hours(1) {
        return (
            said.max(Standing::Warn),
            "Its time lies ahead of this server's clock.".into(),
            "Tell IT: check the server's clock.".into(),
        );
    }
    (
        said,
        report.said.clone(),
        report.what_to_do.clone().unwrap_or_default(),
    )
}

/// Days until a disk is full, from its free bytes by day, by the straight line that fits best. None where nothing can be
/// said: fewer than three days, or it does not fill up.
#[must_use]
pub fn days_until_full(samples: &[(time::Date, i64)]) -> Option<i64> {
    let first = samples.iter().map(|(day, _)| *day).min()?;
    let last = samples.iter().max_by_key(|(day, _)| *day)?;
    if samples.len() < 3 || (last.0 - first).whole_days() < 2 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "days and bytes of a disk are far below 2^53"
    )]
    let points: Vec<(f64, f64)> = samples
        .iter()
        .map(|(day, free)| ((*day - first).whole_days() as f64, *free as f64))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of samples")]
    let n = points.len() as f64;
    let (mean_day, mean_free) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let spread: f64 = points.iter().map(|p| (p.0 - mean_day).powi(2)).sum();
    let slope: f64 = points
        .iter()
        .map(|p| (p.0 - mean_day) * (p.1 - mean_free))
        .sum::<f64>()
        / spread;
    // Less than a megabyte a day is noise.
    if !slope.is_finite() || slope > -1_000_000.0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "clamped to ten thousand days"
    )]
    let days = (last.1 as f64 / -slope).clamp(0.0, 10_000.0) as i64;
    Some(days)
}

/// How a disk stands that is full in so many days.
#[must_use]
pub fn forecast(days: Option<i64>) -> Standing {
    match days {
        Some(..7) => Standing::Bad,
        Some(7..45) => Standing::Warn,
        _ => Standing::Good,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::{date, datetime};

    use super::*;

    const GB: u64 = 1_000_000_000;
    const NOW: OffsetDateTime = datetime!(2026-11-24 08:00 UTC);

    fn report(kind: &str, state: Told, minutes_ago: i64) -> Report {
        Report {
            kind: kind.into(),
            at: NOW - Duration::minutes(minutes_ago),
            state,
            said: "as said".into(),
            what_to_do: None,
            last_good: None,
            facts: serde_json::Map::new(),
        }
    }

    fn told() -> impl Strategy<Value = Told> {
        prop_oneof![Just(Told::Good), Just(Told::Warning), Just(Told::Bad)]
    }

    fn kinds() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            Just("backup"),
            Just("drill"),
            Just("wal"),
            Just("base-backup"),
            Just("certificate"),
            Just("disk"),
            Just("egress"),
            Just("update"),
            Just("unit-hadada-backup"),
            Just("setup"),
        ]
    }

    proptest! {
        #[test]
        fn silence_never_makes_anything_better(kind in kinds(), state in told(), age in 0_i64..100_000, more in 0_i64..100_000) {
            let standing = |age| judge(kind, Some(&report(kind, state, age)), NOW, Some(NOW), None).0;
            prop_assert!(standing(age + more) >= standing(age));
            let as_said = match state { Told::Good => Standing::Good, Told::Warning => Standing::Warn, Told::Bad => Standing::Bad };
            prop_assert!(standing(age) >= as_said);
        }

        #[test]
        fn a_backup_older_than_a_day_and_two_hours_is_bad_whatever_it_said(state in told(), minutes in (26 * 60 + 1)..1_000_000_i64) {
            for kind in ["backup", "drill"] {
                prop_assert_eq!(judge(kind, Some(&report(kind, state, minutes)), NOW, None, None).0, Standing::Bad);
            }
        }

        #[test]
        fn what_has_nothing_to_do_says_something_all_the_same(kind in kinds(), state in told(), age in -10_000_i64..100_000) {
            let (standing, said, _) = judge(kind, Some(&report(kind, state, age)), NOW, None, None);
            prop_assert!(standing == Standing::Good || !said.is_empty());
        }

        #[test]
        fn a_disk_that_fills_evenly_is_full_when_it_is(free in 10_i64..1_000, daily in 1_i64..10, days in 3_i64..30) {
            let gb = 1_000_000_000;
            let samples: Vec<_> = (0..days)
                .map(|d| (date!(2026-11-01) + Duration::days(d), (free + (days - 1 - d) * daily) * gb))
                .collect();
            let found = days_until_full(&samples).unwrap();
            prop_assert!((found - free / daily).abs() <= 1, "{found} for {free} at {daily} a day");
        }

        #[test]
        fn a_disk_that_does_not_fill_up_has_no_end(free in 0_i64..1_000, grown in 0_i64..10, days in 3_i64..30) {
            let samples: Vec<_> = (0..days)
                .map(|d| (date!(2026-11-01) + Duration::days(d), (free + d * grown) * 1_000_000_000))
                .collect();
            prop_assert_eq!(days_until_full(&samples), None);
        }
    }

    #[test]
    fn changes_leave_the_box_while_there_are_changes() {
        let minutes = |m| Some(NOW - Duration::minutes(m));
        let wal = report("wal", Told::Good, 60);
        let standing = |changed| judge("wal", Some(&wal), NOW, changed, None).0;
        assert_eq!(
            standing(minutes(58)),
            Standing::Good,
            "nothing happened since"
        );
        assert_eq!(standing(None), Standing::Good);
        assert_eq!(standing(minutes(1)), Standing::Bad);
    }

    #[test]
    fn a_box_set_up_today_has_no_backup_yet() {
        let standing = |hours| {
            judge(
                "backup",
                None,
                NOW,
                None,
                Some(NOW - Duration::hours(hours)),
            )
            .0
        };
        assert_eq!((standing(1), standing(30)), (Standing::Warn, Standing::Bad));
        assert_eq!(judge("backup", None, NOW, None, None).0, Standing::Bad);
    }

    #[test]
    fn a_report_from_the_future_is_not_believed() {
        assert_eq!(
            judge(
                "backup",
                Some(&report("backup", Told::Good, -600)),
                NOW,
                None,
                None
            )
            .0,
            Standing::Warn
        );
    }

    #[test]
    fn a_full_disk_is_seen_before_it_is_full() {
        assert_eq!(disk(500 * GB, 1000 * GB), Standing::Good);
        assert_eq!(disk(99 * GB, 1000 * GB), Standing::Warn);
        assert_eq!(disk(49 * GB, 1000 * GB), Standing::Bad);
        assert_eq!(disk(4 * GB, 10 * GB), Standing::Warn);
        assert_eq!(disk(GB / 2, GB), Standing::Bad);
        assert_eq!(disk(0, 0), Standing::Bad, "a disk of unknown size");
    }

    #[test]
    fn certificates_and_seals_warn_in_time() {
        assert_eq!(
            [14, 13, 7, 6, -1].map(certificate),
            [
                Standing::Good,
                Standing::Warn,
                Standing::Warn,
                Standing::Bad,
                Standing::Bad
            ]
        );
        assert_eq!(
            [None, Some(4), Some(5), Some(60)].map(sealing),
            [
                Standing::Good,
                Standing::Good,
                Standing::Warn,
                Standing::Bad
            ]
        );
    }

    #[test]
    fn figures_are_said_as_people_say_them() {
        assert_eq!(
            [900, 1_500_000, 54_321_000, 120 * GB].map(bytes_text),
            ["0 kB", "1,5 MB", "54 MB", "120 GB"]
        );
        assert_eq!(
            [-1, 1, 119, 120, 7_200, 172_800].map(span_text),
            [
                "0 seconds",
                "1 second",
                "119 seconds",
                "2 minutes",
                "2 hours",
                "2 days"
            ]
        );
    }
}
