//! What the dispatcher does by itself: looks after lives and deadlines, follows plans and the card's health, starts,
//! changes and ends workers.

use super::dispatch::{Blocked, Dispatcher, Seen, TICK};
use super::plan::Plan;
use super::post::{Life, Post};
use super::worker::{Device, Worker};
use super::{Event, Job};
use crate::gpu::{self, Action, Sample};
use hadada_inference_protocol::{FaultKind, ToWorker};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The first wait before another start; it doubles with every failed one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A worker that lived this long starts the waits afresh.
const PROVEN: Duration = Duration::from_secs(20);
/// How often the folder of models is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a box with a card waits for the first readings before it starts without.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(3);
/// How long the memory of a killed worker is waited for.
const DYING: Duration = Duration::from_secs(5);
/// Silence of the card's driver after which staff are told.
const CARD_SILENCE: Duration = Duration::from_secs(3);

impl Dispatcher {
    /// Looks at everything once.
    pub(super) fn tend(&mut self, now: Instant) {
        let stall = now.saturating_duration_since(self.last_tick);
        self.last_tick = now;
        if stall > TICK * 10 {
            // This process stood still, or the machine did: the workers' signs of life wait in the socket.
            self.posts_mut().for_each(|post| post.forgive(stall));
        }
        self.end_late(now);
        self.end_dead(now);
        while let Some(place) = self.leaving.iter().position(|post| post.running.is_empty()) {
            let post = self.leaving.remove(place);
            self.dying.insert(post.number, now);
        }
        self.dying
            .retain(|_, since| now.saturating_duration_since(*since) < DYING);
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.follow_plan(now);
            self.watch_card(now);
        }
        self.choose(now);
        if let Some(post) = &self.serving
            && post.device.is_gpu()
        {
            self.card.served(post.served(now).unwrap_or_default());
        }
        self.show(now);
    }

    fn end_late(&mut self, now: Instant) {
        let late = "its deadline passed";
        while let Some(job) = self.queue.take(|job: &Job| job.is_late(now)) {
            self.metrics.was_late();
            job.end(Event::Late(format!("{late} while it waited for its turn")));
        }
        for job in self
            .posts_mut()
            .flat_map(|post| post.cancel_late(now))
            .collect::<Vec<_>>()
        {
            self.metrics.was_late();
            job.end(Event::Late(format!("{late} while it was written")));
        }
    }

    fn end_dead(&mut self, now: Instant) {
        let dead: Vec<(u64, String)> = self
            .posts()
            .filter_map(|post| match post.life(now) {
                Life::Dead(reason) => Some((post.number, reason)),
                Life::Well | Life::Slow(_) => None,
            })
            .collect();
        for (number, reason) in dead {
            self.lose(number, &reason, now);
        }
    }

    fn follow_plan(&mut self, now: Instant) {
        let Some(plan) = self.planner.look() else {
            return;
        };
        if plan != self.plan {
            tracing::info!(writing = plan.name(), flaw = ?plan.flaw, "other models are to be served");
        }
        self.plan = plan;
        // What kept the last plan from being served may be gone with it.
        self.blocked = None;
        self.draining = None;
        if self.serving.is_none() {
            (self.refusal, self.start_at, self.failures) = (None, now, 0);
        }
        if let Some(reason) = self.no_writer() {
            self.turn_away(&reason, |job| {
                !matches!(job.message, ToWorker::Embed { .. })
            });
        }
    }

    /// Why nothing can be written, where that is known.
    pub(super) fn no_writer(&self) -> Option<String> {
        let writes = |plan: &Plan| plan.writing.is_some();
        if writes(&self.plan) || self.serving.as_ref().is_some_and(|post| writes(&post.plan)) {
            return None;
        }
        Some(
            self.plan
                .flaw
                .clone()
                .unwrap_or_else(|| "no model is enabled for writing".into()),
        )
    }

    /// A look at the card arrived.
    pub(super) fn look(&mut self, sample: &Sample, now: Instant) {
        self.first_look = now;
        let Some(verdict) = self.monitor.judge(sample, now) else {
            return;
        };
        let readings = match (&sample.readings, self.seen.take()) {
            (Ok(readings), _) => readings.clone(),
            // What it is stays known; what it measured is void.
            (Err(_), Some(before)) => gpu::Readings {
                name: before.readings.name,
                uuid: before.readings.uuid,
                capability: before.readings.capability,
                ..gpu::Readings::default()
            },
            (Err(_), None) => return,
        };
        let leave = verdict.action == Action::Leave;
        self.card
            .judged(leave.then_some(verdict.sentence.as_str()), now);
        for xid in &sample.xids {
            tracing::warn!(xid, advice = ?gpu::xid_advice(*xid), "the graphics card reported an event");
        }
        let end = if verdict.state == gpu::State::Lost {
            Some("the graphics card dropped out".to_owned())
        } else {
            verdict.restart.clone()
        };
        self.seen = Some(Seen {
            readings,
            verdict,
            at: now,
        });
        if let Some(reason) = end {
            let on_card: Vec<u64> = self
                .posts()
                .filter(|post| post.device.is_gpu())
                .map(|post| post.number)
                .collect();
            for number in on_card {
                self.lose(number, &reason, now);
            }
            self.tend(now);
        }
    }

    fn watch_card(&mut self, now: Instant) {
        if let Some(seen) = &mut self.seen {
            let silence = now.saturating_duration_since(seen.at);
            if silence > CARD_SILENCE {
                seen.verdict = gpu::unanswered(silence.as_secs());
            }
        }
    }

    /// Whether the card is to have less to do.
    pub(super) fn is_slow(&self) -> bool {
        self.serving
            .as_ref()
            .is_some_and(|post| post.device.is_gpu())
            && self
                .seen
                .as_ref()
                .is_some_and(|seen| seen.verdict.action == Action::Slow)
    }

    /// What the next worker should run on.
    fn device(&self, now: Instant) -> Device {
        match self.card_program() {
            Ok(Some((program, seen))) if self.card.usable(now) => Device::Gpu {
                program,
                uuid: seen.readings.uuid.clone(),
                free: seen.readings.memory_free,
            },
            _ => Device::Cpu,
        }
    }

    /// The program for the card, if this box is to use one.
    ///
    /// # Errors
    /// Why there is none; for staff.
    pub(super) fn card_program(&self) -> Result<Option<(PathBuf, &Seen)>, String> {
        let Some(folder) = &self.config.gpu_workers else {
            return Ok(None);
        };
        let Some(seen) = &self.seen else {
            return Err("no graphics card was found, so the processor writes the drafts. IT: look at the card and its driver.".into());
        };
        let Some(capability) = seen.readings.capability else {
            return Err(
                "the graphics card doesn't say what it can do, so the processor writes the drafts."
                    .into(),
            );
        };
        match program_for(capability, &built(folder)) {
            Some(built) => Ok(Some((
                folder.join(format!("hadada-worker-cuda-{built}")),
                seen,
            ))),
            None => Err(format!(
                "there is no worker program for this graphics card (compute capability {}.{}) in {}, so the processor writes the drafts.",
                capability / 10,
                capability % 10,
                folder.display()
            )),
        }
    }

    /// Starts what is missing, and begins a change where something else is to be served.
    fn choose(&mut self, now: Instant) {
        let waits = !self.dying.is_empty() || now < self.start_at || now < self.first_look;
        if self.coming.is_some() || waits {
            return;
        }
        let device = self.device(now);
        let plan = match &self.blocked {
            Some(blocked) if blocked.plan.same_models(&self.plan) && now < blocked.until => {
                match &self.proven {
                    Some(proven) if !proven.same_models(&self.plan) => proven.clone(),
                    _ => return self.refuse_blocked(),
                }
            }
            _ => self.plan.clone(),
        };
        match &self.serving {
            None if plan.is_empty() => {
                let reason = plan.flaw.unwrap_or_else(|| "no model is enabled".into());
                self.turn_away(&reason, |_| true);
                self.refusal = Some(reason);
            }
            None => self.start(plan, device, now),
            Some(post) if plan.is_empty() => {
                // Nothing is to be served any more: the worker finishes, and no other comes.
                if post.running.is_empty() {
                    self.dying.insert(post.number, now);
                    self.serving = None;
                }
            }
            Some(post) => {
                if post.plan.same_models(&plan) && post.device.is_gpu() == device.is_gpu() {
                    self.draining = None;
                } else if self.draining.is_none() {
                    self.start(plan, device, now);
                } else if post.running.is_empty() {
                    tracing::info!("the worker makes room for the next one");
                    self.dying.insert(post.number, now);
                    self.serving = None;
                }
            }
        }
    }

    fn refuse_blocked(&mut self) {
        if let (None, Some(blocked)) = (&self.serving, &self.blocked) {
            let reason = blocked.why.clone();
            self.turn_away(&reason, |_| true);
            self.refusal = Some(reason);
        }
    }

    fn start(&mut self, plan: Plan, device: Device, now: Instant) {
        self.workers += 1;
        match Worker::start(
            &self.config,
            &plan,
            &device,
            self.workers,
            self.reports.clone(),
        ) {
            Ok(worker) => {
                tracing::info!(
                    pid = worker.pid,
                    model = plan.name(),
                    gpu = device.is_gpu(),
                    "a worker is starting"
                );
                self.coming = Some(Post::new(self.workers, worker, plan, device, now));
            }
            Err(error) => {
                let program = match &device {
                    Device::Cpu => &self.config.worker,
                    Device::Gpu { program, .. } => program,
                };
                let reason = format!(
                    "the worker program {} can't be started: {error}",
                    program.display()
                );
                self.no_start(plan, &device, FaultKind::Restart, reason, now);
            }
        }
    }

    /// A worker is gone, or is given up.
    pub(super) fn lose(&mut self, number: u64, reason: &str, now: Instant) {
        if let Some(place) = self.leaving.iter().position(|post| post.number == number) {
            let post = self.leaving.remove(place);
            return self.release(post, reason);
        }
        if let Some(post) = self.coming.take_if(|post| post.number == number) {
            // Its own words, where it had any, say more than how the process ended.
            let (kind, why) = post.last_words.clone().unwrap_or_else(|| {
                (
                    FaultKind::Restart,
                    format!("the model can't be started: {reason}"),
                )
            });
            tracing::warn!(%why, ?kind, "a worker could not be started");
            self.dying.insert(post.number, now);
            return self.no_start(post.plan.clone(), &post.device, kind, why, now);
        }
        let Some(post) = self.serving.take_if(|post| post.number == number) else {
            return;
        };
        let (kind, reason) = post
            .last_words
            .clone()
            .unwrap_or_else(|| (FaultKind::Restart, reason.to_owned()));
        tracing::warn!(%reason, ?kind, "the worker is gone");
        self.metrics.restarts.fetch_add(1, Relaxed);
        let served = post.served(now).unwrap_or_default();
        self.failures = if served > PROVEN {
            0
        } else {
            self.failures + 1
        };
        let mut wait = self.wait();
        if post.device.is_gpu() {
            self.card.served(served);
            self.card.failed(kind, &reason, now);
            if !self.card.usable(now) {
                // Another device is no repetition of what went wrong.
                (wait, self.failures) = (Duration::ZERO, 0);
            }
        }
        if kind == FaultKind::Retry && self.failures <= 1 {
            wait = Duration::ZERO;
        }
        self.start_at = now + wait;
        self.draining = None;
        self.interruption = Some(reason.clone());
        self.release(post, &reason);
    }

    fn wait(&self) -> Duration {
        (FIRST_WAIT * 2u32.pow(self.failures.saturating_sub(1).min(10))).min(LONGEST_WAIT)
    }

    /// A worker could not be started, or did not pass its test.
    fn no_start(
        &mut self,
        plan: Plan,
        device: &Device,
        kind: FaultKind,
        why: String,
        now: Instant,
    ) {
        let in_its_place = self
            .serving
            .as_ref()
            .is_some_and(|post| post.device.is_gpu() == device.is_gpu());
        if in_its_place && kind == FaultKind::NoRoom {
            // Both at once don't fit: the one that serves makes room when it has finished what it has.
            self.draining = Some(why);
            return;
        }
        if device.is_gpu() {
            // The processor comes first now: a draft that is slow beats one that waits for the card.
            self.card.failed(FaultKind::LeaveGpu, &why, now);
            if self.serving.is_none() {
                self.interruption.get_or_insert(why);
            }
            return;
        }
        let other = self
            .proven
            .as_ref()
            .is_some_and(|proven| !proven.same_models(&plan));
        if self.serving.is_some() || other {
            let failures = match &self.blocked {
                Some(blocked) if blocked.plan.same_models(&plan) => blocked.failures + 1,
                _ => 1,
            };
            let pause = (FIRST_WAIT * 2u32.pow(failures.min(10))).min(LONGEST_WAIT);
            // What doesn't fit beside nothing at all will not fit in ten seconds; the folder's next change unblocks it.
            let until = if kind == FaultKind::NoRoom {
                now + Duration::from_secs(3600)
            } else {
                now + pause
            };
            self.blocked = Some(Blocked {
                plan,
                why,
                until,
                failures,
            });
            return;
        }
        self.failures += 1;
        self.start_at = now + self.wait();
        self.turn_away(&why, |_| true);
        self.refusal = Some(why);
    }
}

/// The compute capabilities that there are programs for.
fn built(folder: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?
                .strip_prefix("hadada-worker-cuda-")?
                .parse()
                .ok()
        })
        .collect()
}

/// The best program for a card: machine code runs on its own capability and later ones of the same generation.
fn program_for(capability: u32, built: &[u32]) -> Option<u32> {
    built
        .iter()
        .copied()
        .filter(|&b| b / 10 == capability / 10 && b <= capability)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_gets_the_nearest_program_of_its_generation() {
        let built = [80, 86, 89, 90, 120];
        for (card, program) in [
            (80, Some(80)),
            (86, Some(86)),
            (87, Some(86)),
            (89, Some(89)),
            (90, Some(90)),
            (75, None),
            (100, None),
            (120, Some(120)),
            (121, Some(120)),
        ] {
            assert_eq!(program_for(card, &built), program, "{card}");
        }
        assert_eq!(program_for(86, &[80]), Some(80));
    }
}
