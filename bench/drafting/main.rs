//! The drafting bench: how well the shipped sorter and checker do on data that anyone brings.
//!
//! `--data FILE` (MTS-Dialog CSV or ACI-BENCH JSON; may be repeated) prints tables and writes `drafting.json`.
//! `--pairs FILE` (JSON lines `{id, sentence, sources}`) writes `{id, flags}` lines to `pairs.jsonl`.

mod checking;
mod data;
mod embeddings;
mod mutate;
mod sorting;

use checking::{Figures, Setting};
use embeddings::Daemon;
use hadada::drafting::{check, gate, statements};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

type Error = Box<dyn std::error::Error>;

#[derive(Default)]
struct Args {
    data: Vec<PathBuf>,
    pairs: Option<PathBuf>,
    socket: Option<PathBuf>,
    inference: Option<PathBuf>,
    models: Option<PathBuf>,
    out: PathBuf,
    show: Option<String>,
}

const USAGE: &str = "bench/run drafting --data FILE [--data FILE …]   evaluate sorter and checker on MTS-Dialog CSV or ACI-BENCH JSON
bench/run drafting --pairs FILE                  flag sentences of JSON lines {id, sentence, sources: [text…]}
  --socket PATH      a running hadada-inference; without it, one is started
  --inference FILE   the hadada-inference program to start
  --models DIR       where its models lie (default ~/.cache/hadada/models)
  --out DIR          where results go (default bench/results)
  --show CLASS       print misses (Number, Side, Drug, Date, Negation) or false alarms (number, side, …, unchanged)
  --no-sort          leave the sorter out (needs no daemon)";

