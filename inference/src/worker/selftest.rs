//! Questions with known answers, asked before a start is believed: a processor or a build that computes wrongly must
//! not write notes.

use crate::kv::Blocks;
use crate::model::llama::{Llama, Row};
use hadada_inference_protocol::Token;
use hadada_kernels::{Activations, AttendRow, Cpu, Isa, pick};

/// Files whose answers are known: SHA-256, a prompt, and the eight most likely tokens after it. The question to
/// SmolLM2-135M-Instruct is "What is physiotherapy?", laid out as a chat.
const KNOWN: &[(&str, &[Token], &[Token])] = &[(
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    &[
        1, 4093, 198, 1780, 314, 47764, 47, 2, 198, 1, 520, 9531, 198,
    ],
    &[28457, 24198, 314, 253, 7607, 282, 5288, 4513],
)];

/// Asks.
///
/// # Errors
/// A sentence about the first wrong answer.
pub fn run(model: &mut Llama, sha256: &str) -> Result<(), String> {
    product(model)?;
    let vocabulary = model.shape().vocabulary;
    let prompt: Vec<Token> = (0..40)
        .map(|i| ((i * 7919 + 17) % vocabulary) as Token)
        .collect();
    let together = last_logits(model, &prompt, prompt.len());
    if !pick::all_finite(&together) {
        return Err("the model's numbers are not finite".into());
    }
    if together != last_logits(model, &prompt, 7) {
        return Err("a prompt in pieces gives other numbers than the prompt at once".into());
    }
    if let Some((_, prompt, answer)) = KNOWN.iter().find(|(hash, ..)| *hash == sha256) {
        let mut tokens = prompt.to_vec();
        for &expected in *answer {
            let found = pick::best(&last_logits(model, &tokens, tokens.len())).map(|c| c.token);
            if found != Some(expected) {
                return Err(format!(
                    "the model went on with {found:?} where {expected} is known to come"
                ));
            }
            tokens.push(expected);
        }
    }
    Ok(())
}

/// One quantised product of real weights, against the scalar reference.
fn product(model: &Llama) -> Result<(), String> {
    let matrix = model.some_matrix();
    let x: Vec<f32> = (0..matrix.columns())
        .map(|i| (i as f32 * 0.7).sin() * 2.0)
        .collect();
    let outcome = |isa| -> Result<Vec<f32>, String> {
        let mut cpu = Cpu::new(isa, model.cpu().threads()).map_err(|e| e.to_string())?;
        let mut rounded = Activations::default();
        let mut out = vec![0.0; matrix.rows()];
        cpu.round(&x, matrix.columns(), &mut rounded);
        cpu.multiply(&rounded, &mut [(matrix, &mut out)]);
        Ok(out)
    };
    if outcome(model.cpu().isa())? != outcome(Isa::Scalar)? {
        return Err(format!(
            "a matrix product with {} differs from the reference",
            model.cpu().isa().name()
        ));
    }
    Ok(())
}

/// The logits after a prompt, computed in passes of `step` rows.
fn last_logits(model: &mut Llama, prompt: &[Token], step: usize) -> Vec<f32> {
    let mut blocks = Blocks::new(prompt.len().div_ceil(Llama::BLOCK));
    let mut cache = model.cache(blocks.total());
    let Some((table, _)) = blocks.reserve(prompt, prompt.len()) else {
        return Vec::new();
    };
    let mut last = Vec::new();
    for (i, tokens) in prompt.chunks(step).enumerate() {
        let rows: Vec<Row<'_>> = tokens
            .iter()
            .zip(i * step..)
            .map(|(&token, position)| Row {
                token,
                place: AttendRow {
                    blocks: &table.blocks,
                    position,
                },
                wanted: position + 1 == prompt.len(),
            })
            .collect();
        last = model.forward(&rows, &mut cache).to_vec();
    }
    last
}
