//! Moves the records to the opened disk. Until the tables of disks and mounts hold, the records stay where they were; what was
//! begun is taken up again by running it again.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{MOUNT, MOVED, NAME, OPENED, SECRETS, luks};
use crate::commands::reserve;
use crate::files;
use crate::process::{run, succeeds};
use crate::systemctl;

/// Where the disk's own folders can be seen that are hidden below the mounts.
const BELOW: &str = "/run/hadada-disk/below";
/// What holds the firewall and words on the console; it uses no records.
const STAY: [&str; 2] = ["hadada-firewall.service", "hadada-records-disk.service"];
const POSTGRES: &str = "postgresql@15-hadada.service";
/// What must not be broken off in the middle.
const PATIENCE: [&str; 5] = [
    "hadada-update.service",
    "hadada-backup.service",
    "hadada-base-backup.service",
    "hadada-drill.service",
    "hadada-migrate.service",
];

/// Says what is done, and does it.
///
/// # Errors
/// As the deed, with what it was.
pub fn step<T>(words: &str, deed: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("  {words}");
    deed().with_context(|| format!("it failed while {words}"))
}

/// Whether the table of mounts names the disk.
pub fn is_in_table() -> bool {
    fs::read_to_string("/etc/fstab")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(MOUNT))
}

/// The box's units that run now.
fn running() -> Result<Vec<String>> {
    let said = run(
        "systemctl",
        [
            "list-units",
            "--plain",
            "--no-legend",
            "--no-pager",
            "--state=active,activating,reloading",
            "hadada*.service",
            "hadada*.socket",
            "hadada*.timer",
            "hadada*.path",
            "hadada*.target",
            POSTGRES,
        ],
    )?;
    let mut found = Vec::new();
    for line in said.lines() {
        let mut words = line.split_whitespace();
        let (Some(unit), _, _, Some(state)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        if PATIENCE.contains(&unit) && state != "exited" {
            bail!("{unit} is at work: wait until it is done, then run this again");
        }
        // Instances come of their sockets.
        if !STAY.contains(&unit) && (!unit.contains('@') || unit == POSTGRES) {
            found.push(unit.to_owned());
        }
    }
    Ok(found)
}

/// Copies the records to the opened disk and lets the machine use them there, now and at each start. The box stands still
/// meanwhile, and runs again afterwards, however this ends.
///
/// # Errors
/// When they can't be moved; they then stay where they were.
pub fn records(crypttab: &str) -> Result<()> {
    let units = running()?;
    step("stopping the box", || systemctl::stop(&units))?;
    let moved = copy().and_then(|()| switch_or_back(crypttab));
    if moved.is_err() {
        for folder in [MOVED[1], MOVED[0], MOUNT] {
            if succeeds("mountpoint", ["-q", folder]) {
                let _ = run("umount", [folder]);
            }
        }
        let _ = run("systemctl", ["daemon-reload"]);
    }
    let started = step("starting the box", || systemctl::start(&units));
    moved?;
    started
}

fn inside(folder: &str) -> String {
    format!("{MOUNT}/{}", folder.trim_start_matches("/var/lib/"))
}

fn copy() -> Result<()> {
    // Room held back on the old disk; on the new one it is held back again.
    for folder in MOVED {
        files::remove_file(&Path::new(folder).join(reserve::FILE))?;
    }
    files::make_folder(Path::new(MOUNT), 0o755)?;
    if !succeeds("mountpoint", ["-q", MOUNT]) {
        run("mount", ["-o", "nosuid,nodev", OPENED, MOUNT])?;
    }
    let mut needed = 0;
    for folder in MOVED {
        let said = run("du", ["-sxB1", folder])?;
        needed += said
            .split_whitespace()
            .next()
            .and_then(|bytes| bytes.parse::<u64>().ok())
            .unwrap_or(0);
    }
    let disk = rustix::fs::statvfs(MOUNT)?;
    let free = disk.f_bavail * disk.f_frsize;
    // As much again for growing is little enough.
    if free < needed + needed / 5 {
        bail!(
            "the records need {:.1} GB and the disk has room for {:.1} GB: take a larger one",
            needed as f64 / 1e9,
            free as f64 / 1e9
        );
    }
    for folder in MOVED {
        let inside = inside(folder);
        // What an attempt before this one left.
        if Path::new(&inside).exists() {
            fs::remove_dir_all(&inside)?;
        }
        step(&format!("copying {folder}"), || {
            run("cp", ["-a", folder, MOUNT])?;
            run("sync", ["-f", MOUNT])?;
            if !succeeds("diff", ["-rq", "--no-dereference", folder, &inside]) {
                bail!("the copy of {folder} is not the same: the records stay where they are");
            }
            Ok(())
        })?;
    }
    files::make_folder(Path::new(SECRETS), 0o700)
}

/// [`switch`], or everything as before: a table that names the copy while the box goes on with the old folders would bring
/// yesterday's records back at the next start.
fn switch_or_back(crypttab: &str) -> Result<()> {
    let tables = ["/etc/crypttab", "/etc/fstab"].map(Path::new);
    let before = [
        files::read_if_there(tables[0])?,
        files::read_if_there(tables[1])?,
    ];
    let done = switch(crypttab);
    if done.is_err() {
        // The other way round than they were written.
        for (table, content) in tables.iter().zip(before).rev() {
            files::replace(table, 0o644, &content.unwrap_or_default())
                .with_context(|| format!("{} could not be put back as it was: take its lines with {NAME} out before the machine restarts", table.display()))?;
        }
    }
    done
}

/// From here on the machine finds them there.
fn switch(crypttab: &str) -> Result<()> {
    put("/etc/crypttab", &format!("{NAME} "), crypttab)?;
    // `nofail`: where the disk stays closed, the machine starts without its records, so that IT can reach it. Whatever needs
    // them names the mounts and does not start.
    let mut table = format!("{OPENED} {MOUNT} ext4 defaults,nosuid,nodev,nofail 0 2\n");
    for folder in MOVED {
        table += &format!(
            "{} {folder} none bind,nofail,x-systemd.requires-mounts-for={MOUNT},x-systemd.before=systemd-tmpfiles-setup.service 0 0\n",
            inside(folder)
        );
    }
    put("/etc/fstab", &format!("{OPENED} "), &table)?;
    for folder in MOVED {
        run("mount", ["--bind", &inside(folder), folder])?;
    }
    run("systemctl", ["daemon-reload"]).map(drop)
}

/// Overwrites and removes what still lies on the old disk, below the mounts.
///
/// # Errors
/// When it can't be removed.
pub fn forget_plain() -> Result<()> {
    files::make_folder(Path::new(BELOW), 0o700)?;
    // Only the old disk itself, without what is mounted on it.
    run("mount", ["--bind", "/var/lib", BELOW])?;
    let done = MOVED.iter().try_for_each(|folder| {
        let old = format!("{BELOW}/{}", folder.trim_start_matches("/var/lib/"));
        if !Path::new(&old).exists() {
            return Ok(());
        }
        run(
            "find",
            [
                &old, "-xdev", "-type", "f", "-exec", "shred", "-u", "-n", "1", "{}", "+",
            ],
        )?;
        run("find", [&old, "-xdev", "-mindepth", "1", "-delete"]).map(drop)
    });
    run("umount", [BELOW])?;
    done
}

/// Whether files still lie on the old disk, below the mounts. Root only.
///
/// # Errors
/// When it can't be looked at.
pub fn plain_is_left() -> Result<bool> {
    files::make_folder(Path::new(BELOW), 0o700)?;
    run("mount", ["--bind", "/var/lib", BELOW])?;
    let found = MOVED.iter().try_fold(false, |found, folder| {
        let old = format!("{BELOW}/{}", folder.trim_start_matches("/var/lib/"));
        Ok::<_, anyhow::Error>(
            found
                || Path::new(&old).exists()
                    // The firewall's own rules, of a start while the disk was closed, are no records.
                    && !run(
                        "find",
                        [
                            &old, "-xdev", "-type", "f", "-not", "-path", "*/egress/*", "-print",
                            "-quit",
                        ],
                    )?
                    .trim()
                    .is_empty(),
        )
    });
    run("umount", [BELOW])?;
    found
}

/// Mounts what the tables name.
///
/// # Errors
/// When the records can't be mounted.
pub fn mount_all() -> Result<()> {
    run("systemctl", ["daemon-reload"])?;
    run(
        "systemctl",
        [
            "reset-failed",
            "hadada*",
            "postgresql@15-hadada*",
            "systemd-cryptsetup@*",
            "*hadada*.mount",
            "var-lib-*.mount",
        ],
    )?;
    step("mounting the records", || {
        run("systemctl", ["start", super::UNIT])?;
        for folder in [MOUNT, MOVED[0], MOVED[1]] {
            let unit = run("systemd-escape", ["--path", "--suffix=mount", folder])?;
            run("systemctl", ["start", unit.trim()])?;
        }
        Ok(())
    })
}

/// Mounts what the tables name and starts what waits for it.
///
/// # Errors
/// When the records can't be mounted or the box does not start.
pub fn start_all() -> Result<()> {
    mount_all()?;
    // Folders that a newer release asks for.
    run(
        "systemd-tmpfiles",
        ["--create", "/etc/tmpfiles.d/hadada.conf"],
    )?;
    step("starting the box", || {
        run("systemctl", ["restart", "hadada-records-disk.service"])?;
        // Whatever starts with the machine and is not running.
        run(
            "systemctl",
            [
                "start",
                "sockets.target",
                "timers.target",
                "paths.target",
                "multi-user.target",
                "hadada.service",
            ],
        )
        .map(drop)
    })
}

/// Makes every key of the disk void, so that nothing on it can be read again, and lets the machine start without it.
///
/// # Errors
/// When it is in use, or its keys can't be destroyed; the tables then still name it.
pub fn erase(device: &Path) -> Result<()> {
    for folder in [MOVED[1], MOVED[0], MOUNT] {
        if succeeds("mountpoint", ["-q", folder]) {
            run("umount", [folder])?;
        }
    }
    luks::close()?;
    luks::erase(device)?;
    put("/etc/fstab", &format!("{OPENED} "), "")?;
    for folder in MOVED {
        put("/etc/fstab", &format!("{} ", inside(folder)), "")?;
    }
    put("/etc/crypttab", &format!("{NAME} "), "")?;
    fs::remove_dir(MOUNT).with_context(|| format!("can't remove the empty folder {MOUNT}"))
}

/// Puts lines into a table, in the place of any that begin so.
fn put(path: &str, beginning: &str, lines: &str) -> Result<()> {
    let path = Path::new(path);
    let content = files::read_if_there(path)?.unwrap_or_default();
    let content =
        String::from_utf8(content).with_context(|| format!("{} is not text", path.display()))?;
    files::replace(
        path,
        0o644,
        with_lines(&content, beginning, lines).as_bytes(),
    )
}

fn with_lines(content: &str, beginning: &str, lines: &str) -> String {
    let mut text: String = content
        .lines()
        .filter(|line| !line.starts_with(beginning))
        .flat_map(|line| [line, "\n"])
        .collect();
    text.push_str(lines);
    text
}

#[cfg(test)]
mod tests {
    use super::with_lines;

    #[test]
    fn a_table_keeps_its_other_lines() {
        assert_eq!(with_lines("", "a ", "a 1\n"), "a 1\n");
        assert_eq!(
            with_lines("# table\na 0\nab 2", "a ", "a 1\n"),
            "# table\nab 2\na 1\n"
        );
    }
}
