//! People who log in: passwords, sessions, lockout and tokens for programs.

mod own_password;
mod pages;
mod password;
mod people;
mod rules;
mod store;
mod tokens;

pub use password::{Passwords, hash_password};
pub use people::{
    Account, account, accounts, active_admins, change_account, give_one_time_password, hash_aside,
    one_time_fits, set_account_active, username_taken,
};
pub use rules::{password_fault, username};
pub use store::{NewUser, create_user, create_user_as};
pub use tokens::{TokenRequest, create_token};

use axum::Router;
use axum::routing::{get, post};

use crate::web::{App, Limits};

/// Templates of this room.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("accounts/login.html", include_str!("../web/login.html")),
    ("accounts/password.html", include_str!("password.html")),
];

/// Pages of this room.
pub fn routes(limits: &Limits) -> Router<App> {
    let sign_in = get(pages::show)
        .post(pages::sign_in)
        .layer(limits.sign_in());
    let own = get(own_password::show)
        .post(own_password::change)
        .layer(limits.sign_in());
    Router::new()
        .route("/login", sign_in)
        .route("/password", own)
        .route("/logout", post(pages::sign_out))
        .route("/session", get(pages::current))
}

#[cfg(test)]
crate::web::page_samples!(pages::LoginPage, own_password::PasswordPage);
