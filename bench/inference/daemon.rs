//! What the daemon adds to the engine, and what its cache and its guesses save: the whole way over the socket.

use crate::own::Own;
use crate::support::Daemon;
use crate::{Error, median};
use hadada_inference::worker::backend::KV_BLOCK;
use hadada_inference::worker::gguf::Gguf;
use hadada_inference::worker::model::config::ModelConfig;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

const PROMPT: usize = 1000;
const ANSWER: usize = 256;

/// Invented notes, as they are jotted down.
const NOTES: [&str; 4] = [
    "Pt reports R knee pain for 3 weeks, worse on stairs, 6/10 at worst, 2/10 at rest. No locking, no giving way. Knee flexion \
     110 degrees, extension full. Quads 4/5. Home programme: squats to 60 degrees, 3 sets of 10, daily. Review in 2 weeks.",
    "LBP 5 days after lifting a washing machine. 7/10 bending, 3/10 lying. No leg pain, no pins and needles, bladder and bowel \
     normal. Lumbar flexion to mid shin, extension half. SLR 80 both. Heat, walking 10 min twice daily, back to work Monday.",
    "L shoulder, 6 weeks after a fall at netball. Sleeps badly on that side. Abduction 95 active, 140 passive, painful arc. \
     Empty can positive, drop arm negative. Isometric external rotation 5 x 30 s daily, no overhead work. Sonar if no better by 3 Dec.",
    "Follow-up, R ankle inversion sprain, day 12. Swelling less, 2/10 walking, 4/10 jogging. Dorsiflexion 12 cm wall test, other \
     side 14. Single leg stance 25 s. Started hopping, 3 x 8. Brace for matches until January. Discharge next time if no swelling.",
];

/// A prompt of its own for each `seed`, so that nothing of it is in the cache.
fn prompt(length: usize, seed: usize) -> Vec<u32> {
    (0..length)
        .map(|i| ((i * 7919 + seed * 104_729 + 17) % 40_000) as u32)
        .collect()
}

fn first_token(daemon: &Daemon, prompt: &[u32]) -> f64 {
    let body = json!({"prompt": prompt, "max_tokens": 1, "temperature": 0, "ignore_eos": true, "stream": true, "return_token_ids": true});
    let start = Instant::now();
    let mut events = daemon.events("/v1/completions", &body);
    let found = events.any(|(_, data)| data.contains("token_ids"));
    assert!(found, "a stream without a token");
    start.elapsed().as_secs_f64()
}

/// Tokens a second of an answer that is read as it is written, from its first token to its last.
fn streamed(daemon: &Daemon, body: &Value) -> Result<f64, Error> {
    let mut body = body.clone();
    body["stream"] = true.into();
    body["return_token_ids"] = true.into();
    let (mut tokens, mut first, mut last) = (0_usize, None, None);
    for (_, data) in daemon.events("/v1/completions", &body) {
        let Ok(event) = serde_json::from_str::<Value>(&data) else {
            continue;
        };
        let ids = event["choices"][0]["token_ids"]
            .as_array()
            .map_or(0, Vec::len);
        if ids > 0 {
            let now = Instant::now();
            // What came with the first token was written before the time began.
            tokens += if first.is_some() { ids } else { 0 };
            first.get_or_insert(now);
            last = Some(now);
        }
    }
    let (first, last) = first.zip(last).ok_or("a stream without a token")?;
    Ok(tokens as f64 / (last - first).as_secs_f64())
}

/// Tokens a second of an answer, asking and reading the prompt included.
fn written(daemon: &Daemon, path: &str, body: &Value) -> Result<f64, Error> {
    let start = Instant::now();
    let reply = daemon.post(path, body).ok();
    let tokens = reply["usage"]["completion_tokens"].as_f64();
    Ok(tokens.ok_or("an answer without its count of tokens")? / start.elapsed().as_secs_f64())
}

