//! What the daemon adds to the engine, and what its cache and its guesses save: the whole way over the socket.

use crate::own::Own;
use crate::support::Daemon;
use crate::{Error, median};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

const PROMPT: usize = 1000;
const ANSWER: usize = 256;

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

fn written(daemon: &Daemon, body: &Value) -> f64 {
    let start = Instant::now();
    let reply = daemon.post("/v1/completions", body).ok();
    let tokens = reply["usage"]["completion_tokens"].as_f64().unwrap_or(0.0);
    tokens / start.elapsed().as_secs_f64()
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
    let mut costs = Vec::new();
    let body = json!({"prompt": prompt(64, 0), "max_tokens": ANSWER, "temperature": 0, "ignore_eos": true});
    for _ in 0..rounds {
        // The first time reads the prompt; what is compared is writing.
        written(&plain, &body);
        let daemon = written(&plain, &body);
        costs.push(1.0 - daemon / own.decode(ANSWER)?);
    }
    rows.push(row(
        "front and sockets, share of tokens a second",
        median(costs),
        "≤ 0.03",
    ));
    drop(own);

    // Rewriting: the answer repeats long parts of the prompt.
    let note = "Pt reports R knee pain for 3 weeks, worse on stairs, 6/10 at worst, 2/10 at rest. No locking, no giving way. \
        Knee flexion 110 degrees, extension full. Quads 4/5. Home programme: squats to 60 degrees, 3 sets of 10, daily. Review in 2 weeks.";
    let text = format!(
        "<|im_start|>user\nRepeat this note word for word:\n{note}\n{note}<|im_end|>\n<|im_start|>assistant\n{note}\n"
    );
    let body = json!({"prompt": text, "max_tokens": 120, "temperature": 0, "ignore_eos": true});
    let mut gains = Vec::new();
    for _ in 0..rounds {
        gains.push(written(&guessing, &body) / written(&plain, &body));
    }
    rows.push(row(
        "prompt lookup on note rewriting, times faster",
        median(gains),
        "≥ 1.8",
    ));

    let health = plain.health();
    let tokens = health["cache_tokens"].as_f64().unwrap_or(16_384.0);
    let weights = std::fs::metadata(model)?.len() as f64;
    let embedding = health["embedding_model"]["bytes"].as_f64().unwrap_or(0.0);
    // 30 layers, 3 heads of 64, keys and values, two bytes each.
    let keys_and_values = tokens * 30.0 * 2.0 * 192.0 * 2.0;
    let extra = resident(plain.worker())?
        - weights
        - embedding
        - keys_and_values.min((PROMPT * (rounds + 1)) as f64 * 23_040.0);
    rows.push(row(
        "worker's memory beyond weights, keys and values, MB",
        extra / 1e6,
        "≤ 100",
    ));
    Ok(rows)
}
