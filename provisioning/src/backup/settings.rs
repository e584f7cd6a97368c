//! What `[box.backup]` says: where backups go, how long they are kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::place::Place;
use crate::settings;

/// Copies of patients' wrapped keys older than this would undo an erasure; a day less than the promised 30, so that the
/// nightly run that removes them is in time.
pub const KEYS_DAYS: u32 = 29;

/// `[box.backup]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The targets; the first takes the continuous log unless `wal` names another.
    pub target: Vec<Target>,
    /// The target that takes the continuous log.
    pub wal: Option<String>,
    /// How long backups are kept.
    pub keep: Keep,
    /// How much of the database's log may wait for a target that is gone, in MB.
    pub spool_limit_mb: u64,
    /// How much of the disk stays free whatever waits, in MB.
    pub disk_reserve_mb: u64,
    /// After how many seconds without progress a backup is given up.
    pub stall_seconds: u64,
    /// Where restored copies are tried out; beside the ledger by default.
    pub scratch: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            target: Vec::new(),
            wal: None,
            keep: Keep::default(),
            spool_limit_mb: 4096,
            disk_reserve_mb: 2048,
            stall_seconds: 600,
            scratch: None,
        }
    }
}

/// `[box.backup.keep]`: how many of the last days, weeks, months and years that have a backup keep their newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    pub days: u32,
    pub weeks: u32,
    pub months: u32,
    pub years: u32,
    /// Into how many of the last days the database can be set back to any second.
    pub any_second_days: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            days: 14,
            weeks: 8,
            months: 12,
            years: 7,
            any_second_days: 14,
        }
    }
}

/// `[[box.backup.target]]`: exactly one of `folder`, `sftp` and `rest`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What people call it, such as `usb-blue`.
    pub name: String,
    /// A folder on a USB disk, or on an NFS or SMB mount.
    pub folder: Option<PathBuf>,
    /// The UUID of the file system that must be mounted there.
    pub uuid: Option<String>,
    /// Whether the folder may be on the box's own disk, which loses both at once.
    #[serde(default)]
    pub plain_folder: bool,
    pub sftp: Option<Sftp>,
    pub rest: Option<Rest>,
}

/// A machine that takes files over SSH. The private key is the secret `backup-NAME.ssh`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sftp {
    pub host: String,
    #[serde(default = "ssh_port")]
    pub port: u16,
    pub user: String,
    pub path: String,
    /// Its public host key, as `ssh-ed25519 AAAA…`: nobody else is spoken to.
    pub host_key: String,
}

/// A restic REST server. The password is the secret `backup-NAME.password`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    /// Such as `https://backup.clinic.lan:8000/hadada/`.
    pub url: String,
    pub user: Option<String>,
    /// The PEM file of the authority that signed its certificate.
    pub authority: Option<PathBuf>,
}

fn ssh_port() -> u16 {
    22
}

impl Settings {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// When it says something it should not; the error names the setting.
    pub fn load(place: &Place) -> Result<Self> {
        let settings: Self = settings::section(place, "backup")?;
        settings.check(&place.config())?;
        Ok(settings)
    }

    /// As [`Settings::load`], where there must be a target.
    ///
    /// # Errors
    /// Also when there is none.
    pub fn with_target(place: &Place) -> Result<Self> {
        let settings = Self::load(place)?;
        if settings.target.is_empty() {
            bail!(
                "no backup target is set: add a [[box.backup.target]] with a name and a folder, sftp or rest to {}, then run \
                 `hadadactl backup setup`",
                place.config().display()
            );
        }
        Ok(settings)
    }

