//! The web and API server of a Hadada box.
fn main() {}
