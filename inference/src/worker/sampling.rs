//! Chooses the next token from the logits.
//!
//! Penalties come first. `frequency` and `presence` are OpenAI's: a token that the answer already has `n` times loses
//! `n × frequency`, and `presence` once. `repetition` is llama.cpp's: the logit of a token among the last
//! [`REPETITION_WINDOW`] of prompt and answer is divided by it where it is positive and multiplied where it is not.

use hadada_inference_protocol::{Sampling, ScoredToken, Token, TokenLogprob};
use hadada_kernels::pick;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use std::collections::{HashMap, HashSet};

use super::tokenizer::Tokenizer;

/// Candidates sorted at first; a nucleus is rarely larger, and sorting the whole vocabulary costs milliseconds.
const FIRST_LOOK: usize = 1024;

/// Tokens back from the end that the repetition penalty looks at, as many as llama.cpp does where it isn't told.
pub const REPETITION_WINDOW: usize = 64;

/// One request's choices. The same seed and logits give the same tokens on every machine.
pub struct Sampler {
    sampling: Sampling,
    random: Xoshiro256PlusPlus,
}

impl Sampler {
    /// A sampler at the start of its random sequence.
    pub fn new(sampling: Sampling) -> Sampler {
        Sampler {
            sampling,
            random: Xoshiro256PlusPlus::seed_from_u64(sampling.seed),
        }
    }

    /// Whether choices depend on what was written before.
    pub fn penalises(&self) -> bool {
        let Sampling {
            frequency,
            presence,
            repetition,
            ..
        } = self.sampling;
        frequency != 0.0 || presence != 0.0 || repetition != 1.0
    }

    /// Makes tokens that were there before less likely. The answer is what follows the first `prompt` tokens.
    pub fn penalise(&self, logits: &mut [f32], tokens: &[Token], prompt: usize) {
        let Sampling {
            frequency,
            presence,
            repetition,
            ..
        } = self.sampling;
        if repetition != 1.0 {
            let recent = &tokens[tokens.len().saturating_sub(REPETITION_WINDOW)..];
            for token in recent.iter().collect::<HashSet<_>>() {
                if let Some(logit) = logits.get_mut(*token as usize) {
                    if *logit > 0.0 {
                        *logit /= repetition;
                    } else {
                        *logit *= repetition;
                    }
                }
            }
        }
        if frequency != 0.0 || presence != 0.0 {
            let mut counts: HashMap<Token, f32> = HashMap::new();
            for token in tokens.iter().skip(prompt) {
                *counts.entry(*token).or_default() += 1.0;
            }
            for (token, count) in counts {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit -= count * frequency + presence;
                }
            }
        }
    }

    /// The next token; `None` when no token is allowed. Temperature comes first, then `min_p`, `top_k` and `top_p`, each
    /// over what the one before left.
    pub fn choose(&mut self, logits: &[f32]) -> Option<Token> {
        let Sampling {
            temperature,
            top_p,
            top_k,
            min_p,
            ..
        } = self.sampling;
        let best = pick::best(logits)?;
        if temperature <= 0.0 || top_k == 1 {
            return Some(best.token);
        }
        // 53 random bits: as many as the number between 0 and 1 can hold.
        let point = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        if top_k == 0 && top_p >= 1.0 && min_p <= 0.0 {
            return pick::draw(logits, temperature, point).map(|c| c.token);
        }
        let floor = if min_p > 0.0 {
            best.logit + min_p.min(1.0).ln() * temperature
        } else {
            f32::NEG_INFINITY
        };
        let weight = |logit: f32| f64::from(((logit - best.logit) / temperature).exp());
        let sum = |found: &[pick::Candidate]| found.iter().map(|c| weight(c.logit)).sum::<f64>();
        let (mut found, total) = if top_k > 0 {
            let found = pick::top(logits, floor, top_k as usize);
            let total = sum(&found);
            (found, total)
        } else {
            let total = pick::total_weight(logits, best.logit, temperature, floor);
            let mut found = pick::top(logits, floor, FIRST_LOOK);
            if sum(&found) < total * f64::from(top_p.min(1.0)) {
                found = pick::top(logits, floor, 0);
            }
            (found, total)
        };
        let mut kept = 0.0;
        let enough = found.iter().position(|c| {
            kept += weight(c.logit);
            kept >= total * f64::from(top_p)
        });
        if let Some(last) = enough {
            found.truncate(last + 1);
        }
        let mut left = point * sum(&found);
        for candidate in &found {
            left -= weight(candidate.logit);
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        found.last().map(|c| c.token)
    }
}

