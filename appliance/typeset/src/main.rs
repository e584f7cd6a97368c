//! PDF writer.
fn main() {}
