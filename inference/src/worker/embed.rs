//! Sentence embeddings: a BERT with mean pooling (MiniLM), through candle.

use crate::worker::alive;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use hadada_inference_protocol::ModelInfo;
use sha2::{Digest, Sha256};
use std::path::Path;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

/// The most tokens of a text that count; what sentence-transformers sets for this model.
const MOST_TOKENS: usize = 256;

/// Texts taken together.
pub const BATCH: usize = 16;

/// Tokens computed together, padding included: a step that ends within seconds on the slowest machine.
const STEP_TOKENS: usize = 512;

/// A loaded embedding model.
pub struct Embedder {
    model: BertModel,
    tokenizer: Tokenizer,
    info: ModelInfo,
}

impl Embedder {
    /// Loads `model.safetensors`, `tokenizer.json` and `config.json` from a folder.
    ///
    /// # Errors
    /// When a file is missing or doesn't fit the others.
    pub fn load(folder: &Path) -> anyhow::Result<Embedder> {
        use anyhow::Context;
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).with_context(|| format!("{} can't be read", path.display()))
        };
        let config: Config = serde_json::from_slice(&read("config.json")?)
            .context("config.json is not a BERT configuration")?;
        let tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?)
            .map_err(|e| anyhow::anyhow!("tokenizer.json is not valid: {e}"))?;
        let weights = read("model.safetensors")?;
        let sha256 = hex::encode(Sha256::digest(&weights));
        let bytes = weights.len() as u64;
        let variables = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        let model = BertModel::load(variables, &config)
            .context("model.safetensors doesn't fit config.json")?;
        let mut embedder = Embedder {
            model,
            tokenizer,
            info: ModelInfo {
                id: folder
                    .file_name()
                    .map_or_else(|| "embedding".into(), |n| n.to_string_lossy().into_owned()),
                sha256,
                bytes,
                description: format!(
                    "bert, {} layers of {}",
                    config.num_hidden_layers, config.hidden_size
                ),
                context_length: config.max_position_embeddings.min(MOST_TOKENS) as u32,
                width: config.hidden_size as u32,
            },
        };
        let truncation = TruncationParams {
            max_length: embedder.info.context_length as usize,
            ..TruncationParams::default()
        };
        embedder.tokenizer.with_padding(None);
        embedder
            .tokenizer
            .with_truncation(Some(truncation))
            .map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(embedder)
    }

    /// What it is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The vectors of texts, of length one, and how many tokens were read.
    ///
    /// # Errors
    /// When candle refuses an operation.
    pub fn embed(&self, texts: &[String]) -> anyhow::Result<(Vec<Vec<f32>>, u32)> {
        if texts.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let encodings = texts
            .iter()
            .map(|text| {
                self.tokenizer
                    .encode(text.as_str(), true)
                    .map_err(|e| anyhow::anyhow!("a text can't be tokenised: {e}"))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = &encodings[..];
        while !rest.is_empty() {
            alive::step();
            let mut longest = 0;
            let together = rest
                .iter()
                .enumerate()
                .take_while(|(i, e)| {
                    longest = e.len().max(longest);
                    *i == 0 || (i + 1) * longest <= STEP_TOKENS
                })
                .count();
            let (now, later) = rest.split_at(together);
            vectors.extend(self.vectors(now)?);
            rest = later;
        }
        let tokens = encodings.iter().map(|e| e.len() as u32).sum();
        Ok((vectors, tokens))
    }

    /// The vectors of some texts, computed at once.
    fn vectors(&self, encodings: &[Encoding]) -> anyhow::Result<Vec<Vec<f32>>> {
        let longest = encodings.iter().map(|e| e.len()).max().unwrap_or(0);
        let padded = |values: &[u32]| {
            let mut row = values.to_vec();
            row.resize(longest, 0);
            row
        };
        let shape = (encodings.len(), longest);
        let ids: Vec<u32> = encodings.iter().flat_map(|e| padded(e.get_ids())).collect();
        let mask: Vec<u32> = encodings
            .iter()
            .flat_map(|e| padded(e.get_attention_mask()))
            .collect();
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sums = hidden.broadcast_mul(&mask)?.sum(1)?;
        let means = sums.broadcast_div(&mask.sum(1)?)?;
        let lengths = means.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(means.broadcast_div(&lengths)?.to_vec2::<f32>()?)
    }
}
