//! The llama architecture: SmolLM2 and its kin.

use crate::gguf::{Gguf, GgufError, Value};
use hadada_inference_protocol::Token;
use hadada_kernels::{
    Activations, AttendRow, Cpu, KV_BLOCK, KvLayout, Matrix, Rotation, WeightType,
};

/// One token to compute: which, and where it stands in which sequence.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The token.
    pub token: Token,
    /// Its place, and its sequence's blocks.
    pub place: AttendRow<'a>,
    /// Whether the logits after it are wanted.
    pub wanted: bool,
}

/// Keys and values of all sequences.
pub struct Cache {
    numbers: Vec<u16>,
}

/// A loaded model with the processor it runs on.
pub struct Llama {
    shape: Shape,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    embedding: Matrix,
    /// Missing where the embedding serves as output too.
    output: Option<Matrix>,
    frequencies: Vec<f32>,
    cpu: Cpu,
    scratch: Scratch,
}

/// The sizes of a model.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Elements of a row.
    pub width: usize,
    /// Tokens it knows.
    pub vocabulary: usize,
    /// The most positions it was trained for.
    pub context: usize,
    /// Layers.
    pub layers: usize,
    heads: usize,
    kv: KvLayout,
    inner: usize,
    epsilon: f32,
}

struct Layer {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    out: Matrix,
    inner_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
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

fn unsupported<T>(what: String) -> Result<T, GgufError> {
    Err(GgufError::Unsupported(what))
}

impl Shape {
    fn read(file: &Gguf) -> Result<Shape, GgufError> {
        let architecture = file.text("general.architecture")?;
        if architecture != "llama" {
            return unsupported(format!(
                "its architecture is '{architecture}'; only 'llama' is known"
            ));
        }
        let scaling = file.get("llama.rope.scaling.type");
        if scaling.is_some_and(|s| *s != Value::Text("none".into()))
            || file.tensor("rope_freqs.weight").is_some()
        {
            return unsupported("it scales its positions, which is not known here".into());
        }
        if file.tensor("blk.0.attn_q.bias").is_some() {
            return unsupported("its attention has biases, which are not known here".into());
        }
        let width = file.size("llama.embedding_length")?;
        let heads = file.size("llama.attention.head_count")?;
        let kv_heads = match file.get("llama.attention.head_count_kv") {
            Some(_) => file.size("llama.attention.head_count_kv")?,
            None => heads,
        };
        if !width.is_multiple_of(heads) || !heads.is_multiple_of(kv_heads) {
            return Err(GgufError::Damaged(format!(
                "{heads} heads and {kv_heads} key heads don't divide a width of {width}"
            )));
        }
        let head_size = width / heads;
        if !KvLayout::supports(head_size) {
            return unsupported(format!(
                "its heads have {head_size} elements; 32, 64, 96 and 128 are known"
            ));
        }
        let vocabulary = file
            .tensor("token_embd.weight")
            .map_or(0, |(info, _)| info.rows);
        let layers = file.size("llama.block_count")?;
        Ok(Shape {
            width,
            vocabulary,
            context: file.size("llama.context_length")?,
            layers,
            heads,
            kv: KvLayout {
                layers,
                heads: kv_heads,
                head_size,
            },
            inner: file.size("llama.feed_forward_length")?,
            epsilon: file.float("llama.attention.layer_norm_rms_epsilon")?,
        })
    }
}

fn matrix(file: &Gguf, name: &str, rows: usize, columns: usize) -> Result<Matrix, GgufError> {
    let Some((info, bytes)) = file.tensor(name) else {
        return Err(GgufError::Damaged(format!("tensor '{name}' is missing")));
    };
    if (info.rows, info.columns) != (rows, columns) {
        let found = format!("{} × {}", info.rows, info.columns);
        return Err(GgufError::Damaged(format!(
            "tensor '{name}' is {found} instead of {rows} × {columns}"
        )));
    }
    let kind = match info.kind.name {
        "Q4_0" => WeightType::Q4_0,
        "Q4_1" => WeightType::Q4_1,
        "Q8_0" => WeightType::Q8_0,
        other => {
            return unsupported(format!(
                "tensor '{name}' is stored as {other}; Q4_0, Q4_1 and Q8_0 are known"
            ));
        }
    };
    Matrix::pack(kind, bytes, rows, columns)
        .map_err(|e| GgufError::Damaged(format!("tensor '{name}': {e}")))
}

fn vector(file: &Gguf, name: &str, length: usize) -> Result<Vec<f32>, GgufError> {
    match file.tensor(name) {
        Some((info, bytes))
            if info.kind.name == "F32" && info.columns == length && info.rows == 1 =>
        {
            Ok(bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect())
        }
        Some(_) => Err(GgufError::Damaged(format!(
            "tensor '{name}' is not {length} numbers of the type F32"
        ))),
        None => Err(GgufError::Damaged(format!("tensor '{name}' is missing"))),
    }
}

impl Llama {
    /// Loads a model.
    ///
    /// # Errors
    /// When a part is missing, of the wrong shape, or stored in a way not known here.
    pub fn load(file: &Gguf, cpu: Cpu) -> Result<Llama, GgufError> {
        let shape = Shape::read(file)?;
        let Shape { width, inner, .. } = shape;
        let kv_width = shape.kv.heads * shape.kv.head_size;
        if !width.is_multiple_of(32) || !inner.is_multiple_of(32) {
            return unsupported(format!(
                "its widths {width} and {inner} are not multiples of 32"
            ));
        }
        let mut layers = Vec::new();
        for i in 0..shape.layers {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            layers.push(Layer {
                attention_norm: vector(file, &name("attn_norm"), width)?,
                query: matrix(file, &name("attn_q"), width, width)?,
                key: matrix(file, &name("attn_k"), kv_width, width)?,
                value: matrix(file, &name("attn_v"), kv_width, width)?,
                out: matrix(file, &name("attn_output"), width, width)?,
                inner_norm: vector(file, &name("ffn_norm"), width)?,
                gate: matrix(file, &name("ffn_gate"), inner, width)?,
                up: matrix(file, &name("ffn_up"), inner, width)?,
                down: matrix(file, &name("ffn_down"), width, inner)?,
            });
        }
        let output = match file.tensor("output.weight") {
            Some(_) => Some(matrix(file, "output.weight", shape.vocabulary, width)?),
            None => None,
        };
        let base = match file.get("llama.rope.freq_base") {
            Some(_) => file.float("llama.rope.freq_base")?,
            None => 10_000.0,
        };
        let rotated = match file.get("llama.rope.dimension_count") {
            Some(_) => file.size("llama.rope.dimension_count")?,
            None => shape.kv.head_size,
        };
        if rotated > shape.kv.head_size || !rotated.is_multiple_of(2) {
            return Err(GgufError::Damaged(format!(
                "{rotated} rotated elements of a head of {}",
                shape.kv.head_size
            )));
        }
        Ok(Llama {
            layers,
            output_norm: vector(file, "output_norm.weight", width)?,
            embedding: matrix(file, "token_embd.weight", shape.vocabulary, width)?,
            output,
            frequencies: (0..rotated / 2)
                .map(|i| base.powf(-2.0 * i as f32 / rotated as f32))
                .collect(),
            shape,
            cpu,
            scratch: Scratch::default(),
        })
    }

