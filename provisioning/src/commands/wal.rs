//! `wal`: the continuous backup of the database's log.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use time::OffsetDateTime;

use super::{Outcome, handover};
use crate::backup::settings::Settings;
use crate::backup::spool::{Limits, Spool};
use crate::backup::{Work, push};
use crate::cli::PlaceArgs;
use crate::place::Place;

#[derive(Subcommand)]
pub enum Wal {
    /// Keeps a log file until it is backed up. The database runs this as its archive_command.
    Keep {
        /// The file, as %p.
        path: PathBuf,
        /// Its name, as %f.
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Pushes what waits to the target. The timer and the path unit run this.
    Push {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl Wal {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not be done.
    pub async fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        match self {
            Self::Keep { path, name, place } => {
                let place: Place = place.into();
                // The database may not be allowed to read the settings, and must not stop for that.
                let settings = Settings::load(&place);
                if settings
                    .as_ref()
                    .is_ok_and(|settings| settings.target.is_empty())
                {
                    // Nobody will ever fetch it: the first base backup at a target is where the log begins.
                    return Ok(Outcome::Good);
                }
                let settings = settings.unwrap_or_default();
                let limits = Limits {
                    spool: settings.spool_limit_mb << 20,
                    reserve: settings.disk_reserve_mb << 20,
                };
                Spool::of(&place).keep(&path, &name, limits)?;
                Ok(Outcome::Good)
            }
            Self::Push { place } => {
                let place: Place = place.into();
                if handover::is_needed(&place) {
                    return handover::run(&place);
                }
                let pushed = Work::of(&place).and_then(|work| push::run(&work, now));
                match pushed {
                    Ok(true) => Ok(Outcome::Good),
                    Ok(false) => Ok(Outcome::Fault),
                    Err(error) => {
                        push::failed(&place, &error)?;
                        eprintln!("hadadactl: {error:#}");
                        Ok(Outcome::Fault)
                    }
                }
            }
        }
    }
}
