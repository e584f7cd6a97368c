//! A model over candle's tensors, for devices whose kernels are candle's. The code doesn't know which device that is:
//! the tests run it on candle's own CPU device and hold it to the kernels of the processor's backend.
//!
//! Keys and values lie in one tensor a layer, key head by key head, one row a position of a block, so that what is
//! gathered for a sequence is already in the order that the products want. Sequences with the same number of rows are
//! attended together, as long as the gathered positions stay within a limit.

use super::{KV_BLOCK, Row};
use crate::worker::alive;
use crate::worker::gguf::{Gguf, GgufError};
use crate::worker::model::config::{self, ModelConfig, Pairing};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{ops, rotary_emb};
use std::borrow::Cow;

/// Positions gathered for one product, at most, unless a single sequence has more: two copies of their keys and values in
/// single precision are what a pass needs beside the weights.
const GATHERED: usize = 32 << 10;

/// Where a model's parts come from.
pub trait Weights {
    /// A matrix as it is stored, block by block.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    fn matrix(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> std::result::Result<(GgmlDType, Cow<'_, [u8]>), GgufError>;
    /// A list of numbers.
    ///
    /// # Errors
    /// When it is missing or has another length.
    fn vector(&self, name: &str, length: usize) -> std::result::Result<Vec<f32>, GgufError>;
}

impl Weights for Gguf {
    fn matrix(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> std::result::Result<(GgmlDType, Cow<'_, [u8]>), GgufError> {
        let (info, bytes) = config::matrix(self, name, rows, columns)?;
        let kind = weight_type(info.kind.name).ok_or_else(|| {
            GgufError::Unsupported(format!(
                "tensor '{name}' is stored as {}, which is not known here",
                info.kind.name
            ))
        })?;
        Ok((kind, Cow::Borrowed(bytes)))
    }

    fn vector(&self, name: &str, length: usize) -> std::result::Result<Vec<f32>, GgufError> {
        config::vector(self, name, length)
    }
}

/// candle's name for a type of GGUF.
fn weight_type(name: &str) -> Option<GgmlDType> {
    Some(match name {
        "F32" => GgmlDType::F32,
        "F16" => GgmlDType::F16,
        "BF16" => GgmlDType::BF16,
        "Q4_0" => GgmlDType::Q4_0,
        "Q4_1" => GgmlDType::Q4_1,
        "Q5_0" => GgmlDType::Q5_0,
        "Q5_1" => GgmlDType::Q5_1,
        "Q8_0" => GgmlDType::Q8_0,
        "Q4_K" => GgmlDType::Q4K,
        "Q5_K" => GgmlDType::Q5K,
        "Q6_K" => GgmlDType::Q6K,
        _ => return None,
    })
}

/// Why a model could not be put on the device.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The device.
    #[error(transparent)]
    Device(#[from] candle_core::Error),
}

/// A model on a device, with its keys and values.
pub struct TensorModel {
    config: ModelConfig,
    device: Device,
    embedding: QMatMul,
    layers: Vec<Layer>,
    output_norm: Tensor,
    /// Missing where the embedding serves as output too.
    output: Option<QMatMul>,
    caches: Vec<KvCache>,
    blocks: usize,
    weight_bytes: usize,
    kinds: Vec<GgmlDType>,
    gathered: usize,
}

struct Layer {
    attention_norm: Tensor,
    query: Projection,
    key: Projection,
    value: Projection,
    out: QMatMul,
    inner_norm: Tensor,
    gate: QMatMul,
    up: QMatMul,
    down: QMatMul,
}

/// A matrix with what is added to its product, if anything is.
struct Projection {
    matrix: QMatMul,
    bias: Option<Tensor>,
}

impl Projection {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = self.matrix.forward(x)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

/// Keys and values of a layer: key heads × positions × elements of a head, in half precision.
struct KvCache {
    keys: Tensor,
    values: Tensor,
}

/// What all layers of a pass need to know about its rows.
struct Plan {
    cos: Tensor,
    sin: Tensor,
    /// Where each row's keys and values go, spread over heads and elements.
    places: Tensor,
    groups: Vec<Group>,
    /// Where each row of the pass stands in what the groups give; missing where it is in order.
    order: Option<Tensor>,
}

/// Sequences attended together: each with as many rows as the others.
struct Group {
    sequences: usize,
    rows: usize,
    positions: usize,
    /// Which rows of the pass.
    members: Tensor,
    /// The places of their positions, padded to the longest.
    places: Tensor,
    /// Added to the scores: nothing where a row sees a position, −∞ where not. Missing where all see all.
    mask: Option<Tensor>,
}

/// Rows of one sequence that stand together in a pass.
struct Run<'a> {
    start: usize,
    rows: usize,
    blocks: &'a [u32],
    positions: usize,
}

fn runs<'a>(rows: &[Row<'a>]) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if std::ptr::eq(run.blocks, row.blocks) && run.positions == row.position => {
                run.rows += 1;
                run.positions += 1;
            }
            _ => runs.push(Run {
                start: i,
                rows: 1,
                blocks: row.blocks,
                positions: row.position + 1,
            }),
        }
    }
    runs
}

