//! `watch`: what systemd runs every minute, and when a unit fails.

use std::fs;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::Outcome;
use crate::cli::PlaceArgs;
use crate::facts::{self, Fact, State};
use crate::files;
use crate::network;
use crate::place::Place;
use crate::process;

/// Looks at the disks, the firewall's counters and the units, for the status page.
#[derive(Debug, Args)]
pub struct Watch {
    /// Only note that this unit failed.
    #[arg(long, value_name = "UNIT")]
    failed: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Watch {
    /// Looks once.
    ///
    /// # Errors
    /// When what was found can't be written.
    pub fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        let place: Place = self.place.into();
        if let Some(unit) = self.failed {
            facts::write(&place, failed(&unit, now))?;
            return Ok(Outcome::Good);
        }
        facts::write(&place, egress(&place, now)?)?;
        // While a disk is full, the watch of the reserve has the word.
        if !place.root().join("run/hadada-reserve/full").exists() {
            disk(&place, now)?;
        }
        if place.is_installed() {
            units(&place, now)?;
        }
        Ok(Outcome::Good)
    }
}

fn kind_of(unit: &str) -> String {
    let plain: String = unit
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    format!("unit-{plain}")
}

fn failed(unit: &str, now: OffsetDateTime) -> Fact {
    Fact::fault(
        &kind_of(unit),
        now,
        State::Bad,
        format!("A part of the box failed: {unit}."),
        format!(
            "`journalctl -u {unit}` on the box says why; `hadadactl doctor` looks at everything"
        ),
    )
    .with("unit", unit)
}

/// What a box can't be without.
const REVIVED: [&str; 6] = [
    "postgresql@15-hadada.service",
    "hadada-migrate.service",
    "hadada.socket",
    "hadada.service",
    "hadada-typeset.socket",
    "hadada-inference.service",
];

/// Units that failed get a fact; those that are well again lose theirs.
fn units(place: &Place, now: OffsetDateTime) -> Result<()> {
    let listed = process::run(
        "systemctl",
        [
            "list-units",
            "--failed",
            "--plain",
            "--no-legend",
            "hadada*",
            "postgresql@15-hadada.service",
        ],
    )?;
    let down: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for unit in &down {
        if REVIVED.contains(unit) {
            // What it waited for (the database, the disk) may be back; systemd has given up on it by then.
            process::run("systemctl", ["reset-failed", unit])?;
            process::run("systemctl", ["start", "--no-block", unit])?;
        }
        if facts::read(place, &kind_of(unit)).is_none() {
            facts::write(place, failed(unit, now))?;
        }
    }
    for entry in fs::read_dir(place.facts())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(kind) = name
            .strip_suffix(".json")
            .filter(|kind| kind.starts_with("unit-"))
        else {
            continue;
        };
        if !down.iter().any(|unit| kind_of(unit) == kind) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn egress(place: &Place, now: OffsetDateTime) -> Result<Fact> {
    let entry = network::collect(place, now)?;
    let day = network::read(place, now - Duration::DAY, now)?;
    let denied: u64 = day.iter().map(|entry| entry.denied_out).sum();
    let fact = if entry.open {
        Fact::fault(
            "egress",
            now,
            State::Bad,
            "The firewall is not in force.",
            "Run `hadadactl egress apply` on the box; call your IT support",
        )
    } else if denied > 0 {
        let mut who: Vec<&str> = day
            .iter()
            .flat_map(|entry| &entry.denied)
            .map(|tried| tried.user.as_str())
            .collect();
        who.sort_unstable();
        who.dedup();
        Fact::fault(
            "egress",
            now,
            State::Warning,
            format!(
                "Something on the box tried to reach a place it may not, {denied} times since yesterday. It was turned away."
            ),
            format!(
                "Call your IT support: `hadadactl egress report` on the box says who tried what ({})",
                who.join(", ")
            ),
        )
    } else {
        Fact::good(
            "egress",
            now,
            "Nothing tried to leave the box that may not.",
        )
    };
    Ok(fact
        .with("denied", denied)
        .with(
            "denied_in_day",
            day.iter().map(|entry| entry.denied_in).sum::<u64>(),
        )
        .with("open", entry.open))
}

/// What was used of one disk on one day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Sample {
    /// Days since 1970.
    day: i64,
    used: u64,
}

/// As many days as a forecast looks back.
const DAYS: usize = 60;

fn disk(place: &Place, now: OffsetDateTime) -> Result<()> {
    let mut worst: Option<Fact> = None;
    let mut folders: Vec<(&str, &Path)> = vec![("records", place.state())];
    let postgres = place.root().join("var/lib/postgresql");
    if place.is_installed() && postgres.exists() {
        folders.push(("database", &postgres));
    }
    for (name, folder) in folders {
        let fact = one_disk(place, name, folder, now)?;
        if worst
            .as_ref()
            .is_none_or(|worst| severity(&fact) > severity(worst))
        {
            worst = Some(fact);
        }
    }
    worst.map_or(Ok(()), |fact| facts::write(place, fact))
}

