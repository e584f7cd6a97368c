//! What only an installed box has: its units, its firewall, and what its own watch found.

use std::fs;

use time::{Duration, OffsetDateTime};

use super::Findings;
use crate::facts::{self, State};
use crate::place::Place;
use crate::process;

/// What must run, whatever the box is set to.
const UNITS: [&str; 9] = [
    "postgresql@15-hadada.service",
    "hadada-firewall.service",
    "hadada-reserve.service",
    "hadada-migrate.service",
    "hadada.socket",
    "hadada.service",
    "hadada-typeset.socket",
    "hadada-inference.service",
    "hadada-watch.timer",
];

/// The watch looks every minute; later than this it has stopped.
const WATCH_LATEST: Duration = Duration::minutes(5);

/// Looks at all of it.
pub(super) fn check(place: &Place, now: OffsetDateTime, findings: &mut Findings) {
    check_units(findings);
    check_firewall(findings);
    check_facts(place, now, findings);
}

fn check_units(findings: &mut Findings) {
    let mut down = Vec::new();
    for unit in UNITS {
        if !process::succeeds("systemctl", ["is-active", "--quiet", unit]) {
            down.push(unit);
        }
    }
    if down.is_empty() {
        findings.good("units", format!("all {} run", UNITS.len()));
    }
    for unit in down {
        findings.fault(
            "units",
            format!("{unit} does not run"),
            &format!("`systemctl start {unit}`, and where that fails `journalctl -u {unit} -b`"),
        );
    }
}

fn check_firewall(findings: &mut Findings) {
    if process::succeeds("nft", ["list", "table", "inet", "hadada"]) {
        findings.good("firewall", "its rules are loaded");
    } else {
        findings.fault(
            "firewall",
            "its rules are not loaded, so anything may leave this machine",
            "run this as root; then `hadadactl egress apply`",
        );
    }
}

/// What the status page shows to staff, for whoever sits at the console.
fn check_facts(place: &Place, now: OffsetDateTime, findings: &mut Findings) {
    let mut kinds: Vec<String> = fs::read_dir(place.facts())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_suffix(".json").map(str::to_owned)
        })
        // A unit's failure was looked at above, as it is now.
        .filter(|kind| !kind.starts_with("unit-"))
        .collect();
    kinds.sort_unstable();
    for kind in kinds {
        let Some(fact) = facts::read(place, &kind) else {
            findings.warn(
                &kind,
                "what is known of it can't be read",
                &format!(
                    "delete {}; it is written again",
                    place.facts().join(format!("{kind}.json")).display()
                ),
            );
            continue;
        };
        let act = fact.to_do.as_deref().unwrap_or("look at the status page");
        match fact.state {
            State::Good => findings.good(&kind, &fact.said),
            State::Warning => findings.warn(&kind, &fact.said, act),
            State::Bad => findings.fault(&kind, &fact.said, act),
        }
    }
    match facts::read(place, "egress") {
        Some(fact) if now - fact.at <= WATCH_LATEST => {}
        Some(_) => findings.fault(
            "watch",
            "the box has not looked at itself for five minutes",
            "a minute after a start it does; else `systemctl start hadada-watch.timer`, then `journalctl -u hadada-watch`",
        ),
        None => findings.warn(
            "watch",
            "the box has not looked at itself yet",
            "it does each minute: ask again in a moment",
        ),
    }
}
