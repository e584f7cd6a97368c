//! The load bench: many clients for a long time, who cancel, set deadlines and ask for grammars at random. It prints resident
//! sizes over time, how every request ended, and how evenly clients were served; it fails on a leak or a stuck request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench fails by panicking"
)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request that takes longer is stuck.
const STUCK: Duration = Duration::from_secs(120);
/// Growth of the resident size after the first third of the time that is taken for a leak.
const GROWTH: f64 = 0.02;
const SAMPLE_EVERY: Duration = Duration::from_secs(2);

const USAGE: &str = "bench/run inference --load [--seconds 600] [--clients 64]";

/// xorshift64*: a bench needs no better.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Options {
    seconds: u64,
    clients: u64,
    inference: PathBuf,
    models: PathBuf,
    out: PathBuf,
}

fn options() -> Options {
    let mut options = Options {
        seconds: 600,
        clients: 64,
        inference: PathBuf::new(),
        models: PathBuf::from(std::env::var_os("HOME").unwrap_or_default())
            .join(".cache/hadada/models"),
        out: "bench/results".into(),
    };
    // `cargo bench` adds --bench.
    let mut given = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(flag) = given.next() {
        let value = given
            .next()
            .unwrap_or_else(|| fail(&format!("{flag} needs a value\n{USAGE}")));
        let number = || {
            value
                .parse()
                .unwrap_or_else(|_| fail(&format!("{flag}: {value} is no number")))
        };
        match flag.as_str() {
            "--seconds" => options.seconds = number(),
            "--clients" => options.clients = number(),
            "--inference" => options.inference = value.into(),
            "--models" => options.models = value.into(),
            "--out" => options.out = value.into(),
            other => fail(&format!("unknown option {other}\n{USAGE}")),
        }
    }
    options
}

fn fail(message: &str) -> ! {
    eprintln!("bench inference: {message}");
    std::process::exit(1);
}

