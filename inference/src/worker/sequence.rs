//! One request to write, from arrival to end.

use super::backend::Row;
use super::grammar::Grammar;
use super::kv::{Blocks, Table};
use super::lookup::{Guess, Lookup};
use super::sampling::{self, Sampler};
use super::scheduler::{Share, Work};
use super::text::TextStream;
use super::tokenizer::Tokenizer;
use hadada_inference_protocol::{
    FinishReason, FromWorker, Generate, Priority, RequestId, Token, TokenLogprob, TokenOut, Usage,
    write,
};
use hadada_kernels::pick;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Tokens of room beyond twice what the emptiest document takes, with which looking for the way out begins: a part of a
/// document that the schema doesn't ask for may be opened meanwhile.
const SPARE_ROOM: usize = 24;

/// Time between two messages to whoever reads along: text that grows twenty times a second looks steady, and each message
/// takes a processor from what computes.
const FRAME: Duration = Duration::from_millis(50);

/// Tokens in one message at most, or a pass's more: with all that can be told of them they stay far below the longest frame.
const MESSAGE: usize = 1024;

/// A request in work.
pub struct Sequence {
    /// The request.
    pub id: RequestId,
    /// When it came: smaller is earlier.
    pub arrival: u64,
    /// Who waits for it.
    pub priority: Priority,
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
    /// Tokens that the grammar wants before anything is chosen.
    opening: Vec<Token>,
    /// Tokens that bring the document to its end from where it is, once room is short.
    way_out: Option<VecDeque<Token>>,
    /// With less room than this the way out is looked for at every token.
    short: usize,
    /// Whether the document was brought to its end before the model ended it.
    steered: bool,
    text: TextStream,
    logprobs: Option<u8>,
    ignore_eos: bool,
    /// Missing where guessing is switched off.
    lookup: Option<Lookup>,
    guess: Guess,
    /// Whether somebody reads along.
    stream: bool,
    unsent: (String, Vec<TokenOut>),
    /// When something was last sent.
    sent: Option<Instant>,
    usage: Usage,
    received: Instant,
    first_token: Option<Instant>,
}

/// What a sequence goes on with.
enum Choice {
    End,
    /// A chosen token, and those the grammar forced after it.
    Tokens(Vec<(Token, Option<TokenLogprob>)>),
}

impl Sequence {
    /// A request with its prompt in tokens.
    pub fn new(
        request: Generate,
        prompt: Vec<Token>,
        max_tokens: usize,
        mut grammar: Option<Grammar>,
        received: Instant,
    ) -> Sequence {
        let mut opening = grammar.as_mut().map(Grammar::opening).unwrap_or_default();
        opening.truncate(max_tokens);
        let shortest = grammar.as_ref().and_then(|g| g.way_out(max_tokens));
        let short = shortest.map_or(0, |way| 2 * way.len() + SPARE_ROOM);
        Sequence {
            id: request.id,
            arrival: 0,
            priority: request.priority,
            prompt: prompt.len(),
            tokens: prompt,
            cached: 0,
            computed: 0,
            max_tokens,
            table: Table::default(),
            sampler: Sampler::new(request.sampling),
            grammar,
            opening,
            way_out: None,
            short,
            steered: false,
            text: TextStream::new(request.stop),
            logprobs: request.logprobs,
            ignore_eos: request.ignore_eos,
            lookup: None,
            guess: Guess::default(),
            stream: request.stream,
            unsent: (String::new(), Vec::new()),
            sent: None,
            usage: Usage::default(),
            received,
            first_token: None,
        }
    }

    /// Lets it guess how its answer goes on.
    pub fn speculate(&mut self) {
        self.lookup = Some(Lookup::default());
    }

    /// Takes the blocks it needs for its whole length; says whether there was room for them.
    pub fn reserve(&mut self, blocks: &mut Blocks) -> bool {
        let Some((table, cached)) =
            blocks.reserve(&self.tokens, self.tokens.len() + self.max_tokens)
        else {
            return false;
        };
        (self.table, self.cached, self.computed) = (table, cached, cached);
        true
    }

    /// Gives its blocks back.
    pub fn release(self, blocks: &mut Blocks) {
        blocks.release(self.table);
    }

    /// Says that it is taken up, and writes what must come first; says whether that ends it.
    ///
    /// # Errors
    /// When the front no longer listens.
    pub fn start(
        &mut self,
        tokenizer: &Tokenizer,
        out: &mut impl Write,
    ) -> io::Result<Option<FinishReason>> {
        write(
            out,
            &FromWorker::Started {
                id: self.id,
                prompt_tokens: self.prompt as u32,
                cached_tokens: self.cached as u32,
            },
        )?;
        if self.max_tokens == 0 {
            return Ok(Some(FinishReason::Length));
        }
        let opening = std::mem::take(&mut self.opening);
        if opening.is_empty() {
            return Ok(None);
        }
        self.usage.forced_tokens = opening.len() as u32;
        let end = self.extend(opening.into_iter().map(|t| (t, None)).collect(), tokenizer);
        self.send_along(out)?;
        Ok(end)
    }

