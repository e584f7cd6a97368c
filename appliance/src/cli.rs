//! The commands of `hadada`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use hadada::config::Config;

/// The practice's server.
#[derive(Debug, Parser)]
#[command(name = "hadada", version)]
pub(crate) struct Arguments {
    /// Configuration file.
    #[arg(
        long,
        env = "HADADA_CONFIG",
        default_value = "/etc/hadada/hadada.toml",
        global = true
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves pages and the API until told to stop.
    Serve,
    /// Brings the databases up to this program's schema.
    Migrate,
    /// Fills empty databases with the fictional demo practice.
    DemoData,
    /// Sends what is in the outbox, as the database role `hadada_sender`, until told to stop.
    SendMail {
        /// Stops when nothing is due.
        #[arg(long)]
        once: bool,
        /// Database role.
        #[arg(long, default_value = "hadada_sender")]
        role: String,
    },
    /// After a restore: erases again whoever the register says was erased. Safe to run again.
    ReplayErasures {
        /// The register: `erasures.jsonl`.
        #[arg(long)]
        register: PathBuf,
    },
    /// On new hardware: opens the practices' keys with the recovery key and wraps them with this box's master key. Runs as the
    /// owner of the schema. Safe to run again.
    RewrapKeys {
        /// The recovery key, as on paper, is read from standard input up to its end.
        #[arg(long, required = true)]
        recovery_from_stdin: bool,
    },
    /// Wraps the practices' keys with the next master key, beside the one there is; `hadadactl keys new-master` leads through it.
    /// Runs as the owner of the schema. Safe to run again.
    ChangeMasterKey {
        /// The keys are read from standard input in hex, a line each: the one there is, and the next.
        #[arg(long, required = true)]
        keys_from_stdin: bool,
        /// The last step: takes only the key there is, and makes the one before void.
        #[arg(long)]
        forget_previous: bool,
    },
    /// Says whether this box's master key opens every practice's key. Runs as the owner of the schema.
    CheckKeys,
    /// Writes the whole audit log to standard output, as JSON lines; `hadadactl drill` proves restored databases so. It needs
    /// the databases only.
    AuditExport {
        /// The public audit key, in hex.
        #[arg(long)]
        key: PathBuf,
    },
    /// Writes the OpenAPI document to standard output.
    Openapi,
    /// Measures how well the model behind a drafting service's socket drafts, and writes the figures as JSON. It touches no
    /// records; `hadadactl model evaluate` runs it.
    EvaluateDrafting {
        /// The drafting service's socket.
        #[arg(long)]
        socket: PathBuf,
    },
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if matches!(arguments.command, Command::Openapi) {
        println!("{}", hadada::app::openapi().to_pretty_json()?);
        return Ok(());
    }
    if let Command::EvaluateDrafting { socket } = &arguments.command {
        return evaluate(socket).await;
    }
    let config = Config::load(&arguments.config)?;
    match arguments.command {
        Command::Serve => hadada::lifecycle::serve(config)
            .await
            .context("the server could not run"),
        Command::Migrate => Ok(hadada::db::migrate(&config).await?),
        Command::SendMail { once, role } => hadada::outbox::run_sender(&config, &role, once).await,
        Command::ReplayErasures { register } => {
            let app = hadada::lifecycle::assemble(config, hadada::clock::Clock::system())?;
            let replayed = hadada::erasure::replay(&app, &register).await?;
            println!(
                "{} entries: {} erased, {} erased before, {} not in this database",
                replayed.entries, replayed.erased, replayed.known, replayed.unknown
            );
            Ok(())
        }
        Command::RewrapKeys { .. } => {
            let paper = zeroize::Zeroizing::new(
                std::io::read_to_string(std::io::stdin()).context("can't read the recovery key")?,
            );
            let done = hadada::keys::rewrap(&config, &paper).await?;
            println!(
                "{} practices' keys: {} wrapped anew, {} open with this box's key already",
                done.practices, done.rewrapped, done.kept
            );
            Ok(())
        }
        Command::ChangeMasterKey {
            forget_previous, ..
        } => {
            let typed = zeroize::Zeroizing::new(
                std::io::read_to_string(std::io::stdin()).context("can't read the keys")?,
            );
            if forget_previous {
                let practices = hadada::keys::forget_previous(&config, &typed).await?;
                println!("{practices} practices' keys open with this master key only");
            } else {
                let done = hadada::keys::change_master(&config, &typed).await?;
                println!(
                    "{} practices' keys: {} wrapped with the next master key too, {} were",
                    done.practices, done.rewrapped, done.kept
                );
            }
            Ok(())
        }
        Command::CheckKeys => {
            let practices = hadada::keys::check_keys(&config).await?;
            println!("{practices} practices' keys open with this box's master key");
            Ok(())
        }
        Command::DemoData => {
            if !config.demo {
                anyhow::bail!("demo data goes only where the configuration says `demo = true`");
            }
            let steering = hadada::demo::Steering::default();
            let app = hadada::lifecycle::assemble(config, steering.clock())?;
            let filled =
                hadada::demo::load(&app, &steering, hadada::clock::Clock::system().now()).await?;
            tracing::info!(filled, "demo practice");
            Ok(())
        }
        Command::AuditExport { key } => export(&config, &key).await,
        Command::Openapi | Command::EvaluateDrafting { .. } => Ok(()),
    }
}

async fn export(config: &Config, key: &std::path::Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(key).with_context(|| key.display().to_string())?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).context("the key is not 64 hex digits")?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes)?;
    let lines = hadada::audit::export(
        hadada::db::Db::open(config),
        hadada::clock::Clock::system(),
        key,
    );
    let mut lines = std::pin::pin!(lines);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(line) = futures_util::StreamExt::next(&mut lines).await {
        std::io::Write::write_all(&mut out, &line?)?;
    }
    Ok(std::io::Write::flush(&mut out)?)
}

async fn evaluate(socket: &std::path::Path) -> anyhow::Result<()> {
    let inference = hadada::inference::Inference::new(socket.to_path_buf());
    let health = inference.health().await;
    anyhow::ensure!(
        health.is_serving(),
        "the drafting service is not ready: {}",
        health.reason.unwrap_or(health.state)
    );
    let mut model = hadada::encounters::Model::new(inference, &health, "evaluation".into());
    let report = hadada::drafting::evaluation::evaluate(&mut model, |done, of| {
        eprintln!("drafting: {done} of {of} notes");
    })
    .await?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
