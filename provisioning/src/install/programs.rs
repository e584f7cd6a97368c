//! Programs, users, folders, keys and the configuration.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;

use super::{Progress, Wishes};
use crate::commands;
use crate::files;
use crate::place::Place;
use crate::process::run;
use crate::settings;
use crate::update::home::Home;
use crate::update::trust;

/// The release's own name, which is its folder's.
fn version(release: &Path) -> Result<String> {
    let text = fs::read_to_string(release.join("VERSION")).with_context(|| {
        format!(
            "{} is not a release: it has no file VERSION",
            release.display()
        )
    })?;
    let version = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    if version.is_empty()
        || version.len() > 64
        || !version.chars().all(plain)
        || version.starts_with('.')
    {
        bail!(
            "{} names no version: {version:?}",
            release.join("VERSION").display()
        );
    }
    Ok(version.to_owned())
}

/// Copies the release into its slot and makes it the current one where there is none.
///
/// # Errors
/// When another release is current: that is what updates are for.
pub fn put(place: &Place, release: &Path, progress: &mut Progress) -> Result<()> {
    let version = version(release)?;
    let programs = place.programs();
    let slot = programs.join("releases").join(&version);
    let current = programs.join("current");
    if let Ok(now) = fs::read_link(&current)
        && now != Path::new("releases").join(&version)
    {
        bail!(
            "this box runs {} already: bring {version} in with `hadadactl update apply`, which can go back when it does not work",
            now.display()
        );
    }
    if slot.join("VERSION").exists() {
        progress.kept(&format!("release {version} in {}", slot.display()));
    } else {
        progress.change(
            &format!("copy release {version} to {}", slot.display()),
            || {
                let new = programs.join("releases").join(format!(".{version}.new"));
                if new.exists() {
                    fs::remove_dir_all(&new)?;
                }
                files::make_folder(&programs.join("releases"), 0o755)?;
                copy(release, &new)?;
                fs::rename(&new, &slot)?;
                Ok(())
            },
        )?;
    }
    if current.exists() {
        progress.kept(&current.display().to_string());
    } else {
        progress.change(&format!("make release {version} the current one"), || {
            Ok(symlink(Path::new("releases").join(&version), &current)?)
        })?;
    }
    guard_the_boot(place, &version, progress)?;
    let link = place.root().join("usr/local/bin/hadadactl");
    if fs::read_link(&link).is_ok_and(|to| to == current.join("bin/hadadactl")) {
        progress.kept(&link.display().to_string());
    } else {
        progress.change(&format!("link {}", link.display()), || {
            let _ = fs::remove_file(&link);
            Ok(symlink(current.join("bin/hadadactl"), &link)?)
        })?;
    }
    Ok(())
}

/// The release that looks after the boot until an update brings another that works.
fn guard_the_boot(place: &Place, version: &str, progress: &mut Progress) -> Result<()> {
    let guard = Home::new(place.clone()).guard();
    if guard.exists() {
        progress.kept(&guard.display().to_string());
        return Ok(());
    }
    progress.change(&format!("let release {version} guard the boot"), || {
        Ok(symlink(Path::new("releases").join(version), &guard)?)
    })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            fs::set_permissions(
                &target,
                fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }),
            )?;
            fs::File::open(&target)?.sync_all()?;
        } else {
            bail!(
                "{} is neither a file nor a folder: a release has no such thing",
                entry.path().display()
            );
        }
    }
    Ok(fs::File::open(to)?.sync_all()?)
}

/// Users from sysusers.d, folders from tmpfiles.d.
///
/// # Errors
/// When they can't be made.
pub fn users_and_folders(place: &Place, progress: &mut Progress) -> Result<()> {
    let slot = place.programs().join("current/systemd");
    for (name, tool) in [
        ("sysusers.d", "systemd-sysusers"),
        ("tmpfiles.d", "systemd-tmpfiles"),
    ] {
        let source = slot.join(name).join("hadada.conf");
        if progress.dry_run() && !source.exists() {
            progress.change(&format!("make what {name}/hadada.conf asks for"), || Ok(()))?;
            continue;
        }
        let content =
            fs::read(&source).with_context(|| format!("can't read {}", source.display()))?;
        let target = place.root().join("etc").join(name).join("hadada.conf");
        progress.file(&target, 0o644, &content)?;
        if !progress.dry_run() {
            let mut arguments = vec![target.into_os_string()];
            if tool == "systemd-tmpfiles" {
                arguments.insert(0, "--create".into());
            }
            run(tool, arguments)?;
        }
    }
    Ok(())
}

