//! `remote-access`: certificates for IT staff and vendors, and letting those in who have one, for a while.

mod clients;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::Outcome;
use crate::admin::Socket;
use crate::cli::PlaceArgs;
use crate::place::Place;

/// Commands about access for IT staff and vendors.
#[derive(Debug, Subcommand)]
pub enum RemoteAccess {
    /// Lets in whoever has a certificate of the authority for IT and vendors, at port 8444, for at most eight hours.
    On {
        /// For how many hours, 1 to 8.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
        hours: u8,
        /// Why; it stands in the audit log and on the status page.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Closes it at once.
    Off {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Makes a certificate for somebody of IT or a vendor, with its key, to be carried to them.
    Issue {
        /// Who gets it; the audit log names them by this.
        #[arg(long, value_name = "NAME")]
        holder: String,
        /// For how many days it is good, 1 to 398. It opens nothing unless remote access is open.
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=398))]
        days: u16,
        /// The file to write, in PEM form. It holds the key: it is theirs alone, and does not stay on the box.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Makes a certificate good for nothing, at once.
    Revoke {
        /// Its number, or the beginning of it, as `remote-access clients` shows it.
        number: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Lists the certificates there are.
    Clients {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Says whether it is open, until when and why.
    Status {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl RemoteAccess {
    /// Runs the command.
    ///
    /// # Errors
    /// When the box can't be reached or refuses.
    pub async fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        let (place, answer) = match self {
            Self::Issue {
                holder,
                days,
                out,
                place,
            } => return clients::issue(&place.into(), &holder, days, &out, now).await,
            Self::Revoke { number, place } => {
                return clients::revoke(&place.into(), &number, now).await;
            }
            Self::Clients { place } => return clients::list(&place.into(), now),
            Self::On {
                hours,
                reason,
                place,
            } => {
                let until = (now + Duration::hours(hours.into()))
                    .format(&Rfc3339)
                    .context("the time can't be written")?;
                let place: Place = place.into();
                let body = json!({ "until": until, "reason": reason });
                let answer = socket(&place).post("/remote-access", &body).await?;
                (place, answer)
            }
            Self::Off { place } => {
                let place: Place = place.into();
                let answer = socket(&place).delete("/remote-access").await?;
                (place, answer)
            }
            Self::Status { place } => {
                let place: Place = place.into();
                let answer = socket(&place).get("/remote-access").await?;
                (place, answer)
            }
        };
        match answer.get("until").and_then(Value::as_str) {
            Some(until) => println!(
                "Remote access is open until {until}{}.",
                answer
                    .get("reason")
                    .and_then(Value::as_str)
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default()
            ),
            None => println!("Remote access is closed."),
        }
        if place.is_installed() && crate::network::rows(&place)?.0.remote.is_empty() {
            println!(
                "note: the firewall lets nobody to port 8444: name the networks in [box.network] remote and run `hadadactl egress apply`."
            );
        }
        Ok(Outcome::Good)
    }
}

fn socket(place: &Place) -> Socket {
    Socket::new(place.admin_socket())
}
