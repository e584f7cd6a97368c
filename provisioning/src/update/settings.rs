//! `[box.update]` in `hadada.toml`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::place::Place;
use crate::settings;

/// How this box updates itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The address of a mirror, such as `https://updates.example/hadada`; none where updates come by USB or are pushed.
    pub mirror: Option<String>,
    /// The authority that signed the mirror's certificate, as PEM; Debian's list of authorities where it is none.
    pub mirror_authority: Option<PathBuf>,
    /// Whether the nightly run installs what the mirror offers. What is pushed or carried is installed anyway.
    pub automatic: bool,
    /// Whether somebody must confirm a new release by `hadadactl update confirm`, else it is taken back.
    pub confirm_by_hand: bool,
    /// How long they have.
    pub confirm_seconds: u32,
    /// How long a new release may take until it works.
    pub health_seconds: u32,
    /// Whether the box's backup runs before an update.
    pub backup_first: bool,
    /// The operating system's user that owns the schema.
    pub migrate_user: String,
    /// The operating system's user of the web program.
    pub web_user: String,
    /// The operating system's user that may reach the mirror, and nothing else.
    pub fetch_user: String,
    /// Where Debian's security updates come from, where not with the bundle.
    pub debian: Option<Debian>,
}

/// A mirror of Debian's packages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// Its address.
    pub mirror: String,
    /// Its suite, such as `bookworm-security`.
    pub suite: String,
    /// The keys that sign it.
    pub keyring: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mirror: None,
            mirror_authority: None,
            automatic: false,
            confirm_by_hand: false,
            confirm_seconds: 30 * 60,
            health_seconds: 180,
            backup_first: true,
            migrate_user: "hadada-migrate".into(),
            web_user: "hadada".into(),
            fetch_user: "hadada-update".into(),
            debian: None,
        }
    }
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// When one is not as it should be; the error names it.
    pub fn read(place: &Place) -> Result<Self> {
        let settings: Self = settings::section(place, "update")?;
        if let Some(mirror) = &settings.mirror {
            ensure!(
                mirror.starts_with("https://"),
                "{}: [box.update] mirror must begin with https://",
                place.config().display()
            );
        }
        ensure!(
            settings.health_seconds > 0 && (1..=24 * 60 * 60).contains(&settings.confirm_seconds),
            "{}: [box.update] health_seconds and confirm_seconds must be positive, and the latter a day at most",
            place.config().display()
        );
        Ok(settings)
    }
}