/// The log-probability of a chosen token and of the `count` most likely ones, in the model's own distribution.
pub fn logprob(logits: &[f32], chosen: Token, count: usize, tokenizer: &Tokenizer) -> TokenLogprob {
    let all = pick::log_sum_exp(logits);
    let scored = |token: Token, logit: f32| ScoredToken {
        token,
        bytes: tokenizer.bytes(token).to_vec(),
        logprob: (logit - all).max(-9999.0),
    };
    let top = if count == 0 {
        Vec::new()
    } else {
        pick::top(logits, f32::NEG_INFINITY, count)
    };
    TokenLogprob {
        chosen: scored(
            chosen,
            logits
                .get(chosen as usize)
                .copied()
                .unwrap_or(f32::NEG_INFINITY),
        ),
        top: top.into_iter().map(|c| scored(c.token, c.logit)).collect(),
    }
}

/// What is reported of a token that a grammar forced: nothing else was possible.
pub fn certain(token: Token, tokenizer: &Tokenizer) -> TokenLogprob {
    TokenLogprob {
        chosen: ScoredToken {
            token,
            bytes: tokenizer.bytes(token).to_vec(),
            logprob: 0.0,
        },
        top: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_p: f32, top_k: u32, min_p: f32, seed: u64) -> Sampler {
        Sampler::new(Sampling {
            temperature,
            top_p,
            top_k,
            min_p,
            seed,
            ..Sampling::default()
        })
    }

    fn shares(mut make: impl FnMut(u64) -> Sampler, logits: &[f32]) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for seed in 0..4000 {
            counts[make(seed).choose(logits).unwrap() as usize] += 1.0 / 4000.0;
        }
        counts
    }

    /// Probabilities 1/2, 1/4, 1/8, 1/8.
    fn halves() -> Vec<f32> {
        [8.0f32, 4.0, 2.0, 2.0].iter().map(|w| w.ln()).collect()
    }

    #[test]
    fn temperature_nought_takes_the_best() {
        assert_eq!(
            sampler(0.0, 1.0, 0, 0.0, 1).choose(&[1.0, 5.0, 2.0]),
            Some(1)
        );
    }

    #[test]
    fn nothing_allowed_gives_nothing() {
        assert_eq!(
            sampler(1.0, 1.0, 0, 0.0, 1).choose(&[f32::NEG_INFINITY; 4]),
            None
        );
    }

    #[test]
    fn shares_follow_the_probabilities() {
        let found = shares(|seed| sampler(1.0, 1.0, 0, 0.0, seed), &halves());
        for (found, wanted) in found.iter().zip([0.5, 0.25, 0.125, 0.125]) {
            assert!((found - wanted).abs() < 0.03, "{found} instead of {wanted}");
        }
    }

    #[test]
    fn limits_cut_the_tail() {
        let tail = |s: Vec<f64>| s[2] + s[3];
        assert_eq!(
            tail(shares(|seed| sampler(1.0, 0.7, 0, 0.0, seed), &halves())),
            0.0
        );
        assert_eq!(
            tail(shares(|seed| sampler(1.0, 1.0, 2, 0.0, seed), &halves())),
            0.0
        );
        assert_eq!(
            tail(shares(|seed| sampler(1.0, 1.0, 0, 0.4, seed), &halves())),
            0.0
        );
        assert!(tail(shares(|seed| sampler(1.0, 0.8, 0, 0.0, seed), &halves())) > 0.0);
    }

    #[test]
    fn a_seed_repeats_itself() {
        let logits: Vec<f32> = (0..500).map(|i| (i as f32).sin()).collect();
        let run = |seed| {
            let mut s = sampler(1.5, 0.95, 0, 0.0, seed);
            (0..50)
                .map(|_| s.choose(&logits).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    fn penalised(change: impl Fn(&mut Sampling), tokens: &[Token], prompt: usize) -> Vec<f32> {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        let mut logits = vec![4.0, -4.0, 1.0, 0.0];
        let sampler = Sampler::new(sampling);
        assert!(sampler.penalises());
        sampler.penalise(&mut logits, tokens, prompt);
        logits
    }

    #[test]
    fn penalties_follow_their_formulas() {
        assert!(!Sampler::new(Sampling::default()).penalises());
        let tokens = [3, 0, 1, 0];
        assert_eq!(
            penalised(|s| s.frequency = 0.5, &tokens, 1),
            [3.0, -4.5, 1.0, 0.0],
            "each time counts, in the answer only"
        );
        assert_eq!(
            penalised(|s| s.presence = 0.5, &tokens, 1),
            [3.5, -4.5, 1.0, 0.0],
            "once is enough"
        );
        assert_eq!(
            penalised(|s| s.repetition = 2.0, &tokens, 1),
            [2.0, -8.0, 1.0, 0.0],
            "the prompt counts too"
        );
        let long: Vec<Token> = [2].into_iter().chain([0; REPETITION_WINDOW]).collect();
        assert_eq!(
            penalised(|s| s.repetition = 2.0, &long, 0)[1..3],
            [-4.0, 1.0],
            "what is long past is forgotten"
        );
    }
}
