//! The diary: bookings with those who take part, open time, the waiting room and the waiting list.
//!
//! That nobody is booked twice is kept by exclusion constraints in the database; the pages only warn earlier.

mod api;
mod appointment;
mod attention;
mod booking;
mod card;
mod card_pages;
mod changes;
mod class;
mod day;
mod day_view;
mod forms;
mod refusal;
mod rules;
mod slot_pages;
mod slots;
mod status;
mod store;
mod waiting;
mod waiting_pages;
mod waiting_store;

pub use appointment::{Appointment, BookedType, Kind, Participant};
pub use booking::{get, set_status};
pub use rules::Span;
pub use status::{Status, StatusRefused};

use axum::Router;
use axum::routing::{get as reads, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("appointments/day.html", include_str!("day.html")),
    ("appointments/parts.html", include_str!("parts.html")),
    ("appointments/panels.html", include_str!("panels.html")),
    ("appointments/card.html", include_str!("card.html")),
    ("appointments/new.html", include_str!("new.html")),
    ("appointments/slots.html", include_str!("slots.html")),
    (
        "appointments/slot_list.html",
        include_str!("slot_list.html"),
    ),
    ("appointments/block.html", include_str!("block.html")),
    ("appointments/cancel.html", include_str!("cancel.html")),
    (
        "appointments/participants.html",
        include_str!("participants.html"),
    ),
    (
        "appointments/waiting_new.html",
        include_str!("waiting_new.html"),
    ),
];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/day", reads(day::show))
        .route("/day/panels", reads(day::panels))
        .route("/appointments", post(forms::create))
        .route("/appointments/new", reads(forms::new))
        .route("/appointments/slots", reads(slot_pages::slots))
        .route("/appointments/blocks", post(forms::create_block))
        .route("/appointments/blocks/new", reads(forms::new_block))
        .route("/appointments/{id}/card", reads(card_pages::show_card))
        .route("/appointments/{id}/move", post(changes::move_to))
        .route("/appointments/{id}/status", post(changes::status))
        .route("/appointments/{id}/cancel", reads(changes::cancel))
        .route(
            "/appointments/{id}/participants",
            reads(changes::participants).post(changes::change_participants),
        )
        .route("/waiting-list", post(waiting_pages::create))
        .route("/waiting-list/new", reads(waiting_pages::new))
        .route("/waiting-list/{id}/book", post(waiting_pages::book))
        .route("/waiting-list/{id}/remove", post(waiting_pages::remove))
}

/// The JSON API of this room.
pub fn api_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::list_appointments, api::create_appointment))
        .routes(routes!(api::get_appointment))
}

#[cfg(test)]
crate::web::page_samples!(
    day::DayPage,
    day::PanelsPage,
    card_pages::CardPage,
    forms::NewPage,
    slot_pages::SlotsPage,
    forms::BlockPage,
    changes::CancelPage,
    changes::ParticipantsPage,
    waiting_pages::WaitingPage
);
