//! `token create`: asks the box for an API token.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Outcome;
use crate::admin::Socket;
use crate::place::Place;

/// Prints the token as the last line.
///
/// # Errors
/// When the box can't be reached or refuses.
pub async fn create(place: &Place, user: &str, scope: &str) -> Result<Outcome> {
    let answer = Socket::new(place.admin_socket())
        .post("/tokens", &json!({ "user": user, "scope": scope }))
        .await?;
    let token = answer
        .get("token")
        .and_then(Value::as_str)
        .context("the answer holds no token")?;
    eprintln!("A token for {user}. It is not stored and can't be shown again:");
    println!("{token}");
    Ok(Outcome::Good)
}
