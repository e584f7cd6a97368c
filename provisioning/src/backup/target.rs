//! Whether a target is there, and how restic is told of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::keys::{BackupKeys, Repository};
use super::settings::{Rest, Settings, Sftp, Target};
use super::turns::Turns;
use crate::files;
use crate::place::Place;
use crate::restic::{Access, Restic};
use crate::secrets;

/// Makes sure that a folder target is there; what is reached over the network shows when it is used.
///
/// # Errors
/// When it is not; the error says what to do.
pub fn check(place: &Place, target: &Target) -> Result<()> {
    let Some(folder) = &target.folder else {
        return Ok(());
    };
    let name = &target.name;
    let device = match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => metadata.dev(),
        Ok(_) => bail!(
            "the backup target {name}: {} is not a folder",
            folder.display()
        ),
        Err(error) => bail!(
            "the backup target {name} is not there: {}: {error}. Plug the disk in, or mount it",
            folder.display()
        ),
    };
    if target.plain_folder {
        return Ok(());
    }
    // By the device and not by the table of mounts: a unit's own read-write folders look like mounts in that.
    let on = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    if on(Path::new("/")) == Some(device) || on(place.state()) == Some(device) {
        bail!(
            "the backup target {name} is not there: nothing is mounted at {}, so a backup would fill the box's own disk. Plug \
             the disk in and mount it, or say plain_folder = true where the folder is meant to be on this disk",
            folder.display()
        );
    }
    if let Some(uuid) = &target.uuid {
        let disk = Path::new("/dev/disk/by-uuid").join(uuid);
        let there = fs::metadata(&disk).map(|metadata| metadata.rdev()).ok();
        if there != Some(device) {
            bail!(
                "the backup target {name}: another disk than {uuid} is mounted at {}",
                folder.display()
            );
        }
    }
    Ok(())
}

/// A folder that this process made and that goes with it: for the few secrets that a program takes from a file only.
pub struct Private(PathBuf);

impl Private {
    pub fn new() -> Result<Self> {
        let parent =
            std::env::var_os("RUNTIME_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| anyhow::anyhow!("this machine gives no random numbers: {error}"))?;
        let path = parent.join(format!("hadada-{}", hex::encode(random)));
        files::make_folder(&path, 0o700)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One of the two repositories at a target.
///
/// # Errors
/// When what is needed to reach it is missing.
pub fn open(
    place: &Place,
    settings: &Settings,
    target: &Target,
    keys: &BackupKeys,
    repository: Repository,
) -> Result<Restic> {
    let access = match (&target.folder, &target.sftp, &target.rest) {
        (Some(folder), ..) => Access {
            location: folder.join(repository.name()).display().to_string(),
            ..Access::default()
        },
        (_, Some(sftp), _) => over_ssh(place, target, sftp, repository)?,
        (.., Some(rest)) => over_http(place, target, rest, repository)?,
        _ => bail!("the backup target {} is of no kind", target.name),
    };
    Ok(Restic::new(
        access,
        keys.password(repository),
        settings.stall(),
        Turns::of(place, target, repository),
    ))
}

/// The name of the secret that an SFTP target lets in.
pub fn ssh_secret(target: &str) -> String {
    format!("backup-{target}.ssh")
}

/// The name of the secret that a REST server lets in.
pub fn password_secret(target: &str) -> String {
    format!("backup-{target}.password")
}

fn no_access(target: &Target) -> String {
    format!(
        "the backup target {0} lets nobody in yet: run `hadadactl backup access {0}`",
        target.name
    )
}

fn over_ssh(place: &Place, target: &Target, sftp: &Sftp, repository: Repository) -> Result<Access> {
    let private = Private::new()?;
    let key =
        secrets::read(place, &ssh_secret(&target.name))?.with_context(|| no_access(target))?;
    let (key_file, hosts) = (private.0.join("key"), private.0.join("known_hosts"));
    files::create(&key_file, 0o600, &key)?;
    let line = format!(
        "[{}]:{} {}\n{} {}\n",
        sftp.host, sftp.port, sftp.host_key, sftp.host, sftp.host_key
    );
    files::create(&hosts, 0o600, line.as_bytes())?;
    // Settings were checked to hold nothing that a shell or ssh would take apart.
    let command = format!(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=none -o UserKnownHostsFile={} \
         -o IdentitiesOnly=yes -o ConnectTimeout=20 -o ServerAliveInterval=20 -i {} -p {} {}@{} -s sftp",
        hosts.display(),
        key_file.display(),
        sftp.port,
        sftp.user,
        sftp.host
    );
    Ok(Access {
        location: format!(
            "sftp:{}@{}:{}/{}",
            sftp.user,
            sftp.host,
            sftp.path.trim_end_matches('/'),
            repository.name()
        ),
        options: vec![format!("sftp.command={command}")],
        _private: Some(private),
        authority: None,
    })
}

fn over_http(
    place: &Place,
    target: &Target,
    rest: &Rest,
    repository: Repository,
) -> Result<Access> {
    let mut url = rest.url.trim_end_matches('/').to_owned();
    if let Some(user) = &rest.user {
        let name = password_secret(&target.name);
        let password = secrets::read(place, &name)?.with_context(|| no_access(target))?;
        let password = std::str::from_utf8(&password)
            .with_context(|| format!("the secret {name} is not text"))?;
        let (scheme, host) = url.split_once("://").unwrap_or(("https", &url));
        url = format!(
            "{scheme}://{}:{}@{host}",
            escape(user),
            escape(password.trim_end())
        );
    }
    Ok(Access {
        location: format!("rest:{url}/{}/", repository.name()),
        authority: rest.authority.clone(),
        ..Access::default()
    })
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
