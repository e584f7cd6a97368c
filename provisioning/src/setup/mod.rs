//! The first run: a one-time code on the console, and what the browser's pages ask of root.

mod apply;
mod code;
mod disks;
mod request;
pub mod target;

pub use apply::{GIVEN, apply};
pub use code::{OneTimeCode, prepare, show_recovery};
