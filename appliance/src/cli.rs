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
        Command::Openapi | Command::EvaluateDrafting { .. } => Ok(()),
    }
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
