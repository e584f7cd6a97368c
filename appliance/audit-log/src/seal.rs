//! A seal: the signed root over one batch of events, chained to the seal before it.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::merkle::{Hash, merkle_root};
use crate::text;

/// What `previous` holds in the first seal.
pub const NO_SEAL_BEFORE: Hash = [0; 32];

const SIGNED: &[u8] = b"hadada audit seal v1\0";
const HASHED: &[u8] = b"hadada audit seal hash v1\0";

/// The record of one event in a sealed batch; its place in the batch is its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    /// The event.
    pub event_id: Uuid,
    /// Its [`leaf_hash`](crate::Event::leaf_hash).
    pub hash: Hash,
}

/// One batch's signed root. `previous` makes the seals a chain: none can be left out or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// 1 for the first seal, then without gaps.
    pub seq: i64,
    /// Events in this batch, at least one.
    pub count: i32,
    /// Events in this batch and all before it.
    pub total: i64,
    /// The Merkle root over the batch.
    #[serde(with = "text::hex")]
    pub root: Hash,
    /// The hash of the seal before; zeros in the first.
    #[serde(with = "text::hex")]
    pub previous: Hash,
    /// When it was sealed, in microseconds since 1970 UTC.
    pub sealed_at_micros: i64,
    /// The box's Ed25519 signature over all of the above.
    #[serde(with = "text::hex")]
    pub signature: [u8; 64],
}

/// Why a batch can't be sealed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// A seal covers at least one event.
    #[error("there is nothing to seal")]
    Empty,
    /// The count has 31 bits; batches are seconds of work, not millions of events.
    #[error("{0} events are too many for one seal")]
    TooMany(usize),
    /// An event was put into the batch twice.
    #[error("event {0} is in the batch twice")]
    Twice(Uuid),
}

impl Seal {
    /// Seals a batch after the seal `previous`. Puts `leaves` into the order of the batch, which is ascending by event
    /// id: store each with its place in the list as its position.
    ///
    /// # Errors
    /// When the batch is empty, too large, or holds an event twice.
    pub fn sign(
        previous: Option<&Seal>,
        leaves: &mut [Leaf],
        sealed_at_micros: i64,
        key: &SigningKey,
    ) -> Result<Self, SealError> {
        if leaves.is_empty() {
            return Err(SealError::Empty);
        }
        let count = i32::try_from(leaves.len()).map_err(|_| SealError::TooMany(leaves.len()))?;
        leaves.sort_unstable();
        if let Some([twice, _]) = leaves
            .array_windows()
            .find(|[a, b]| a.event_id == b.event_id)
        {
            return Err(SealError::Twice(twice.event_id));
        }
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf.hash).collect();
        let mut seal = Self {
            seq: previous.map_or(0, |seal| seal.seq) + 1,
            count,
            total: previous.map_or(0, |seal| seal.total) + i64::from(count),
            root: merkle_root(&hashes),
            previous: previous.map_or(NO_SEAL_BEFORE, Seal::hash),
            sealed_at_micros,
            signature: [0; 64],
        };
        seal.signature = key.sign(&seal.signed_bytes()).to_bytes();
        Ok(seal)
    }

    /// Whether `key` signed exactly these fields.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&self.signed_bytes(), &signature).is_ok()
    }

    /// The hash the next seal holds as `previous`: over the signed fields and the signature.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Sha256::new()
            .chain_update(HASHED)
            .chain_update(self.signed_bytes())
            .chain_update(self.signature)
            .finalize()
            .into()
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIGNED.len() + 92);
        out.extend_from_slice(SIGNED);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        out.extend_from_slice(&self.root);
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&self.sealed_at_micros.to_be_bytes());
        out
    }
}
