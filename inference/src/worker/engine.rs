//! The one thread that runs the models: takes requests, forms passes, chooses tokens, and answers.

use crate::worker::alive;
use crate::worker::backend::{Backend, BackendError, KV_BLOCK, Row};
use crate::worker::embed::{self, Embedder};
use crate::worker::grammar::{Grammar, Grammars};
use crate::worker::kv::{Blocks, Table};
use crate::worker::sampling::{self, Sampler};
use crate::worker::scheduler::{self, Work};
use crate::worker::template::ChatTemplate;
use crate::worker::text::TextStream;
use crate::worker::tokenizer::Tokenizer;
use hadada_inference_protocol::{
    FaultKind, FinishReason, Format, FromWorker, Generate, Priority, Prompt, RefusalKind,
    RequestId, ToWorker, Token, TokenLogprob, TokenOut, Usage, write,
};
use hadada_kernels::pick;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

/// Sequences computed together.
pub const MAX_SEQUENCES: usize = 16;

/// Rows of a pass: enough for good use of the weights, few enough that others don't wait long.
const PASS_ROWS: usize = MAX_SEQUENCES * scheduler::STEADY_ROWS;

/// Tokens written when a request sets no limit.
const DEFAULT_MAX_TOKENS: u32 = 512;

/// Everything the engine thread owns.
pub struct Engine<W: Write> {
    /// Runs the model that writes.
    pub backend: Box<dyn Backend>,
    /// Who has which part of its keys and values.
    pub blocks: Blocks,
    /// The model's tokens.
    pub tokenizer: Arc<Tokenizer>,
    /// The model's chat layout; without one it can't chat.
    pub template: Option<ChatTemplate>,
    /// Schemas.
    pub grammars: Grammars,
    /// The model that embeds.
    pub embedder: Option<Embedder>,
    /// Towards the front.
    pub out: W,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    embeddings: VecDeque<EmbedJob>,
    arrivals: u64,
}

/// One request to write, from arrival to end.
struct Sequence {
    id: RequestId,
    arrival: u64,
    priority: Priority,
    /// Prompt and answer.
    tokens: Vec<Token>,
    prompt: usize,
    cached: usize,
    /// How many of `tokens` have keys and values.
    computed: usize,
    max_tokens: usize,
    table: Table,
    sampler: Sampler,
    grammar: Option<Grammar>,
    text: TextStream,
    logprobs: Option<u8>,
    ignore_eos: bool,
    forced: u32,
    received: Instant,
    first_token: Option<Instant>,
}

struct EmbedJob {
    id: RequestId,
    texts: Vec<String>,
    /// Texts not embedded yet, longest last, so that neighbours in a batch are alike in length.
    left: Vec<usize>,
    vectors: Vec<Vec<f32>>,
    tokens: u32,
}

/// Why a request can't be done.
type Refusal = (RefusalKind, String);

fn invalid(message: impl Into<String>) -> Refusal {
    (RefusalKind::Invalid, message.into())
}

impl<W: Write> Engine<W> {
    /// An engine with nothing to do.
    pub fn new(
        backend: Box<dyn Backend>,
        blocks: Blocks,
        tokenizer: Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        grammars: Grammars,
        embedder: Option<Embedder>,
        out: W,
    ) -> Engine<W> {
        let (waiting, running, embeddings) = (VecDeque::new(), Vec::new(), VecDeque::new());
        Engine {
            backend,
            blocks,
            tokenizer,
            template,
            grammars,
            embedder,
            out,
            waiting,
            running,
            embeddings,
            arrivals: 0,
        }
    }

