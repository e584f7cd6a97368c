//! systemd's watchdog, fed by progress and not by a timer: the accept loop has answered, and so has the pool of connections.

use std::time::Duration;

use sd_notify::NotifyState;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::web::App;

/// A question to the accept loop whether it still turns.
pub(super) type Pulse = oneshot::Sender<()>;

/// Why systemd is not told that all is well.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Stuck {
    #[error("no new connection is accepted")]
    Accepting,
    #[error("Postgres answers, but not over the pool of connections to the {0}")]
    Pool(&'static str),
}

/// Tells systemd; without systemd it does nothing.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// Feeds the watchdog until told to stop, where systemd wants it fed.
pub(super) async fn feed(app: App, accepting: mpsc::Sender<Pulse>, stop: CancellationToken) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Three chances before systemd loses patience.
    let every = within / 3;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let stuck = progress(&app, &accepting, every).await.err();
        if let Some(stuck) = &stuck {
            tracing::error!(%stuck, "the watchdog is not fed");
        }
        // Apart from the requests: the socket blocks while systemd is behind with reading it.
        let told = tokio::task::spawn_blocking(move || match stuck {
            None => tell(&[NotifyState::Watchdog]),
            Some(stuck) => tell(&[NotifyState::Status(&format!("Stuck: {stuck}"))]),
        });
        tokio::select! {
            _ = told => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn progress(
    app: &App,
    accepting: &mpsc::Sender<Pulse>,
    within: Duration,
) -> Result<(), Stuck> {
    let (pulse, turned) = oneshot::channel();
    let beat = async {
        accepting.send(pulse).await.ok()?;
        turned.await.ok()
    };
    if !matches!(tokio::time::timeout(within, beat).await, Ok(Some(()))) {
        return Err(Stuck::Accepting);
    }
    for (name, pool) in [("records", &app.db.records), ("keys", &app.db.keys)] {
        let asked = sqlx::query("SELECT 1").execute(pool);
        if matches!(tokio::time::timeout(within, asked).await, Ok(Ok(_))) {
            continue;
        }
        // Where Postgres itself is away there is nothing that a restart of this program would mend.
        let options = pool.connect_options();
        let direct = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            connection.ping().await
        };
        if matches!(tokio::time::timeout(within, direct).await, Ok(Ok(()))) {
            return Err(Stuck::Pool(name));
        }
        tracing::warn!(database = name, "Postgres does not answer");
    }
    Ok(())
}
