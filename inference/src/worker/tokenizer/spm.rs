//! SentencePiece vocabularies, as Llama 2, Code Llama and Mistral have them: neighbours whose union has the best score
//! are joined first, and what no token covers is written byte by byte.

use hadada_inference_protocol::Token;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// How a space is written in the vocabulary.
pub const SPACE: &str = "\u{2581}";

/// A vocabulary with scores.
pub struct Spm {
    tokens: HashMap<String, (Token, f32)>,
    bytes: Box<[Token; 256]>,
}

/// A stretch of the text; joined ones become empty.
struct Symbol {
    start: usize,
    end: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that could be joined.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Spm {
    /// A vocabulary of texts with their tokens and scores, and the tokens of the 256 bytes.
    pub fn new(mut tokens: HashMap<String, (Token, f32)>, bytes: Box<[Token; 256]>) -> Spm {
        // A negative nought would be less than nought in the order of pairs.
        tokens.values_mut().for_each(|(_, score)| *score += 0.0);
        Spm { tokens, bytes }
    }

    /// Adds the tokens of a text.
    pub fn encode(&self, text: &str, out: &mut Vec<Token>) {
        let text = text.replace(' ', SPACE);
        let count = text.chars().count();
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, char))| Symbol {
                start,
                end: start + char.len_utf8(),
                before: i.checked_sub(1),
                after: Some(i + 1).filter(|&n| n < count),
            })
            .collect();
        let mut pairs = BinaryHeap::new();
        let consider = |symbols: &[Symbol],
                        left: Option<usize>,
                        right: Option<usize>,
                        pairs: &mut BinaryHeap<Pair>| {
            if let (Some(left), Some(right)) = (left, right) {
                let union = &text[symbols[left].start..symbols[right].end];
                if let Some(&(_, score)) = self.tokens.get(union) {
                    let length = union.len();
                    pairs.push(Pair {
                        score,
                        left,
                        right,
                        length,
                    });
                }
            }
        };
        for right in 1..symbols.len() {
            consider(&symbols, Some(right - 1), Some(right), &mut pairs);
        }
        while let Some(Pair {
            left,
            right,
            length,
            ..
        }) = pairs.pop()
        {
            let size = |symbol: &Symbol| symbol.end - symbol.start;
            let (l, r) = (&symbols[left], &symbols[right]);
            // A pair is out of date when one of its sides was joined meanwhile.
            if size(l) == 0 || size(r) == 0 || size(l) + size(r) != length {
                continue;
            }
            let (end, after) = (r.end, r.after);
            symbols[right].start = end;
            symbols[left].end = end;
            symbols[left].after = after;
            if let Some(after) = after {
                symbols[after].before = Some(left);
            }
            consider(&symbols, symbols[left].before, Some(left), &mut pairs);
            consider(&symbols, Some(left), after, &mut pairs);
        }
        let mut at = (!symbols.is_empty()).then_some(0);
        while let Some(i) = at {
            let piece = &text[symbols[i].start..symbols[i].end];
            match self.tokens.get(piece) {
                Some(&(token, _)) => out.push(token),
                None => out.extend(piece.bytes().map(|b| self.bytes[usize::from(b)])),
            }
            at = symbols[i].after;
        }
    }
}
