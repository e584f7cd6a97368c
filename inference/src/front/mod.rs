//! Between HTTP and the worker: admission, the queue, the worker's life. One task owns all of it, so there is nothing
//! to lock and one place that knows what is going on.

mod worker;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::queue::{Queue, Waiting};
use hadada_inference_protocol::{FromWorker, Priority, RequestId, ToWorker, WorkerInfo};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use worker::{News, Report, Worker};

/// How often the worker is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Silence after which the health page says so.
const SILENCE_SHOWN: Duration = Duration::from_secs(3);
/// Silence after which the worker is taken for hung and replaced.
const SILENCE_FATAL: Duration = Duration::from_secs(20);
/// Time a worker has for loading.
const LOADING: Duration = Duration::from_secs(300);
/// The first wait before another start; it doubles with every failed one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A worker that lived this long starts the waits afresh.
const PROVEN: Duration = Duration::from_secs(20);
/// Times a request is given to a worker: one that dies with it might die of it.
const ATTEMPTS: u32 = 2;

/// What the box can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A worker is loading; requests wait.
    Starting,
    /// All is well.
    Ready,
    /// Requests are served, but something is wrong.
    Degraded,
    /// No worker can be started; requests are turned away.
    Down,
}

/// The state and what is known about it.
#[derive(Debug, Clone)]
pub struct Status {
    /// What the box can do.
    pub state: State,
    /// Why it is not simply ready.
    pub reason: Option<String>,
    /// The worker's process.
    pub pid: Option<u32>,
    /// The last worker that was ready.
    pub info: Option<Arc<WorkerInfo>>,
}

/// What a request's handler hears.
#[derive(Debug)]
pub enum Event {
    /// From the worker.
    Worker(FromWorker),
    /// Too many wait already; try again after so many seconds.
    Busy(u64),
    /// It can't be done now; a sentence.
    Unavailable(String),
}

enum Command {
    Submit(Job),
    Cancel(RequestId),
    Stop,
}

struct Job {
    id: RequestId,
    message: ToWorker,
    priority: Priority,
    /// What the worker says goes out at once, so a second try would repeat what was sent.
    streaming: bool,
    events: UnboundedSender<Event>,
    submitted: Instant,
    attempts: u32,
    begun: bool,
}

impl Waiting for Job {
    fn id(&self) -> RequestId {
        self.id
    }
    fn priority(&self) -> Priority {
        self.priority
    }
}

/// The running front.
pub struct Front {
    handle: Handle,
    task: JoinHandle<()>,
}

/// The way to the front, for handlers.
#[derive(Clone)]
pub struct Handle {
    commands: UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    next: Arc<AtomicU64>,
    /// The model's name while no worker has said it.
    pub model_name: Arc<str>,
}

/// A submitted request. Dropping it cancels the request.
pub struct Ticket {
    /// Its name.
    pub id: RequestId,
    events: UnboundedReceiver<Event>,
    commands: UnboundedSender<Command>,
    finished: bool,
}

impl Ticket {
    /// The next event. After the last one, and if the front ends, it says that the service is stopping.
    pub async fn next(&mut self) -> Event {
        let event = self
            .events
            .recv()
            .await
            .unwrap_or_else(|| Event::Unavailable("the service is stopping".into()));
        self.finished = match &event {
            Event::Worker(message) => message.is_last(),
            Event::Busy(_) | Event::Unavailable(_) => true,
        };
        event
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.finished {
            // It fails only when the front is ending, and the worker with it.
            let _ = self.commands.send(Command::Cancel(self.id));
        }
    }
}

impl Handle {
    /// Submits a request; `make` puts its id into the message.
    pub fn submit(
        &self,
        priority: Priority,
        streaming: bool,
        make: impl FnOnce(RequestId) -> ToWorker,
    ) -> Ticket {
        let id = self.next.fetch_add(1, Relaxed);
        let (events, receiver) = unbounded_channel();
        let job = Job {
            id,
            message: make(id),
            priority,
            streaming,
            events,
            submitted: Instant::now(),
            attempts: 0,
            begun: false,
        };
        // A closed channel shows as the end of events.
        let _ = self.commands.send(Command::Submit(job));
        Ticket {
            id,
            events: receiver,
            commands: self.commands.clone(),
            finished: false,
        }
    }

    /// The state now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }
}

impl Front {
    /// Starts the front, which starts the worker.
    pub fn start(config: Config, metrics: Arc<Metrics>) -> Front {
        let (commands, inbox) = unbounded_channel();
        let starting = Status {
            state: State::Starting,
            reason: Some("the model is loading".into()),
            pid: None,
            info: None,
        };
        let (status, receiver) = watch::channel(starting);
        let model_name = config.model_name().into();
        let dispatcher = Dispatcher::new(config, status, metrics);
        let task = tokio::spawn(dispatcher.run(inbox));
        Front {
            handle: Handle {
                commands,
                status: receiver,
                next: Arc::new(AtomicU64::new(1)),
                model_name,
            },
            task,
        }
    }