fn severity(fact: &Fact) -> u8 {
    match fact.state {
        State::Good => 0,
        State::Warning => 1,
        State::Bad => 2,
    }
}

fn one_disk(place: &Place, name: &str, folder: &Path, now: OffsetDateTime) -> Result<Fact> {
    let disk = rustix::fs::statvfs(folder)?;
    let total = disk.f_blocks * disk.f_frsize;
    let free = disk.f_bavail * disk.f_frsize;
    let path = place
        .state()
        .join("egress")
        .join(format!("disk-{name}.json"));
    let mut samples: Vec<Sample> = files::read_if_there(&path)?
        .and_then(|content| serde_json::from_slice(&content).ok())
        .unwrap_or_default();
    let today = now.unix_timestamp().div_euclid(86_400);
    if samples.last().is_none_or(|last| last.day < today) {
        samples.push(Sample {
            day: today,
            used: total.saturating_sub(free),
        });
        let surplus = samples.len().saturating_sub(DAYS);
        samples.drain(..surplus);
        files::make_folder(&place.state().join("egress"), 0o755)?;
        files::replace(&path, 0o644, &serde_json::to_vec(&samples)?)?;
    }
    let left = days_left(&samples, free);
    let share = free as f64 / total.max(1) as f64;
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let room = format!("{:.0} of {:.0} GB are free", gib(free), gib(total));
    let act = "Call your IT support: delete what is not the box's, or put in a larger disk";
    let fact = if free < (512 << 20) || share < 0.05 || left.is_some_and(|days| days < 7) {
        Fact::fault(
            "disk",
            now,
            State::Bad,
            format!("The disk is nearly full: {room}."),
            act,
        )
    } else if share < 0.15 || left.is_some_and(|days| days < 30) {
        Fact::fault(
            "disk",
            now,
            State::Warning,
            format!("The disk is getting full: {room}."),
            act,
        )
    } else {
        Fact::good("disk", now, format!("There is room on the disk: {room}."))
    };
    let fact = fact
        .with("disk", name)
        .with("free", free)
        .with("total", total);
    Ok(match left {
        Some(days) => fact.with("days_left", days),
        None => fact,
    })
}

/// In how many days the disk is full if it goes on filling as it did (least squares); none where it does not fill, or where a
/// week's days are not yet known.
fn days_left(samples: &[Sample], free: u64) -> Option<i64> {
    if samples.len() < 7 {
        return None;
    }
    let count = samples.len() as f64;
    let mean_day = samples.iter().map(|s| s.day as f64).sum::<f64>() / count;
    let mean_used = samples.iter().map(|s| s.used as f64).sum::<f64>() / count;
    let covariance: f64 = samples
        .iter()
        .map(|s| (s.day as f64 - mean_day) * (s.used as f64 - mean_used))
        .sum();
    let variance: f64 = samples
        .iter()
        .map(|s| (s.day as f64 - mean_day).powi(2))
        .sum();
    let a_day = covariance / variance;
    (a_day >= 1.0).then(|| (free as f64 / a_day) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_disk_that_fills_evenly_is_full_when_the_forecast_says(a_day in 1u64..1 << 32, days in 7i64..60, left in 1u64..1000) {
            let samples: Vec<Sample> = (0..days).map(|day| Sample { day: 20_000 + day, used: 1 << 30 | (day as u64 * a_day) }).collect();
            let even: Vec<Sample> = samples.iter().map(|s| Sample { day: s.day, used: (1 << 40) + (s.day as u64 - 20_000) * a_day }).collect();
            let forecast = days_left(&even, left * a_day).unwrap();
            prop_assert!((forecast - left as i64).abs() <= 1, "{forecast} instead of {left}");
        }
    }

    #[test]
    fn a_disk_that_does_not_fill_has_no_end_and_few_days_say_nothing() {
        let steady: Vec<Sample> = (0..30).map(|day| Sample { day, used: 5 << 30 }).collect();
        assert_eq!(days_left(&steady, 1 << 30), None);
        let emptying: Vec<Sample> = (0..30)
            .map(|day| Sample {
                day,
                used: (50 - day as u64) << 30,
            })
            .collect();
        assert_eq!(days_left(&emptying, 1 << 30), None);
        let short: Vec<Sample> = (0..6)
            .map(|day| Sample {
                day,
                used: (day as u64) << 30,
            })
            .collect();
        assert_eq!(days_left(&short, 1 << 30), None);
    }

    #[test]
    fn a_units_name_can_not_leave_the_folder_of_facts() {
        assert_eq!(kind_of("hadada.service"), "unit-hadada.service");
        assert_eq!(kind_of("../../etc/x"), "unit-..-..-etc-x");
    }
}
