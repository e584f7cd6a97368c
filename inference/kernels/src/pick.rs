//! Looking through the logits: one number for each token of the vocabulary.

/// A token and its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token's number.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
}

/// The token with the largest logit; the lowest numbered one of equals. `None` when nothing is above minus infinity.
pub fn best(logits: &[f32]) -> Option<Candidate> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if top == f32::NEG_INFINITY {
        return None;
    }
    let token = logits.iter().position(|&l| l == top)?;
    Some(Candidate {
        token: token as u32,
        logit: top,
    })
}

/// The logarithm of the sum of the exponentials: `logit - this` is the log-probability of a token.
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !top.is_finite() {
        return top;
    }
    let sum: f64 = logits.iter().map(|&l| f64::from((l - top).exp())).sum();
    top + sum.ln() as f32
}

/// The sum of the tokens' weights, `exp((logit - reference) / temperature)`, over logits not below `floor`.
pub fn total_weight(logits: &[f32], reference: f32, temperature: f32, floor: f32) -> f64 {
    logits
        .iter()
        .filter(|&&l| l >= floor)
        .map(|&l| f64::from(((l - reference) / temperature).exp()))
        .sum()
}

/// The token at `point` (from 0 to below 1) of all tokens' weights, laid end to end in the order of their numbers.
pub fn draw(logits: &[f32], temperature: f32, point: f64) -> Option<Candidate> {
    let top = best(logits)?.logit;
    let mut left = point * total_weight(logits, top, temperature, f32::NEG_INFINITY);
    let mut last = None;
    for (token, &logit) in logits.iter().enumerate() {
        let weight = f64::from(((logit - top) / temperature).exp());
        if weight > 0.0 {
            last = Some(Candidate {
                token: token as u32,
                logit,
            });
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

/// The `limit` tokens with the largest logits not below `floor`, largest first, equals by number. A
/// limit of 0 means all.
pub fn top(logits: &[f32], floor: f32, limit: usize) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = logits
        .iter()
        .enumerate()
        .filter(|&(_, &logit)| logit >= floor && logit > f32::NEG_INFINITY)
        .map(|(token, &logit)| Candidate {
            token: token as u32,
            logit,
        })
        .collect();
    let order =
        |a: &Candidate, b: &Candidate| b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token));
    if limit > 0 && found.len() > limit {
        found.select_nth_unstable_by(limit - 1, order);
        found.truncate(limit);
    }
    found.sort_unstable_by(order);
    found
}

/// Sets to minus infinity every logit whose bit is not set; bit `i % 32` of word `i / 32` stands for token `i`.
pub fn mask(logits: &mut [f32], allowed: &[u32]) {
    for (i, chunk) in logits.chunks_mut(32).enumerate() {
        let word = allowed.get(i).copied().unwrap_or(0);
        if word == u32::MAX {
            continue;
        }
        for (bit, logit) in chunk.iter_mut().enumerate() {
            if word >> bit & 1 == 0 {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// Whether every logit is a number; false after an arithmetic fault.
pub fn all_finite(logits: &[f32]) -> bool {
    logits.iter().all(|l| l.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_equals_is_the_first() {
        assert_eq!(
            best(&[1.0, 3.0, 3.0]),
            Some(Candidate {
                token: 1,
                logit: 3.0
            })
        );
        assert_eq!(best(&[f32::NEG_INFINITY; 3]), None);
    }

    #[test]
    fn top_keeps_the_largest_in_order() {
        let logits = [0.5, 4.0, -1.0, 4.0, 2.0];
        let tokens = |floor, limit| {
            top(&logits, floor, limit)
                .iter()
                .map(|c| c.token)
                .collect::<Vec<_>>()
        };
        assert_eq!(tokens(f32::NEG_INFINITY, 3), [1, 3, 4]);
        assert_eq!(tokens(0.0, 10), [1, 3, 4, 0]);
    }

    #[test]
    fn drawing_follows_the_weights() {
        let logits = [0.0, f32::NEG_INFINITY, 3f32.ln()];
        let drawn: Vec<u32> = (0..8)
            .filter_map(|i| draw(&logits, 1.0, f64::from(i) / 8.0))
            .map(|c| c.token)
            .collect();
        assert_eq!(drawn, [0, 0, 2, 2, 2, 2, 2, 2]);
        assert_eq!(draw(&[f32::NEG_INFINITY; 2], 1.0, 0.5), None);
    }

    #[test]
    fn a_mask_keeps_only_what_it_names() {
        let mut logits = vec![1.0; 70];
        mask(&mut logits, &[1 << 5, u32::MAX]);
        let kept: Vec<usize> = (0..70).filter(|&i| logits[i] == 1.0).collect();
        assert_eq!(kept, std::iter::once(5).chain(32..64).collect::<Vec<_>>());
    }

    #[test]
    fn probabilities_add_up_to_one() {
        let logits: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 8.0).collect();
        let all = log_sum_exp(&logits);
        let sum: f32 = logits.iter().map(|l| (l - all).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    }
}
