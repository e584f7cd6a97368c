//! The graphics card's health: what its readings mean, what the box does about them, and what staff are told. Pure;
//! [`nvml`] takes the readings.

pub mod nvml;

use serde::Serialize;
use std::time::{Duration, Instant};

/// A card this near (in °C) to the temperature at which it slows itself down is hot …
const HOT_MARGIN: u32 = 4;
/// … and is so until it is this far below it again, so that the state doesn't flap.
const COOL_MARGIN: u32 = 10;
/// This near (in °C) to the temperature at which the card switches itself off, the box leaves it alone.
const SHUTDOWN_MARGIN: u32 = 3;
/// How long an event that only IT can judge stays on the page.
const SHOWN: Duration = Duration::from_secs(3600);
/// NVML's reasons for slower clocks that mean heat: software thermal, hardware thermal.
const THERMAL: u64 = 0x20 | 0x40;
/// NVML's reason for slower clocks that means the power supply: hardware power brake.
const POWER_BRAKE: u64 = 0x80;

/// How the card is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing to do.
    Healthy,
    /// It slows itself down, or is about to.
    Hot,
    /// It has a fault; where it may go on, it does.
    Degraded,
    /// It can't be reached.
    Lost,
}

/// What the box does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Half as many requests at once, and none in the background.
    Slow,
    /// The card is left, and the processor writes.
    Leave,
}

/// What a card says of itself. What it doesn't measure is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Readings {
    /// Its name.
    pub name: String,
    /// Its lasting name, by which a worker is given this card and no other.
    pub uuid: String,
    /// The driver's version.
    pub driver: Option<String>,
    /// Compute capability times ten: 8.6 is 86.
    pub capability: Option<u32>,
    /// °C.
    pub temperature: Option<u32>,
    /// The temperature at which the card slows itself down, in °C.
    pub slowdown_at: Option<u32>,
    /// The temperature at which it switches itself off, in °C.
    pub shutdown_at: Option<u32>,
    /// Bytes.
    pub memory_total: Option<u64>,
    /// Bytes.
    pub memory_free: Option<u64>,
    /// Percent of time in which it computed.
    pub utilization: Option<u32>,
    /// Milliwatts drawn.
    pub power: Option<u32>,
    /// Milliwatts allowed.
    pub power_limit: Option<u32>,
    /// Percent of the fan's full speed.
    pub fan: Option<u32>,
    /// NVML's bits for why clocks are slower than they could be.
    pub throttle: Option<u64>,
    /// Memory errors since the driver was loaded that were put right.
    pub ecc_corrected: Option<u64>,
    /// Memory errors since the driver was loaded that could not be put right.
    pub ecc_uncorrected: Option<u64>,
    /// A row of memory will be replaced at the next reset.
    pub remap_pending: Option<bool>,
    /// A row of memory could not be replaced: there are no spare ones left.
    pub remap_failed: Option<bool>,
}

/// Why there are no readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No driver, or no card that it knows.
    Absent(String),
    /// The card was there and fell off.
    Gone,
    /// The driver says that the card must be reset before it can be used.
    ResetRequired,
    /// Anything else; the driver's words.
    Driver(String),
}

/// One look at the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What it said.
    pub readings: Result<Readings, Trouble>,
    /// Numbers of the XID events since the last look.
    pub xids: Vec<u64>,
}

/// What NVIDIA's catalogue of XID events asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XidAdvice {
    /// The program that used the card was at fault or hit: start it afresh.
    RestartWorker,
    /// It says something about another event, or nothing at all.
    Ignore,
    /// The card must be reset.
    Reset,
    /// The computer must be restarted.
    Reboot,
    /// A person has to follow NVIDIA's steps.
    Workflow,
    /// Not in the table.
    Unknown,
}

