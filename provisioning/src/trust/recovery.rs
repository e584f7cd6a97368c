//! The recovery key: an X25519 key pair whose secret half exists on paper only. The practice keys are wrapped to its
//! public half, so that a dead board loses nothing.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hadada_audit_log::paper;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const CHECKED: &[u8] = b"hadada recovery key v1\0";
/// What the secret that opens the backups is derived under. Never change it: paper in safes depends on it.
const BACKUP: &[u8] = b"hadada recovery backup v1";
const ESCROW: &[u8] = b"hadada recovery escrow v1";

/// The secret half.
pub struct RecoveryKey(StaticSecret);

/// Why a typed-in recovery key can't be right.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum WrongKey {
    /// It has other letters or another length than any recovery key.
    #[error(
        "a recovery key is 14 groups of four letters and digits; this has others, or more or fewer"
    )]
    Form,
    /// Its checksum says that it was mistyped.
    #[error("this recovery key has a typing error: its checksum doesn't match")]
    Checksum,
}

impl RecoveryKey {
    /// Makes the key from 32 random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(StaticSecret::from(random))
    }

    /// What may be stored on the box.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// The secret that opens the backups. The box keeps it too, to let this paper open each new backup; it does not lead
    /// back to the recovery key, nor to what is wrapped to that.
    pub fn backup_secret(&self) -> Zeroizing<[u8; 32]> {
        derive(None, self.0.as_bytes(), BACKUP)
    }

    /// Opens what [`seal_to`] sealed under this name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (ephemeral, rest) = sealed.split_first_chunk::<32>()?;
        let shared = self.0.diffie_hellman(&PublicKey::from(*ephemeral));
        let key = derive(Some(ephemeral), shared.as_bytes(), ESCROW);
        // Each key seals one message only, so the nonce may be fixed.
        Aes256Gcm::new_from_slice(&key[..])
            .ok()?
            .decrypt(
                &Nonce::from([0; 12]),
                Payload {
                    msg: rest,
                    aad: name.as_bytes(),
                },
            )
            .ok()
            .map(Zeroizing::new)
    }

    /// What goes on paper: the 32 bytes and a checksum of three, as 14 groups of four.
    pub fn to_paper(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(self.0.to_bytes().to_vec());
        bytes.extend(checksum(self.0.as_bytes()));
        Zeroizing::new(paper::encode(&bytes))
    }

    /// Reads it from paper again.
    ///
    /// # Errors
    /// When it is not a recovery key, or was mistyped.
    pub fn from_paper(text: &str) -> Result<Self, WrongKey> {
        let bytes = Zeroizing::new(paper::decode(text).ok_or(WrongKey::Form)?);
        let (secret, check) = bytes.split_first_chunk::<32>().ok_or(WrongKey::Form)?;
        match check.len() {
            3 if check == checksum(secret) => Ok(Self::new(*secret)),
            3 => Err(WrongKey::Checksum),
            _ => Err(WrongKey::Form),
        }
    }
}

/// Seals a secret so that only the recovery key on paper opens it: an ephemeral X25519 key, HKDF-SHA-256, AES-256-GCM.
/// `random` is used once.
pub fn seal_to(public: &[u8; 32], random: [u8; 32], name: &str, secret: &[u8]) -> Option<Vec<u8>> {
    let ephemeral = StaticSecret::from(random);
    let own = PublicKey::from(&ephemeral).to_bytes();
    let shared = ephemeral.diffie_hellman(&PublicKey::from(*public));
    let key = derive(Some(&own), shared.as_bytes(), ESCROW);
    let sealed = Aes256Gcm::new_from_slice(&key[..])
        .ok()?
        .encrypt(
            &Nonce::from([0; 12]),
            Payload {
                msg: secret,
                aad: name.as_bytes(),
            },
        )
        .ok()?;
    let mut bytes = own.to_vec();
    bytes.extend(sealed);
    Some(bytes)
}

/// HKDF-SHA-256 to 32 bytes.
pub fn derive(salt: Option<&[u8]>, secret: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    // It refuses only what is longer than 8 kB.
    let _ = Hkdf::<Sha256>::new(salt, secret).expand(label, &mut key[..]);
    key
}

fn checksum(secret: &[u8; 32]) -> [u8; 3] {
    let hash = Sha256::new()
        .chain_update(CHECKED)
        .chain_update(secret)
        .finalize();
    [hash[0], hash[1], hash[2]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn paper_brings_the_same_key_back(secret: [u8; 32]) {
            let key = RecoveryKey::new(secret);
            let read = RecoveryKey::from_paper(&key.to_paper().replace('-', " ").to_lowercase()).ok().unwrap();
            prop_assert_eq!(read.public(), key.public());
        }

        #[test]
        fn one_wrong_letter_is_noticed(secret: [u8; 32], place in 0_usize..69, letter in "[0-9A-HJKMNP-TV-Z]") {
            let mut paper = RecoveryKey::new(secret).to_paper().to_string();
            prop_assume!(&paper[place..=place] != "-" && paper[place..=place] != letter);
            paper.replace_range(place..=place, &letter);
            prop_assert_eq!(RecoveryKey::from_paper(&paper).err(), Some(WrongKey::Checksum));
        }
    }

    #[test]
    fn what_is_sealed_to_paper_opens_by_it_alone() {
        let (key, other) = (RecoveryKey::new([5; 32]), RecoveryKey::new([6; 32]));
        let sealed = seal_to(&key.public(), [7; 32], "audit.key", b"secret").unwrap();
        assert_eq!(
            key.open("audit.key", &sealed).unwrap().as_slice(),
            b"secret"
        );
        assert!(key.open("ca.key", &sealed).is_none());
        assert!(other.open("audit.key", &sealed).is_none());
    }

    #[test]
    fn a_paper_opens_the_backups_it_always_opened() {
        // A changed label would turn every paper in a safe into waste.
        let hex = hex::encode(*RecoveryKey::new([5; 32]).backup_secret());
        assert_eq!(
            hex,
            "357dfe12059675854537d5ff7c31e906b93db0f58e630adf96308b8746df9e8d"
        );
    }

    #[test]
    fn a_lost_group_is_noticed() {
        let paper = RecoveryKey::new([5; 32]).to_paper();
        assert_eq!(
            RecoveryKey::from_paper(&paper[5..]).err(),
            Some(WrongKey::Form)
        );
        assert_eq!(
            RecoveryKey::from_paper(&paper[10..]).err(),
            Some(WrongKey::Form)
        );
    }
}
