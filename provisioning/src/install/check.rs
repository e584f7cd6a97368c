//! Whether this machine can be a box.

use std::fs;
use std::path::Path;

use anyhow::Result;
use time::OffsetDateTime;

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub is: String,
    /// What that means for the box.
    pub verdict: Verdict,
}

/// What a reading means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Fine.
    Good,
    /// It works, but not well; with what to do.
    Warning(&'static str),
    /// A box can't be made of it; with what to do.
    Refused(&'static str),
}

const GIB: u64 = 1 << 30;

/// Prints each reading; false where the machine can't be a box.
///
/// # Errors
/// When the machine can't be looked at.
pub fn check_machine(now: OffsetDateTime, built: Option<OffsetDateTime>) -> Result<bool> {
    let mut good = true;
    for check in readings(Path::new("/"), now, built)? {
        match check.verdict {
            Verdict::Good => println!("ok     {}: {}", check.what, check.is),
            Verdict::Warning(act) => {
                println!("warn   {}: {}\n       → {act}", check.what, check.is)
            }
            Verdict::Refused(act) => {
                good = false;
                println!("NO     {}: {}\n       → {act}", check.what, check.is);
            }
        }
    }
    Ok(good)
}

fn readings(root: &Path, now: OffsetDateTime, built: Option<OffsetDateTime>) -> Result<Vec<Check>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let disk = rustix::fs::statvfs(root.join("var"))?;
    Ok(vec![
        system(&read("etc/os-release")),
        processor(&read("proc/cpuinfo")),
        memory(&read("proc/meminfo")),
        space(disk.f_bavail * disk.f_frsize),
        card(root, &read("proc/driver/nvidia/version")),
        clock(now, built),
    ])
}

fn system(release: &str) -> Check {
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or("")
            .trim_matches('"')
    };
    Check {
        what: "system",
        is: field("PRETTY_NAME").to_owned(),
        verdict: if (field("ID"), field("VERSION_ID")) == ("debian", "12") {
            Verdict::Good
        } else {
            Verdict::Refused("install Debian 12 (bookworm) on this machine first")
        },
    }
}

fn processor(info: &str) -> Check {
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let flags = info
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or("");
    let fast = flags.split_whitespace().any(|flag| flag == "avx2");
    Check {
        what: "processor",
        is: format!(
            "{cores} cores{}",
            if fast { ", AVX2" } else { ", without AVX2" }
        ),
        verdict: match (cores, fast) {
            (0 | 1, _) => {
                Verdict::Warning("two cores or more keep pages quick while a draft is written")
            }
            (_, false) => {
                Verdict::Warning("drafting without a graphics card will be slow on this processor")
            }
            _ => Verdict::Good,
        },
    }
}

fn memory(info: &str) -> Check {
    let bytes = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024;
    Check {
        what: "memory",
        is: format!("{:.1} GiB", bytes as f64 / GIB as f64),
        verdict: if bytes < GIB {
            Verdict::Refused("a box needs 1 GiB at the very least, and 16 to draft well")
        } else if bytes < 8 * GIB {
            Verdict::Warning(
                "16 GiB let a large model draft; with less the box works with a small one or none",
            )
        } else {
            Verdict::Good
        },
    }
}

fn space(free: u64) -> Check {
    Check {
        what: "disk",
        is: format!("{:.1} GiB free for records", free as f64 / GIB as f64),
        verdict: if free < GIB {
            Verdict::Refused(
                "make room: 1 GiB is the least to begin with, and 100 GiB last for years",
            )
        } else if free < 50 * GIB {
            Verdict::Warning(
                "100 GiB last for years; the status page says in time when it gets tight",
            )
        } else {
            Verdict::Good
        },
    }
}

/// The oldest driver that runs the workers for graphics cards (CUDA 13.0).
const DRIVER: u32 = 580;

fn card(root: &Path, driver: &str) -> Check {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let cards = fs::read_dir(root.join("sys/bus/pci/devices"))
        .map(|devices| {
            devices
                .flatten()
                .filter(|device| {
                    read(&device.path().join("vendor")).trim() == "0x10de"
                        && read(&device.path().join("class")).starts_with("0x03")
                })
                .count()
        })
        .unwrap_or(0);
    let version = driver.split_whitespace().find_map(|word| {
        word.split_once('.')?
            .0
            .parse::<u32>()
            .ok()
            .filter(|major| *major > 100)
    });
    let (is, verdict) = match (cards, version) {
        (0, _) => ("none; the processor drafts".to_owned(), Verdict::Good),
        (_, None) => (
            "an NVIDIA card without its driver".to_owned(),
            Verdict::Warning(
                "install NVIDIA's driver R580 or later, so that it drafts; until then the processor does",
            ),
        ),
        (_, Some(major)) if major < DRIVER => (
            format!("an NVIDIA card with driver R{major}"),
            Verdict::Warning(
                "the driver is too old: install R580 or later; until then the processor drafts",
            ),
        ),
        (_, Some(major)) => (
            format!("an NVIDIA card with driver R{major}"),
            Verdict::Good,
        ),
    };
    Check {
        what: "graphics card",
        is,
        verdict,
    }
}

fn clock(now: OffsetDateTime, built: Option<OffsetDateTime>) -> Check {
    Check {
        what: "clock",
        is: now
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap_or_default(),
        verdict: match built {
            Some(built) if now < built => Verdict::Refused(
                "this is earlier than the release was made: set the clock (timedatectl set-time), or certificates and the audit log would carry wrong times",
            ),
            _ => Verdict::Good,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_system_is_refused_and_debian_12_taken() {
        let debian =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(system(debian).verdict, Verdict::Good);
        assert!(matches!(
            system(&debian.replace("12\"", "13\"")).verdict,
            Verdict::Refused(_)
        ));
        assert!(matches!(system("").verdict, Verdict::Refused(_)));
    }

    #[test]
    fn a_clock_before_the_release_is_refused() {
        let built = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let verdict = |now| clock(now, Some(built)).verdict;
        assert_eq!(verdict(built), Verdict::Good);
        assert!(matches!(
            verdict(built - time::Duration::SECOND),
            Verdict::Refused(_)
        ));
    }

    #[test]
    fn an_old_driver_and_a_missing_one_are_named() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("sys/bus/pci/devices/0000:01:00.0");
        fs::create_dir_all(&device).unwrap();
        assert_eq!(card(root.path(), "").verdict, Verdict::Good);
        fs::write(device.join("vendor"), "0x10de\n").unwrap();
        fs::write(device.join("class"), "0x030000\n").unwrap();
        assert!(matches!(card(root.path(), "").verdict, Verdict::Warning(_)));
        let version = |v: &str| {
            format!(
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {v}  Thu Nov 20\nGCC version: gcc 12.2.0"
            )
        };
        assert!(matches!(
            card(root.path(), &version("535.183.01")).verdict,
            Verdict::Warning(_)
        ));
        assert_eq!(
            card(root.path(), &version("580.95.05")).verdict,
            Verdict::Good
        );
    }

    #[test]
    fn little_memory_and_disk_are_refused() {
        assert!(matches!(
            memory("MemTotal: 500000 kB").verdict,
            Verdict::Refused(_)
        ));
        assert!(matches!(
            memory("MemTotal: 4000000 kB").verdict,
            Verdict::Warning(_)
        ));
        assert_eq!(memory("MemTotal: 32000000 kB").verdict, Verdict::Good);
        assert!(matches!(space(GIB - 1).verdict, Verdict::Refused(_)));
        assert_eq!(space(200 * GIB).verdict, Verdict::Good);
    }
}
