//! The inference front.
fn main() {}