    /// Works until the inbox closes.
    ///
    /// # Errors
    /// When the front no longer listens.
    pub fn run(mut self, inbox: &Receiver<ToWorker>) -> io::Result<()> {
        loop {
            if self.waiting.is_empty() && self.running.is_empty() && self.embeddings.is_empty() {
                alive::busy(false);
                match inbox.recv() {
                    Ok(message) => self.take(message)?,
                    Err(_) => return Ok(()),
                }
                alive::busy(true);
            }
            alive::step();
            loop {
                match inbox.try_recv() {
                    Ok(message) => self.take(message)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.admit()?;
            self.embed_some()?;
            self.pass()?;
            self.out.flush()?;
        }
    }

    fn say(&mut self, message: &FromWorker) -> io::Result<()> {
        write(&mut self.out, message)
    }

    fn refuse(&mut self, id: RequestId, (kind, message): Refusal) -> io::Result<()> {
        self.say(&FromWorker::Refused { id, kind, message })
    }

    fn take(&mut self, message: ToWorker) -> io::Result<()> {
        match message {
            ToWorker::Generate(request) => {
                let id = request.id;
                match self.prepare(*request) {
                    Ok(sequence) => {
                        // Interactive requests stand before background ones; among equals the first comes first.
                        let place = self
                            .waiting
                            .iter()
                            .position(|w| w.priority > sequence.priority);
                        self.waiting
                            .insert(place.unwrap_or(self.waiting.len()), sequence);
                    }
                    Err(refusal) => self.refuse(id, refusal)?,
                }
            }
            ToWorker::Embed { id, texts } => {
                if self.embedder.is_none() {
                    return self.refuse(
                        id,
                        (
                            RefusalKind::NoModel,
                            "this box has no embedding model loaded".into(),
                        ),
                    );
                }
                let mut left: Vec<usize> = (0..texts.len()).collect();
                left.sort_by_key(|&i| texts[i].len());
                let vectors = vec![Vec::new(); texts.len()];
                self.embeddings.push_back(EmbedJob {
                    id,
                    texts,
                    left,
                    vectors,
                    tokens: 0,
                });
            }
            ToWorker::Tokenize {
                id,
                content,
                add_special,
                parse_special,
            } => {
                let encoded = if parse_special {
                    self.tokenizer.encode_with_special(&content)
                } else {
                    self.tokenizer.encode(&content)
                };
                match encoded {
                    Ok(mut tokens) => {
                        if let Some(opening) = self.tokenizer.opening().filter(|_| add_special) {
                            tokens.insert(0, opening);
                        }
                        self.say(&FromWorker::Tokens { id, tokens })?;
                    }
                    Err(message) => self.refuse(id, invalid(message))?,
                }
            }
            ToWorker::Detokenize { id, tokens } => {
                match tokens
                    .iter()
                    .find(|&&t| t as usize >= self.tokenizer.vocabulary())
                {
                    Some(unknown) => {
                        self.refuse(id, invalid(format!("tokens: there is no token {unknown}")))?
                    }
                    None => {
                        let text = self.tokenizer.decode(&tokens);
                        self.say(&FromWorker::Text { id, text })?;
                    }
                }
            }
            ToWorker::Cancel { id } => self.cancel(id),
        }
        Ok(())
    }

    /// Tells the front that this process can't go on, and what helps.
    fn end(&mut self, reason: String, kind: FaultKind) -> io::Result<()> {
        self.say(&FromWorker::Failed {
            reason: reason.clone(),
            kind,
        })?;
        self.out.flush()?;
        Err(io::Error::other(reason))
    }

    fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|s| s.id != id);
        self.embeddings.retain(|e| e.id != id);
        if let Some(place) = self.running.iter().position(|s| s.id == id) {
            let sequence = self.running.remove(place);
            self.blocks.release(sequence.table);
        }
    }

