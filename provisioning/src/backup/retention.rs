//! Which of the box's own snapshots may go. It sees nothing but the ledger, so nothing that others put into a repository, with
//! whatever time, host or tag, can push out a promised one; and it counts the days that have a backup, not days of the clock.

use std::collections::BTreeSet;

use time::{Date, Duration, OffsetDateTime, UtcOffset};

use super::ledger::{Entry, Ledger, What};
use super::settings::{KEYS_DAYS, Keep};

/// South Africa has had this offset, without summer time, since 1944.
const LOCAL: UtcOffset = match UtcOffset::from_hms(2, 0, 0) {
    Ok(offset) => offset,
    Err(_) => UtcOffset::UTC,
};
/// How many copies of the ledger stay in each repository.
const LEDGERS: usize = 3;

/// The snapshots at a target that may go. `erased_at` is when a patient's key was last destroyed.
pub fn expired(
    ledger: &Ledger,
    target: &str,
    keep: Keep,
    now: OffsetDateTime,
    erased_at: Option<OffsetDateTime>,
) -> BTreeSet<String> {
    let here: Vec<&Entry> = ledger
        .entries
        .iter()
        .filter(|entry| entry.target == target)
        .collect();
    let mut kept: BTreeSet<&str> = BTreeSet::new();

    let sets = ledger.sets(target);
    let made: Vec<OffsetDateTime> = sets.iter().map(|set| set.records.made_at).collect();
    let promised = promised(&made, keep);
    // One that was restored and found good is worth more than any number of newer ones that were not.
    let verified = sets
        .iter()
        .rposition(|set| set.records.verified_at.is_some());
    for (number, set) in sets.iter().enumerate() {
        if promised.contains(&number) || verified == Some(number) {
            kept.insert(&set.records.snapshot);
            kept.insert(&set.files.snapshot);
        }
    }

    // Wrapped keys go after 29 days, so that an erasure is whole in 30. The newest of each kind stays longer where no patient
    // was erased since: a box whose backups fail keeps what it can be rebuilt from.
    let limit = now - Duration::days(i64::from(KEYS_DAYS));
    let lawful = |entry: &Entry, newest: bool| {
        entry.made_at > limit || (newest && erased_at.is_none_or(|at| at < entry.made_at))
    };
    let dumps: Vec<&&Entry> = here
        .iter()
        .filter(|entry| matches!(entry.what, What::Keys(_)))
        .collect();
    let newest = dumps.iter().map(|entry| entry.made_at).max();
    for entry in dumps {
        if lawful(entry, Some(entry.made_at) == newest) {
            kept.insert(&entry.snapshot);
        }
    }

    let bases = ledger.bases(target);
    let since = now - Duration::days(i64::from(keep.any_second_days));
    // The newest that is older than the window is what its first seconds are worked out from.
    let first = bases
        .iter()
        .rposition(|base| base.made_at <= since)
        .unwrap_or(0);
    let verified = bases.iter().rposition(|base| base.verified_at.is_some());
    let mut oldest: Option<&Entry> = None;
    for (number, base) in bases.iter().enumerate() {
        let newest = number + 1 == bases.len();
        if (number >= first || verified == Some(number)) && lawful(base, newest) {
            kept.insert(&base.snapshot);
            oldest = oldest.or(Some(base));
        }
    }
    for piece in ledger.wal(target) {
        let needed = match (oldest.and_then(Entry::base), piece.wal()) {
            (Some(base), Some(wal)) => {
                wal.system != base.system
                    || wal
                        .files
                        .last()
                        .is_none_or(|last| position(last) >= position(&base.start))
            }
            // Without a base it is of no use yet; the next base will tell.
            _ => true,
        };
        if needed && lawful(piece, oldest.is_some_and(|base| base.made_at <= limit)) {
            kept.insert(&piece.snapshot);
        }
    }

    for repository in super::keys::Repository::ALL {
        let mut copies: Vec<&&Entry> = here
            .iter()
            .filter(|entry| {
                entry.repository == repository && matches!(entry.what, What::Ledger { .. })
            })
            .collect();
        copies.sort_by_key(|entry| std::cmp::Reverse(entry.made_at));
        kept.extend(
            copies
                .iter()
                .take(LEDGERS)
                .map(|entry| entry.snapshot.as_str()),
        );
    }

    // What belongs to a set that never became whole is of no use after a day.
    let whole: BTreeSet<&str> = sets
        .iter()
        .flat_map(|set| [set.records.snapshot.as_str(), set.files.snapshot.as_str()])
        .collect();
    for entry in &here {
        if matches!(entry.what, What::Records(_) | What::Files { .. })
            && !whole.contains(entry.snapshot.as_str())
            && entry.made_at > now - Duration::DAY
        {
            kept.insert(&entry.snapshot);
        }
    }

    here.iter()
        .filter(|entry| !kept.contains(entry.snapshot.as_str()))
        .map(|entry| entry.snapshot.clone())
        .collect()
}

