//! Text to tokens and back, from what a GGUF file says about its tokenizer. The tokens are those that llama.cpp finds.

mod bpe;
mod split;
mod spm;

use super::gguf::{Gguf, GgufError, Value};
use bpe::Bpe;
use hadada_inference_protocol::Token;
use spm::{SPACE, Spm};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Names of tokens that end a text, whatever the file says about them.
const END_NAMES: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<EOT>",
    "\u{2581}<EOT>",
    "</s>",
];

/// Names of further tokens that are no text, although some files call them ordinary: they fill gaps in code.
const CODE_NAMES: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<PRE>",
    "\u{2581}<PRE>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<SUF>",
    "\u{2581}<SUF>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<MID>",
    "\u{2581}<MID>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// What the file says a token is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text.
    Normal,
    /// Stands for something other than text.
    Control,
    /// Text that is always this one token.
    Whole,
    /// One byte, written `<0x0A>`.
    Byte,
}

/// A model's tokenizer.
pub struct Tokenizer {
    coder: Coder,
    /// The bytes each token stands for; for a special token, its name.
    bytes: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
    /// Tokens that are cut out of a text before anything else, longest names first.
    whole: Vec<(String, Token)>,
    ends: HashSet<Token>,
    begin: Option<Token>,
    eos: Token,
    puts_begin: bool,
    puts_end: bool,
    /// A text begins with a space that is not in it.
    space_before: bool,
}

enum Coder {
    Bpe(Box<Bpe>),
    Spm(Spm),
}

