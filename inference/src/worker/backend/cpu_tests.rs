//! What a file may say of its network, on the processor, against plain arithmetic in double precision. The models are small
//! and invented.

use super::cpu::CpuBackend;
use super::{Backend, KV_BLOCK, Row};
use crate::worker::gguf::Gguf;
use hadada_kernels::{Cpu, Isa, half};
use std::collections::BTreeMap;

/// A tensor of a file: its name, its rows and columns, its type's number and its bytes.
type Stored = (String, (usize, usize), u32, Vec<u8>);

/// How far logits may be off, relative to their length: queries, keys and values are kept in half precision.
const SINGLE: f64 = 0.002;
/// The same where weights and activations are bytes.
const BYTES: f64 = 0.05;
/// What leaving out or mistaking a part must change at least, so that the limits above would notice.
const SHOWS: f64 = 0.5;

/// A model: what its file says, and what that means.
#[derive(Clone)]
struct Model {
    architecture: &'static str,
    width: usize,
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    rotated: usize,
    inner: usize,
    layers: usize,
    vocabulary: usize,
    base: f64,
    /// Pairs are elements that lie half of the rotated ones apart.
    halves: bool,
    biases: bool,
    factors: Vec<f32>,
    scale: f64,
    tied: bool,
    bytes: bool,
    /// Keys of the file besides the usual ones.
    more: Vec<(&'static str, Entry)>,
}

#[derive(Clone)]
enum Entry {
    Text(&'static str),
    Size(usize),
    Number(f32),
}

fn llama() -> Model {
    Model {
        architecture: "llama",
        width: 128,
        heads: 4,
        kv_heads: 2,
        head_size: 32,
        rotated: 32,
        inner: 192,
        layers: 2,
        vocabulary: 80,
        base: 10_000.0,
        halves: false,
        biases: false,
        factors: vec![1.0; 16],
        scale: 1.0,
        tied: true,
        bytes: false,
        more: Vec::new(),
    }
}

fn qwen2() -> Model {
    Model {
        architecture: "qwen2",
        base: 1_000_000.0,
        halves: true,
        biases: true,
        more: vec![("rope.freq_base", Entry::Number(1_000_000.0))],
        ..llama()
    }
}

/// Numbers between −1 and 1, the same for the same name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut state = name
        .bytes()
        .fold(7u64, |s, b| s.wrapping_mul(131).wrapping_add(b.into()))
        | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

/// A number as a file and the caches keep it.
fn halved(x: f64) -> f64 {
    half::to_f32(half::from_f32(x as f32)).into()
}

impl Model {
    fn shapes(&self) -> BTreeMap<String, (usize, usize)> {
        let (query, kv) = (self.heads * self.head_size, self.kv_heads * self.head_size);
        let mut shapes = BTreeMap::from([
            (
                "token_embd.weight".to_owned(),
                (self.vocabulary, self.width),
            ),
            ("output_norm.weight".to_owned(), (1, self.width)),
        ]);
        if !self.tied {
            shapes.insert("output.weight".into(), (self.vocabulary, self.width));
        }
        for layer in 0..self.layers {
            let mut add = |name: &str, rows, columns| {
                shapes.insert(format!("blk.{layer}.{name}"), (rows, columns));
            };
            for (name, rows, columns) in [
                ("attn_norm", 1, self.width),
                ("attn_q", query, self.width),
                ("attn_k", kv, self.width),
                ("attn_v", kv, self.width),
                ("attn_output", self.width, query),
                ("ffn_norm", 1, self.width),
                ("ffn_gate", self.inner, self.width),
                ("ffn_up", self.inner, self.width),
                ("ffn_down", self.width, self.inner),
            ] {
                add(&format!("{name}.weight"), rows, columns);
            }
            if self.biases {
                for (name, rows) in [("attn_q", query), ("attn_k", kv), ("attn_v", kv)] {
                    add(&format!("{name}.bias"), 1, rows);
                }
            }
        }
        shapes
    }

    /// A tensor's bytes, their type's number, and the values they stand for.
    fn tensor(&self, name: &str, (rows, columns): (usize, usize)) -> (u32, Vec<u8>, Vec<f64>) {
        let raw = numbers(name, rows * columns);
        let single = |values: Vec<f32>| {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (0, bytes, values.iter().map(|&v| f64::from(v)).collect())
        };
        if name.contains("norm") {
            return single(raw.iter().map(|x| 1.0 + x / 4.0).collect());
        }
        if rows == 1 {
            return single(raw);
        }
        let scaled: Vec<f32> = raw
            .iter()
            .map(|x| x * 3.0 / (columns as f32).sqrt())
            .collect();
        if !self.bytes {
            return single(scaled);
        }
        // Q8_0: a half-precision scale and 32 bytes.
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        for block in scaled.chunks_exact(32) {
            let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let scale = half::from_f32(largest / 127.0);
            bytes.extend(scale.to_le_bytes());
            for x in block {
                let whole = (x / half::to_f32(scale)).round().clamp(-127.0, 127.0);
                bytes.push(whole as i8 as u8);
                values.push(f64::from(whole * half::to_f32(scale)));
            }
        }
        (8, bytes, values)
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.tensor(name, self.shapes()[name]).2
    }

