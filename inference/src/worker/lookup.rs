//! Guesses how an answer goes on from what stands in the prompt and the answer so far: where the last tokens occurred
//! before, what followed them then may follow them now. A guess costs rows of a pass that may turn out useless, so it is
//! made only as long as guesses of its kind have been worth their rows.

use hadada_inference_protocol::Token;

/// The most tokens guessed at once.
pub const MOST: usize = 12;

/// Matches are not looked at beyond this length.
const LONGEST: usize = 16;

/// The shortest match of each kind, and how often the next token was right in trials, before this request's own count.
const KINDS: [(usize, f32); 3] = [(2, 0.35), (4, 0.65), (8, 0.85)];

/// The weight of one more token in the count.
const NEW: f32 = 0.08;

/// How much of the way back to the trials' share a kind goes for each token at which it was not used: it is tried again.
const FORGET: f32 = 0.01;

/// A guess gains at least this much, or is not made.
const GAIN: f32 = 1.03;

/// How well guesses did for one request.
#[derive(Debug, Clone)]
pub struct Lookup {
    right: [f32; KINDS.len()],
}

/// Tokens that may follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guess {
    /// The tokens.
    pub tokens: Vec<Token>,
    kind: usize,
}

impl Default for Lookup {
    fn default() -> Lookup {
        Lookup {
            right: KINDS.map(|(_, share)| share),
        }
    }
}

impl Lookup {
    /// At most `most` tokens that may follow. `row` is what a row more costs, as a share of the whole pass without it.
    pub fn guess(&mut self, tokens: &[Token], most: usize, row: f32) -> Guess {
        let found = longest_match(tokens);
        let kind = found.and_then(|(_, length)| KINDS.iter().rposition(|(min, _)| length >= *min));
        for (i, (right, (_, share))) in self.right.iter_mut().zip(KINDS).enumerate() {
            if Some(i) != kind {
                *right += (share - *right) * FORGET;
            }
        }
        let (Some((next, _)), Some(kind)) = (found, kind) else {
            return Guess::default();
        };
        let count = worthwhile(self.right[kind], most.min(MOST), row);
        if count == 0 {
            self.right[kind] += (KINDS[kind].1 - self.right[kind]) * FORGET;
        }
        let mut guess = Vec::with_capacity(count);
        for i in next..next + count {
            // What repeats itself goes on repeating itself.
            let token = tokens.get(i).or_else(|| guess.get(i - tokens.len()));
            guess.extend(token.copied());
        }
        Guess {
            tokens: guess,
            kind,
        }
    }

    /// Takes note of how many of the guessed tokens were computed, and how many of these were right.
    pub fn learn(&mut self, guess: &Guess, computed: usize, right: usize) {
        let share = &mut self.right[guess.kind];
        for i in 0..computed.min(right + 1) {
            let outcome = if i < right { 1.0 } else { 0.0 };
            *share += (outcome - *share) * NEW;
        }
    }
}

/// Where the longest earlier occurrence of the last tokens ends, the latest of equals, and its length.
fn longest_match(tokens: &[Token]) -> Option<(usize, usize)> {
    let (last, before) = tokens.split_last()?;
    let mut best: Option<(usize, usize)> = None;
    for end in (1..tokens.len()).rev() {
        if tokens[end - 1] != *last {
            continue;
        }
        let back = before.iter().rev().zip(tokens[..end - 1].iter().rev());
        let length = 1 + back.take(LONGEST - 1).take_while(|(a, b)| a == b).count();
        if best.is_none_or(|(_, longest)| length > longest) {
            best = Some((end, length));
            if length == LONGEST {
                break;
            }
        }
    }
    best
}

/// The number of guessed tokens with the best ratio of tokens won to time spent, if it is worth the while at all. Each
/// is right with this probability if the ones before it were.
fn worthwhile(right: f32, most: usize, row: f32) -> usize {
    let (mut won, mut chance) = (1.0, 1.0);
    let mut best = (GAIN, 0);
    for count in 1..=most {
        chance *= right;
        won += chance;
        let gain = won / (1.0 + row * count as f32);
        if gain > best.0 {
            best = (gain, count);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_match_wins_and_the_latest_of_equals() {
        assert_eq!(longest_match(&[1, 2, 3, 9, 2, 3, 7, 1, 2, 3]), Some((3, 3)));
        assert_eq!(
            longest_match(&[5, 2, 3, 9, 6, 2, 3, 7, 8, 2, 3]),
            Some((7, 2))
        );
        assert_eq!(longest_match(&[1, 2, 3]), None);
        assert_eq!(longest_match(&[]), None);
    }

    #[test]
    fn what_followed_before_is_guessed() {
        let mut lookup = Lookup::default();
        let text: Vec<Token> = (0..20).chain(3..13).collect();
        assert_eq!(lookup.guess(&text, 4, 0.1).tokens, [13, 14, 15, 16]);
        let again: Vec<Token> = [1, 2].repeat(10);
        assert_eq!(lookup.guess(&again, 5, 0.1).tokens, [1, 2, 1, 2, 1]);
        assert!(lookup.guess(&text, 0, 0.1).tokens.is_empty());
    }

    #[test]
    fn bad_guesses_are_given_up_and_tried_again_later() {
        let mut lookup = Lookup::default();
        let text: Vec<Token> = (0..20).chain(0..10).collect();
        let mut made = 0;
        for _ in 0..100 {
            let guess = lookup.guess(&text, MOST, 0.3);
            made += usize::from(!guess.tokens.is_empty());
            lookup.learn(&guess, guess.tokens.len(), 0);
        }
        assert!((2..40).contains(&made), "{made} of 100");
        let guess = lookup.guess(&text, MOST, 0.3);
        lookup.learn(&guess, MOST, MOST);
        lookup.learn(&guess, MOST, MOST);
        assert!(lookup.guess(&text, MOST, 0.3).tokens.len() > 2);
    }

    #[test]
    fn costly_rows_are_not_guessed_for() {
        assert_eq!(worthwhile(0.5, MOST, 0.9), 0);
        assert_eq!(worthwhile(0.99, MOST, 0.1), MOST);
        assert!((1..6).contains(&worthwhile(0.7, MOST, 0.2)));
    }

    proptest! {
        #[test]
        fn a_guess_is_never_longer_than_asked(tokens in prop::collection::vec(0u32..4, 0..60), most in 0usize..20, row in 0.01f32..2.0) {
            let guess = Lookup::default().guess(&tokens, most, row);
            prop_assert!(guess.tokens.len() <= most.min(MOST));
            prop_assert!(guess.tokens.iter().all(|t| tokens.contains(t)));
        }
    }
}
