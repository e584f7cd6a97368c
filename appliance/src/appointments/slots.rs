//! Open time: working hours less what is booked or blocked. Minutes since midnight on the practice's wall clock.

use time::{Date, OffsetDateTime, Time};

use super::rules::Span;
use crate::clock;

/// Minutes of a day.
pub const DAY: u16 = 24 * 60;

/// A stretch of a day in minutes since midnight, its end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// Its first minute.
    pub from: u16,
    /// The minute after its last.
    pub to: u16,
}

impl Stretch {
    /// Between two times of the day.
    #[must_use]
    pub fn new(from: Time, to: Time) -> Self {
        Self {
            from: minute(from),
            to: minute(to),
        }
    }

    /// The part of a stretch of time that lies on a day.
    #[must_use]
    pub fn on(date: Date, span: Span) -> Self {
        let edge = |at: OffsetDateTime| {
            let (day, time) = clock::local(at);
            match day.cmp(&date) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => minute(time),
                std::cmp::Ordering::Greater => DAY,
            }
        };
        Self {
            from: edge(span.start),
            to: edge(span.end),
        }
    }

    /// Its length in minutes.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.to.saturating_sub(self.from)
    }
}

/// Minutes since midnight.
#[must_use]
pub fn minute(time: Time) -> u16 {
    u16::from(time.hour()) * 60 + u16::from(time.minute())
}

/// `10:45` for a minute of the day.
#[must_use]
pub fn minute_text(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Sorts stretches and joins those that overlap or touch.
fn joined(stretches: &[Stretch]) -> Vec<Stretch> {
    let mut sorted: Vec<_> = stretches
        .iter()
        .copied()
        .filter(|s| s.from < s.to)
        .collect();
    sorted.sort_unstable();
    let mut result: Vec<Stretch> = Vec::with_capacity(sorted.len());
    for next in sorted {
        match result.last_mut() {
            Some(last) if next.from <= last.to => last.to = last.to.max(next.to),
            _ => result.push(next),
        }
    }
    result
}

/// The open stretches: in working hours, not busy, not before a minute. Each as long as it can be, in order.
#[must_use]
pub fn open(work: &[Stretch], busy: &[Stretch], not_before: u16) -> Vec<Stretch> {
    let busy = joined(busy);
    let mut result = Vec::new();
    for hours in joined(work) {
        let mut from = hours.from.max(not_before);
        for taken in &busy {
            if taken.to <= from || taken.from >= hours.to {
                continue;
            }
            if from < taken.from {
                result.push(Stretch {
                    from,
                    to: taken.from,
                });
            }
            from = taken.to;
        }
        if from < hours.to {
            result.push(Stretch { from, to: hours.to });
        }
    }
    result
}

/// The starts at which something of a length fits into open stretches: each stretch's first, then every `step` minutes of
/// the clock.
pub fn starts(open: &[Stretch], minutes: u16, step: u16) -> impl Iterator<Item = u16> + '_ {
    open.iter().flat_map(move |stretch| {
        let first = stretch.from.next_multiple_of(5);
        let on_step = (first + 1).next_multiple_of(step.max(1));
        std::iter::once(first)
            .chain((on_step..stretch.to).step_by(usize::from(step.max(1))))
            .filter(move |start| {
                minutes > 0 && u32::from(*start) + u32::from(minutes) <= u32::from(stretch.to)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stretches(most: usize) -> impl Strategy<Value = Vec<Stretch>> {
        // On the diary's grid of five minutes, overlapping and out of order as it comes.
        proptest::collection::vec((0_u16..280, 0_u16..60), 0..most).prop_map(|all| {
            all.into_iter()
                .map(|(from, length)| Stretch {
                    from: from * 5,
                    to: ((from + length) * 5).min(DAY),
                })
                .collect()
        })
    }

    fn covers(all: &[Stretch], minute: u16) -> bool {
        all.iter().any(|s| s.from <= minute && minute < s.to)
    }

    proptest! {
        #[test]
        fn a_minute_is_open_exactly_when_it_is_worked_and_free(work in stretches(4), busy in stretches(12), not_before in 0_u16..DAY) {
            let open = open(&work, &busy, not_before);
            for minute in 0..DAY {
                let free = covers(&work, minute) && !covers(&busy, minute) && minute >= not_before;
                prop_assert_eq!(covers(&open, minute), free, "minute {}", minute);
            }
            for pair in open.windows(2) {
                prop_assert!(pair[0].to < pair[1].from, "stretches are whole and in order: {:?}", pair);
            }
        }

        #[test]
        fn slots_are_inside_hours_clear_of_bookings_and_complete(work in stretches(4), busy in stretches(12), length in 1_u16..25) {
            let minutes = length * 5;
            let open = open(&work, &busy, 0);
            let found: Vec<u16> = starts(&open, minutes, 5).collect();
            for start in (0..DAY).step_by(5) {
                let slot = start..start + minutes;
                let fits = slot.end <= DAY && slot.clone().all(|m| covers(&work, m) && !covers(&busy, m));
                prop_assert_eq!(found.contains(&start), fits, "start {}", start);
            }
        }
    }

    #[test]
    fn an_ordinary_morning() {
        let at = |h: u16, m: u16| h * 60 + m;
        let work = [Stretch {
            from: at(8, 0),
            to: at(12, 0),
        }];
        let busy = [
            Stretch {
                from: at(8, 0),
                to: at(8, 45),
            },
            Stretch {
                from: at(9, 30),
                to: at(11, 15),
            },
        ];
        let open = open(&work, &busy, 0);
        assert_eq!(
            open,
            [
                Stretch {
                    from: at(8, 45),
                    to: at(9, 30)
                },
                Stretch {
                    from: at(11, 15),
                    to: at(12, 0)
                }
            ]
        );
        let found: Vec<_> = starts(&open, 30, 15).map(minute_text).collect();
        assert_eq!(found, ["08:45", "09:00", "11:15", "11:30"]);
    }
}
