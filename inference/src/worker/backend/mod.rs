//! What runs a model. A backend owns the weights and the keys and values; the engine decides which rows it computes.

pub mod cpu;
#[cfg(test)]
mod cpu_tests;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(any(test, feature = "cuda"))]
pub mod cuda_errors;
#[cfg(any(test, feature = "cuda"))]
pub mod tensors;
#[cfg(any(test, feature = "cuda"))]
pub mod tensors_check;
#[cfg(test)]
mod tensors_tests;

use crate::worker::model::config::ModelConfig;
use hadada_inference_protocol::Token;

/// Positions of a block of keys and values.
pub use hadada_kernels::KV_BLOCK;

/// One token to compute: which, and where it stands in which sequence.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The token.
    pub token: Token,
    /// Its place in its sequence; it sees the positions up to and including its own.
    pub position: usize,
    /// The blocks of its sequence's keys and values, in order.
    pub blocks: &'a [u32],
    /// Whether the logits after it are wanted.
    pub wanted: bool,
}

/// What a backend runs on, for people.
#[derive(Clone, Debug)]
pub struct Device {
    /// `cpu`, or the GPU's name.
    pub name: String,
    /// The instruction set or compute capability in use.
    pub kernels: String,
    /// Threads that compute.
    pub threads: u32,
}

/// Why a pass failed, by what helps.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The same may work later or in smaller pieces: memory ran out.
    #[error("{0}")]
    Retry(String),
    /// Only a new process helps.
    #[error("{0}")]
    Restart(String),
    /// This device is of no use now.
    #[error("{0}")]
    LeaveGpu(String),
}

/// Runs a model.
pub trait Backend {
    /// The model.
    fn config(&self) -> &ModelConfig;
    /// What it runs on.
    fn device(&self) -> Device;
    /// Memory of the weights in bytes.
    fn weight_bytes(&self) -> usize;
    /// Blocks of keys and values it has room for.
    fn blocks(&self) -> usize;
    /// How far two ways of computing the same may lie apart: 0 where they are equal bit for bit.
    fn tolerance(&self) -> f32;
    /// Compares the parts of a pass with a reference: a quantised product, attention.
    ///
    /// # Errors
    /// About the first that differs: a device that gives a wrong answer is of no use. The device's own errors as they are.
    fn check(&mut self) -> Result<(), BackendError>;
    /// Computes a pass. Rows of one sequence must be in the order of their positions, and all earlier positions be in
    /// the cache or in this pass. Gives the logits of the wanted rows, in order, one vocabulary each.
    ///
    /// # Errors
    /// When the device fails; the processor never does.
    fn forward(&mut self, rows: &[Row<'_>]) -> Result<&mut [f32], BackendError>;
}
