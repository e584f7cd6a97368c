//! The task that owns everything: takes requests in, hands them out, passes answers on.

use super::device::Card;
use super::plan::{Plan, Planner};
use super::post::{Post, Ready};
use super::view;
use super::worker::{News, Report};
use super::{Command, Event, Job, Status};
use crate::config::Config;
use crate::gpu::{self, Monitor, Readings, Sample, Verdict};
use crate::metrics::Metrics;
use crate::queue::{Full, Queue};
use hadada_inference_protocol::{FromWorker, RequestId, ToWorker, WorkerInfo};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// How often lives, deadlines and plans are looked at.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Times a request is given to a worker: one that dies with it might die of it.
const ATTEMPTS: u32 = 2;

/// The card as it was last seen.
pub(super) struct Seen {
    pub readings: Readings,
    pub verdict: Verdict,
    pub at: Instant,
}

/// A plan that could not be served.
pub(super) struct Blocked {
    pub plan: Plan,
    pub why: String,
    pub until: Instant,
    pub failures: u32,
}

pub(super) struct Dispatcher {
    pub config: Config,
    pub status: watch::Sender<Status>,
    pub metrics: Arc<Metrics>,
    pub queue: Queue<Job>,
    pub planner: Planner,
    /// What is to be served.
    pub plan: Plan,
    /// The worker that is given requests.
    pub serving: Option<Post>,
    /// The worker that is to take its place.
    pub coming: Option<Post>,
    /// Workers that finish what they have.
    pub leaving: Vec<Post>,
    /// Workers that were killed and hold their memory until the system has ended them.
    pub dying: HashMap<u64, Instant>,
    /// The last plan that a worker served.
    pub proven: Option<Plan>,
    pub blocked: Option<Blocked>,
    /// The next worker needs the memory of the serving one: nothing is handed out until that has finished.
    pub draining: Option<String>,
    pub workers: u64,
    /// Failed starts in a row.
    pub failures: u32,
    /// When a worker may be started next.
    pub start_at: Instant,
    /// Why no worker can be started, if none can.
    pub refusal: Option<String>,
    /// Why there is no worker at this moment.
    pub interruption: Option<String>,
    /// What a request takes, averaged, in seconds.
    pub usual_seconds: f64,
    pub last_info: Option<Arc<WorkerInfo>>,
    pub card: Card,
    pub monitor: Monitor,
    pub seen: Option<Seen>,
    /// Until then a first look at the card is waited for.
    pub first_look: Instant,
    pub last_tick: Instant,
    pub next_look: Instant,
    pub reports: UnboundedSender<Report>,
    from_workers: Option<UnboundedReceiver<Report>>,
    samples: Option<UnboundedReceiver<Sample>>,
}

impl Dispatcher {
    pub(super) fn new(
        config: Config,
        metrics: Arc<Metrics>,
    ) -> (Dispatcher, watch::Receiver<Status>) {
        let (reports, from_workers) = unbounded_channel();
        let (status, receiver) = watch::channel(view::at_start());
        let mut planner = Planner::new(config.models.clone());
        let now = Instant::now();
        let wait = if config.gpu_workers.is_some() {
            super::tend::FIRST_LOOK
        } else {
            Duration::ZERO
        };
        let samples = gpu::nvml::watch(config.nvml.clone())
            .inspect_err(|error| tracing::error!(%error, "the graphics card can't be watched"))
            .ok();
        let dispatcher = Dispatcher {
            queue: Queue::new(config.queue),
            plan: planner.look().unwrap_or_default(),
            planner,
            config,
            status,
            metrics,
            serving: None,
            coming: None,
            leaving: Vec::new(),
            dying: HashMap::new(),
            proven: None,
            blocked: None,
            draining: None,
            workers: 0,
            failures: 0,
            start_at: now,
            refusal: None,
            interruption: None,
            usual_seconds: 1.0,
            last_info: None,
            card: Card::default(),
            monitor: Monitor::default(),
            seen: None,
            first_look: now + wait,
            last_tick: now,
            next_look: now,
            reports,
            from_workers: Some(from_workers),
            samples,
        };
        (dispatcher, receiver)
    }