    /// The way to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the worker and everything that waits.
    pub async fn stop(self) {
        // It fails only when the task has ended already.
        let _ = self.handle.commands.send(Command::Stop);
        let _ = self.task.await;
    }
}

/// The worker's life as the dispatcher sees it.
enum Life {
    /// Between two workers.
    Waiting {
        until: Instant,
    },
    Loading {
        worker: Worker,
        since: Instant,
    },
    Ready {
        worker: Worker,
        since: Instant,
        asked: Instant,
        heard: Instant,
        slots: usize,
        flaw: Option<String>,
        shown_silent: bool,
    },
}

struct Dispatcher {
    config: Config,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    queue: Queue<Job>,
    running: HashMap<RequestId, Job>,
    life: Life,
    workers: u64,
    /// Failed starts in a row.
    failures: u32,
    /// Why the last worker could not start, if it could not.
    refusal: Option<String>,
    /// What a request takes, averaged, in seconds.
    usual_seconds: f64,
    reports: UnboundedSender<Report>,
    from_workers: Option<UnboundedReceiver<Report>>,
}

impl Dispatcher {
    fn new(config: Config, status: watch::Sender<Status>, metrics: Arc<Metrics>) -> Dispatcher {
        let (reports, from_workers) = unbounded_channel();
        Dispatcher {
            queue: Queue::new(config.queue),
            config,
            status,
            metrics,
            running: HashMap::new(),
            life: Life::Waiting {
                until: Instant::now(),
            },
            workers: 0,
            failures: 0,
            refusal: None,
            usual_seconds: 1.0,
            reports,
            from_workers: Some(from_workers),
        }
    }

