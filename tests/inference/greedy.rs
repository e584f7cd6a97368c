//! The engine's greedy output beside that of llama.cpp. `fixtures/make_greedy.py` made the expectations.

use crate::requantise::requantise;
use crate::support::{Daemon, models, writing_model};
use hadada_inference::worker::backend::cpu::CpuBackend;
use hadada_inference::worker::backend::{Backend, KV_BLOCK, Row};
use hadada_inference::worker::gguf::Gguf;
use hadada_kernels::{Cpu, Isa, WeightType, pick};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// The types the expectations cover.
const FORMATS: [&str; 5] = ["Q4_1", "Q4_0", "Q8_0", "Q4_K", "Q6_K"];

/// The furthest that llama.cpp's best logit may lie above its second where the engine prefers another token, in
/// thousandths; 654 is what is seen. What faults show as was tried: a minimum left out of a row's first block, keys rotated
/// one position off, a row that doesn't see itself, and values of the wrong block show as 3,400 to 15,800, with 165 to all of
/// 1,536 places parted. Scales 6 % wrong show as 1,900 to 3,300. Scales 1 % wrong, positions stretched by 1 %, scores 6 % too
/// small and an epsilon a hundredfold show as 350 to 1,500: each is found in at least one of the five types.
const FURTHEST: u32 = 800;

#[derive(Deserialize)]
struct Fixture {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    format: String,
    sha256: String,
    runs: Vec<Run>,
    clear: Vec<Clear>,
}

#[derive(Deserialize)]
struct Run {
    prompt: Vec<u32>,
    answer: Vec<u32>,
    gaps: Vec<u32>,
    again: Vec<u32>,
}

/// A prompt at whose whole answer llama.cpp is in no doubt.
#[derive(Deserialize)]
struct Clear {
    prompt: Vec<u32>,
    answer: Vec<u32>,
}

fn fixture() -> Vec<File> {
    serde_json::from_str::<Fixture>(include_str!("fixtures/greedy.json"))
        .unwrap()
        .files
}

fn file(format: &str) -> File {
    let mut files = fixture().into_iter();
    files.find(|f| f.format == format).unwrap()
}

/// The demo model in another type, made once and kept beside it.
fn file_of(format: &str) -> PathBuf {
    let Some(kind) = WeightType::named(format).filter(|k| *k != WeightType::Q4_1) else {
        return writing_model();
    };
    let folder = models().join("requantised");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{format}.gguf"));
    if !path.exists() {
        requantise(&writing_model(), &path, kind);
    }
    path
}

#[test]
fn requantised_files_are_those_the_expectations_were_made_with() {
    let found = FORMATS.map(|format| {
        let bytes = std::fs::read(file_of(format)).unwrap();
        (format.to_owned(), hex::encode(Sha256::digest(bytes)))
    });
    let wanted: Vec<_> = fixture()
        .into_iter()
        .map(|f| (f.format, f.sha256))
        .collect();
    assert_eq!(found.to_vec(), wanted);
}

/// The most likely token after each position of the answer, given llama.cpp's tokens before it.
fn choices(backend: &mut CpuBackend, prompt: &[u32], answer: &[u32]) -> Vec<u32> {
    let tokens: Vec<u32> = prompt.iter().chain(answer).copied().collect();
    let blocks: Vec<u32> = (0..tokens.len().div_ceil(KV_BLOCK) as u32).collect();
    let rows: Vec<Row> = (0..tokens.len() - 1)
        .map(|position| Row {
            token: tokens[position],
            position,
            blocks: &blocks,
            wanted: position + 1 >= prompt.len(),
        })
        .collect();
    let vocabulary = backend.config().vocabulary;
    let logits = backend.forward(&rows).unwrap();
    let best = |l| pick::best(l).unwrap().token;
    logits.chunks_exact(vocabulary).map(best).collect()
}

