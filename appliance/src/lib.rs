//! The practice.
pub mod drafting;