/// The row of the cache that a position has.
fn place(blocks: &[u32], position: usize) -> u32 {
    blocks[position / KV_BLOCK] * KV_BLOCK as u32 + (position % KV_BLOCK) as u32
}

impl TensorModel {
    /// Puts a model on a device, with room for this many blocks of keys and values.
    ///
    /// # Errors
    /// When a part is missing or of the wrong shape, or the device fails.
    pub fn load(
        weights: &dyn Weights,
        config: ModelConfig,
        device: &Device,
        blocks: usize,
    ) -> std::result::Result<TensorModel, LoadError> {
        let mut weight_bytes = 0;
        let mut kinds = Vec::new();
        let mut matrix = |name: &str, rows: usize, columns: usize| {
            let (kind, bytes) = weights.matrix(name, rows, columns)?;
            weight_bytes += bytes.len();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            let storage = QStorage::from_data(bytes, device, kind)?;
            let tensor = QTensor::new(storage, (rows, columns))?;
            Ok::<_, LoadError>(QMatMul::from_qtensor(tensor)?)
        };
        let vector = |name: &str, length: usize| {
            let numbers = weights.vector(name, length)?;
            Ok::<_, LoadError>(Tensor::from_vec(numbers, length, device)?)
        };
        let (width, inner) = (config.width, config.inner);
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        let mut layers = Vec::new();
        let mut caches = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            let mut projection = |part: &str, rows: usize| {
                Ok::<_, LoadError>(Projection {
                    matrix: matrix(&name(part), rows, width)?,
                    bias: if config.biases {
                        Some(vector(&format!("blk.{i}.{part}.bias"), rows)?)
                    } else {
                        None
                    },
                })
            };
            layers.push(Layer {
                attention_norm: vector(&name("attn_norm"), width)?,
                query: projection("attn_q", query_width)?,
                key: projection("attn_k", kv_width)?,
                value: projection("attn_v", kv_width)?,
                out: matrix(&name("attn_output"), width, query_width)?,
                inner_norm: vector(&name("ffn_norm"), width)?,
                gate: matrix(&name("ffn_gate"), inner, width)?,
                up: matrix(&name("ffn_up"), inner, width)?,
                down: matrix(&name("ffn_down"), width, inner)?,
            });
            let shape = (config.kv_heads, blocks * KV_BLOCK, config.head_size);
            caches.push(KvCache {
                keys: Tensor::zeros(shape, DType::F16, device)?,
                values: Tensor::zeros(shape, DType::F16, device)?,
            });
        }
        Ok(TensorModel {
            embedding: matrix("token_embd.weight", config.vocabulary, width)?,
            output: if config.tied {
                None
            } else {
                Some(matrix("output.weight", config.vocabulary, width)?)
            },
            output_norm: vector("output_norm.weight", width)?,
            layers,
            caches,
            blocks,
            weight_bytes,
            kinds,
            device: device.clone(),
            config,
            gathered: GATHERED,
        })
    }

    /// The model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Memory of the weights in bytes.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// How its matrices are stored.
    pub fn kinds(&self) -> &[GgmlDType] {
        &self.kinds
    }

    /// Blocks of keys and values it has room for.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Uses less memory in a pass from now on. Says whether that was possible.
    pub fn economise(&mut self) -> bool {
        let can = self.gathered > KV_BLOCK;
        self.gathered = (self.gathered / 2).max(KV_BLOCK);
        can
    }

    /// Computes a pass and adds the logits of the wanted rows, in order, to `logits`.
    ///
    /// # Errors
    /// When the device fails. The keys and values of the rows are then unknown, those of other rows unharmed.
    pub fn forward(&self, rows: &[Row<'_>], logits: &mut Vec<f32>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let epsilon = self.config.epsilon;
        let plan = self.plan(rows)?;
        let tokens: Vec<u32> = rows.iter().map(|r| r.token).collect();
        let tokens = Tensor::from_vec(tokens, rows.len(), &self.device)?;
        let mut x = self.embedding.embedding(&tokens)?;
        for (layer, cache) in self.layers.iter().zip(&self.caches) {
            alive::step();
            let normal = ops::rms_norm(&x, &layer.attention_norm, epsilon)?;
            let query = self.rotate(&layer.query.forward(&normal)?, &plan)?;
            let key = self.rotate(&layer.key.forward(&normal)?, &plan)?;
            let value = layer.value.forward(&normal)?;
            let value = value.reshape((rows.len(), self.config.kv_heads, ()))?;
            remember(&cache.keys, &key, &plan.places)?;
            remember(&cache.values, &value, &plan.places)?;
            let attended = attend(cache, &query, &plan)?;
            x = (x + layer.out.forward(&attended)?)?;
            let normal = ops::rms_norm(&x, &layer.inner_norm, epsilon)?;
            let gate = layer.gate.forward(&normal)?.silu()?;
            let inner = (gate * layer.up.forward(&normal)?)?;
            x = (x + layer.down.forward(&inner)?)?;
        }
        let wanted: Vec<u32> = (0..)
            .zip(rows)
            .filter(|(_, row)| row.wanted)
            .map(|(i, _)| i)
            .collect();
        if wanted.is_empty() {
            return self.device.synchronize();
        }
        let wanted = Tensor::from_vec(wanted.clone(), wanted.len(), &self.device)?;
        let x = ops::rms_norm(&x.index_select(&wanted, 0)?, &self.output_norm, epsilon)?;
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        logits.extend(output.forward(&x)?.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    /// The attention of one layer by itself, from given queries, keys and values.
    ///
    /// # Errors
    /// When the device fails.
    pub fn attention(
        &self,
        layer: usize,
        rows: &[Row<'_>],
        [query, key, value]: [Vec<f32>; 3],
    ) -> Result<Vec<f32>> {
        let plan = self.plan(rows)?;
        let tensor = |numbers: Vec<f32>| {
            let shape = (rows.len(), (), self.config.head_size);
            Tensor::from_vec(numbers, shape, &self.device)
        };
        let cache = &self.caches[layer];
        remember(&cache.keys, &tensor(key)?, &plan.places)?;
        remember(&cache.values, &tensor(value)?, &plan.places)?;
        attend(cache, &tensor(query)?, &plan)?
            .flatten_all()?
            .to_vec1()
    }

    /// Writes the positions into queries or keys: rows × heads × elements.
    fn rotate(&self, x: &Tensor, plan: &Plan) -> Result<Tensor> {
        let head_size = self.config.head_size;
        let rotated = self.config.rope.factors.len() * 2;
        let x = x.reshape((x.dim(0)?, (), 1, head_size))?;
        let part = x.narrow(D::Minus1, 0, rotated)?.contiguous()?;
        let turned = match self.config.rope.pairing {
            Pairing::Neighbours => rotary_emb::rope_i(&part, &plan.cos, &plan.sin)?,
            Pairing::Halves => rotary_emb::rope(&part, &plan.cos, &plan.sin)?,
        };
        let whole = if rotated == head_size {
            turned
        } else {
            let rest = x.narrow(D::Minus1, rotated, head_size - rotated)?;
            Tensor::cat(&[&turned, &rest], D::Minus1)?
        };
        whole.squeeze(2)
    }

    fn plan(&self, rows: &[Row<'_>]) -> Result<Plan> {
        let count = rows.len();
        let pairs = self.config.rope.factors.len();
        let angles: Vec<f32> = rows
            .iter()
            .flat_map(|row| self.config.rope.angles(row.position))
            .collect();
        let table = |f: fn(f32) -> f32| {
            let numbers = angles.iter().map(|&a| f(a)).collect();
            Tensor::from_vec(numbers, (count, 1, pairs), &self.device)
        };
        let places: Vec<u32> = rows.iter().map(|r| place(r.blocks, r.position)).collect();
        let shape = (self.config.kv_heads, count, self.config.head_size);
        let places = Tensor::from_vec(places, (1, count, 1), &self.device)?
            .broadcast_as(shape)?
            .contiguous()?;

        let mut runs = runs(rows);
        // Alike in rows, then in length: little padding.
        runs.sort_by_key(|run| (run.rows, run.positions));
        let mut groups = Vec::new();
        let mut members: Vec<u32> = Vec::new();
        let mut left = runs.as_slice();
        while let Some(first) = left.first() {
            let together = left
                .iter()
                .enumerate()
                .take_while(|(i, run)| {
                    let fits = (i + 1) * run.positions <= self.gathered;
                    *i == 0 || run.rows == first.rows && fits
                })
                .count();
            let (these, others) = left.split_at(together);
            let taken = these.iter().flat_map(|r| r.start..r.start + r.rows);
            members.extend(taken.map(|i| i as u32));
            groups.push(self.group(these)?);
            left = others;
        }
        let order = if members.is_sorted() {
            None
        } else {
            let mut order = vec![0; count];
            for (i, &member) in (0u32..).zip(&members) {
                order[member as usize] = i;
            }
            Some(Tensor::from_vec(order, count, &self.device)?)
        };
        Ok(Plan {
            cos: table(f32::cos)?,
            sin: table(f32::sin)?,
            places,
            groups,
            order,
        })
    }

    /// A group of runs that have the same number of rows; the last is the longest.
    fn group(&self, runs: &[Run<'_>]) -> Result<Group> {
        let rows = runs.first().map_or(0, |r| r.rows);
        let positions = runs.last().map_or(0, |r| r.positions);
        let mut members = Vec::new();
        let mut places = Vec::with_capacity(runs.len() * positions);
        let mut mask = Vec::with_capacity(runs.len() * rows * positions);
        for run in runs {
            members.extend((run.start..run.start + run.rows).map(|i| i as u32));
            places.extend((0..run.positions).map(|p| place(run.blocks, p)));
            places.resize(places.len() + positions - run.positions, 0);
            for row in 0..rows {
                let seen = run.positions - rows + row + 1;
                mask.resize(mask.len() + seen, 0.0);
                mask.resize(mask.len() + positions - seen, f32::NEG_INFINITY);
            }
        }
        let needed = mask.iter().any(|&m| m < 0.0);
        let shape = (1, runs.len(), 1, rows, positions);
        Ok(Group {
            sequences: runs.len(),
            rows,
            positions,
            members: Tensor::from_vec(members, runs.len() * rows, &self.device)?,
            places: Tensor::from_vec(places, runs.len() * positions, &self.device)?,
            mask: if needed {
                Some(Tensor::from_vec(mask, shape, &self.device)?)
            } else {
                None
            },
        })
    }
}

/// Writes keys or values (rows × heads × elements) to their places.
fn remember(cache: &Tensor, x: &Tensor, places: &Tensor) -> Result<()> {
    let x = x.transpose(0, 1)?.to_dtype(DType::F16)?.contiguous()?;
    cache.scatter_set(places, &x, 1)
}

/// What the rows find in the positions they see: rows × all elements of all heads.
fn attend(cache: &KvCache, query: &Tensor, plan: &Plan) -> Result<Tensor> {
    let (_, heads, head_size) = query.dims3()?;
    let kv_heads = cache.keys.dim(0)?;
    let shared = heads / kv_heads;
    let query = (query * f64::from(head_size as u32).sqrt().recip())?;
    let mut parts = Vec::with_capacity(plan.groups.len());
    for group in &plan.groups {
        let (sequences, rows, positions) = (group.sequences, group.rows, group.positions);
        let gather = |from: &Tensor| {
            let found = from.index_select(&group.places, 1)?;
            let found = found.reshape((kv_heads * sequences, positions, head_size))?;
            found.to_dtype(DType::F32)
        };
        let query = query
            .index_select(&group.members, 0)?
            .reshape(&[sequences, rows, kv_heads, shared, head_size][..])?
            .permute([2, 0, 3, 1, 4])?
            .contiguous()?
            .reshape((kv_heads * sequences, shared * rows, head_size))?;
        let mut scores = query.matmul(&gather(&cache.keys)?.t()?)?;
        if let Some(mask) = &group.mask {
            let whole = scores.shape().clone();
            scores = scores
                .reshape(&[kv_heads, sequences, shared, rows, positions][..])?
                .broadcast_add(mask)?
                .reshape(whole)?;
        }
        let found = ops::softmax_last_dim(&scores)?.matmul(&gather(&cache.values)?)?;
        parts.push(
            found
                .reshape(&[kv_heads, sequences, shared, rows, head_size][..])?
                .permute([1, 3, 0, 2, 4])?
                .contiguous()?
                .reshape((sequences * rows, heads * head_size))?,
        );
    }
    let all = match parts.as_slice() {
        [one] => one.clone(),
        many => Tensor::cat(many, 0)?,
    };
    match &plan.order {
        Some(order) => all.index_select(order, 0),
        None => Ok(all),
    }
}
