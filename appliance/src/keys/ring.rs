//! The ring of keys in use, and the database they are kept in.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use hkdf::Hkdf;
use sha2::Sha256;
use sqlx::PgPool;
use zeroize::Zeroizing;

use super::seal::{PatientKey, SealError, Secret, blind, open, random_secret, seal};
use crate::error::Error;
use crate::ids::{PatientId, PracticeId, UserId};

/// Most patient keys kept unwrapped in memory.
const CACHE: usize = 20_000;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file is missing or has the wrong length.
    #[error("the key file {0} can't be used: {1}")]
    File(std::path::PathBuf, String),
    /// The keys database did not answer.
    #[error("the keys database did not answer: {0}")]
    Database(#[from] sqlx::Error),
    /// A wrapped key does not open under the key above it.
    #[error("a wrapped key does not open: {0}")]
    Unwrap(#[from] SealError),
    /// There is no such key: never made, or destroyed by an erasure.
    #[error("this patient's key does not exist or was destroyed")]
    Gone,
    /// The practice has no key: the database of keys is not the one that belongs to the records.
    #[error("there is no key of practice {0}")]
    NoPractice(PracticeId),
}

impl From<KeyError> for Error {
    fn from(cause: KeyError) -> Self {
        match cause {
            KeyError::Database(e) => e.into(),
            KeyError::Gone => Self::Erased,
            other => Self::internal(other),
        }
    }
}

impl From<SealError> for Error {
    fn from(cause: SealError) -> Self {
        Self::internal(cause)
    }
}

/// Gives out practice and patient keys, unwrapping them on first use.
#[derive(Clone)]
pub struct Keyring(Arc<Ring>);

struct Ring {
    keys: PgPool,
    master: Secret,
    recovery: x25519_dalek::PublicKey,
    practices: RwLock<HashMap<PracticeId, Arc<Secret>>>,
    patients: RwLock<HashMap<(PracticeId, PatientId), Arc<PatientKey>>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(…)")
    }
}

pub(super) fn read_key(path: &std::path::Path) -> Result<Secret, KeyError> {
    let bytes = Zeroizing::new(
        std::fs::read(path).map_err(|e| KeyError::File(path.into(), e.to_string()))?,
    );
    let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        KeyError::File(path.into(), format!("it has {} bytes, not 32", bytes.len()))
    })?;
    Ok(Zeroizing::new(key))
}

impl Keyring {
    /// Reads the box's master key and the public half of the recovery key.
    ///
    /// # Errors
    /// When a file is missing or has the wrong length.
    pub fn load(
        keys: PgPool,
        master: &std::path::Path,
        recovery: &std::path::Path,
    ) -> Result<Self, KeyError> {
        Ok(Self(Arc::new(Ring {
            keys,
            master: read_key(master)?,
            recovery: x25519_dalek::PublicKey::from(*read_key(recovery)?),
            practices: RwLock::default(),
            patients: RwLock::default(),
        })))
    }

    async fn scoped(
        &self,
        practice: PracticeId,
    ) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, KeyError> {
        let mut tx = self.0.keys.begin().await?;
        sqlx::query("SELECT set_config('hadada.practice_id', $1, true)")
            .bind(practice.to_string())
            .execute(&mut *tx)
            .await?;
        Ok(tx)
    }