fn bytes_of(health: &Value, model: &str) -> Result<f64, Error> {
    let bytes = health[model]["bytes"].as_f64();
    Ok(bytes.ok_or_else(|| format!("/health doesn't say how large the {model} is"))?)
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> Result<f64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .ok_or("no VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024.0)
}

fn row(name: &str, value: f64, aim: &str) -> Value {
    println!("{name:<52} {value:>9.2}   aim {aim}");
    json!({"name": name, "value": value, "aim": aim})
}

/// Measures all of it.
pub fn measure(model: &Path, threads: usize, rounds: usize) -> Result<Vec<Value>, Error> {
    let mut rows = Vec::new();
    let plain = Daemon::ready_with(&["--no-speculation"]);
    let guessing = Daemon::ready();

    let mut shares = Vec::new();
    for round in 0..rounds {
        let prompt = prompt(PROMPT, round + 1);
        let cold = first_token(&plain, &prompt);
        shares.push(first_token(&plain, &prompt) / cold);
    }
    rows.push(row(
        "first token, 1,000 cached tokens, of uncached",
        median(shares),
        "≤ 0.15",
    ));

    let mut own = Own::load(model, threads)?;
    let (mut whole, mut along) = (Vec::new(), Vec::new());
    let body = json!({"prompt": prompt(64, 0), "max_tokens": ANSWER, "temperature": 0, "ignore_eos": true});
    for _ in 0..rounds {
        // The first time reads the prompt: from then on all of its blocks but the last are in the cache.
        written(&plain, "/v1/completions", &body)?;
        let daemon = written(&plain, "/v1/completions", &body)?;
        whole.push(1.0 - daemon / own.answer(ANSWER, 64 - KV_BLOCK)?);
        let stream = streamed(&plain, &body)?;
        along.push(1.0 - stream / own.decode(ANSWER)?);
    }
    rows.push(row(
        "front and sockets, share of tokens a second",
        median(whole),
        "≤ 0.03",
    ));
    rows.push(row(
        "the same where a client reads along",
        median(along),
        "≤ 0.03",
    ));
    drop(own);

    // The model answers as it does: what it repeats of the note is its own choice.
    let mut gains = Vec::new();
    let mut least = f64::INFINITY;
    for note in NOTES {
        let ask = format!("Rewrite this note in full sentences. Keep every fact.\n\n{note}");
        let body = json!({"messages": [{"role": "user", "content": ask}], "max_tokens": ANSWER, "temperature": 0});
        let chat = "/v1/chat/completions";
        written(&guessing, chat, &body)?;
        written(&plain, chat, &body)?;
        let mut of_note = Vec::new();
        for _ in 0..rounds {
            of_note.push(written(&guessing, chat, &body)? / written(&plain, chat, &body)?);
        }
        least = least.min(median(of_note.clone()));
        gains.extend(of_note);
    }
    rows.push(row(
        "prompt lookup on note rewriting, times faster",
        median(gains),
        "≥ 1.8",
    ));
    rows.push(row("the same, the least of the notes", least, "–"));

    // Keys and values take their memory as they are used: all of them are, before it is counted.
    let health = plain.health();
    let cache = health["cache_tokens"].as_u64();
    let cache = cache.ok_or("/health doesn't say how many tokens the cache holds")?;
    for seed in 0..cache.div_ceil(PROMPT as u64) {
        first_token(&plain, &prompt(PROMPT, 1_000_000 + seed as usize));
    }
    let keys_and_values = cache as f64 * ModelConfig::read(&Gguf::open(model)?)?.kv_bytes() as f64;
    let extra = resident(plain.worker())?
        - bytes_of(&health, "model")?
        - bytes_of(&health, "embedding_model")?
        - keys_and_values;
    rows.push(row(
        "worker's memory beyond weights, keys and values, MB",
        extra / 1e6,
        "≤ 100",
    ));
    Ok(rows)
}
