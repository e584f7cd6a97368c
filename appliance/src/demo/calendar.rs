//! The demo's diary: which practitioner sees whom when, for three weeks around the first day.

use time::{Duration, OffsetDateTime, Time};

/// A practitioner of the demo.
pub(super) struct Therapist {
    pub given: &'static str,
    pub family: &'static str,
    pub discipline: &'static str,
    pub hpcsa: &'static str,
    pub room: &'static str,
    /// Working hours as (hour, minute).
    pub hours: ((u8, u8), (u8, u8)),
    /// Lunch: start and minutes.
    pub lunch: ((u8, u8), i64),
    /// Bookings of a full day: start, session type.
    pub slots: &'static [((u8, u8), &'static str)],
    /// Their patients, as places in the list of people. Longer than the day's slots, so that nobody comes twice a day.
    pub patients: &'static [usize],
}

/// Four practitioners of three disciplines.
pub(super) const THERAPISTS: [Therapist; 4] = [
    Therapist {
        given: "Naledi",
        family: "Mokoena",
        discipline: "physiotherapy",
        hpcsa: "PT 0098765",
        room: "Room 1",
        hours: ((7, 30), (16, 30)),
        lunch: ((12, 0), 60),
        slots: &[
            ((7, 30), "physio-45"),
            ((8, 15), "physio-45"),
            ((9, 0), "physio-first"),
            ((10, 0), "physio-45"),
            ((11, 15), "physio-45"),
            ((13, 0), "physio-45"),
            ((13, 45), "physio-45"),
            ((14, 30), "physio-first"),
            ((15, 30), "physio-45"),
        ],
        patients: &[1, 2, 3, 0, 4, 5, 6, 7, 8, 29, 31, 33, 36],
    },
    Therapist {
        given: "Pieter",
        family: "van Zyl",
        discipline: "physiotherapy",
        hpcsa: "PT 0076543",
        room: "Room 2",
        hours: ((8, 0), (17, 0)),
        lunch: ((12, 30), 45),
        slots: &[
            ((8, 0), "physio-45"),
            ((8, 45), "physio-30"),
            ((9, 15), "physio-first"),
            ((10, 15), "physio-45"),
            ((11, 0), "physio-45"),
            ((11, 45), "physio-45"),
            ((13, 15), "physio-45"),
            ((14, 0), "physio-first"),
            ((15, 0), "physio-45"),
        ],
        patients: &[9, 10, 11, 12, 13, 14, 15, 16, 17, 30, 34, 35, 39],
    },
    Therapist {
        given: "Ayesha",
        family: "Patel",
        discipline: "occupational-therapy",
        hpcsa: "OT 0054321",
        room: "Room 3",
        hours: ((8, 0), (15, 0)),
        lunch: ((12, 30), 45),
        slots: &[
            ((8, 0), "ot-60"),
            ((9, 0), "ot-60"),
            ((10, 0), "ot-60"),
            ((11, 0), "ot-30"),
            ((11, 30), "ot-60"),
            ((13, 15), "ot-fce"),
        ],
        patients: &[18, 19, 20, 21, 22, 23, 32],
    },
    Therapist {
        given: "Sipho",
        family: "Dlamini",
        discipline: "biokinetics",
        hpcsa: "BK 0012309",
        room: "Gym",
        hours: ((7, 0), (15, 30)),
        lunch: ((12, 30), 45),
        slots: &[
            ((7, 0), "back-class"),
            ((8, 0), "bio-45"),
            ((9, 0), "bio-45"),
            ((10, 30), "bio-45"),
            ((11, 45), "bio-45"),
            ((13, 15), "bio-45"),
            ((14, 0), "falls-class"),
        ],
        patients: &[24, 25, 26, 27, 28, 38],
    },
];

/// Who comes to the classes: people whom nobody else sees at those times.
pub(super) const CLASS: [usize; 6] = [37, 38, 27, 26, 28, 24];

