//! Tests of the appliance against a real Postgres. `tests/run appliance` prepares the cluster and runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

mod accounts;
mod appointments;
mod architecture;
mod audit;
mod billing;
mod drafts;
mod durability;
mod encounters;
mod erasure;
mod input;
mod keys;
mod migrations;
mod patients;
mod remote;
mod service;
mod settings;
mod setup;
mod status;
mod surface;
mod tenancy;
mod trust;
mod watch;
