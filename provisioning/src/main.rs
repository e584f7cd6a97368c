//! `hadadactl`: what the clinic's IT person runs on the box. It lays out keys and certificates, makes API tokens,
//! exports and proves the audit log, and says what is wrong and what to do.
//!
//! It never talks to the database: what touches records goes through hadada's admin socket.

mod admin;
mod backup;
mod cli;
mod commands;
mod disk;
mod facts;
mod files;
mod install;
mod network;
mod place;
mod postgres;
mod process;
mod programs;
mod release;
mod restic;
mod secrets;
mod settings;
mod setup;
mod systemctl;
mod trust;
mod update;

use std::process::ExitCode;

use clap::Parser;

/// 0: done and good. 1: a check found a fault. 2: it could not be done. 3: another is at it already.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run(time::OffsetDateTime::now_utc()).await {
        Ok(commands::Outcome::Good) => ExitCode::SUCCESS,
        Ok(commands::Outcome::Fault) => ExitCode::from(1),
        Err(error) => {
            eprintln!("hadadactl: {error:#}");
            ExitCode::from(if error.is::<backup::ledger::AtIt>() {
                3
            } else {
                2
            })
        }
    }
}
