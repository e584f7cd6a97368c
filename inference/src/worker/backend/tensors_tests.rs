//! The tensors' way, on candle's own device for the processor, against the kernels of the processor's backend.

use super::cpu::CpuBackend;
use super::tensors::TensorModel;
use super::{Backend, KV_BLOCK, Row, tensors_check};
use crate::worker::gguf::Gguf;
use crate::worker::model::config::ModelConfig;
use candle_core::Device;
use hadada_kernels::{Cpu, Isa, pick};
use std::path::PathBuf;

fn file() -> Gguf {
    let folder = std::env::var_os("HADADA_MODELS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/hadada/models"),
        PathBuf::from,
    );
    Gguf::open(&folder.join("smollm2-135m-instruct-q4_1.gguf")).unwrap()
}

fn tensors(file: &Gguf, blocks: usize) -> TensorModel {
    let config = ModelConfig::read(file).unwrap();
    TensorModel::load(file, config, &Device::Cpu, blocks).unwrap()
}

/// "What is physiotherapy?", laid out as a chat.
const QUESTION: &[u32] = &[
    1, 4093, 198, 1780, 314, 47764, 47, 2, 198, 1, 520, 9531, 198,
];

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn rows<'a>(tokens: &[u32], from: usize, blocks: &'a [u32], all: bool) -> Vec<Row<'a>> {
    let last = from + tokens.len() - 1;
    (from..)
        .zip(tokens)
        .map(|(position, &token)| Row {
            token,
            position,
            blocks,
            wanted: all || position == last,
        })
        .collect()
}

#[test]
fn it_writes_what_the_processors_kernels_write() {
    let file = file();
    let model = tensors(&file, 4);
    let mut cpu = CpuBackend::load(&file, Cpu::new(Isa::detect(), 2).unwrap(), 4).unwrap();
    let blocks = [3, 1];
    let mut tokens = QUESTION.to_vec();
    let mut from = 0;
    for _ in 0..12 {
        let rows = rows(&tokens[from..], from, &blocks, false);
        let mut found = Vec::new();
        model.forward(&rows, &mut found).unwrap();
        let expected = cpu.forward(&rows).unwrap();
        // The one rounds activations to blocks of eight bits with a sum, the other without: logits reach 25.
        let apart = furthest(&found, expected);
        assert!(apart < 1.5, "{apart} at {from}");
        from = tokens.len();
        let next = pick::best(expected).unwrap().token;
        assert_eq!(pick::best(&found).unwrap().token, next, "at {from}");
        tokens.push(next);
    }
}

#[test]
fn who_else_is_in_a_pass_changes_no_row_beyond_rounding() {
    let file = file();
    let vocabulary = ModelConfig::read(&file).unwrap().vocabulary;
    let prompts: Vec<Vec<u32>> = [(34, 3), (70, 7), (12, 11), (1, 17)]
        .iter()
        .map(|&(length, step)| (0..length).map(|i| (i * step + 100) % 40_000).collect())
        .collect();
    let blocks: [&[u32]; 4] = [&[5, 0], &[2, 7, 4], &[1], &[6]];
    let mut model = tensors(&file, 8);
    let mut alone = Vec::new();
    for (prompt, blocks) in prompts.iter().zip(blocks) {
        let mut logits = Vec::new();
        model
            .forward(&rows(prompt, 0, blocks, false), &mut logits)
            .unwrap();
        alone.push(logits);
    }
    // All but the last token of each in two passes, then all the last tokens together, with less memory from the second on.
    for half in [0, 1] {
        let mut pass = Vec::new();
        for (prompt, blocks) in prompts.iter().zip(blocks) {
            let all = prompt.len() - 1;
            let part = [0..all / 2, all / 2..all][half].clone();
            if !part.is_empty() {
                pass.extend(rows(&prompt[part.clone()], part.start, blocks, false));
            }
        }
        pass.iter_mut().for_each(|r| r.wanted = false);
        let mut logits = Vec::new();
        model.forward(&pass, &mut logits).unwrap();
        assert!(logits.is_empty());
        while model.economise() {}
    }
    let last: Vec<Row<'_>> = prompts
        .iter()
        .zip(blocks)
        .flat_map(|(prompt, blocks)| {
            let from = prompt.len() - 1;
            rows(&prompt[from..], from, blocks, false)
        })
        .collect();
    let mut together = Vec::new();
    model.forward(&last, &mut together).unwrap();
    assert_eq!(together.len(), prompts.len() * vocabulary);
    for (found, expected) in together.chunks_exact(vocabulary).zip(&alone) {
        let apart = furthest(found, expected);
        assert!(apart <= tensors_check::APART, "{apart}");
    }
    assert!(prompts.iter().map(Vec::len).max() > Some(2 * KV_BLOCK));
}

#[test]
fn the_known_answers_are_those_of_a_working_device() {
    let model = tensors(&file(), 2);
    tensors_check::run(&model, &Device::Cpu).unwrap().unwrap();
}
