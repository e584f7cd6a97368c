//! What the vendor ships: a bundle of programs with a manifest, signed by people who each hold one key (TUF).

pub mod archive;
pub mod build;
pub mod inventory;
pub mod keys;
pub mod manifest;
pub mod passphrase;
pub mod repository;
pub mod version;
