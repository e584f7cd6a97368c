//! Who may reach the box, and the only places the box may reach.

pub mod clock;
mod ledger;
mod rows;
mod ruleset;

pub use ledger::{Entry, collect, read};
pub use rows::{Block, Network, rows};
pub use ruleset::ruleset;
