//! `restore`: brings data back.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};
use zeroize::Zeroizing;

use super::{Outcome, backup};
use crate::backup::keys::BackupKeys;
use crate::backup::plan::{Point, choose};
use crate::backup::restore;
use crate::backup::{Work, ledger, say};
use crate::cli::PlaceArgs;
use crate::place::Place;
use crate::trust::recovery::RecoveryKey;

const PROCEDURE: &str = include_str!("restore.txt");

#[derive(Subcommand)]
pub enum Restore {
    /// Replaces the database by the newest state that can be had. The old one is kept aside.
    Latest {
        #[command(flatten)]
        how: How,
    },
    /// Replaces the database by its state at a second, such as "2026-11-22 14:03:10" by the clinic's clock.
    At {
        /// The time.
        time: String,
        #[command(flatten)]
        how: How,
    },
    /// Writes one patient's record, from a backup, into a file. The box's database is not touched.
    Patient {
        /// The number on the patient's file.
        number: String,
        /// The practice, where several have this number.
        #[arg(long, value_name = "NAME")]
        practice: Option<String>,
        /// The state at this time; the newest without it.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// The file to write, as JSON lines.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The target; without it, the one that takes the continuous log.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Brings the clinic back on a new machine. It reads the recovery key from standard input.
    NewBox {
        /// Where the backups are, such as the USB disk's folder; without it, the target in [box.backup].
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        /// The target, where the settings have several.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// After a restore: lets the audit log go on from the restored one. Restoring an installed box does it by itself.
    Finish {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Removes the old database that a restore kept aside.
    Confirm {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Prints the page for the safe: what to do when the box is lost.
    Procedure,
}

#[derive(Args)]
pub struct How {
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
    /// Reads the recovery key from standard input: a backup from before the master key was changed opens with it only.
    #[arg(long)]
    recovery_key: bool,
    /// The target; without it, the one that takes the continuous log.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Restore {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not be done.
    pub async fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        match self {
            Self::Latest { how } => replace(how, Point::Latest).await,
            Self::At { time, how } => replace(how, Point::At(instant(&time, now)?)).await,
            Self::Patient {
                number,
                practice,
                at,
                out,
                target,
                place,
            } => {
                let point = at.map_or(Ok(Point::Latest), |at| instant(&at, now).map(Point::At))?;
                let work = Work::of(&place.into())?;
                let target = work.settings.named(target.as_deref())?;
                let (rows, from) =
                    restore::patient(&work, target, &number, practice.as_deref(), point, &out)?;
                println!(
                    "{rows} rows of patient {number} are in {}, from the {from}.",
                    out.display()
                );
                println!(
                    "The file can be read by whoever has it: names and codes are plain, notes are encrypted under the patient's key."
                );
                Ok(Outcome::Good)
            }
            Self::NewBox {
                folder,
                target,
                place,
            } => new_box(&place.into(), folder, target).await,
            Self::Finish { place } => {
                restore::finish(&place.into()).await?;
                Ok(Outcome::Good)
            }
            Self::Confirm { place } => {
                let count = restore::confirm(&place.into())?;
                println!("{count} old databases were removed.");
                Ok(Outcome::Good)
            }
            Self::Procedure => {
                print!("{PROCEDURE}");
                Ok(Outcome::Good)
            }
        }
    }
}

async fn replace(how: How, point: Point) -> Result<Outcome> {
    let work = Work::of(&how.place.into())?;
    let target = work.settings.named(how.target.as_deref())?;
    let plan = choose(&ledger::read(&work.place, &work.keys)?, &target.name, point)?;
    println!(
        "This stops hadada and replaces its database from {}: {}.",
        target.name,
        plan.words()
    );
    if let Point::At(at) = point {
        println!(
            "Everything entered after {} goes from the database.",
            crate::backup::written(at)
        );
    }
    println!("The database as it is now is kept aside.");
    if how.dry_run {
        return Ok(Outcome::Good);
    }
    if !how.yes {
        if !io::stdin().is_terminal() {
            bail!("nobody is there to confirm it: say --yes");
        }
        println!("Type yes to go on:");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() != "yes" {
            bail!("nothing was changed");
        }
    }
    let paper = how.recovery_key.then(typed_paper).transpose()?;
    let paper = paper.as_ref().map(|(_, typed)| typed.as_str());
    let done = restore::replace(&work, target, point, paper).await?;
    done.tell(point);
    Ok(Outcome::Good)
}

async fn new_box(
    place: &Place,
    folder: Option<PathBuf>,
    target: Option<String>,
) -> Result<Outcome> {
    let (paper, typed) = typed_paper()?;
    let work = backup::work_of_paper(place, BackupKeys::of_paper(&paper), folder.as_deref())?;
    let target = work.settings.named(target.as_deref())?;
    let done = restore::new_box(&work, target, &paper, &typed).await?;
    done.tell(Point::Latest);
    say("");
    say(
        "Now: set [[box.backup.target]] if it is not set, then `hadadactl backup setup`, `hadadactl backup run` and `hadadactl drill run`.",
    );
    Ok(Outcome::Good)
}

/// The recovery key, and the text it was typed as.
fn typed_paper() -> Result<(RecoveryKey, Zeroizing<String>)> {
    eprintln!("Type the recovery key, then Ctrl-D on an empty line:");
    let typed = Zeroizing::new(io::read_to_string(io::stdin())?);
    Ok((RecoveryKey::from_paper(&typed)?, typed))
}

/// A time with its offset (RFC 3339), or by the clinic's clock without one.
fn instant(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime> {
    let text = text.trim();
    let local = |at: PrimitiveDateTime| -> Result<OffsetDateTime> {
        Ok(at.assume_offset(UtcOffset::from_hms(2, 0, 0)?))
    };
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .map(Ok)
        .or_else(|| {
            let second = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
            let minute = format_description!("[year]-[month]-[day] [hour]:[minute]");
            let text = text.replace('T', " ");
            PrimitiveDateTime::parse(&text, second)
                .or_else(|_| PrimitiveDateTime::parse(&text, minute))
                .ok()
                .map(local)
        })
        .with_context(|| {
            format!("{text} is no time: write it as 2026-11-22 14:03:10, by the clinic's clock, or with an offset as 2026-11-22T14:03:10+02:00")
        })??;
    if at > now {
        bail!("{text} is in the future: `hadadactl restore latest` restores the newest state");
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = datetime!(2026-11-23 00:00 UTC);
        for (text, at) in [
            ("2026-11-22 14:03:10", datetime!(2026-11-22 12:03:10 UTC)),
            ("2026-11-22 14:03", datetime!(2026-11-22 12:03 UTC)),
            (
                "2026-11-22T14:03:10+02:00",
                datetime!(2026-11-22 12:03:10 UTC),
            ),
            ("2026-11-22T12:03:10Z", datetime!(2026-11-22 12:03:10 UTC)),
        ] {
            assert_eq!(instant(text, now).unwrap(), at, "{text}");
        }
        for text in ["yesterday", "2026-13-01 00:00", "2026-11-24 00:00", ""] {
            assert!(instant(text, now).is_err(), "{text}");
        }
    }
}
