//! The box's state: a page for the practice's admin, and numbers for Prometheus.

mod everyone;
mod facts;
mod meter;
mod pages;
mod rules;
mod tiles;

pub use meter::{measure, upkeep};
pub use pages::summary;

use axum::Router;
use axum::routing::{get, post};

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("status/box.html", include_str!("box.html")),
    ("status/facts.html", include_str!("facts.html")),
    ("status/everyone.html", include_str!("everyone.html")),
];

/// Pages of this room.
pub fn routes() -> Router<App> {
    meter::install();
    Router::new()
        .route("/admin", get(pages::show))
        .route("/admin/facts", get(pages::facts))
        .route("/admin/alerts/{id}/acknowledge", post(pages::acknowledge))
        .route("/status", get(everyone::show))
        .route("/metrics", get(meter::metrics))
}

#[cfg(test)]
crate::web::page_samples!(pages::BoxPage, pages::FactsFragment, everyone::StatusPage);
