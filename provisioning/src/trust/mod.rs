//! Keys and certificates, worked out without touching a file, a socket or the clock.

pub mod certificates;
pub mod clients;
pub mod recovery;
