//! Invoices and payments: an invoice is made from a visit in one step, numbered without gaps, and paid in parts or whole.
//!
//! Nothing here is ever changed after it is written: an invoice is the practice's record of a supply (Value-Added Tax Act 89
//! of 1991, section 20).

mod api;
mod invoice;
mod issue;
mod list;
mod pages;
mod pdf;
mod rules;
mod store;

pub use invoice::{Invoice, InvoiceNumber, Line, Method, Payment, ReceiptNumber, Settlement};
pub use issue::{Issued, NewLine, Paying, Visit, balance, issue, pay};

use axum::Router;
use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::App;

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("billing/list.html", include_str!("list.html")),
    ("billing/invoice.html", include_str!("invoice.html")),
];

/// Pages of this room.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/invoices", get(list::list).post(list::create))
        .route("/invoices/{id}", get(pages::show))
        .route("/invoices/{id}/pdf", get(pdf::show))
        .route("/invoices/{id}/payments", post(pages::pay))
}

/// JSON API of this room.
pub fn api_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::create, api::list))
        .routes(routes!(api::show))
}

#[cfg(test)]
crate::web::page_samples!(list::ListPage, pages::InvoicePage);
