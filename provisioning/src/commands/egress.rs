//! `egress`: the firewall, and the proof of what it let through.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use time::format_description::well_known::Rfc3339;
use time::{Date, Duration, OffsetDateTime, macros::format_description};

use super::Outcome;
use crate::cli::PlaceArgs;
use crate::files;
use crate::network::{self, Entry};
use crate::place::Place;
use crate::process;

/// Commands about what may leave the box.
#[derive(Debug, Subcommand)]
pub enum Egress {
    /// Loads the firewall's rules as the configuration has them.
    Apply {
        /// Only print the rules.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Shows the only places the box may reach, and why.
    Show {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Says what left the box and what was turned away in a period (exit code 1 where the proof has a gap).
    Report {
        /// The first day or moment, such as 2026-11-01 or 2026-11-01T08:00:00Z; a week ago by default.
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        from: Option<OffsetDateTime>,
        /// The last one; now by default.
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        to: Option<OffsetDateTime>,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

fn moment(text: &str) -> Result<OffsetDateTime> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(moment);
    }
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"))
        .with_context(|| format!("{text:?} is neither a day such as 2026-11-01 nor a moment such as 2026-11-01T08:00:00Z"))?;
    Ok(day.midnight().assume_utc())
}

impl Egress {
    /// Runs the command.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        match self {
            Self::Apply { dry_run, place } => apply(&place.into(), dry_run, now),
            Self::Show { place } => show(&place.into()),
            Self::Report { from, to, place } => report(
                &place.into(),
                from.unwrap_or(now - Duration::WEEK),
                to.unwrap_or(now),
            ),
        }
    }
}

/// Where the last rules that could be loaded are kept: a name that can't be looked up at boot must not leave the box open.
const KEPT: &str = "egress/rules.nft";

/// Loads the rules; where the configuration can't be used, the last good ones, and says so.
///
/// # Errors
/// When no rules could be loaded, or not the present ones.
pub fn apply(place: &Place, dry_run: bool, now: OffsetDateTime) -> Result<Outcome> {
    let wanted = network::rows(place);
    if let (Ok((network, _)), false) = (&wanted, dry_run || !place.is_installed()) {
        network::clock::set(place, network)?;
    }
    let rules = wanted.map(|(network, rows)| network::ruleset(&network, &rows));
    if dry_run {
        print!("{}", rules?);
        return Ok(Outcome::Good);
    }
    // The counts so far would be lost with the old rules.
    if process::succeeds("nft", ["list", "table", "inet", "hadada"]) {
        network::collect(place, now)?;
    }
    let kept = place.state().join(KEPT);
    match rules.and_then(|rules| load(&rules).map(|()| rules)) {
        Ok(rules) => {
            files::make_folder(&place.state().join("egress"), 0o755)?;
            files::replace(&kept, 0o644, rules.as_bytes())?;
            println!("loaded the firewall's rules");
            Ok(Outcome::Good)
        }
        Err(error) => {
            load_last(&kept)?;
            Err(error.context("the firewall's new rules can't be used; the last good ones, or fully closed ones, are in force"))
        }
    }
}

fn load_last(kept: &Path) -> Result<()> {
    let last = files::read_if_there(kept)?
        .map(String::from_utf8)
        .transpose()?;
    if let Some(last) = last
        && load(&last).is_ok()
    {
        return Ok(());
    }
    load(&network::ruleset(&network::Network::default(), &[]))
}

/// How often nft is asked: it gives up where another program changes rules at the same moment.
const TRIES: u32 = 5;

