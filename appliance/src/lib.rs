//! The practice: web pages, JSON API and background work of a Hadada box.
//!
//! One line a room, in dependency order: a room may use those above it, never those below. (Blank lines keep the
//! formatter from sorting them.)

// What everything stands on.

pub mod clock;

pub mod version;

pub mod config;

pub mod error;

pub mod telemetry;

pub mod ids;

pub mod money;

pub mod db;

pub mod keys;

pub mod inference;

// Machinery shared by the rooms.

pub mod web;

pub mod api;

pub mod audit;

// The rooms.

pub mod accounts;

pub mod practices;

pub mod settings;

pub mod patients;

pub mod appointments;

pub mod drafting;

pub mod encounters;

pub mod billing;

pub mod erasure;

pub mod outbox;

pub mod remote;

pub mod watch;

pub mod status;

pub mod trust;

pub mod setup;

pub mod demo;

// What puts them together.

pub mod app;

pub mod lifecycle;

#[cfg(test)]
mod samples;
