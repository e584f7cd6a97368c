//! A worker and what is known of it: the requests it has, and whether it lives.

use super::plan::Plan;
use super::worker::{Device, Worker};
use super::{Event, Job};
use hadada_inference_protocol::{FaultKind, FromWorker, RequestId, ToWorker, WorkerInfo};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Silence after which the health page says so. A sign of life comes twice a second.
const SILENCE_SHOWN: Duration = Duration::from_millis(2500);
/// Time from a worker's start to its first sign of life, which it gives before it loads anything.
const FIRST_SIGN: Duration = Duration::from_secs(12);
/// Silence after which a worker that the system says is stopped is replaced …
const STOPPED_FATAL: Duration = Duration::from_secs(6);
/// … and one that is merely silent: it may be starved by others or wait for a disk.
const SILENCE_FATAL: Duration = Duration::from_secs(30);
/// Time for one step of the engine (a layer of the model over a pass's rows, or a batch of embeddings) after which the
/// health page says that it takes long …
const STEP_SHOWN: Duration = Duration::from_secs(8);
/// … and after which the engine is taken for hung. The slowest step there is, a layer of an 8-billion-parameter model over
/// 256 rows on two slow cores, takes under 3 seconds where nothing else runs.
const STEP_FATAL: Duration = Duration::from_secs(30);
/// Time a worker has for loading.
const LOADING: Duration = Duration::from_secs(300);

/// A worker with its requests.
pub(super) struct Post {
    /// Its number; none is given twice.
    pub number: u64,
    /// The process.
    pub worker: Worker,
    /// What it serves.
    pub plan: Plan,
    /// On what.
    pub device: Device,
    /// What it said when it was ready.
    pub ready: Option<Ready>,
    /// The requests it works on.
    pub running: HashMap<RequestId, Job>,
    /// What it said of its own end.
    pub last_words: Option<(FaultKind, String)>,
    started: Instant,
    heard: Instant,
    steps: u64,
    moved: Instant,
    busy: bool,
}

/// A worker that passed its known-answer test.
pub(super) struct Ready {
    /// Since when.
    pub since: Instant,
    /// What it is.
    pub info: Arc<WorkerInfo>,
    /// Requests it works on at once.
    pub slots: usize,
}

/// How a worker lives.
pub(super) enum Life {
    Well,
    /// Something to show.
    Slow(&'static str),
    /// It must be ended; a sentence.
    Dead(String),
}

impl Post {
    pub(super) fn new(
        number: u64,
        worker: Worker,
        plan: Plan,
        device: Device,
        now: Instant,
    ) -> Post {
        Post {
            number,
            worker,
            plan,
            device,
            ready: None,
            running: HashMap::new(),
            last_words: None,
            started: now,
            heard: now,
            steps: 0,
            moved: now,
            busy: false,
        }
    }

    /// It said something.
    pub(super) fn heard(&mut self, message: &FromWorker, now: Instant) {
        self.heard = now;
        if let FromWorker::Alive { steps, busy } = *message {
            if steps != self.steps || !busy {
                self.moved = now;
            }
            (self.steps, self.busy) = (steps, busy);
        }
    }

    /// The front itself stood still for so long: that is no silence of the worker's.
    pub(super) fn forgive(&mut self, stall: Duration) {
        if self.heard == self.started {
            self.started += stall;
        }
        self.heard += stall;
        self.moved += stall;
    }

    pub(super) fn life(&self, now: Instant) -> Life {
        let seconds = |d: Duration| d.as_secs();
        let silence = now.saturating_duration_since(self.heard);
        let stopped = silence > STOPPED_FATAL && is_stopped(self.worker.pid);
        let mute = self.heard == self.started && silence > FIRST_SIGN;
        if silence > SILENCE_FATAL || stopped || mute {
            return Life::Dead(format!(
                "the worker gave no sign of life for {} seconds and was ended",
                seconds(silence)
            ));
        }
        if self.ready.is_none() {
            // Loading has no steps; it may take as long as reading the file does.
            let loading = now.saturating_duration_since(self.started);
            if loading > LOADING {
                return Life::Dead(format!(
                    "the worker had not loaded the model after {} seconds",
                    seconds(LOADING)
                ));
            }
            return Life::Well;
        }
        let step = now.saturating_duration_since(self.moved);
        if self.busy && step > STEP_FATAL {
            return Life::Dead(format!(
                "the worker got no further for {} seconds and was ended",
                seconds(step)
            ));
        }
        if silence > SILENCE_SHOWN {
            return Life::Slow("the worker is not answering");
        }
        if self.busy && step > STEP_SHOWN {
            return Life::Slow("the worker is not getting on");
        }
        Life::Well
    }

    /// How long it has served.
    pub(super) fn served(&self, now: Instant) -> Option<Duration> {
        self.ready
            .as_ref()
            .map(|ready| now.saturating_duration_since(ready.since))
    }

    pub(super) fn slots(&self) -> usize {
        self.ready.as_ref().map_or(1, |ready| ready.slots)
    }

    /// Takes back a request, wherever it stands with it.
    pub(super) fn cancel(&mut self, id: RequestId) -> Option<Job> {
        let job = self.running.remove(&id)?;
        self.worker.send(ToWorker::Cancel { id });
        Some(job)
    }

    /// Takes back the requests whose time is over.
    pub(super) fn cancel_late(&mut self, now: Instant) -> Vec<Job> {
        let late: Vec<RequestId> = self
            .running
            .values()
            .filter(|job| job.is_late(now))
            .map(|job| job.id)
            .collect();
        late.into_iter().filter_map(|id| self.cancel(id)).collect()
    }

    /// Passes a message on to whoever asked. Gives the request back when that was its last.
    pub(super) fn pass_on(&mut self, message: FromWorker) -> Option<Job> {
        let id = message.request()?;
        // A cancelled request may get answers that were on their way.
        let job = self.running.get_mut(&id)?;
        job.begun |= job.submission.streaming && matches!(message, FromWorker::Delta { .. });
        let last = message.is_last();
        // Without a receiver the client is gone, and its cancellation on the way.
        let _ = job.events.send(Event::Worker(message));
        if last { self.running.remove(&id) } else { None }
    }
}

/// Whether the system has stopped a process, by a signal or a debugger.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which stands in brackets and may hold anything.
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}
