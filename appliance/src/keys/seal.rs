//! Sealing and opening bytes under one key.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

const VERSION: u8 = 1;

/// Why sealed bytes did not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Too short or of an unknown version.
    #[error("sealed bytes are cut short or of an unknown version")]
    Form,
    /// Wrong key, wrong place, or changed bytes.
    #[error("sealed bytes do not open: wrong key, wrong place or changed bytes")]
    Open,
    /// Opened, but not the text or JSON expected.
    #[error("sealed bytes hold something else than expected")]
    Content,
}

/// Where sealed bytes belong: bound into them.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Table and column, such as `note_versions.body`.
    pub column: &'static str,
    /// The row.
    pub row: Uuid,
    /// The row's version, 0 where it has none.
    pub version: i32,
}

impl Place {
    /// A place in a row without versions.
    #[must_use]
    pub fn new(column: &'static str, row: Uuid) -> Self {
        Self {
            column,
            row,
            version: 0,
        }
    }

    /// The same place in one version of the row.
    #[must_use]
    pub fn version(self, version: i32) -> Self {
        Self { version, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.column.as_bytes().to_vec();
        bytes.push(0);
        bytes.extend_from_slice(self.row.as_bytes());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes
    }
}

/// A 256-bit key, wiped from memory when dropped.
pub(super) type Secret = Zeroizing<[u8; 32]>;

pub(super) fn random_secret() -> Secret {
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(&mut key[..]);
    key
}

pub(super) fn seal(key: &Secret, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; 12];
    rand::fill(&mut nonce);
    let cipher = Aes256Gcm::new_from_slice(&key[..]).map_err(|_| SealError::Form)?;
    let sealed = cipher
        .encrypt(
            &Nonce::from(nonce),
            Payload {
                msg: plain,
                aad: place,
            },
        )
        .map_err(|_| SealError::Form)?;
    let mut bytes = Vec::with_capacity(13 + sealed.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

pub(super) fn open(
    key: &Secret,
    place: &[u8],
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (&version, rest) = bytes.split_first().ok_or(SealError::Form)?;
    if version != VERSION {
        return Err(SealError::Form);
    }
    let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or(SealError::Form)?;
    let cipher = Aes256Gcm::new_from_slice(&key[..]).map_err(|_| SealError::Form)?;
    cipher
        .decrypt(
            &Nonce::from(*nonce),
            Payload {
                msg: sealed,
                aad: place,
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| SealError::Open)
}

/// A patient's own key.
pub struct PatientKey(pub(super) Secret);

impl std::fmt::Debug for PatientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PatientKey(…)")
    }
}

impl PatientKey {
    /// Seals text for its place.
    ///
    /// # Errors
    /// Only when the cipher itself refuses (longer than 64 GiB).
    pub fn seal_text(&self, place: Place, text: &str) -> Result<Vec<u8>, SealError> {
        seal(&self.0, &place.bytes(), text.as_bytes())
    }

    /// Opens text at its place.
    ///
    /// # Errors
    /// [`SealError`] when the bytes are not what was sealed there under this key.
    pub fn open_text(&self, place: Place, bytes: &[u8]) -> Result<String, SealError> {
        let plain = open(&self.0, &place.bytes(), bytes)?;
        std::str::from_utf8(&plain)
            .map(str::to_owned)
            .map_err(|_| SealError::Content)
    }

    /// Seals a value as JSON.
    ///
    /// # Errors
    /// When the value can't be written as JSON.
    pub fn seal_json(
        &self,
        place: Place,
        value: &impl serde::Serialize,
    ) -> Result<Vec<u8>, SealError> {
        let plain = Zeroizing::new(serde_json::to_vec(value).map_err(|_| SealError::Content)?);
        seal(&self.0, &place.bytes(), &plain)
    }

    /// Opens a value sealed as JSON.
    ///
    /// # Errors
    /// [`SealError`] as for text, or when the JSON is of another form.
    pub fn open_json<T: serde::de::DeserializeOwned>(
        &self,
        place: Place,
        bytes: &[u8],
    ) -> Result<T, SealError> {
        let plain = open(&self.0, &place.bytes(), bytes)?;
        serde_json::from_slice(&plain).map_err(|_| SealError::Content)
    }
}

/// A keyed hash that lets equal values be found without opening them.
pub(super) fn blind(key: &Secret, purpose: &str, value: &str) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac =
        <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&key[..]).expect("HMAC takes any key");
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(value.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_its_key_at_its_place() {
        let (key, other) = (PatientKey(random_secret()), PatientKey(random_secret()));
        let place = Place::new("note_versions.body", Uuid::now_v7()).version(3);
        let sealed = key
            .seal_text(place, "Ndi khou ṱoḓa u vhona dokotela 🦵")
            .unwrap();
        assert_eq!(
            key.open_text(place, &sealed).unwrap(),
            "Ndi khou ṱoḓa u vhona dokotela 🦵"
        );
        assert_eq!(other.open_text(place, &sealed), Err(SealError::Open));
        assert_eq!(
            key.open_text(place.version(4), &sealed),
            Err(SealError::Open)
        );
        assert_eq!(
            key.open_text(
                Place {
                    column: "drafts.body",
                    ..place
                },
                &sealed
            ),
            Err(SealError::Open)
        );
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(key.open_text(place, &changed).is_err(), "byte {i}");
        }
    }
}
