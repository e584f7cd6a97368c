//! The program's life: start, serve over TLS, watch, and stop without dropping what runs.

mod admin;
mod refused;
mod remote;
mod tls;
mod unread;
mod watchdog;

pub use admin::router as admin_router;
pub use remote::router as remote_router;
pub use tls::ClientCertificate;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::audit::Sealer;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::inference::{Health, Inference};
use crate::keys::Keyring;
use crate::web::{App, Events, Limits, Parts};

/// Puts the program's parts together; opens nothing but files.
///
/// # Errors
/// When a key file or a template can't be used.
pub fn assemble(config: Config, clock: Clock) -> anyhow::Result<App> {
    let db = Db::open(&config);
    let keys = Keyring::load(db.keys.clone(), &config.master_key, &config.recovery_key)?;
    let templates = crate::app::templates().context("a page template does not parse")?;
    let typeset = config.typeset.clone().unwrap_or_else(|| {
        std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.parent()?.join("hadada-typeset")))
            .unwrap_or_else(|| "hadada-typeset".into())
    });
    let inference = Inference::new(config.inference_socket.clone());
    let starting = Health {
        state: "starting".into(),
        ..Health::default()
    };
    Ok(App::new(Parts {
        config,
        db,
        keys,
        clock,
        inference,
        ai: ArcSwap::from_pointee(starting),
        templates,
        limits: Limits::default(),
        events: Events::default(),
        typeset,
        notices: ArcSwap::default(),
        has_practice: AtomicBool::new(false),
        disk_full: AtomicBool::new(false),
        remote_changed: Notify::new(),
    }))
}

/// The name of the socket for IT and vendors, among those systemd passes (`FileDescriptorName=remote`).
const REMOTE: &str = "remote";

/// The listening sockets: systemd's, where it passes any, or one of our own for the pages. The one for remote access is none
/// where systemd does not pass it.
async fn listeners(app: &App) -> anyhow::Result<(TcpListener, Option<TcpListener>)> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = listenfd::ListenFd::from_env();
    let (mut pages, mut remote) = (None, None);
    for (place, name) in (0..passed.len()).zip(names.split(':').chain(std::iter::repeat(""))) {
        let Some(inherited) = passed.take_tcp_listener(place)? else {
            continue;
        };
        inherited.set_nonblocking(true)?;
        let listener = Some(TcpListener::from_std(inherited)?);
        if name == REMOTE {
            remote = listener;
        } else {
            pages = pages.or(listener);
        }
    }
    let pages = match pages {
        Some(pages) => pages,
        None => TcpListener::bind(app.config.listen)
            .await
            .with_context(|| {
                format!(
                    "can't listen on {}; is another server using the port?",
                    app.config.listen
                )
            })?,
    };
    Ok((pages, remote))
}

/// Serves until SIGTERM or SIGINT, then finishes what is under way.
///
/// # Errors
/// When a port, socket, certificate or key can't be used.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let clock = Clock::system();
    let app = assemble(config, clock.clone())?;
    let stop = CancellationToken::new();

    let certificates = tls::Certificates::load(&app.config.tls_certificate, &app.config.tls_key)?;
    let tls = tls::for_everybody(certificates.clone(), app.config.tls12)?;
    let (listener, for_remote) = listeners(&app).await?;
    let sealer = Sealer::load(
        app.db.clone(),
        clock,
        &app.config.audit_key,
        &app.config.audit_head,
    )?;

    let admin = admin::bind(&app.config.admin_socket)?;
    let (pulse, pulses) = tokio::sync::mpsc::channel(1);
    let watched = certificates.clone();
    let reloading = tokio::spawn(async move { watched.watch().await });
    let tasks = [
        tokio::spawn(admin::serve(
            admin,
            app.clone(),
            sealer.clone(),
            stop.clone(),
        )),
        tokio::spawn(sealer.run(stop.clone())),
        tokio::spawn(crate::web::listen(app.clone())),
        tokio::spawn(crate::status::upkeep(stop.clone())),
        tokio::spawn(crate::web::watch_inference(app.clone(), stop.clone())),
        tokio::spawn(crate::web::tidy_limits(app.clone(), stop.clone())),
        tokio::spawn(crate::web::watch_disk(app.clone(), stop.clone())),
        tokio::spawn(crate::watch::run(app.clone(), stop.clone())),
        tokio::spawn(crate::erasure::settle(app.clone(), stop.clone())),
        tokio::spawn(crate::setup::settle(app.clone(), stop.clone())),
        tokio::spawn(remote::supervise(
            app.clone(),
            certificates,
            for_remote,
            stop.clone(),
        )),
        tokio::spawn(watchdog::feed(app.clone(), pulse, stop.clone())),
    ];

    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "serving");
    watchdog::tell(&[
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Status("Serving"),
    ]);

    let router = crate::app::router(app.clone());
    let signals = async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        anyhow::Ok(())
    };
    tls::accept(
        Arc::new(listener),
        tls::Door::Open(tls.into()),
        router,
        signals,
        pulses,
        || {
            tracing::info!("stopping");
            watchdog::tell(&[sd_notify::NotifyState::Stopping]);
            app.events.close();
        },
    )
    .await?;

    stop.cancel();
    reloading.abort();
    for task in tasks {
        // A task that panicked has said so; stopping goes on.
        let _ended = task.await;
    }
    app.db.records.close().await;
    app.db.keys.close().await;
    Ok(())
}

/// Certificates in use, swapped under live connections.
type Current = Arc<ArcSwap<rustls::sign::CertifiedKey>>;
