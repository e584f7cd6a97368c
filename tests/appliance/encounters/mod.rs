//! Visits and their notes: nothing typed is lost, nothing signed changes, nobody reads what is not theirs.

mod access;
mod opening;
mod saving;
mod scores;
mod signing;
