//! A worker and what is known of it: the requests it has, and whether it lives.

use super::plan::Plan;
use super::worker::{Device, Worker};
use super::{Event, Job};
use hadada_inference_protocol::{FaultKind, FromWorker, RequestId, ToWorker, WorkerInfo};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Silence after which the health page says so. A sign of life comes twice a second.
const SILENCE_SHOWN: Duration = Duration::from_millis(2500);
/// Silence after which a worker that the system says is stopped is replaced,
const STOPPED_FATAL: Duration = Duration::from_secs(6);
/// one that is merely silent,
const SILENCE_FATAL: Duration = Duration::from_secs(12);
/// and one whose voice waits for a processor or a disk: the machine's fault, which another worker would have too.
const STARVED_FATAL: Duration = Duration::from_secs(30);
/// Time for one step of the engine after which the health page says that it takes long …
const STEP_SHOWN: Duration = Duration::from_secs(4);
/// … and after which the engine is taken for hung. The largest steps on the processor, a sixteenth of one product of an
/// 8-billion-parameter model's layer over 256 rows and the embedding of 512 tokens, take 6 ms and 0.4 s on two cores; reading
/// the longest body there may be into tokens takes 3 s.
const STEP_FATAL: Duration = Duration::from_secs(10);
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
        let voice = || voice(self.worker.pid);
        let stopped = silence > STOPPED_FATAL && voice() == Voice::Stopped;
        let silent = silence > SILENCE_FATAL && voice() != Voice::Waits;
        if stopped || silent || silence > STARVED_FATAL {
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

/// What a worker's thread that gives the signs of life does, as the system sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// A signal or a debugger stopped it.
    Stopped,
    /// It wants a processor, or a page from a disk.
    Waits,
    /// It sleeps, or is not there.
    Silent,
}

fn voice(pid: u32) -> Voice {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let stat = |folder: PathBuf| std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    // Before it has that thread, the process speaks for it.
    let own = threads
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(stat(entry.ok()?.path())))
        .find(|stat| stat.contains("(alive)"))
        .unwrap_or_else(|| stat(format!("/proc/{pid}").into()));
    // The state follows the name, which stands in brackets and may hold anything.
    let state = own
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    match state {
        Some('T' | 't') => Voice::Stopped,
        Some('R' | 'D') => Voice::Waits,
        _ => Voice::Silent,
    }
}
