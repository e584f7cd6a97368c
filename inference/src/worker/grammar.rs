//! Holds an answer to a JSON schema: which tokens may come next, and which must.

use super::tokenizer::Tokenizer;
use hadada_inference_protocol::Token;
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

/// Compiled schemas that are kept.
const KEPT: usize = 64;

/// Compiles schemas for one model.
pub struct Grammars {
    factory: ParserFactory,
    ends: Arc<Ends>,
    compiled: VecDeque<(String, Matcher)>,
}

/// The state of one answer.
#[derive(Clone)]
pub struct Grammar {
    matcher: Matcher,
    ends: Arc<Ends>,
}

/// What helps to find a short way to the end of a document.
struct Ends {
    /// Tokens of closing signs only, longest first.
    closing: Vec<Token>,
    /// Bytes of each token.
    lengths: Vec<u8>,
}

struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<Token> {
        let encode = |text: &str| {
            self.tokenizer
                .encode_inside(text)
                .unwrap_or_else(|_| self.trie.greedy_tokenize(text.as_bytes()))
        };
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }
}

impl Grammars {
    /// Prepares a model's vocabulary.
    ///
    /// # Errors
    /// When the library refuses the vocabulary.
    pub fn new(tokenizer: Arc<Tokenizer>) -> anyhow::Result<Grammars> {
        let words: Vec<Vec<u8>> = (0..tokenizer.vocabulary() as Token)
            .map(|token| {
                let bytes = tokenizer.bytes(token);
                if tokenizer.is_special(token) {
                    [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
                } else {
                    bytes.to_vec()
                }
            })
            .collect();
        let closes = |word: &&Vec<u8>| !word.is_empty() && word.iter().all(|b| b"\"]}".contains(b));
        let mut closing: Vec<Token> = (0..)
            .zip(&words)
            .filter(|(_, w)| closes(w))
            .map(|(t, _)| t)
            .collect();
        closing.sort_by_key(|&t| std::cmp::Reverse(words[t as usize].len()));
        // A special token is no text.
        let length = |w: &Vec<u8>| match w.first() {
            Some(&TokTrie::SPECIAL_TOKEN_MARKER) => 0,
            _ => w.len().min(255) as u8,
        };
        let ends = Arc::new(Ends {
            closing,
            lengths: words.iter().map(length).collect(),
        });
        let info = TokRxInfo::new(words.len() as u32, tokenizer.eos());
        let mut stops: Vec<Token> = tokenizer.ends().filter(|&t| t != tokenizer.eos()).collect();
        stops.insert(0, tokenizer.eos());
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&stops);
        let environment: TokEnv = Arc::new(Vocabulary { trie, tokenizer });
        let can = InferenceCapabilities {
            ff_tokens: true,
            ..InferenceCapabilities::default()
        };
        let mut factory =
            ParserFactory::new(&environment, can, &SlicedBiasComputer::json_slices())?;
        factory.quiet();
        Ok(Grammars {
            factory,
            ends,
            compiled: VecDeque::new(),
        })
    }

    /// The grammar of a schema at its start; compiled schemas are kept, as the same few come again and again.
    ///
    /// # Errors
    /// When the schema is not one, or uses what can't be enforced; the sentence says which part.
    pub fn start(&mut self, schema: &str) -> Result<Grammar, String> {
        let matcher = match self.compiled.iter().position(|(text, _)| text == schema) {
            Some(place) => {
                let entry = self.compiled.remove(place);
                entry
                    .map(|(_, matcher)| matcher)
                    .ok_or("a compiled schema went missing")?
            }
            None => self.compile(schema)?,
        };
        let grammar = Grammar {
            matcher: matcher.clone(),
            ends: Arc::clone(&self.ends),
        };
        self.compiled.push_back((schema.to_owned(), matcher));
        if self.compiled.len() > KEPT {
            self.compiled.pop_front();
        }
        Ok(grammar)
    }

    fn compile(&self, schema: &str) -> Result<Matcher, String> {
        let mut schema: Value =
            serde_json::from_str(schema).map_err(|e| format!("the schema is not JSON: {e}"))?;
        if let Value::Object(fields) = &mut schema {
            // A small model left free to write white space can write it for ever.
            fields.entry("x-guidance").or_insert_with(|| json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}));
        }
        let parser = self
            .factory
            .create_parser(TopLevelGrammar::from_json_schema(schema));
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(format!(
                "the schema can't be enforced: {}",
                first_line(&error)
            )),
            None => Ok(matcher),
        }
    }
}

impl Grammar {
    /// The tokens allowed next, one bit each.
    ///
    /// # Errors
    /// When the grammar grew beyond its limits.
    pub fn allowed(&mut self) -> Result<toktrie::SimpleVob, String> {
        self.matcher
            .compute_mask_or_eos()
            .map_err(|e| first_line(&e.to_string()).to_owned())
    }

    /// Takes a token that was allowed, and gives those that must follow it.
    ///
    /// # Errors
    /// When the token was not allowed, or the grammar grew beyond its limits.
    pub fn accept(&mut self, token: Token) -> Result<Vec<Token>, String> {
        self.matcher
            .consume_token(token)
            .map_err(|e| first_line(&e.to_string()).to_owned())?;
        if self.complete() {
            return Ok(Vec::new());
        }
        let forced = self.matcher.consume_ff_tokens();
        match self.matcher.get_error() {
            Some(error) => Err(first_line(&error).to_owned()),
            None => Ok(forced),
        }
    }

    /// Tokens that must come first, before anything is chosen.
    pub fn opening(&mut self) -> Vec<Token> {
        self.matcher.consume_ff_tokens()
    }

    /// Whether the text is whole and nothing can follow.
    pub fn complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// At most `most` tokens that bring the text to an end from here. A short way, not always the shortest: what is open
    /// is closed as soon as the schema lets it.
    pub fn way_out(&self, most: usize) -> Option<Vec<Token>> {
        let mut matcher = self.matcher.clone();
        let mut way = Vec::new();
        while !matcher.is_stopped() {
            let forced = matcher.consume_ff_tokens();
            if !forced.is_empty() {
                way.extend(forced);
            } else if matcher.is_accepting().ok()? {
                return (way.len() <= most).then_some(way);
            } else {
                let next = self.step_out(&mut matcher)?;
                matcher.consume_token(next).ok()?;
                way.push(next);
            }
            if way.len() > most {
                return None;
            }
        }
        (!matcher.is_error()).then_some(way)
    }

    /// A closing sign, or where none can come the longest token, which fills up a text that is too short most quickly.
    fn step_out(&self, matcher: &mut Matcher) -> Option<Token> {
        for &token in &self.ends.closing {
            if matcher.validate_tokens(&[token]).ok()? == 1 {
                return Some(token);
            }
        }
        let allowed = matcher.compute_mask().ok()?;
        let longest = allowed
            .iter()
            .max_by_key(|&token| self.ends.lengths.get(token as usize))?;
        (self.ends.lengths[longest as usize] > 0).then_some(longest)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
