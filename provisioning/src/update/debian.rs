//! Debian's security updates: packages from one signed source and no other, and nothing that would remove a package or change
//! Postgres' major version.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::home::Home;
use super::settings::Settings;
use crate::files;
use crate::process;
use crate::release::archive::Untar;

/// More packages than this no set of security updates has.
const MOST_FILES: usize = 5000;
const MOST_BYTES: u64 = 8 << 30;

/// Where the packages come from.
pub enum Packages<'a> {
    /// A tar from the vendor's signed repository: a flat folder for apt, with its own signature and `keyring.gpg`.
    Bundle(&'a Path),
    /// The mirror that the configuration names.
    Mirror,
}

/// Installs what there is; gives the packages.
///
/// # Errors
/// When the source is not signed, or would do more than update.
pub fn install(
    home: &Home,
    settings: &Settings,
    packages: &Packages<'_>,
    dry_run: bool,
) -> Result<Vec<String>> {
    let folder = home.folder().join("debian");
    files::remove_folder(&folder)?;
    // apt reads it as a user of its own.
    files::make_folder(&folder.join("lists/partial"), 0o755)?;
    let source = match packages {
        Packages::Bundle(bundle) => {
            let unpacked = folder.join("packages");
            unpack(bundle, &unpacked)?;
            let keyring = unpacked.join("keyring.gpg");
            ensure!(
                unpacked.join("InRelease").exists() && keyring.exists(),
                "unsigned: the packages' folder has no InRelease or no keyring.gpg"
            );
            format!(
                "deb [signed-by={}] file:{} ./\n",
                keyring.display(),
                unpacked.display()
            )
        }
        Packages::Mirror => {
            let debian = settings
                .debian
                .as_ref()
                .context("there is no [box.update.debian] in the configuration: name a mirror, its suite and its keyring")?;
            ensure!(
                debian.mirror.starts_with("https://")
                    || debian.mirror.starts_with("http://")
                    || debian.mirror.starts_with("file:/"),
                "[box.update.debian] mirror is no address"
            );
            ensure!(
                !format!("{}{}", debian.mirror, debian.suite).contains([' ', '\n', ']']),
                "[box.update.debian] has a space in its mirror or suite"
            );
            format!(
                "deb [signed-by={}] {} {} main\n",
                debian.keyring.display(),
                debian.mirror,
                debian.suite
            )
        }
    };
    let list = folder.join("sources.list");
    files::replace(&list, 0o644, source.as_bytes())?;
    let apt = |arguments: &[&str]| -> Result<String> {
        let mut all: Vec<String> = [
            "DEBIAN_FRONTEND=noninteractive",
            "LC_ALL=C.UTF-8",
            "apt-get",
            "-q",
        ]
        .map(str::to_owned)
        .into();
        for option in [
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", folder.join("lists").display()),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Acquire::AllowInsecureRepositories=false".to_owned(),
            "APT::Get::AllowUnauthenticated=false".to_owned(),
            "APT::Get::Remove=false".to_owned(),
            // Debian's own nightly run may be at it.
            "DPkg::Lock::Timeout=600".to_owned(),
            "Dpkg::Options::=--force-confdef".to_owned(),
            "Dpkg::Options::=--force-confold".to_owned(),
        ] {
            all.extend(["-o".to_owned(), option]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        process::run("env", &all)
    };
    apt(&["update", "--error-on=any"])
        .context("unsigned or unreachable: apt does not take the packages' source")?;
    let plan = apt(&["--simulate", "upgrade"])?;
    let planned = check_plan(&plan)?;
    if !planned.is_empty() && !dry_run {
        apt(&["--yes", "upgrade"])?;
    }
    files::remove_folder(&folder)?;
    Ok(planned)
}

/// Reads what apt would do, and refuses what is more than updating what is there.
fn check_plan(plan: &str) -> Result<Vec<String>> {
    let mut packages = BTreeSet::new();
    for line in plan.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("Remv"), Some(package), _) => {
                bail!("apt would remove {package}: security updates only update what is there")
            }
            // "Inst NAME [OLD] (NEW …)"; without the old version it would be a new package.
            (Some("Inst"), Some(package), Some(old)) => {
                ensure!(
                    old.starts_with('['),
                    "apt would install the new package {package}: security updates only update what is there"
                );
                if package.starts_with("postgresql-") || package.starts_with("libpq") {
                    let new = line.split('(').nth(1).unwrap_or_default();
                    let major = |text: &str| {
                        text.trim_start_matches(|c: char| !c.is_ascii_digit())
                            .split(['.', '-', '+', '~'])
                            .next()
                            .map(str::to_owned)
                    };
                    ensure!(
                        major(old) == major(new),
                        "apt would change the major version of {package} from {old} to {new}: that is done with a plan, not unattended"
                    );
                }
                packages.insert(package.to_owned());
            }
            _ => {}
        }
    }
    Ok(packages.into_iter().collect())
}

fn unpack(bundle: &Path, target: &Path) -> Result<()> {
    files::make_folder(target, 0o755)?;
    let file =
        fs::File::open(bundle).with_context(|| format!("can't read {}", bundle.display()))?;
    Untar {
        what: "the packages' bundle",
        most_files: MOST_FILES,
        most_bytes: MOST_BYTES,
        reader: std::io::BufReader::new(file),
    }
    .each(|path, _, content| {
        let place: PathBuf = target.join(path);
        if let Some(parent) = place.parent() {
            files::make_folder(parent, 0o755)?;
        }
        let mut draft = files::Draft::new(&place, 0o644)?;
        std::io::copy(content, &mut draft)?;
        draft.keep_first()?;
        Ok(ControlFlow::Continue(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_updates_of_what_is_there_pass() {
        let plan = "Reading package lists...\n\
            Inst openssl [3.0.11-1] (3.0.14-1~deb12u2 Debian-Security:12/stable [amd64])\n\
            Inst postgresql-15 [15.5-0+deb12u1] (15.8-0+deb12u1 Debian-Security:12/stable [amd64])\n\
            Conf openssl (3.0.14-1~deb12u2 Debian-Security:12/stable [amd64])\n";
        assert_eq!(check_plan(plan).unwrap(), ["openssl", "postgresql-15"]);
        for (plan, word) in [
            ("Remv openssl [3.0.11-1]\n", "remove"),
            ("Inst newthing (1.0 Debian:12 [amd64])\n", "new package"),
            (
                "Inst postgresql-client [15+248] (16+260 Debian:12 [all])\n",
                "major",
            ),
        ] {
            assert!(
                check_plan(plan).unwrap_err().to_string().contains(word),
                "{plan}"
            );
        }
    }
}
