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

/// How long the removal of old backups waits for others at the target, before it is left to the next night.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

pub(super) fn back_up(place: &Place, name: Option<&str>, now: OffsetDateTime) -> Result<Outcome> {
    if handover::is_needed(place) {
        return handover::run(place);
    }
    match all(place, name, now) {
        Ok(fact) => {
            say(&fact.said);
            if let Some(to_do) = &fact.to_do {
                say(to_do);
            }
            Ok(if fact.state == State::Good {
                Outcome::Good
            } else {
                Outcome::Fault
            })
        }
        Err(error) if error.is::<AtIt>() => Err(error),
        Err(error) => {
            facts::write(place, failed(now, format!("{error:#}")))?;
            Err(error)
        }
    }
}

fn failed(now: OffsetDateTime, why: String) -> Fact {
    Fact::fault(
        KIND,
        now,
        State::Bad,
        "The backup did not work. The clinic works on, but the last day is not protected.",
        why,
    )
}

/// What a run came to, at all its targets.
#[derive(Default)]
struct Round {
    targets: usize,
    /// Where there is a new backup.
    done: Vec<String>,
    /// Why there is none elsewhere.
    failed: Vec<String>,
    /// What did not work after a backup, as the end of a sentence, and why.
    after: Vec<(&'static str, String)>,
    foreign: usize,
    bytes: u64,
    seconds: u64,
}

fn all(place: &Place, name: Option<&str>, now: OffsetDateTime) -> Result<Fact> {
    let work = Work::of(place)?;
    let _alone = ledger::try_lock(place, "nightly")?;
    let targets = chosen(&work, name)?;
    let mut round = Round {
        targets: targets.len(),
        ..Round::default()
    };
    let mut done = Vec::new();
    for target in targets {
        match nightly::run(&work, target) {
            Ok(made) => {
                say(&format!("  {} in {} s", size(made.bytes), made.seconds));
                round.bytes += made.bytes;
                round.seconds += made.seconds;
                round.done.push(target.name.clone());
                done.push(target);
                if let Some(foreign) = round.follows(
                    target,
                    "who else writes there could not be seen",
                    nightly::foreign(&work, target),
                ) {
                    round.foreign += foreign;
                }
            }
            Err(error) => {
                eprintln!("hadadactl: {}: {error:#}", target.name);
                round.failed.push(format!("{}: {error:#}", target.name));
            }
        }
    }
    // What follows takes its time, and takes nothing from what was made.
    facts::write(place, round.fact(&work, now)?)?;
    for target in done {
        if let Some(gone) = round.follows(
            target,
            "old backups could not be removed",
            nightly::tidy(&work, target, now, PATIENCE),
        ) {
            say(&format!("  {gone} old snapshots went"));
        }
        round.follows(
            target,
            "the weekly copy of the whole database could not be made",
            base_if_due(&work, target, now),
        );
    }
    let fact = round.fact(&work, now)?;
    facts::write(place, fact.clone())?;
    Ok(fact)
}

impl Round {
    /// What came of something that is done after a backup.
    fn follows<T>(&mut self, target: &Target, what: &'static str, ended: Result<T>) -> Option<T> {
        match ended {
            Ok(value) => Some(value),
            Err(error) => {
                eprintln!("hadadactl: {}: {what}: {error:#}", target.name);
                self.after
                    .push((what, format!("{}: {error:#}", target.name)));
                None
            }
        }
    }

    fn fact(&self, work: &Work, now: OffsetDateTime) -> Result<Fact> {
        let fact = if self.done.is_empty() {
            failed(now, self.failed.join("; "))
        } else {
            self.made(work, now)?
        };
        Ok(fact
            .with("bytes", self.bytes)
            .with("seconds", self.seconds)
            .with("targets", self.targets)
            .with("failed", self.failed.len())
            .with("foreign", self.foreign))
    }

    /// The fact where there is a backup.
    fn made(&self, work: &Work, now: OffsetDateTime) -> Result<Fact> {
        let mut said = format!("Backed up to {}", self.done.join(", "));
        let mut to_do: Vec<String> = self.failed.clone();
        let mut but: Vec<&str> = Vec::new();
        if !self.failed.is_empty() {
            but.push("not to every target");
        }
        for (what, why) in &self.after {
            to_do.push(why.clone());
            if !but.contains(what) {
                but.push(what);
            }
        }
        if !but.is_empty() {
            said = format!("{said}, but {}", but.join(", and "));
        }
        said.push('.');
        if self.foreign > 0 {
            said = format!(
                "{said} Somebody else has put {} snapshots there.",
                self.foreign
            );
            to_do.push(
                "Find out who else can write to the target, and change its password. This box leaves foreign snapshots alone \
                 and never restores from them; `hadadactl backup list` counts them."
                    .to_owned(),
            );
        }
        if !to_do.is_empty() {
            let mut fact = Fact::fault(KIND, now, State::Warning, said, to_do.join(". "));
            fact.last_good = Some(now);
            return Ok(fact);
        }
        let verified = ledger::read(&work.place, &work.keys)?
            .entries
            .iter()
            .filter_map(|entry| entry.verified_at)
            .max();
        Ok(Fact::good(
            KIND,
            now,
            match verified {
                Some(at) => format!(
                    "{said} The last restore that was tried, of {}, worked.",
                    written(at)
                ),
                None => format!("{said} No restore was tried yet."),
            },
        ))
    }
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