/// Where the engine prefers another token than llama.cpp, and by how much llama.cpp's own led.
fn partings<'r>(found: &'r [u32], run: &'r Run) -> impl Iterator<Item = (usize, u32)> + 'r {
    let both = found.iter().zip(&run.answer).zip(&run.gaps).enumerate();
    both.filter(|(_, ((found, wanted), _))| found != wanted)
        .map(|(i, (_, gap))| (i, *gap))
}

/// The engine goes on as llama.cpp does: at clear prompts always, at others except at ties. What a tie is, llama.cpp shows
/// itself: reading the same text in one batch it parts from its own token-by-token answer, because activations are rounded to
/// eight bits and the order of a sum decides roundings. The engine may part about as often as that, and never where llama.cpp
/// is sure.
fn hold(format: &str) {
    let file = file(format);
    let gguf = Gguf::open(&file_of(format)).unwrap();
    let mut backend = CpuBackend::load(&gguf, Cpu::new(Isa::detect(), 2).unwrap(), 32).unwrap();
    assert!(file.clear.len() >= 10, "{} clear prompts", file.clear.len());
    for (r, run) in file.clear.iter().enumerate() {
        assert_eq!(run.answer.len(), 128);
        let found = choices(&mut backend, &run.prompt, &run.answer);
        assert_eq!(found, run.answer, "{format}: clear prompt {r}");
    }
    let (mut ours, mut its_own, mut whole) = (Vec::new(), 0, 0);
    for (r, run) in file.runs.iter().enumerate() {
        let found = choices(&mut backend, &run.prompt, &run.answer);
        assert_eq!(found.len(), 128);
        let places: Vec<(usize, u32)> = partings(&found, run).collect();
        its_own += partings(&run.again, run).count();
        whole += usize::from(places.is_empty());
        ours.extend(places.into_iter().map(|(i, gap)| (gap, r, i)));
    }
    ours.sort_unstable();
    let told: Vec<String> = ours
        .iter()
        .map(|(gap, r, i)| format!("prompt {r} token {i} ({:.3})", f64::from(*gap) / 1000.0))
        .collect();
    // Shown by the test runner on request; the README's figures come from here.
    println!(
        "{format}: {whole} of {} prompts equal over all 128 tokens; {} partings, llama.cpp from itself {its_own}: {}",
        file.runs.len(),
        ours.len(),
        told.join(", ")
    );
    assert!(
        ours.iter().all(|(gap, ..)| *gap <= FURTHEST),
        "{format}: {}",
        told.join(", ")
    );
    assert!(
        ours.len() <= its_own * 5 / 4 + 5,
        "{format}: {} partings: {}",
        ours.len(),
        told.join(", ")
    );
}

#[test]
fn q4_1_parts_only_at_ties() {
    hold("Q4_1");
}

#[test]
fn q4_0_parts_only_at_ties() {
    hold("Q4_0");
}

#[test]
fn q8_0_parts_only_at_ties() {
    hold("Q8_0");
}

#[test]
fn q4_k_parts_only_at_ties() {
    hold("Q4_K");
}

#[test]
fn q6_k_parts_only_at_ties() {
    hold("Q6_K");
}

#[test]
fn the_daemon_writes_what_llama_cpp_writes_all_prompts_at_once() {
    let file = file("Q4_1");
    let daemon = Daemon::ready();
    let write = |prompt: &[u32]| -> Vec<u32> {
        let asked = json!({"prompt": prompt, "max_tokens": 128, "temperature": 0, "ignore_eos": true, "return_token_ids": true});
        let reply = daemon.post("/v1/completions", &asked);
        serde_json::from_value(reply.ok()["choices"][0]["token_ids"].clone()).unwrap()
    };
    std::thread::scope(|scope| {
        for run in &file.clear {
            scope.spawn(|| assert_eq!(write(&run.prompt), run.answer));
        }
        for run in &file.runs {
            scope.spawn(|| {
                let found = write(&run.prompt);
                // Up to the first tie they are the same.
                let first = partings(&found, run).next();
                assert!(first.is_none_or(|(_, gap)| gap <= FURTHEST), "{first:?}");
            });
        }
    });
}
