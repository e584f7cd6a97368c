//! What every page and interface shares: state, sessions, forms, pages, errors, headers and live events.

mod assets;
mod errors;
mod events;
mod form;
mod full;
mod headers;
mod idempotency;
mod limits;
mod page;
mod session;

#[cfg(test)]
pub(crate) use errors::page_samples as error_samples;

pub use assets::serve as serve_asset;
pub use errors::{is_unlogged_refusal, render_errors};
pub use events::{Change, Events, listen, stream as event_stream};
pub use form::{
    Form, FormId, JsonBody, Query, email_address, field_errors, optional_text, required_text,
    single_line,
};
pub use full::{refuse_writes, watch_disk};
pub use headers::{SECURITY_POLICY, security_headers};
pub use idempotency::{claim, made};
pub use limits::Limits;
pub use page::{Page, Shell, Templates, html};
#[cfg(test)]
pub(crate) use page::{RenderedSample, page_samples, render_samples};
pub use session::{
    COOKIE, Permission, Role, Session, SessionKind, clear_cookie, recognise, set_cookie, token_hash,
};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, PracticeTx};
use crate::error::Result;
use crate::inference::{Health, Inference};
use crate::keys::Keyring;

/// What handlers work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// The parts behind [`App`].
#[derive(Debug)]
pub struct Parts {
    /// Configuration, as loaded.
    pub config: Config,
    /// The databases.
    pub db: Db,
    /// Practice and patient keys.
    pub keys: Keyring,
    /// The time.
    pub clock: Clock,
    /// The drafting service.
    pub inference: Inference,
    /// What the drafting service last said of itself; asked every few seconds.
    pub ai: ArcSwap<Health>,
    /// Page templates.
    pub templates: Templates,
    /// How often one may ask.
    pub limits: Limits,
    /// Changes to tell open pages of.
    pub events: Events,
    /// Program that writes PDFs.
    pub typeset: PathBuf,
    /// What every page of an admin says at its top; found out anew every half minute.
    pub notices: ArcSwap<Vec<Notice>>,
    /// Set once a practice was seen: until then every address leads to the first-run wizard.
    pub has_practice: AtomicBool,
    /// Set while the disk is full: nothing is written then.
    pub disk_full: AtomicBool,
    /// Told when remote access was opened or closed.
    pub remote_changed: Notify,
}

/// A line at the top of an admin's pages.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Notice {
    /// `warn` or `bad`.
    pub state: &'static str,
    /// One sentence.
    pub text: String,
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// A scoped transaction for whoever is signed in.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(&self, session: &Session) -> Result<PracticeTx> {
        PracticeTx::open(&self.db, &session.actor(), self.clock.now()).await
    }

    /// A scoped transaction whose audit event is known beforehand: one round trip less.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_with(
        &self,
        session: &Session,
        event: crate::db::AuditEvent,
    ) -> Result<PracticeTx> {
        PracticeTx::open_with(&self.db, &session.actor(), self.clock.now(), event).await
    }
}

/// Forgets quiet callers, once a minute, until the program stops.
pub async fn tidy_limits(app: App, stop: tokio_util::sync::CancellationToken) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(60));
    loop {
        tokio::select! {
            _ = ticks.tick() => app.limits.tidy(),
            () = stop.cancelled() => return,
        }
    }
}

/// Keeps [`Parts::ai`] fresh until the program stops.
pub async fn watch_inference(app: App, stop: tokio_util::sync::CancellationToken) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(2));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => app.ai.store(Arc::new(app.inference.health().await)),
            () = stop.cancelled() => return,
        }
    }
}