/// How requests ended, and how much each client got.
#[derive(Default)]
struct Tally {
    ends: Mutex<BTreeMap<String, u64>>,
    served: Mutex<BTreeMap<u64, u64>>,
    latencies: Mutex<Vec<f64>>,
    stuck: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    fn start(options: &Options) -> Daemon {
        let folder = std::env::temp_dir().join(format!("hadada-load-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let child = Command::new(&options.inference)
            .arg("--socket")
            .arg(folder.join("socket"))
            .arg("--model")
            .arg(options.models.join("smollm2-135m-instruct-q4_1.gguf"))
            .arg("--embedding-model")
            .arg(options.models.join("minilm-l6-v2"))
            .env("HADADA_INFERENCE_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| fail(&format!("{}: {e}", options.inference.display())));
        let daemon = Daemon { child, folder };
        let begun = Instant::now();
        while health(&daemon.socket()).is_none_or(|h| h["state"] != "ready") {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "the daemon is not ready"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn open(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(STUCK))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(BufReader::new(stream))
}

fn head(from: &mut impl BufRead) -> std::io::Result<u16> {
    let mut status = 0;
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        if status == 0 {
            status = line
                .split(' ')
                .nth(1)
                .and_then(|s| s.parse().ok())
                .unwrap_or(599);
        }
        if line.trim().is_empty() {
            return Ok(status);
        }
    }
}

fn health(socket: &Path) -> Option<Value> {
    let mut from = open(socket, "GET", "/health", "").ok()?;
    head(&mut from).ok()?;
    let mut body = String::new();
    from.read_to_string(&mut body).ok()?;
    serde_json::from_str(&body).ok()
}

/// One request as a client may make it.
struct Wish {
    body: Value,
    grammar: bool,
    /// Leaves after so many lines of a stream.
    leaves_after: Option<u64>,
}

fn wish(random: &mut Random, client: u64) -> Wish {
    const BEGINNINGS: [&str; 6] = [
        "The patient reports",
        "Range of motion of the left knee",
        "Plan: continue with",
        "Once upon a time there was a physiotherapist who",
        "1. sore shoulder 2. no numbness 3. lifts 5 kg.",
        "Explain in simple words why a sprained ankle swells.",
    ];
    let streaming = random.chance(60);
    let grammar = random.chance(35);
    let system = "You write short clinical notes. Keep every number, unit and side. ".repeat(6);
    let question =
        BEGINNINGS[random.below(6) as usize].to_owned() + &" and".repeat(random.below(40) as usize);
    let mut body = json!({
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
        "max_tokens": 8 + random.below(90), "temperature": random.below(15) as f64 / 10.0, "seed": random.below(1000),
        "stream": streaming, "user": format!("client {client}"),
    });
    if grammar {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["text", "sources"], "properties": {
            "text": {"type": "string", "minLength": 3, "maxLength": 60},
            "sources": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"enum": [1, 2, 3]}}}});
        body["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
        body["max_tokens"] = json!(200);
    }
    if random.chance(15) {
        body["timeout"] = json!((50 + random.below(3000)) as f64 / 1000.0);
    }
    if random.chance(20) {
        body["priority"] = json!("background");
    }
    let leaves_after = random.chance(20).then(|| random.below(30));
    Wish {
        body,
        grammar,
        leaves_after,
    }
}

/// Makes a request; says how it ended.
fn ask(socket: &Path, wish: &Wish, tally: &Tally) -> String {
    let begun = Instant::now();
    let outcome = (|| -> std::io::Result<String> {
        let mut from = open(
            socket,
            "POST",
            "/v1/chat/completions",
            &wish.body.to_string(),
        )?;
        if wish.leaves_after == Some(0) {
            return Ok("left at once".into());
        }
        let status = head(&mut from)?;
        if status != 200 {
            return Ok(format!("status {status}"));
        }
        let streaming = wish.body["stream"] == true;
        let (mut lines, mut text, mut error) = (0, String::new(), String::new());
        for line in from.lines() {
            let line = line?;
            lines += 1;
            if wish.leaves_after.is_some_and(|n| lines > n * 4) {
                return Ok("left in the middle".into());
            }
            let payload = line
                .strip_prefix("data: ")
                .unwrap_or(if streaming { "" } else { &line });
            if let Ok(value) = serde_json::from_str::<Value>(payload) {
                text.push_str(
                    value["choices"][0]["delta"]["content"]
                        .as_str()
                        .unwrap_or_default(),
                );
                text.push_str(
                    value["choices"][0]["message"]["content"]
                        .as_str()
                        .unwrap_or_default(),
                );
                error.push_str(
                    value["error"]["code"]
                        .as_str()
                        .or(value["error"]["message"].as_str())
                        .unwrap_or_default(),
                );
            }
        }
        if !error.is_empty() {
            return Ok(format!("error event {error}"));
        }
        if wish.grammar && serde_json::from_str::<Value>(&text).is_err() {
            tally.wrong.lock().unwrap().push(text);
            return Ok("broken grammar".into());
        }
        Ok("answered".into())
    })();
    let took = begun.elapsed();
    match outcome {
        Ok(end) => {
            if end == "answered" {
                tally.latencies.lock().unwrap().push(took.as_secs_f64());
            }
            end
        }
        Err(error) => {
            if took >= STUCK {
                tally.stuck.fetch_add(1, Relaxed);
            }
            format!("broken connection: {}", error.kind())
        }
    }
}

/// Uses every block of keys and values once: their memory is taken as it is used, and would look like a leak.
fn fill_the_cache(socket: &Path) {
    let tokens = health(socket)
        .and_then(|h| h["model"]["context_length"].as_u64())
        .unwrap();
    for round in 0..3_u64 {
        let prompt: Vec<u64> = (0..tokens - 8)
            .map(|i| 1000 + (i * 31 + round * 7919) % 20_000)
            .collect();
        let body = json!({"prompt": prompt, "max_tokens": 1}).to_string();
        let mut from = open(socket, "POST", "/v1/completions", &body).unwrap();
        assert_eq!(
            head(&mut from).unwrap(),
            200,
            "the cache could not be filled"
        );
        from.read_to_string(&mut String::new()).unwrap();
    }
}

fn resident(pid: u64) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

/// The largest growth of the mean over a tenth of the time, against the mean after the first third.
fn growth(samples: &[f64]) -> f64 {
    let window = (samples.len() / 10).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let start = samples.len() / 3;
    let Some(first) = samples.get(start..start + window) else {
        return 0.0;
    };
    samples[start..]
        .windows(window)
        .map(|part| mean(part) / mean(first) - 1.0)
        .fold(0.0, f64::max)
}

fn main() {
    let options = options();
    let daemon = Daemon::start(&options);
    let socket = daemon.socket();
    fill_the_cache(&socket);
    let front = u64::from(daemon.child.id());
    let worker = health(&socket).unwrap()["worker_pid"].as_u64().unwrap();
    println!(
        "{} clients for {} s; resident MB (front, worker):",
        options.clients, options.seconds
    );
    let tally = Arc::new(Tally::default());
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..options.clients)
        .map(|client| {
            let (tally, over, socket) = (Arc::clone(&tally), Arc::clone(&over), socket.clone());
            std::thread::spawn(move || {
                let mut random = Random(
                    0x9E37_79B9_7F4A_7C15 ^ (client + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9),
                );
                while !over.load(Relaxed) {
                    let wish = wish(&mut random, client);
                    let end = ask(&socket, &wish, &tally);
                    let pause = end == "status 429";
                    if end == "answered" {
                        *tally.served.lock().unwrap().entry(client).or_default() += 1;
                    }
                    *tally.ends.lock().unwrap().entry(end).or_default() += 1;
                    if pause {
                        std::thread::sleep(Duration::from_millis(200 + random.below(300)));
                    }
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let (mut fronts, mut workers) = (Vec::new(), Vec::new());
    let mut slowest_health = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        std::thread::sleep(SAMPLE_EVERY);
        fronts.push(resident(front));
        workers.push(resident(worker));
        let asked = Instant::now();
        let shown = health(&socket);
        slowest_health = slowest_health.max(asked.elapsed());
        assert!(shown.is_some(), "the health page does not answer");
        if fronts.len() % 15 == 0 {
            println!(
                "  {:4} s  {:7.1}  {:7.1}  {:?} waiting, {:?} running",
                begun.elapsed().as_secs(),
                fronts[fronts.len() - 1],
                workers[workers.len() - 1],
                shown.as_ref().map(|h| &h["queue_depth"]),
                shown.as_ref().map(|h| &h["running"])
            );
        }
    }
    over.store(true, Relaxed);
    let ending = Instant::now();
    clients.into_iter().for_each(|c| c.join().unwrap());
    let idle = loop {
        let shown = health(&socket).unwrap();
        if shown["running"] == 0 && shown["queue_depth"] == 0 {
            break true;
        }
        if ending.elapsed() > STUCK {
            break false;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let last = health(&socket).unwrap();

    let served = tally.served.lock().unwrap();
    let counts: Vec<f64> = (0..options.clients)
        .map(|c| served.get(&c).copied().unwrap_or(0) as f64)
        .collect();
    let (sum, squares) = (
        counts.iter().sum::<f64>(),
        counts.iter().map(|c| c * c).sum::<f64>(),
    );
    let jain = sum * sum / (counts.len() as f64 * squares);
    let mut sorted = counts.clone();
    sorted.sort_by(f64::total_cmp);
    let mut latencies = std::mem::take(&mut *tally.latencies.lock().unwrap());
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| {
        latencies
            .get((latencies.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    let (front_growth, worker_growth) = (growth(&fronts), growth(&workers));
    println!("ends of requests:");
    for (end, count) in tally.ends.lock().unwrap().iter() {
        println!("  {count:7}  {end}");
    }
    println!(
        "answered requests of a client: least {}, median {}, most {}; Jain's index {jain:.4}",
        sorted[0],
        sorted[sorted.len() / 2],
        sorted[sorted.len() - 1]
    );
    println!(
        "seconds to a whole answer: median {:.2}, 95 % {:.2}, most {:.2}; slowest health page {:.3} s",
        at(0.5),
        at(0.95),
        latencies.last().copied().unwrap_or(f64::NAN),
        slowest_health.as_secs_f64()
    );
    println!(
        "growth of the resident size after the first third: front {:.2} %, worker {:.2} %",
        front_growth * 100.0,
        worker_growth * 100.0
    );
    let (stuck, restarts) = (
        tally.stuck.load(Relaxed),
        last["restarts"].as_u64().unwrap_or(0),
    );
    let wrong = tally.wrong.lock().unwrap().len();
    println!(
        "stuck requests: {stuck}; left over at the end: {}; restarts of the worker: {restarts}; broken grammars: {wrong}",
        if idle { "none" } else { "some" }
    );
    let report = json!({
        "clients": options.clients, "seconds": options.seconds, "ends": *tally.ends.lock().unwrap(), "jain": jain,
        "latency_median": at(0.5), "latency_95": at(0.95), "front_mb": fronts, "worker_mb": workers,
        "front_growth": front_growth, "worker_growth": worker_growth, "stuck": stuck, "restarts": restarts, "broken_grammars": wrong,
        "slowest_health": slowest_health.as_secs_f64(),
    });
    std::fs::create_dir_all(&options.out).unwrap();
    let path = options.out.join("inference-load.json");
    std::fs::write(&path, serde_json::to_string_pretty(&report).unwrap() + "\n").unwrap();
    println!("wrote {}", path.display());
    drop(daemon);
    let leak = front_growth > GROWTH || worker_growth > GROWTH;
    if leak || stuck > 0 || !idle || restarts > 0 || wrong > 0 {
        fail("there is a leak, a stuck request, a restart or a broken grammar");
    }
}
