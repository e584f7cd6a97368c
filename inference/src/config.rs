//! What the daemon is told: flags first, then the environment, then the `[inference]` table of the configuration file.

use anyhow::{Context, bail};
use clap::Parser;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Serves the box's language model on a Unix socket.
#[derive(Parser)]
#[command(version)]
pub struct Options {
    /// Configuration file; its [inference] table has the same names as the flags, with underscores.
    #[arg(long, env = "HADADA_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen: the path of a Unix socket.
    #[arg(long, env = "HADADA_INFERENCE_SOCKET")]
    socket: Option<PathBuf>,
    /// The model that writes: a GGUF file.
    #[arg(long, env = "HADADA_INFERENCE_MODEL")]
    model: Option<PathBuf>,
    /// The model that embeds: a folder with model.safetensors, tokenizer.json and config.json.
    #[arg(long, env = "HADADA_INFERENCE_EMBEDDING_MODEL")]
    embedding_model: Option<PathBuf>,
    /// The worker program; by default the hadada-worker beside this program.
    #[arg(long, env = "HADADA_INFERENCE_WORKER")]
    worker: Option<PathBuf>,
    /// Threads that compute; all processors by default.
    #[arg(long, env = "HADADA_INFERENCE_THREADS")]
    threads: Option<u32>,
    /// Requests that may wait; more are turned away with "try again later".
    #[arg(long, env = "HADADA_INFERENCE_QUEUE")]
    queue: Option<usize>,
    /// Tokens that the worker's cache of keys and values holds, over all requests.
    #[arg(long, env = "HADADA_INFERENCE_CACHE_TOKENS")]
    cache_tokens: Option<u32>,
    /// Don't guess ahead how answers go on: for comparisons. The answers are the same.
    #[arg(long)]
    no_speculation: bool,
}

/// The file's parts that matter here; other programs have other tables.
#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    inference: Table,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Table {
    socket: Option<PathBuf>,
    model: Option<PathBuf>,
    embedding_model: Option<PathBuf>,
    worker: Option<PathBuf>,
    threads: Option<u32>,
    queue: Option<usize>,
    cache_tokens: Option<u32>,
}

/// What the daemon runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub socket: PathBuf,
    /// The model that writes.
    pub model: PathBuf,
    /// The model that embeds.
    pub embedding_model: Option<PathBuf>,
    /// The worker program.
    pub worker: PathBuf,
    /// Threads that compute.
    pub threads: Option<u32>,
    /// Requests that may wait.
    pub queue: usize,
    /// Tokens of the worker's cache.
    pub cache_tokens: Option<u32>,
    /// Whether answers are guessed ahead.
    pub speculation: bool,
}

impl Config {
    /// Puts the sources together.
    ///
    /// # Errors
    /// When something is missing or makes no sense; the sentence names it.
    pub fn from_options(options: Options) -> anyhow::Result<Config> {
        let table = match &options.config {
            Some(path) => read(path)?,
            None => Table::default(),
        };
        let need = |value: Option<PathBuf>, name: &str| {
            value
                .filter(|p| !p.as_os_str().is_empty())
                .with_context(|| {
                    format!("{name} is not set: give --{name}, or {name} in the [inference] table")
                })
        };
        let worker = match options.worker.or(table.worker) {
            Some(path) => path,
            None => std::env::current_exe()
                .context("finding my own program file")?
                .with_file_name("hadada-worker"),
        };
        let config = Config {
            socket: need(options.socket.or(table.socket), "socket")?,
            model: need(options.model.or(table.model), "model")?,
            embedding_model: options.embedding_model.or(table.embedding_model),
            worker,
            threads: options.threads.or(table.threads),
            queue: options.queue.or(table.queue).unwrap_or(64),
            cache_tokens: options.cache_tokens.or(table.cache_tokens),
            speculation: !options.no_speculation,
        };
        if config.threads == Some(0) {
            bail!("threads is 0: at least one is needed");
        }
        if config.queue == 0 {
            bail!("queue is 0: no request could ever wait");
        }
        Ok(config)
    }

    /// The name the model has on the API before the worker has said it.
    pub fn model_name(&self) -> String {
        self.model.file_stem().map_or_else(
            || "model".into(),
            |stem| stem.to_string_lossy().into_owned(),
        )
    }
}

fn read(path: &Path) -> anyhow::Result<Table> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let file: File = toml::from_str(&text)
        .with_context(|| format!("{} is not a valid configuration", path.display()))?;
    Ok(file.inference)
}
