//! The models that can be run.

pub mod llama;
