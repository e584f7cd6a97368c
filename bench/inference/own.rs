//! The engine's own speed: a backend driven as the engine drives it.

use crate::Error;
use hadada_inference::worker::backend::cpu::CpuBackend;
use hadada_inference::worker::backend::{Backend, KV_BLOCK, Row};
use hadada_inference::worker::gguf::Gguf;
use hadada_kernels::{Cpu, Halves, Isa, pick};
use std::path::Path;
use std::time::Instant;

/// Rows of a pass while reading a prompt, as the scheduler has them.
const PASS_ROWS: usize = 128;

/// A loaded model.
pub struct Own {
    backend: CpuBackend,
    /// Bytes of weights read for one token.
    pub read_bytes: usize,
}

impl Own {
    pub fn load(path: &Path, threads: usize) -> Result<Own, Error> {
        let file = Gguf::open(path)?;
        let cpu = Cpu::new(Isa::detect(), threads)?;
        let backend = CpuBackend::load(&file, cpu, 4096 / KV_BLOCK)?;
        let config = backend.config();
        // The embedding table is read a row at a time, unless it is the output too.
        let embedding = if config.tied {
            0
        } else {
            file.tensor("token_embd.weight").map_or(0, |(_, b)| b.len())
        };
        let all: usize = file.bytes().len();
        Ok(Own {
            backend,
            read_bytes: all - embedding,
        })
    }

    pub fn isa(&self) -> String {
        self.backend.device().kernels
    }

    fn prompt(&self, n: usize) -> Vec<u32> {
        let vocabulary = self.backend.config().vocabulary.min(40_000);
        (0..n)
            .map(|i| ((i * 7919 + 17) % vocabulary) as u32)
            .collect()
    }

    /// Computes rows of `(token, position, sequence)`, and gives the best token after each of the wanted ones.
    fn pass(
        &mut self,
        rows: &[(u32, usize, usize, bool)],
        blocks: &[Vec<u32>],
    ) -> Result<Vec<u32>, Error> {
        let rows: Vec<Row> = rows
            .iter()
            .map(|&(token, position, sequence, wanted)| Row {
                token,
                position,
                blocks: &blocks[sequence],
                wanted,
            })
            .collect();
        let vocabulary = self.backend.config().vocabulary;
        let logits = self.backend.forward(&rows)?;
        logits
            .chunks_exact(vocabulary)
            .map(|l| Ok(pick::best(l).ok_or("no best token")?.token))
            .collect()
    }

    fn read(&mut self, tokens: &[u32], sequence: usize, blocks: &[Vec<u32>]) -> Result<u32, Error> {
        let mut best = Vec::new();
        for first in (0..tokens.len()).step_by(PASS_ROWS) {
            let part = &tokens[first..tokens.len().min(first + PASS_ROWS)];
            let rows: Vec<_> = part
                .iter()
                .zip(first..)
                .map(|(&t, position)| (t, position, sequence, position + 1 == tokens.len()))
                .collect();
            best = self.pass(&rows, blocks)?;
        }
        Ok(best.pop().ok_or("no logits")?)
    }

    /// Tokens a second, writing `n` tokens after a prompt of 64.
    pub fn decode(&mut self, n: usize) -> Result<f64, Error> {
        let blocks = tables(1, 64 + n + 1);
        let tokens = self.prompt(64);
        let mut token = self.read(&tokens, 0, &blocks)?;
        let start = Instant::now();
        for i in 0..n {
            token = self.pass(&[(token, 64 + i, 0, true)], &blocks)?[0];
        }
        Ok(n as f64 / start.elapsed().as_secs_f64())
    }

    /// Tokens a second of a whole answer of `n` tokens to a prompt of 64, of which the first `cached` are known already.
    pub fn answer(&mut self, n: usize, cached: usize) -> Result<f64, Error> {
        let blocks = tables(1, 64 + n);
        let tokens = self.prompt(64);
        self.read(&tokens[..cached], 0, &blocks)?;
        let start = Instant::now();
        let rows: Vec<_> = (cached..64)
            .map(|position| (tokens[position], position, 0, position == 63))
            .collect();
        let mut token = self.pass(&rows, &blocks)?[0];
        for position in 64..63 + n {
            token = self.pass(&[(token, position, 0, true)], &blocks)?[0];
        }
        Ok(n as f64 / start.elapsed().as_secs_f64())
    }

    /// Tokens a second, reading a prompt of `n`.
    pub fn prefill(&mut self, n: usize) -> Result<f64, Error> {
        let blocks = tables(1, n);
        let tokens = self.prompt(n);
        let start = Instant::now();
        self.read(&tokens, 0, &blocks)?;
        Ok(n as f64 / start.elapsed().as_secs_f64())
    }

    /// Tokens a second over 8 sequences, `n` tokens each.
    pub fn batch(&mut self, n: usize) -> Result<f64, Error> {
        let blocks = tables(8, 32 + n);
        let mut now = Vec::new();
        for s in 0..8 {
            let tokens = self.prompt(16 + s);
            now.push((self.read(&tokens, s, &blocks)?, tokens.len()));
        }
        let start = Instant::now();
        for _ in 0..n {
            let rows: Vec<_> = now
                .iter()
                .enumerate()
                .map(|(s, &(token, position))| (token, position, s, true))
                .collect();
            let best = self.pass(&rows, &blocks)?;
            for (now, token) in now.iter_mut().zip(best) {
                *now = (token, now.1 + 1);
            }
        }
        Ok((8 * n) as f64 / start.elapsed().as_secs_f64())
    }
}

/// Blocks for some sequences of a length.
fn tables(sequences: usize, length: usize) -> Vec<Vec<u32>> {
    let each = length.div_ceil(KV_BLOCK) as u32;
    (0..sequences as u32)
        .map(|s| (s * each..(s + 1) * each).collect())
        .collect()
}

/// What some threads can read from memory, in bytes a second: the roof over a model larger than the caches. It is read from
/// large pages, as the weights are.
pub fn memory_speed(threads: usize) -> f64 {
    const BYTES: usize = 512 << 20;
    let mut data = Halves::zeroed(BYTES / 2);
    data.fill(1);
    let mut best = 0.0f64;
    for _ in 0..5 {
        let start = Instant::now();
        let total: u16 = std::thread::scope(|scope| {
            let parts: Vec<_> = data
                .chunks(data.len() / threads)
                .map(|part| scope.spawn(move || part.iter().fold(0, |s, x| s ^ x)))
                .collect();
            parts
                .into_iter()
                .map(|p| p.join().unwrap_or(0))
                .fold(0, |a, b| a ^ b)
        });
        std::hint::black_box(total);
        best = best.max(BYTES as f64 / start.elapsed().as_secs_f64());
    }
    best
}
