//! Answering IT and vendors while remote access is open: a port of its own, client certificates only, two addresses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::body::{Body, HttpBody};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use http::StatusCode;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::refused;
use super::tls::{self, Certificates, ClientCertificate};
use crate::audit;
use crate::error::{Error, Result};
use crate::remote::{self, Open};
use crate::web::App;

/// Largest update: a release with both workers is about 400 MB.
const LARGEST: u64 = 2 << 30;
/// Room that must stay free on the disk.
const SPARE: u64 = 2 << 30;

/// Opens and closes the port as remote access is, until told to stop. A socket of systemd's listens all the time; who connects
/// while remote access is closed is hung up on.
pub(super) async fn supervise(
    app: App,
    certificates: Certificates,
    inherited: Option<TcpListener>,
    stop: CancellationToken,
) {
    let inherited = inherited.map(Arc::new);
    let Some(authority) = app.config.client_authority.clone() else {
        if let Some(listener) = &inherited {
            tokio::select! {
                () = hang_up(listener) => {}
                () = stop.cancelled() => {}
            }
        }
        return;
    };
    let expiry = remote::expire(&app, &stop);
    let (teller, told) = refused::channel();
    let recording = refused::record(&app, told, &stop);
    let serving = async {
        while !stop.is_cancelled() {
            let changed = app.remote_changed.notified();
            let open = remote::current(&app).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the state of remote access is not known, so it stays closed");
                None
            });
            if let Some(open) = open {
                match serve_while_open(
                    &app,
                    &certificates,
                    inherited.clone(),
                    &authority,
                    &open,
                    &teller,
                    &stop,
                )
                .await
                {
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::error!(error = %format!("{error:#}"), "remote access is open but can't be answered")
                    }
                }
            }
            let closed = async {
                match &inherited {
                    Some(listener) => hang_up(listener).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = closed => {}
                () = changed => {}
                // Should the database not have answered.
                () = tokio::time::sleep(std::time::Duration::from_secs(30)) => {}
                () = stop.cancelled() => {}
            }
        }
    };
    tokio::join!(expiry, serving, recording);
}

/// Closes every connection as soon as it is made.
async fn hang_up(listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(stream),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}

async fn serve_while_open(
    app: &App,
    certificates: &Certificates,
    inherited: Option<Arc<TcpListener>>,
    authority: &Path,
    open: &Open,
    teller: &refused::Teller,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let list = tls::revocations(authority);
    let revoked = tls::which(&list);
    let door = tls::Door::Certified(refused::Guarded::new(
        certificates.clone(),
        tls::certified(authority)?,
        teller.clone(),
    ));
    let listener = match inherited {
        Some(listener) => listener,
        None => Arc::new(
            TcpListener::bind(app.config.remote_listen)
                .await
                .with_context(|| format!("can't listen on {}", app.config.remote_listen))?,
        ),
    };
    tracing::info!(address = %listener.local_addr()?, until = %open.until, "remote access is open");
    let over = async {
        loop {
            tokio::select! {
                () = app.remote_changed.notified() => {}
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                () = stop.cancelled() => return Ok(()),
            }
            // One was revoked: everybody shakes hands anew.
            if tls::which(&list) != revoked {
                return Ok(());
            }
            let still = remote::current(app).await;
            if !matches!(still, Ok(Some(now)) if now.id == open.id) {
                return Ok(());
            }
        }
    };
    let (_no_pulse, pulses) = mpsc::channel(1);
    tls::accept(listener, door, router(app.clone()), over, pulses, || {
        tracing::info!("remote access is closed");
    })
    .await
}

/// One push at a time.
#[derive(Clone)]
struct Remote {
    app: App,
    pushing: Arc<Mutex<()>>,
}

/// What the port answers. Every request carries the client's certificate, checked already.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/box/status", get(status))
        .route("/box/update/push", post(push))
        .with_state(Remote {
            app,
            pushing: Arc::default(),
        })
}

fn plain(error: Error) -> Response {
    super::admin::plain(error)
}

async fn still_open(app: &App) -> Result<()> {
    match remote::current(app).await? {
        Some(_) => Ok(()),
        None => Err(Error::Forbidden("Remote access is closed.".into())),
    }
}

async fn status(
    State(remote): State<Remote>,
    Extension(certificate): Extension<ClientCertificate>,
) -> Response {
    let answer = async {
        still_open(&remote.app).await?;
        let said = format!("state of the box read by {}", certificate.who());
        audit::record_box_event(&remote.app, remote::ACTOR, &said).await?;
        crate::status::summary(&remote.app).await
    };
    match answer.await {
        Ok(summary) => Json(summary).into_response(),
        Err(error) => plain(error),
    }
}

async fn push(
    State(remote): State<Remote>,
    Extension(certificate): Extension<ClientCertificate>,
    body: Body,
) -> Response {
    let answer = async {
        still_open(&remote.app).await?;
        let Ok(_one) = remote.pushing.try_lock() else {
            return Err(Error::conflict("Another update is being pushed just now."));
        };
        let stored = store(&remote.app, body).await?;
        let said = format!(
            "update of {} bytes, SHA-256 {}, pushed by {}",
            stored.bytes,
            stored.sha256,
            certificate.who()
        );
        audit::record_box_event(&remote.app, remote::ACTOR, &said).await?;
        Ok(stored)
    };
    match answer.await {
        Ok(stored) => (StatusCode::ACCEPTED, Json(stored)).into_response(),
        Err(error) => plain(error),
    }
}

/// What was put into the drop folder.
#[derive(serde::Serialize)]
struct Stored {
    name: String,
    bytes: u64,
    sha256: String,
}

/// A file that goes when the push did not come to its end.
struct Part(Option<PathBuf>);

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(%error, "a broken push could not be removed");
        }
    }
}

/// Streams a push into the drop folder, byte for byte, and gives it its name once it is whole.
async fn store(app: &App, body: Body) -> Result<Stored> {
    let folder = &app.config.update_incoming;
    let disk = || {
        Error::Unavailable(
            "The box can't store the update: its disk can't be written or is full.".into(),
        )
    };
    let too_large = || Error::TooLarge("An update has at most 2 GB.".into());
    let announced = body.size_hint().lower();
    if announced > LARGEST {
        return Err(too_large());
    }
    if free(folder).is_some_and(|free| free < announced.saturating_add(SPARE)) {
        return Err(Error::Unavailable(
            "There is not enough room on the box's disk for this update.".into(),
        ));
    }
    let id = Uuid::now_v7();
    let path = folder.join(format!("{id}.part"));
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&path)
        .await
        .map_err(|error| {
            tracing::error!(%error, folder = %folder.display(), "an update can't be stored");
            disk()
        })?;
    let mut part = Part(Some(path.clone()));
    let (mut bytes, mut hash) = (0_u64, Sha256::new());
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|_| Error::conflict("The push broke off before its end; nothing was kept."))?;
        bytes += chunk.len() as u64;
        if bytes > LARGEST {
            return Err(too_large());
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(|_| disk())?;
    }
    if bytes == 0 {
        return Err(Error::field("body", "Nothing was sent."));
    }
    file.sync_all().await.map_err(|_| disk())?;
    let name = format!("{id}.update");
    tokio::fs::rename(&path, folder.join(&name))
        .await
        .map_err(|_| disk())?;
    part.0 = None;
    let listed = tokio::fs::File::open(folder).await.map_err(|_| disk())?;
    listed.sync_all().await.map_err(|_| disk())?;
    Ok(Stored {
        name,
        bytes,
        sha256: hex::encode(hash.finalize()),
    })
}

/// Free bytes of the disk under a folder.
fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
