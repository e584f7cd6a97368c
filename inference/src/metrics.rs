//! Numbers for Prometheus.

use hadada_inference_protocol::Usage;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the duration histograms, in seconds.
const BOUNDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Counts since the start.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Requests waiting now.
    pub queued: AtomicU64,
    /// Requests in the worker now.
    pub running: AtomicU64,
    /// Workers started after the first.
    pub restarts: AtomicU64,
    /// 1 while requests are served.
    pub ready: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    forced_tokens: AtomicU64,
    speculated_tokens: AtomicU64,
    accepted_tokens: AtomicU64,
    queue_time: Histogram,
    first_token: Histogram,
    total: Histogram,
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    fn add(&self, time: Duration) {
        let bucket = BOUNDS
            .iter()
            .position(|&b| time.as_secs_f64() <= b)
            .unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.microseconds
            .fetch_add(time.as_micros() as u64, Relaxed);
    }

    fn print(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut count = 0;
        for (bucket, bound) in self
            .buckets
            .iter()
            .zip(BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]))
        {
            count += bucket.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(
            out,
            "{name}_sum {}\n{name}_count {count}",
            self.microseconds.load(Relaxed) as f64 / 1e6
        );
    }
}

impl Metrics {
    /// Counts an answered HTTP request.
    pub fn answered(&self, route: &'static str, status: u16) {
        *self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((route, status))
            .or_default() += 1;
    }

    /// Counts a request that left the queue.
    pub fn left_queue(&self, waited: Duration) {
        self.queue_time.add(waited);
    }

    /// Counts a finished answer.
    pub fn finished(&self, usage: &Usage) {
        self.prompt_tokens
            .fetch_add(usage.prompt_tokens.into(), Relaxed);
        self.cached_tokens
            .fetch_add(usage.cached_tokens.into(), Relaxed);
        self.completion_tokens
            .fetch_add(usage.completion_tokens.into(), Relaxed);
        self.forced_tokens
            .fetch_add(usage.forced_tokens.into(), Relaxed);
        self.speculated_tokens
            .fetch_add(usage.speculated_tokens.into(), Relaxed);
        self.accepted_tokens
            .fetch_add(usage.accepted_tokens.into(), Relaxed);
        self.first_token.add(Duration::from_secs_f32(
            usage.first_token_ms.max(0.0) / 1000.0,
        ));
        self.total
            .add(Duration::from_secs_f32(usage.total_ms.max(0.0) / 1000.0));
    }

    /// Everything, in Prometheus' text format.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut one = |name: &str, kind: &str, help: &str, value: &AtomicU64| {
            let _ = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}",
                value.load(Relaxed)
            );
        };
        one(
            "hadada_inference_ready",
            "gauge",
            "1 while requests are served.",
            &self.ready,
        );
        one(
            "hadada_inference_queued_requests",
            "gauge",
            "Requests waiting.",
            &self.queued,
        );
        one(
            "hadada_inference_running_requests",
            "gauge",
            "Requests in the worker.",
            &self.running,
        );
        one(
            "hadada_inference_worker_restarts_total",
            "counter",
            "Workers started after the first.",
            &self.restarts,
        );
        one(
            "hadada_inference_prompt_tokens_total",
            "counter",
            "Tokens of prompts.",
            &self.prompt_tokens,
        );
        one(
            "hadada_inference_cached_tokens_total",
            "counter",
            "Tokens of prompts found in the cache.",
            &self.cached_tokens,
        );
        one(
            "hadada_inference_completion_tokens_total",
            "counter",
            "Tokens written.",
            &self.completion_tokens,
        );
        one(
            "hadada_inference_forced_tokens_total",
            "counter",
            "Tokens written that a grammar forced.",
            &self.forced_tokens,
        );
        one(
            "hadada_inference_speculated_tokens_total",
            "counter",
            "Tokens guessed from prompts and computed.",
            &self.speculated_tokens,
        );
        one(
            "hadada_inference_accepted_tokens_total",
            "counter",
            "Guessed tokens that were right.",
            &self.accepted_tokens,
        );
        let _ = writeln!(
            out,
            "# HELP hadada_inference_requests_total Answered requests.\n# TYPE hadada_inference_requests_total counter"
        );
        for ((route, status), count) in self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let _ = writeln!(
                out,
                "hadada_inference_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"
            );
        }
        self.queue_time.print(
            &mut out,
            "hadada_inference_queue_seconds",
            "Time in the queue.",
        );
        self.first_token.print(
            &mut out,
            "hadada_inference_first_token_seconds",
            "From the worker's taking a request to the first token.",
        );
        self.total.print(
            &mut out,
            "hadada_inference_request_seconds",
            "From the worker's taking a request to its end.",
        );
        out
    }
}
