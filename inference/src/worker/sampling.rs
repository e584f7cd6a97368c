//! Chooses the next token from the logits.

use hadada_inference_protocol::{Sampling, ScoredToken, Token, TokenLogprob};
use hadada_kernels::pick;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use super::tokenizer::Tokenizer;

/// Candidates sorted at first; a nucleus is rarely larger, and sorting the whole vocabulary costs milliseconds.
const FIRST_LOOK: usize = 1024;

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
}
