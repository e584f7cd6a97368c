//! A worker process and the socket to it.

use super::plan::Plan;
use crate::config::Config;
use hadada_inference_protocol::{FromWorker, ToWorker, decode, encode, frame_length};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What comes from a worker, with the number of the worker it comes from.
pub struct Report {
    /// Which worker.
    pub worker: u64,
    /// What it says.
    pub news: News,
}

/// Something a worker said, or its end.
pub enum News {
    /// A message.
    Message(FromWorker),
    /// The process ended, or its socket broke; a sentence for people.
    Gone(String),
}

/// A running worker. Dropping it kills the process.
pub struct Worker {
    /// Its process.
    pub pid: u32,
    to: UnboundedSender<ToWorker>,
    kill: Option<tokio::sync::oneshot::Sender<()>>,
}

/// What a worker runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A graphics card.
    Gpu {
        /// The program built for it.
        program: PathBuf,
        /// Its lasting name.
        uuid: String,
        /// Free memory in bytes when it was last asked.
        free: Option<u64>,
    },
}

impl Device {
    /// Whether it is a card.
    pub fn is_gpu(&self) -> bool {
        matches!(self, Device::Gpu { .. })
    }
}

impl Worker {
    /// Starts a worker; what it says arrives at `reports`.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn start(
        config: &Config,
        plan: &Plan,
        device: &Device,
        number: u64,
        reports: UnboundedSender<Report>,
    ) -> std::io::Result<Worker> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = match device {
            Device::Cpu => Command::new(&config.worker),
            Device::Gpu {
                program,
                uuid,
                free,
            } => {
                let mut command = Command::new(program);
                // This card only, by its lasting name: the driver's numbers follow another order than NVML's.
                command.env("CUDA_VISIBLE_DEVICES", uuid);
                if let Some(folder) = program.parent().map(|p| p.join("lib")) {
                    command.env("LD_LIBRARY_PATH", folder);
                }
                if let Some(free) = free {
                    command.arg("--card-memory").arg(free.to_string());
                }
                command
            }
        };
        if let Some(part) = &plan.writing {
            command.arg("--model").arg(&part.path);
            command.arg("--model-name").arg(&part.name);
        }
        if let Some(part) = &plan.sorting {
            command.arg("--embedding-model").arg(&part.path);
        }
        for (hash, path) in plan
            .writing
            .iter()
            .chain(&plan.sorting)
            .flat_map(|part| &part.expect)
        {
            let mut pair = std::ffi::OsString::from(format!("{hash}:"));
            pair.push(path);
            command.arg("--expect").arg(pair);
        }
        if let Some(threads) = config.threads {
            command.arg("--threads").arg(threads.to_string());
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        if let Some(tokens) = config.cache_tokens.or(plan.cache_tokens) {
            command.arg("--cache-tokens").arg(tokens.to_string());
        }
        if !config.speculation {
            command.arg("--no-speculation");
        }
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let (read, write) = UnixStream::from_std(ours)?.into_split();
        let (to, outbox) = unbounded_channel();
        let (kill, killed) = tokio::sync::oneshot::channel();
        tokio::spawn(send(write, outbox));
        tokio::spawn(watch(read, child, killed, number, reports));
        Ok(Worker {
            pid,
            to,
            kill: Some(kill),
        })
    }

    /// Sends a message. One that can't be delivered is no error here: the worker's end is reported by itself.
    pub fn send(&self, message: ToWorker) {
        let _ = self.to.send(message);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(kill) = self.kill.take() {
            // It fails only when the process has ended already.
            let _ = kill.send(());
        }
    }
}

async fn send(mut write: OwnedWriteHalf, mut outbox: UnboundedReceiver<ToWorker>) {
    while let Some(message) = outbox.recv().await {
        match encode(&message) {
            Ok(frame) => {
                if write.write_all(&frame).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "a message to the worker was not sent"),
        }
    }
}

/// Reads until the worker ends, whichever way it does.
async fn watch(
    read: OwnedReadHalf,
    mut child: Child,
    killed: tokio::sync::oneshot::Receiver<()>,
    worker: u64,
    reports: UnboundedSender<Report>,
) {
    let report = |news| {
        // Without a receiver the front is ending too.
        let _ = reports.send(Report { worker, news });
    };
    let mut from = BufReader::with_capacity(64 << 10, read);
    let reading = async {
        loop {
            match receive(&mut from).await {
                Ok(message) => report(News::Message(message)),
                Err(error) => return error,
            }
        }
    };
    let error = tokio::select! {
        error = reading => Some(error),
        _ = killed => None,
    };
    // A worker whose socket is gone is of no use, even if it still runs.
    let _ = child.start_kill();
    let ending = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    match error {
        Some(error)
            if error.kind() != std::io::ErrorKind::UnexpectedEof
                && error.kind() != std::io::ErrorKind::ConnectionReset =>
        {
            report(News::Gone(format!(
                "the worker's messages can't be read: {error}"
            )));
        }
        _ => report(News::Gone(format!("the worker ended ({ending})"))),
    }
}

async fn receive(from: &mut BufReader<OwnedReadHalf>) -> std::io::Result<FromWorker> {
    let mut header = [0; 4];
    from.read_exact(&mut header).await?;
    let mut body = vec![0; frame_length(header)?];
    from.read_exact(&mut body).await?;
    decode(&body)
}
