//! The drafting bench: how well the shipped sorter and checker do on data that anyone brings.
//!
//! `--data FILE` (MTS-Dialog CSV or ACI-BENCH JSON; may be repeated) writes `drafting.json`;
//! `--pairs FILE` (JSON lines `{id, sentence, sources}`) writes `pairs.jsonl` with the checker's flags.

mod data;
mod mutate;

use data::Case;
use hadada::drafting::{check, statements};
use mutate::{CLASSES, Class, Rng};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

type Error = Box<dyn std::error::Error>;

const SEED: u64 = 20_261_122;
/// Statements that the retrieval step cites for a sentence.
const CITED: usize = 6;
/// At most this many changed copies of one sentence for a class.
const PER_SENTENCE: usize = 2;

#[derive(Default)]
struct Args {
    data: Vec<PathBuf>,
    pairs: Option<PathBuf>,
    socket: Option<PathBuf>,
    out: PathBuf,
    show: Option<String>,
}

fn main() -> Result<(), Error> {
    let mut args = Args { out: "bench/results".into(), ..Args::default() };
    let mut given = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(flag) = given.next() {
        let mut value = || given.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--data" => args.data.push(value()?.into()),
            "--pairs" => args.pairs = Some(value()?.into()),
            "--socket" => args.socket = Some(value()?.into()),
            "--out" => args.out = value()?.into(),
            "--show" => args.show = Some(value()?),
            other => return Err(format!("unknown option {other}; use --data FILE, --pairs FILE, --socket PATH, --out DIR, --show CLASS").into()),
        }
    }
    let mut cases = Vec::new();
    for path in &args.data {
        cases.extend(data::load(path).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    checker(&cases, args.show.as_deref());
    Ok(())
}

/// Counts of one class in one setting.
#[derive(Default, Clone, Copy)]
struct Count {
    flagged: usize,
    of: usize,
}

fn checker(cases: &[Case], show: Option<&str>) {
    let drugs = check::generic_names();
    let mut rng = Rng(SEED);
    for cited in [false, true] {
        let mut rng = Rng(rng.next());
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for case in cases {
            let found = statements::split(&case.dialogue).unwrap_or_default();
            let texts: Vec<&str> = found.iter().map(|s| s.text.as_str()).collect();
            let index = Lexical::new(&texts);
            for (sentence, _) in &case.sentences {
                let sources = |s: &str| -> Vec<&str> { if cited { index.best(s, CITED).into_iter().map(|i| texts[i]).collect() } else { vec![case.dialogue.as_str()] } };
                let flags = check::check(sentence, &sources(sentence));
                let c = counts.entry("unchanged".into()).or_default();
                c.of += 1;
                c.flagged += usize::from(!flags.is_empty());
                for f in &flags {
                    *kinds.entry(f.kind.name()).or_default() += 1;
                }
                let setting = if cited { "cited" } else { "whole" };
                for f in &flags {
                    if show == Some(f.kind.name()) || show == Some("unchanged") {
                        println!("FA {setting} {} {:?} {sentence}", f.kind.name(), f.words);
                    }
                }
                for class in CLASSES {
                    let mut seen = HashSet::new();
                    for _ in 0..PER_SENTENCE {
                        let Some(changed) = mutate::mutate(class, sentence, &case.dialogue, &drugs, &mut rng) else { break };
                        if !seen.insert(changed.clone()) {
                            continue;
                        }
                        let flags = check::check(&changed, &sources(&changed));
                        let c = counts.entry(format!("{class:?}")).or_default();
                        c.of += 1;
                        c.flagged += usize::from(!flags.is_empty());
                        if flags.is_empty() && show == Some(&format!("{class:?}")) {
                            println!("MISS {setting} {class:?} {changed}  <- {sentence}");
                        }
                    }
                }
            }
        }
        println!("== {}", if cited { "only cited statements" } else { "whole dialogue" });
        for (name, c) in &counts {
            println!("{name:12} {:5} of {:5}  {:.1} %", c.flagged, c.of, 100.0 * c.flagged as f64 / c.of as f64);
        }
        println!("{kinds:?}");
    }
    let _: Option<Class> = None;
}

/// Retrieval by shared words, rare ones counting more.
struct Lexical {
    docs: Vec<HashSet<String>>,
    idf: HashMap<String, f64>,
}

impl Lexical {
    fn new(texts: &[&str]) -> Self {
        let docs: Vec<HashSet<String>> = texts.iter().map(|t| check::content_stems(t)).collect();
        let mut df: HashMap<String, f64> = HashMap::new();
        for d in &docs {
            for w in d {
                *df.entry(w.clone()).or_default() += 1.0;
            }
        }
        let n = docs.len() as f64;
        Lexical { idf: df.into_iter().map(|(w, c)| (w, ((n + 1.0) / c).ln())).collect(), docs }
    }

    fn best(&self, sentence: &str, k: usize) -> Vec<usize> {
        let want = check::content_stems(sentence);
        let mut scored: Vec<(f64, usize)> = self.docs.iter().enumerate().map(|(i, d)| (want.iter().filter(|w| d.contains(*w)).map(|w| self.idf[w]).sum::<f64>(), i)).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut out: Vec<usize> = scored.into_iter().take(k).filter(|s| s.0 > 0.0).map(|s| s.1).collect();
        out.sort_unstable();
        out
    }
}
