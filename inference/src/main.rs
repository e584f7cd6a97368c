//! `hadada-inference`: the model's front door. It speaks OpenAI-compatible HTTP on a Unix socket and nothing else,
//! keeps the queue, and starts, watches and restarts the worker that owns the model. It holds no model itself, so it
//! stays up whatever happens to the worker, and says what is wrong.

use anyhow::Context;
use clap::Parser;
use hadada_inference::{config, front, http, metrics, watchdog};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> std::process::ExitCode {
    match start() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hadada-inference: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let config = config::Config::from_options(config::Options::parse())?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("HADADA_INFERENCE_LOG")
        .unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    // One thread: the front moves a few hundred small messages a second. It also has to be the thread that starts
    // workers, because the kernel ends a worker when the *thread* that started it ends.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: config::Config) -> anyhow::Result<()> {
    let listener = http::listen(&config.socket)?;
    let metrics = Arc::new(metrics::Metrics::default());
    let front = front::Front::start(config.clone(), Arc::clone(&metrics));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    sd_notify::notify(&[sd_notify::NotifyState::Ready])
        .context("telling systemd that we are ready")?;
    tracing::info!(socket = %config.socket.display(), "listening");
    tokio::select! {
        () = http::serve(listener, front.handle(), metrics, stop) => {}
        () = async {
            watchdog::feed(front.handle(), &config.socket).await;
            std::future::pending().await
        } => {}
    }
    tracing::info!("stopping");
    front.stop().await;
    // Nobody else owns this path while we hold its lock-like place; a leftover would only be replaced at the next start.
    let _ = std::fs::remove_file(&config.socket);
    Ok(())
}
