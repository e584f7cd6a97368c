//! `setup`: the first run.

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::Result;
use clap::Subcommand;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::Outcome;
use crate::cli::PlaceArgs;
use crate::files;
use crate::place::Place;
use crate::settings;
use crate::setup::{self, OneTimeCode};
use crate::trust::certificates::Facts;

/// Commands of the first run.
#[derive(Debug, Subcommand)]
pub enum Setup {
    /// Makes a new one-time code for the first-run pages and prints it; the one before is void.
    Code {
        /// Print it on the machine's console and above its log-in too.
        #[arg(long)]
        console: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Puts the recovery key where the first-run pages show it, as long as nobody has confirmed it.
    Recovery {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Carries out what the first-run pages asked; systemd runs it.
    Apply {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl Setup {
    /// Runs the command.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        match self {
            Self::Code { console, place } => code(&place.into(), console),
            Self::Recovery { place } => {
                setup::show_recovery(&place.into())?;
                println!("The first-run pages can show the recovery key.");
                Ok(Outcome::Good)
            }
            Self::Apply { place } => setup::apply(&place.into(), now).map(|()| Outcome::Good),
        }
    }
}

fn code(place: &Place, console: bool) -> Result<Outcome> {
    let Some(code) = setup::prepare(place)? else {
        println!("This box is set up already.");
        return Ok(Outcome::Good);
    };
    let text = words(place, Some(&code))?;
    if console {
        on_console(place, &text)?;
    } else {
        print!("{text}");
    }
    Ok(Outcome::Good)
}

/// Tells the installer's person where to go on.
///
/// # Errors
/// When the box's certificate can't be read.
pub fn greet(place: &Place) -> Result<()> {
    let code = setup::prepare(place)?;
    let text = words(place, code.as_ref())?;
    print!("{text}");
    if code.is_some() {
        on_console(place, &text)?;
    }
    Ok(())
}

fn words(place: &Place, code: Option<&OneTimeCode>) -> Result<String> {
    let host = settings::web(place, "host")?
        .and_then(|host| host.as_str().map(str::to_owned))
        .unwrap_or_else(|| "localhost".into());
    let mut text = format!("\nHadada answers at https://{host}/\n");
    if let Some(code) = code {
        text += &format!(
            "\n  First run: open that page and type this one-time code\n\n      {}\n\n",
            code.shown()
        );
    }
    if let Some(pem) = files::read_if_there(&place.authority())? {
        let fingerprint = Sha256::digest(Facts::read(&String::from_utf8_lossy(&pem))?.der);
        let groups: Vec<String> = fingerprint
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        text += "  Its certificate authority's fingerprint (SHA-256), to compare on a device before trusting it:\n";
        for half in groups.chunks(16) {
            text += &format!("      {}\n", half.join(":"));
        }
    }
    Ok(text)
}

fn on_console(place: &Place, text: &str) -> Result<()> {
    if !place.is_installed() {
        return Ok(());
    }
    files::make_folder(&place.root().join("etc/issue.d"), 0o755)?;
    // Only somebody before the machine sees what stands above its log-in.
    files::replace(
        &place.root().join("etc/issue.d/hadada.issue"),
        0o600,
        text.as_bytes(),
    )?;
    // A machine without a console is served by the log-in's text alone.
    if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console") {
        let _ = console.write_all(text.replace('\n', "\r\n").as_bytes());
    }
    Ok(())
}

/// Takes the code off the console; the address and the fingerprint stay.
///
/// # Errors
/// When it can't be written.
pub fn clear_console(place: &Place) -> Result<()> {
    if !place.is_installed() {
        return Ok(());
    }
    files::replace(
        &place.root().join("etc/issue.d/hadada.issue"),
        0o644,
        words(place, None)?.as_bytes(),
    )
}
