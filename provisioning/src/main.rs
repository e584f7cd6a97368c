//! hadadactl
fn main() {}