    /// Makes a new practice's key, wrapped for the box and to the recovery key. Does nothing where one exists.
    ///
    /// # Errors
    /// When the keys database does not answer.
    pub async fn create_practice(&self, practice: PracticeId) -> Result<(), KeyError> {
        let key = random_secret();
        let wrapped = seal(&self.0.master, &place("practice", practice.0), &key[..])?;
        let recovery = wrap_to_recovery(&self.0.recovery, practice, &key)?;
        let mut tx = self.scoped(practice).await?;
        sqlx::query("INSERT INTO practice_keys (practice_id, wrapped, recovery_wrapped) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(practice)
            .bind(wrapped)
            .bind(recovery)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn practice_key(&self, practice: PracticeId) -> Result<Arc<Secret>, KeyError> {
        if let Some(key) = self
            .0
            .practices
            .read()
            .ok()
            .and_then(|keys| keys.get(&practice).cloned())
        {
            return Ok(key);
        }
        let mut tx = self.scoped(practice).await?;
        let row: Option<(Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT wrapped, previous_wrapped FROM practice_keys WHERE practice_id = $1",
        )
        .bind(practice)
        .fetch_optional(&mut *tx)
        .await?;
        let (wrapped, previous) = row.ok_or(KeyError::NoPractice(practice))?;
        let key = Arc::new(unwrap_practice(
            &self.0.master,
            practice,
            &wrapped,
            previous.as_deref(),
        )?);
        if let Ok(mut keys) = self.0.practices.write() {
            keys.insert(practice, key.clone());
        }
        Ok(key)
    }

    /// Makes and stores a new patient's key. Comes before the patient's row: a key without a patient does no harm.
    ///
    /// # Errors
    /// When the keys database does not answer.
    pub async fn create_patient(
        &self,
        practice: PracticeId,
        patient: PatientId,
    ) -> Result<Arc<PatientKey>, KeyError> {
        let above = self.practice_key(practice).await?;
        let key = random_secret();
        let wrapped = seal(&above, &place("patient", patient.0), &key[..])?;
        let mut tx = self.scoped(practice).await?;
        sqlx::query(
            "INSERT INTO patient_keys (practice_id, patient_id, wrapped) VALUES ($1, $2, $3)",
        )
        .bind(practice)
        .bind(patient)
        .bind(wrapped)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let key = Arc::new(PatientKey(key));
        self.remember(practice, patient, &key);
        Ok(key)
    }

    /// A patient's key.
    ///
    /// # Errors
    /// [`KeyError::Gone`] when it was destroyed, or the keys database does not answer.
    pub async fn patient(
        &self,
        practice: PracticeId,
        patient: PatientId,
    ) -> Result<Arc<PatientKey>, KeyError> {
        if let Some(key) = self
            .0
            .patients
            .read()
            .ok()
            .and_then(|keys| keys.get(&(practice, patient)).cloned())
        {
            return Ok(key);
        }
        let above = self.practice_key(practice).await?;
        let mut tx = self.scoped(practice).await?;
        let wrapped: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT wrapped FROM patient_keys WHERE practice_id = $1 AND patient_id = $2",
        )
        .bind(practice)
        .bind(patient)
        .fetch_optional(&mut *tx)
        .await?;
        let key = unwrap_key(
            &above,
            &place("patient", patient.0),
            &wrapped.ok_or(KeyError::Gone)?,
        )?;
        let key = Arc::new(PatientKey(key));
        self.remember(practice, patient, &key);
        Ok(key)
    }

    /// Destroys a patient's key, so that nothing sealed under it opens ever again. Gives whether there was one.
    ///
    /// # Errors
    /// When the keys database does not answer.
    pub async fn destroy_patient(
        &self,
        practice: PracticeId,
        patient: PatientId,
    ) -> Result<bool, KeyError> {
        let mut tx = self.scoped(practice).await?;
        let gone =
            sqlx::query("DELETE FROM patient_keys WHERE practice_id = $1 AND patient_id = $2")
                .bind(practice)
                .bind(patient)
                .execute(&mut *tx)
                .await?;
        tx.commit().await?;
        if let Ok(mut keys) = self.0.patients.write() {
            keys.remove(&(practice, patient));
        }
        Ok(gone.rows_affected() > 0)
    }

    fn remember(&self, practice: PracticeId, patient: PatientId, key: &Arc<PatientKey>) {
        if let Ok(mut keys) = self.0.patients.write() {
            if keys.len() >= CACHE {
                keys.clear();
            }
            keys.insert((practice, patient), key.clone());
        }
    }

    /// The key under which a user's browser keeps unsent text: 32 bytes as Base64. It outlives the session, so that a copy
    /// kept by a crashed browser opens at that user's next sign-in, and for nobody else. It outlives the box's master key and
    /// the box too: it comes from the practice's.
    ///
    /// # Errors
    /// When the practice's key can't be had.
    pub async fn local_copy_key(
        &self,
        practice: PracticeId,
        user: UserId,
    ) -> Result<String, KeyError> {
        use base64::Engine;
        let key = self
            .blind_index(practice, "local copy", &user.to_string())
            .await?;
        Ok(base64::engine::general_purpose::STANDARD.encode(key))
    }

    /// The one-time password that an admin's form gives somebody: 58 bits, such as `k7qm-2f9d-xw4t`. The same form gives the
    /// same one, so that a form that was sent twice shows the password that was stored.
    #[must_use]
    pub fn one_time_password(&self, admin: UserId, form: uuid::Uuid) -> String {
        // Without 0, o, 1, l, i and u, which are misread or make words.
        const LETTERS: &[u8; 30] = b"23456789abcdefghjkmnpqrstvwxyz";
        let bytes = blind(
            &self.0.master,
            "one-time password",
            &format!("{admin}:{form}"),
        );
        let letters: Vec<char> = bytes
            .iter()
            // Bytes beyond a multiple of 30 would make some letters likelier; those left over are enough.
            .filter(|b| **b < 240)
            .take(12)
            .map(|b| char::from(LETTERS[usize::from(*b) % LETTERS.len()]))
            .collect();
        letters
            .chunks(4)
            .map(|group| group.iter().collect::<String>())
            .collect::<Vec<_>>()
            .join("-")
    }

    /// A blind index of a value, the same for equal values within a practice.
    ///
    /// # Errors
    /// When the practice's key can't be had.
    pub async fn blind_index(
        &self,
        practice: PracticeId,
        purpose: &str,
        value: &str,
    ) -> Result<Vec<u8>, KeyError> {
        Ok(blind(&*self.practice_key(practice).await?, purpose, value))
    }
}

pub(super) fn place(kind: &str, id: uuid::Uuid) -> Vec<u8> {
    let mut bytes = kind.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(id.as_bytes());
    bytes
}

/// A practice's key, wrapped by this master key or, while another takes its place, by the one before or after it.
pub(super) fn unwrap_practice(
    master: &Secret,
    practice: PracticeId,
    wrapped: &[u8],
    previous: Option<&[u8]>,
) -> Result<Secret, KeyError> {
    let at = place("practice", practice.0);
    match (unwrap_key(master, &at, wrapped), previous) {
        (Err(_), Some(previous)) => unwrap_key(master, &at, previous),
        (unwrapped, _) => unwrapped,
    }
}

pub(super) fn unwrap_key(above: &Secret, place: &[u8], wrapped: &[u8]) -> Result<Secret, KeyError> {
    let plain = open(above, place, wrapped)?;
    let key: [u8; 32] = plain
        .as_slice()
        .try_into()
        .map_err(|_| SealError::Content)?;
    Ok(Zeroizing::new(key))
}

/// The wrapping key that both sides of an exchange come to.
fn recovery_wrapping(
    public: &x25519_dalek::PublicKey,
    shared: &x25519_dalek::SharedSecret,
) -> Result<Secret, KeyError> {
    let mut wrapping = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(public.as_bytes()), shared.as_bytes())
        .expand(b"hadada recovery v1", &mut wrapping[..])
        .map_err(|_| SealError::Form)?;
    Ok(wrapping)
}