    /// Turns a request into tokens and checks that it can be done.
    fn prepare(&mut self, request: Generate) -> Result<Sequence, Refusal> {
        let received = Instant::now();
        let mut tokens = match request.prompt {
            Prompt::Chat(messages) => match &self.template {
                Some(template) => template
                    .tokens(&self.tokenizer, &messages)
                    .map_err(invalid)?,
                None => return Err(invalid("messages: this model has no chat template")),
            },
            Prompt::Text {
                text,
                parse_special,
            } => {
                let encoded = if parse_special {
                    self.tokenizer.encode_with_special(&text)
                } else {
                    self.tokenizer.encode(&text)
                };
                let mut tokens = encoded.map_err(invalid)?;
                if let Some(opening) = self
                    .tokenizer
                    .opening()
                    .filter(|&t| tokens.first() != Some(&t))
                {
                    tokens.insert(0, opening);
                }
                tokens
            }
            Prompt::Tokens(tokens) => tokens,
        };
        if tokens.is_empty() {
            return Err(invalid("prompt: it is empty"));
        }
        if let Some(unknown) = tokens
            .iter()
            .find(|&&t| t as usize >= self.backend.config().vocabulary)
        {
            return Err(invalid(format!("prompt: there is no token {unknown}")));
        }
        let prompt = tokens.len();
        let room = self
            .backend
            .config()
            .context
            .min(self.blocks.total() * KV_BLOCK);
        if prompt >= room {
            return Err((
                RefusalKind::ContextLength,
                format!(
                    "the prompt has {prompt} tokens; prompt and answer together can have {room}"
                ),
            ));
        }
        let max_tokens =
            (request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS) as usize).min(room - prompt);
        let mut grammar = match &request.format {
            Format::Text => None,
            Format::JsonSchema(schema) => Some(
                self.grammars
                    .start(schema)
                    .map_err(|e| invalid(format!("response_format: {e}")))?,
            ),
        };
        let mut forced = grammar.as_mut().map(Grammar::opening).unwrap_or_default();
        forced.truncate(max_tokens);
        tokens.extend(&forced);
        self.arrivals += 1;
        Ok(Sequence {
            id: request.id,
            arrival: self.arrivals,
            priority: request.priority,
            tokens,
            prompt,
            cached: 0,
            computed: 0,
            max_tokens,
            table: Table::default(),
            sampler: Sampler::new(request.sampling),
            grammar,
            text: TextStream::new(request.stop),
            logprobs: request.logprobs,
            ignore_eos: request.ignore_eos,
            forced: forced.len() as u32,
            received,
            first_token: None,
        })
    }

    /// Moves waiting requests into the batch, in order, as long as there is room for their whole length: one that has
    /// begun never has to stop for want of memory.
    fn admit(&mut self) -> io::Result<()> {
        while self.running.len() < MAX_SEQUENCES
            && let Some(next) = self.waiting.front()
        {
            let length = next.prompt + next.max_tokens;
            let Some((table, cached)) = self.blocks.reserve(&next.tokens[..next.prompt], length)
            else {
                break;
            };
            let Some(mut sequence) = self.waiting.pop_front() else {
                break;
            };
            (sequence.table, sequence.cached, sequence.computed) = (table, cached, cached);
            let started = FromWorker::Started {
                id: sequence.id,
                prompt_tokens: sequence.prompt as u32,
                cached_tokens: cached as u32,
            };
            self.say(&started)?;
            let opening = sequence.tokens.split_off(sequence.prompt);
            let chosen: Vec<_> = opening.into_iter().map(|token| (token, None)).collect();
            let end = if sequence.max_tokens == 0 {
                Some(FinishReason::Length)
            } else {
                None
            };
            let end = end.or(if chosen.is_empty() {
                None
            } else {
                sequence.extend(chosen, &self.tokenizer, &mut self.out)?
            });
            match end {
                Some(reason) => {
                    sequence.finish(reason, &mut self.out)?;
                    self.blocks.release(sequence.table);
                }
                None => self.running.push(sequence),
            }
        }
        Ok(())
    }

    /// Embeds one batch, so that a long list doesn't hold up those who are being written to.
    fn embed_some(&mut self) -> io::Result<()> {
        let (Some(embedder), Some(job)) = (&self.embedder, self.embeddings.front_mut()) else {
            return Ok(());
        };
        let batch = job
            .left
            .split_off(job.left.len().saturating_sub(embed::BATCH));
        let texts: Vec<String> = batch
            .iter()
            .map(|&i| std::mem::take(&mut job.texts[i]))
            .collect();
        let answer = match embedder.embed(&texts) {
            Ok((vectors, tokens)) => {
                job.tokens += tokens;
                for (i, vector) in batch.into_iter().zip(vectors) {
                    job.vectors[i] = vector;
                }
                if !job.left.is_empty() {
                    return Ok(());
                }
                FromWorker::Embeddings {
                    id: job.id,
                    vectors: std::mem::take(&mut job.vectors),
                    tokens: job.tokens,
                }
            }
            Err(e) => FromWorker::Refused {
                id: job.id,
                kind: RefusalKind::Internal,
                message: format!("embedding failed: {e}"),
            },
        };
        self.embeddings.pop_front();
        self.say(&answer)
    }

    /// Computes one pass and chooses a token for every sequence that is up to date.
    fn pass(&mut self) -> io::Result<()> {
        if self.running.is_empty() {
            return Ok(());
        }
        let work: Vec<Work> = self
            .running
            .iter()
            .map(|s| Work {
                pending: s.tokens.len() - s.computed,
                priority: s.priority,
                arrival: s.arrival,
            })
            .collect();
        let shares = scheduler::plan(&work, PASS_ROWS);
        let mut rows = Vec::with_capacity(PASS_ROWS);
        for (sequence, &share) in self.running.iter().zip(&shares) {
            for position in sequence.computed..sequence.computed + share {
                rows.push(Row {
                    token: sequence.tokens[position],
                    position,
                    blocks: &sequence.table.blocks,
                    wanted: position + 1 == sequence.tokens.len(),
                });
            }
        }
        let vocabulary = self.backend.config().vocabulary;
        let computed = self.backend.forward(&rows);
        drop(rows);
        let logits = match computed {
            Ok(logits) => logits,
            Err(BackendError::Retry(reason)) => return self.give_up(&reason),
            Err(BackendError::Restart(reason)) => return self.end(reason, FaultKind::Restart),
            Err(BackendError::LeaveGpu(reason)) => return self.end(reason, FaultKind::LeaveGpu),
        };
        let mut logits = logits.chunks_exact_mut(vocabulary);
        let mut ended = Vec::new();
        for (i, (sequence, share)) in self.running.iter_mut().zip(shares).enumerate() {
            sequence.computed += share;
            self.blocks
                .seal(&mut sequence.table, &sequence.tokens[..sequence.computed]);
            if share == 0 || sequence.computed < sequence.tokens.len() {
                continue;
            }
            let Some(logits) = logits.next() else { break };
            match sequence.choose(logits, &self.tokenizer) {
                Ok(Choice::End) => {
                    sequence.finish(FinishReason::Stop, &mut self.out)?;
                    ended.push(i);
                }
                Ok(Choice::Tokens(chosen)) => {
                    if let Some(reason) = sequence.extend(chosen, &self.tokenizer, &mut self.out)? {
                        sequence.finish(reason, &mut self.out)?;
                        ended.push(i);
                    }
                }
                Err(message) => {
                    write(
                        &mut self.out,
                        &FromWorker::Refused {
                            id: sequence.id,
                            kind: RefusalKind::Internal,
                            message,
                        },
                    )?;
                    ended.push(i);
                }
            }
        }
        for i in ended.into_iter().rev() {
            let sequence = self.running.remove(i);
            self.blocks.release(sequence.table);
        }
        Ok(())
    }
}

