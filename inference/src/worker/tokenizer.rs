//! Text to tokens and back, from what a GGUF file says about its tokenizer.

use super::gguf::{Gguf, GgufError, Value};
use hadada_inference_protocol::Token;
use std::collections::{HashMap, HashSet};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

/// Names of tokens that end a text, whatever the file says about them.
const END_NAMES: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "</s>",
];

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    bpe: tokenizers::Tokenizer,
    /// The bytes each token stands for; for a special token, its name.
    bytes: Vec<Vec<u8>>,
    special: Vec<bool>,
    /// Names of special tokens, longest first, so that the longest match is found.
    special_names: Vec<(String, Token)>,
    ends: HashSet<Token>,
    /// The token that opens a text, and whether it is put there.
    begin: Option<(Token, bool)>,
    eos: Token,
}

impl Tokenizer {
    /// The tokenizer a model file describes.
    ///
    /// # Errors
    /// When the description is incomplete, or of a kind not known here: guessing would give wrong tokens silently.
    pub fn from_gguf(file: &Gguf) -> Result<Tokenizer, GgufError> {
        let unsupported = |what: String| Err(GgufError::Unsupported(what));
        let damaged = |what: &str| GgufError::Damaged(what.to_owned());
        let kind = file.text("tokenizer.ggml.model")?;
        if kind != "gpt2" {
            return unsupported(format!(
                "its tokenizer is of the kind '{kind}'; only 'gpt2' is known"
            ));
        }
        let splitting = match file.text("tokenizer.ggml.pre")? {
            "smollm" => Sequence::new(vec![
                Digits::new(true).into(),
                ByteLevel::new(false, false, true).into(),
            ]),
            other => {
                return unsupported(format!(
                    "its pre-tokenizer is '{other}'; only 'smollm' is known"
                ));
            }
        };
        let Some(Value::Texts(names)) = file.get("tokenizer.ggml.tokens") else {
            return Err(damaged("it has no list of tokens"));
        };
        let Some(Value::Texts(merges)) = file.get("tokenizer.ggml.merges") else {
            return Err(damaged("it has no list of merges"));
        };
        let kinds = match file.get("tokenizer.ggml.token_type") {
            Some(Value::Ints(kinds)) if kinds.len() == names.len() => kinds,
            _ => return Err(damaged("its token types don't match its tokens")),
        };
        // 3 is a control token, 4 one that the user of the model defined.
        let special: Vec<bool> = kinds.iter().map(|k| matches!(k, 3 | 4)).collect();
        let from_letter = letter_bytes();
        let mut bytes = Vec::with_capacity(names.len());
        for (name, special) in names.iter().zip(&special) {
            let plain: Option<Vec<u8>> =
                name.chars().map(|c| from_letter.get(&c).copied()).collect();
            bytes.push(match plain {
                Some(plain) if !special => plain,
                _ => name.clone().into_bytes(),
            });
        }
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            let (left, right) = merge
                .split_once(' ')
                .ok_or_else(|| damaged("a merge is not a pair"))?;
            pairs.push((left.to_owned(), right.to_owned()));
        }
        let vocabulary: tokenizers::models::bpe::Vocab = names.iter().cloned().zip(0..).collect();
        if vocabulary.len() != names.len() {
            return Err(damaged("a token is there twice"));
        }
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, pairs)
            .build()
            .map_err(|e| GgufError::Damaged(format!("its merges don't fit its tokens: {e}")))?;
        let mut bpe = tokenizers::Tokenizer::new(model);
        bpe.with_pre_tokenizer(Some(splitting));

        let token = |key: &str| match file.get(key) {
            Some(Value::Int(n)) => usize::try_from(*n)
                .ok()
                .filter(|&n| n < names.len())
                .map(|n| n as Token),
            _ => None,
        };
        let eos = token("tokenizer.ggml.eos_token_id")
            .ok_or_else(|| damaged("it names no end-of-text token"))?;
        let mut ends = HashSet::from([eos]);
        ends.extend(token("tokenizer.ggml.eot_token_id"));
        let mut special_names = Vec::new();
        for (i, name) in names.iter().enumerate().filter(|(i, _)| special[*i]) {
            if END_NAMES.contains(&name.as_str()) {
                ends.insert(i as Token);
            }
            special_names.push((name.clone(), i as Token));
        }
        special_names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let put = matches!(
            file.get("tokenizer.ggml.add_bos_token"),
            Some(Value::Bool(true))
        );
        let begin = token("tokenizer.ggml.bos_token_id").map(|begin| (begin, put));
        Ok(Tokenizer {
            bpe,
            bytes,
            special,
            special_names,
            ends,
            begin,
            eos,
        })
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len()
    }

    /// The token that ends an answer.
    pub fn eos(&self) -> Token {
        self.eos
    }

    /// Whether a token ends a text.
    pub fn is_end(&self, token: Token) -> bool {
        self.ends.contains(&token)
    }

    /// All tokens that end a text.
    pub fn ends(&self) -> impl Iterator<Item = Token> {
        self.ends.iter().copied()
    }

    /// Whether a token stands for something other than text.
    pub fn is_special(&self, token: Token) -> bool {
        self.special.get(token as usize).copied().unwrap_or(true)
    }

    /// The name of a token: its text, if that is UTF-8.
    pub fn name(&self, token: Token) -> Option<&str> {
        self.bytes
            .get(token as usize)
            .and_then(|b| std::str::from_utf8(b).ok())
    }

    /// The token that opens a text, if the file has one.
    pub fn begin(&self) -> Option<Token> {
        self.begin.map(|(token, _)| token)
    }

    /// The token to put before a text, if the model wants it.
    pub fn opening(&self) -> Option<Token> {
        self.begin.and_then(|(token, put)| put.then_some(token))
    }

    /// The bytes a token stands for; the name of a special one.
    pub fn bytes(&self, token: Token) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// Tokens of a text; names of special tokens are ordinary text.
    ///
    /// # Errors
    /// When the text has a character this vocabulary can't write.
    pub fn encode(&self, text: &str) -> Result<Vec<Token>, String> {
        let encoding = self
            .bpe
            .encode_fast(text, false)
            .map_err(|e| format!("the text can't be tokenised: {e}"))?;
        let tokens = encoding.get_ids().to_vec();
        // A byte without a token would be dropped silently.
        let length: usize = tokens.iter().map(|&t| self.bytes(t).len()).sum();
        if length != text.len() {
            return Err("the text has a byte that this model's vocabulary lacks".to_owned());
        }
        Ok(tokens)
    }

    /// Tokens of a text in which the names of special tokens are those tokens.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        for piece in self.split_special(text) {
            match piece {
                Piece::Text(text) => tokens.extend(self.encode(text)?),
                Piece::Special(token) => tokens.push(token),
            }
        }
        Ok(tokens)
    }

    /// Cuts a text at the names of special tokens.
    pub fn split_special<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while at < text.len() {
            // Names begin with one of a few characters; most positions are passed over quickly.
            let found = self
                .special_names
                .iter()
                .find(|(name, _)| !name.is_empty() && text[at..].starts_with(name.as_str()));
            match found {
                Some((name, token)) => {
                    if start < at {
                        pieces.push(Piece::Text(&text[start..at]));
                    }
                    pieces.push(Piece::Special(*token));
                    at += name.len();
                    start = at;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if start < text.len() {
            pieces.push(Piece::Text(&text[start..]));
        }
        pieces
    }

    /// The text of tokens; special ones by their names, broken characters as U+FFFD.
    pub fn decode(&self, tokens: &[Token]) -> String {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|&t| self.bytes(t))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Ordinary text.
    Text(&'t str),
    /// A special token.
    Special(Token),
}

/// Byte-level vocabularies write each byte as a printable letter: printable Latin-1 stands for itself, the other bytes
/// for the letters from U+0100 on.
fn letter_bytes() -> HashMap<char, u8> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let own = (0..=255u8).filter(printable).map(|b| (char::from(b), b));
    let moved = (0..=255u8)
        .filter(|b| !printable(b))
        .zip('\u{100}'..)
        .map(|(b, c)| (c, b));
    own.chain(moved).collect()
}