    fn file(&self) -> Gguf {
        let mut keys = vec![
            ("embedding_length", Entry::Size(self.width)),
            ("attention.head_count", Entry::Size(self.heads)),
            ("attention.head_count_kv", Entry::Size(self.kv_heads)),
            ("block_count", Entry::Size(self.layers)),
            ("context_length", Entry::Size(512)),
            ("feed_forward_length", Entry::Size(self.inner)),
            ("attention.layer_norm_rms_epsilon", Entry::Number(1e-5)),
        ];
        keys.extend(self.more.clone());
        let mut tensors: Vec<Stored> = self
            .shapes()
            .into_iter()
            .map(|(name, shape)| {
                let (kind, bytes, _) = self.tensor(&name, shape);
                (name, shape, kind, bytes)
            })
            .collect();
        if self.factors.iter().any(|f| *f != 1.0) {
            let bytes = self.factors.iter().flat_map(|f| f.to_le_bytes()).collect();
            tensors.push((
                "rope_freqs.weight".into(),
                (1, self.factors.len()),
                0,
                bytes,
            ));
        }
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((keys.len() as u64 + 1).to_le_bytes());
        let text = |out: &mut Vec<u8>, s: &str| {
            out.extend((s.len() as u64).to_le_bytes());
            out.extend(s.as_bytes());
        };
        let entry = |out: &mut Vec<u8>, name: &str, entry: &Entry| {
            text(out, name);
            match entry {
                Entry::Text(s) => {
                    out.extend(8u32.to_le_bytes());
                    text(out, s);
                }
                Entry::Size(n) => {
                    out.extend(4u32.to_le_bytes());
                    out.extend((*n as u32).to_le_bytes());
                }
                Entry::Number(x) => {
                    out.extend(6u32.to_le_bytes());
                    out.extend(x.to_le_bytes());
                }
            }
        };
        entry(
            &mut out,
            "general.architecture",
            &Entry::Text(self.architecture),
        );
        for (name, value) in &keys {
            entry(&mut out, &format!("{}.{name}", self.architecture), value);
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, (rows, columns), kind, bytes) in &tensors {
            text(&mut out, name);
            let dimensions = if *rows == 1 {
                vec![*columns]
            } else {
                vec![*columns, *rows]
            };
            out.extend((dimensions.len() as u32).to_le_bytes());
            dimensions
                .iter()
                .for_each(|d| out.extend((*d as u64).to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        Gguf::read(out).unwrap()
    }

    /// `x` by a matrix of the file, and its bias.
    fn product(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weights = self.values(&format!("{name}.weight"));
        let bias = format!("{name}.bias");
        let mut out: Vec<f64> = weights
            .chunks_exact(x.len())
            .map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
            .collect();
        if self.biases && self.shapes().contains_key(&bias) {
            let bias = self.values(&bias);
            out.iter_mut().zip(bias).for_each(|(o, b)| *o += b);
        }
        out
    }

    fn normal(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let root = (square + 1e-5).sqrt();
        let weights = self.values(&format!("{name}.weight"));
        x.iter().zip(weights).map(|(x, w)| x / root * w).collect()
    }

    /// Writes a position into each head.
    fn turn(&self, x: &mut [f64], position: usize) {
        for head in x.chunks_exact_mut(self.head_size) {
            for pair in 0..self.rotated / 2 {
                let slow = self.base.powf(-2.0 * pair as f64 / self.rotated as f64);
                let angle = position as f64 * slow / f64::from(self.factors[pair]) * self.scale;
                let (i, j) = if self.halves {
                    (pair, pair + self.rotated / 2)
                } else {
                    (2 * pair, 2 * pair + 1)
                };
                let (a, b) = (head[i], head[j]);
                head[i] = a * angle.cos() - b * angle.sin();
                head[j] = a * angle.sin() + b * angle.cos();
            }
        }
    }

    /// The logits after each token, by the book.
    fn plain(&self, tokens: &[u32]) -> Vec<f64> {
        let embedding = self.values("token_embd.weight");
        let mut rows: Vec<Vec<f64>> = tokens
            .iter()
            .map(|&t| embedding[t as usize * self.width..][..self.width].to_vec())
            .collect();
        let add = |x: &mut [f64], more: Vec<f64>| x.iter_mut().zip(more).for_each(|(x, m)| *x += m);
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (position, x) in rows.iter_mut().enumerate() {
                let normal = self.normal(&name("attn_norm"), x);
                let mut query = self.product(&name("attn_q"), &normal);
                let mut key = self.product(&name("attn_k"), &normal);
                self.turn(&mut query, position);
                self.turn(&mut key, position);
                keys.push(key.into_iter().map(halved).collect::<Vec<_>>());
                let value = self.product(&name("attn_v"), &normal);
                values.push(value.into_iter().map(halved).collect::<Vec<_>>());
                let attended = self.attend(&query, &keys, &values);
                add(x, self.product(&name("attn_output"), &attended));
                let normal = self.normal(&name("ffn_norm"), x);
                let up = self.product(&name("ffn_up"), &normal);
                let gate = self.product(&name("ffn_gate"), &normal);
                let inner: Vec<f64> = gate
                    .iter()
                    .zip(up)
                    .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                    .collect();
                add(x, self.product(&name("ffn_down"), &inner));
            }
        }
        let output = if self.tied { "token_embd" } else { "output" };
        rows.iter()
            .flat_map(|x| self.product(output, &self.normal("output_norm", x)))
            .collect()
    }

    fn attend(&self, query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
        let size = self.head_size;
        let shared = self.heads / self.kv_heads;
        let mut out = Vec::new();
        for (head, query) in query.chunks_exact(size).enumerate() {
            let from = head / shared * size;
            let scores = keys.iter().map(|key| {
                let dot: f64 = key[from..from + size]
                    .iter()
                    .zip(query)
                    .map(|(k, q)| k * q)
                    .sum();
                (dot / (size as f64).sqrt()).exp()
            });
            let weights: Vec<f64> = scores.collect();
            let total: f64 = weights.iter().sum();
            out.extend((from..from + size).map(|i| {
                let sum: f64 = weights.iter().zip(values).map(|(w, v)| w * v[i]).sum();
                sum / total
            }));
        }
        out
    }

    /// The logits as the backend computes them from the file.
    fn found(&self, tokens: &[u32]) -> Vec<f64> {
        let cpu = Cpu::new(Isa::detect(), 2).unwrap();
        let mut backend = CpuBackend::load(&self.file(), cpu, 3).unwrap();
        let rows: Vec<Row<'_>> = tokens
            .iter()
            .enumerate()
            .map(|(position, &token)| Row {
                token,
                position,
                blocks: &[2, 0],
                wanted: true,
            })
            .collect();
        let logits = backend.forward(&rows).unwrap();
        logits.iter().map(|&l| f64::from(l)).collect()
    }
}

fn apart(found: &[f64], right: &[f64]) -> f64 {
    assert_eq!(found.len(), right.len());
    let difference: f64 = found.iter().zip(right).map(|(f, r)| (f - r).powi(2)).sum();
    let length: f64 = right.iter().map(|r| r * r).sum();
    (difference / length).sqrt()
}

/// Holds the backend to the book, and shows that it would be noticed if it took the model for one of the others.
fn hold(model: &Model, mistaken: &[Model]) {
    let tokens: Vec<u32> = (0..KV_BLOCK as u32 + 9).map(|i| i * 29 % 80).collect();
    let found = model.found(&tokens);
    let limit = if model.bytes { BYTES } else { SINGLE };
    let off = apart(&found, &model.plain(&tokens));
    assert!(off < limit, "off by {off}");
    for (i, other) in mistaken.iter().enumerate() {
        let off = apart(&found, &other.plain(&tokens));
        assert!(off > SHOWS, "mistake {i} would show as {off} only");
    }
}

#[test]
fn a_plain_llama_is_computed_by_the_book() {
    let model = llama();
    hold(
        &model,
        &[Model {
            halves: true,
            ..model.clone()
        }],
    );
}

#[test]
fn qwen2_rotates_halves_and_adds_its_biases() {
    for bytes in [false, true] {
        let model = Model { bytes, ..qwen2() };
        let neighbours = Model {
            halves: false,
            ..model.clone()
        };
        let unbiased = Model {
            biases: false,
            ..model.clone()
        };
        hold(&model, &[neighbours, unbiased]);
    }
}

#[test]
fn heads_need_not_share_out_the_width_and_may_be_rotated_in_part() {
    let mut model = Model {
        heads: 6,
        head_size: 64,
        rotated: 32,
        tied: false,
        ..qwen2()
    };
    model.more.extend([
        ("attention.key_length", Entry::Size(64)),
        ("attention.value_length", Entry::Size(64)),
        ("rope.dimension_count", Entry::Size(32)),
    ]);
    let whole = Model {
        rotated: 64,
        factors: vec![1.0; 32],
        ..model.clone()
    };
    let tied = Model {
        tied: true,
        ..model.clone()
    };
    hold(&model, &[whole, tied]);
}

#[test]
fn each_pair_of_elements_has_its_own_factor() {
    // As Llama 3.1: the fast pairs stay, the slow ones are stretched.
    let factors: Vec<f32> = (0..16).map(|i| if i < 2 { 1.0 } else { 8.0 }).collect();
    let model = Model { factors, ..llama() };
    hold(&model, &[llama()]);
}

#[test]
fn positions_are_scaled_however_the_file_says_it() {
    let scaled = |more: Vec<(&'static str, Entry)>| Model {
        scale: 0.25,
        more,
        ..llama()
    };
    let new = scaled(vec![
        ("rope.scaling.type", Entry::Text("linear")),
        ("rope.scaling.factor", Entry::Number(4.0)),
    ]);
    let old = scaled(vec![("rope.scale_linear", Entry::Number(4.0))]);
    hold(&new, &[llama()]);
    hold(&old, &[llama()]);
}
