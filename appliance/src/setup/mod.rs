//! The first-run wizard at `/setup`, while there is no practice: behind a one-time code from the box's console it asks for the
//! practice, the first admin, the certificate and a place for backups, and makes sure that the recovery key is on paper. What
//! needs privileges is asked of root through files (see [`request`]).

mod certificate;
mod code;
mod finish;
mod gate;
mod pages;
mod places;
mod progress;
mod recovery;
pub mod request;
mod rules;
mod store;

pub use finish::settle;
pub use gate::gate;

use axum::Router;
use axum::routing::{get, post};

use crate::web::{App, Limits};

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("setup/parts.html", include_str!("parts.html")),
    ("setup/code.html", include_str!("code.html")),
    ("setup/practice.html", include_str!("practice.html")),
    ("setup/admin.html", include_str!("admin.html")),
    ("setup/certificate.html", include_str!("certificate.html")),
    ("setup/backup.html", include_str!("backup.html")),
    ("setup/recovery.html", include_str!("recovery.html")),
    ("setup/finish.html", include_str!("finish.html")),
    ("setup/progress.html", include_str!("progress.html")),
];

/// Pages of this room.
pub fn routes(limits: &Limits) -> Router<App> {
    Router::new()
        .route(
            "/setup",
            get(code::show).post(code::enter).layer(limits.sign_in()),
        )
        .route(
            "/setup/practice",
            get(pages::practice).post(pages::save_practice),
        )
        .route("/setup/admin", get(pages::admin).post(pages::save_admin))
        .route(
            "/setup/certificate",
            get(certificate::show).post(certificate::ask),
        )
        .route("/setup/certificate/progress", get(certificate::progress))
        .route("/setup/backup", get(places::show).post(places::ask))
        .route("/setup/backup/progress", get(places::progress))
        .route("/setup/backup/confirm", post(places::confirm))
        .route("/setup/backup/skip", post(places::skip))
        .route("/setup/backup/disks", post(places::look_again))
        .route(
            "/setup/recovery",
            get(recovery::show).post(recovery::confirm),
        )
        .route("/setup/recovery/written", post(recovery::written))
        .route("/setup/recovery/again", post(recovery::again))
        .route("/setup/finish", get(finish::show).post(finish::open))
}

#[cfg(test)]
crate::web::page_samples!(
    code::CodePage,
    pages::PracticePage,
    pages::AdminPage,
    certificate::CertificatePage,
    places::BackupPage,
    recovery::RecoveryPage,
    finish::FinishPage,
    pages::ProgressFragment
);