/// NVIDIA's XID catalogue (docs.nvidia.com/deploy/xid-errors), as far as it matters to a card that computes.
pub fn xid_advice(xid: u64) -> XidAdvice {
    match xid {
        13 | 31 | 94 => XidAdvice::RestartWorker,
        43 | 63 => XidAdvice::Ignore,
        46 | 62 | 64 | 95 | 109 | 119 | 120 | 140 | 143 => XidAdvice::Reset,
        79 => XidAdvice::Reboot,
        45 | 48 | 74 => XidAdvice::Workflow,
        _ => XidAdvice::Unknown,
    }
}

/// What is made of a look at the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How the card is.
    pub state: State,
    /// What the box does as long as it is so.
    pub action: Action,
    /// For staff.
    pub sentence: String,
    /// Why the worker on the card must be started afresh, once.
    pub restart: Option<String>,
}

/// An event that outlasts the look at which it came.
#[derive(Debug, Clone)]
struct Standing {
    xid: u64,
    advice: XidAdvice,
    since: Instant,
}

/// Remembers between looks what one look can't show.
#[derive(Debug, Default)]
pub struct Monitor {
    hot: bool,
    seen: bool,
    uncorrected: Option<u64>,
    standing: Option<Standing>,
}

impl Monitor {
    /// Judges one look. None where there is no card and never was.
    pub fn judge(&mut self, sample: &Sample, now: Instant) -> Option<Verdict> {
        self.seen |= sample.readings.is_ok();
        if !self.seen {
            return None;
        }
        let mut restart = None;
        for &xid in &sample.xids {
            let advice = xid_advice(xid);
            match advice {
                XidAdvice::Ignore | XidAdvice::Unknown => continue,
                XidAdvice::RestartWorker => {}
                _ => {
                    let worse = self
                        .standing
                        .as_ref()
                        .is_none_or(|s| weight(advice) >= weight(s.advice));
                    if worse {
                        self.standing = Some(Standing {
                            xid,
                            advice,
                            since: now,
                        });
                    }
                }
            }
            restart = Some(format!("the graphics card reported error {xid}"));
        }
        if self
            .standing
            .as_ref()
            .is_some_and(|s| s.advice == XidAdvice::Workflow && now - s.since > SHOWN)
        {
            self.standing = None;
        }
        let readings = match &sample.readings {
            Ok(readings) => readings,
            Err(trouble) => return Some(without_readings(trouble)),
        };
        if let Some(count) = readings.ecc_uncorrected {
            // The first look after a start is no news; a count that fell back means that the driver was loaded anew.
            let before = self.uncorrected.replace(count).unwrap_or(count);
            if count > before {
                restart =
                    Some("the graphics card found a memory error it could not correct".into());
            }
        }
        let (state, action, sentence) = self.standing(readings);
        Some(Verdict {
            state,
            action,
            sentence,
            restart,
        })
    }

    /// A worker on the card has passed its known-answer test: what asked for a reset or a restart is over.
    pub fn passed(&mut self) {
        if self
            .standing
            .as_ref()
            .is_some_and(|s| s.advice != XidAdvice::Workflow)
        {
            self.standing = None;
        }
    }