/// The names the box goes by: those asked for, else those it has, else the machine's.
///
/// # Errors
/// When the configuration can't be read.
pub fn hosts(place: &Place, wishes: &Wishes) -> Result<Vec<String>> {
    if !wishes.hosts.is_empty() {
        return Ok(wishes.hosts.clone());
    }
    if let Some(host) =
        settings::web(place, "host")?.and_then(|host| host.as_str().map(str::to_owned))
    {
        return Ok(vec![host]);
    }
    let name = fs::read_to_string(place.root().join("etc/hostname")).unwrap_or_default();
    let name = name.trim().to_lowercase();
    let first = if name.is_empty() || name == "localhost" {
        "hadada"
    } else {
        name.as_str()
    };
    let mut hosts = vec![format!("{}.local", first.trim_end_matches(".local"))];
    hosts.extend(addresses()?);
    Ok(hosts)
}

/// The machine's addresses in its networks.
fn addresses() -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Interface {
        #[serde(default)]
        addr_info: Vec<Address>,
    }
    #[derive(serde::Deserialize)]
    struct Address {
        family: String,
        scope: String,
        local: String,
    }
    let text = run("ip", ["-json", "address", "show", "scope", "global"])?;
    let interfaces: Vec<Interface> = serde_json::from_str(&text).unwrap_or_default();
    Ok(interfaces
        .into_iter()
        .flat_map(|interface| interface.addr_info)
        .filter(|address| address.family == "inet" && address.scope == "global")
        .map(|address| address.local)
        .collect())
}

/// Keys, authority and certificate; none that exists is replaced.
///
/// # Errors
/// When they can't be made or sealed.
pub fn keys(place: &Place, hosts: &[String], progress: &mut Progress) -> Result<()> {
    if place.certificate().exists() && place.recovery_public_key().exists() {
        progress.kept("keys and certificate");
        return Ok(());
    }
    progress.change(
        "make the box's keys, its authority and its certificate",
        || commands::init::run(place, hosts, OffsetDateTime::now_utc()).map(drop),
    )
}

/// The configuration, where there is none: a person may have changed it since.
///
/// # Errors
/// When it can't be written.
pub fn configuration(place: &Place, hosts: &[String], progress: &mut Progress) -> Result<()> {
    let path = place.config();
    if path.exists() {
        progress.kept(&path.display().to_string());
        return Ok(());
    }
    let host = hosts.first().context("the box has no name")?;
    let mut text = String::from(
        "# The box's one configuration file. `hadadactl doctor` says what is wrong with it.\n",
    );
    let credentials = "/run/credentials/hadada.service";
    for (name, value) in [
        ("host", host.as_str()),
        ("postgres", "/run/postgresql"),
        ("tls_certificate", "/var/lib/hadada/tls/cert.pem"),
        ("tls_key", &format!("{credentials}/tls.key")),
        ("master_key", &format!("{credentials}/master.key")),
        ("audit_key", &format!("{credentials}/audit.key")),
        ("recovery_key", "/var/lib/hadada/keys/recovery.pub"),
        ("audit_head", "/var/lib/hadada/audit/head.json"),
        ("inference_socket", "/run/hadada/inference.sock"),
        ("admin_socket", "/run/hadada/admin.sock"),
        ("typeset_socket", "/run/hadada/typeset.sock"),
    ] {
        writeln!(text, "{name} = {}", toml::Value::from(value))?;
    }
    text.push_str(
        "\n# Who may reach the box, and the only places it may reach: see `hadadactl egress show`.\n\
         [box.network]\n\
         lan = [\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"169.254.0.0/16\", \"fc00::/7\", \"fe80::/10\"]\n\
         ssh = []\n",
    );
    progress.file(&path, 0o644, text.as_bytes()).map(drop)
}

/// Trusts the vendor's keys that came with the release, where the box trusts none yet: later releases must be signed by them.
///
/// # Errors
/// When they can't be used.
pub fn vendor(place: &Place, release: &Path, progress: &mut Progress) -> Result<()> {
    let root = release.join("root.json");
    let home = Home::new(place.clone());
    if home.root().exists() {
        progress.kept("the vendor's keys");
    } else if root.exists() {
        progress.change("trust the vendor's keys that came with the release", || {
            trust::adopt(&home, &root)
        })?;
    } else {
        println!(
            "note   the release brings no vendor's keys: updates need `hadadactl update trust ROOT` first"
        );
    }
    Ok(())
}
