//! The program's life: start, serve over TLS, watch, and stop without dropping what runs.

mod admin;
mod tls;

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
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
    }))
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
    let listener = match listenfd::ListenFd::from_env().take_tcp_listener(0)? {
        Some(inherited) => {
            inherited.set_nonblocking(true)?;
            TcpListener::from_std(inherited)?
        }
        None => TcpListener::bind(app.config.listen)
            .await
            .with_context(|| {
                format!(
                    "can't listen on {}; is another server using the port?",
                    app.config.listen
                )
            })?,
    };
    let sealer = Sealer::load(
        app.db.clone(),
        clock,
        &app.config.audit_key,
        &app.config.audit_head,
    )?;

    let admin = tokio::spawn(admin::serve(
        admin::bind(&app.config.admin_socket)?,
        app.clone(),
        sealer.clone(),
        stop.clone(),
    ));
    let sealing = tokio::spawn(sealer.run(stop.clone()));
    let listening = tokio::spawn(crate::web::listen(app.clone()));
    let metering = tokio::spawn(crate::status::upkeep(stop.clone()));
    let watching = tokio::spawn(crate::web::watch_inference(app.clone(), stop.clone()));
    let tidying = tokio::spawn(crate::web::tidy_limits(app.clone(), stop.clone()));
    let watched = certificates.clone();
    let reloading = tokio::spawn(async move { watched.watch().await });

    tracing::info!(address = %listener.local_addr()?, "serving");
    sd_notify::notify(&[sd_notify::NotifyState::Ready])
        .unwrap_or_else(|error| tracing::warn!(%error, "systemd was not told"));

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
    tls::accept(listener, certificates, router, signals, &app.events).await?;

    stop.cancel();
    reloading.abort();
    for task in [admin, sealing, listening, metering, watching, tidying] {
        // A task that panicked has said so; stopping goes on.
        let _ended = task.await;
    }
    app.db.records.close().await;
    app.db.keys.close().await;
    Ok(())
}

/// Certificates in use, swapped under live connections.
type Current = Arc<ArcSwap<rustls::sign::CertifiedKey>>;