    fn standing(&mut self, readings: &Readings) -> (State, Action, String) {
        let degraded = |action, sentence: String| (State::Degraded, action, sentence);
        if let Some(standing) = &self.standing {
            let xid = standing.xid;
            match standing.advice {
                XidAdvice::Reboot => {
                    return (
                        State::Lost,
                        Action::Leave,
                        format!(
                            "The graphics card dropped out (error {xid}), so the processor writes the drafts, more slowly. IT: restart this computer; if it happens again, have the card and its power cables checked."
                        ),
                    );
                }
                XidAdvice::Reset => {
                    return degraded(
                        Action::Leave,
                        format!(
                            "The graphics card stopped working (error {xid}), so the processor writes the drafts, more slowly. IT: reset the card with `nvidia-smi --gpu-reset`, or restart this computer."
                        ),
                    );
                }
                _ => {}
            }
        }
        if readings.remap_failed == Some(true) {
            return degraded(Action::Leave, "The graphics card's memory is worn out, so the processor writes the drafts, more slowly. IT: have the card replaced.".into());
        }
        if let (Some(now), Some(off)) = (readings.temperature, readings.shutdown_at)
            && now + SHUTDOWN_MARGIN >= off
        {
            self.hot = true;
            return (
                State::Hot,
                Action::Leave,
                format!(
                    "The graphics card is at {now} °C and would switch itself off at {off} °C, so the processor writes the drafts until it is cooler. Please check now that nothing blocks the air around the computer."
                ),
            );
        }
        if let Some(Standing {
            xid,
            advice: XidAdvice::Workflow,
            ..
        }) = self.standing
        {
            return degraded(
                Action::Nothing,
                format!(
                    "The graphics card reported error {xid}; drafting goes on. IT: follow NVIDIA's steps for XID {xid}."
                ),
            );
        }
        if readings.ecc_uncorrected.is_some_and(|n| n > 0) {
            let n = readings.ecc_uncorrected.unwrap_or_default();
            return degraded(
                Action::Nothing,
                format!(
                    "The graphics card has found {n} memory error{} that it could not correct; drafting goes on. IT: restart this computer outside hours; if it happens again, have the card replaced.",
                    if n == 1 { "" } else { "s" }
                ),
            );
        }
        if readings.remap_pending == Some(true) {
            return degraded(Action::Nothing, "The graphics card will replace a worn piece of its memory at the next restart; drafting goes on. IT: restart this computer outside hours.".into());
        }
        let throttle = readings.throttle.unwrap_or_default();
        if throttle & POWER_BRAKE != 0 {
            return degraded(Action::Nothing, "The graphics card gets too little power and runs slowly. IT: check its power cables and the power supply.".into());
        }
        if let (Some(now), Some(slow)) = (readings.temperature, readings.slowdown_at) {
            self.hot = if self.hot {
                now + COOL_MARGIN > slow
            } else {
                now + HOT_MARGIN >= slow
            };
        } else {
            self.hot = false;
        }
        if self.hot || throttle & THERMAL != 0 {
            let degrees = match (readings.temperature, readings.slowdown_at) {
                (Some(now), Some(slow)) => format!(" ({now} °C; it slows down at {slow} °C)"),
                (Some(now), None) => format!(" ({now} °C)"),
                _ => String::new(),
            };
            return (
                State::Hot,
                Action::Slow,
                format!(
                    "The graphics card is hot{degrees}, so fewer drafts are written at once. Please check that nothing blocks the air around the computer."
                ),
            );
        }
        (
            State::Healthy,
            Action::Nothing,
            "The graphics card is well.".into(),
        )
    }
}

fn weight(advice: XidAdvice) -> u8 {
    match advice {
        XidAdvice::Reboot => 3,
        XidAdvice::Reset => 2,
        XidAdvice::Workflow => 1,
        XidAdvice::RestartWorker | XidAdvice::Ignore | XidAdvice::Unknown => 0,
    }
}

fn without_readings(trouble: &Trouble) -> Verdict {
    let (state, action, sentence) = match trouble {
        Trouble::Absent(why) => (
            State::Lost,
            Action::Leave,
            format!(
                "The graphics card is not there any more ({why}), so the processor writes the drafts, more slowly. IT: restart this computer."
            ),
        ),
        Trouble::Gone => (
            State::Lost,
            Action::Leave,
            "The graphics card dropped out, so the processor writes the drafts, more slowly. IT: restart this computer; if it happens again, have the card and its power cables checked.".to_owned(),
        ),
        Trouble::ResetRequired => (
            State::Degraded,
            Action::Leave,
            "The graphics card must be reset, so the processor writes the drafts, more slowly. IT: reset it with `nvidia-smi --gpu-reset`, or restart this computer.".to_owned(),
        ),
        Trouble::Driver(why) => (
            State::Degraded,
            Action::Nothing,
            format!("The graphics card's driver gives no readings ({why}); drafting goes on. IT: look at the driver."),
        ),
    };
    Verdict {
        state,
        action,
        sentence,
        restart: None,
    }
}

