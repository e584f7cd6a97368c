//! Passwords: Argon2id with 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet).

use std::sync::{Arc, LazyLock};

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};

fn hasher() -> Result<Argon2<'static>> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a password for storing.
///
/// # Errors
/// When the system gives no randomness.
pub fn hash_password(password: &str) -> Result<String> {
    let hash: argon2::password_hash::phc::PasswordHash = hasher()?
        .hash_password(password.as_bytes())
        .map_err(|e| Error::internal(e.to_string()))?;
    Ok(hash.to_string())
}

/// A hash that no password fits, so that an unknown name costs as long as a known one.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash_password(&uuid::Uuid::new_v4().to_string()).unwrap_or_default());

/// Checks passwords, few at a time: each check takes 19 MiB.
#[derive(Clone, Debug)]
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(2)))
    }
}

impl Passwords {
    /// Whether the password fits the hash; with no hash it works as long and fits never.
    ///
    /// # Errors
    /// When the check could not be run.
    pub async fn fits(&self, password: String, hash: Option<String>) -> Result<bool> {
        let permit = self
            .0
            .clone()
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let text = hash.as_deref().unwrap_or(&NOBODY);
            let Ok(parsed) = PasswordHash::new(text) else {
                return Ok(false);
            };
            Ok(hasher()?
                .verify_password(password.as_bytes(), &parsed)
                .is_ok()
                && hash.is_some())
        })
        .await
        .map_err(Error::internal)?
    }
}
