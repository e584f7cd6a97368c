//! A place for backups, from the first-run pages to a repository that works.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apply::{Done, Reporter};
use super::request::{Confirm, Refused, Target};
use crate::files;
use crate::place::Place;
use crate::process::{feed, run, succeeds};
use crate::secrets;
use crate::settings;

/// What the target is called in the configuration.
const NAME: &str = "first";
/// Where a disk or a shared folder is mounted.
const MOUNT: &str = "/srv/hadada-backup";

/// Mounts or connects, writes the configuration, makes the repositories and starts the timers.
///
/// # Errors
/// When the target can't be reached or written; a field where one is to blame. Then all is as it was before.
pub fn set(place: &Place, target: &Target, reporter: &Reporter<'_>) -> Result<Done> {
    let before = Before::look(place)?;
    let done = begin(place, target, reporter);
    if !matches!(done, Ok(Done::Good(_))) {
        before.bring_back(place)?;
    }
    done
}

/// The configuration and the mount as they were, should what is asked for not work.
struct Before {
    config: Vec<u8>,
    unit: PathBuf,
    mount: Option<Vec<u8>>,
}

impl Before {
    fn look(place: &Place) -> Result<Self> {
        let unit = Path::new("/etc/systemd/system").join(mount_unit()?);
        Ok(Self {
            config: files::read_if_there(&place.config())?.unwrap_or_default(),
            mount: files::read_if_there(&unit)?,
            unit,
        })
    }

    fn bring_back(self, place: &Place) -> Result<()> {
        files::replace(&place.config(), 0o644, &self.config)?;
        reload_firewall(place)?;
        let name = mount_unit()?;
        let now = files::read_if_there(&self.unit)?;
        if now == self.mount {
            return Ok(());
        }
        // What was mounted for the try is not needed any more; a share that does not answer can refuse to go.
        let _ = succeeds("systemctl", ["disable", "--now", "--quiet", &name]);
        match &self.mount {
            Some(unit) => files::replace(&self.unit, 0o644, unit)?,
            None => files::remove_file(&self.unit)?,
        }
        run("systemctl", ["daemon-reload"])?;
        if self.mount.is_some() {
            let _ = succeeds("systemctl", ["enable", "--now", "--quiet", &name]);
        }
        Ok(())
    }
}

fn mount_unit() -> Result<String> {
    let name = run("systemd-escape", ["--path", "--suffix=mount", MOUNT])?;
    Ok(name.trim().to_owned())
}

/// Opens the way that the configuration asks for, and says which name could not be looked up where one could not.
fn reload_firewall(place: &Place) -> Result<()> {
    crate::network::rows(place)?;
    run(
        "systemctl",
        ["reload-or-restart", "hadada-firewall.service"],
    )
    .map(drop)
}