    /// Its sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The processor it runs on.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The first layer's query matrix, for the start-up test.
    pub fn some_matrix(&self) -> &Matrix {
        &self.layers[0].query
    }

    /// Memory of the weights in bytes.
    pub fn weight_bytes(&self) -> usize {
        let layer = |l: &Layer| {
            [&l.query, &l.key, &l.value, &l.out, &l.gate, &l.up, &l.down]
                .iter()
                .map(|m| m.bytes())
                .sum::<usize>()
        };
        self.layers.iter().map(layer).sum::<usize>()
            + self.embedding.bytes()
            + self.output.as_ref().map_or(0, Matrix::bytes)
    }

    /// A cache of this many blocks; its memory is taken as it is used.
    pub fn cache(&self, blocks: usize) -> Cache {
        Cache {
            numbers: vec![0; blocks * self.shape.kv.block_elements()],
        }
    }

    /// Computes a pass. Rows of one sequence must be in the order of their positions, and all earlier positions be in
    /// the cache or in this pass. Gives the logits of the wanted rows, in order, one vocabulary each.
    pub fn forward(&mut self, rows: &[Row<'_>], cache: &mut Cache) -> &mut [f32] {
        let Shape {
            width,
            inner,
            vocabulary,
            epsilon,
            kv,
            ..
        } = self.shape;
        let kv_width = kv.heads * kv.head_size;
        let count = rows.len();
        let cpu = &mut self.cpu;
        let s = &mut self.scratch;
        let [x, query, key, value, attended, gated] = [
            (&mut s.x, width),
            (&mut s.query, width),
            (&mut s.key, kv_width),
            (&mut s.value, kv_width),
            (&mut s.attended, width),
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
        let places: Vec<AttendRow<'_>> = rows.iter().map(|r| r.place).collect();
        s.rotation
            .prepare(places.iter().map(|p| p.position), &self.frequencies);
        for (i, layer) in self.layers.iter().enumerate() {
            cpu.normalise(x, &layer.attention_norm, epsilon, &mut s.rounded);
            cpu.multiply(
                &s.rounded,
                &mut [
                    (&layer.query, query),
                    (&layer.key, key),
                    (&layer.value, value),
                ],
            );
            cpu.remember(&mut cache.numbers, &kv, i, &places, &s.rotation, key, value);
            cpu.attend(
                &cache.numbers,
                &kv,
                i,
                &places,
                &s.rotation,
                query,
                attended,
            );
            cpu.round(attended, width, &mut s.rounded);
            cpu.multiply_add(&s.rounded, &layer.out, x);
            cpu.normalise(x, &layer.inner_norm, epsilon, &mut s.rounded);
            cpu.gated(&s.rounded, &layer.gate, &layer.up, gated);
            cpu.round(gated, inner, &mut s.inner_rounded);
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
            cpu.normalise(&s.wanted, &self.output_norm, epsilon, &mut s.rounded);
            let output = self.output.as_ref().unwrap_or(&self.embedding);
            cpu.multiply(&s.rounded, &mut [(output, &mut s.logits[..length])]);
        }
        &mut s.logits[..length]
    }

    /// Positions of a cache block.
    pub const BLOCK: usize = KV_BLOCK;

    /// The model's size and shape, for people.
    pub fn describe(&self) -> String {
        let Shape {
            layers,
            width,
            heads,
            ..
        } = self.shape;
        format!(
            "llama, {layers} layers of {width}, {heads} heads, {} MB of weights",
            self.weight_bytes() / 1_000_000
        )
    }
}
