//! One audit event, and the exact bytes of it that are hashed.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::merkle::Hash;
use crate::text;

/// The version of the canonical form; it is the first byte hashed, so a later form can never collide with this one.
const VERSION: u8 = 1;

/// Who did what to which record, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// A version 7 UUID; leaves of a batch are ordered by it.
    pub id: Uuid,
    /// The practice whose data was touched.
    pub practice_id: Uuid,
    /// When, in microseconds since 1970 UTC.
    pub at_micros: i64,
    /// A user's id, or `system`.
    pub actor: String,
    /// What was done: `read`, `search`, `create`, `update`, `refuse`, …
    pub action: String,
    /// The FHIR resource type it was done to, such as `Patient`.
    pub entity: String,
    /// The record it was done to; none for a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<Uuid>,
    /// The patient the record is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient_id: Option<Uuid>,
    /// Why, in words, for instance the purpose of an emergency access.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The ids a list showed, in the order it showed them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Uuid>,
    /// Old and new values of a write, as ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// The old and new values of a write. Only their hash is part of an event's proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The values, encrypted under the patient's key.
    Ciphertext(#[serde(with = "text::base64")] Vec<u8>),
    /// What is left after the ciphertext was erased: its SHA-256.
    Erased(#[serde(with = "text::hex")] Hash),
}

impl Change {
    /// SHA-256 of the ciphertext, the same before and after an erasure.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Ciphertext(bytes) => Sha256::digest(bytes).into(),
            Self::Erased(hash) => *hash,
        }
    }
}

impl Event {
    /// The canonical bytes: a version byte, then each field in the order of the struct. Numbers are big-endian;
    /// text and lists are preceded by their length as 64 bits; optional fields by one byte, 0 or 1.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192 + 16 * self.shown.len());
        out.push(VERSION);
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(self.practice_id.as_bytes());
        out.extend_from_slice(&self.at_micros.to_be_bytes());
        for field in [&self.actor, &self.action, &self.entity] {
            push_bytes(&mut out, field.as_bytes());
        }
        push_option(&mut out, self.entity_id.as_ref().map(Uuid::as_bytes));
        push_option(&mut out, self.patient_id.as_ref().map(Uuid::as_bytes));
        push_bytes(&mut out, self.reason.as_bytes());
        push_length(&mut out, self.shown.len());
        for id in &self.shown {
            out.extend_from_slice(id.as_bytes());
        }
        push_option(&mut out, self.change.as_ref().map(Change::hash).as_ref());
        out
    }

    /// The event's leaf in its batch's Merkle tree: SHA-256 of a zero byte and the canonical bytes (RFC 6962, 2.1).
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        Sha256::new()
            .chain_update([0])
            .chain_update(self.canonical())
            .finalize()
            .into()
    }
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u64).to_be_bytes());
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn push_option<const N: usize>(out: &mut Vec<u8>, bytes: Option<&[u8; N]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
    }
}
