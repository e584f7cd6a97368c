//! The practice itself: who works there, when and in which room, and which kinds of session it gives.

mod api;
mod details;
mod practice;
mod start;
mod store;

pub use details::Details;
pub use practice::{Discipline, Practice, Practitioner, Room, SessionType, WorkingHours};
pub use start::Start;
pub use store::{
    has_rooms, practice, practitioners, practitioners_ever, session_types, working_hours,
};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("practices/start.html", include_str!("start.html")),
    ("practices/details.html", include_str!("details.html")),
];

/// The JSON API of this room.
pub fn api_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(api::list_practitioners))
}