/// The verdict on a driver that has not answered for so long. A call into it hangs, perhaps for good; the worker has a
/// watch of its own, so drafting goes on while it can.
pub fn unanswered(seconds: u64) -> Verdict {
    Verdict {
        state: State::Degraded,
        action: Action::Nothing,
        sentence: format!(
            "The graphics card's driver has not answered for {seconds} seconds; drafting goes on while it can. IT: look at the driver, or restart this computer outside hours."
        ),
        restart: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn well() -> Readings {
        Readings {
            name: "Test card".into(),
            temperature: Some(60),
            slowdown_at: Some(90),
            shutdown_at: Some(95),
            ecc_uncorrected: Some(0),
            throttle: Some(0),
            remap_failed: Some(false),
            remap_pending: Some(false),
            ..Readings::default()
        }
    }

    fn look(monitor: &mut Monitor, readings: Readings, xids: &[u64], now: Instant) -> Verdict {
        let sample = Sample {
            readings: Ok(readings),
            xids: xids.to_vec(),
        };
        monitor.judge(&sample, now).unwrap()
    }

    #[test]
    fn a_machine_without_a_card_has_no_verdict() {
        let sample = Sample {
            readings: Err(Trouble::Absent("no driver".into())),
            xids: vec![],
        };
        assert_eq!(Monitor::default().judge(&sample, Instant::now()), None);
    }

    #[test]
    fn heat_is_measured_against_the_cards_own_threshold_and_does_not_flap() {
        let (mut monitor, now) = (Monitor::default(), Instant::now());
        let mut states = Vec::new();
        for temperature in [60, 85, 86, 81, 80, 85] {
            let readings = Readings {
                temperature: Some(temperature),
                ..well()
            };
            states.push(look(&mut monitor, readings, &[], now).state);
        }
        use State::{Healthy, Hot};
        assert_eq!(states, [Healthy, Healthy, Hot, Hot, Healthy, Healthy]);
        // The same degrees on a card that slows down at 100 are nothing.
        let cooler = Readings {
            temperature: Some(89),
            slowdown_at: Some(100),
            shutdown_at: Some(105),
            ..well()
        };
        assert_eq!(
            look(&mut Monitor::default(), cooler, &[], now).state,
            Healthy
        );
        let off = Readings {
            temperature: Some(92),
            ..well()
        };
        let verdict = look(&mut Monitor::default(), off, &[], now);
        assert_eq!((verdict.state, verdict.action), (Hot, Action::Leave));
        let throttled = Readings {
            throttle: Some(0x40),
            slowdown_at: None,
            shutdown_at: None,
            ..well()
        };
        let verdict = look(&mut Monitor::default(), throttled, &[], now);
        assert_eq!((verdict.state, verdict.action), (Hot, Action::Slow));
    }

    #[test]
    fn each_event_has_its_consequence() {
        let now = Instant::now();
        let after = |xid| look(&mut Monitor::default(), well(), &[xid], now);
        for xid in [13, 31, 94] {
            let verdict = after(xid);
            assert_eq!(
                (verdict.state, verdict.restart.is_some()),
                (State::Healthy, true),
                "{xid}"
            );
        }
        for xid in [43, 63, 7] {
            let verdict = after(xid);
            assert_eq!(
                (verdict.state, verdict.restart),
                (State::Healthy, None),
                "{xid}"
            );
        }
        for xid in [46, 62, 64, 95, 109, 119, 120, 140, 143] {
            let verdict = after(xid);
            assert_eq!(
                (verdict.state, verdict.action),
                (State::Degraded, Action::Leave),
                "{xid}"
            );
            assert!(verdict.sentence.contains("--gpu-reset"), "{xid}");
        }
        let verdict = after(79);
        assert_eq!(
            (verdict.state, verdict.action),
            (State::Lost, Action::Leave)
        );
        assert!(verdict.sentence.contains("restart this computer"));
        for xid in [45, 48, 74] {
            let verdict = after(xid);
            assert_eq!(
                (verdict.state, verdict.action),
                (State::Degraded, Action::Nothing),
                "{xid}"
            );
            assert!(
                verdict.sentence.contains(&format!("XID {xid}")) && verdict.restart.is_some(),
                "{xid}"
            );
        }
    }

    #[test]
    fn an_event_stands_until_a_worker_has_passed_or_an_hour_is_over() {
        let (mut monitor, now) = (Monitor::default(), Instant::now());
        look(&mut monitor, well(), &[119], now);
        let later = look(&mut monitor, well(), &[13], now + SHOWN * 2);
        assert_eq!(
            later.action,
            Action::Leave,
            "a lesser event took its place, or time did"
        );
        monitor.passed();
        assert_eq!(look(&mut monitor, well(), &[], now).state, State::Healthy);
        look(&mut monitor, well(), &[48], now);
        monitor.passed();
        assert_eq!(look(&mut monitor, well(), &[], now).state, State::Degraded);
        let over = now + SHOWN + Duration::from_secs(1);
        assert_eq!(look(&mut monitor, well(), &[], over).state, State::Healthy);
    }

    #[test]
    fn an_uncorrected_error_restarts_the_worker_once_and_stays_on_the_page() {
        let (mut monitor, now) = (Monitor::default(), Instant::now());
        look(&mut monitor, well(), &[], now);
        let bad = Readings {
            ecc_uncorrected: Some(2),
            ..well()
        };
        let first = look(&mut monitor, bad.clone(), &[], now);
        assert!(first.restart.is_some() && first.state == State::Degraded);
        let second = look(&mut monitor, bad, &[], now);
        assert_eq!((second.restart, second.state), (None, State::Degraded));
    }

    #[test]
    fn a_card_that_drops_out_is_lost_and_comes_back() {
        let (mut monitor, now) = (Monitor::default(), Instant::now());
        look(&mut monitor, well(), &[], now);
        for trouble in [Trouble::Gone, Trouble::Absent("no device".into())] {
            let sample = Sample {
                readings: Err(trouble),
                xids: vec![],
            };
            let verdict = monitor.judge(&sample, now).unwrap();
            assert_eq!(
                (verdict.state, verdict.action),
                (State::Lost, Action::Leave)
            );
        }
        assert_eq!(look(&mut monitor, well(), &[], now).state, State::Healthy);
    }

    proptest! {
        #[test]
        fn every_verdict_has_a_sentence_and_never_leaves_a_healthy_card(
            temperature in prop::option::of(0u32..130), slowdown in prop::option::of(60u32..110), shutdown in prop::option::of(60u32..110),
            ecc in prop::option::of(0u64..3), throttle in prop::option::of(0u64..512), pending: Option<bool>, failed: Option<bool>,
            xids in prop::collection::vec(0u64..150, 0..4),
        ) {
            let readings = Readings {
                temperature, slowdown_at: slowdown, shutdown_at: shutdown, ecc_uncorrected: ecc, throttle,
                remap_pending: pending, remap_failed: failed, ..well()
            };
            let verdict = look(&mut Monitor::default(), readings, &xids, Instant::now());
            prop_assert!(verdict.sentence.ends_with('.') && verdict.sentence.len() > 20);
            prop_assert_eq!(verdict.state == State::Healthy, verdict.sentence.contains("is well"));
            prop_assert!(verdict.state != State::Healthy || verdict.action == Action::Nothing);
            prop_assert!(verdict.state != State::Lost || verdict.action == Action::Leave);
        }
    }
}