fn load(rules: &str) -> Result<()> {
    let mut tried = 1;
    loop {
        match process::feed("nft", ["-f", "-"], rules.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(error) if tried == TRIES => return Err(error),
            Err(error) => eprintln!("hadadactl: {error:#}; trying again"),
        }
        tried += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn show(place: &Place) -> Result<Outcome> {
    let (network, rows) = network::rows(place)?;
    let blocks = |list: &[network::Block]| {
        list.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    println!("Browsers may come from: {}", blocks(&network.lan));
    if network.ssh.is_empty() {
        println!("SSH: closed");
    } else {
        println!("SSH may come from: {}", blocks(&network.ssh));
    }
    if rows.is_empty() {
        println!("The box may reach nothing.");
        return Ok(Outcome::Good);
    }
    println!(
        "\n{:24} {:40} {:>5} {:4} what for",
        "user", "destination", "port", ""
    );
    for row in rows {
        println!(
            "{:24} {:40} {:>5} {:4} {}",
            row.user.unwrap_or("the kernel"),
            row.to.to_string(),
            row.port,
            row.protocol.to_string(),
            row.purpose
        );
    }
    Ok(Outcome::Good)
}

/// More than this between two looks is a gap in the proof.
const GAP: Duration = Duration::minutes(5);

fn report(place: &Place, from: OffsetDateTime, to: OffsetDateTime) -> Result<Outcome> {
    if from > to {
        bail!("--from is later than --to");
    }
    let entries = network::read(place, from, to)?;
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        println!("Nothing is recorded from {from} to {to}: nothing is proven for that time.");
        return Ok(Outcome::Fault);
    };
    println!(
        "From {} to {}, {} looks at the firewall's counters\n",
        first.at,
        last.at,
        entries.len()
    );
    let mut allowed: BTreeMap<&str, u64> = BTreeMap::new();
    let mut denied: BTreeMap<(&str, &str, &str, u64), u64> = BTreeMap::new();
    for entry in &entries {
        for (name, packets) in &entry.allowed {
            *allowed.entry(name).or_default() += packets;
        }
        for tried in &entry.denied {
            *denied
                .entry((&tried.user, &tried.to, &tried.protocol, tried.port))
                .or_default() += tried.packets;
        }
    }
    println!("Left the box, over exceptions of the table:");
    if allowed.is_empty() {
        println!("  nothing");
    }
    for (name, packets) in allowed {
        println!("  {name}: {packets} new connections or packets");
    }
    println!("\nTurned away on the way out:");
    if denied.is_empty() {
        println!("  nothing");
    }
    for ((user, to, protocol, port), packets) in denied {
        println!("  {user} to {to} {protocol} {port}: {packets}");
    }
    let outward: u64 = entries.iter().map(|entry| entry.denied_out).sum();
    let inward: u64 = entries.iter().map(|entry| entry.denied_in).sum();
    println!("\nIn all {outward} packets were turned away on the way out, {inward} on the way in.");
    let faults = gaps(&entries);
    if faults.is_empty() {
        println!("The rules were in force at each look, and no look is missing.");
        return Ok(Outcome::Good);
    }
    for fault in &faults {
        println!("GAP   {fault}");
    }
    Ok(Outcome::Fault)
}

fn gaps(entries: &[Entry]) -> Vec<String> {
    let mut faults = Vec::new();
    for entry in entries.iter().filter(|entry| entry.open) {
        faults.push(format!("{}: the rules were not loaded", entry.at));
    }
    for pair in entries.windows(2) {
        if let [before, after] = pair
            // After a restart of the machine there is no look before: it was off, and the rules load before the network.
            && after.since.is_some()
            && after.at - before.at > GAP
        {
            faults.push(format!("from {} to {} nobody looked", before.at, after.at));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: i64, since: Option<i64>, open: bool) -> Entry {
        let moment = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        Entry {
            since: since.map(moment),
            at: moment(at),
            open,
            allowed: BTreeMap::new(),
            denied: Vec::new(),
            denied_in: 0,
            denied_out: 0,
        }
    }

    #[test]
    fn a_time_without_rules_or_without_a_look_is_a_gap() {
        assert_eq!(
            gaps(&[entry(0, None, false), entry(60, Some(0), false)]),
            Vec::<String>::new()
        );
        assert_eq!(
            gaps(&[entry(0, None, false), entry(60, Some(0), true)]).len(),
            1
        );
        assert_eq!(
            gaps(&[entry(0, None, false), entry(3600, Some(0), false)]).len(),
            1
        );
        // Switched off over night.
        assert_eq!(
            gaps(&[entry(0, None, false), entry(36000, None, false)]),
            Vec::<String>::new()
        );
    }
}
