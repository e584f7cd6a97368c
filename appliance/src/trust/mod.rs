//! How a device comes to trust this server: the certificate of the box's own authority, and what to do with it. Nobody has to
//! sign in, since a browser that does not trust the server yet should not be given a password.

mod authority;
mod pages;

pub use authority::Authority;

use axum::Router;
use axum::routing::get;

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[("trust/trust.html", include_str!("trust.html"))];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/trust", get(pages::show))
        .route("/trust/ca.pem", get(pages::pem))
        .route("/trust/ca.cer", get(pages::der))
        .route("/trust/ca.mobileconfig", get(pages::profile))
}

#[cfg(test)]
crate::web::page_samples!(pages::TrustPage);
