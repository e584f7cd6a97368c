//! Drafting: turns a source text into note sentences that each show where they come from.
//!
//! Pure: no database, no network. The caller gives the model and the embeddings through [`draft::Writer`] and
//! [`draft::Embedder`].

pub mod check;
pub mod statements;
