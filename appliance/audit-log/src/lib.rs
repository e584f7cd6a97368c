//! The audit format and its verifier.
