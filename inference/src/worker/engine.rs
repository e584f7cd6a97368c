//! The one thread that runs the models: takes requests, forms passes, chooses tokens, and answers.

use super::alive;
use super::backend::{Backend, BackendError, KV_BLOCK};
use super::embed::{self, Embedder};
use super::grammar::Grammars;
use super::kv::Blocks;
use super::scheduler::{self, Work};
use super::sequence::Sequence;
use super::template::ChatTemplate;
use super::tokenizer::Tokenizer;
use hadada_inference_protocol::{
    FaultKind, Format, FromWorker, Generate, Prompt, RefusalKind, RequestId, ToWorker, write,
};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

/// Sequences computed together.
pub const MAX_SEQUENCES: usize = 16;

/// Rows of a pass: enough for good use of the weights, few enough that others don't wait long.
const PASS_ROWS: usize = MAX_SEQUENCES * scheduler::STEADY_ROWS;

/// What a pass costs before its first row, in rows: reading the weights.
const PASS_BASE: f32 = 2.0;

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
    /// Whether answers are guessed ahead.
    pub speculation: bool,
    /// Towards the front.
    pub out: W,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    embeddings: VecDeque<EmbedJob>,
    arrivals: u64,
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
            speculation: true,
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
            loop {
                alive::step();
                match inbox.try_recv() {
                    Ok(message) => self.take(message)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.step()?;
        }
    }

    /// Does one round of what there is to do.
    fn step(&mut self) -> io::Result<()> {
        self.admit()?;
        self.embed_some()?;
        self.pass()?;
        self.out.flush()
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
                        if add_special {
                            tokens.splice(..0, self.tokenizer.opening());
                            tokens.extend(self.tokenizer.closing());
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
            self.running.remove(place).release(&mut self.blocks);
        }
    }

    /// Turns a request into tokens and checks that it can be done.
    fn prepare(&mut self, mut request: Generate) -> Result<Sequence, Refusal> {
        let received = Instant::now();
        let tokens = match std::mem::replace(&mut request.prompt, Prompt::Tokens(Vec::new())) {
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
        let grammar = match &request.format {
            Format::Text => None,
            Format::JsonSchema(schema) => Some(
                self.grammars
                    .start(schema)
                    .map_err(|e| invalid(format!("response_format: {e}")))?,
            ),
        };
        self.arrivals += 1;
        let mut sequence = Sequence::new(request, tokens, max_tokens, grammar, received);
        sequence.arrival = self.arrivals;
        if self.speculation {
            sequence.speculate();
        }
        Ok(sequence)
    }

    /// Moves waiting requests into the batch, in order, as long as there is room for their whole length: one that has
    /// begun never has to stop for want of memory.
    fn admit(&mut self) -> io::Result<()> {
        while self.running.len() < MAX_SEQUENCES
            && let Some(next) = self.waiting.front_mut()
            && next.reserve(&mut self.blocks)
            && let Some(mut sequence) = self.waiting.pop_front()
        {
            match sequence.start(&self.tokenizer, &mut self.out)? {
                Some(reason) => {
                    sequence.finish(reason, &mut self.out)?;
                    sequence.release(&mut self.blocks);
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
        let due: usize = self.running.iter().map(Sequence::pending).sum();
        let row = 1.0 / (PASS_BASE + due.min(PASS_ROWS) as f32);
        // Everybody pays for a row: it is worth less the more others wait for it.
        let row = row * self.running.len() as f32;
        let work: Vec<Work> = self.running.iter_mut().map(|s| s.work(row)).collect();
        let shares = scheduler::plan(&work, PASS_ROWS);
        let mut rows = Vec::with_capacity(PASS_ROWS);
        for (sequence, &share) in self.running.iter().zip(&shares) {
            sequence.rows(share, &mut rows);
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
        let mut rest = logits;
        let mut ended = Vec::new();
        for (i, (sequence, share)) in self.running.iter_mut().zip(shares).enumerate() {
            let (own, others) = rest.split_at_mut(sequence.wanted(share) * vocabulary);
            rest = others;
            let own = own.chunks_exact_mut(vocabulary);
            let outcome = sequence.advance(share, own, &mut self.blocks, &self.tokenizer);
            match outcome {
                Ok(None) => sequence.send_along(&mut self.out)?,
                Ok(Some(reason)) => {
                    sequence.finish(reason, &mut self.out)?;
                    ended.push(i);
                }
                Err(message) => {
                    sequence.send(&mut self.out)?;
                    let (id, kind) = (sequence.id, RefusalKind::Internal);
                    write(&mut self.out, &FromWorker::Refused { id, kind, message })?;
                    ended.push(i);
                }
            }
        }
        for i in ended.into_iter().rev() {
            self.running.remove(i).release(&mut self.blocks);
        }
        Ok(())
    }

    /// Ends what is running: the device could not compute it.
    fn give_up(&mut self, reason: &str) -> io::Result<()> {
        for mut sequence in std::mem::take(&mut self.running) {
            sequence.send(&mut self.out)?;
            self.refuse(sequence.id, (RefusalKind::Internal, reason.to_owned()))?;
            sequence.release(&mut self.blocks);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
