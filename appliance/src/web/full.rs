//! When the disk is full: what is stored can be read, and nothing new is taken that could not be kept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::error::Error;

/// What a person needs to read and to be told: signing in and out.
const ALLOWED: [&str; 2] = ["/login", "/logout"];

/// Refuses what would write while the disk is full. Reading goes on, its audit events in the room that the box keeps for them.
pub async fn refuse_writes(State(app): State<App>, request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if app.disk_full.load(Ordering::Relaxed) && !reads && !ALLOWED.contains(&request.uri().path()) {
        return Error::Full.into_response();
    }
    next.run(request).await
}

/// Looks every half second for the mark that the box's watch of the disks makes.
pub async fn watch_disk(app: App, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let full = app.config.disk_full_mark.exists();
                if app.disk_full.swap(full, Ordering::Relaxed) != full {
                    if full {
                        tracing::error!("the disk is full: only reading goes on");
                    } else {
                        tracing::info!("there is room on the disk again");
                    }
                }
            }
            () = stop.cancelled() => return,
        }
    }
}
