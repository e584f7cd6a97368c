//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use time::OffsetDateTime;

use crate::commands::{self, Outcome};
use crate::place::Place;

/// Looks after a Hadada box.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the box keeps its things.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The box's folder; without it, the installed box of this machine.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Lays out the folders, keys and certificates of a box. Safe to repeat: keys are never replaced.
    Init {
        /// The box's folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// A name or address browsers reach the box by; may be given more than once. localhost always works.
        #[arg(long = "host", value_name = "NAME", required = true)]
        hosts: Vec<String>,
    },
    Install(commands::install::Install),
    Uninstall(commands::install::Uninstall),
    /// The first run of a new box.
    #[command(subcommand)]
    Setup(commands::setup::Setup),
    /// The firewall, and the proof of what left the box.
    #[command(subcommand)]
    Egress(commands::egress::Egress),
    /// The encrypted disk.
    #[command(subcommand)]
    Disk(commands::disk::Disk),
    /// The keys that encrypt the records' text.
    #[command(subcommand)]
    Keys(commands::keys::Keys),
    /// Access for IT staff and vendors over the network, for a while.
    #[command(subcommand)]
    RemoteAccess(commands::remote::RemoteAccess),
    /// The mail server that alerts go out by.
    #[command(subcommand)]
    Mail(commands::mail::Mail),
    SupportBundle(commands::support::SupportBundle),
    Watch(commands::watch::Watch),
    Reserve(commands::reserve::Reserve),
    /// API tokens.
    #[command(subcommand)]
    Token(Token),
    /// The audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// The certificate browsers see.
    #[command(subcommand)]
    Certificate(Certificate),
    /// The recovery key on paper.
    #[command(subcommand)]
    Recovery(Recovery),
    /// The models that write and sort.
    #[command(subcommand)]
    Model(Model),
    /// Backups.
    #[command(subcommand)]
    Backup(commands::backup::Backup),
    /// The continuous backup of the database's log.
    #[command(subcommand)]
    Wal(commands::wal::Wal),
    /// The nightly trial of restoring.
    #[command(subcommand)]
    Drill(commands::drill::Drill),
    /// Brings data back.
    #[command(subcommand)]
    Restore(commands::restore::Restore),
    /// Releases, at the vendor's.
    #[command(subcommand)]
    Release(commands::release::Release),
    /// Updates of this box.
    #[command(subcommand)]
    Update(commands::update::Update),
    /// Checks the box and says what to do.
    Doctor {
        #[command(flatten)]
        place: PlaceArgs,
        /// The port the box serves browsers on.
        #[arg(long)]
        port: Option<u16>,
    },
}

