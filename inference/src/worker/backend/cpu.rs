//! The processor: repacked weights and the kernels of `hadada-kernels`.

use super::{Backend, BackendError, Device, Row};
use crate::worker::gguf::{Gguf, GgufError};
use crate::worker::model::config::{self, ModelConfig, Pairing};
use hadada_kernels::{
    Activations, AttendRow, Cpu, Forms, Halves, Isa, KvLayout, Matrix, Rotation, WeightType,
};

/// A model on the processor.
pub struct CpuBackend {
    config: ModelConfig,
    kv: KvLayout,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    embedding: Matrix,
    /// Missing where the embedding serves as output too.
    output: Option<Matrix>,
    cache: Halves,
    blocks: usize,
    cpu: Cpu,
    scratch: Scratch,
}

struct Layer {
    attention_norm: Vec<f32>,
    query: Projection,
    key: Projection,
    value: Projection,
    out: Matrix,
    inner_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    /// What query, key and value want.
    input_forms: Forms,
    /// What gate and up want.
    inner_forms: Forms,
}

/// Says that a layer's first product comes next: query, key and value in one, or in turn where something is added to each.
fn announce_inputs(cpu: &mut Cpu, layer: &Layer, biases: bool) {
    let inputs = [&layer.query.matrix, &layer.key.matrix, &layer.value.matrix];
    cpu.announce(if biases { &inputs[..1] } else { &inputs });
}

/// A matrix with what is added to its product, if anything is.
struct Projection {
    matrix: Matrix,
    bias: Option<Vec<f32>>,
}

#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    wanted: Vec<f32>,
    logits: Vec<f32>,
    rounded: Activations,
    inner_rounded: Activations,
    rotation: Rotation,
}

/// Which rows of the file become rows of the matrix: the kernels rotate neighbours, so that rows of a head that are
/// rotated by halves are laid beside each other.
fn neighbours(head_size: usize, rotated: usize) -> impl Fn(usize) -> usize {
    move |row| {
        let (head, place) = (row / head_size, row % head_size);
        let from = if place < rotated {
            place / 2 + (place % 2) * (rotated / 2)
        } else {
            place
        };
        head * head_size + from
    }
}

fn reorder<T: Copy>(items: &[T], row_length: usize, from: impl Fn(usize) -> usize) -> Vec<T> {
    (0..items.len() / row_length)
        .flat_map(|row| {
            items[from(row) * row_length..][..row_length]
                .iter()
                .copied()
        })
        .collect()
}

fn weight_type(name: &str, kind: &str) -> Result<WeightType, GgufError> {
    WeightType::named(kind).ok_or_else(|| {
        GgufError::Unsupported(format!(
            "tensor '{name}' is stored as {kind}, which the processor's kernels don't know"
        ))
    })
}

fn matrix(
    file: &Gguf,
    name: &str,
    rows: usize,
    columns: usize,
    order: Option<(usize, usize)>,
) -> Result<Matrix, GgufError> {
    let (info, bytes) = config::matrix(file, name, rows, columns)?;
    let kind = weight_type(name, info.kind.name)?;
    let packed = match order {
        Some((head_size, rotated)) => {
            let bytes = reorder(bytes, bytes.len() / rows, neighbours(head_size, rotated));
            Matrix::pack(kind, &bytes, rows, columns)
        }
        None => Matrix::pack(kind, bytes, rows, columns),
    };
    packed.map_err(|e| GgufError::Unsupported(format!("tensor '{name}': {e}")))
}

