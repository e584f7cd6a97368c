//! The engine over a model that is a pure function of what its keys and values hold: what is written must be the same
//! however the work is cut into passes, whoever is served beside it, and whatever was guessed.

use super::*;
use crate::worker::backend::{Device, Row};
use crate::worker::gguf::Gguf;
use crate::worker::model::config::{Architecture, ModelConfig, Pairing, Rope};
use hadada_inference_protocol::{FinishReason, Priority, Sampling, Token, Usage};
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;

/// Remembers the token of each position in the blocks it is told, and makes logits from what it reads back there.
struct Parrot {
    config: ModelConfig,
    slots: Vec<Token>,
    logits: Vec<f32>,
    most_rows: usize,
}

impl Parrot {
    fn slot(row: &Row<'_>, position: usize) -> usize {
        row.blocks[position / KV_BLOCK] as usize * KV_BLOCK + position % KV_BLOCK
    }
}

impl Backend for Parrot {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn device(&self) -> Device {
        Device {
            name: "parrot".into(),
            kernels: String::new(),
            threads: 1,
        }
    }

    fn weight_bytes(&self) -> usize {
        0
    }

    fn blocks(&self) -> usize {
        self.slots.len() / KV_BLOCK
    }

    fn tolerance(&self) -> f32 {
        0.0
    }

