//! Patients: who they are, how they are found, what to mind about them.
//!
//! Names, contact, allergies and alerts are readable in the database; the identity number is sealed under the patient's key and
//! found through a blind index.

mod actions;
mod api;
mod banner;
mod care;
mod details;
mod forms;
mod identity;
mod pages;
mod phone;
mod record;
mod rules;
mod search;
mod store;
mod timeline;

pub use actions::{add, matching};
pub use banner::{Banner, BannerAlert, BannerAllergies, BannerAllergy, banner};
pub use details::{AllergyAnswer, Demographics, Details, NewAllergy};
pub use identity::{Identity, Passport, SaId, SaIdError, Sex};
pub use phone::Phone;
pub use rules::AllergyState;
pub use store::{PatientName, exists, names};

use axum::Router;
use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("patients/list.html", include_str!("list.html")),
    ("patients/find.html", include_str!("find.html")),
    ("patients/form.html", include_str!("form.html")),
    ("patients/record.html", include_str!("record.html")),
];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/patients", get(pages::list).post(pages::create))
        .route("/patients/find", get(pages::find))
        .route("/patients/new", get(pages::new))
        .route("/patients/{id}", get(record::show))
        .route("/patients/{id}/edit", get(record::edit).post(record::save))
        .route("/patients/{id}/identity", get(record::identity))
        .route("/patients/{id}/allergies", post(care::add_allergy))
        .route(
            "/patients/{id}/allergies/none",
            post(care::no_known_allergies),
        )
        .route(
            "/patients/{id}/allergies/{allergy}/end",
            post(care::end_allergy),
        )
        .route("/patients/{id}/alerts", post(care::add_alert))
        .route("/patients/{id}/alerts/{alert}/end", post(care::end_alert))
}

/// JSON API of this room.
pub fn api_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::list, api::create))
        .routes(routes!(api::read))
}

/// `H-00482`.
fn file_number(number: i32) -> String {
    format!("H-{number:05}")
}

#[cfg(test)]
crate::web::page_samples!(
    pages::ListPage,
    pages::FindFragment,
    pages::FormPage,
    record::RecordPage
);
