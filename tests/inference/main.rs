//! The inference daemon as its clients see it: real processes, the real model, the real socket.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod answers;
mod faults;
mod gpu;
mod greedy;
mod models;
mod network;
mod notes;
mod requantise;
mod requests;
mod sameness;
mod support;
mod watchdog;
