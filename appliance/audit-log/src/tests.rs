//! A log that nobody touched verifies; any edit, deletion, reordering, repetition or cut is found and named.

use ed25519_dalek::SigningKey;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::{
    Anchor, Change, Event, ExportWriter, Finding, Head, Leaf, Report, Seal, Slip, Verifier,
};

const EXPORTED_AT: i64 = 1_795_000_000_000_000;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// What the appliance holds in its tables: seals, each with its leaves and events in order, and what is not sealed.
#[derive(Debug, Clone)]
struct Log {
    seals: Vec<(Seal, Vec<Row>)>,
    unsealed: Vec<Event>,
}

#[derive(Debug, Clone)]
struct Row {
    position: i32,
    leaf: Leaf,
    event: Option<Event>,
}

impl Log {
    fn of(batches: Vec<Vec<Event>>, unsealed: Vec<Event>) -> Self {
        let mut seals: Vec<(Seal, Vec<Row>)> = Vec::new();
        for events in batches {
            let mut leaves: Vec<Leaf> = events
                .iter()
                .map(|event| Leaf {
                    event_id: event.id,
                    hash: event.leaf_hash(),
                })
                .collect();
            let previous = seals.last().map(|(seal, _)| seal);
            let seal = Seal::sign(previous, &mut leaves, EXPORTED_AT - 1_000, &key()).unwrap();
            let rows = (0..).zip(leaves).map(|(position, leaf)| Row {
                position,
                event: events
                    .iter()
                    .find(|event| event.id == leaf.event_id)
                    .cloned(),
                leaf,
            });
            seals.push((seal, rows.collect()));
        }
        Self { seals, unsealed }
    }

    fn export(&self) -> Vec<String> {
        let (mut writer, header) = ExportWriter::start(&key().verifying_key(), EXPORTED_AT);
        let mut lines = vec![header];
        for (seal, rows) in &self.seals {
            lines.push(writer.seal(seal));
            lines.extend(
                rows.iter()
                    .map(|row| writer.event(row.position, &row.leaf, row.event.as_ref())),
            );
        }
        lines.extend(self.unsealed.iter().map(|event| writer.unsealed(event)));
        lines.push(writer.finish());
        lines
    }

    fn head(&self) -> Head {
        Head::sign(&self.seals.last().unwrap().0, &key())
    }

    fn verify(&self, anchors: Vec<Anchor>) -> Report {
        verify(&self.export(), anchors)
    }

    fn finding(&self) -> Option<Finding> {
        self.verify(Vec::new()).finding
    }

    /// The sealed event that is `nth` (wrapping), as (index of its seal, index in it).
    fn pick(&self, nth: usize) -> (usize, usize) {
        let places: Vec<(usize, usize)> = self
            .seals
            .iter()
            .enumerate()
            .flat_map(|(seal, (_, rows))| (0..rows.len()).map(move |row| (seal, row)))
            .collect();
        places[nth % places.len()]
    }
}

fn verify(lines: &[String], anchors: Vec<Anchor>) -> Report {
    let mut verifier = Verifier::new(key().verifying_key(), anchors);
    for line in lines {
        verifier.push_line(line);
    }
    verifier.finish()
}

fn event() -> impl Strategy<Value = Event> {
    (
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        0..EXPORTED_AT,
        "[a-zḓḽṅṋṱš\"\\\\]{1,12}",
        prop_oneof![Just("read"), Just("update"), Just("search")],
        proptest::option::of(any::<[u8; 16]>()),
        "\\PC{0,20}",
        vec(any::<[u8; 16]>(), 0..4),
        proptest::option::of(vec(any::<u8>(), 0..40)),
    )
        .prop_map(
            |(id, practice, at_micros, actor, action, patient, reason, shown, change)| Event {
                id: Uuid::from_bytes(id),
                practice_id: Uuid::from_bytes(practice),
                at_micros,
                actor,
                action: action.to_owned(),
                entity: "Patient".to_owned(),
                entity_id: patient.map(Uuid::from_bytes),
                patient_id: patient.map(Uuid::from_bytes),
                reason,
                shown: shown.into_iter().map(Uuid::from_bytes).collect(),
                change: change.map(Change::Ciphertext),
            },
        )
}

