//! `release`: what the vendor does. Keys are made and used on machines of their own, and no command needs a network.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use tough::schema::RoleType;

use super::Outcome;
use crate::release::build::{self, Order};
use crate::release::keys::{self, PublicKey};
use crate::release::passphrase::Passphrases;
use crate::release::repository::{Repository, RootKeys, Signing};
use crate::release::version::Version;

/// Builds and signs releases, at the vendor's.
#[derive(Subcommand)]
pub enum Release {
    /// Keys: one file a person, opened by a passphrase.
    #[command(subcommand)]
    Keys(Keys),
    /// Collects programs, units and migrations into one bundle, with the same SHA-256 wherever it is built.
    Build {
        /// The folder the bundle goes into.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The release, such as 1.4.0.
        #[arg(long, value_name = "VERSION")]
        version: Version,
        /// Must grow with every release; boxes never take a smaller one.
        #[arg(long, value_name = "N")]
        counter: u64,
        /// The oldest release that may update to this one.
        #[arg(long, value_name = "VERSION", default_value = "0.1.0")]
        minimum_version: Version,
        /// The folder of the built programs.
        #[arg(long = "bin", value_name = "DIR", default_value = "target/release")]
        programs: PathBuf,
        /// A folder of models to ship.
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
        /// A folder of workers built for graphics cards.
        #[arg(long = "gpu", value_name = "DIR")]
        gpu_workers: Option<PathBuf>,
        /// The vendor's signed root metadata, for boxes that are installed from this bundle.
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
        /// The sources.
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
        /// A file that `cargo metadata --format-version 1` wrote, for licences.
        #[arg(long, value_name = "FILE")]
        metadata: Option<PathBuf>,
        /// The version of the protocol between web program and drafting service.
        #[arg(long, value_name = "N", default_value_t = 1)]
        inference_protocol: u32,
    },
    /// Signs with one person's key what waits for it: a root, a bundle (the first signer names it), the snapshot, the
    /// timestamp.
    Sign {
        #[command(flatten)]
        repository: RepositoryArgs,
        /// A key file; may be given more than once. Its passphrase is asked for, or read line by line.
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        /// The bundle to sign; later signers sign the one that waits.
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
        /// A tar with a signed folder of Debian's updates, to go with the bundle.
        #[arg(long, value_name = "FILE", requires = "bundle")]
        debian: Option<PathBuf>,
        /// When the metadata made now expires, such as 2027-01-31T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        expires: Option<jiff::Timestamp>,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Takes over the signatures made on a copy of the repository's folder.
    Merge {
        #[command(flatten)]
        repository: RepositoryArgs,
        /// The copy.
        copy: PathBuf,
    },
    /// Writes the signed repository into one file, to be pushed or carried.
    Pack {
        #[command(flatten)]
        repository: RepositoryArgs,
        /// The file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Keys and the root that names them.
#[derive(Subcommand)]
pub enum Keys {
    /// Makes a person's key.
    New {
        /// What it signs.
        #[arg(long)]
        role: KeyRole,
        /// Who holds it.
        #[arg(long, value_name = "NAME")]
        holder: String,
        /// The folder for ROLE-NAME.key and ROLE-NAME.pub; best on a stick of that person's.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Begins the first root. Two of the root keys then sign it.
    Root(RootArgs),
    /// Begins the next root, with the keys of some roles replaced. Two of the old and two of the new root keys sign it.
    Rotate(RootArgs),
}

/// What a key signs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KeyRole {
    /// Which keys are trusted.
    Root,
    /// Which files are releases.
    Targets,
    /// Which targets are current.
    Snapshot,
    /// That this is fresh.
    Timestamp,
}

/// The public halves for a root.
#[derive(Args)]
pub struct RootArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// A public root key; at least three.
    #[arg(long = "root-key", value_name = "FILE")]
    root: Vec<PathBuf>,
    /// A public targets key; at least three.
    #[arg(long = "targets-key", value_name = "FILE")]
    targets: Vec<PathBuf>,
    /// A public snapshot key.
    #[arg(long = "snapshot-key", value_name = "FILE")]
    snapshot: Vec<PathBuf>,
    /// A public timestamp key.
    #[arg(long = "timestamp-key", value_name = "FILE")]
    timestamp: Vec<PathBuf>,
    /// When this root expires.
    #[arg(long, value_name = "TIME")]
    expires: Option<jiff::Timestamp>,
}

/// Where the repository is.
#[derive(Args)]
pub struct RepositoryArgs {
    /// The repository's folder.
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,
}

/// Where the passphrase comes from.
#[derive(Args)]
pub struct PassphraseArgs {
    /// An open file descriptor to read the passphrase from; without it, the terminal or standard input.
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl From<KeyRole> for RoleType {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Root => Self::Root,
            KeyRole::Targets => Self::Targets,
            KeyRole::Snapshot => Self::Snapshot,
            KeyRole::Timestamp => Self::Timestamp,
        }
    }
}

impl Release {
    /// Runs the command.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn run(self) -> Result<Outcome> {
        match self {
            Self::Keys(Keys::New {
                role,
                holder,
                out,
                passphrase,
            }) => {
                let mut passphrases = Passphrases::from(passphrase.passphrase_fd)?;
                let chosen = passphrases.choose(&format!("the key of {holder}"))?;
                let public = keys::create(&out, role.into(), &holder, &chosen)?;
                println!(
                    "made   {}: hand it to whoever makes the root",
                    public.display()
                );
            }
            Self::Keys(Keys::Root(args)) => {
                let repository = Repository::open(&args.repository.repository)?;
                ensure!(
                    repository.root()?.is_none(),
                    "this repository has a root: replace its keys with `hadadactl release keys rotate`"
                );
                draft_root(&repository, &args)?;
            }
            Self::Keys(Keys::Rotate(args)) => {
                let repository = Repository::open(&args.repository.repository)?;
                ensure!(
                    repository.root()?.is_some(),
                    "this repository has no root yet: make one with `hadadactl release keys root`"
                );
                draft_root(&repository, &args)?;
            }
            Self::Build {
                out,
                version,
                counter,
                minimum_version,
                programs,
                models,
                gpu_workers,
                root,
                source,
                metadata,
                inference_protocol,
            } => {
                let built = build::build(&Order {
                    source,
                    programs,
                    models,
                    gpu_workers,
                    root,
                    metadata,
                    version,
                    counter,
                    minimum_version,
                    inference_protocol,
                    out,
                })?;
                println!(
                    "made   {}: {} files, {} MB\n{}",
                    built.bundle.display(),
                    built.manifest.files.len(),
                    built.length / 1_000_000,
                    built.sha256
                );
            }
            Self::Sign {
                repository,
                keys,
                bundle,
                debian,
                expires,
                passphrase,
            } => {
                let repository = Repository::open(&repository.repository)?;
                if let Some(bundle) = &bundle {
                    let manifest = repository.draft_targets(bundle, debian.as_deref(), expires)?;
                    println!(
                        "{} {}, counter {}",
                        manifest.product, manifest.version, manifest.counter
                    );
                }
                let mut passphrases = Passphrases::from(passphrase.passphrase_fd)?;
                for path in keys {
                    sign(&repository, &path, expires, &mut passphrases)?;
                }
            }
            Self::Merge { repository, copy } => {
                for (role, signing) in Repository::open(&repository.repository)?.merge(&copy)? {
                    println!("merged {role}: {}", said(&signing));
                }
            }
            Self::Pack { repository, out } => {
                Repository::open(&repository.repository)?.pack(&out)?;
                println!("made   {}", out.display());
            }
        }
        Ok(Outcome::Good)
    }
}

