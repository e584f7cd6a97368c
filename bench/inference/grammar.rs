//! Ten thousand notes under a grammar at temperature 1.5: each must be whole, not empty, and cite only what exists.
//! `bench/run grammar [--count N] [--first N] [--parallel N]`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench may stop anywhere"
)]

#[path = "../../tests/inference/notes.rs"]
mod notes;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/inference/support.rs"]
mod support;

use clap::Parser;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

#[derive(Parser)]
struct Options {
    /// Notes to write.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// The number of the first, which is its seed too.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Requests at the same time.
    #[arg(long, default_value_t = 16)]
    parallel: usize,
    /// Folder of grammar.json.
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Enough room for every note, and so little that most have to be brought to an end.
const ROOM: [(&str, usize); 2] = [("enough room", 512), ("room for 56 tokens", 56)];

#[derive(Default)]
struct Tally {
    stopped: AtomicUsize,
    shortened: AtomicUsize,
    tokens: AtomicUsize,
    speculated: AtomicUsize,
    accepted: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Tally {
    fn count(&self, i: usize, reply: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or_default() as usize;
        match reply["choices"][0]["finish_reason"].as_str() {
            Some("stop") => &self.stopped,
            _ => &self.shortened,
        }
        .fetch_add(1, Relaxed);
        let usage = &reply["usage"];
        let details = &usage["completion_tokens_details"];
        self.tokens
            .fetch_add(number(&usage["completion_tokens"]), Relaxed);
        self.speculated
            .fetch_add(number(&details["speculated_tokens"]), Relaxed);
        self.accepted
            .fetch_add(number(&details["accepted_tokens"]), Relaxed);
        self.faults.lock().unwrap().extend(notes::fault(i, reply));
    }
}

/// The answer; on a machine so busy that the worker was taken for dead, it is asked for again.
fn ask(daemon: &support::Daemon, request: &Value) -> Value {
    loop {
        let reply = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            daemon.post("/v1/chat/completions", request)
        }));
        match reply {
            Ok(reply) if reply.status == 200 => return reply.json(),
            Ok(reply) if reply.status != 503 => panic!("{}", reply.body),
            _ => eprintln!("the daemon was too busy to answer; asked again"),
        }
    }
}

fn main() {
    let options = Options::parse();
    let daemon = support::Daemon::ready_with(&["--queue", "64"]);
    let mut results = Vec::new();
    let mut failed = false;
    println!(
        "{:20} {:>7} {:>7} {:>9} {:>7} {:>9} {:>9} {:>8}",
        "", "notes", "stopped", "shortened", "faults", "tokens", "accepted", "tokens/s"
    );
    for ((name, room), count) in ROOM.into_iter().zip([options.count, options.count / 10]) {
        let (next, tally) = (AtomicUsize::new(options.first), Tally::default());
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..options.parallel {
                scope.spawn(|| {
                    loop {
                        let i = next.fetch_add(1, Relaxed);
                        if i >= options.first + count {
                            break;
                        }
                        tally.count(i, &ask(&daemon, &notes::request(i, room)));
                    }
                });
            }
        });
        let seconds = began.elapsed().as_secs_f64();
        let [stopped, shortened, tokens, accepted] = [
            &tally.stopped,
            &tally.shortened,
            &tally.tokens,
            &tally.accepted,
        ]
        .map(|n| n.load(Relaxed));
        let faults = tally.faults.into_inner().unwrap();
        let speed = tokens as f64 / seconds;
        println!(
            "{name:20} {count:7} {stopped:7} {shortened:9} {:7} {tokens:9} {accepted:9} {speed:8.0}",
            faults.len()
        );
        faults
            .iter()
            .take(10)
            .for_each(|fault| println!("  {fault}"));
        // Where there is room, a note ends because it is complete.
        failed |= !faults.is_empty() || (room == ROOM[0].1 && shortened > 0);
        results.push(json!({
            "room": room, "notes": count, "stopped": stopped, "shortened": shortened, "faults": faults.len(),
            "tokens": tokens, "accepted": accepted, "seconds": seconds,
        }));
    }
    std::fs::create_dir_all(&options.out).unwrap();
    let text = serde_json::to_string_pretty(&results).unwrap();
    std::fs::write(options.out.join("grammar.json"), text).unwrap();
    drop(daemon);
    std::process::exit(i32::from(failed));
}
