//! Erasure of a patient (Protection of Personal Information Act 4 of 2013, sections 14 and 24): the patient's key is destroyed,
//! so that nothing sealed under it opens again, here or from any backup; what can be read goes as well.
//!
//! The order is: the register outside Postgres, synced to disk; the key; the record with its audit event. Once a line is in
//! the register there is no way back: a start after a crash completes it, and a restore replays it.

mod pages;
mod register;
mod rules;
mod store;

pub use register::{Entry, RegisterError};
pub use rules::Reason;

use std::path::Path;

use axum::Router;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::db::{Action, Actor, AuditEvent, PracticeTx};
use crate::error::{Error, Result};
use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[("erasure/erase.html", include_str!("erase.html"))];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new().route("/patients/{id}/erase", get(pages::ask).post(pages::erase))
}

/// Erases a patient who is in the register. Done twice, it does no more than once.
///
/// # Errors
/// When a database does not answer; then it is still to be completed.
async fn complete(app: &App, entry: &Entry, actor: &Actor, why: &str) -> Result<Outcome> {
    app.keys
        .destroy_patient(entry.practice_id, entry.patient_id)
        .await?;
    let event = AuditEvent::new(Action::Delete, "Patient")
        .id(entry.patient_id.0)
        .patient(entry.patient_id)
        .reason(format!("{why}: {}", entry.reason.words()));
    let mut tx = PracticeTx::open(&app.db, actor, app.clock.now()).await?;
    if store::is_complete(tx.conn(), entry.patient_id).await? {
        tx.close_without_patient_data().await?;
        return Ok(Outcome::Known);
    }
    let now = tx.now();
    if !store::erase(tx.conn(), entry.patient_id, now).await? {
        tx.close_without_patient_data().await?;
        return Ok(Outcome::Unknown);
    }
    store::insert(tx.conn(), entry, now).await?;
    tx.record(event).await?;
    tx.announce("patient", entry.patient_id.0).await?;
    tx.commit().await?;
    tracing::info!(practice = %entry.practice_id, patient = %entry.patient_id, "patient erased");
    Ok(Outcome::Erased)
}

/// What became of an entry of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Erased,
    Known,
    Unknown,
}

/// What a replay of a register came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries of the register.
    pub entries: usize,
    /// Erased now.
    pub erased: usize,
    /// Erased already.
    pub known: usize,
    /// Not in this database.
    pub unknown: usize,
}

/// Erases whoever a register names: after a restore, so that nobody comes back. What the box's own register lacks is added to
/// it.
///
/// # Errors
/// When the register can't be read or a database does not answer; running it again goes on.
pub async fn replay(app: &App, register: &Path) -> Result<Replayed> {
    let entries = register::read(register).map_err(Error::internal)?;
    let mut done = Replayed {
        entries: entries.len(),
        ..Replayed::default()
    };
    let own = &app.config.erasure_register;
    let known = register::read(own).map_err(Error::internal)?;
    for entry in &entries {
        if !known.iter().any(|k| k.same_patient(entry)) {
            register::append(own, entry).map_err(Error::internal)?;
        }
        let actor = Actor::system(entry.practice_id, "restore");
        match complete(app, entry, &actor, "erasure replayed after a restore").await? {
            Outcome::Erased => done.erased += 1,
            Outcome::Known => done.known += 1,
            Outcome::Unknown => done.unknown += 1,
        }
    }
    Ok(done)
}

/// Completes what a crash left half done, once the databases answer.
pub async fn settle(app: App, stop: CancellationToken) {
    let entries = match register::read(&app.config.erasure_register) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::error!(%error, "the register of erasures can't be read");
            return;
        }
    };
    for entry in entries {
        let actor = Actor::system(entry.practice_id, "erasure");
        while let Err(error) = complete(&app, &entry, &actor, "erasure completed").await {
            tracing::warn!(%error, "an erasure waits for the database");
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_secs(5)) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

#[cfg(test)]
crate::web::page_samples!(pages::ErasePage);
