//! Between HTTP and the workers: admission, the queue, the workers' lives. One task owns all of it, so there is nothing
//! to lock and one place that knows what is going on.

pub mod device;
mod dispatch;
mod plan;
mod post;
mod tend;
mod view;
mod worker;

use crate::config::Config;
use crate::gpu;
use crate::metrics::Metrics;
use crate::queue::Waiting;
use hadada_inference_protocol::{FromWorker, Priority, RequestId, ToWorker, WorkerInfo};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What the box can do.
    pub state: State,
    /// Why it is not simply ready.
    pub reason: Option<String>,
    /// The worker's process.
    pub pid: Option<u32>,
    /// The last worker that was ready.
    pub info: Option<Arc<WorkerInfo>>,
    /// Why nothing writes, although a worker serves.
    pub no_writer: Option<String>,
    /// The name of the model that writes, or would.
    pub model_name: Arc<str>,
    /// The graphics card, where there is one.
    pub gpu: Option<GpuStatus>,
}

/// What is shown of the graphics card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuStatus {
    /// How it is.
    pub state: gpu::State,
    /// What the box does about it.
    pub action: gpu::Action,
    /// For staff.
    pub sentence: String,
    /// Whether the model runs on it now.
    pub serving: bool,
    /// Why it does not, where it should.
    pub why_not: Option<String>,
    /// Seconds until it is tried again.
    pub again_in: Option<u64>,
    /// The last readings.
    #[serde(flatten)]
    pub readings: gpu::Readings,
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
    /// Its time is over; a sentence.
    Late(String),
}

/// What a request is, besides its message.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Who waits for it.
    pub priority: Priority,
    /// What the worker says goes out at once, so a second try would repeat what was sent.
    pub streaming: bool,
    /// Whose it is: clients take turns.
    pub client: String,
    /// When nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

pub(crate) enum Command {
    Submit(Job),
    Cancel(RequestId),
    /// Asks whether commands are still heard.
    Beat(oneshot::Sender<()>),
    Stop,
}

pub(crate) struct Job {
    id: RequestId,
    message: ToWorker,
    submission: Submission,
    events: UnboundedSender<Event>,
    submitted: Instant,
    attempts: u32,
    begun: bool,
}

impl Job {
    fn is_late(&self, now: Instant) -> bool {
        self.submission.deadline.is_some_and(|d| now >= d)
    }

    /// Ends it with an event. Without a receiver the client is gone, which is an end as well.
    fn end(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

impl Waiting for Job {
    fn id(&self) -> RequestId {
        self.id
    }
    fn priority(&self) -> Priority {
        self.submission.priority
    }
    fn client(&self) -> &str {
        &self.submission.client
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
            Event::Busy(_) | Event::Unavailable(_) | Event::Late(_) => true,
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
        submission: Submission,
        make: impl FnOnce(RequestId) -> ToWorker,
    ) -> Ticket {
        let id = self.next.fetch_add(1, Relaxed);
        let (events, receiver) = unbounded_channel();
        let job = Job {
            id,
            message: make(id),
            submission,
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

    /// Whether the task behind this still hears commands; waits for its answer.
    pub async fn beats(&self) -> bool {
        let (asked, heard) = oneshot::channel();
        self.commands.send(Command::Beat(asked)).is_ok() && heard.await.is_ok()
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
        let (dispatcher, status) = dispatch::Dispatcher::new(config, metrics);
        let task = tokio::spawn(dispatcher.run(inbox));
        Front {
            handle: Handle {
                commands,
                status,
                next: Arc::new(AtomicU64::new(1)),
            },
            task,
        }
    }

    /// The way to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the workers and everything that waits.
    pub async fn stop(self) {
        // It fails only when the task has ended already.
        let _ = self.handle.commands.send(Command::Stop);
        let _ = self.task.await;
    }
}
