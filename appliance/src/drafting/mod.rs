//! Drafting: turns a source text into note sentences that each show where they come from.
//!
//! Pure: no database, no network. The caller brings the model through [`Writer`] and [`Embedder`].
//! The steps: [`statements`] splits, [`gate`] refuses what is not about a patient and sets orders aside, [`sort`] puts
//! statements into sections, [`write`] asks the model and reads its answer, [`check`] compares sentences with their
//! sources, and [`draft()`] joins them.

pub mod check;
pub mod draft;
pub mod evaluation;
pub mod gate;
pub mod sort;
pub mod statements;
pub mod write;

pub use check::{Flag, FlagKind};
pub use draft::{DraftEvent, Embedder, ModelError, Options, Summary, Writer, draft};
pub use gate::{Refusal, Unused};
pub use sort::{Section, Sorter};
pub use statements::{SourceError, Speaker, Statement};
pub use write::{DraftSentence, Origin, PROMPT_VERSION, WriteRequest};