    fn check(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn forward(&mut self, rows: &[Row<'_>]) -> Result<&mut [f32], BackendError> {
        assert!(rows.len() <= self.most_rows, "the pass has too many rows");
        self.logits.clear();
        for row in rows {
            self.slots[Parrot::slot(row, row.position)] = row.token;
        }
        for row in rows.iter().filter(|r| r.wanted) {
            let read = |position: usize| self.slots[Parrot::slot(row, position)];
            let all = (0..=row.position).fold(7u64, |hash, p| {
                (hash ^ u64::from(read(p))).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
            // Mostly it says what it said when it last had the same two tokens before it, so that guesses
            // are right and wrong; the hash of all it reads makes every difference show.
            let pair = |p: usize| (read(p.max(1) - 1), read(p));
            let again = (1..row.position)
                .rev()
                .find(|&p| pair(p) == pair(row.position));
            let start = self.logits.len();
            let mut state = all;
            for _ in 0..self.config.vocabulary {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                self.logits.push((state >> 40) as f32 / 4e6);
            }
            // Few favourites, so that the same two tokens do come again.
            self.logits[start + 60..start + 66]
                .iter_mut()
                .for_each(|l| *l += 5.0);
            if let Some(p) = again.filter(|_| all % 4 != 0) {
                self.logits[start + read(p + 1) as usize] += 9.0;
            }
        }
        Ok(&mut self.logits)
    }
}

/// Only vocabulary and context matter here.
fn config(vocabulary: usize) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocabulary,
        context: 4096,
        width: 0,
        layers: 0,
        heads: 0,
        kv_heads: 0,
        head_size: 0,
        inner: 0,
        epsilon: 0.0,
        rope: Rope {
            pairing: Pairing::Neighbours,
            step: 0.0,
            factors: Vec::new(),
            scale: 1.0,
        },
        biases: false,
        tied: false,
    }
}

fn tokenizer() -> Arc<Tokenizer> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/inference/fixtures/tokens/bpe.gguf");
    Arc::new(Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap())
}

fn engine(speculation: bool, blocks: usize) -> Engine<Vec<u8>> {
    let tokenizer = tokenizer();
    let parrot = Parrot {
        config: config(tokenizer.vocabulary()),
        slots: vec![0; blocks * KV_BLOCK],
        logits: Vec::new(),
        most_rows: PASS_ROWS,
    };
    let grammars = Grammars::new(Arc::clone(&tokenizer)).unwrap();
    let backend = Box::new(parrot);
    let mut engine = Engine::new(
        backend,
        Blocks::new(blocks),
        tokenizer,
        None,
        grammars,
        None,
        Vec::new(),
    );
    engine.speculation = speculation;
    engine
}

#[derive(Debug, Default, PartialEq)]
struct Answer {
    tokens: Vec<Token>,
    text: String,
    pieces: usize,
    logprobs: Vec<Option<f32>>,
    reason: Option<FinishReason>,
    usage: Usage,
}

/// Everything said so far, by request.
fn heard(engine: &mut Engine<Vec<u8>>) -> HashMap<RequestId, Answer> {
    let mut answers: HashMap<RequestId, Answer> = HashMap::new();
    let mut from = engine.out.as_slice();
    while let Some(message) = hadada_inference_protocol::read::<FromWorker>(&mut from).unwrap() {
        let Some(id) = message.request() else {
            continue;
        };
        let answer = answers.entry(id).or_default();
        match message {
            FromWorker::Delta { text, tokens, .. } => {
                answer.text.push_str(&text);
                answer.pieces += 1;
                answer.tokens.extend(tokens.iter().map(|t| t.token));
                let score = |t: &hadada_inference_protocol::TokenOut| {
                    t.logprob.as_ref().map(|l| l.chosen.logprob)
                };
                answer.logprobs.extend(tokens.iter().map(score));
            }
            FromWorker::Finished { reason, usage, .. } => {
                answer.reason = Some(reason);
                answer.usage = usage;
            }
            FromWorker::Started { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    answers
}

fn request(id: RequestId, prompt: Vec<Token>, max_tokens: u32) -> Generate {
    Generate {
        id,
        prompt: Prompt::Tokens(prompt),
        max_tokens: Some(max_tokens),
        priority: Priority::Interactive,
        sampling: Sampling {
            seed: id,
            ..Sampling::default()
        },
        stop: Vec::new(),
        format: Format::Text,
        logprobs: None,
        ignore_eos: false,
        stream: true,
    }
}

fn ask(engine: &mut Engine<Vec<u8>>, request: Generate) {
    engine.take(ToWorker::Generate(Box::new(request))).unwrap();
}

fn work_off(engine: &mut Engine<Vec<u8>>) {
    while !(engine.waiting.is_empty() && engine.running.is_empty()) {
        engine.step().unwrap();
    }
}

const SCHEMA: &str = r#"{"type":"object","additionalProperties":false,"required":["section","text","sources"],
    "properties":{"section":{"enum":["S","O"]},"text":{"type":"string","minLength":1,"maxLength":12},
    "sources":{"type":"array","minItems":1,"maxItems":2,"items":{"enum":[1,2]}}}}"#;

fn any_request() -> impl Strategy<Value = Generate> {
    // Few different tokens, so that prompts share beginnings and repeat themselves.
    let prompt = prop::collection::vec(prop::sample::select(vec![60u32, 61, 62, 300, 301]), 1..90);
    let sampling = (0u8..4, 0u64..50, any::<bool>());
    let options = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (prompt, 1u32..40, sampling, options).prop_map(
        |(
            prompt,
            max_tokens,
            (kind, seed, penalty),
            (schema, logprobs, ignore_eos, stop, background),
        )| {
            let sampling = Sampling {
                temperature: [0.0, 0.7, 1.0, 1.5][usize::from(kind)],
                top_p: if kind == 2 { 0.9 } else { 1.0 },
                frequency: if penalty { 0.4 } else { 0.0 },
                repetition: if penalty { 1.2 } else { 1.0 },
                seed,
                ..Sampling::default()
            };
            Generate {
                sampling,
                priority: if background {
                    Priority::Background
                } else {
                    Priority::Interactive
                },
                stop: if stop {
                    vec!["e".into(), "12".into()]
                } else {
                    Vec::new()
                },
                format: if schema {
                    Format::JsonSchema(SCHEMA.into())
                } else {
                    Format::Text
                },
                logprobs: logprobs.then_some(2),
                ignore_eos,
                ..request(0, prompt, max_tokens)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_answer_is_the_same_alone_and_among_others_and_with_guesses(
        requests in prop::collection::vec((any_request(), 0usize..12), 1..20),
        blocks in 6usize..60,
    ) {
        // Alone, one pass after the other, nothing guessed, nothing in the cache.
        let alone: Vec<Answer> = requests.iter().map(|(request, _)| {
            let mut engine = engine(false, 8);
            ask(&mut engine, request.clone());
            work_off(&mut engine);
            heard(&mut engine).remove(&0).unwrap()
        }).collect();
        let mut together = engine(true, blocks);
        for (id, (request, wait)) in requests.iter().enumerate() {
            // Every other one is read along.
            ask(&mut together, Generate { id: id as u64, stream: id % 2 == 0, ..request.clone() });
            for _ in 0..*wait {
                together.step().unwrap();
            }
        }
        work_off(&mut together);
        prop_assert_eq!(together.blocks.available(), blocks);
        let heard = heard(&mut together);
        for (id, alone) in alone.iter().enumerate() {
            let found = &heard[&(id as u64)];
            prop_assert_eq!(&found.tokens, &alone.tokens, "request {}", id);
            prop_assert_eq!(&found.text, &alone.text);
            prop_assert_eq!(&found.logprobs, &alone.logprobs);
            prop_assert_eq!(found.reason, alone.reason);
            prop_assert!(id % 2 == 0 || found.pieces <= 1, "an answer that nobody reads along came in pieces");
            prop_assert_eq!(found.usage.completion_tokens, alone.usage.completion_tokens);
            prop_assert_eq!(found.usage.forced_tokens, alone.usage.forced_tokens);
            prop_assert!(found.tokens.len() <= requests[id].0.max_tokens.unwrap() as usize);
            prop_assert!(found.usage.accepted_tokens <= found.usage.speculated_tokens);
        }
    }

    #[test]
    fn a_cancelled_request_is_gone_at_once(
        requests in prop::collection::vec(any_request(), 2..10),
        steps in 0usize..20,
        gone in 0usize..10,
    ) {
        let mut engine = engine(true, 200);
        for (id, request) in requests.iter().enumerate() {
            ask(&mut engine, Generate { id: id as u64, ..request.clone() });
        }
        for _ in 0..steps {
            engine.step().unwrap();
        }
        let gone = (gone % requests.len()) as u64;
        let length = |engine: &Engine<Vec<u8>>| engine.running.len() + engine.waiting.len();
        let known = engine.running.iter().chain(&engine.waiting).any(|s| s.id == gone);
        let (before, free) = (length(&engine), engine.blocks.available());
        engine.take(ToWorker::Cancel { id: gone }).unwrap();
        prop_assert_eq!(length(&engine), before - usize::from(known));
        prop_assert!(engine.blocks.available() >= free);
        engine.out.clear();
        work_off(&mut engine);
        prop_assert!(!heard(&mut engine).contains_key(&gone), "something was said after the end");
        prop_assert_eq!(engine.blocks.available(), 200);
    }
}

#[test]
fn who_reads_along_has_the_first_token_at_once_and_all_in_the_end() {
    let mut engine = engine(false, 20);
    let ask_for = Generate {
        ignore_eos: true,
        ..request(1, (40..100).collect(), 60)
    };
    ask(&mut engine, ask_for);
    let written = |engine: &mut Engine<Vec<u8>>| {
        let answer = heard(engine).remove(&1).unwrap_or_default();
        (answer.tokens.len(), answer.pieces, answer.reason)
    };
    while written(&mut engine).0 == 0 {
        assert!(
            engine
                .running
                .iter()
                .chain(&engine.waiting)
                .all(|s| s.written() == 0)
        );
        engine.step().unwrap();
    }
    assert_eq!(written(&mut engine), (1, 1, None));
    work_off(&mut engine);
    let (tokens, pieces, reason) = written(&mut engine);
    assert_eq!((tokens, reason), (60, Some(FinishReason::Length)));
    // This engine computes nothing: all of it took less than a moment or two.
    assert!((2..30).contains(&pieces), "{pieces} pieces");
}

#[test]
fn guesses_are_made_and_some_are_right() {
    let prompt: Vec<Token> = (40..100).collect();
    let write = |speculation: bool| {
        let mut engine = engine(speculation, 20);
        let greedy = Sampling {
            temperature: 0.0,
            ..Sampling::default()
        };
        ask(
            &mut engine,
            Generate {
                sampling: greedy,
                ignore_eos: true,
                ..request(1, prompt.repeat(3), 200)
            },
        );
        let mut passes = 0;
        while passes == 0 || !engine.running.is_empty() {
            engine.step().unwrap();
            passes += 1;
        }
        (heard(&mut engine).remove(&1).unwrap(), passes)
    };
    let ((plain, slow), (guessed, fast)) = (write(false), write(true));
    assert_eq!(plain.tokens, guessed.tokens);
    assert_eq!(plain.usage.speculated_tokens, 0);
    assert!(guessed.usage.accepted_tokens > 20, "{:?}", guessed.usage);
    assert_eq!(slow - fast, guessed.usage.accepted_tokens);
}

#[test]
fn interactive_requests_go_before_background_ones_that_wait() {
    let mut engine = engine(true, 8);
    let long = |id, priority| Generate {
        priority,
        ..request(id, vec![60; 100], 100)
    };
    ask(&mut engine, long(1, Priority::Interactive));
    engine.step().unwrap();
    ask(&mut engine, long(2, Priority::Background));
    ask(&mut engine, long(3, Priority::Interactive));
    let waiting: Vec<RequestId> = engine.waiting.iter().map(|s| s.id).collect();
    assert_eq!(waiting, [3, 2]);
}

#[test]
fn a_document_is_whole_however_little_room_there_is() {
    let tokenizer = tokenizer();
    let mut grammars = Grammars::new(Arc::clone(&tokenizer)).unwrap();
    let mut grammar = grammars.start(SCHEMA).unwrap();
    let opening = grammar.opening().len() as u32;
    let shortest = opening + grammar.way_out(200).unwrap().len() as u32;
    let mut steered = 0;
    for max_tokens in shortest..shortest + 30 {
        for seed in 0..3 {
            let mut engine = engine(true, 20);
            let wild = Sampling {
                temperature: 1.5,
                seed,
                ..Sampling::default()
            };
            let asked = Generate {
                sampling: wild,
                format: Format::JsonSchema(SCHEMA.into()),
                ..request(1, vec![60, 61, 62], max_tokens)
            };
            ask(&mut engine, asked);
            work_off(&mut engine);
            let answer = heard(&mut engine).remove(&1).unwrap();
            let note: serde_json::Value = serde_json::from_str(&answer.text)
                .unwrap_or_else(|e| panic!("{e} with room for {max_tokens}: {:?}", answer.text));
            assert!(answer.tokens.len() <= max_tokens as usize);
            assert!(
                (1..=12).contains(&note["text"].as_str().unwrap().chars().count()),
                "{note}"
            );
            assert!(
                note["sources"].as_array().is_some_and(|s| !s.is_empty()),
                "{note}"
            );
            steered += usize::from(answer.reason == Some(FinishReason::Length));
        }
    }
    assert!(steered > 5, "{steered}");
}

#[test]
fn where_no_document_has_room_the_answer_ends_at_the_limit() {
    let mut engine = engine(true, 20);
    let asked = Generate {
        format: Format::JsonSchema(SCHEMA.into()),
        ..request(1, vec![60, 61, 62], 4)
    };
    ask(&mut engine, asked);
    work_off(&mut engine);
    let answer = heard(&mut engine).remove(&1).unwrap();
    assert_eq!(
        (answer.tokens.len(), answer.reason),
        (4, Some(FinishReason::Length))
    );
}