    async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let Some(mut from_workers) = self.from_workers.take() else {
            return;
        };
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Submit(job)) => self.submit(job),
                    Some(Command::Cancel(id)) => self.cancel(id),
                    Some(Command::Stop) | None => return,
                },
                Some(report) = from_workers.recv() => self.hear(report),
                _ = tick.tick() => self.watch_over(Instant::now()),
            }
            self.hand_out();
            self.metrics
                .queued
                .store(self.queue.waiting() as u64, Relaxed);
            self.metrics
                .running
                .store(self.running.len() as u64, Relaxed);
        }
    }

    fn show(&self, state: State, reason: Option<String>) {
        let pid = match &self.life {
            Life::Waiting { .. } => None,
            Life::Loading { worker, .. } | Life::Ready { worker, .. } => Some(worker.pid),
        };
        let serving = matches!(state, State::Ready | State::Degraded);
        self.metrics.ready.store(serving.into(), Relaxed);
        self.status
            .send_modify(|s| (s.state, s.reason, s.pid) = (state, reason, pid));
    }

    fn submit(&mut self, job: Job) {
        if let Some(reason) = &self.refusal {
            let _ = job.events.send(Event::Unavailable(reason.clone()));
            return;
        }
        if let Err(job) = self.queue.push(job) {
            let slots = match &self.life {
                Life::Ready { slots, .. } => *slots,
                _ => 1,
            };
            let wait = (self.queue.waiting() as f64 * self.usual_seconds / slots as f64)
                .ceil()
                .clamp(1.0, 60.0);
            let _ = job.events.send(Event::Busy(wait as u64));
        }
    }

    fn cancel(&mut self, id: RequestId) {
        self.queue.remove(id);
        if self.running.remove(&id).is_some()
            && let Life::Ready { worker, .. } = &self.life
        {
            worker.send(ToWorker::Cancel { id });
        }
    }

    /// Gives the worker as many requests as it works on at once; the rest waits here, where order can still change.
    fn hand_out(&mut self) {
        let Life::Ready { worker, slots, .. } = &self.life else {
            return;
        };
        while self.running.len() < *slots {
            let Some(mut job) = self.queue.pop() else {
                return;
            };
            job.attempts += 1;
            self.metrics.left_queue(job.submitted.elapsed());
            worker.send(job.message.clone());
            self.running.insert(job.id, job);
        }
    }

    fn hear(
        &mut self,
        Report {
            worker: number,
            news,
        }: Report,
    ) {
        // A worker that was given up may still have something to say.
        if number != self.workers {
            return;
        }
        match news {
            News::Message(message) => self.message(message),
            News::Gone(reason) => self.lost(reason),
        }
    }

    fn message(&mut self, message: FromWorker) {
        let now = Instant::now();
        if let Life::Ready { heard, .. } = &mut self.life {
            *heard = now;
        }
        match message {
            FromWorker::Ready(info) => self.ready(*info, now),
            FromWorker::Failed { reason } => self.refusal = Some(reason),
            FromWorker::Pong { .. } => {}
            message => {
                let Some(id) = message.request() else { return };
                if let FromWorker::Finished { usage, .. } = &message {
                    self.metrics.finished(usage);
                    self.usual_seconds +=
                        0.1 * (f64::from(usage.total_ms) / 1000.0 - self.usual_seconds);
                }
                // A cancelled request may get answers that were on their way.
                let job = if message.is_last() {
                    self.running.remove(&id)
                } else {
                    None
                };
                let job = job.as_ref().map(|j| &j.events).or_else(|| {
                    let job = self.running.get_mut(&id)?;
                    job.begun |= job.streaming && matches!(message, FromWorker::Delta { .. });
                    Some(&job.events)
                });
                if let Some(events) = job {
                    let _ = events.send(Event::Worker(message));
                }
            }
        }
    }

    fn ready(&mut self, info: WorkerInfo, now: Instant) {
        let life = std::mem::replace(&mut self.life, Life::Waiting { until: now });
        let Life::Loading { worker, since } = life else {
            self.life = life;
            return;
        };
        tracing::info!(pid = info.pid, model = %info.model.id, device = %info.device, kernels = %info.kernels, seconds = since.elapsed().as_secs_f32(), "the worker is ready");
        let (slots, flaw) = (
            info.max_sequences.max(1) as usize,
            info.embedding_error.clone(),
        );
        self.refusal = None;
        self.status.send_modify(|s| s.info = Some(Arc::new(info)));
        self.life = Life::Ready {
            worker,
            since: now,
            asked: now,
            heard: now,
            slots,
            flaw: flaw.clone(),
            shown_silent: false,
        };
        self.show(
            if flaw.is_some() {
                State::Degraded
            } else {
                State::Ready
            },
            flaw,
        );
    }

    /// The worker is gone: ends or repeats its requests, and plans another start.
    fn lost(&mut self, reason: String) {
        let now = Instant::now();
        tracing::warn!(%reason, "the worker is gone");
        let proven = matches!(&self.life, Life::Ready { since, .. } if since.elapsed() > PROVEN);
        let was_ready = matches!(self.life, Life::Ready { .. });
        self.failures = if proven { 0 } else { self.failures + 1 };
        let wait =
            (FIRST_WAIT * 2u32.pow(self.failures.saturating_sub(1).min(10))).min(LONGEST_WAIT);
        self.life = Life::Waiting { until: now + wait };
        if !was_ready {
            // Its own words, where it had any, say more than how the process ended.
            self.refusal
                .get_or_insert_with(|| format!("the model can't be started: {reason}"));
        }
        let mut jobs: Vec<Job> = self.running.drain().map(|(_, job)| job).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        for job in jobs {
            if job.begun || job.attempts >= ATTEMPTS || self.refusal.is_some() {
                let _ = job.events.send(Event::Unavailable(format!(
                    "{reason}; another one is being started"
                )));
            } else {
                self.queue.put_back(job);
            }
        }
        match self.refusal.clone() {
            Some(refusal) => {
                while let Some(job) = self.queue.pop() {
                    let _ = job.events.send(Event::Unavailable(refusal.clone()));
                }
                self.show(State::Down, Some(refusal));
            }
            None => self.show(
                State::Starting,
                Some(format!("{reason}; another one is being started")),
            ),
        }
    }

    fn watch_over(&mut self, now: Instant) {
        match &mut self.life {
            Life::Waiting { until } if now >= *until => self.start_worker(now),
            Life::Waiting { .. } => {}
            Life::Loading { since, .. } => {
                if now - *since > LOADING {
                    self.workers += 1;
                    self.lost(format!(
                        "the worker had not loaded the model after {} seconds",
                        LOADING.as_secs()
                    ));
                }
            }
            Life::Ready {
                worker,
                asked,
                heard,
                flaw,
                shown_silent,
                ..
            } => {
                let silence = now - *heard;
                if silence > SILENCE_FATAL {
                    // The next number makes everything the old worker still says stale.
                    self.workers += 1;
                    self.lost(format!(
                        "the worker gave no sign of life for {} seconds and was ended",
                        silence.as_secs()
                    ));
                    return;
                }
                if now - *asked >= PING_EVERY {
                    *asked = now;
                    worker.send(ToWorker::Ping { nonce: 0 });
                }
                let silent = silence > SILENCE_SHOWN;
                if silent != *shown_silent {
                    *shown_silent = silent;
                    let reason = if silent {
                        Some("the worker is not answering".to_owned())
                    } else {
                        flaw.clone()
                    };
                    self.show(
                        if reason.is_some() {
                            State::Degraded
                        } else {
                            State::Ready
                        },
                        reason,
                    );
                }
            }
        }
    }

    fn start_worker(&mut self, now: Instant) {
        if self.workers > 0 {
            self.metrics.restarts.fetch_add(1, Relaxed);
        }
        self.workers += 1;
        match Worker::start(&self.config, self.workers, self.reports.clone()) {
            Ok(worker) => {
                self.life = Life::Loading { worker, since: now };
                // After a refusal the box stays down until a worker proves otherwise.
                if self.refusal.is_none() {
                    self.show(State::Starting, Some("the model is loading".into()));
                }
            }
            Err(error) => self.lost(format!(
                "the worker program {} can't be started: {error}",
                self.config.worker.display()
            )),
        }
    }
}
