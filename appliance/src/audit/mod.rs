//! The tamper-evident audit log: sealing, export, and the page that shows who looked at what.
//!
//! Events are written by [`crate::db::PracticeTx`], in the transaction of what they tell of. Here they are sealed in Merkle
//! batches within a second, and read.

mod box_events;
mod export;
mod pages;
mod refusals;
mod sealer;
mod store;
mod words;

pub use box_events::{
    AcceptHead, Accepted, BoxEvent, accept_head, record_box_event, record_box_refusal, record_told,
};
pub use export::export;
pub use refusals::record_refusals;
pub use sealer::{Sealer, SealingState};

use axum::Router;
use axum::routing::get;

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("audit/patient.html", include_str!("patient.html")),
    ("audit/overview.html", include_str!("overview.html")),
    ("audit/rows.html", include_str!("rows.html")),
];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/patients/{id}/audit", get(pages::patient))
        .route("/admin/audit", get(pages::overview))
}

#[cfg(test)]
crate::web::page_samples!(pages::PatientAudit, pages::Overview);
