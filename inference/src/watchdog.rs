//! systemd's watchdog, fed by progress and not by a timer: the task that keeps the queue answers, and so does the socket.

use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::front::Handle;

/// Feeds the watchdog for as long as it is polled, where systemd wants it fed.
pub async fn feed(front: Handle, socket: &Path) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Three chances before systemd loses patience.
    let every = within / 3;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let stuck = progress(&front, socket, every).await.err();
        if let Some(stuck) = stuck {
            tracing::error!(stuck, "the watchdog is not fed");
        }
        // Apart from the requests: the socket blocks while systemd is behind with reading it.
        let told = tokio::task::spawn_blocking(move || match stuck {
            None => tell(&[NotifyState::Watchdog]),
            Some(stuck) => tell(&[NotifyState::Status(&format!("Stuck: {stuck}"))]),
        });
        if told.await.is_err() {
            tracing::error!("systemd could not be told");
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}

async fn progress(front: &Handle, socket: &Path, patience: Duration) -> Result<(), &'static str> {
    if !matches!(timeout(patience, front.beats()).await, Ok(true)) {
        return Err("the queue does not move");
    }
    match timeout(patience, ask(socket)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err("the socket does not answer"),
    }
}

/// Asks how things stand; whatever the answer, that there is one is what counts.
async fn ask(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut begin = [0; 9];
    stream.read_exact(&mut begin).await?;
    if &begin == b"HTTP/1.1 " {
        Ok(())
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}