impl<W: Write> Engine<W> {
    /// Ends what is running: the device could not compute it.
    fn give_up(&mut self, reason: &str) -> io::Result<()> {
        for sequence in std::mem::take(&mut self.running) {
            self.refuse(sequence.id, (RefusalKind::Internal, reason.to_owned()))?;
            self.blocks.release(sequence.table);
        }
        Ok(())
    }
}

/// What a sequence goes on with.
enum Choice {
    End,
    /// A chosen token, and those the grammar forced after it.
    Tokens(Vec<(Token, Option<TokenLogprob>)>),
}

impl Sequence {
    /// Chooses from the logits after the last token.
    fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<Choice, String> {
        // Probabilities are reported as the model gives them, not as the grammar leaves them.
        let original = (self.logprobs.is_some() && self.grammar.is_some()).then(|| logits.to_vec());
        if let Some(grammar) = &mut self.grammar {
            pick::mask(logits, grammar.allowed()?.as_slice());
        }
        let token = self
            .sampler
            .choose(logits)
            .ok_or("the model gave no usable choice of tokens")?;
        if tokenizer.is_end(token) && (!self.ignore_eos || self.grammar.is_some()) {
            return Ok(Choice::End);
        }
        let report = self.logprobs.map(|count| {
            sampling::logprob(
                original.as_deref().unwrap_or(logits),
                token,
                count.into(),
                tokenizer,
            )
        });
        let mut chosen = vec![(token, report)];
        if let Some(grammar) = &mut self.grammar {
            let forced = grammar.accept(token)?;
            let room = self
                .max_tokens
                .saturating_sub(self.tokens.len() - self.prompt + 1);
            self.forced += forced.len().min(room) as u32;
            chosen.extend(forced.into_iter().take(room).map(|t| (t, None)));
        }
        Ok(Choice::Tokens(chosen))
    }

    /// Adds tokens to the answer and sends them; says whether that ends it.
    fn extend(
        &mut self,
        chosen: Vec<(Token, Option<TokenLogprob>)>,
        tokenizer: &Tokenizer,
        out: &mut impl Write,
    ) -> io::Result<Option<FinishReason>> {
        self.first_token.get_or_insert_with(Instant::now);
        let mut text = String::new();
        let mut tokens = Vec::with_capacity(chosen.len());
        for (token, report) in chosen {
            self.tokens.push(token);
            if !tokenizer.is_special(token) {
                text.push_str(&self.text.push(tokenizer.bytes(token)));
            }
            let logprob = self
                .logprobs
                .map(|_| report.unwrap_or_else(|| sampling::certain(token, tokenizer)));
            tokens.push(TokenOut { token, logprob });
        }
        write(
            out,
            &FromWorker::Delta {
                id: self.id,
                text,
                tokens,
            },
        )?;
        if self.text.stopped() || self.grammar.as_ref().is_some_and(Grammar::complete) {
            return Ok(Some(FinishReason::Stop));
        }
        Ok((self.tokens.len() - self.prompt >= self.max_tokens).then_some(FinishReason::Length))
    }

    /// Sends what text is left, and the end.
    fn finish(&mut self, reason: FinishReason, out: &mut impl Write) -> io::Result<()> {
        let text = self.text.finish();
        if !text.is_empty() {
            write(
                out,
                &FromWorker::Delta {
                    id: self.id,
                    text,
                    tokens: Vec::new(),
                },
            )?;
        }
        let milliseconds = |until: Instant| (until - self.received).as_secs_f32() * 1000.0;
        let usage = Usage {
            prompt_tokens: self.prompt as u32,
            cached_tokens: self.cached as u32,
            completion_tokens: (self.tokens.len() - self.prompt) as u32,
            forced_tokens: self.forced,
            first_token_ms: self.first_token.map_or(0.0, milliseconds),
            total_ms: milliseconds(Instant::now()),
        };
        write(
            out,
            &FromWorker::Finished {
                id: self.id,
                reason,
                usage,
            },
        )
    }
}
