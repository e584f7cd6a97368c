//! `backup run` and `backup base`: backs up now.

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::Outcome;
use super::backup::chosen;
use super::handover;
use crate::backup::ledger::{self, AtIt};
use crate::backup::settings::Target;
use crate::backup::spool::Spool;
use crate::backup::{Work, base, nightly, say, size, written};
use crate::facts::{self, Fact, State};
use crate::place::Place;

/// The kind of fact about backups.
const KIND: &str = "backup";

pub(super) fn back_up(place: &Place, name: Option<&str>, now: OffsetDateTime) -> Result<Outcome> {
    if handover::is_needed(place) {
        return handover::run(place);
    }
    let done = all(place, name, now);
    match done {
        Ok(fact) => {
            let good = fact.state == State::Good;
            say(&fact.said);
            if let Some(to_do) = &fact.to_do {
                say(to_do);
            }
            facts::write(place, fact)?;
            Ok(if good { Outcome::Good } else { Outcome::Fault })
        }
        Err(error) if error.is::<AtIt>() => Err(error),
        Err(error) => {
            let fact = Fact::fault(
                KIND,
                now,
                State::Bad,
                "The backup did not work. The clinic works on, but the last day is not protected.",
                format!("{error:#}"),
            );
            facts::write(place, fact)?;
            Err(error)
        }
    }
}

fn all(place: &Place, name: Option<&str>, now: OffsetDateTime) -> Result<Fact> {
    let work = Work::of(place)?;
    let _alone = ledger::try_lock(place, "nightly")?;
    let targets = chosen(&work, name)?;
    let (mut done, mut failed, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let (mut foreign, mut bytes, mut seconds) = (0, 0, 0);
    for target in &targets {
        let made = match nightly::run(&work, target, now) {
            Ok(made) => made,
            Err(error) => {
                eprintln!("hadadactl: {}: {error:#}", target.name);
                failed.push(format!("{}: {error:#}", target.name));
                continue;
            }
        };
        done.push(target.name.as_str());
        bytes += made.bytes;
        seconds += made.seconds;
        let said = format!("  {} in {} s", size(made.bytes), made.seconds);
        match &made.tidied {
            Ok(tidied) => {
                foreign += tidied.foreign;
                say(&format!("{said}; {} old snapshots went", tidied.gone));
            }
            Err(_) => say(&said),
        }
        let rest = [
            ("old backups could not be removed", made.tidied.map(drop)),
            (
                "the weekly copy of the whole database could not be made",
                base_if_due(&work, target, now),
            ),
        ];
        for (what, ended) in rest {
            if let Err(error) = ended {
                eprintln!("hadadactl: {}: {what}: {error:#}", target.name);
                after.push((what, format!("{}: {error:#}", target.name)));
            }
        }
    }
    let verified = ledger::read(place, &work.keys)?
        .entries
        .iter()
        .filter_map(|entry| entry.verified_at)
        .max();
    let warning = |said: String, to_do: String| {
        let mut fact = Fact::fault(KIND, now, State::Warning, said, to_do);
        fact.last_good = Some(now);
        fact
    };
    let fact = match (done.is_empty(), failed.is_empty(), foreign) {
        (true, ..) => Fact::fault(
            KIND,
            now,
            State::Bad,
            "The backup did not work. The clinic works on, but the last day is not protected.",
            failed.join("; "),
        ),
        (false, false, _) => warning(
            format!("Backed up to {}, but not to every target.", done.join(", ")),
            failed
                .into_iter()
                .chain(after.into_iter().map(|(_, why)| why))
                .collect::<Vec<_>>()
                .join("; "),
        ),
        (false, true, _) if !after.is_empty() => warning(
            format!("Backed up to {}, but {}.", done.join(", "), {
                let mut clauses: Vec<&str> = after.iter().map(|(what, _)| *what).collect();
                clauses.dedup();
                clauses.join(", and ")
            }),
            after
                .iter()
                .map(|(_, why)| why.as_str())
                .collect::<Vec<_>>()
                .join("; "),
        ),
        (false, true, 1..) => warning(
            format!(
                "Backed up to {}. Somebody else has put {foreign} snapshots there.",
                done.join(", ")
            ),
            "Find out who else can write to the target, and change its password. This box leaves foreign snapshots alone and \
             never restores from them; `hadadactl backup list` counts them."
                .to_owned(),
        ),
        (false, true, 0) => Fact::good(
            KIND,
            now,
            match verified {
                Some(at) => format!(
                    "Backed up to {}. The last restore that was tried, of {}, worked.",
                    done.join(", "),
                    written(at)
                ),
                None => format!(
                    "Backed up to {}. No restore was tried yet.",
                    done.join(", ")
                ),
            },
        ),
    };
    Ok(fact
        .with("bytes", bytes)
        .with("seconds", seconds)
        .with("targets", targets.len())
        .with("failed", targets.len() - done.len())
        .with("foreign", foreign))
}

/// The week's base backup, where it is missing: a box that was off on its day must not wait for the next.
fn base_if_due(work: &Work, target: &Target, now: OffsetDateTime) -> Result<()> {
    let ledger = ledger::read(&work.place, &work.keys)?;
    let due = ledger
        .bases(&target.name)
        .last()
        .is_none_or(|base| base.made_at < now - Duration::days(7) - Duration::hours(12));
    let demanded = Spool::of(&work.place).base_demanded()?.is_some()
        && work
            .settings
            .wal_target()
            .is_some_and(|first| first.name == target.name);
    if due || demanded {
        let _alone = ledger::lock(&work.place, "base")?;
        base::run(work, target)?;
    }
    Ok(())
}

pub(super) fn base(place: &Place, name: Option<&str>, _now: OffsetDateTime) -> Result<Outcome> {
    if handover::is_needed(place) {
        return handover::run(place);
    }
    let work = Work::of(place)?;
    let _alone = ledger::try_lock(place, "base")?;
    let mut outcome = Outcome::Good;
    for target in chosen(&work, name)? {
        match base::run(&work, target) {
            Ok((bytes, seconds)) => say(&format!("  {} in {seconds} s", size(bytes))),
            Err(error) => {
                eprintln!("hadadactl: {}: {error:#}", target.name);
                outcome = Outcome::Fault;
            }
        }
    }
    Ok(outcome)
}