/// A log file's place in the log, whatever its timeline.
fn position(file: &str) -> &str {
    file.get(8..24).unwrap_or(file)
}

/// Which of these times, oldest first, are promised to stay: the newest of all, and the newest of each of the last so many
/// days, weeks, months and years that have one.
fn promised(made: &[OffsetDateTime], keep: Keep) -> BTreeSet<usize> {
    let mut stay = BTreeSet::new();
    stay.extend(made.len().checked_sub(1));
    type Period = fn(Date) -> (i32, u32);
    let periods: [(u32, Period); 4] = [
        (keep.days, |date| (date.year(), u32::from(date.ordinal()))),
        (keep.weeks, |date| {
            let (year, week, _) = date.to_iso_week_date();
            (year, u32::from(week))
        }),
        (keep.months, |date| {
            (date.year(), u32::from(u8::from(date.month())))
        }),
        (keep.years, |date| (date.year(), 0)),
    ];
    for (count, period) in periods {
        let mut seen = BTreeSet::new();
        for (number, at) in made.iter().enumerate().rev() {
            let period = period(at.to_offset(LOCAL).date());
            if !seen.contains(&period) && seen.len() < count as usize {
                seen.insert(period);
                stay.insert(number);
            }
        }
    }
    stay
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::super::keys::Repository;
    use super::super::ledger::{Base, Dump, Wal};
    use super::*;

    const BEGAN: OffsetDateTime = datetime!(2024-01-01 00:00 UTC);

    fn entry(number: usize, run: &str, made_at: OffsetDateTime, what: What) -> Entry {
        let repository = match what {
            What::Records(_) | What::Files { .. } => Repository::Records,
            _ => Repository::Keys,
        };
        Entry {
            target: "usb".into(),
            repository,
            snapshot: format!("{number:064x}"),
            run: run.into(),
            made_at,
            what,
            verified_at: None,
        }
    }

    fn dump() -> Dump {
        Dump {
            bytes: 1,
            sha256: String::new(),
            counts: std::collections::BTreeMap::new(),
            golden: std::collections::BTreeMap::new(),
            newest: None,
            head: None,
        }
    }

    fn segment(hour: i64) -> String {
        format!("00000001{:016X}", hour)
    }

    /// A box that ran for so many days, with holes: a set each night, a base each week, a piece of log every six hours.
    fn ledger(days: i64, missed: &BTreeSet<i64>) -> Ledger {
        let mut ledger = Ledger::default();
        let mut number = 0;
        let mut add = |run: &str, at, what| {
            number += 1;
            ledger.entries.push(entry(number, run, at, what));
        };
        for day in 0..days {
            let at = BEGAN + Duration::days(day);
            for piece in 0..4 {
                let hour = day * 24 + piece * 6;
                let wal = Wal {
                    system: "1".into(),
                    files: (hour..hour + 6).map(segment).collect(),
                    state: "/s".into(),
                };
                add("w", BEGAN + Duration::hours(hour + 6), What::Wal(wal));
            }
            if missed.contains(&day) {
                continue;
            }
            let run = format!("r{day}");
            add(&run, at, What::Records(dump()));
            add(&run, at, What::Keys(dump()));
            add(&run, at, What::Files { state: "/s".into() });
            add(&run, at, What::Ledger { state: "/s".into() });
            if day % 7 == 0 {
                let base = Base {
                    bytes: 1,
                    sha256: String::new(),
                    system: "1".into(),
                    start: segment(day * 24),
                };
                add(&run, at, What::Base(base));
            }
        }
        ledger
    }

    fn without(mut ledger: Ledger, gone: &BTreeSet<String>) -> Ledger {
        ledger
            .entries
            .retain(|entry| !gone.contains(&entry.snapshot));
        ledger
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_promised_is_there(
            days in 1_i64..900,
            missed in proptest::collection::btree_set(0_i64..900, 0..60),
            keep_days in 1_u32..30, weeks in 0_u32..20, months in 0_u32..20, years in 0_u32..4,
            every in 1_usize..9,
        ) {
            let keep = Keep { days: keep_days, weeks, months, years, any_second_days: 14 };
            // Forgetting each few nights must promise no less than never having forgotten before.
            let whole = ledger(days, &missed);
            let mut lived = Ledger::default();
            for (number, entry) in whole.entries.iter().enumerate() {
                lived.entries.push(entry.clone());
                if number % (7 * every) == 0 {
                    let gone = expired(&lived, "usb", keep, entry.made_at, None);
                    lived = without(lived, &gone);
                }
            }
            let now = BEGAN + Duration::days(days);
            let gone = expired(&lived, "usb", keep, now, None);
            let left = without(lived, &gone);
            let nights: Vec<OffsetDateTime> = left.sets("usb").iter().map(|set| set.records.made_at).collect();
            let all: Vec<OffsetDateTime> = whole.sets("usb").iter().map(|set| set.records.made_at).collect();
            for number in promised(&all, keep) {
                prop_assert!(nights.contains(&all[number]), "{} of {} nights", all[number], all.len());
            }
            // Any second of the window: a base before it, and every piece of log from there on.
            let since = now - Duration::days(14);
            for base in whole.bases("usb").iter().rev().take_while(|base| base.made_at > since) {
                prop_assert!(left.bases("usb").iter().any(|own| own.snapshot == base.snapshot));
            }
            let oldest = left.bases("usb").first().map(|base| base.made_at);
            if let Some(oldest) = oldest {
                for piece in whole.wal("usb") {
                    if piece.made_at > oldest + Duration::hours(6) && piece.made_at > now - Duration::days(i64::from(KEYS_DAYS)) {
                        prop_assert!(left.entries.iter().any(|own| own.snapshot == piece.snapshot));
                    }
                }
            }
        }

        #[test]
        fn an_erasure_is_whole_in_thirty_days(days in 1_i64..200, erased in 0_i64..200, later in 30_i64..400) {
            let erased_at = BEGAN + Duration::days(erased.min(days));
            let now = erased_at + Duration::days(later);
            let mut ledger = ledger(days, &BTreeSet::new());
            ledger.entries.retain(|entry| entry.made_at <= now);
            let gone = expired(&ledger, "usb", Keep::default(), now, Some(erased_at));
            for entry in without(ledger, &gone).entries {
                if matches!(entry.what, What::Keys(_) | What::Base(_) | What::Wal(_)) {
                    prop_assert!(entry.made_at > erased_at, "{:?}", entry.made_at);
                }
            }
        }

        #[test]
        fn a_clock_gone_wrong_takes_no_night_away(days in 1_i64..60, leap in -4000_i64..4000) {
            let ledger = ledger(days, &BTreeSet::new());
            let keep = Keep::default();
            let right = BEGAN + Duration::days(days);
            let nights = |now| {
                let gone = expired(&ledger, "usb", keep, now, None);
                without(ledger.clone(), &gone).sets("usb").iter().map(|set| set.records.snapshot.clone()).collect::<Vec<_>>()
            };
            prop_assert_eq!(nights(right), nights(right + Duration::days(leap)));
        }
    }

    #[test]
    fn a_box_whose_backups_stopped_keeps_its_last_base_and_keys() {
        let ledger = ledger(20, &BTreeSet::new());
        let now = BEGAN + Duration::days(300);
        let gone = expired(&ledger, "usb", Keep::default(), now, None);
        let left = without(ledger, &gone);
        assert_eq!(left.bases("usb").len(), 1);
        assert!(left.newest_keys("usb").is_some());
        assert!(!left.sets("usb").is_empty());
        assert!(
            left.wal("usb")
                .iter()
                .any(|piece| piece.made_at > left.bases("usb")[0].made_at)
        );
    }

    #[test]
    fn other_targets_are_left_alone() {
        let ledger = ledger(60, &BTreeSet::new());
        assert!(
            expired(
                &ledger,
                "nas",
                Keep::default(),
                BEGAN + Duration::days(900),
                None
            )
            .is_empty()
        );
    }
}
