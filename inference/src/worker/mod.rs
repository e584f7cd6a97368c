//! The worker process: loads the models, asks the known questions, and serves the front.

pub mod alive;
pub mod backend;
pub mod embed;
mod embed_only;
pub mod engine;
pub mod fit;
pub mod gguf;
pub mod grammar;
pub mod kv;
mod lookup;
pub mod model;
pub mod sampling;
pub mod scheduler;
mod selftest;
mod sequence;
pub mod template;
pub mod text;
pub mod tokenizer;

#[cfg(not(feature = "cuda"))]
use self::backend::cpu::CpuBackend;
use self::backend::{Backend, BackendError, KV_BLOCK};
use self::engine::Engine;
use self::gguf::{Gguf, Value};
use self::model::config::ModelConfig;
use clap::Parser;
use hadada_inference_protocol::{
    FaultKind, FromWorker, ModelInfo, ToWorker, WorkerInfo, read, write,
};
#[cfg(not(feature = "cuda"))]
use hadada_kernels::Cpu;
use hadada_kernels::Isa;
use sha2::{Digest, Sha256};
use std::io::BufWriter;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

/// Runs the models for hadada-inference, which starts it. Standard input must be a connected Unix socket.
#[derive(Parser)]
#[command(version)]
pub struct Options {
    /// The model that writes: a GGUF file. Without it the worker only embeds.
    #[arg(long)]
    model: Option<PathBuf>,
    /// The model that embeds: a folder with model.safetensors, tokenizer.json and config.json.
    #[arg(long)]
    embedding_model: Option<PathBuf>,
    /// Threads that compute; all processors by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Tokens that the cache of keys and values holds, over all requests.
    #[arg(long, default_value_t = 16_384)]
    cache_tokens: usize,
    /// The instruction set to use instead of the best one: avx512-vnni, avx2, neon-dot,
    /// neon or scalar.
    #[arg(long)]
    kernels: Option<String>,
    /// Don't guess ahead how answers go on: for comparisons. The answers are the same.
    #[arg(long)]
    no_speculation: bool,
    /// The name the model has on the API; by default its file's, without the ending.
    #[arg(long)]
    model_name: Option<String>,
    /// A file that must have this content, as SHA256:PATH; may be given more than once.
    #[arg(long, value_name = "SHA256:PATH")]
    expect: Vec<String>,
    /// The compute capability, times ten, that the program's GPU code is for.
    #[arg(skip)]
    pub built_for: Option<u32>,
    /// Free memory of the card in bytes, where somebody has measured it.
    #[arg(long)]
    card_memory: Option<u64>,
}

/// Why a worker can't start.
struct Fault {
    kind: FaultKind,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault {
            kind: FaultKind::Restart,
            error: error.into(),
        }
    }
}

/// A loaded worker: what it is, and how it serves.
type Loaded = (WorkerInfo, Serve);
type Serve = Box<dyn FnOnce(Output, &mpsc::Receiver<ToWorker>) -> std::io::Result<()>>;
type Output = alive::Shared<BufWriter<UnixStream>>;

/// Serves the front over standard input until it goes away.
///
/// # Errors
/// When the model can't be loaded, or the front is gone.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // With the front gone nobody can reach this process; it must not keep memory or a GPU.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut out = alive::Shared::new(BufWriter::with_capacity(64 << 10, socket.try_clone()?));
    alive::tell(out.clone())?;
    let (to_engine, inbox) = mpsc::channel();
    std::thread::Builder::new()
        .name("inbox".into())
        .spawn(move || listen(socket, &to_engine))?;
    match load(options) {
        Ok((info, serve)) => {
            write(&mut out, &FromWorker::Ready(Box::new(info)))?;
            std::io::Write::flush(&mut out)?;
            serve(out, &inbox)?;
            Ok(())
        }
        Err(Fault { kind, error }) => {
            let reason = format!("{error:#}");
            write(&mut out, &FromWorker::Failed { reason, kind })?;
            std::io::Write::flush(&mut out)?;
            Err(error)
        }
    }
}

