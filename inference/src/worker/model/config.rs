//! The sizes and switches of a model, read from its GGUF file and checked.
//! The keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#llm>.

use crate::worker::gguf::{Gguf, GgufError, TensorInfo, Value};

/// The kinds of network that can be run. All are transformers with gated feed-forward layers and rotary positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama and those stored as it: SmolLM2, Code Llama, Mistral.
    Llama,
    /// Mistral where a file says so by name; the same network.
    Mistral,
    /// Qwen 2 and 2.5: biases on query, key and value, and the other order of rotated elements.
    Qwen2,
}

impl Architecture {
    /// The name in files, which is also the prefix of their keys.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
        }
    }

    fn named(name: &str) -> Result<Architecture, GgufError> {
        [
            Architecture::Llama,
            Architecture::Mistral,
            Architecture::Qwen2,
        ]
        .into_iter()
        .find(|a| a.name() == name)
        .ok_or_else(|| {
            GgufError::Unsupported(format!(
                "its architecture is '{name}'; llama, mistral and qwen2 are known"
            ))
        })
    }
}

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Neighbours: 0 and 1, 2 and 3, …
    Neighbours,
    /// Halves: 0 and n/2, 1 and n/2+1, …
    Halves,
}

/// How positions are written into queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Which elements are a pair.
    pub pairing: Pairing,
    /// What the angle of a pair is multiplied by to get that of the next.
    pub step: f32,
    /// What each pair's angle is divided by; Llama 3.1 stretches its slow pairs.
    pub factors: Vec<f32>,
    /// What every position is multiplied by.
    pub scale: f32,
}

impl Rope {
    /// The angles of a position, one a pair. They are made by repeated multiplication in single precision, because that
    /// is how the models' reference implementation makes them, and 1,000 positions out the difference would show.
    pub fn angles(&self, position: usize) -> impl Iterator<Item = f32> + '_ {
        let mut theta = position as f32;
        self.factors.iter().map(move |factor| {
            let angle = theta / factor * self.scale;
            theta *= self.step;
            angle
        })
    }
}

/// The sizes of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The kind of network.
    pub architecture: Architecture,
    /// Elements of a row.
    pub width: usize,
    /// Tokens it knows.
    pub vocabulary: usize,
    /// The most positions it was trained for.
    pub context: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Key and value heads of a layer; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_size: usize,
    /// Elements of a row inside the feed-forward layer.
    pub inner: usize,
    /// Added to the mean square before its root is taken.
    pub epsilon: f32,
    /// Positions.
    pub rope: Rope,
    /// Query, key and value have biases.
    pub biases: bool,
    /// The embedding table serves as output too.
    pub tied: bool,
}

fn unsupported<T>(what: String) -> Result<T, GgufError> {
    Err(GgufError::Unsupported(what))
}

fn damaged<T>(what: String) -> Result<T, GgufError> {
    Err(GgufError::Damaged(what))
}

impl ModelConfig {
    /// Reads and checks them.
    ///
    /// # Errors
    /// When something is missing, contradicts itself, or is of a kind not known here.
    pub fn read(file: &Gguf) -> Result<ModelConfig, GgufError> {
        let architecture = Architecture::named(file.text("general.architecture")?)?;
        let key = |name: &str| format!("{}.{name}", architecture.name());
        let size = |name: &str| file.size(&key(name));
        let optional = |name: &str, default: usize| match file.get(&key(name)) {
            Some(_) => size(name),
            None => Ok(default),
        };
        if file
            .get(&key("expert_count"))
            .is_some_and(|n| *n != Value::Int(0))
        {
            return unsupported("it is a mixture of experts".into());
        }
        let width = size("embedding_length")?;
        let heads = size("attention.head_count")?;
        let kv_heads = optional("attention.head_count_kv", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return damaged(format!("{kv_heads} key heads don't divide {heads} heads"));
        }
        let head_size = match file.get(&key("attention.key_length")) {
            Some(_) => size("attention.key_length")?,
            None if width.is_multiple_of(heads) => width / heads,
            None => return damaged(format!("{heads} heads don't divide a width of {width}")),
        };
        if optional("attention.value_length", head_size)? != head_size {
            return unsupported("its keys and values differ in length".into());
        }
        let vocabulary = file
            .tensor("token_embd.weight")
            .map_or(0, |(info, _)| info.rows);
        if vocabulary == 0 {
            return damaged("tensor 'token_embd.weight' is missing".into());
        }
        let layers = size("block_count")?;
        if layers > 1000 {
            return damaged(format!("it claims {layers} layers"));
        }
        let biases = file.tensor("blk.0.attn_q.bias").is_some();
        for odd in [
            "attn_q_norm.weight",
            "attn_output.bias",
            "ffn_gate.bias",
            "attn_qkv.weight",
            "ffn_gate_inp.weight",
        ] {
            if file.tensor(&format!("blk.0.{odd}")).is_some() {
                return unsupported(format!(
                    "its layers have a part '{odd}', which is not known here"
                ));
            }
        }
        Ok(ModelConfig {
            architecture,
            width,
            vocabulary,
            context: size("context_length")?,
            layers,
            heads,
            kv_heads,
            head_size,
            inner: size("feed_forward_length")?,
            epsilon: file.float(&key("attention.layer_norm_rms_epsilon"))?,
            rope: rope(file, architecture, head_size)?,
            biases,
            tied: file.tensor("output.weight").is_none(),
        })
    }