fn main() {
    if let Err(error) = run() {
        eprintln!("bench drafting: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Error> {
    let mut args = Args {
        out: "bench/results".into(),
        ..Args::default()
    };
    let mut no_sort = false;
    // `cargo bench` adds --bench.
    let mut given = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(flag) = given.next() {
        let mut value = || given.next().ok_or(format!("{flag} needs a value\n{USAGE}"));
        match flag.as_str() {
            "--data" => args.data.push(value()?.into()),
            "--pairs" => args.pairs = Some(value()?.into()),
            "--socket" => args.socket = Some(value()?.into()),
            "--inference" => args.inference = Some(value()?.into()),
            "--models" => args.models = Some(value()?.into()),
            "--out" => args.out = value()?.into(),
            "--show" => args.show = Some(value()?),
            "--no-sort" => no_sort = true,
            other => return Err(format!("unknown option {other}\n{USAGE}").into()),
        }
    }
    if args.data.is_empty() && args.pairs.is_none() {
        return Err(format!("give --data or --pairs\n{USAGE}").into());
    }
    std::fs::create_dir_all(&args.out)?;
    if let Some(path) = &args.pairs {
        pairs(path, &args.out.join("pairs.jsonl"))?;
    }
    if args.data.is_empty() {
        return Ok(());
    }
    let mut cases = Vec::new();
    for path in &args.data {
        cases.extend(data::load(path).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let sentences: usize = cases.iter().map(|c| c.sentences.len()).sum();
    println!(
        "{} dialogues, {sentences} sentences of their notes",
        cases.len()
    );

    let whole = checking::evaluate(&cases, Setting::Whole, args.show.as_deref());
    let cited = checking::evaluate(&cases, Setting::Cited, args.show.as_deref());
    table(&whole, &cited);
    let mut report = checker_json(&whole, &cited);
    let refused: Vec<&str> = cases
        .iter()
        .filter(|c| !statements::split(&c.dialogue).is_ok_and(|s| gate::is_clinical(&s)))
        .map(|c| c.id.as_str())
        .collect();
    println!(
        "\ngate: {} of {} dialogues refused as off-topic {refused:?}",
        refused.len(),
        cases.len()
    );
    report.insert(
        "gate_refused".into(),
        json!({"refused": refused.len(), "of": cases.len()}),
    );

    if !no_sort {
        let daemon = match (&args.socket, &args.inference) {
            (Some(socket), _) => Daemon::at(socket.clone()),
            (None, Some(program)) => Daemon::start(program, &models(&args)?)?,
            (None, None) => return Err("the sorter needs embeddings: give --socket or --inference, or leave it out with --no-sort".into()),
        };
        let sort = sorting::evaluate(&cases, &daemon)?;
        println!(
            "\nsorter, shipped weights (trained on ACI-BENCH train and valid and MTS-Dialog train: on those files this is a fit, no test; `train.py --cv` cross-validates)"
        );
        println!(
            "  in its place in the note  three classes {:.4} of {}   four classes, macro-F1 {:.4} of {}",
            sort.accuracy_3, sort.sentences, sort.macro_f1_4, sort.labelled_4
        );
        println!(
            "  sentence by itself        three classes {:.4}         four classes, macro-F1 {:.4}",
            sort.alone_accuracy_3, sort.alone_macro_f1_4
        );
        report.insert("sort_accuracy_3".into(), json!(sort.accuracy_3));
        report.insert("sort_macro_f1_4".into(), json!(sort.macro_f1_4));
        report.insert(
            "sort_sentences".into(),
            json!({"three_classes": sort.sentences, "four_classes": sort.labelled_4}),
        );
        report.insert(
            "sort_alone".into(),
            json!({"accuracy_3": sort.alone_accuracy_3, "macro_f1_4": sort.alone_macro_f1_4}),
        );
    }
    let path = args.out.join("drafting.json");
    std::fs::write(
        &path,
        serde_json::to_string_pretty(&Value::Object(report))? + "\n",
    )?;
    println!("\nwrote {}", path.display());
    Ok(())
}

fn models(args: &Args) -> Result<PathBuf, Error> {
    match &args.models {
        Some(dir) => Ok(dir.clone()),
        None => Ok(
            Path::new(&std::env::var_os("HOME").ok_or("HOME is not set; give --models")?)
                .join(".cache/hadada/models"),
        ),
    }
}

fn table(whole: &Figures, cited: &Figures) {
    println!("\nchecker: flagged            whole dialogue          only cited statements");
    let line = |name: &str, a: checking::Count, b: checking::Count| {
        println!(
            "  {name:22} {:5} of {:5} {:6.1} %   {:5} of {:5} {:6.1} %",
            a.flagged,
            a.of,
            100.0 * a.share(),
            b.flagged,
            b.of,
            100.0 * b.share()
        )
    };
    for ((class, a), (_, b)) in whole.classes.iter().zip(&cited.classes) {
        line(&format!("{class:?} changed"), *a, *b);
        if a.of < 100 {
            println!("    (fewer than 100 cases: add a file with --data)");
        }
    }
    line("numbers … dates", whole.mutations(), cited.mutations());
    line("unchanged (alarms)", whole.unchanged, cited.unchanged);
    println!(
        "  alarms by kind: whole {:?}, cited {:?}",
        whole.alarms, cited.alarms
    );
}

/// The figures at the top are the worse of the two settings.
fn checker_json(whole: &Figures, cited: &Figures) -> Map<String, Value> {
    let setting = |f: &Figures| {
        let classes: Map<String, Value> = f
            .classes
            .iter()
            .map(|(c, n)| (format!("{c:?}").to_lowercase(), n.json()))
            .collect();
        json!({"classes": classes, "mutations": f.mutations().json(), "unchanged": f.unchanged.json(), "alarms_by_kind": f.alarms})
    };
    let mut out = Map::new();
    out.insert(
        "mutations_flagged".into(),
        json!(whole.mutations().share().min(cited.mutations().share())),
    );
    out.insert(
        "negations_flagged".into(),
        json!(whole.negations().share().min(cited.negations().share())),
    );
    out.insert(
        "false_alarms".into(),
        json!(whole.unchanged.share().max(cited.unchanged.share())),
    );
    out.insert("uncovered_statements".into(), json!(cited.uncovered));
    out.insert("whole_dialogue".into(), setting(whole));
    out.insert("cited_statements".into(), setting(cited));
    debug_assert!(whole.setting != cited.setting);
    out
}

fn pairs(path: &Path, out: &Path) -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    struct Pair {
        id: Value,
        sentence: String,
        sources: Vec<String>,
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut lines = String::new();
    let (mut n, mut flagged) = (0, 0);
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let pair: Pair = serde_json::from_str(line)
            .map_err(|e| format!("{} line {}: {e}", path.display(), i + 1))?;
        let sources: Vec<&str> = pair.sources.iter().map(String::as_str).collect();
        let flags: Vec<&str> = check::check(&pair.sentence, &sources)
            .iter()
            .map(|f| f.kind.name())
            .collect();
        n += 1;
        flagged += usize::from(!flags.is_empty());
        lines.push_str(&serde_json::to_string(
            &json!({"id": pair.id, "flags": flags}),
        )?);
        lines.push('\n');
    }
    std::fs::write(out, lines)?;
    println!(
        "{flagged} of {n} sentences flagged; wrote {}",
        out.display()
    );
    Ok(())
}