fn begin(place: &Place, target: &Target, reporter: &Reporter<'_>) -> Result<Done> {
    reporter.working(5, "Looking at what was asked.")?;
    match target {
        Target::Disk { disk, folder } => {
            reporter.working(15, "Mounting the disk.")?;
            let device = Path::new("/dev/disk/by-uuid").join(disk);
            if !device.exists() {
                return Err(Refused {
                    field: "disk",
                    rule: "This disk is not at the server any more. Plug it in and look again, or choose another.",
                }
                .into());
            }
            mount(
                &device.display().to_string(),
                "auto",
                "nofail,noexec,nosuid,nodev,x-systemd.device-timeout=10s",
            )
            .map_err(|error| {
                error.context(Refused {
                    field: "disk",
                    rule: "This disk can't be mounted. It may be damaged; choose another.",
                })
            })?;
            // A disk with a write-protect switch is mounted all the same.
            let options = run("findmnt", ["-nro", "OPTIONS", "--mountpoint", MOUNT])?;
            if options.trim().split(',').any(|option| option == "ro") {
                return Err(Refused {
                    field: "disk",
                    rule: "This disk can be read but not written. Take off its write protection, or choose another.",
                }
                .into());
            }
            settle_folder(place, folder, Some(disk))?;
        }
        Target::Nfs {
            server,
            export,
            folder,
        } => {
            reporter.working(15, "Mounting the shared folder.")?;
            admit(place, &format!("{server}:2049"))?;
            mount(
                &format!("{server}:{export}"),
                "nfs",
                "nofail,noexec,nosuid,nodev,soft,timeo=100,retrans=2,_netdev",
            )
            .map_err(|error| {
                error.context(Refused {
                    field: "server",
                    rule: "The shared folder can't be mounted.",
                })
            })?;
            settle_folder(place, folder, None)?;
        }
        Target::Smb {
            server,
            share,
            folder,
            user,
            password,
            domain,
        } => {
            reporter.working(15, "Mounting the share.")?;
            let credentials = place.root().join("etc/hadada/backup-smb");
            files::replace(
                &credentials,
                0o600,
                format!(
                    "username={user}\npassword={}\ndomain={domain}\n",
                    password.as_str()
                )
                .as_bytes(),
            )?;
            admit(place, &format!("{server}:445"))?;
            mount(
                &format!("//{server}/{share}"),
                "cifs",
                &format!(
                    "nofail,noexec,nosuid,nodev,soft,_netdev,seal,vers=3.1.1,uid=hadada-backup,gid=hadada-backup,file_mode=0600,dir_mode=0700,credentials={}",
                    credentials.display()
                ),
            )
            .map_err(|error| error.context(Refused { field: "server", rule: "The share can't be mounted." }))?;
            settle_folder(place, folder, None)?;
        }
        Target::Sftp {
            server,
            port,
            user,
            folder,
            host_key,
        } => {
            reporter.working(15, "Asking the other machine for its key.")?;
            if let Some(confirm) =
                settle_sftp(place, server, *port, user, folder, host_key.as_deref())?
            {
                return Ok(Done::Confirm(
                    "Compare this key with the other machine's, and allow the box's key there."
                        .into(),
                    confirm,
                ));
            }
        }
        Target::Rest {
            url,
            user,
            password,
            authority,
        } => {
            let secret = format!("backup-{NAME}.password");
            secrets::replace(place, &secret, password.as_bytes())?;
            let authority = match authority {
                Some(pem) => {
                    let path = place.root().join("etc/hadada/backup-authority.pem");
                    files::replace(&path, 0o644, pem.as_bytes())?;
                    Some(path)
                }
                None => None,
            };
            let (url, user) = (url.clone(), user.clone());
            configure(place, move |entry| {
                let mut rest = toml_edit::InlineTable::new();
                rest.insert("url", url.as_str().into());
                rest.insert("user", user.as_str().into());
                if let Some(path) = &authority {
                    rest.insert("authority", path.display().to_string().into());
                }
                entry["rest"] = toml_edit::value(rest);
            })?;
        }
    }
    reporter.working(
        40,
        "Opening the way to it in the firewall, and nothing else.",
    )?;
    reload_firewall(place)?;
    reporter.working(50, "Making the two repositories, encrypted with two keys.")?;
    // As IT staff would: it hands itself to the account that backs up, which the firewall lets go there.
    let own = std::env::current_exe().context("finding my own program file")?;
    run(
        &own.display().to_string(),
        ["backup", "setup", "--target", NAME],
    )
    .map_err(|error| anyhow::anyhow!("This place can't be used: {}", own_words(&error)))?;
    reporter.working(90, "Starting the nightly backups.")?;
    let mut timers = vec!["enable", "--now", "--quiet"];
    timers.extend([
        "hadada-backup.timer",
        "hadada-base-backup.timer",
        "hadada-wal.timer",
        "hadada-drill.timer",
    ]);
    run("systemctl", timers)?;
    Ok(Done::Good("Backups go there from tonight on; the first one can be made at once with `hadadactl backup run`.".into()))
}

