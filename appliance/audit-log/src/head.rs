//! The head of the log, kept where the database can't reach it: in a file, in backups, and on the cash-up slip.
//! It is what shows that a log was cut short.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::merkle::Hash;
use crate::paper;
use crate::seal::Seal;
use crate::text;

const FORMAT: &str = "hadada-audit-head-1";
const SIGNED: &[u8] = b"hadada audit head v1\0";

/// The newest seal, in short, with a signature of its own. Its JSON is the file outside Postgres.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    format: String,
    /// The newest seal's number.
    pub seq: i64,
    /// All events sealed so far.
    pub total: i64,
    /// The newest seal's Merkle root.
    #[serde(with = "text::hex")]
    pub root: Hash,
    /// The newest seal's hash, which pins the whole chain before it.
    #[serde(with = "text::hex")]
    pub seal: Hash,
    /// When it was sealed, in microseconds since 1970 UTC.
    pub sealed_at_micros: i64,
    /// The box's Ed25519 signature over all of the above.
    #[serde(with = "text::hex")]
    pub signature: [u8; 64],
}

/// Why a head can't be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadError {
    /// It is not the JSON of a head.
    #[error("the head can't be read: {0}")]
    Unreadable(String),
    /// The box did not sign it.
    #[error("the head's signature is wrong: it was changed, or another box signed it")]
    Signature,
    /// A slip's short form has a typing error.
    #[error("\"{0}\" is not the short form of a head, such as 412-18230-7KQ2-9F4M-ZT3A-B6XD")]
    Slip(String),
}

/// Why the log in the database doesn't continue the head outside it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the head outside the database is at seal {head} ({total} events), but the database's newest seal is \
     {database}: seals were removed or replaced; run `hadadactl audit verify` before anything is sealed again"
)]
pub struct NotContinued {
    head: i64,
    total: i64,
    database: i64,
}

impl Head {
    /// The head after `seal`.
    #[must_use]
    pub fn sign(seal: &Seal, key: &SigningKey) -> Self {
        let mut head = Self {
            format: FORMAT.to_owned(),
            seq: seal.seq,
            total: seal.total,
            root: seal.root,
            seal: seal.hash(),
            sealed_at_micros: seal.sealed_at_micros,
            signature: [0; 64],
        };
        head.signature = key.sign(&head.signed_bytes()).to_bytes();
        head
    }

    /// The file's content: one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of numbers and strings always has a JSON form; an empty text would fail `from_json` loudly.
        serde_json::to_string(self)
            .map(|json| json + "\n")
            .unwrap_or_default()
    }

    /// Reads the file's content and checks that `key` signed it.
    ///
    /// # Errors
    /// When it is not a head, or not this box's.
    pub fn from_json(json: &str, key: &VerifyingKey) -> Result<Self, HeadError> {
        let head: Self =
            serde_json::from_str(json).map_err(|error| HeadError::Unreadable(error.to_string()))?;
        if head.format != FORMAT {
            return Err(HeadError::Unreadable(format!(
                "its format is \"{}\", not {FORMAT}",
                head.format
            )));
        }
        let signature = Signature::from_bytes(&head.signature);
        key.verify_strict(&head.signed_bytes(), &signature)
            .map_err(|_| HeadError::Signature)?;
        Ok(head)
    }

    /// Whether the log may go on after `newest`, the newest seal in the database. The database may be ahead by what
    /// was sealed after the file was last written, but never behind, and never different at the same number.
    ///
    /// # Errors
    /// When seals this head has seen are gone or others. Nothing may be sealed then: a new signature would cover it up.
    pub fn check_continued_by(&self, newest: Option<&Seal>) -> Result<(), NotContinued> {
        let database = newest.map_or(0, |seal| seal.seq);
        let same = newest.is_some_and(|seal| {
            seal.seq > self.seq || (seal.seq == self.seq && seal.hash() == self.seal)
        });
        if same {
            Ok(())
        } else {
            Err(NotContinued {
                head: self.seq,
                total: self.total,
                database,
            })
        }
    }

    /// The short form for paper.
    #[must_use]
    pub fn slip(&self) -> Slip {
        let mut start = [0; 10];
        start.copy_from_slice(&self.seal[..10]);
        Slip {
            seq: self.seq,
            total: self.total,
            start,
        }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIGNED.len() + 88);
        out.extend_from_slice(SIGNED);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        out.extend_from_slice(&self.root);
        out.extend_from_slice(&self.seal);
        out.extend_from_slice(&self.sealed_at_micros.to_be_bytes());
        out
    }
}

/// A head's short form, printed on the cash-up slip and typed in again years later: seal number, events so far and
/// the first 80 bits of the seal's hash as on all our paper, as `412-18230-7KQ2-9F4M-ZT3A-B6XD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slip {
    /// The seal's number.
    pub seq: i64,
    /// Events sealed up to it.
    pub total: i64,
    start: [u8; 10],
}

impl fmt::Display for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}-{}",
            self.seq,
            self.total,
            paper::encode(&self.start)
        )
    }
}

impl FromStr for Slip {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let read = || {
            let mut parts = text.trim().splitn(3, '-');
            let seq = parts.next()?.parse().ok()?;
            let total = parts.next()?.parse().ok()?;
            let start = paper::decode(parts.next()?)?.try_into().ok()?;
            Some(Self { seq, total, start })
        };
        read().ok_or_else(|| HeadError::Slip(text.to_owned()))
    }
}

/// A point of the log known from outside the database, which an export must agree with and reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// The head file, its signature checked.
    Head(Head),
    /// A cash-up slip.
    Slip(Slip),
}

impl Anchor {
    pub(crate) fn seq(&self) -> i64 {
        match self {
            Self::Head(head) => head.seq,
            Self::Slip(slip) => slip.seq,
        }
    }

    pub(crate) fn total(&self) -> i64 {
        match self {
            Self::Head(head) => head.total,
            Self::Slip(slip) => slip.total,
        }
    }

    pub(crate) fn agrees_with(&self, seal: &Seal) -> bool {
        let hash = seal.hash();
        self.total() == seal.total
            && match self {
                Self::Head(head) => head.seal == hash,
                Self::Slip(slip) => hash.starts_with(&slip.start),
            }
    }
}
