//! The recovery key: an X25519 key pair whose secret half exists on paper only. The practice keys are wrapped to its
//! public half, so that a dead board loses nothing.

use hadada_audit_log::paper;
use sha2::{Digest, Sha256};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const CHECKED: &[u8] = b"hadada recovery key v1\0";

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
