//! `keys new-master`: another master key, after somebody may have learnt the one the box has. Only the practices' keys are wrapped
//! anew; what they encrypt stays as it is. Broken off, it goes on when run again, and until its last step the web program works
//! with either key.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use super::Outcome;
use crate::admin::{self, Socket};
use crate::backup::{ledger, say};
use crate::cli::PlaceArgs;
use crate::place::Place;
use crate::programs::{Account, Program};
use crate::secrets::{self, MASTER_KEY, NEXT_MASTER_KEY, PREVIOUS_MASTER_KEY};
use crate::systemctl;
use crate::update::home::Home;
use crate::update::journal::Journal;

/// How long wrapping may take; it is a few bytes a practice.
const PATIENCE: Duration = Duration::from_secs(300);
const WEB: &str = "hadada.service";

#[derive(Subcommand)]
pub enum Keys {
    /// Makes another master key, wraps the practices' keys with it, and makes the one before void. The pages pause for a moment.
    NewMaster {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl Keys {
    /// Runs it.
    ///
    /// # Errors
    /// When a step fails; both keys then open the records, and running it again goes on.
    pub async fn run(self) -> Result<Outcome> {
        match self {
            Self::NewMaster { place } => new_master(&place.into()).await,
        }
    }
}

async fn new_master(place: &Place) -> Result<Outcome> {
    if place.is_installed() {
        ensure!(rustix::process::geteuid().is_root(), "run this as root");
    } else if admin::listens(&place.admin_socket()).is_ok() {
        bail!("this box's web program runs, and has the key in memory: stop it first");
    }
    let _no_restore = ledger::try_lock(place, "restore")?;
    let home = Home::new(place.clone());
    let _no_update = home.lock()?;
    ensure!(
        Journal::read(&home)?.is_none(),
        "an update broke off before: run `hadadactl update guard`"
    );

    let next = match secrets::read(place, NEXT_MASTER_KEY)? {
        Some(_) => {
            say("going on with the new key that was begun");
            secrets::key(place, NEXT_MASTER_KEY)?
        }
        None => {
            let mut key = Zeroizing::new([0_u8; 32]);
            getrandom::fill(&mut *key).map_err(|error| {
                anyhow::anyhow!("this machine gives no random numbers: {error}")
            })?;
            secrets::create(place, NEXT_MASTER_KEY, &*key)?;
            key
        }
    };
    let now = secrets::key(place, MASTER_KEY)?;
    if *now != *next {
        wrap(place, &[&now, &next], &[]).context("the key was not changed")?;
        secrets::replace(place, PREVIOUS_MASTER_KEY, &*now)?;
        secrets::replace(place, MASTER_KEY, &*next)?;
    }
    if place.is_installed() {
        say("starting the pages with the new key");
        systemctl::restart(&[WEB.to_owned()])
            .context("the pages did not start with the new key; the one before still opens the records too: `journalctl -u hadada` says why, then run this again")?;
    }
    // A practice made while the pages still had the key before.
    if secrets::read(place, PREVIOUS_MASTER_KEY)?.is_some() {
        let before = secrets::key(place, PREVIOUS_MASTER_KEY)?;
        wrap(place, &[&before, &next], &[])?;
    }
    wrap(place, &[&next], &["--forget-previous"])?;
    secrets::remove(place, PREVIOUS_MASTER_KEY)?;
    secrets::remove(place, NEXT_MASTER_KEY)?;
    say("The box has a new master key, and the one before opens nothing in its database.");
    say(
        "Backups made until now still hold the practices' keys as they were: to restore one of them, add --recovery-key. They are gone after 29 days.",
    );
    if place.is_installed() {
        Socket::new(place.admin_socket())
            .post(
                "/audit/event",
                &json!({ "kind": "keys", "text": "The box's master key was changed." }),
            )
            .await
            .context("the key was changed, but the audit log could not be written")?;
        systemctl::start_later(&[
            "hadada-backup.service".to_owned(),
            "hadada-base-backup.service".to_owned(),
        ])?;
        say("A backup with the new key was begun; the recovery key on paper stays as it is.");
    }
    Ok(Outcome::Good)
}

/// Lets the web program's own command wrap the practices' keys, as the owner of the schema. The keys go through a pipe.
fn wrap(place: &Place, keys: &[&Zeroizing<[u8; 32]>], options: &[&str]) -> Result<()> {
    let own = std::env::current_exe().context("finding my own program file")?;
    let mut typed = Zeroizing::new(String::new());
    for key in keys {
        typed.push_str(&Zeroizing::new(hex::encode(***key)));
        typed.push('\n');
    }
    let account = place
        .is_installed()
        .then(|| Account::named("hadada-migrate"))
        .transpose()?;
    let said = Program::new(own.with_file_name("hadada"))
        .arg("--config")
        .arg(place.config())
        .args(["change-master-key", "--keys-from-stdin"])
        .args(options)
        .run_as(account)
        .ask(typed.as_bytes(), PATIENCE)?;
    say(String::from_utf8_lossy(&said).trim());
    Ok(())
}