    /// What the scheduler sees of it. `row` is what a row more costs, as a share of the pass without it.
    pub fn work(&mut self, row: f32) -> Work {
        let pending = self.pending();
        // The last token of the answer needs no keys and values.
        let room = (self.prompt + self.max_tokens).saturating_sub(self.tokens.len() + 1);
        self.guess = match &mut self.lookup {
            Some(lookup) if pending <= super::scheduler::STEADY_ROWS => {
                lookup.guess(&self.tokens, room, row)
            }
            _ => Guess::default(),
        };
        Work {
            pending,
            guessed: self.guess.tokens.len(),
            priority: self.priority,
            arrival: self.arrival,
        }
    }

    /// Tokens that wait to be computed.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Adds its rows of a pass.
    pub fn rows<'s>(&'s self, share: Share, rows: &mut Vec<Row<'s>>) {
        let due = self.computed..self.computed + share.rows;
        let last = self.tokens.len() - 1;
        rows.extend(due.map(|position| Row {
            token: self.tokens[position],
            position,
            blocks: &self.table.blocks,
            wanted: position == last,
        }));
        let guessed = self.guess.tokens.iter().take(share.guessed);
        rows.extend(guessed.zip(last + 1..).map(|(&token, position)| Row {
            token,
            position,
            blocks: &self.table.blocks,
            wanted: true,
        }));
    }

    /// How many of its rows in a pass have logits.
    pub fn wanted(&self, share: Share) -> usize {
        if share.rows == self.pending() {
            1 + share.guessed
        } else {
            0
        }
    }

    /// Takes what a pass computed: `logits` are those of its wanted rows. As long as what it chooses is what was guessed,
    /// it chooses again from the next logits; so it writes what it would have written without guessing. Says whether it
    /// is at its end.
    ///
    /// # Errors
    /// When it can't go on.
    pub fn advance<'l>(
        &mut self,
        share: Share,
        logits: impl Iterator<Item = &'l mut [f32]>,
        blocks: &mut Blocks,
        tokenizer: &Tokenizer,
    ) -> Result<Option<FinishReason>, String> {
        self.computed += share.rows;
        let mut end = None;
        let mut right = 0;
        let guess = std::mem::take(&mut self.guess);
        'rows: for logits in logits {
            match self.choose(logits, tokenizer)? {
                Choice::End => {
                    end = Some(FinishReason::Stop);
                    break;
                }
                Choice::Tokens(chosen) => {
                    let before = self.tokens.len();
                    end = self.extend(chosen, tokenizer);
                    for token in &self.tokens[before..] {
                        if guess.tokens[..share.guessed].get(right) != Some(token) {
                            break 'rows;
                        }
                        right += 1;
                    }
                    if end.is_some() {
                        break;
                    }
                }
            }
        }
        if share.guessed > 0 {
            self.usage.speculated_tokens += share.guessed as u32;
            self.usage.accepted_tokens += right as u32;
            if let Some(lookup) = &mut self.lookup {
                lookup.learn(&guess, share.guessed, right);
            }
        }
        // Keys and values of wrong guesses lie behind this mark: the next pass writes over them.
        self.computed += right;
        blocks.seal(&mut self.table, &self.tokens[..self.computed]);
        Ok(end)
    }

    /// Chooses from the logits after the last token.
    fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<Choice, String> {
        let changed = self.grammar.is_some() || self.sampler.penalises();
        // Probabilities are reported as the model gives them, not as penalties and the grammar leave them.
        let original = (self.logprobs.is_some() && changed).then(|| logits.to_vec());
        if self.sampler.penalises() {
            self.sampler.penalise(logits, &self.tokens, self.prompt);
        }
        if let Some(grammar) = &mut self.grammar {
            pick::mask(logits, grammar.allowed()?.as_slice());
        }
        let drawn = self
            .sampler
            .choose(logits)
            .ok_or("the model gave no usable choice of tokens")?;
        let room = self.room();
        let (token, forced) = self.keep_to_schema(drawn, room, tokenizer)?;
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
        self.usage.forced_tokens += forced.len() as u32;
        chosen.extend(forced.into_iter().map(|t| (t, None)));
        Ok(Choice::Tokens(chosen))
    }

    /// Takes the token that was drawn, or where the document could not be brought to its end behind it in the room there
    /// is, the next one on the way out. Gives the token and those that the grammar forces after it.
    fn keep_to_schema(
        &mut self,
        drawn: Token,
        room: usize,
        tokenizer: &Tokenizer,
    ) -> Result<(Token, Vec<Token>), String> {
        let Some(grammar) = &mut self.grammar else {
            return Ok((drawn, Vec::new()));
        };
        if tokenizer.is_end(drawn) {
            return Ok((drawn, Vec::new()));
        }
        if room >= self.short {
            let mut forced = grammar.accept(drawn)?;
            forced.truncate(room - 1);
            return Ok((drawn, forced));
        }
        let mut ahead = grammar.clone();
        let mut forced = ahead.accept(drawn)?;
        let left = room.checked_sub(1 + forced.len());
        let way = left.and_then(|left| ahead.way_out(left));
        let held = self.way_out.take();
        if let Some(way) = way {
            *grammar = ahead;
            self.way_out = Some(way.into());
            return Ok((drawn, forced));
        }
        let mut way = held
            .or_else(|| grammar.way_out(room).map(VecDeque::from))
            .unwrap_or_default();
        match way.pop_front() {
            Some(token) => {
                forced = grammar.accept(token)?;
                way.drain(..forced.len().min(way.len()));
                self.way_out = Some(way);
                self.steered = true;
                Ok((token, forced))
            }
            // Not even the emptiest document has room.
            None => {
                *grammar = ahead;
                forced.truncate(room - 1);
                Ok((drawn, forced))
            }
        }
    }

    /// Tokens that the answer may still have; at least one as long as it is in work.
    fn room(&self) -> usize {
        (self.prompt + self.max_tokens)
            .saturating_sub(self.tokens.len())
            .max(1)
    }

    /// Adds tokens to the answer; says whether that ends it.
    fn extend(
        &mut self,
        chosen: Vec<(Token, Option<TokenLogprob>)>,
        tokenizer: &Tokenizer,
    ) -> Option<FinishReason> {
        self.first_token.get_or_insert_with(Instant::now);
        for (token, report) in chosen {
            self.tokens.push(token);
            if !tokenizer.is_special(token) {
                let text = self.text.push(tokenizer.bytes(token));
                self.unsent.0.push_str(&text);
            }
            let logprob = self
                .logprobs
                .map(|_| report.unwrap_or_else(|| sampling::certain(token, tokenizer)));
            self.unsent.1.push(TokenOut { token, logprob });
            if self.text.stopped() {
                return Some(FinishReason::Stop);
            }
        }
        if self.grammar.as_ref().is_some_and(Grammar::complete) {
            return Some(if self.steered {
                FinishReason::Length
            } else {
                FinishReason::Stop
            });
        }
        (self.tokens.len() - self.prompt >= self.max_tokens).then_some(FinishReason::Length)
    }

    /// Tokens of the answer so far.
    #[cfg(test)]
    pub fn written(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// Sends what was written since the last time, where it is time to: to whoever reads along the first text at once and then
    /// some tokens together.
    ///
    /// # Errors
    /// When the front no longer listens.
    pub fn send_along(&mut self, out: &mut impl Write) -> io::Result<()> {
        let due = self.stream && self.sent.is_none_or(|sent| sent.elapsed() >= FRAME);
        if due || self.unsent.1.len() >= MESSAGE {
            self.send(out)?;
        }
        Ok(())
    }

    /// Sends all that was written since the last time.
    ///
    /// # Errors
    /// When the front no longer listens.
    pub fn send(&mut self, out: &mut impl Write) -> io::Result<()> {
        let (text, tokens) = std::mem::take(&mut self.unsent);
        if text.is_empty() && tokens.is_empty() {
            return Ok(());
        }
        if !text.is_empty() {
            self.sent = Some(Instant::now());
        }
        let id = self.id;
        write(out, &FromWorker::Delta { id, text, tokens })
    }

    /// Sends what text is left, and the end.
    ///
    /// # Errors
    /// When the front no longer listens.
    pub fn finish(&mut self, reason: FinishReason, out: &mut impl Write) -> io::Result<()> {
        let rest = self.text.finish();
        self.unsent.0.push_str(&rest);
        self.send(out)?;
        let milliseconds = |until: Instant| (until - self.received).as_secs_f32() * 1000.0;
        let usage = Usage {
            prompt_tokens: self.prompt as u32,
            cached_tokens: self.cached as u32,
            completion_tokens: (self.tokens.len() - self.prompt) as u32,
            first_token_ms: self.first_token.map_or(0.0, milliseconds),
            total_ms: milliseconds(Instant::now()),
            ..self.usage
        };
        let id = self.id;
        write(out, &FromWorker::Finished { id, reason, usage })
    }
}
