//! The practice: web pages, JSON API and background work of a Hadada box.
//!
//! One line a room, in dependency order: a room may use those above it, never those below.

// What everything stands on.
pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod ids;
pub mod inference;
pub mod keys;
pub mod money;

// Machinery shared by the rooms.
pub mod api;
pub mod audit;
pub mod web;

// The rooms.
pub mod accounts;
pub mod appointments;
pub mod billing;
pub mod demo;
pub mod drafting;
pub mod encounters;
pub mod patients;
pub mod practices;
pub mod status;

// What puts them together.
pub mod app;
pub mod lifecycle;