    /// Elements of all keys (or values) of a position.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Elements of all queries of a position.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Bytes of the keys and values of one position, in half precision.
    pub fn kv_bytes(&self) -> usize {
        self.layers * 2 * self.kv_width() * 2
    }
}

fn rope(file: &Gguf, architecture: Architecture, head_size: usize) -> Result<Rope, GgufError> {
    let key = |name: &str| format!("{}.rope.{name}", architecture.name());
    let float = |name: &str, default: f32| match file.get(&key(name)) {
        Some(_) => file.float(&key(name)),
        None => Ok(default),
    };
    let base = float("freq_base", 10_000.0)?;
    let rotated = match file.get(&key("dimension_count")) {
        Some(_) => file.size(&key("dimension_count"))?,
        None => head_size,
    };
    if rotated > head_size || !rotated.is_multiple_of(2) || base <= 1.0 {
        return damaged(format!(
            "{rotated} rotated elements of a head of {head_size}, base {base}"
        ));
    }
    let scale = match file.get(&key("scaling.type")) {
        None => match float("scale_linear", 1.0)? {
            factor if factor > 0.0 => 1.0 / factor,
            factor => return damaged(format!("positions are scaled by {factor}")),
        },
        Some(Value::Text(kind)) if kind == "none" => 1.0,
        Some(Value::Text(kind)) if kind == "linear" => match float("scaling.factor", 1.0)? {
            factor if factor > 0.0 => 1.0 / factor,
            factor => return damaged(format!("positions are scaled by {factor}")),
        },
        Some(other) => {
            return unsupported(format!(
                "it scales its positions by {other:?}; linear scaling and factors a pair are known"
            ));
        }
    };
    let pairs = rotated / 2;
    let factors = match file.tensor("rope_freqs.weight") {
        Some(_) => vector(file, "rope_freqs.weight", pairs)?,
        None => vec![1.0; pairs],
    };
    if factors.iter().any(|f| !f.is_finite() || *f <= 0.0) {
        return damaged("a factor of its positions is not a positive number".into());
    }
    Ok(Rope {
        pairing: match architecture {
            Architecture::Llama | Architecture::Mistral => Pairing::Neighbours,
            Architecture::Qwen2 => Pairing::Halves,
        },
        step: base.powf(-2.0 / rotated as f32),
        factors,
        scale,
    })
}

/// A matrix of the file, checked to have this shape.
///
/// # Errors
/// When it is missing or has another shape.
pub fn matrix<'f>(
    file: &'f Gguf,
    name: &str,
    rows: usize,
    columns: usize,
) -> Result<(&'f TensorInfo, &'f [u8]), GgufError> {
    let Some((info, bytes)) = file.tensor(name) else {
        return damaged(format!("tensor '{name}' is missing"));
    };
    if (info.rows, info.columns) != (rows, columns) {
        let found = format!("{} × {}", info.rows, info.columns);
        return damaged(format!(
            "tensor '{name}' is {found} instead of {rows} × {columns}"
        ));
    }
    Ok((info, bytes))
}

/// A list of numbers of the file.
///
/// # Errors
/// When it is missing, or not this many numbers of the type F32.
pub fn vector(file: &Gguf, name: &str, length: usize) -> Result<Vec<f32>, GgufError> {
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
        Some(_) => damaged(format!(
            "tensor '{name}' is not {length} numbers of the type F32"
        )),
        None => damaged(format!("tensor '{name}' is missing")),
    }
}
