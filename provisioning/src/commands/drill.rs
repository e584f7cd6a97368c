//! `drill`: restores the newest backup to prove it.

use anyhow::Result;
use clap::Subcommand;
use time::OffsetDateTime;

use super::{Outcome, handover};
use crate::backup::drill::{self, KIND, Report};
use crate::backup::ledger::AtIt;
use crate::backup::{Work, written};
use crate::cli::PlaceArgs;
use crate::facts::{self, Fact, State};
use crate::place::Place;

#[derive(Subcommand)]
pub enum Drill {
    /// Restores the newest backup, from the target alone, into a database of its own, and proves it. The clinic's is not touched.
    Run {
        /// The target; without it, the one that takes the continuous log.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Shows the last report, after checking its signature.
    Show {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl Drill {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not be done. A backup that is found wanting is no error but a fault.
    pub async fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        match self {
            Self::Run { target, place } => {
                let place: Place = place.into();
                if handover::is_needed(&place) {
                    return handover::run(&place);
                }
                let report = Work::of(&place).and_then(|work| {
                    let target = work.settings.named(target.as_deref())?;
                    drill::run(&work, target, now)
                });
                match report {
                    Ok(report) => Ok(tell(&report)),
                    Err(error) if error.is::<AtIt>() => Err(error),
                    Err(error) => {
                        facts::write(
                            &place,
                            Fact::fault(
                                KIND,
                                now,
                                State::Bad,
                                "The nightly trial of restoring the backup could not be made.",
                                format!("{error:#}"),
                            ),
                        )?;
                        Err(error)
                    }
                }
            }
            Self::Show { place } => Ok(tell(&drill::show(&place.into())?)),
        }
    }
}

fn tell(report: &Report) -> Outcome {
    println!(
        "\nDrill of {} at {}, {} s",
        written(report.at),
        report.target,
        report.seconds
    );
    for step in &report.steps {
        println!(
            "  {} {:55} {}",
            if step.good { "good  " } else { "FAILED" },
            step.name,
            step.said
        );
    }
    if report.is_good() {
        println!("The backup is verified.");
        Outcome::Good
    } else {
        println!(
            "The backup is NOT verified. Make one to another target with `hadadactl backup run`, then look into this."
        );
        Outcome::Fault
    }
}