/// Code, name, discipline, minutes, price without VAT, places, tariff code (invented, in the form of the real ones).
pub(super) const SESSION_TYPES: [(&str, &str, &str, i32, &str, i32, &str); 9] = [
    (
        "physio-first",
        "First visit, physiotherapy",
        "physiotherapy",
        60,
        "890.00",
        1,
        "72701",
    ),
    (
        "physio-45",
        "Physiotherapy session",
        "physiotherapy",
        45,
        "650.00",
        1,
        "72702",
    ),
    (
        "physio-30",
        "Short physiotherapy session",
        "physiotherapy",
        30,
        "450.00",
        1,
        "72703",
    ),
    (
        "ot-60",
        "Occupational therapy session",
        "occupational-therapy",
        60,
        "780.00",
        1,
        "66201",
    ),
    (
        "ot-30",
        "Splint check",
        "occupational-therapy",
        30,
        "420.00",
        1,
        "66202",
    ),
    (
        "ot-fce",
        "Functional capacity evaluation",
        "occupational-therapy",
        90,
        "2400.00",
        1,
        "66203",
    ),
    (
        "bio-45",
        "Exercise session",
        "biokinetics",
        45,
        "480.00",
        1,
        "91001",
    ),
    (
        "back-class",
        "Back care class",
        "biokinetics",
        60,
        "120.00",
        8,
        "91010",
    ),
    (
        "falls-class",
        "Falls prevention class",
        "biokinetics",
        60,
        "120.00",
        8,
        "91011",
    ),
];

/// A booking that one slot of one day becomes.
pub(super) struct Slot {
    pub therapist: usize,
    pub code: &'static str,
    pub starts: OffsetDateTime,
    pub ends: OffsetDateTime,
    pub status: &'static str,
    pub patients: Vec<usize>,
}

fn at(date: time::Date, (hour, minute): (u8, u8)) -> OffsetDateTime {
    crate::clock::instant(
        date,
        Time::from_hms(hour, minute, 0).unwrap_or(Time::MIDNIGHT),
    )
}

/// Lunch of one practitioner on one day.
pub(super) fn lunch(therapist: &Therapist, date: time::Date) -> (OffsetDateTime, OffsetDateTime) {
    let starts = at(date, therapist.lunch.0);
    (starts, starts + Duration::minutes(therapist.lunch.1))
}

/// The bookings of one day; `day` counts from the first.
pub(super) fn bookings(date: time::Date, day: usize, now: OffsetDateTime) -> Vec<Slot> {
    let today = crate::clock::local(now).0;
    let mut slots = Vec::new();
    for (therapist, t) in THERAPISTS.iter().enumerate() {
        let mut turn = day * 3;
        for (n, &(start, code)) in t.slots.iter().enumerate() {
            let seed = day * 7 + therapist * 5 + n * 3;
            let minutes = SESSION_TYPES
                .iter()
                .find(|s| s.0 == code)
                .map_or(45, |s| s.3);
            let starts = at(date, start);
            let ends = starts + Duration::minutes(i64::from(minutes));
            let class = code.ends_with("-class");
            let patients = if class {
                CLASS.iter().copied().take(4 + seed % 3).collect()
            } else {
                turn += 1;
                vec![t.patients[(turn - 1) % t.patients.len()]]
            };
            // A few gaps, so that there is something to offer to the waiting list.
            if starts > now && !class && seed % 11 == 4 {
                continue;
            }
            let status = if ends <= now {
                match seed % 13 {
                    5 if !class => "no-show",
                    9 if !class && date != today => "cancelled",
                    _ => "completed",
                }
            } else if starts <= now {
                "in-session"
            } else if starts - now < Duration::minutes(25) && !class {
                "arrived"
            } else if seed.is_multiple_of(3) {
                "booked"
            } else {
                "confirmed"
            };
            slots.push(Slot {
                therapist,
                code,
                starts,
                ends,
                status,
                patients,
            });
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_in_two_places_at_once() {
        let date = time::macros::date!(2026 - 11 - 24);
        for day in 0..21 {
            let slots = bookings(date, day, at(date, (10, 41)));
            assert!(slots.len() > 20);
            for (i, a) in slots.iter().enumerate() {
                for b in &slots[i + 1..] {
                    let overlap = a.starts < b.ends && b.starts < a.ends;
                    assert!(!(overlap && a.therapist == b.therapist), "day {day}");
                    assert!(
                        !(overlap && a.patients.iter().any(|p| b.patients.contains(p))),
                        "day {day}: {} {}",
                        a.code,
                        b.code
                    );
                }
            }
        }
    }
}
