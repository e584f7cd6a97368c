//! The audit log's format and its verifier: what is hashed, how batches are sealed and chained, what an export
//! looks like, and how to prove offline that nothing in it was changed. No input or output happens here; the
//! appliance seals and exports with it, `hadadactl audit verify` checks with it.
//!
//! ```text
//! Event ──leaf_hash──► leaf ┐
//! Event ──leaf_hash──► leaf ├─ merkle_root ─► Seal ──signed, holds the hash of──► the Seal before it
//! Event ──leaf_hash──► leaf ┘                  │
//!                                              └► Head: count and root, kept outside the database and on paper
//! ```
//!
//! A batch holds its events in ascending order of their ids, so a changed order names the event that moved.
//! An event's old and new values enter its hash as the hash of their ciphertext: erasing a patient's ciphertext
//! later leaves every proof standing.

pub mod event;
pub mod export;
pub mod finding;
pub mod head;
pub mod merkle;
pub mod paper;
pub mod seal;
#[cfg(test)]
mod tests;
mod text;
pub mod verify;

pub use event::{Change, Event};
pub use export::ExportWriter;
pub use finding::Finding;
pub use head::{Anchor, Head, Slip};
pub use merkle::{Hash, merkle_root};
pub use seal::{Leaf, Seal, SealError};
pub use verify::{Report, Verifier};
