//! One file a command.

pub mod audit;
pub mod backup;
pub mod backup_access;
pub mod backup_key;
pub mod backup_run;
pub mod backup_setup;
pub mod certificate;
pub mod disk;
pub mod doctor;
pub mod drill;
pub mod egress;
pub mod handover;
pub mod init;
pub mod install;
pub mod keys;
pub mod mail;
pub mod model;
pub mod recovery;
pub mod release;
pub mod remote;
pub mod reserve;
pub mod restore;
pub mod setup;
pub mod support;
pub mod token;
pub mod update;
pub mod wal;
pub mod watch;

/// How a command that could be carried out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Good,
    /// The command was to check something, and found a fault.
    Fault,
}
