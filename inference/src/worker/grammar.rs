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
    compiled: VecDeque<(String, Matcher)>,
}

/// The state of one answer.
pub struct Grammar(Matcher);

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
                .encode(text)
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
        let info = TokRxInfo::new(words.len() as u32, tokenizer.eos());
        let mut ends: Vec<Token> = tokenizer.ends().filter(|&t| t != tokenizer.eos()).collect();
        ends.insert(0, tokenizer.eos());
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
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
        let grammar = Grammar(matcher.clone());
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
        self.0
            .compute_mask_or_eos()
            .map_err(|e| first_line(&e.to_string()).to_owned())
    }

    /// Takes a token that was allowed, and gives those that must follow it.
    ///
    /// # Errors
    /// When the token was not allowed, or the grammar grew beyond its limits.
    pub fn accept(&mut self, token: Token) -> Result<Vec<Token>, String> {
        self.0
            .consume_token(token)
            .map_err(|e| first_line(&e.to_string()).to_owned())?;
        if self.complete() {
            Ok(Vec::new())
        } else {
            Ok(self.0.consume_ff_tokens())
        }
    }

    /// Tokens that must come first, before anything is chosen.
    pub fn opening(&mut self) -> Vec<Token> {
        self.0.consume_ff_tokens()
    }

    /// Whether the text is whole and nothing can follow.
    pub fn complete(&self) -> bool {
        self.0.is_stopped()
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
