//! `mail`: the way by which alerts leave.

use std::io::{self, Read};

use anyhow::{Result, ensure};
use clap::Subcommand;
use zeroize::Zeroizing;

use super::Outcome;
use crate::cli::PlaceArgs;
use crate::place::Place;
use crate::secrets::{self, MAIL_PASSWORD};

/// Longer than any password.
const LONGEST: usize = 1024;

/// Commands about mail.
#[derive(Debug, Subcommand)]
pub enum Mail {
    /// Keeps the password of the mail server's user ([box.mail] user), read from standard input and sealed for this machine.
    Password {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl Mail {
    /// Runs the command.
    ///
    /// # Errors
    /// When there is no password to read or it can't be kept.
    pub fn run(self) -> Result<Outcome> {
        let Self::Password { place } = self;
        let place: Place = place.into();
        eprintln!("Type the mail server's password, then Enter and Ctrl-D:");
        let mut typed = Zeroizing::new(String::new());
        io::stdin()
            .take(LONGEST as u64 + 1)
            .read_to_string(&mut typed)?;
        let password = typed.trim_end_matches(['\n', '\r']);
        ensure!(
            !password.is_empty() && password.len() < LONGEST && !password.contains('\n'),
            "one line with the password is needed"
        );
        secrets::replace(&place, MAIL_PASSWORD, password.as_bytes())?;
        println!("The password is kept; the next mail is sent with it.");
        Ok(Outcome::Good)
    }
}
