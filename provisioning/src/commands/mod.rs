//! One file a command.

pub mod audit;
pub mod certificate;
pub mod doctor;
pub mod init;
pub mod model;
pub mod recovery;
pub mod token;

/// How a command that could be carried out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Good,
    /// The command was to check something, and found a fault.
    Fault,
}