    fn check(&self, file: &Path) -> Result<()> {
        let wrong = |field: &str, rule: &str| -> Result<()> {
            bail!("{}: [box.backup] {field}: {rule}", file.display())
        };
        let mut names = BTreeSet::new();
        for (number, target) in self.target.iter().enumerate() {
            let field = |name: &str| format!("target {} ({}): {name}", number + 1, target.name);
            if target.name.is_empty()
                || target.name.len() > 40
                || !target
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            {
                return wrong(
                    &field("name"),
                    "use 1 to 40 small letters, digits and hyphens",
                );
            }
            if !names.insert(&target.name) {
                return wrong(&field("name"), "two targets have this name");
            }
            let kinds = [
                target.folder.is_some(),
                target.sftp.is_some(),
                target.rest.is_some(),
            ];
            if kinds.iter().filter(|given| **given).count() != 1 {
                return wrong(&field("folder, sftp, rest"), "give exactly one of them");
            }
            if let Some(folder) = &target.folder
                && (!folder.is_absolute() || folder == Path::new("/"))
            {
                return wrong(&field("folder"), "give the whole path, starting with /");
            }
            if target.folder.is_none() && (target.uuid.is_some() || target.plain_folder) {
                return wrong(&field("uuid, plain_folder"), "they go with a folder only");
            }
            if target.uuid.is_some() && target.plain_folder {
                return wrong(
                    &field("uuid"),
                    "a plain_folder is on no file system of its own",
                );
            }
            if let Some(sftp) = &target.sftp {
                let plain = |text: &str| {
                    !text.is_empty()
                        && text
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte))
                        && !text.starts_with('-')
                };
                for (name, text) in [
                    ("sftp.host", &sftp.host),
                    ("sftp.user", &sftp.user),
                    ("sftp.path", &sftp.path),
                ] {
                    if !plain(text) {
                        return wrong(
                            &field(name),
                            "use letters, digits and . _ - : / only, and not a hyphen first",
                        );
                    }
                }
                let mut parts = sftp.host_key.split(' ');
                if !parts
                    .next()
                    .is_some_and(|kind| kind.starts_with("ssh-") || kind.starts_with("ecdsa-"))
                    || parts.next().is_none_or(|key| key.len() < 40)
                    || sftp.host_key.contains(['\n', '\r'])
                {
                    return wrong(
                        &field("sftp.host_key"),
                        "give the server's public host key as in its file /etc/ssh/ssh_host_ed25519_key.pub",
                    );
                }
            }
            if let Some(rest) = &target.rest {
                let host = rest
                    .url
                    .strip_prefix("https://")
                    .or_else(|| rest.url.strip_prefix("http://127.0.0.1:"));
                match host {
                    None => {
                        return wrong(
                            &field("rest.url"),
                            "it must start with https://; plain http is for 127.0.0.1 only",
                        );
                    }
                    Some(rest) if rest.contains('@') => {
                        return wrong(
                            &field("rest.url"),
                            "give the user in rest.user and the password as the secret backup-NAME.password, not in the address",
                        );
                    }
                    Some(_) => {}
                }
                if rest
                    .user
                    .as_deref()
                    .is_some_and(|user| user.is_empty() || user.contains(['@', ':', '/', '\n']))
                {
                    return wrong(&field("rest.user"), "it can't hold @ : / or a new line");
                }
            }
        }
        if let Some(wal) = &self.wal
            && !names.contains(wal)
        {
            return wrong("wal", &format!("there is no target {wal}"));
        }
        let keep = self.keep;
        if keep.days < 1 {
            return wrong("keep.days", "keep at least 1");
        }
        for (field, value, most) in [
            ("keep.days", keep.days, 366),
            ("keep.weeks", keep.weeks, 520),
            ("keep.months", keep.months, 240),
            ("keep.years", keep.years, 100),
        ] {
            if value > most {
                return wrong(field, &format!("at most {most}"));
            }
        }
        // The base backup that reaches furthest back is up to a week and a day older than the window.
        if !(1..=KEYS_DAYS - 8).contains(&keep.any_second_days) {
            return wrong(
                "keep.any_second_days",
                &format!(
                    "from 1 to {}: copies of patients' keys must be gone 30 days after an erasure",
                    KEYS_DAYS - 8
                ),
            );
        }
        if self.spool_limit_mb < 64 {
            return wrong("spool_limit_mb", "at least 64");
        }
        if self.stall_seconds < 1 {
            return wrong("stall_seconds", "at least 1");
        }
        if let Some(scratch) = &self.scratch
            && !scratch.is_absolute()
        {
            return wrong("scratch", "give the whole path, starting with /");
        }
        Ok(())
    }

    /// After how long without progress a backup is given up.
    pub fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds)
    }

    /// The target that takes the continuous log.
    pub fn wal_target(&self) -> Option<&Target> {
        match &self.wal {
            Some(name) => self.target.iter().find(|target| target.name == *name),
            None => self.target.first(),
        }
    }

    /// The target of this name, or the one that takes the continuous log.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(&self, name: Option<&str>) -> Result<&Target> {
        let found = match name {
            Some(name) => self.target.iter().find(|target| target.name == name),
            None => self.wal_target(),
        };
        match (found, name) {
            (Some(target), _) => Ok(target),
            (None, Some(name)) => bail!(
                "there is no backup target {name}; there are: {}",
                self.target
                    .iter()
                    .map(|target| target.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            (None, None) => bail!("no backup target is set"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let settings: Settings = match toml::from_str(text) {
            Ok(settings) => settings,
            Err(error) => return error.to_string(),
        };
        settings
            .check(Path::new("hadada.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn each_mistake_is_told_with_its_field() {
        for (text, field) in [
            ("[[target]]\nname='Usb'\nfolder='/mnt/a'", "name: use"),
            (
                "[[target]]\nname='usb'",
                "folder, sftp, rest: give exactly one",
            ),
            (
                "[[target]]\nname='usb'\nfolder='mnt'",
                "folder: give the whole path",
            ),
            (
                "[[target]]\nname='usb'\nfolder='/'",
                "folder: give the whole path",
            ),
            (
                "[[target]]\nname='usb'\nfolder='/a'\nuuid='1'\nplain_folder=true",
                "uuid: a plain_folder",
            ),
            (
                "[[target]]\nname='a'\nfolder='/a'\n[[target]]\nname='a'\nfolder='/b'",
                "two targets have this name",
            ),
            (
                "[[target]]\nname='a'\nrest={url='https://u:p@h/'}",
                "rest.url: give the user in rest.user",
            ),
            (
                "[[target]]\nname='a'\nrest={url='http://nas/'}",
                "rest.url: it must start with https",
            ),
            (
                "[[target]]\nname='a'\nsftp={host='-oProxyCommand=x',user='u',path='p',host_key='x'}",
                "sftp.host: use",
            ),
            (
                "[[target]]\nname='a'\nsftp={host='h',user='u',path='p',host_key='x'}",
                "sftp.host_key: give",
            ),
            (
                "wal='b'\n[[target]]\nname='a'\nfolder='/a'",
                "wal: there is no target b",
            ),
            ("keep={days=0}", "keep.days: keep at least 1"),
            (
                "keep={any_second_days=30}",
                "keep.any_second_days: from 1 to 21",
            ),
            ("spool_limit_mb=1", "spool_limit_mb: at least 64"),
            ("retention=1", "unknown field `retention`"),
        ] {
            let said = refused(text);
            assert!(said.contains(field), "{text}: {said}");
        }
    }

    #[test]
    fn the_first_target_takes_the_log_unless_another_is_named() {
        let text = "[[target]]\nname='a'\nfolder='/a'\n[[target]]\nname='b'\nfolder='/b'";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.wal_target().unwrap().name, "a");
        let settings: Settings = toml::from_str(&format!("wal='b'\n{text}")).unwrap();
        settings.check(Path::new("x")).unwrap();
        assert_eq!(settings.wal_target().unwrap().name, "b");
    }
}