fn draft_root(repository: &Repository, args: &RootArgs) -> Result<()> {
    let read = |paths: &[PathBuf]| {
        paths
            .iter()
            .map(|path| PublicKey::read(path))
            .collect::<Result<Vec<_>>>()
    };
    let keys = RootKeys {
        by_role: HashMap::from([
            (RoleType::Root, read(&args.root)?),
            (RoleType::Targets, read(&args.targets)?),
            (RoleType::Snapshot, read(&args.snapshot)?),
            (RoleType::Timestamp, read(&args.timestamp)?),
        ]),
    };
    let version = repository.draft_root(&keys, args.expires)?;
    println!(
        "root {version} waits for its signatures: `hadadactl release sign --key …`, by one person after another"
    );
    Ok(())
}

fn sign(
    repository: &Repository,
    path: &Path,
    expires: Option<jiff::Timestamp>,
    passphrases: &mut Passphrases,
) -> Result<()> {
    let public = keys::peek(path)?;
    let passphrase = passphrases.ask(&format!("the key of {}", public.holder))?;
    let key = keys::open(path, &passphrase)?;
    let signing = repository
        .sign(&key, expires)
        .with_context(|| format!("{} was not used", path.display()))?;
    println!(
        "signed {} as {}: {}",
        public.role,
        public.holder,
        said(&signing)
    );
    Ok(())
}

fn said(signing: &Signing) -> String {
    match signing {
        Signing::Needs(1) => "one more signature is needed".into(),
        Signing::Needs(count) => format!("{count} more signatures are needed"),
        Signing::Done(name) => format!("complete, metadata/{name}"),
    }
}
