//! Updates of a box: verified against keys the vendor's people hold, tried on a copy of the records first, switched over
//! between two slots, and taken back by themselves where the new release does not work.

pub mod counter;
pub mod crash;
pub mod database;
pub mod debian;
pub mod engine;
pub mod health;
pub mod history;
pub mod home;
pub mod journal;
pub mod lint;
pub mod mirror;
pub mod overrides;
pub mod program;
pub mod settings;
pub mod slots;
pub mod source;
pub mod space;
pub mod trust;
