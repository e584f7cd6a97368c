//! Whether the graphics card or the processor is to serve. Pure.
//!
//! The card is left when it fails [`FAILURES`] times within [`WINDOW`], or at once where the worker or the card's own
//! readings say that it can't be used. It is tried again after a pause that begins with [`FIRST_PAUSE`] and doubles with
//! every failed attempt up to [`LONGEST_PAUSE`]; a worker that serves for [`PROVEN`] makes the pauses short again.

use hadada_inference_protocol::FaultKind;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many failures …
pub const FAILURES: usize = 3;
/// … within this time are too many.
pub const WINDOW: Duration = Duration::from_secs(600);
/// The first pause before the card is tried again.
pub const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest one.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Time on the card after which its past is forgotten.
pub const PROVEN: Duration = Duration::from_secs(600);

/// The card's record.
#[derive(Debug, Default)]
pub struct Card {
    failures: VecDeque<Instant>,
    left: Option<Left>,
    /// Pauses in a row.
    pauses: u32,
    /// The card's readings say that it can't be used.
    barred: Option<String>,
}

#[derive(Debug)]
struct Left {
    until: Instant,
    why: String,
}

impl Card {
    /// A worker on the card failed.
    pub fn failed(&mut self, kind: FaultKind, why: &str, now: Instant) {
        while self.failures.front().is_some_and(|&f| now - f > WINDOW) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let again = self.pauses > 0;
        if kind == FaultKind::LeaveGpu || self.failures.len() >= FAILURES || again {
            self.leave(why, now);
        }
    }

    /// A worker has served on the card for so long.
    pub fn served(&mut self, time: Duration) {
        if time > PROVEN {
            self.failures.clear();
            self.pauses = 0;
        }
    }

    /// What the card's readings say: the reason not to use it, if there is one.
    pub fn judged(&mut self, reason: Option<&str>, now: Instant) {
        match (reason, self.barred.is_some()) {
            (Some(reason), _) => self.barred = Some(reason.to_owned()),
            (None, true) => {
                self.barred = None;
                // The cause is gone: there is no point in waiting for the end of a pause.
                if let Some(left) = &mut self.left {
                    left.until = now;
                }
            }
            (None, false) => {}
        }
    }

    /// Whether a worker may be started on the card.
    pub fn usable(&self, now: Instant) -> bool {
        self.barred.is_none() && self.left.as_ref().is_none_or(|left| now >= left.until)
    }

    /// A worker on the card passed its known-answer test and serves.
    pub fn serves(&mut self) {
        self.left = None;
    }

    /// Why the processor serves instead, for staff.
    pub fn why_not(&self) -> Option<&str> {
        self.barred
            .as_deref()
            .or_else(|| self.left.as_ref().map(|left| left.why.as_str()))
    }

    /// Seconds until the card is tried again.
    pub fn again_in(&self, now: Instant) -> Option<u64> {
        let left = self.left.as_ref().filter(|_| self.barred.is_none())?;
        Some(left.until.saturating_duration_since(now).as_secs())
    }

    fn leave(&mut self, why: &str, now: Instant) {
        let pause = (FIRST_PAUSE * 2u32.pow(self.pauses.min(16))).min(LONGEST_PAUSE);
        self.pauses += 1;
        self.failures.clear();
        self.left = Some(Left {
            until: now + pause,
            why: why.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_ten_minutes_are_too_many_and_three_in_a_day_are_not() {
        let (mut card, now) = (Card::default(), Instant::now());
        for i in 0..10 {
            card.failed(FaultKind::Restart, "slow decay", now + WINDOW * i);
            assert!(card.usable(now + WINDOW * i));
        }
        let mut card = Card::default();
        card.failed(FaultKind::Retry, "one", now);
        card.failed(FaultKind::Restart, "two", now);
        assert!(card.usable(now));
        card.failed(FaultKind::Restart, "three", now);
        assert_eq!((card.usable(now), card.why_not()), (false, Some("three")));
        assert!(card.usable(now + FIRST_PAUSE));
    }

    #[test]
    fn a_card_that_can_not_be_used_is_left_at_once_with_growing_pauses() {
        let (mut card, mut now) = (Card::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            card.failed(FaultKind::LeaveGpu, "wrong known answer", now);
            let pause = card.again_in(now).unwrap();
            pauses.push(pause);
            now += Duration::from_secs(pause);
            assert!(card.usable(now));
        }
        assert_eq!(&pauses[..4], [10, 20, 40, 80]);
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE.as_secs()));
        // Once left, one failure is enough to leave it again.
        card.serves();
        card.failed(FaultKind::Restart, "again", now);
        assert!(!card.usable(now));
        card.serves();
        card.served(PROVEN + Duration::from_secs(1));
        card.failed(FaultKind::Restart, "once", now);
        assert!(card.usable(now), "a proven card may fail once");
    }

    #[test]
    fn readings_bar_the_card_and_let_it_back_at_once() {
        let (mut card, now) = (Card::default(), Instant::now());
        card.failed(FaultKind::LeaveGpu, "lost", now);
        card.judged(Some("it dropped out"), now);
        assert!(!card.usable(now + LONGEST_PAUSE));
        assert_eq!(card.why_not(), Some("it dropped out"));
        card.judged(None, now);
        assert!(card.usable(now));
    }
}
