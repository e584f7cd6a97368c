//! Byte-level vocabularies, as SmolLM2, Llama 3 and Qwen have them: neighbours are joined in the order in which their
//! union was learnt, within the pieces that the family's rules cut.

use super::super::gguf::{Gguf, GgufError, Value};
use super::split::Splitting;
use super::{Kind, damaged};
use hadada_inference_protocol::Token;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab};

/// A vocabulary with merges.
pub struct Bpe {
    model: BPE,
    splitting: Splitting,
}

impl Bpe {
    /// The vocabulary and merges of a model file.
    ///
    /// # Errors
    /// When they are incomplete, or the rules for cutting are not known here.
    pub fn from_gguf(file: &Gguf, names: &[String], kinds: &[Kind]) -> Result<Bpe, GgufError> {
        let Some(Value::Text(name)) = file.get("tokenizer.ggml.pre") else {
            return Err(GgufError::Unsupported(
                "it doesn't name its pre-tokenizer (tokenizer.ggml.pre); a newer conversion of the model does".into(),
            ));
        };
        let Some(splitting) = Splitting::named(name) else {
            return Err(GgufError::Unsupported(format!(
                "its pre-tokenizer is '{name}'; {} are known",
                Splitting::names()
            )));
        };
        let Some(Value::Texts(merges)) = file.get("tokenizer.ggml.merges") else {
            return damaged("it has no list of merges");
        };
        // No text can become a special token: neither by its name nor by a merge, which some files have.
        let is_special: HashSet<&str> = names
            .iter()
            .zip(kinds)
            .filter(|(_, kind)| **kind == Kind::Control)
            .map(|(name, _)| name.as_str())
            .collect();
        let vocabulary: Vocab = names
            .iter()
            .cloned()
            .zip(0..)
            .filter(|(name, _)| !is_special.contains(name.as_str()))
            .collect();
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            let Some((left, right)) = merge.split_once(' ') else {
                return damaged("a merge is not a pair");
            };
            let union = [left, right].concat();
            let all = [left, right, &union];
            if all.iter().any(|name| is_special.contains(name)) {
                continue;
            }
            // The library panics at some of these.
            if let Some(unknown) = all.iter().find(|name| !vocabulary.contains_key(**name)) {
                return damaged(format!(
                    "the merge '{merge}' needs the token '{unknown}', which is not there"
                ));
            }
            pairs.push((left.to_owned(), right.to_owned()));
        }
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, pairs)
            .ignore_merges(splitting.whole_tokens)
            .build()
            .map_err(|e| GgufError::Damaged(format!("its merges don't fit its tokens: {e}")))?;
        Ok(Bpe { model, splitting })
    }

    /// Whether texts are opened by a token where the file doesn't say.
    pub fn opening(&self) -> bool {
        self.splitting.opening
    }

    /// Adds the tokens of a text.
    ///
    /// # Errors
    /// When the library refuses a piece.
    pub fn encode(&self, text: &str, out: &mut Vec<Token>) -> Result<(), String> {
        let mut written = String::new();
        for piece in self.splitting.pieces(text) {
            written.clear();
            written.extend(piece.bytes().map(|b| LETTERS[usize::from(b)]));
            let tokens = self.model.tokenize(&written);
            let tokens = tokens.map_err(|e| format!("the text can't be tokenised: {e}"))?;
            out.extend(tokens.into_iter().map(|t| t.id));
        }
        Ok(())
    }
}

/// The letter that each byte is written with: printable Latin-1 stands for itself, the other bytes for the letters from
/// U+0100 on.
static LETTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut moved = '\u{100}'..;
    std::array::from_fn(|i| match i as u8 {
        b @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => char::from(b),
        _ => moved.next().unwrap_or_default(),
    })
});

static BYTES: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| LETTERS.iter().copied().zip(0..=255).collect());

/// The bytes of a token by its name; a name that isn't written in these letters stands for itself.
pub fn bytes(name: &str) -> Vec<u8> {
    let written: Option<Vec<u8>> = name.chars().map(|c| BYTES.get(&c).copied()).collect();
    written.unwrap_or_else(|| name.as_bytes().to_vec())
}