fn log() -> impl Strategy<Value = Log> {
    (vec(vec(event(), 1..9), 1..6), vec(event(), 0..4))
        .prop_map(|(batches, unsealed)| Log::of(batches, unsealed))
}

/// Each field of an event, changed.
fn edit(event: &mut Event, field: usize) {
    match field % 11 {
        0 => event.practice_id = Uuid::from_u128(event.practice_id.as_u128() ^ 1),
        1 => event.at_micros += 1,
        2 => event.actor.push('x'),
        3 => event.action.push('x'),
        4 => event.entity = "Encounter".to_owned(),
        5 => event.entity_id = event.entity_id.xor(Some(Uuid::nil())),
        6 => event.patient_id = event.patient_id.xor(Some(Uuid::nil())),
        7 => event.reason.push('x'),
        8 => event.shown.push(Uuid::nil()),
        9 => {
            event.change = match event.change.take() {
                None => Some(Change::Ciphertext(vec![1])),
                Some(_) => None,
            }
        }
        _ => event.change = Some(Change::Erased([9; 32])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_untouched_log_is_whole(log in log()) {
        let head = log.head();
        let report = log.verify(vec![Anchor::Slip(head.slip()), Anchor::Head(head)]);
        prop_assert_eq!(report.finding, None);
        prop_assert_eq!(report.sealed as i64, log.seals.last().unwrap().0.total);
        prop_assert_eq!(report.seals as usize, log.seals.len());
        prop_assert_eq!(report.unsealed as usize, log.unsealed.len());
        prop_assert_eq!(report.oldest_unsealed_micros, log.unsealed.iter().map(|event| event.at_micros).min());
    }

    #[test]
    fn erasing_ciphertext_keeps_the_proof(mut log in log()) {
        let mut erased = 0;
        for row in log.seals.iter_mut().flat_map(|(_, rows)| rows) {
            let change = &mut row.event.as_mut().unwrap().change;
            if let Some(ciphertext) = change {
                *change = Some(Change::Erased(ciphertext.hash()));
                erased += 1;
            }
        }
        let report = log.verify(Vec::new());
        prop_assert_eq!(report.finding, None);
        prop_assert_eq!(report.erased, erased);
    }

    #[test]
    fn an_edited_event_is_named(mut log in log(), nth: usize, field: usize) {
        let (seal, row) = log.pick(nth);
        edit(log.seals[seal].1[row].event.as_mut().unwrap(), field);
        prop_assert_eq!(log.finding(), Some(Finding::EventEdited {
            id: log.seals[seal].1[row].leaf.event_id, seal: seal as i64 + 1, position: row as i32,
        }));
    }

    #[test]
    fn the_first_of_several_edits_is_named(mut log in log(), first: usize, second: usize, field: usize) {
        let edited = [log.pick(first), log.pick(second)];
        for (seal, row) in edited {
            log.seals[seal].1[row].event.as_mut().unwrap().reason = format!("changed {field}");
        }
        let (seal, row) = edited.into_iter().min().unwrap();
        prop_assert_eq!(log.finding(), Some(Finding::EventEdited {
            id: log.seals[seal].1[row].leaf.event_id, seal: seal as i64 + 1, position: row as i32,
        }));
    }

    #[test]
    fn an_edit_that_also_changes_the_leaf_is_found_by_the_seal(mut log in log(), nth: usize, field: usize) {
        let (seal, row) = log.pick(nth);
        let row = &mut log.seals[seal].1[row];
        let event = row.event.as_mut().unwrap();
        edit(event, field);
        row.leaf.hash = event.leaf_hash();
        let rows = &log.seals[seal].1;
        prop_assert_eq!(log.finding(), Some(Finding::BatchEdited {
            seal: seal as i64 + 1,
            count: rows.len() as i32,
            first: rows[0].leaf.event_id,
            last: rows[rows.len() - 1].leaf.event_id,
        }));
    }

    #[test]
    fn a_deleted_event_is_named(mut log in log(), nth: usize) {
        let (seal, row) = log.pick(nth);
        log.seals[seal].1[row].event = None;
        prop_assert_eq!(log.finding(), Some(Finding::EventMissing {
            id: log.seals[seal].1[row].leaf.event_id, seal: seal as i64 + 1, position: row as i32,
        }));
    }

    #[test]
    fn an_event_deleted_with_its_leaf_leaves_a_named_gap(mut log in log(), nth: usize) {
        let (seal, row) = log.pick(nth);
        log.seals[seal].1.remove(row);
        prop_assert_eq!(log.finding(), Some(Finding::LeafMissing {
            seal: seal as i64 + 1, position: row as i32, count: log.seals[seal].0.count,
        }));
    }

    #[test]
    fn a_gap_closed_by_renumbering_still_shows(mut log in log(), nth: usize) {
        let (seal, row) = log.pick(nth);
        let rows = &mut log.seals[seal].1;
        rows.remove(row);
        for (position, row) in (0..).zip(rows) {
            row.position = position;
        }
        prop_assert_eq!(log.finding(), Some(Finding::LeafMissing {
            seal: seal as i64 + 1, position: log.seals[seal].0.count - 1, count: log.seals[seal].0.count,
        }));
    }

    #[test]
    fn events_exchanged_in_a_seal_are_named(mut log in log(), nth: usize, other: usize, renumbered: bool) {
        let (seal, row) = log.pick(nth);
        let rows = &mut log.seals[seal].1;
        let other = other % rows.len();
        prop_assume!(row != other);
        rows.swap(row, other);
        if renumbered {
            for (position, row) in (0..).zip(&mut *rows) {
                row.position = position;
            }
        }
        let first = row.min(other);
        prop_assert_eq!(log.finding(), Some(Finding::EventMoved {
            id: log.seals[seal].1[first].leaf.event_id, seal: seal as i64 + 1, position: first as i32,
        }));
    }

    #[test]
    fn an_event_put_under_anothers_leaf_is_named(mut log in log(), nth: usize, other: usize) {
        let (a, b) = (log.pick(nth), log.pick(other));
        prop_assume!(a < b);
        let moved = log.seals[b.0].1[b.1].event.clone();
        log.seals[a.0].1[a.1].event = moved.clone();
        prop_assert_eq!(log.finding(), Some(Finding::EventMoved {
            id: moved.unwrap().id, seal: a.0 as i64 + 1, position: a.1 as i32,
        }));
    }

    #[test]
    fn a_repeated_event_is_named(mut log in log(), nth: usize) {
        let (seal, row) = log.pick(nth);
        let again = log.seals[seal].1[row].clone();
        let id = again.leaf.event_id;
        log.seals[seal].1.insert(row + 1, again);
        let before: usize = log.seals[..seal].iter().map(|(_, rows)| rows.len() + 1).sum();
        prop_assert_eq!(log.finding(), Some(Finding::EventTwice { id, line: (1 + before + 1 + row + 2) as u64 }));
    }

    #[test]
    fn an_event_added_to_a_seal_is_named(mut log in log(), added in event(), nth: usize) {
        let (seal, _) = log.pick(nth);
        let (id, count) = (added.id, log.seals[seal].0.count);
        let leaf = Leaf { event_id: id, hash: added.leaf_hash() };
        log.seals[seal].1.push(Row { position: count, leaf, event: Some(added) });
        prop_assert_eq!(log.finding(), Some(Finding::EventAdded { id, seal: seal as i64 + 1, count }));
    }

    #[test]
    fn an_edited_seal_is_named(mut log in log(), nth: usize, field in 0..6) {
        let (index, _) = log.pick(nth);
        let seal = &mut log.seals[index].0;
        match field {
            0 => seal.count += 1,
            1 => seal.total -= 1,
            2 => seal.root[3] ^= 1,
            3 => seal.previous[31] ^= 128,
            4 => seal.sealed_at_micros -= 1,
            _ => seal.signature[10] ^= 4,
        }
        prop_assert_eq!(log.finding(), Some(Finding::SealEdited { seq: index as i64 + 1 }));
    }

    #[test]
    fn a_deleted_seal_is_named(mut log in log(), nth: usize) {
        let (index, _) = log.pick(nth);
        prop_assume!(index + 1 < log.seals.len());
        log.seals.remove(index);
        let before = index as i64;
        prop_assert_eq!(log.finding(), Some(Finding::SealMissing { seq: before + 1, before, found: before + 2 }));
    }

    #[test]
    fn exchanged_seals_are_named(mut log in log(), nth: usize) {
        let (index, _) = log.pick(nth);
        prop_assume!(index + 1 < log.seals.len());
        log.seals.swap(index, index + 1);
        let before = index as i64;
        prop_assert_eq!(log.finding(), Some(Finding::SealMissing { seq: before + 1, before, found: before + 2 }));
    }

    #[test]
    fn a_cut_tail_shows_against_the_head_and_the_slip(mut log in log(), keep: usize, paper: bool) {
        let keep = keep % log.seals.len();
        let head = log.head();
        let anchor = if paper {
            Anchor::Slip(head.slip().to_string().to_lowercase().parse::<Slip>().unwrap())
        } else {
            Anchor::Head(Head::from_json(&head.to_json(), &key().verifying_key()).unwrap())
        };
        log.seals.truncate(keep);
        let total = log.seals.last().map_or(0, |(seal, _)| seal.total);
        prop_assert!(head.check_continued_by(log.seals.last().map(|(seal, _)| seal)).is_err());
        prop_assert_eq!(log.verify(vec![anchor]).finding, Some(Finding::CutShort {
            head_seq: head.seq, head_total: head.total, seq: keep as i64, total,
        }));
    }

    #[test]
    fn an_export_cut_anywhere_is_not_whole(log in log(), keep: usize) {
        let lines = log.export();
        let keep = keep % lines.len();
        let report = verify(&lines[..keep], Vec::new());
        prop_assert!(!report.is_whole(), "{} of {} lines pass", keep, lines.len());
    }

    #[test]
    fn no_line_can_be_removed_repeated_or_exchanged(log in log(), nth: usize, other: usize, how in 0..3) {
        let mut lines = log.export();
        let (nth, other) = (nth % lines.len(), other % lines.len());
        let unsealed_start = lines.len() - 1 - log.unsealed.len();
        match how {
            0 => { lines.remove(nth); }
            1 => lines.insert(nth, lines[nth].clone()),
            // What is not yet sealed has no order to defend.
            _ => {
                let free = unsealed_start..lines.len() - 1;
                prop_assume!(nth != other && !(free.contains(&nth) && free.contains(&other)));
                lines.swap(nth, other);
            }
        }
        prop_assert!(!verify(&lines, vec![Anchor::Head(log.head())]).is_whole());
    }
}

fn small() -> Log {
    let event = |n: u128| Event {
        id: Uuid::from_u128(n),
        practice_id: Uuid::from_u128(1),
        at_micros: 1_000 * n as i64,
        actor: "naledi".to_owned(),
        action: "read".to_owned(),
        entity: "Patient".to_owned(),
        entity_id: Some(Uuid::from_u128(99)),
        patient_id: Some(Uuid::from_u128(99)),
        reason: String::new(),
        shown: Vec::new(),
        change: None,
    };
    Log::of(
        vec![
            vec![event(2), event(1)],
            vec![event(3)],
            vec![event(4), event(5)],
        ],
        vec![event(6)],
    )
}

#[test]
fn a_log_without_any_seal_is_whole() {
    assert_eq!(Log::of(Vec::new(), Vec::new()).finding(), None);
}

#[test]
fn another_boxs_key_is_named() {
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    let mut verifier = Verifier::new(other, Vec::new());
    small()
        .export()
        .iter()
        .for_each(|line| verifier.push_line(line));
    assert!(matches!(
        verifier.finish().finding,
        Some(Finding::WrongKey { .. })
    ));
}

#[test]
fn a_chain_rewritten_with_the_stolen_key_differs_from_the_head() {
    let log = small();
    let mut events: Vec<Vec<Event>> = log
        .seals
        .iter()
        .map(|(_, rows)| rows.iter().filter_map(|row| row.event.clone()).collect())
        .collect();
    events[0][0].reason = "rewritten".to_owned();
    let rewritten = Log::of(events, Vec::new());
    assert_eq!(rewritten.finding(), None);
    assert_eq!(
        rewritten.verify(vec![Anchor::Head(log.head())]).finding,
        Some(Finding::SealReplaced { seq: 3 })
    );
    assert!(
        log.head()
            .check_continued_by(Some(&rewritten.seals[2].0))
            .is_err()
    );
}

#[test]
fn a_seal_of_another_chain_does_not_fit_in() {
    let mut log = small();
    let mut other = small();
    other.seals[0].0.sealed_at_micros += 1;
    let first = other.seals[0].0.clone();
    let mut leaves: Vec<Leaf> = log.seals[1].1.iter().map(|row| row.leaf).collect();
    log.seals[1].0 = Seal::sign(Some(&first), &mut leaves, EXPORTED_AT, &key()).unwrap();
    assert_eq!(
        log.finding(),
        Some(Finding::SealUnlinked { seq: 2, before: 1 })
    );
}

#[test]
fn a_head_that_was_changed_is_refused() {
    let json = small().head().to_json();
    let key = key().verifying_key();
    assert!(Head::from_json(&json, &key).is_ok());
    assert!(Head::from_json(&json.replace("\"total\":5", "\"total\":4"), &key).is_err());
    assert!(Head::from_json("{}", &key).is_err());
}

#[test]
fn the_log_may_be_ahead_of_its_head_file() {
    let log = small();
    let head = Head::sign(&log.seals[1].0, &key());
    assert_eq!(head.check_continued_by(Some(&log.seals[2].0)), Ok(()));
    assert_eq!(log.verify(vec![Anchor::Head(head)]).finding, None);
}

#[test]
fn a_line_with_a_field_nobody_checks_is_refused() {
    let mut lines = small().export();
    lines[2] = lines[2].replacen("\"position\"", "\"note\":1,\"position\"", 1);
    assert!(matches!(
        verify(&lines, Vec::new()).finding,
        Some(Finding::Unreadable { line: 3, .. })
    ));
}

#[test]
fn slips_with_typing_errors_are_refused() {
    for text in [
        "",
        "4-5",
        "4-5-7KQ2-9F4M-ZT3A",
        "4-5-7KQ2-9F4M-ZT3A-B6XU",
        "4-5-7KQ2-9F4M-ZT3A-B6XD-0",
        "x-5-7KQ2-9F4M-ZT3A-B6XD",
    ] {
        assert!(text.parse::<Slip>().is_err(), "{text:?}");
    }
}

#[test]
fn batches_that_make_no_sense_are_not_sealed() {
    let leaf = Leaf {
        event_id: Uuid::from_u128(1),
        hash: [0; 32],
    };
    assert!(Seal::sign(None, &mut [], 0, &key()).is_err());
    assert!(Seal::sign(None, &mut [leaf, leaf], 0, &key()).is_err());
}

/// The bytes hashed are a promise to logs already written; this fails when they change.
#[test]
fn the_canonical_form_is_fixed() {
    let mut event = small().unsealed.remove(0);
    event.reason = "ḓḽṅ".to_owned();
    event.shown = vec![Uuid::from_u128(3)];
    event.change = Some(Change::Ciphertext(b"secret".to_vec()));
    assert_eq!(
        hex::encode(event.leaf_hash()),
        "3b6b0d81d07c56db7e7874ed93981d247ac25a2b1949da4b2ef3cca6ab9d3cc0"
    );
    assert_eq!(
        hex::encode(small().head().seal),
        "b976fba9e432e30d7f583eaeb04ab79b125442d32916579b52e7865926b0a473"
    );
}