#[derive(Subcommand)]
enum Token {
    /// Makes an API token and prints it as the last line. It can't be shown again.
    Create {
        /// The log-in name it acts for.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// What it may do; `all` is whatever the user may do.
        #[arg(long, value_name = "SCOPES")]
        scope: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// Writes the whole log as JSON lines. Keep the file safe: it names patients by their ids.
    Export {
        /// The file to write; without it, standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Proves that nothing in the log was changed, or names the first thing that was (exit code 1).
    Verify {
        /// An export; without it, the running box is asked for one.
        file: Option<PathBuf>,
        /// The head kept outside the database; without it, the box's own.
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
        /// The short form from a cash-up slip, which the log must agree with; may be given more than once.
        #[arg(long = "slip", value_name = "TEXT")]
        slips: Vec<String>,
        /// The box's public audit key; without it, the box's own.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Subcommand)]
enum Certificate {
    /// Makes a new certificate from the box's own authority, for the same names or for others it may sign for.
    Renew {
        /// A name or address; may be given more than once. Without it, the names stay.
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Renews the certificate where it is due and notes how it stands; systemd runs it every day.
    Keep {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Subcommand)]
enum Model {
    /// Brings a model into the box: a vendor's folder with a signed manifest, or a file of your own with --by-it.
    Add {
        /// The vendor's folder; with --by-it a GGUF file that writes, or a folder with model.safetensors, tokenizer.json and
        /// config.json that sorts.
        source: PathBuf,
        /// No vendor signed it: it is marked as added by IT and signed with this box's own key.
        #[arg(long, requires = "licence")]
        by_it: bool,
        /// Its licence, such as Apache-2.0.
        #[arg(long, value_name = "NAME", requires = "by_it")]
        licence: Option<String>,
        /// Its name; the file's by default.
        #[arg(long, value_name = "NAME", requires = "by_it")]
        id: Option<String>,
        /// The kind of network, such as llama.
        #[arg(long, value_name = "NAME", requires = "by_it")]
        architecture: Option<String>,
        /// The most tokens it was trained for.
        #[arg(long, value_name = "N", requires = "by_it")]
        context: Option<u32>,
        /// Tokens of keys and values that its cache should hold.
        #[arg(long, value_name = "N", requires = "by_it")]
        cache_tokens: Option<u32>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Shows the models that are there, who signed them, which are enabled and how they were evaluated.
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Makes the drafting service use a model, without dropping a request, and waits until it does.
    Enable {
        /// Its name.
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Checks signatures and every file, of one model or of all (exit code 1 where one is not whole).
    Verify {
        /// Its name; without it, all.
        id: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Measures on this box how well a model drafts, prints the table and keeps it; a model that fails (exit code 1) can't be
    /// enabled for writing.
    Evaluate {
        /// Its name.
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Subcommand)]
enum Recovery {
    /// Reads a recovery key from standard input and says whether it is this box's.
    Check {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Reads the recovery key from standard input and lets it open the backups. Boxes of earlier releases need it once.
    AllowBackups {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl From<PlaceArgs> for Place {
    fn from(args: PlaceArgs) -> Self {
        args.dir.map_or_else(Self::installed, Self::folder)
    }
}

impl Cli {
    /// Runs the command at the time `now`.
    ///
    /// # Errors
    /// When it could not be done; the error says why and what to do.
    pub async fn run(self, now: OffsetDateTime) -> anyhow::Result<Outcome> {
        match self.command {
            Command::Init { dir, hosts } => commands::init::run(&Place::folder(dir), &hosts, now),
            Command::Install(install) => install.run(now),
            Command::Uninstall(uninstall) => uninstall.run(),
            Command::Setup(setup) => setup.run(now),
            Command::Egress(egress) => egress.run(now),
            Command::Disk(disk) => disk.run(),
            Command::Keys(keys) => keys.run().await,
            Command::RemoteAccess(remote) => remote.run(now).await,
            Command::Mail(mail) => mail.run(),
            Command::SupportBundle(bundle) => bundle.run(now),
            Command::Watch(watch) => watch.run(now),
            Command::Reserve(reserve) => reserve.run(),
            Command::Token(Token::Create { user, scope, place }) => {
                commands::token::create(&place.into(), &user, &scope).await
            }
            Command::Audit(Audit::Export { out, place }) => {
                commands::audit::export(&place.into(), out.as_deref()).await
            }
            Command::Audit(Audit::Verify {
                file,
                head,
                slips,
                key,
                place,
            }) => {
                let sources = commands::audit::Sources {
                    file,
                    head,
                    slips,
                    key,
                };
                commands::audit::verify(&place.into(), sources).await
            }
            Command::Certificate(Certificate::Renew { hosts, place }) => {
                commands::certificate::renew(&place.into(), &hosts, now)
            }
            Command::Certificate(Certificate::Keep { place }) => {
                commands::certificate::keep(&place.into(), now)
            }
            Command::Recovery(Recovery::Check { place }) => {
                commands::recovery::check(&place.into())
            }
            Command::Recovery(Recovery::AllowBackups { place }) => {
                commands::recovery::allow_backups(&place.into())
            }
            Command::Model(model) => model.run(now).await,
            Command::Backup(backup) => backup.run(now).await,
            Command::Wal(wal) => wal.run(now).await,
            Command::Drill(drill) => drill.run(now).await,
            Command::Restore(restore) => restore.run(now).await,
            Command::Release(release) => release.run(),
            Command::Update(update) => update.run().await,
            Command::Doctor { place, port } => {
                let place: Place = place.into();
                let port = port.unwrap_or_else(|| place.default_port());
                commands::doctor::run(&place, port, now).await
            }
        }
    }
}

impl Model {
    async fn run(self, now: OffsetDateTime) -> anyhow::Result<Outcome> {
        use commands::model;
        match self {
            Model::Add {
                source,
                licence: Some(licence),
                id,
                architecture,
                context,
                cache_tokens,
                place,
                ..
            } => model::add_by_it(
                &place.into(),
                &model::ByIt {
                    source,
                    id,
                    licence,
                    architecture,
                    context,
                    cache_tokens,
                },
            ),
            Model::Add { source, place, .. } => model::add(&place.into(), &source),
            Model::List { place } => model::list(&place.into()),
            Model::Enable { id, place } => model::enable(&place.into(), &id).await,
            Model::Verify { id, place } => model::verify(&place.into(), id.as_deref()),
            Model::Evaluate { id, place } => model::evaluate(&place.into(), &id, now).await,
        }
    }
}