/// Passes messages on until the front goes away, and then ends the process: the engine may be in the middle of a pass
/// that nobody waits for.
fn listen(socket: UnixStream, to_engine: &mpsc::Sender<ToWorker>) {
    let mut from = std::io::BufReader::new(socket);
    loop {
        match read(&mut from) {
            Ok(Some(message)) => {
                if to_engine.send(message).is_err() {
                    return;
                }
            }
            Ok(None) => std::process::exit(0),
            Err(error) => {
                eprintln!("hadada-worker: the front sent something unreadable: {error}");
                std::process::exit(1);
            }
        }
    }
}

/// Loads everything and asks the known questions.
fn load(options: &Options) -> Result<Loaded, Fault> {
    let embedding = load_embedder(options);
    match &options.model {
        Some(model) => load_writer(options, model, embedding),
        None => {
            let (embedder, error) = embedding;
            let embedder = embedder.ok_or_else(|| {
                anyhow::anyhow!(error.unwrap_or_else(|| "there is no model to load".into()))
            })?;
            let info = WorkerInfo {
                pid: std::process::id(),
                model: None,
                embedding: Some(embedder.info().clone()),
                embedding_error: None,
                device: "cpu".into(),
                kernels: Isa::detect().name().into(),
                threads: threads(options) as u32,
                max_sequences: engine::MAX_SEQUENCES as u32,
                cache_tokens: 0,
            };
            let serve: Serve =
                Box::new(move |mut out, inbox| embed_only::run(&embedder, &mut out, inbox));
            Ok((info, serve))
        }
    }
}

/// The model that embeds, or why it can't be had where it was asked for.
fn load_embedder(options: &Options) -> (Option<embed::Embedder>, Option<String>) {
    let Some(folder) = &options.embedding_model else {
        return (None, None);
    };
    let loaded = ["config.json", "tokenizer.json", "model.safetensors"]
        .into_iter()
        .map(|name| folder.join(name))
        .filter(|path| expected(options, path).is_some())
        .try_for_each(|path| {
            let content = std::fs::read(&path)
                .map_err(|e| anyhow::anyhow!("{} can't be read: {e}", path.display()))?;
            check_content(options, &path, &hex::encode(Sha256::digest(content)))
        })
        .and_then(|()| embed::Embedder::load(folder));
    match loaded {
        Ok(embedder) => (Some(embedder), None),
        Err(error) => (
            None,
            Some(format!("the embedding model can't be used: {error:#}")),
        ),
    }
}

fn threads(options: &Options) -> usize {
    options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1)
}

/// The SHA-256 a file must have.
fn expected<'o>(options: &'o Options, path: &Path) -> Option<&'o str> {
    options
        .expect
        .iter()
        .filter_map(|pair| pair.split_once(':'))
        .find_map(|(hash, file)| (Path::new(file) == path).then_some(hash))
}

fn check_content(options: &Options, path: &Path, sha256: &str) -> anyhow::Result<()> {
    match expected(options, path) {
        Some(hash) if hash != sha256 => Err(anyhow::anyhow!(
            "{} is not the file its manifest was signed for: its SHA-256 is {sha256} instead of {hash}",
            path.display()
        )),
        _ => Ok(()),
    }
}

