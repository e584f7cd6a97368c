//! The inference bench: the engine beside llama.cpp, in one run, taking turns; ratios, because machines differ.

mod daemon;
mod own;
mod peer;
#[path = "../../tests/inference/requantise.rs"]
#[allow(clippy::unwrap_used, reason = "shared with the tests")]
mod requantise;
#[path = "../../tests/inference/support.rs"]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "shared with the tests"
)]
mod support;

use clap::Parser;
use hadada_kernels::WeightType;
use own::Own;
use peer::Peer;
use serde_json::{Value, json};
use std::path::PathBuf;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Measures the engine.
#[derive(Parser)]
struct Options {
    /// The demo model, Q4_1.
    #[arg(long)]
    model: PathBuf,
    /// The same in Q4_0, llama.cpp's best format; made when it is missing.
    #[arg(long)]
    other: PathBuf,
    /// A Python with llama-cpp-python; without it only the engine is measured.
    #[arg(long)]
    python: Option<PathBuf>,
    /// What the Python runs.
    #[arg(long)]
    script: PathBuf,
    /// A file of 8B shapes, made when it is missing.
    #[arg(long)]
    large: PathBuf,
    /// Runs of each, taking turns.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Threads of the engine; llama.cpp has two.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where the result goes.
    #[arg(long)]
    out: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A measurement: what, and how many tokens.
#[derive(Clone, Copy)]
enum Measure {
    Decode(usize),
    Prefill(usize),
    Batch(usize),
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Measure::Decode(_) => "decode",
            Measure::Prefill(_) => "prefill",
            Measure::Batch(_) => "batch",
        }
    }

    fn tokens(self) -> usize {
        match self {
            Measure::Decode(n) | Measure::Prefill(n) | Measure::Batch(n) => n,
        }
    }

    fn own(self, own: &mut Own) -> Result<f64, Error> {
        match self {
            Measure::Decode(n) => own.decode(n),
            Measure::Prefill(n) => own.prefill(n),
            Measure::Batch(n) => own.batch(n),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What llama.cpp had, where it was asked.
fn theirs(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| median(values))
}

fn main() -> Result<(), Error> {
    let options = Options::parse();
    let mut peer = match &options.python {
        Some(python) => Some(Peer::start(python, &options.script)?),
        None => None,
    };
    if !options.other.exists() {
        if let Some(folder) = options.other.parent() {
            std::fs::create_dir_all(folder)?;
        }
        requantise::requantise(&options.model, &options.other, WeightType::Q4_0);
    }
    let mut rows = Vec::new();
    println!(
        "{:<34} {:>10} {:>10} {:>8} {:>6}",
        "tokens a second, medians", "engine", "llama.cpp", "ratio", "aim"
    );
    let mut own = Own::load(&options.model, options.threads)?;
    let plan = [
        (Measure::Decode(96), 3.0, 2.5),
        (Measure::Prefill(512), 4.0, 2.0),
        (Measure::Batch(48), 4.0, 3.0),
    ];
    for (measure, aim, other_aim) in plan {
        let (mut ours, mut same, mut best) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            ours.push(measure.own(&mut own)?);
            if let Some(peer) = &mut peer {
                let n = measure.tokens().to_string();
                same.push(peer.ask(measure.name(), &options.model, &n)?);
                best.push(peer.ask(measure.name(), &options.other, &n)?);
            }
        }
        let ours = median(ours);
        for (label, values, aim) in [("same Q4_1", same, aim), ("its Q4_0", best, other_aim)] {
            rows.push(row(
                &format!("{}, against {label}", measure.name()),
                ours,
                theirs(values),
                aim,
            ));
        }
    }
    drop(own);
    rows.extend(daemon::measure(
        &options.model,
        options.threads,
        options.rounds,
    )?);
    if let Some(peer) = &mut peer {
        if !options.large.exists() {
            peer.ask("make", &options.large, &options.model.display().to_string())?;
        }
        let mut own = Own::load(&options.large, options.threads)?;
        let roof = own::memory_speed(options.threads);
        for (measure, aim) in [(Measure::Decode(16), 1.0), (Measure::Prefill(64), 1.0)] {
            let (mut ours, mut values) = (Vec::new(), Vec::new());
            for _ in 0..options.rounds {
                ours.push(measure.own(&mut own)?);
                let n = measure.tokens().to_string();
                values.push(peer.ask(measure.name(), &options.large, &n)?);
            }
            let ours = median(ours);
            let label = format!("8B shapes, Q4_K_M, {}", measure.name());
            rows.push(row(&label, ours, theirs(values), aim));
            if let Measure::Decode(_) = measure {
                let share = ours * own.read_bytes as f64 / roof;
                println!(
                    "{:<34} {:>9.0}% of {:.1} GB/s read by {} threads; aim 70%",
                    "  of the memory roofline",
                    share * 100.0,
                    roof / 1e9,
                    options.threads
                );
                rows.push(json!({"name": "memory roofline share", "value": share, "aim": 0.7, "bytes_per_second": roof}));
            }
        }
        println!("kernels: {}", own.isa());
    }
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(
        &options.out,
        serde_json::to_vec_pretty(&json!({"rounds": options.rounds, "rows": rows}))?,
    )?;
    Ok(())
}

fn row(name: &str, ours: f64, theirs: Option<f64>, aim: f64) -> Value {
    let ratio = theirs.map(|theirs| ours / theirs);
    let shown = |value: Option<f64>, places: usize, unit: &str| {
        value.map_or_else(|| "–".into(), |v| format!("{v:.places$}{unit}"))
    };
    println!(
        "{name:<34} {ours:>10.1} {:>10} {:>8} {aim:>5.1}×",
        shown(theirs, 1, ""),
        shown(ratio, 2, "×")
    );
    json!({"name": name, "engine": ours, "llama_cpp": theirs, "ratio": ratio, "aim": aim})
}
