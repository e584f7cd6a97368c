//! `backup access`: what the box shows a target over the network to be let in.

use std::io;

use anyhow::{Result, bail};
use zeroize::Zeroizing;

use super::Outcome;
use crate::backup::settings::Settings;
use crate::backup::target::{password_secret, ssh_secret};
use crate::place::Place;
use crate::process::feed;
use crate::secrets;
use crate::setup::target::new_ssh_key;

/// For an SFTP target, makes a key where there is none and prints its public half; for a REST server, keeps the password read
/// from standard input.
///
/// # Errors
/// When the target needs neither, or the secret can't be kept.
pub fn run(place: &Place, name: &str) -> Result<Outcome> {
    let settings = Settings::with_target(place)?;
    let target = settings.named(Some(name))?;
    if let Some(sftp) = &target.sftp {
        let secret = ssh_secret(name);
        let public = match secrets::read(place, &secret)? {
            Some(private) => feed("ssh-keygen", ["-y", "-f", "/dev/stdin"], &private)?,
            None => {
                let (private, public) = new_ssh_key()?;
                secrets::create(place, &secret, &private)?;
                public
            }
        };
        println!(
            "Let this key in as {} on {}, for SFTP only, such as by this line in its authorized_keys:\n\n    restrict {}\n\nThen run `hadadactl backup setup`.",
            sftp.user,
            sftp.host,
            public.trim()
        );
        return Ok(Outcome::Good);
    }
    if let Some(user) = target.rest.as_ref().and_then(|rest| rest.user.as_ref()) {
        eprintln!("Type the password of {user}, then Ctrl-D on an empty line:");
        let typed = Zeroizing::new(io::read_to_string(io::stdin())?);
        let password = typed.trim();
        if password.is_empty() || password.contains(char::is_control) {
            bail!("a password is one line and not empty");
        }
        secrets::replace(place, &password_secret(name), password.as_bytes())?;
        println!("The password is kept, sealed. Now run `hadadactl backup setup`.");
        return Ok(Outcome::Good);
    }
    bail!("the target {name} needs no key and no password: nothing was kept")
}