impl CpuBackend {
    /// Loads a model, with room for this many blocks of keys and values; their memory is taken as it is used.
    ///
    /// # Errors
    /// When a part is missing, of the wrong shape, or stored in a way not known here.
    pub fn load(file: &Gguf, cpu: Cpu, blocks: usize) -> Result<CpuBackend, GgufError> {
        let config = ModelConfig::read(file)?;
        let ModelConfig {
            width,
            inner,
            head_size,
            ..
        } = config;
        if !KvLayout::supports(head_size) {
            return Err(GgufError::Unsupported(format!(
                "its heads have {head_size} elements; 32, 64, 96 and 128 are known"
            )));
        }
        if !width.is_multiple_of(32) || !inner.is_multiple_of(32) {
            return Err(GgufError::Unsupported(format!(
                "its widths {width} and {inner} are not multiples of 32"
            )));
        }
        let order = match config.rope.pairing {
            Pairing::Neighbours => None,
            Pairing::Halves => Some((head_size, config.rope.factors.len() * 2)),
        };
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        let mut layers = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            let projection = |part: &str, rows: usize, order: Option<(usize, usize)>| {
                let bias = if config.biases {
                    let bias = config::vector(file, &format!("blk.{i}.{part}.bias"), rows)?;
                    Some(match order {
                        Some((head, rotated)) => reorder(&bias, 1, neighbours(head, rotated)),
                        None => bias,
                    })
                } else {
                    None
                };
                let matrix = matrix(file, &name(part), rows, width, order)?;
                Ok::<_, GgufError>(Projection { matrix, bias })
            };
            let query = projection("attn_q", query_width, order)?;
            let key = projection("attn_k", kv_width, order)?;
            let value = projection("attn_v", kv_width, None)?;
            let gate = matrix(file, &name("ffn_gate"), inner, width, None)?;
            let up = matrix(file, &name("ffn_up"), inner, width, None)?;
            layers.push(Layer {
                attention_norm: config::vector(file, &name("attn_norm"), width)?,
                input_forms: (query.matrix.forms())
                    .and(key.matrix.forms())
                    .and(value.matrix.forms()),
                inner_forms: gate.forms().and(up.forms()),
                query,
                key,
                value,
                out: matrix(file, &name("attn_output"), width, query_width, None)?,
                inner_norm: config::vector(file, &name("ffn_norm"), width)?,
                gate,
                up,
                down: matrix(file, &name("ffn_down"), width, inner, None)?,
            });
        }
        let output = if config.tied {
            None
        } else {
            Some(matrix(
                file,
                "output.weight",
                config.vocabulary,
                width,
                None,
            )?)
        };
        let kv = KvLayout {
            layers: config.layers,
            heads: config.kv_heads,
            head_size,
        };
        Ok(CpuBackend {
            layers,
            output_norm: config::vector(file, "output_norm.weight", width)?,
            embedding: matrix(file, "token_embd.weight", config.vocabulary, width, None)?,
            output,
            cache: Halves::zeroed(blocks * kv.block_elements()),
            blocks,
            kv,
            config,
            cpu,
            scratch: Scratch::default(),
        })
    }

    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.layers
            .iter()
            .flat_map(|l| {
                [
                    &l.query.matrix,
                    &l.key.matrix,
                    &l.value.matrix,
                    &l.out,
                    &l.gate,
                    &l.up,
                    &l.down,
                ]
            })
            .chain([&self.embedding])
            .chain(&self.output)
    }
}

/// Fills `out` with the bias in every row, or with nothing.
fn begin(projection: &Projection, out: &mut [f32]) {
    match &projection.bias {
        Some(bias) => out
            .chunks_exact_mut(bias.len())
            .for_each(|row| row.copy_from_slice(bias)),
        None => out.fill(0.0),
    }
}

impl Backend for CpuBackend {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn device(&self) -> Device {
        Device {
            name: "cpu".into(),
            kernels: self.cpu.isa().name().into(),
            threads: self.cpu.threads() as u32,
        }
    }

    fn weight_bytes(&self) -> usize {
        self.matrices().map(Matrix::bytes).sum()
    }

    fn blocks(&self) -> usize {
        self.blocks
    }

    fn tolerance(&self) -> f32 {
        0.0
    }

    /// Products of the model's own weights, one of each type they are stored in, against the scalar reference.
    fn check(&mut self) -> Result<(), BackendError> {
        let mut checked = Vec::new();
        for matrix in self.matrices() {
            if checked.contains(&matrix.kind()) {
                continue;
            }
            checked.push(matrix.kind());
            let x: Vec<f32> = (0..matrix.columns())
                .map(|i| (i as f32 * 0.7).sin() * 2.0)
                .collect();
            let outcome = |isa| -> Result<Vec<f32>, BackendError> {
                let mut cpu = Cpu::new(isa, self.cpu.threads())
                    .map_err(|e| BackendError::LeaveGpu(e.to_string()))?;
                let mut rounded = Activations::default();
                let mut out = vec![0.0; matrix.rows()];
                cpu.round(&x, matrix.columns(), matrix.forms(), &mut rounded);
                cpu.multiply(&rounded, &mut [(matrix, &mut out)]);
                Ok(out)
            };
            if outcome(self.cpu.isa())? != outcome(Isa::Scalar)? {
                return Err(BackendError::LeaveGpu(format!(
                    "a matrix product with {} differs from the reference",
                    self.cpu.isa().name()
                )));
            }
        }
        Ok(())
    }

