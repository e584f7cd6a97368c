//! How well the shipped checker tells changed sentences from unchanged ones.

use crate::data::Case;
use crate::mutate::{self, CLASSES, Class, Rng};
use hadada::drafting::{check, statements};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

const SEED: u64 = 20_261_122;
/// Statements that the retrieval step cites for a sentence.
const CITED: usize = 8;
/// At most this many changed copies of one sentence for a class.
const PER_SENTENCE: usize = 3;

/// What a sentence is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// All of the dialogue.
    Whole,
    /// The statements that retrieval finds for the sentence.
    Cited,
}

/// How many of a class were flagged.
#[derive(Default, Clone, Copy)]
pub struct Count {
    pub flagged: usize,
    pub of: usize,
}

impl Count {
    fn add(&mut self, flagged: bool) {
        self.of += 1;
        self.flagged += usize::from(flagged);
    }

    pub fn share(self) -> f64 {
        if self.of == 0 {
            f64::NAN
        } else {
            self.flagged as f64 / self.of as f64
        }
    }

    pub fn json(self) -> Value {
        json!({"flagged": self.flagged, "of": self.of, "share": if self.of == 0 { Value::Null } else { json!(self.share()) }})
    }
}

pub struct Figures {
    pub setting: Setting,
    pub unchanged: Count,
    /// Flags of unchanged sentences by kind.
    pub alarms: BTreeMap<&'static str, usize>,
    pub classes: Vec<(Class, Count)>,
    /// Statements of the dialogues that no sentence's retrieval cites.
    pub uncovered: usize,
}

impl Figures {
    /// The four classes of facts together.
    pub fn mutations(&self) -> Count {
        self.classes
            .iter()
            .filter(|(c, _)| *c != Class::Negation)
            .fold(Count::default(), |a, (_, b)| Count {
                flagged: a.flagged + b.flagged,
                of: a.of + b.of,
            })
    }

    pub fn negations(&self) -> Count {
        self.classes
            .iter()
            .find(|(c, _)| *c == Class::Negation)
            .map(|(_, n)| *n)
            .unwrap_or_default()
    }
}

/// Checks every sentence unchanged and changed. `show` prints the misses of a class ("Side"), or the false alarms
/// of a kind ("side") or of all ("unchanged").
pub fn evaluate(cases: &[Case], setting: Setting, show: Option<&str>) -> Figures {
    let drugs = check::generic_names();
    let mut rng = Rng(SEED);
    let mut out = Figures {
        setting,
        unchanged: Count::default(),
        alarms: BTreeMap::new(),
        classes: CLASSES.map(|c| (c, Count::default())).to_vec(),
        uncovered: 0,
    };
    for case in cases {
        let found = match statements::split(&case.dialogue) {
            Ok(found) => found,
            Err(error) => {
                eprintln!("{}: left out: {error}", case.id);
                continue;
            }
        };
        let texts: Vec<&str> = found.iter().map(|s| s.text.as_str()).collect();
        let index = Retrieval::new(&texts);
        let whole = check::Sources::read(&[case.dialogue.as_str()]);
        let mut cited: HashSet<usize> = HashSet::new();
        for (sentence, _) in &case.sentences {
            let flags_of = |s: &str| match setting {
                Setting::Whole => whole.check(s),
                Setting::Cited => {
                    let sources: Vec<&str> = index.best(s).into_iter().map(|i| texts[i]).collect();
                    check::check(s, &sources)
                }
            };
            cited.extend(index.best(sentence));
            let flags = flags_of(sentence);
            out.unchanged.add(!flags.is_empty());
            for flag in &flags {
                *out.alarms.entry(flag.kind.name()).or_default() += 1;
                if show.is_some_and(|s| s == "unchanged" || s == flag.kind.name()) {
                    println!(
                        "alarm {setting:?} {} {} {:?} {sentence}",
                        case.id,
                        flag.kind.name(),
                        flag.words
                    );
                }
            }
            for (class, count) in &mut out.classes {
                let mut seen = HashSet::new();
                for _ in 0..PER_SENTENCE {
                    let Some(changed) =
                        mutate::mutate(*class, sentence, &case.dialogue, &drugs, &mut rng)
                    else {
                        break;
                    };
                    if !seen.insert(changed.clone()) {
                        continue;
                    }
                    let flagged = !flags_of(&changed).is_empty();
                    count.add(flagged);
                    if !flagged && show == Some(&format!("{class:?}")) {
                        println!(
                            "miss {setting:?} {} {class:?} {changed}  <- {sentence}",
                            case.id
                        );
                    }
                }
            }
        }
        out.uncovered += texts.len() - cited.len();
    }
    out
}

/// Retrieval by shared words and figures, rare ones counting more.
struct Retrieval {
    statements: Vec<HashSet<String>>,
    weight: HashMap<String, f64>,
}

impl Retrieval {
    fn new(texts: &[&str]) -> Self {
        let statements: Vec<HashSet<String>> =
            texts.iter().map(|t| check::content_stems(t)).collect();
        let mut count: HashMap<String, f64> = HashMap::new();
        for word in statements.iter().flatten() {
            *count.entry(word.clone()).or_default() += 1.0;
        }
        let n = statements.len() as f64;
        Retrieval {
            weight: count
                .into_iter()
                .map(|(w, c)| (w, ((n + 1.0) / c).ln()))
                .collect(),
            statements,
        }
    }

    /// Places of the best statements, in their order.
    fn best(&self, sentence: &str) -> Vec<usize> {
        let want = check::content_stems(sentence);
        let mut scored: Vec<(f64, usize)> = self
            .statements
            .iter()
            .enumerate()
            .map(|(i, s)| {
                (
                    want.iter()
                        .filter(|w| s.contains(*w))
                        .map(|w| self.weight[w])
                        .sum::<f64>(),
                    i,
                )
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut out: Vec<usize> = scored
            .into_iter()
            .take(CITED)
            .filter(|s| s.0 > 0.0)
            .map(|s| s.1)
            .collect();
        out.sort_unstable();
        out
    }
}
