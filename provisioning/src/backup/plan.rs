//! Which backups a restore needs: a pure choice from the ledger.

use anyhow::{Result, bail};
use time::OffsetDateTime;

use super::ledger::{Entry, Ledger, Set};
use super::spool::Segment;
use super::written;

/// To when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// As far as there is anything.
    Latest,
    /// What was true at this second.
    At(OffsetDateTime),
}

/// How to get there.
#[derive(Debug, Clone)]
pub enum Plan {
    /// The database's files, and the log from there on.
    Physical { base: Box<Entry>, wal: Vec<Entry> },
    /// A nightly dump, with the newest keys there are: older keys are not needed, since keys never change, and those of erased
    /// patients must not come back.
    Logical { set: Box<Set>, keys: Box<Entry> },
}

impl Plan {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Physical { base, wal } => format!(
                "base backup of {} and the log from there on ({} pieces)",
                written(base.made_at),
                wal.len()
            ),
            Self::Logical { set, .. } => {
                format!("nightly backup of {}", written(set.records.made_at))
            }
        }
    }
}

/// Chooses: the database's files and the log where they reach the point, else a nightly dump.
///
/// # Errors
/// When nothing at this target reaches it.
pub fn choose(ledger: &Ledger, target: &str, point: Point) -> Result<Plan> {
    let before = |at: OffsetDateTime| match point {
        Point::Latest => true,
        Point::At(limit) => at <= limit,
    };
    let set = ledger
        .sets(target)
        .into_iter()
        .rfind(|set| before(set.records.made_at));
    let base = ledger
        .bases(target)
        .into_iter()
        .rfind(|base| before(base.made_at));
    if let Some((base, about)) = base.and_then(|entry| Some((entry, entry.base()?))) {
        let start = Segment::parse(&about.start);
        let wal: Vec<Entry> = ledger
            .wal(target)
            .into_iter()
            .filter(|piece| {
                piece.wal().is_some_and(|wal| {
                    wal.system == about.system
                        && wal
                            .files
                            .iter()
                            .filter_map(|name| Segment::parse(name))
                            .any(|segment| Some(segment) >= start)
                })
            })
            .cloned()
            .collect();
        let reach = wal
            .last()
            .map_or(base.made_at, |newest| newest.made_at.max(base.made_at));
        // A target that takes no log has dumps that are newer than what a base of the week before leads to.
        if set.as_ref().is_none_or(|set| set.records.made_at <= reach) {
            return Ok(Plan::Physical {
                base: Box::new(base.clone()),
                wal,
            });
        }
    }
    match (set, ledger.newest_keys(target)) {
        (Some(set), Some(keys)) => Ok(Plan::Logical {
            set: Box::new(set),
            keys: Box::new(keys.clone()),
        }),
        (Some(_), None) => bail!(
            "the target {target} has dumps of the records but no keys that open them; restore from another target"
        ),
        (None, _) => {
            let oldest = ledger.sets(target).first().map(|set| set.records.made_at);
            match (point, oldest) {
                (Point::At(at), Some(oldest)) => bail!(
                    "nothing at the target {target} is as old as {}; the oldest backup there is of {}",
                    written(at),
                    written(oldest)
                ),
                _ => bail!("there is no whole backup at the target {target}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::keys::Repository;
    use super::super::ledger::{Base, Dump, Wal, What};
    use super::*;

    fn entry(run: &str, made_at: OffsetDateTime, what: What) -> Entry {
        Entry {
            target: "usb".into(),
            repository: Repository::Keys,
            snapshot: format!("{run}-{made_at}"),
            run: run.into(),
            made_at,
            what,
            verified_at: None,
        }
    }

    fn ledger(with_log: bool) -> Ledger {
        let dump = Dump {
            bytes: 1,
            sha256: String::new(),
            counts: Default::default(),
            golden: Default::default(),
            newest: None,
            head: None,
        };
        let mut ledger = Ledger::default();
        for (run, at) in [
            ("a", datetime!(2026-01-01 02:00 UTC)),
            ("b", datetime!(2026-11-20 02:00 UTC)),
        ] {
            ledger
                .entries
                .push(entry(run, at, What::Records(dump.clone())));
            ledger
                .entries
                .push(entry(run, at, What::Files { state: "/s".into() }));
        }
        ledger.entries.push(entry(
            "b",
            datetime!(2026-11-20 02:00 UTC),
            What::Keys(dump),
        ));
        ledger.entries.push(entry(
            "c",
            datetime!(2026-11-18 03:00 UTC),
            What::Base(Base {
                bytes: 1,
                sha256: String::new(),
                system: "7".into(),
                start: "000000010000000000000005".into(),
            }),
        ));
        if with_log {
            for (at, system, files) in [
                (
                    datetime!(2026-11-18 02:00 UTC),
                    "7",
                    vec!["000000010000000000000004"],
                ),
                (
                    datetime!(2026-11-18 04:00 UTC),
                    "7",
                    vec!["000000010000000000000004", "000000010000000000000005"],
                ),
                (
                    datetime!(2026-11-19 04:00 UTC),
                    "6",
                    vec!["000000010000000000000006"],
                ),
                (
                    datetime!(2026-11-21 04:00 UTC),
                    "7",
                    vec!["000000010000000000000006"],
                ),
            ] {
                ledger.entries.push(entry(
                    "w",
                    at,
                    What::Wal(Wal {
                        system: system.into(),
                        files: files.into_iter().map(str::to_owned).collect(),
                        state: "/s".into(),
                    }),
                ));
            }
        }
        ledger
    }

    #[test]
    fn the_log_is_used_where_it_reaches() {
        let ledger = ledger(true);
        for point in [Point::Latest, Point::At(datetime!(2026-11-19 12:00 UTC))] {
            let Plan::Physical { wal, .. } = choose(&ledger, "usb", point).unwrap() else {
                panic!("not physical");
            };
            // Of this cluster only, and from the piece that has the base's first file.
            let times: Vec<_> = wal.iter().map(|piece| piece.made_at.day()).collect();
            assert_eq!(times, [18, 21]);
        }
    }

    #[test]
    fn before_the_first_base_a_dump_is_used_with_todays_keys() {
        let Plan::Logical { set, keys } = choose(
            &ledger(true),
            "usb",
            Point::At(datetime!(2026-03-01 00:00 UTC)),
        )
        .unwrap() else {
            panic!("not logical");
        };
        assert_eq!((set.records.run.as_str(), keys.run.as_str()), ("a", "b"));
    }

    #[test]
    fn without_a_log_the_newer_dump_wins_over_an_older_base() {
        assert!(matches!(
            choose(&ledger(false), "usb", Point::Latest).unwrap(),
            Plan::Logical { .. }
        ));
    }

    #[test]
    fn what_nothing_reaches_is_said() {
        let error = choose(
            &ledger(true),
            "usb",
            Point::At(datetime!(2025-01-01 00:00 UTC)),
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("the oldest backup there is of 2026-01-01T04:00:00+02:00"),
            "{error}"
        );
        assert!(choose(&ledger(true), "nas", Point::Latest).is_err());
    }
}
