//! The worker process: loads the models, asks the known questions, and serves the front.

pub mod backend;
pub mod embed;
pub mod engine;
pub mod gguf;
pub mod grammar;
pub mod kv;
pub mod model;
pub mod sampling;
pub mod scheduler;
mod selftest;
pub mod template;
pub mod text;
pub mod tokenizer;

use self::backend::cpu::CpuBackend;
use self::backend::{Backend, KV_BLOCK};
use self::engine::Engine;
use self::gguf::{Gguf, Value};
use clap::Parser;
use hadada_inference_protocol::{FromWorker, ModelInfo, ToWorker, WorkerInfo, read, write};
use hadada_kernels::{Cpu, Isa};
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
    /// The model that writes: a GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// The model that embeds: a folder with model.safetensors, tokenizer.json and config.json.
    #[arg(long)]
    embedding_model: Option<PathBuf>,
    /// Threads that compute; all processors by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Tokens that the cache of keys and values holds, over all requests.
    #[arg(long, default_value_t = 16_384)]
    cache_tokens: usize,
    /// The instruction set to use instead of the best one: avx512-vnni, avx2 or scalar.
    #[arg(long)]
    kernels: Option<String>,
}

/// Serves the front over standard input until it goes away.
///
/// # Errors
/// When the model can't be loaded, or the front is gone.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // With the front gone nobody can reach this process; it must not keep memory or a GPU.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut out = BufWriter::with_capacity(64 << 10, socket.try_clone()?);
    let (to_engine, inbox) = mpsc::channel();
    std::thread::Builder::new()
        .name("inbox".into())
        .spawn(move || listen(socket, &to_engine))?;
    match load(options) {
        Ok((parts, info)) => {
            write(&mut out, &FromWorker::Ready(Box::new(info)))?;
            std::io::Write::flush(&mut out)?;
            parts(out).run(&inbox)?;
            Ok(())
        }
        Err(error) => {
            write(
                &mut out,
                &FromWorker::Failed {
                    reason: format!("{error:#}"),
                },
            )?;
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

type Output = BufWriter<UnixStream>;

/// Loads everything and asks the known questions.
fn load(
    options: &Options,
) -> anyhow::Result<(impl FnOnce(Output) -> Engine<Output> + use<>, WorkerInfo)> {
    let isa = match options.kernels.as_deref() {
        None => Isa::detect(),
        Some(name) => Isa::available()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| anyhow::anyhow!("this processor has no instruction set '{name}'"))?,
    };
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    let file = Gguf::open(&options.model)?;
    let tokenizer = Arc::new(tokenizer::Tokenizer::from_gguf(&file)?);
    let blocks = kv::Blocks::new((options.cache_tokens / KV_BLOCK).max(1));
    let mut backend: Box<dyn Backend> = Box::new(CpuBackend::load(
        &file,
        Cpu::new(isa, threads)?,
        blocks.total(),
    )?);
    let config = backend.config().clone();
    anyhow::ensure!(
        config.vocabulary == tokenizer.vocabulary(),
        "the model file is damaged: it has {} tokens but embeddings for {}",
        tokenizer.vocabulary(),
        config.vocabulary
    );
    let sha256 = hex::encode(Sha256::digest(file.bytes()));
    selftest::run(backend.as_mut(), &sha256)
        .map_err(|e| anyhow::anyhow!("the known-answer test failed: {e}"))?;
    let template = match file.get("tokenizer.chat_template") {
        Some(Value::Text(source)) => {
            Some(template::ChatTemplate::new(source).map_err(anyhow::Error::msg)?)
        }
        _ => None,
    };
    let grammars = grammar::Grammars::new(Arc::clone(&tokenizer))?;
    let loaded = options
        .embedding_model
        .as_deref()
        .map(embed::Embedder::load)
        .transpose();
    let (embedder, embedding_error) = match loaded {
        Ok(embedder) => (embedder, None),
        Err(error) => (
            None,
            Some(format!("the embedding model can't be used: {error:#}")),
        ),
    };
    let device = backend.device();
    let info = WorkerInfo {
        pid: std::process::id(),
        model: ModelInfo {
            id: name(&options.model),
            sha256,
            bytes: file.bytes().len() as u64,
            description: describe(backend.as_ref()),
            context_length: config.context.min(blocks.total() * KV_BLOCK) as u32,
            width: config.width as u32,
        },
        embedding: embedder.as_ref().map(|e| e.info().clone()),
        embedding_error,
        device: device.name,
        kernels: device.kernels,
        threads: device.threads,
        max_sequences: engine::MAX_SEQUENCES as u32,
        cache_tokens: (blocks.total() * KV_BLOCK) as u32,
    };
    let make = move |out| {
        Engine::new(
            backend, blocks, tokenizer, template, grammars, embedder, out,
        )
    };
    Ok((make, info))
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