    fn forward(&mut self, rows: &[Row<'_>]) -> Result<&mut [f32], BackendError> {
        let ModelConfig {
            width,
            inner,
            vocabulary,
            epsilon,
            ..
        } = self.config;
        let (query_width, kv_width) = (self.config.query_width(), self.config.kv_width());
        let kv = self.kv;
        let count = rows.len();
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let cpu = &mut self.cpu;
        let s = &mut self.scratch;
        let [x, query, key, value, attended, gated] = [
            (&mut s.x, width),
            (&mut s.query, query_width),
            (&mut s.key, kv_width),
            (&mut s.value, kv_width),
            (&mut s.attended, query_width),
            (&mut s.inner, inner),
        ]
        .map(|(buffer, columns)| {
            let length = count * columns;
            if buffer.len() < length {
                buffer.resize(length, 0.0);
            }
            &mut buffer[..length]
        });
        for (row, x) in rows.iter().zip(x.chunks_exact_mut(width)) {
            self.embedding.expand_row(row.token as usize, x);
        }
        let places: Vec<AttendRow<'_>> = rows
            .iter()
            .map(|r| AttendRow {
                blocks: r.blocks,
                position: r.position,
            })
            .collect();
        let rope = &self.config.rope;
        s.rotation.prepare(
            rope.factors.len(),
            rows.iter().flat_map(|r| rope.angles(r.position)),
        );
        for (i, layer) in self.layers.iter().enumerate() {
            cpu.normalise(
                x,
                &layer.attention_norm,
                epsilon,
                layer.input_forms,
                &mut s.rounded,
            );
            // Before each product, what comes after it.
            if self.config.biases {
                for (projection, out, next) in [
                    (&layer.query, &mut *query, &layer.key.matrix),
                    (&layer.key, &mut *key, &layer.value.matrix),
                    (&layer.value, &mut *value, &layer.out),
                ] {
                    cpu.announce(&[next]);
                    begin(projection, out);
                    cpu.multiply_add(&s.rounded, &projection.matrix, out);
                }
            } else {
                cpu.announce_attend(&self.cache, &kv, i, &places, &layer.out);
                cpu.multiply(
                    &s.rounded,
                    &mut [
                        (&layer.query.matrix, query),
                        (&layer.key.matrix, key),
                        (&layer.value.matrix, value),
                    ],
                );
            }
            cpu.remember(&mut self.cache, &kv, i, &places, &s.rotation, key, value);
            cpu.attend(&self.cache, &kv, i, &places, &s.rotation, query, attended);
            cpu.round(attended, query_width, layer.out.forms(), &mut s.rounded);
            cpu.announce_gated(&layer.gate, &layer.up);
            cpu.multiply_add(&s.rounded, &layer.out, x);
            cpu.normalise(
                x,
                &layer.inner_norm,
                epsilon,
                layer.inner_forms,
                &mut s.rounded,
            );
            cpu.announce(&[&layer.down]);
            cpu.gated(&s.rounded, &layer.gate, &layer.up, gated);
            cpu.round(gated, inner, layer.down.forms(), &mut s.inner_rounded);
            match self.layers.get(i + 1) {
                Some(next) => announce_inputs(cpu, next, self.config.biases),
                None => cpu.announce(&[output]),
            }
            cpu.multiply_add(&s.inner_rounded, &layer.down, x);
        }
        s.wanted.clear();
        for (row, x) in rows.iter().zip(x.chunks_exact(width)) {
            if row.wanted {
                s.wanted.extend_from_slice(x);
            }
        }
        let length = s.wanted.len() / width * vocabulary;
        if s.logits.len() < length {
            s.logits.resize(length, 0.0);
        }
        if length > 0 {
            cpu.normalise(
                &s.wanted,
                &self.output_norm,
                epsilon,
                output.forms(),
                &mut s.rounded,
            );
            // The next pass begins anew.
            if let Some(first) = self.layers.first() {
                announce_inputs(cpu, first, self.config.biases);
            }
            cpu.multiply(&s.rounded, &mut [(output, &mut s.logits[..length])]);
        }
        Ok(&mut s.logits[..length])
    }
}
