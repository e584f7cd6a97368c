//! `update`: what IT staff, the nightly run and the boot do about releases.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use time::format_description::well_known::Rfc3339;

use super::Outcome;
use crate::cli::PlaceArgs;
use crate::files;
use crate::place::Place;
use crate::release::archive;
use crate::release::repository::Said;
use crate::update::counter;
use crate::update::database::Databases;
use crate::update::debian::{self, Packages};
use crate::update::engine::{self, Ended, Moment, Waiver};
use crate::update::history::{self, Ending};
use crate::update::home::{Home, version_of};
use crate::update::journal::{Journal, Step};
use crate::update::mirror::Mirror;
use crate::update::overrides;
use crate::update::settings::Settings;
use crate::update::source::Source;
use crate::update::trust::{self, Expiry};

/// Updates this box, and takes updates back.
#[derive(Subcommand)]
pub enum Update {
    /// Says what a source offers and whether it may be installed. Installs nothing.
    Check {
        /// A folder or file; without it, the configured mirror.
        source: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Brings in a release: from a folder (a USB stick), a file, or without SOURCE from the configured mirror.
    Apply {
        /// The folder or file.
        source: Option<PathBuf>,
        #[command(flatten)]
        waiver: WaiverArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Says what runs, what is under way and what was last.
    Status {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Lists the updates there were.
    History {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Keeps a new release, where the configuration asks for a person's word.
    Confirm {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Goes back to the release before. Nothing that was entered is lost.
    Revert {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Brings the box in order after an update that broke off. Runs at each boot.
    Guard {
        /// The machine is booting: nothing of ours runs yet.
        #[arg(long)]
        boot: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Installs what was pushed, and what the mirror offers where that is wanted. Runs from the unit.
    #[command(hide = true)]
    Run {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Lets this box trust a vendor's root metadata. Only for a box that trusts none yet.
    Trust {
        /// The signed root.json.
        root: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Unpacks a bundle into a folder, as the first installation does, after holding it against its manifest.
    Unpack {
        /// The bundle.
        bundle: PathBuf,
        /// The folder, which must not be there yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Installs Debian's security updates, from the update's own folder or file or from the configured mirror.
    Debian {
        /// A folder or file with a signed update that has Debian's packages.
        #[arg(long, value_name = "SOURCE")]
        bundle: Option<PathBuf>,
        /// Only says what would be installed.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Fetches from the mirror into a folder. The box runs it as a user without rights.
    #[command(hide = true)]
    Fetch {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Lists the places where a test may end an update.
    #[cfg(any(debug_assertions, feature = "crash-points"))]
    #[command(hide = true)]
    CrashPoints,
}

/// What to fetch.
#[derive(Args)]
pub struct Wanted {
    /// The metadata, with the roots above this one.
    #[arg(long, value_name = "N")]
    above_root: Option<u64>,
    /// A bundle.
    #[arg(long, value_name = "NAME", requires = "sha256", requires = "length")]
    bundle: Option<String>,
    /// Its hash.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Its bytes.
    #[arg(long, value_name = "N")]
    length: Option<u64>,
}

/// Letting expired metadata pass.
#[derive(Args)]
pub struct WaiverArgs {
    /// Lets expired metadata pass. Only at the box's own screen.
    #[arg(long, requires = "reason")]
    accept_expired: bool,
    /// Why; kept in a signed list.
    #[arg(long, value_name = "TEXT", requires = "accept_expired")]
    reason: Option<String>,
}

impl Update {
    /// Runs the command.
    ///
    /// # Errors
    /// When it could not be done.
    pub async fn run(self) -> Result<Outcome> {
        match self {
            Self::Check { source, place } => check(&open(place), source).await,
            Self::Apply {
                source,
                waiver,
                place,
            } => apply(&open(place), source, waiver).await,
            Self::Status { place } => status(&open(place)),
            Self::History { place } => list(&open(place)),
            Self::Confirm { place } => confirm(&open(place)),
            Self::Revert { place } => {
                let home = open(place);
                let settings = Settings::read(home.place())?;
                let _lock = home.lock()?;
                engine::settle(&home, &settings, Moment::Running).await?;
                let version = engine::revert(&home, &settings).await?;
                println!("This box runs {version} again.");
                Ok(Outcome::Good)
            }
            Self::Guard { boot, place } => guard(&open(place), boot).await,
            Self::Run { place } => run(&open(place)).await,
            Self::Trust { root, place } => {
                let home = open(place);
                trust::adopt(&home, &root)?;
                println!("This box trusts root {}.", trust::root_version(&home)?);
                Ok(Outcome::Good)
            }
            Self::Unpack { bundle, out } => {
                ensure!(!out.exists(), "{} is there already", out.display());
                let manifest = archive::read_manifest(&bundle)?;
                let (sha256, _) = archive::hash_file(&bundle)?;
                archive::unpack(&bundle, &sha256, &manifest, &out, || {})?;
                println!("made   {}: release {}", out.display(), manifest.version);
                Ok(Outcome::Good)
            }
            Self::Debian {
                bundle,
                dry_run,
                place,
            } => install_debian(&open(place), bundle, dry_run).await,
            Self::Fetch { out, wanted, place } => {
                fetch(&open(place), &out, wanted).await?;
                Ok(Outcome::Good)
            }
            #[cfg(any(debug_assertions, feature = "crash-points"))]
            Self::CrashPoints => {
                use crate::update::crash::WITHIN;
                for step in Step::ALL {
                    println!("{}.before", step.name());
                    for point in WITHIN.iter().filter(|point| point.starts_with(step.name())) {
                        println!("{point}");
                    }
                    println!("{}.after", step.name());
                }
                Ok(Outcome::Good)
            }
        }
    }
}

fn open(place: PlaceArgs) -> Home {
    let place: Place = place.into();
    Home::new(place)
}

/// The folder or file, else the mirror.
fn find(home: &Home, settings: &Settings, source: Option<PathBuf>) -> Result<Source> {
    if let Some(path) = source {
        return Source::at(&path);
    }
    let mirror = Mirror::configured(settings)?.context(
        "there is no mirror in the configuration ([box.update] mirror): name the folder or file with the update",
    )?;
    // On a box, whatever comes from outside is first taken in by a user who can do nothing with it.
    Ok(if home.place().is_installed() {
        Source::Fetched {
            mirror,
            user: settings.fetch_user.clone(),
            folder: home.fetched(),
        }
    } else {
        Source::Mirror(mirror)
    })
}

async fn fetch(home: &Home, out: &Path, wanted: Wanted) -> Result<()> {
    let settings = Settings::read(home.place())?;
    let mirror =
        Mirror::configured(&settings)?.context("there is no mirror in the configuration")?;
    if let Some(trusted) = wanted.above_root {
        let metadata = out.join("metadata");
        files::make_folder(&metadata, 0o700)?;
        mirror.copy_metadata(&metadata, trusted).await?;
    }
    if let (Some(name), Some(sha256), Some(length)) = (wanted.bundle, wanted.sha256, wanted.length)
    {
        let targets = out.join("targets");
        files::make_folder(&targets, 0o700)?;
        let file = format!("{sha256}.{name}");
        ensure!(
            !file.contains('/') && !file.starts_with('.'),
            "{file} is no file's name"
        );
        let said = Said {
            name: tough::TargetName::new(name)?,
            version: String::new(),
            counter: 0,
            length,
            unpacked: 0,
            sha256,
        };
        mirror
            .copy_bundle(&file, &said, &targets.join(&file))
            .await?;
    }
    Ok(())
}

async fn check(home: &Home, source: Option<PathBuf>) -> Result<Outcome> {
    let settings = Settings::read(home.place())?;
    let source = find(home, &settings, source)?;
    let _lock = home.lock()?;
    ensure!(
        Journal::read(home)?.is_none(),
        "an update broke off before: run `hadadactl update guard`"
    );
    let private = home.private();
    files::remove_folder(&private)?;
    files::make_folder(&private, 0o700)?;
    let looked = async {
        source
            .copy_metadata(&private.join("metadata"), trust::root_version(home)?)
            .await?;
        trust::verify(home, &private, Expiry::Enforced).await
    }
    .await;
    files::remove_folder(&private)?;
    let trusted = match looked {
        Ok(trusted) => trusted,
        Err(error) => {
            eprintln!("refused: {error:#}");
            return Ok(Outcome::Fault);
        }
    };
    let said = &trusted.said;
    let running = engine::running_version(home)?;
    let highest = counter::highest(home, &Databases::configured(home.place())?)?;
    if said.version == running.to_string() {
        println!("This box runs {running}, which is the newest this source has.");
    } else if said.counter < highest {
        println!(
            "This source has {}, which is older than what this box has had.",
            said.version
        );
    } else {
        println!(
            "Release {} can be installed ({} MB); this box runs {running}.",
            said.version,
            said.length.div_ceil(1_000_000)
        );
    }
    if trusted.debian().is_some() {
        println!("It brings updates of Debian's packages: `hadadactl update debian --bundle …`.");
    }
    Ok(Outcome::Good)
}

async fn apply(home: &Home, source: Option<PathBuf>, waiver: WaiverArgs) -> Result<Outcome> {
    let settings = Settings::read(home.place())?;
    let source = find(home, &settings, source)?;
    let waiver = match (waiver.accept_expired, waiver.reason) {
        (true, Some(reason)) => Some(Waiver {
            screen: overrides::ask_at_console(&reason)?,
            reason,
        }),
        _ => None,
    };
    let _lock = home.lock()?;
    if let Some(done) = engine::settle(home, &settings, Moment::Running).await? {
        println!("First, {done}.");
    }
    said(engine::apply(home, &settings, &source, waiver).await?)
}

fn said(ended: Ended) -> Result<Outcome> {
    match ended {
        Ended::Installed(version) => println!("This box runs {version}."),
        Ended::Already(version) => println!("This box runs {version} already."),
        Ended::Refused(why) => {
            eprintln!("refused: {why}");
            return Ok(Outcome::Fault);
        }
        Ended::Reverted(why) => {
            eprintln!("taken back: {why}");
            return Ok(Outcome::Fault);
        }
    }
    Ok(Outcome::Good)
}

fn status(home: &Home) -> Result<Outcome> {
    let show = |version: Option<crate::release::version::Version>| {
        version.map_or_else(|| "none".to_owned(), |version| version.to_string())
    };
    println!("runs      {}", show(version_of(&home.current())));
    println!("before    {}", show(version_of(&home.previous())));
    match counter::in_file(home)? {
        Some(counter) => println!(
            "counter   {} (release {})",
            counter.counter, counter.version
        ),
        None => println!("counter   none yet"),
    }
    match trust::root_expires(home) {
        Ok(expires) => println!(
            "trusts    root {}, until {expires}",
            trust::root_version(home)?
        ),
        Err(error) => println!("trusts    nobody: {error:#}"),
    }
    match Journal::read(home)? {
        None => println!("under way nothing"),
        Some(journal) => {
            let running = home.folder().join("lock").exists() && home.try_lock()?.is_none();
            println!(
                "under way {} to {}, step {} of {}: {}{}",
                journal.from,
                show(journal.to),
                journal.step.number(),
                Step::ALL.len(),
                journal.step.said(),
                if running {
                    ""
                } else {
                    "; it broke off: run `hadadactl update guard`"
                }
            );
            if let Some(until) = journal.waits_until {
                println!(
                    "          waits for `hadadactl update confirm` until {}",
                    until.format(&Rfc3339)?
                );
            }
        }
    }
    if let Some(last) = history::read(home)?.last() {
        println!("last      {}", line(last)?);
    }
    Ok(Outcome::Good)
}

fn list(home: &Home) -> Result<Outcome> {
    let lines = history::read(home)?;
    if lines.is_empty() {
        println!("There were no updates yet.");
    }
    for update in &lines {
        println!("{}", line(update)?);
    }
    Ok(Outcome::Good)
}

fn line(update: &history::Line) -> Result<String> {
    let ending = match update.ending {
        Ending::Installed => "installed",
        Ending::Refused => "not installed",
        Ending::Abandoned => "broke off",
        Ending::Reverted => "taken back",
    };
    let to = update
        .to
        .map_or_else(|| "?".to_owned(), |to| to.to_string());
    let why = update
        .why
        .as_ref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    Ok(format!(
        "{}  {} → {to}  {ending} after {} s, from {}{why}",
        update.at.format(&Rfc3339)?,
        update.from,
        update.seconds,
        update.source
    ))
}

fn confirm(home: &Home) -> Result<Outcome> {
    match Journal::read(home)? {
        Some(journal) if journal.step == Step::Health && journal.waits_until.is_some() => {
            files::replace(&home.confirmation(), 0o600, journal.id.as_bytes())?;
            println!(
                "Release {} is kept.",
                journal.to.map(|to| to.to_string()).unwrap_or_default()
            );
            Ok(Outcome::Good)
        }
        _ => bail!("no new release waits for a confirmation"),
    }
}

async fn guard(home: &Home, boot: bool) -> Result<Outcome> {
    let settings = Settings::read(home.place()).unwrap_or_else(|error| {
        // A box must come up even where somebody broke its configuration.
        eprintln!("the settings of updates are ignored: {error:#}");
        Settings::default()
    });
    home.prepare()?;
    let Some(_lock) = home.try_lock()? else {
        println!("An update is under way; it looks after itself.");
        return Ok(Outcome::Good);
    };
    let moment = if boot {
        Moment::Booting
    } else {
        Moment::Running
    };
    match engine::settle(home, &settings, moment).await? {
        Some(done) => println!("{done}"),
        None => println!("Nothing to do."),
    }
    Ok(Outcome::Good)
}

async fn run(home: &Home) -> Result<Outcome> {
    let settings = Settings::read(home.place())?;
    let _lock = home.lock()?;
    if let Some(done) = engine::settle(home, &settings, Moment::Running).await? {
        println!("First, {done}.");
    }
    engine::tidy(home)?;
    let mut outcome = Outcome::Good;
    let mut pushed = Vec::new();
    if let Ok(entries) = std::fs::read_dir(home.incoming()) {
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "update") {
                pushed.push(path);
            }
        }
    }
    pushed.sort();
    let nothing_pushed = pushed.is_empty();
    for path in pushed {
        let ended = match Source::at(&path) {
            Ok(source) => engine::apply(home, &settings, &source, None).await,
            Err(error) => Err(error),
        };
        // Good or bad, it is done with; one that stayed would be tried for ever.
        if path.is_dir() {
            files::remove_folder(&path)?;
        } else {
            files::remove_file(&path)?;
        }
        if said(ended?)? == Outcome::Fault {
            outcome = Outcome::Fault;
        }
    }
    if nothing_pushed && settings.automatic && settings.mirror.is_some() {
        return said(engine::apply(home, &settings, &find(home, &settings, None)?, None).await?);
    }
    Ok(outcome)
}

async fn install_debian(home: &Home, bundle: Option<PathBuf>, dry_run: bool) -> Result<Outcome> {
    let settings = Settings::read(home.place())?;
    let _lock = home.lock()?;
    let packages = match bundle {
        None => debian::install(home, &settings, &Packages::Mirror, dry_run)?,
        Some(path) => {
            let source = Source::at(&path)?;
            let private = home.private();
            files::remove_folder(&private)?;
            files::make_folder(&private, 0o700)?;
            source
                .copy_metadata(&private.join("metadata"), trust::root_version(home)?)
                .await?;
            let trusted = trust::verify(home, &private, Expiry::Enforced).await?;
            let said = trusted
                .debian()
                .context("this update brings no packages of Debian's")?;
            let tar = private.join("debian.tar");
            source.copy_bundle(&said, &tar).await?;
            trusted.keep(home)?;
            debian::install(home, &settings, &Packages::Bundle(&tar), dry_run)?
        }
    };
    if packages.is_empty() {
        println!("Debian's packages are up to date.");
    } else {
        let verb = if dry_run { "would update" } else { "updated" };
        println!("{verb} {}", packages.join(", "));
    }
    Ok(Outcome::Good)
}