/// What this very program, run once more, gave as its reason: the first line it says in its own name.
fn own_words(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.split_once("hadadactl: ")
        .map_or(text.as_str(), |(_, reason)| reason)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Lets the kernel reach the machine that shares the folder.
fn admit(place: &Place, machine: &str) -> Result<()> {
    settings::change(place, |document| {
        let network = settings::table(document, &["box", "network"]);
        let mut mounts = toml_edit::Array::new();
        mounts.push(machine);
        network["mounts"] = toml_edit::value(mounts);
    })?;
    reload_firewall(place)
}

fn mount(what: &str, kind: &str, options: &str) -> Result<()> {
    let unit = mount_unit()?;
    let unit = unit.as_str();
    // A disk that is taken home at night is mounted when it comes back, not only when the machine starts.
    let device = if what.starts_with("/dev/") {
        let name = run("systemd-escape", ["--path", "--suffix=device", what])?;
        format!(" {}", name.trim())
    } else {
        String::new()
    };
    let content = format!(
        "# Written by the first-run pages.\n[Unit]\nDescription=Hadada: where backups go\n\n[Mount]\nWhat={what}\nWhere={MOUNT}\nType={kind}\nOptions={options}\n\n[Install]\nWantedBy=multi-user.target{device}\n"
    );
    files::replace(
        &Path::new("/etc/systemd/system").join(unit),
        0o644,
        content.as_bytes(),
    )?;
    run("systemctl", ["daemon-reload"])?;
    // A mount that is there already may be of what was asked before.
    if succeeds("systemctl", ["is-active", "--quiet", unit]) {
        run("systemctl", ["stop", unit])?;
    }
    run("systemctl", ["start", unit])?;
    run("systemctl", ["enable", "--quiet", unit]).map(drop)
}

fn settle_folder(place: &Place, folder: &str, uuid: Option<&str>) -> Result<()> {
    let path = Path::new(MOUNT).join(folder);
    files::make_folder(&path, 0o700).map_err(|error| {
        error.context(Refused {
            field: "folder",
            rule: "The folder can't be made.",
        })
    })?;
    // A file system without owners refuses, and is mounted for the right one.
    let _ = succeeds(
        "chown",
        ["hadada-backup:hadada-backup".as_ref(), path.as_os_str()],
    );
    let uuid = uuid.map(str::to_owned);
    configure(place, move |entry| {
        entry["folder"] = toml_edit::value(path.display().to_string());
        if let Some(uuid) = &uuid {
            entry["uuid"] = toml_edit::value(uuid.as_str());
        }
    })
}

/// None where the other machine's key is the one somebody compared.
fn settle_sftp(
    place: &Place,
    server: &str,
    port: u16,
    user: &str,
    folder: &str,
    compared: Option<&str>,
) -> Result<Option<Confirm>> {
    let secret = format!("backup-{NAME}.ssh");
    let sftp = |host_key: String| {
        let (server, user, folder) = (server.to_owned(), user.to_owned(), folder.to_owned());
        move |entry: &mut toml_edit::Table| {
            let mut sftp = toml_edit::InlineTable::new();
            sftp.insert("host", server.into());
            sftp.insert("port", i64::from(port).into());
            sftp.insert("user", user.into());
            sftp.insert("path", folder.into());
            sftp.insert("host_key", host_key.into());
            entry["sftp"] = toml_edit::value(sftp);
        }
    };
    // Nothing leaves the box but what the configuration names, and that only as the account that backs up. The key is not
    // known yet; one that no server has stands for it until it is.
    configure(place, sftp(format!("ssh-ed25519 {}", "A".repeat(68))))?;
    reload_firewall(place)?;
    let listed = run(
        "setpriv",
        [
            "--reuid=hadada-backup",
            "--regid=hadada-backup",
            "--clear-groups",
            "--no-new-privs",
            "--",
            "ssh-keyscan",
            "-T",
            "10",
            "-t",
            "ed25519",
            "-p",
            &port.to_string(),
            "--",
            server,
        ],
    )
    .unwrap_or_default();
    let host_key = listed
        .lines()
        .find(|line| !line.starts_with('#'))
        .and_then(|line| line.split_once(' '))
        .map(|(_, key)| key.trim().to_owned())
        .ok_or(Refused {
            field: "server",
            rule: "No SSH server with an Ed25519 key answers there.",
        })?;
    let fingerprint = fingerprint(&host_key)?;
    let public = match secrets::read(place, &secret)? {
        Some(private) => feed("ssh-keygen", ["-y", "-f", "/dev/stdin"], &private)?,
        None => {
            let (private, public) = new_ssh_key()?;
            secrets::create(place, &secret, &private)?;
            public
        }
    };
    if compared != Some(fingerprint.as_str()) {
        return Ok(Some(Confirm {
            host_key: fingerprint,
            public_key: public.trim().to_owned(),
        }));
    }
    configure(place, sftp(host_key))?;
    Ok(None)
}

fn fingerprint(host_key: &str) -> Result<String> {
    let said = feed(
        "ssh-keygen",
        ["-l", "-E", "sha256", "-f", "/dev/stdin"],
        format!("{host_key}\n").as_bytes(),
    )?;
    said.split_whitespace()
        .find(|word| word.starts_with("SHA256:"))
        .map(str::to_owned)
        .context("ssh-keygen gave no fingerprint")
}

/// A key pair for SSH: the private half, and the public one's line.
///
/// # Errors
/// When ssh-keygen can't make one.
pub fn new_ssh_key() -> Result<(zeroize::Zeroizing<Vec<u8>>, String)> {
    // In memory only: /run is no disk.
    let folder = Path::new("/run/hadada-setup/ssh");
    files::make_folder(folder, 0o700)?;
    let file = folder.join("key");
    let made = run(
        "ssh-keygen",
        [
            "-q".as_ref(),
            "-t".as_ref(),
            "ed25519".as_ref(),
            "-N".as_ref(),
            "".as_ref(),
            "-C".as_ref(),
            "hadada".as_ref(),
            "-f".as_ref(),
            file.as_os_str(),
        ],
    )
    .and_then(|_| {
        let private = zeroize::Zeroizing::new(std::fs::read(&file)?);
        Ok((
            private,
            std::fs::read_to_string(file.with_extension("pub"))?,
        ))
    });
    std::fs::remove_dir_all(folder)?;
    made
}

/// Writes the target into the configuration in place of the one these pages set before.
fn configure(place: &Place, fill: impl FnOnce(&mut toml_edit::Table)) -> Result<()> {
    settings::change(place, |document| {
        let backup = settings::table(document, &["box", "backup"]);
        let targets = backup
            .entry("target")
            .or_insert_with(|| toml_edit::Item::ArrayOfTables(toml_edit::ArrayOfTables::new()));
        if let Some(targets) = targets.as_array_of_tables_mut() {
            targets.retain(|target| {
                target.get("name").and_then(toml_edit::Item::as_str) != Some(NAME)
            });
            let mut entry = toml_edit::Table::new();
            entry["name"] = toml_edit::value(NAME);
            fill(&mut entry);
            targets.push(entry);
        }
    })
}