/// Loads a model that writes.
fn load_writer(
    options: &Options,
    model: &Path,
    (embedder, embedding_error): (Option<embed::Embedder>, Option<String>),
) -> Result<Loaded, Fault> {
    let file = Gguf::open(model)?;
    let tokenizer = Arc::new(tokenizer::Tokenizer::from_gguf(&file)?);
    let sha256 = hex::encode(Sha256::digest(file.bytes()));
    check_content(options, model, &sha256)?;
    let blocks = kv::Blocks::new((options.cache_tokens / KV_BLOCK).max(1));
    let token_bytes = ModelConfig::read(&file)?.kv_bytes() as u64;
    let cache_tokens = (blocks.total() * KV_BLOCK) as u64;
    let weights = file.bytes().len() as u64;
    match options.card_memory {
        Some(free) => fit::Need::on_card(weights, token_bytes, cache_tokens)
            .check(Some(free), "the card's memory"),
        None => fit::Need::in_memory(weights, token_bytes, cache_tokens)
            .check(fit::free_memory(), "memory"),
    }
    .map_err(no_room)?;
    let mut backend = open(options, &file, blocks.total())?;
    let config = backend.config().clone();
    if config.vocabulary != tokenizer.vocabulary() {
        return Err(Fault::from(anyhow::anyhow!(
            "the model file is damaged: it has {} tokens but embeddings for {}",
            tokenizer.vocabulary(),
            config.vocabulary
        )));
    }
    // A processor can't be left, and says so by failing again; a card that computes wrongly is left at once.
    selftest::run(backend.as_mut(), &sha256)
        .map_err(|e| fault(e, "the known-answer test failed"))?;
    let template = match file.get("tokenizer.chat_template") {
        Some(Value::Text(source)) => {
            Some(template::ChatTemplate::new(source).map_err(anyhow::Error::msg)?)
        }
        _ => None,
    };
    let grammars = grammar::Grammars::new(Arc::clone(&tokenizer))?;
    let device = backend.device();
    let info = WorkerInfo {
        pid: std::process::id(),
        model: Some(ModelInfo {
            id: options.model_name.clone().unwrap_or_else(|| name(model)),
            sha256,
            bytes: file.bytes().len() as u64,
            description: describe(backend.as_ref()),
            context_length: config.context.min(blocks.total() * KV_BLOCK) as u32,
            width: config.width as u32,
        }),
        embedding: embedder.as_ref().map(|e| e.info().clone()),
        embedding_error,
        device: device.name,
        kernels: device.kernels,
        threads: device.threads,
        max_sequences: engine::MAX_SEQUENCES as u32,
        cache_tokens: (blocks.total() * KV_BLOCK) as u32,
    };
    let speculation = !options.no_speculation;
    let serve: Serve = Box::new(move |out, inbox| {
        let mut engine = Engine::new(
            backend, blocks, tokenizer, template, grammars, embedder, out,
        );
        engine.speculation = speculation;
        engine.run(inbox)
    });
    Ok((info, serve))
}

/// The processor, with the best of its instruction sets or the one asked for.
#[cfg(not(feature = "cuda"))]
fn open(options: &Options, file: &Gguf, blocks: usize) -> Result<Box<dyn Backend>, Fault> {
    let isa = match options.kernels.as_deref() {
        None => Isa::detect(),
        Some(name) => Isa::available()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| anyhow::anyhow!("this processor has no instruction set '{name}'"))?,
    };
    let cpu = Cpu::new(isa, threads(options))?;
    alive::count(cpu.progress());
    Ok(Box::new(CpuBackend::load(file, cpu, blocks)?))
}

/// The GPU. A worker that is built for one never falls back to the processor: whoever started it has another for that.
#[cfg(feature = "cuda")]
fn open(options: &Options, file: &Gguf, blocks: usize) -> Result<Box<dyn Backend>, Fault> {
    use self::backend::cuda::{CudaBackend, OpenError};
    match CudaBackend::load(file, blocks, options.built_for) {
        Ok(backend) => Ok(Box::new(backend)),
        Err(OpenError::File(error)) => Err(error.into()),
        Err(OpenError::Gpu(error)) => Err(fault(error, "the GPU can't be used")),
    }
}

fn fault(error: BackendError, what: &str) -> Fault {
    Fault {
        kind: match error {
            BackendError::Retry(_) => FaultKind::Retry,
            BackendError::Restart(_) => FaultKind::Restart,
            BackendError::LeaveGpu(_) => FaultKind::LeaveGpu,
        },
        error: anyhow::anyhow!("{what}: {error}"),
    }
}

fn no_room(refusal: fit::NoRoom) -> Fault {
    Fault {
        kind: FaultKind::NoRoom,
        error: refusal.into(),
    }
}

/// The model's size and shape, for people.
fn describe(backend: &dyn Backend) -> String {
    let config = backend.config();
    format!(
        "{}, {} layers of {}, {} heads, {} MB of weights",
        config.architecture.name(),
        config.layers,
        config.width,
        config.heads,
        backend.weight_bytes() / 1_000_000
    )
}

fn name(path: &Path) -> String {
    path.file_stem().map_or_else(
        || "model".into(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}
