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
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if matches!(arguments.command, Command::Openapi) {
        println!("{}", hadada::app::openapi().to_pretty_json()?);
        return Ok(());
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
        Command::Openapi => Ok(()),
    }
}
