//! Encryption of a patient's text: the box's master key wraps a practice's key, which wraps one key per patient.
//!
//! Sealed bytes are `version (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`, AES-256-GCM (NIST SP 800-38D), with the place they
//! belong to as associated data, so that a ciphertext moved to another column or row does not open.

mod master;
mod rewrap;
mod ring;
mod seal;

pub use master::{MasterError, change_master, check_keys, forget_previous};
pub use rewrap::{RewrapError, Rewrapped, rewrap};
pub use ring::{KeyError, Keyring};
pub use seal::{PatientKey, Place, SealError};
