//! The practice's settings: its details, who works there and signs in, rooms, and session types. Nothing is deleted: what has been used by a
//! booking is ended and can be brought back.

mod account_forms;
mod accounts;
mod forms;
mod hours;
mod overview;
mod practice;
mod rooms;
mod session_types;
mod store;
mod therapist_forms;
mod therapists;
mod type_forms;
mod types_store;

use axum::Router;
use axum::routing::{get, post};

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("settings/parts.html", include_str!("parts.html")),
    ("settings/overview.html", include_str!("overview.html")),
    ("settings/practice.html", include_str!("practice.html")),
    ("settings/room.html", include_str!("room.html")),
    (
        "settings/session_type.html",
        include_str!("session_type.html"),
    ),
    ("settings/therapist.html", include_str!("therapist.html")),
    ("settings/account.html", include_str!("account.html")),
    ("settings/one_time.html", include_str!("one_time.html")),
];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/settings", get(overview::show))
        .route(
            "/settings/practice",
            get(practice::edit).post(practice::save),
        )
        .route("/settings/rooms", post(rooms::create))
        .route("/settings/rooms/new", get(rooms::new))
        .route("/settings/rooms/{id}", get(rooms::edit).post(rooms::save))
        .route("/settings/rooms/{id}/end", post(rooms::end))
        .route("/settings/rooms/{id}/back", post(rooms::back))
        .route("/settings/session-types", post(session_types::create))
        .route("/settings/session-types/new", get(session_types::new))
        .route(
            "/settings/session-types/{id}",
            get(session_types::edit).post(session_types::save),
        )
        .route("/settings/session-types/{id}/end", post(session_types::end))
        .route(
            "/settings/session-types/{id}/back",
            post(session_types::back),
        )
        .route("/settings/therapists", post(therapists::create))
        .route("/settings/therapists/new", get(therapists::new))
        .route(
            "/settings/therapists/{id}",
            get(therapists::edit).post(therapists::save),
        )
        .route("/settings/therapists/{id}/end", post(therapists::end))
        .route("/settings/therapists/{id}/back", post(therapists::back))
        .route("/settings/accounts", post(accounts::create))
        .route("/settings/accounts/new", get(accounts::new))
        .route(
            "/settings/accounts/{id}",
            get(accounts::edit).post(accounts::save),
        )
        .route("/settings/accounts/{id}/end", post(accounts::end))
        .route("/settings/accounts/{id}/back", post(accounts::back))
        .route("/settings/accounts/{id}/password", post(accounts::password))
}

#[cfg(test)]
crate::web::page_samples!(
    overview::OverviewPage,
    practice::PracticePage,
    rooms::RoomPage,
    session_types::SessionTypePage,
    therapist_forms::TherapistPage,
    account_forms::AccountPage,
    account_forms::OneTimePage,
);
