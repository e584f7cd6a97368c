//! What the daemon is told: flags first, then the environment, then the `[inference]` table of the configuration file.

use anyhow::{Context, bail};
use clap::Parser;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where models are when nothing else is said.
const MODELS: &str = "/var/lib/hadada/models";

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
    /// The folder of models that hadadactl keeps; what is enabled there is served. Default: /var/lib/hadada/models.
    #[arg(long, env = "HADADA_INFERENCE_MODELS")]
    models: Option<PathBuf>,
    /// Serve this GGUF file instead of what is enabled in the folder of models.
    #[arg(long, env = "HADADA_INFERENCE_MODEL")]
    model: Option<PathBuf>,
    /// With --model, the model that embeds: a folder with model.safetensors, tokenizer.json and config.json.
    #[arg(long, env = "HADADA_INFERENCE_EMBEDDING_MODEL")]
    embedding_model: Option<PathBuf>,
    /// The worker program; by default the hadada-worker beside this program.
    #[arg(long, env = "HADADA_INFERENCE_WORKER")]
    worker: Option<PathBuf>,
    /// The folder of worker programs for graphics cards, hadada-worker-cuda-NN for compute capability N.N. Without it the
    /// processor writes.
    #[arg(long, env = "HADADA_INFERENCE_GPU_WORKERS")]
    gpu_workers: Option<PathBuf>,
    /// NVIDIA's management library, where it is not the system's.
    #[arg(long, env = "HADADA_NVML_PATH")]
    nvml: Option<PathBuf>,
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
    models: Option<PathBuf>,
    model: Option<PathBuf>,
    embedding_model: Option<PathBuf>,
    worker: Option<PathBuf>,
    gpu_workers: Option<PathBuf>,
    nvml: Option<PathBuf>,
    threads: Option<u32>,
    queue: Option<usize>,
    cache_tokens: Option<u32>,
}

/// Where the models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Models {
    /// What is enabled in this folder.
    Folder(PathBuf),
    /// These files, as they are.
    Files {
        /// The model that writes.
        model: PathBuf,
        /// The model that embeds.
        embedding: Option<PathBuf>,
    },
}

/// What the daemon runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub socket: PathBuf,
    /// What to serve.
    pub models: Models,
    /// The worker program for the processor.
    pub worker: PathBuf,
    /// The folder of worker programs for graphics cards.
    pub gpu_workers: Option<PathBuf>,
    /// NVIDIA's management library.
    pub nvml: Option<PathBuf>,
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
        let given = |flag: Option<PathBuf>, file: Option<PathBuf>| {
            flag.or(file).filter(|p| !p.as_os_str().is_empty())
        };
        let worker = match given(options.worker, table.worker) {
            Some(path) => path,
            None => std::env::current_exe()
                .context("finding my own program file")?
                .with_file_name("hadada-worker"),
        };
        let embedding = given(options.embedding_model, table.embedding_model);
        // A flag for either place beats the file's word on the other.
        let models = match (options.model, options.models) {
            (Some(model), _) => Models::Files { model, embedding },
            (None, Some(folder)) => Models::Folder(folder),
            (None, None) => match (table.model, table.models) {
                (Some(model), _) => Models::Files { model, embedding },
                (None, folder) => Models::Folder(folder.unwrap_or_else(|| MODELS.into())),
            },
        };
        let config = Config {
            socket: given(options.socket, table.socket)
                .context("socket is not set: give --socket, or socket in the [inference] table")?,
            models,
            worker,
            gpu_workers: given(options.gpu_workers, table.gpu_workers),
            nvml: given(options.nvml, table.nvml),
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
}

fn read(path: &Path) -> anyhow::Result<Table> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let file: File = toml::from_str(&text)
        .with_context(|| format!("{} is not a valid configuration", path.display()))?;
    Ok(file.inference)
}