impl Tokenizer {
    /// The tokenizer a model file describes.
    ///
    /// # Errors
    /// When the description is incomplete, or of a kind not known here: guessing would give wrong tokens silently.
    pub fn from_gguf(file: &Gguf) -> Result<Tokenizer, GgufError> {
        let Some(Value::Texts(names)) = file.get("tokenizer.ggml.tokens") else {
            return damaged("it has no list of tokens");
        };
        let kinds = kinds(file, names)?;
        let distinct: HashSet<&str> = names.iter().map(String::as_str).collect();
        if distinct.len() != names.len() {
            return damaged("a token is there twice");
        }
        let token = |key: &str| match file.get(key) {
            Some(Value::Int(n)) => usize::try_from(*n)
                .ok()
                .filter(|&n| n < names.len())
                .map(|n| n as Token),
            _ => None,
        };
        let flag = |key: &str, default: bool| match file.get(key) {
            Some(Value::Bool(flag)) => *flag,
            _ => default,
        };
        let mut begin = token("tokenizer.ggml.bos_token_id");
        let mut eos = token("tokenizer.ggml.eos_token_id");
        let (coder, puts_begin, space_before) = match file.text("tokenizer.ggml.model")? {
            "gpt2" => {
                let bpe = Bpe::from_gguf(file, names, &kinds)?;
                let opening = bpe.opening();
                (Coder::Bpe(Box::new(bpe)), opening, false)
            }
            "llama" => {
                // The numbers SentencePiece gives them, where the file is silent.
                begin = begin.or((names.len() > 1).then_some(1));
                eos = eos.or((names.len() > 2).then_some(2));
                let space = flag("tokenizer.ggml.add_space_prefix", true);
                (Coder::Spm(spm(file, names, &kinds)?), true, space)
            }
            other => {
                return Err(GgufError::Unsupported(format!(
                    "its tokenizer is of the kind '{other}'; 'gpt2' and 'llama' are known"
                )));
            }
        };
        let bytes = names
            .iter()
            .zip(&kinds)
            .map(|(name, kind)| match (kind, &coder) {
                (Kind::Byte, _) => byte_named(name).map_or_else(Vec::new, |b| vec![b]),
                (Kind::Normal, Coder::Bpe(_)) => bpe::bytes(name),
                (Kind::Normal, Coder::Spm(_)) => name.replace(SPACE, " ").into_bytes(),
                (Kind::Control | Kind::Whole, _) => name.clone().into_bytes(),
            })
            .collect();
        let Some(eos) = eos else {
            return damaged("it names no end-of-text token");
        };
        let mut ends = HashSet::from([eos]);
        ends.extend(token("tokenizer.ggml.eot_token_id"));
        ends.extend(token("tokenizer.ggml.eom_token_id"));
        let mut whole = Vec::new();
        for (i, name) in names.iter().enumerate() {
            if matches!(kinds[i], Kind::Control | Kind::Whole) && !name.is_empty() {
                whole.push((name.clone(), i as Token));
                if END_NAMES.contains(&name.as_str()) {
                    ends.insert(i as Token);
                }
            }
        }
        whole.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Ok(Tokenizer {
            coder,
            bytes,
            kinds,
            whole,
            ends,
            begin,
            eos,
            puts_begin: flag("tokenizer.ggml.add_bos_token", puts_begin),
            puts_end: flag("tokenizer.ggml.add_eos_token", false),
            space_before,
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
        self.kinds
            .get(token as usize)
            .is_none_or(|kind| *kind == Kind::Control)
    }

    /// The name of a token: its text, if that is UTF-8.
    pub fn name(&self, token: Token) -> Option<&str> {
        self.bytes
            .get(token as usize)
            .and_then(|b| std::str::from_utf8(b).ok())
    }

    /// The names of all tokens that stand for something other than text.
    pub fn special_names(&self) -> impl Iterator<Item = &str> {
        self.whole
            .iter()
            .filter(|(_, token)| self.is_special(*token))
            .map(|(name, _)| name.as_str())
    }

    /// The token that opens a text, if the file has one.
    pub fn begin(&self) -> Option<Token> {
        self.begin
    }

    /// The token to put before a text, if the model wants it.
    pub fn opening(&self) -> Option<Token> {
        self.begin.filter(|_| self.puts_begin)
    }

    /// The token to put after a whole text, if the model wants it. A text that the model goes on from gets none.
    pub fn closing(&self) -> Option<Token> {
        self.puts_end.then_some(self.eos)
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
        self.encode_pieces(self.cut(text, |token| !self.is_special(token)))
    }

    /// Tokens of a text in which the names of special tokens are those tokens.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<Token>, String> {
        self.encode_pieces(self.cut(text, |_| true))
    }

    /// The same for a text in which `mark` stands where a name of a special token is none; it is taken out.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_marked(&self, text: &str, mark: char) -> Result<Vec<Token>, String> {
        let pieces = self.cut(text, |_| true).into_iter();
        self.encode_pieces(pieces.map(|piece| match piece {
            Piece::Text(text) if text.contains(mark) => Piece::Text(text.replace(mark, "").into()),
            piece => piece,
        }))
    }

    /// Tokens of a text in the middle of another: no space is put before it.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_inside(&self, text: &str) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        self.encode_piece(text, &mut tokens)?;
        Ok(tokens)
    }

    fn encode_pieces<'t>(
        &self,
        pieces: impl IntoIterator<Item = Piece<'t>>,
    ) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        let mut begins = true;
        for piece in pieces {
            match piece {
                Piece::Text(text) if begins && self.space_before => {
                    self.encode_piece(&format!(" {text}"), &mut tokens)?;
                    begins = false;
                }
                Piece::Text(text) => {
                    self.encode_piece(&text, &mut tokens)?;
                    begins = false;
                }
                Piece::Whole(token) => {
                    tokens.push(token);
                    begins = true;
                }
            }
        }
        Ok(tokens)
    }

    fn encode_piece(&self, text: &str, out: &mut Vec<Token>) -> Result<(), String> {
        match &self.coder {
            Coder::Bpe(bpe) => {
                let start = out.len();
                bpe.encode(text, out)?;
                // A byte without a token would be dropped silently.
                let length: usize = out[start..].iter().map(|&t| self.bytes(t).len()).sum();
                if length != text.len() {
                    return Err("the text has a byte that this model's vocabulary lacks".to_owned());
                }
            }
            Coder::Spm(spm) => spm.encode(text, out),
        }
        Ok(())
    }

    /// Cuts whole tokens out of a text, those with the longest names first.
    fn cut<'t>(&self, text: &'t str, wanted: impl Fn(Token) -> bool) -> Vec<Piece<'t>> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut pieces = vec![Piece::Text(Cow::Borrowed(text))];
        for (name, token) in &self.whole {
            if !wanted(*token) || !text.contains(name.as_str()) {
                continue;
            }
            let mut next = Vec::with_capacity(pieces.len() + 2);
            for piece in pieces {
                let Piece::Text(Cow::Borrowed(mut rest)) = piece else {
                    next.push(piece);
                    continue;
                };
                while let Some((before, after)) = rest.split_once(name.as_str()) {
                    if !before.is_empty() {
                        next.push(Piece::Text(Cow::Borrowed(before)));
                    }
                    next.push(Piece::Whole(*token));
                    rest = after;
                }
                if !rest.is_empty() {
                    next.push(Piece::Text(Cow::Borrowed(rest)));
                }
            }
            pieces = next;
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
        let text = String::from_utf8_lossy(&bytes);
        match text.strip_prefix(' ') {
            Some(own)
                if self.space_before && tokens.first().is_some_and(|&t| !self.is_special(t)) =>
            {
                own.to_owned()
            }
            _ => text.into_owned(),
        }
    }
}