    pub(super) async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let Some(mut from_workers) = self.from_workers.take() else {
            return;
        };
        let mut samples = self.samples.take();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let sample = async {
                match &mut samples {
                    Some(samples) => samples.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Submit(job)) => self.submit(job),
                    Some(Command::Cancel(id)) => self.cancel(id),
                    // Whoever asked may have lost patience.
                    Some(Command::Beat(asked)) => drop(asked.send(())),
                    Some(Command::Stop) | None => return,
                },
                Some(report) = from_workers.recv() => self.hear(report),
                sample = sample => match sample {
                    Some(sample) => self.look(&sample, Instant::now()),
                    None => samples = None,
                },
                _ = tick.tick() => self.tend(Instant::now()),
            }
            self.hand_out();
            let running = self.posts().map(|post| post.running.len()).sum::<usize>();
            self.metrics
                .queued
                .store(self.queue.waiting() as u64, Relaxed);
            self.metrics.running.store(running as u64, Relaxed);
        }
    }

    pub(super) fn posts(&self) -> impl Iterator<Item = &Post> {
        self.serving.iter().chain(&self.coming).chain(&self.leaving)
    }

    pub(super) fn posts_mut(&mut self) -> impl Iterator<Item = &mut Post> {
        self.serving
            .iter_mut()
            .chain(&mut self.coming)
            .chain(&mut self.leaving)
    }

    fn submit(&mut self, job: Job) {
        if let Some(reason) = &self.refusal {
            return job.end(Event::Unavailable(reason.clone()));
        }
        if !matches!(job.message, ToWorker::Embed { .. })
            && let Some(reason) = self.no_writer()
        {
            return job.end(Event::Unavailable(reason));
        }
        let slots = self.serving.as_ref().map_or(1, Post::slots);
        let wait = (self.queue.waiting() as f64 * self.usual_seconds / slots as f64)
            .ceil()
            .clamp(1.0, 60.0) as u64;
        match self.queue.push(job) {
            Ok(None) => {}
            Ok(Some(job)) | Err(Full(job)) => {
                self.metrics.was_turned_away();
                job.end(Event::Busy(wait));
            }
        }
    }

    fn cancel(&mut self, id: RequestId) {
        if self.queue.remove(id).is_none() {
            self.posts_mut().find_map(|post| post.cancel(id));
        }
    }

    /// Gives the worker as many requests as it works on at once; the rest waits here, where order can still change.
    fn hand_out(&mut self) {
        if self.draining.is_some() {
            return;
        }
        let slow = self.is_slow();
        let Some(post) = &mut self.serving else {
            return;
        };
        let slots = if slow {
            post.slots().div_ceil(2)
        } else {
            post.slots()
        };
        while post.running.len() < slots {
            let of = |client: &str| {
                post.running
                    .values()
                    .filter(|job| job.submission.client == client)
                    .count()
            };
            let Some(mut job) = self.queue.pop(of, !slow) else {
                return;
            };
            job.attempts += 1;
            self.metrics.left_queue(job.submitted.elapsed());
            post.worker.send(job.message.clone());
            post.running.insert(job.id, job);
        }
    }

    fn hear(&mut self, Report { worker, news }: Report) {
        let now = Instant::now();
        match news {
            News::Message(message) => self.message(worker, message, now),
            News::Gone(reason) => {
                self.lose(worker, &reason, now);
                self.dying.remove(&worker);
                self.tend(now);
            }
        }
    }

    fn message(&mut self, worker: u64, message: FromWorker, now: Instant) {
        // A worker that was given up may still have something to say.
        let Some(post) = self.posts_mut().find(|post| post.number == worker) else {
            return;
        };
        post.heard(&message, now);
        match message {
            FromWorker::Ready(info) => {
                self.ready(worker, *info, now);
                self.tend(now);
            }
            FromWorker::Failed { reason, kind } => post.last_words = Some((kind, reason)),
            FromWorker::Alive { .. } => {}
            message => {
                let usage = match &message {
                    FromWorker::Finished { usage, .. } => Some(*usage),
                    _ => None,
                };
                let finished = post.pass_on(message);
                if let (Some(usage), Some(_)) = (usage, finished) {
                    self.metrics.finished(&usage);
                    self.usual_seconds +=
                        0.1 * (f64::from(usage.total_ms) / 1000.0 - self.usual_seconds);
                }
            }
        }
    }

    /// A worker passed its known-answer test: it serves from now on, and the one before it finishes what it has.
    fn ready(&mut self, worker: u64, info: WorkerInfo, now: Instant) {
        let Some(mut post) = self.coming.take_if(|post| post.number == worker) else {
            return;
        };
        let model = info.model.as_ref().map_or("none", |m| m.id.as_str());
        tracing::info!(pid = info.pid, model, device = %info.device, kernels = %info.kernels, "the worker is ready");
        let info = Arc::new(info);
        post.ready = Some(Ready {
            since: now,
            slots: info.max_sequences.max(1) as usize,
            info: Arc::clone(&info),
        });
        if post.device.is_gpu() {
            self.card.serves();
            self.monitor.passed();
        }
        self.last_info = Some(info);
        self.proven = Some(post.plan.clone());
        if self
            .blocked
            .as_ref()
            .is_some_and(|blocked| blocked.plan.same_models(&post.plan))
        {
            self.blocked = None;
        }
        (self.refusal, self.draining, self.interruption) = (None, None, None);
        if let Some(before) = self.serving.replace(post) {
            tracing::info!(
                pid = before.worker.pid,
                requests = before.running.len(),
                "the worker before it finishes what it has"
            );
            self.leaving.push(before);
        }
    }

    /// Ends or repeats the requests of a worker that is gone.
    pub(super) fn release(&mut self, post: Post, reason: &str) {
        self.dying.insert(post.number, Instant::now());
        let mut jobs: Vec<Job> = post.running.into_values().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        for job in jobs {
            if job.begun || job.attempts >= ATTEMPTS || self.refusal.is_some() {
                job.end(Event::Unavailable(format!(
                    "{reason}; another one is being started"
                )));
            } else {
                self.queue.put_back(job);
            }
        }
    }

    /// Turns away all that wait.
    pub(super) fn turn_away(&mut self, reason: &str, which: impl Fn(&Job) -> bool) {
        while let Some(job) = self.queue.take(&which) {
            job.end(Event::Unavailable(reason.to_owned()));
        }
    }
}
