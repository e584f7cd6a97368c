//! Collects what a box needs from the sources and the built programs, and packs it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::archive;
use super::inventory::Inventory;
use super::manifest::{self, File, Manifest, PRODUCT, Schema};
use super::version::Version;
use crate::files;

/// Programs of every release.
const PROGRAMS: [&str; 5] = [
    "hadada",
    "hadadactl",
    "hadada-typeset",
    "hadada-inference",
    "hadada-worker",
];

/// What to build.
pub struct Order {
    /// The sources' folder.
    pub source: PathBuf,
    /// The built programs' folder.
    pub programs: PathBuf,
    /// Models to ship.
    pub models: Option<PathBuf>,
    /// Workers built for graphics cards, to ship.
    pub gpu_workers: Option<PathBuf>,
    /// The vendor's root metadata, for boxes that are installed from this bundle.
    pub root: Option<PathBuf>,
    /// What `cargo metadata` wrote, for licences.
    pub metadata: Option<PathBuf>,
    /// The release.
    pub version: Version,
    /// Grows with each release.
    pub counter: u64,
    /// The oldest release that may update to it.
    pub minimum_version: Version,
    /// The version of the inference protocol.
    pub inference_protocol: u32,
    /// Where the bundle goes.
    pub out: PathBuf,
}

/// What was built.
pub struct Built {
    /// The bundle.
    pub bundle: PathBuf,
    /// Of the bundle, in hex.
    pub sha256: String,
    /// Bytes of the bundle.
    pub length: u64,
    /// What it holds.
    pub manifest: Manifest,
}

/// Builds a bundle; the same inputs make the same bytes, wherever their folders are.
///
/// # Errors
/// When something that every release has is missing.
pub fn build(order: &Order) -> Result<Built> {
    files::make_folder(&order.out, 0o755)?;
    let mut sources = BTreeMap::new();
    for program in PROGRAMS {
        let path = order.programs.join(program);
        ensure!(
            path.is_file(),
            "there is no program {}: build the programs first",
            path.display()
        );
        sources.insert(format!("bin/{program}"), path);
    }
    collect(&order.source.join("systemd"), "systemd", None, &mut sources)?;
    if let Some(workers) = &order.gpu_workers {
        collect(workers, "gpu", None, &mut sources)?;
    }
    // What a new box is installed with, from the unpacked bundle.
    let install = order.source.join("provisioning/install");
    if install.is_file() {
        sources.insert("install".into(), install);
    }
    if let Some(root) = &order.root {
        sources.insert("root.json".into(), root.clone());
    }
    for database in ["records", "keys"] {
        let folder = order.source.join("migrations").join(database);
        collect(
            &folder,
            &format!("migrations/{database}"),
            Some("sql"),
            &mut sources,
        )?;
    }
    let roles = order.source.join("migrations/roles.sql");
    ensure!(roles.is_file(), "there is no {}", roles.display());
    sources.insert("migrations/roles.sql".into(), roles);
    if let Some(models) = &order.models {
        collect(models, "models", None, &mut sources)?;
    }
    let schema = Schema {
        records: last_migration(&sources, "migrations/records/")?,
        keys: last_migration(&sources, "migrations/keys/")?,
    };
    let inventory = Inventory::read(&order.source, order.metadata.as_deref())?;
    // Made files go through a folder of their own, so that all are packed in one way.
    let made = order.out.join(format!("{PRODUCT}-{}.made", order.version));
    files::make_folder(&made, 0o755)?;
    for (name, content) in [
        ("sbom.cdx.json", inventory.cyclonedx(order.version)?),
        ("licences.txt", inventory.licences()),
        ("VERSION", format!("{}\n", order.version).into_bytes()),
    ] {
        let path = made.join(name);
        files::replace(&path, 0o644, &content)?;
        sources.insert(name.into(), path);
    }
    let manifest = Manifest {
        product: PRODUCT.into(),
        version: order.version,
        counter: order.counter,
        minimum_version: order.minimum_version,
        schema,
        inference_protocol: order.inference_protocol,
        files: sources
            .iter()
            .map(|(path, source)| describe(path, source))
            .collect::<Result<_>>()?,
    };
    // The box would refuse what breaks a rule; better here.
    let manifest = Manifest::parse(&manifest.to_bytes()?)?;
    let bundle = order
        .out
        .join(format!("{PRODUCT}-{}.tar.zst", order.version));
    archive::write(&bundle, &manifest, &sources)?;
    files::remove_folder(&made)?;
    let (sha256, length) = archive::hash_file(&bundle)?;
    Ok(Built {
        bundle,
        sha256,
        length,
        manifest,
    })
}

fn describe(path: &str, source: &Path) -> Result<File> {
    let (sha256, size) = archive::hash_file(source)?;
    Ok(File {
        path: path.into(),
        // By its place, not by the bits it has on this machine.
        program: path.starts_with("bin/") || path.starts_with("gpu/") || path == "install",
        size,
        sha256,
    })
}

fn collect(
    folder: &Path,
    below: &str,
    ending: Option<&str>,
    sources: &mut BTreeMap<String, PathBuf>,
) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("there is no folder {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{below}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &path, ending, sources)?;
        } else if !kind.is_file() {
            bail!(
                "{} is no plain file, and a release has only those",
                entry.path().display()
            );
        } else if ending.is_none_or(|ending| name.ends_with(&format!(".{ending}")))
            && !name.starts_with('.')
            && !name.ends_with(".md")
        {
            manifest::check_path(&path)?;
            ensure!(
                entry.metadata()?.size() <= manifest::MOST_BYTES,
                "{path} is too big"
            );
            sources.insert(path, entry.path());
        }
    }
    Ok(())
}

fn last_migration(sources: &BTreeMap<String, PathBuf>, below: &str) -> Result<u64> {
    let mut last = 0;
    for name in sources.keys().filter_map(|path| path.strip_prefix(below)) {
        let number = name
            .split('_')
            .next()
            .and_then(|number| number.parse().ok());
        last = last.max(number.with_context(|| {
            format!("the migration {below}{name} does not begin with its number")
        })?);
    }
    Ok(last)
}
