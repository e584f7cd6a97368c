//! Questions with known answers, asked before a start is believed: a processor or a build that computes wrongly must
//! not write notes.

use crate::worker::backend::{Backend, BackendError, KV_BLOCK, Row};
use crate::worker::kv::Blocks;
use hadada_inference_protocol::Token;
use hadada_kernels::pick;

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
/// About the first wrong answer: a device that gives one is of no use. The device's own errors as they are.
pub fn run(backend: &mut dyn Backend, sha256: &str) -> Result<(), BackendError> {
    let wrong = |what: String| Err(BackendError::LeaveGpu(what));
    backend.check()?;
    let vocabulary = backend.config().vocabulary;
    let prompt: Vec<Token> = (0..40)
        .map(|i| ((i * 7919 + 17) % vocabulary) as Token)
        .collect();
    let together = last_logits(backend, &prompt, prompt.len())?;
    if !pick::all_finite(&together) {
        return wrong("the model's numbers are not finite".into());
    }
    let pieces = last_logits(backend, &prompt, 7)?;
    let apart = together
        .iter()
        .zip(&pieces)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    if together.len() != pieces.len() || apart > backend.tolerance() {
        return wrong(format!(
            "a prompt in pieces gives other numbers than the prompt at once, {apart} apart"
        ));
    }
    if let Some((_, prompt, answer)) = KNOWN.iter().find(|(hash, ..)| *hash == sha256) {
        let mut tokens = prompt.to_vec();
        for &expected in *answer {
            let found = pick::best(&last_logits(backend, &tokens, tokens.len())?).map(|c| c.token);
            if found != Some(expected) {
                return wrong(format!(
                    "the model went on with {found:?} where {expected} is known to come"
                ));
            }
            tokens.push(expected);
        }
    }
    Ok(())
}

/// The logits after a prompt, computed in passes of `step` rows.
fn last_logits(
    backend: &mut dyn Backend,
    prompt: &[Token],
    step: usize,
) -> Result<Vec<f32>, BackendError> {
    let mut blocks = Blocks::new(backend.blocks());
    let Some((table, _)) = blocks.reserve(prompt, prompt.len()) else {
        return Err(BackendError::LeaveGpu(format!(
            "the cache has room for {} tokens; the known-answer test needs {}",
            backend.blocks() * KV_BLOCK,
            prompt.len()
        )));
    };
    let mut last = Vec::new();
    for (i, tokens) in prompt.chunks(step).enumerate() {
        let rows: Vec<Row<'_>> = tokens
            .iter()
            .zip(i * step..)
            .map(|(&token, position)| Row {
                token,
                position,
                blocks: &table.blocks,
                wanted: position + 1 == prompt.len(),
            })
            .collect();
        last = backend.forward(&rows)?.to_vec();
    }
    Ok(last)
}
