//! What model files say of their models; shared by all backends.

pub mod config;