/// ECIES: an ephemeral X25519 key, HKDF-SHA-256, AES-256-GCM. `ephemeral public (32) ‖ sealed`.
pub(super) fn wrap_to_recovery(
    recovery: &x25519_dalek::PublicKey,
    practice: PracticeId,
    key: &Secret,
) -> Result<Vec<u8>, KeyError> {
    let ephemeral = x25519_dalek::StaticSecret::from(*random_secret());
    let public = x25519_dalek::PublicKey::from(&ephemeral);
    let wrapping = recovery_wrapping(&public, &ephemeral.diffie_hellman(recovery))?;
    let mut bytes = public.as_bytes().to_vec();
    bytes.extend(seal(&wrapping, &place("practice", practice.0), &key[..])?);
    Ok(bytes)
}

/// Opens what [`wrap_to_recovery`] wrapped.
pub(super) fn open_recovery(
    practice: PracticeId,
    secret: &x25519_dalek::StaticSecret,
    bytes: &[u8],
) -> Result<Secret, KeyError> {
    let (public, sealed) = bytes.split_first_chunk::<32>().ok_or(SealError::Form)?;
    let public = x25519_dalek::PublicKey::from(*public);
    let wrapping = recovery_wrapping(&public, &secret.diffie_hellman(&public))?;
    unwrap_key(&wrapping, &place("practice", practice.0), sealed)
}
