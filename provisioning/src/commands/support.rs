//! `support-bundle`: what the vendor's support needs to know about a box, without anything about patients.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Outcome;
use crate::cli::PlaceArgs;
use crate::files;
use crate::place::Place;
use crate::process::run;

/// Writes one text file for the vendor's support: versions, units, disks, the firewall, warnings, the last facts. No records, no
/// keys, no names; what looks like a number, an address or an id in the logs is blacked out. Read it before you send it.
#[derive(Debug, Args)]
pub struct SupportBundle {
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What is asked of the machine: a title, a program, its arguments.
const ASKED: [(&str, &str, &[&str]); 12] = [
    ("system", "uname", &["-a"]),
    ("memory", "free", &["-m"]),
    (
        "disks",
        "df",
        &[
            "-h",
            "--output=source,fstype,size,used,avail,pcent,target",
            "-x",
            "tmpfs",
            "-x",
            "overlay",
        ],
    ),
    (
        "units",
        "systemctl",
        &[
            "list-units",
            "--all",
            "--plain",
            "--no-legend",
            "--no-pager",
            "hadada*",
            "postgresql@15-hadada*",
        ],
    ),
    (
        "timers",
        "systemctl",
        &["list-timers", "--all", "--no-pager", "hadada*"],
    ),
    ("clock", "timedatectl", &["show"]),
    (
        "packages",
        "dpkg-query",
        &["-W", "postgresql-15", "restic", "nftables", "systemd"],
    ),
    ("firewall", "nft", &["list", "table", "inet", "hadada"]),
    ("listening", "ss", &["-H", "-ltun"]),
    ("cluster", "pg_lsclusters", &["-h"]),
    (
        "graphics card",
        "nvidia-smi",
        &[
            "--query-gpu=name,driver_version,temperature.gpu,memory.used,memory.total",
            "--format=csv",
        ],
    ),
    (
        "warnings of the last week",
        "journalctl",
        &[
            "--no-pager",
            "-q",
            "-o",
            "short-iso",
            "-p",
            "warning",
            "--since",
            "-7d",
            "-n",
            "2000",
            "-u",
            "hadada*",
            "-u",
            "postgresql@15-hadada*",
        ],
    ),
];

impl SupportBundle {
    /// Collects and writes.
    ///
    /// # Errors
    /// When the file can't be written. What can't be asked is named in it.
    pub fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        let place: Place = self.place.into();
        let mut text = format!(
            "Hadada support bundle, {}\nhadadactl {}\n",
            now.format(&Rfc3339)?,
            env!("CARGO_PKG_VERSION")
        );
        for (title, program, arguments) in ASKED {
            println!("  {title}");
            let said =
                run(program, arguments).unwrap_or_else(|error| format!("not known: {error:#}"));
            section(&mut text, title, &said)?;
        }
        let current = fs::read_link(place.programs().join("current"));
        section(
            &mut text,
            "release",
            &current.map_or_else(|error| error.to_string(), |to| to.display().to_string()),
        )?;
        folder(&mut text, "facts", &place.facts(), "json")?;
        for (title, path) in [
            ("configuration", place.config()),
            ("updates", place.state().join("update/history.jsonl")),
        ] {
            let content = files::read_if_there(&path)?.unwrap_or_default();
            section(
                &mut text,
                title,
                &settings_only(&String::from_utf8_lossy(&content)),
            )?;
        }
        files::replace(&self.out, 0o600, text.as_bytes())
            .with_context(|| format!("can't write {}", self.out.display()))?;
        println!(
            "\nwrote {}: read it before you send it.",
            self.out.display()
        );
        Ok(Outcome::Good)
    }
}

fn section(text: &mut String, title: &str, content: &str) -> Result<()> {
    writeln!(text, "\n=== {title} ===")?;
    for line in content.lines() {
        writeln!(text, "{}", blacken(line))?;
    }
    Ok(())
}

fn folder(text: &mut String, title: &str, folder: &Path, ending: &str) -> Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|is| is == ending))
        .collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        section(
            text,
            &format!("{title}: {name}"),
            &fs::read_to_string(&path).unwrap_or_default(),
        )?;
    }
    Ok(())
}

/// Lines that hold a password or key are left out: none should be there.
fn settings_only(text: &str) -> String {
    text.lines()
        .filter(|line| {
            let name = line.split('=').next().unwrap_or("").to_lowercase();
            !["password", "secret", "token"]
                .iter()
                .any(|word| name.contains(word))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Blackens what could be somebody: ids, mail addresses, long numbers (telephones, identity and file numbers), and what stands
/// between quotation marks, where a database puts the values it complains about.
fn blacken(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for word in line.split_inclusive(' ') {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let digits = core.chars().filter(char::is_ascii_digit).count();
        // A time, a size or an address in a network is no person's.
        let harmless = core.contains([':', '/', '.', 'T']) || core.len() < 7;
        let id = core.len() == 36 && core.matches('-').count() == 4;
        let mail = core.contains('@')
            && !core.ends_with(".service")
            && !core.starts_with("postgresql@")
            && !core.starts_with("hadada");
        if id || mail || (digits >= 6 && !harmless) {
            out.push_str("█████");
            if word.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.push_str(word);
        }
    }
    without_values(&out)
}

/// `Key (family_name)=(Khumalo) already exists` keeps its names and loses its values.
fn without_values(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(")=(") {
        out.push_str(&rest[..at + 3]);
        out.push_str("█████");
        rest = &rest[at + 3..];
        rest = rest.find(')').map_or("", |end| &rest[end..]);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_be_somebody_stays() {
        for (said, kept) in [
            (
                "patient 018f3c1e-7a4b-7000-8000-0123456789ab not found",
                "patient █████ not found",
            ),
            (
                "mail to naledi@clinic.example failed",
                "mail to █████ failed",
            ),
            ("identity 9203145000083 is taken", "identity █████ is taken"),
            (
                "Key (family_name)=(Khumalo) already exists.",
                "Key (family_name)=(█████) already exists.",
            ),
            ("called 0825551234", "called █████"),
        ] {
            assert_eq!(blacken(said), kept);
        }
        for harmless in [
            "2026-11-22T14:03:10+0200 box hadada[790]: serving",
            "postgresql@15-hadada.service loaded active running",
            "/dev/sda1 ext4 252G 57G 35G 62% /",
            "192.168.77.0/24 tcp dport 443 accept",
        ] {
            assert_eq!(blacken(harmless), harmless);
        }
        assert_eq!(
            settings_only("host = \"x\"\npassword = \"y\""),
            "host = \"x\""
        );
    }
}
