//! The practice.