/// A part of a text.
enum Piece<'t> {
    /// Ordinary text.
    Text(Cow<'t, str>),
    /// A token that was written by its name.
    Whole(Token),
}

fn damaged<T>(what: impl Into<String>) -> Result<T, GgufError> {
    Err(GgufError::Damaged(what.into()))
}

fn kinds(file: &Gguf, names: &[String]) -> Result<Vec<Kind>, GgufError> {
    let numbers = match file.get("tokenizer.ggml.token_type") {
        Some(Value::Ints(numbers)) if numbers.len() == names.len() => numbers,
        _ => return damaged("its token types don't match its tokens"),
    };
    let kind = |(name, number): (&String, &i64)| {
        let name = name.as_str();
        match number {
            _ if END_NAMES.contains(&name) || CODE_NAMES.contains(&name) => Ok(Kind::Control),
            1 => Ok(Kind::Normal),
            // Unknown, control, unused and undefined ones: none of them is a text.
            0 | 2 | 3 | 5 => Ok(Kind::Control),
            4 => Ok(Kind::Whole),
            6 if byte_named(name).is_some() => Ok(Kind::Byte),
            6 => damaged(format!("the token '{name}' is no byte")),
            other => damaged(format!("the token '{name}' is of type {other}")),
        }
    };
    names.iter().zip(numbers).map(kind).collect()
}

/// The byte that a token such as `<0x0A>` names.
fn byte_named(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16)
        .ok()
        .filter(|_| digits.len() == 2)
}

fn spm(file: &Gguf, names: &[String], kinds: &[Kind]) -> Result<Spm, GgufError> {
    let scores: Vec<f32> = match file.get("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) => scores.clone(),
        Some(Value::Ints(scores)) => scores.iter().map(|&s| s as f32).collect(),
        _ => return damaged("it has no scores of its tokens"),
    };
    if scores.len() != names.len() {
        return damaged("its scores don't match its tokens");
    }
    let mut tokens = HashMap::new();
    let mut bytes = [None; 256];
    for (i, name) in names.iter().enumerate() {
        match kinds[i] {
            Kind::Normal | Kind::Whole => {
                tokens.insert(name.clone(), (i as Token, scores[i]));
            }
            Kind::Byte => {
                if let Some(byte) = byte_named(name) {
                    bytes[usize::from(byte)] = Some(i as Token);
                }
            }
            Kind::Control => {}
        }
    }
    let mut all = Box::new([0; 256]);
    for (byte, (token, found)) in all.iter_mut().zip(bytes).enumerate() {
        match found {
            Some(found) => *token = found,
            None => return damaged(format!("it has no token for the byte {byte:#04x}")),
        }
    }
    Ok(Spm::new(tokens, all))
}

#[cfg(test)]
mod tests;
