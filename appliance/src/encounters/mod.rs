//! Visits and their notes: autosave, AI drafts, signing, addenda, outcome scores.
//!
//! A visit is opened from a booking. Its note is a chain of sealed versions; the clinician's own lines and drafts stand
//! beside it, and only what the clinician took over and signed is the record.

mod api;
mod draft;
mod draft_store;
pub mod measures;
mod model;
mod note;
mod pages;
mod scores;
mod store;
mod stream;
mod trend;
mod view;
mod visit;

pub use draft::Running;
pub use model::Model;
pub use note::{Decision, Note, NoteChange, SECTION_LIMIT, SOURCE_LIMIT};
pub use visit::{NoteView, Signature, Version, Visit, Writer, open};

use axum::Router;
use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("encounters/visit.html", include_str!("visit.html")),
    ("encounters/trends.html", include_str!("trends.html")),
    ("encounters/score.html", include_str!("score.html")),
    ("encounters/notes.html", include_str!("notes.html")),
    ("encounters/print.html", include_str!("print.html")),
    ("encounters/sentence.html", include_str!("sentence.html")),
    (
        "encounters/statements.html",
        include_str!("statements.html"),
    ),
    ("encounters/unused.html", include_str!("unused.html")),
];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/notes", get(pages::notes))
        .route("/encounters", post(pages::open))
        .route("/encounters/{id}", get(pages::show))
        .route("/encounters/{id}/print", get(pages::print))
        .route("/encounters/{id}/note", get(pages::note).put(pages::save))
        .route("/encounters/{id}/draft", post(pages::draft))
        .route("/encounters/{id}/sign", post(pages::sign))
        .route("/encounters/{id}/addenda", post(pages::add_addendum))
        .route("/encounters/{id}/scores", post(scores::add_score))
        .route("/encounters/{id}/scores/new", get(scores::new_score))
}

/// The JSON API of this room.
pub fn api_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::list, api::create))
        .routes(routes!(api::get))
        .routes(routes!(api::note, api::put_note))
        .routes(routes!(api::sign))
        .routes(routes!(api::draft))
}

#[cfg(test)]
crate::web::page_samples!(
    view::VisitPage,
    view::PrintPage,
    view::NotesPage,
    scores::ScoreForm,
    view::TrendsPart,
    view::SentencePart,
    view::StatementsPart,
    view::UnusedPart
);
