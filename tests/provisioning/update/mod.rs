//! Updates, from the vendor's keys to the box's journal: real signatures, real bundles, a real Postgres. Only the service manager
//! is a stand-in, and `hadada` a small one (the last of these tests takes the real one).

mod attacks;
mod bench;
mod crashes;
mod failures;
mod good;
mod mirror;
mod real;
mod vendor;
