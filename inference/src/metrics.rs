//! Numbers: for Prometheus since the start, for the health page of the last requests.

use crate::front::GpuStatus;
use crate::gpu;
use hadada_inference_protocol::Usage;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the duration histograms, in seconds.
const BOUNDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of the histogram of speeds, in tokens a second.
const SPEEDS: [f64; 11] = [
    1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0,
];

/// How many of the last requests the health page goes by.
const RECENT: usize = 100;

/// Counts since the start.
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
    late: AtomicU64,
    turned_away: AtomicU64,
    queue_time: Histogram,
    first_token: Histogram,
    total: Histogram,
    speed: Histogram,
    recent: Mutex<Recent>,
    card: Mutex<Option<GpuStatus>>,
}

/// The last requests.
#[derive(Default)]
struct Recent {
    waits: VecDeque<f64>,
    finished: VecDeque<Usage>,
}

/// What the last requests were like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Requests it is of.
    requests: usize,
    /// Half of them waited no longer than this in the queue, in milliseconds.
    queue_ms: f64,
    /// Half of them had their first token in this time, in milliseconds.
    first_token_ms: f64,
    /// Half of them were written at least as fast.
    tokens_per_second: f64,
    /// Share of their prompts' tokens that were in the cache.
    cache_hits: f64,
    /// Share of the tokens guessed ahead that turned out right.
    speculation_hits: f64,
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Tokens a second after the first one, which reading the prompt delays.
fn speed(usage: &Usage) -> Option<f64> {
    let seconds = f64::from(usage.total_ms - usage.first_token_ms) / 1000.0;
    let tokens = usage.completion_tokens.checked_sub(1).filter(|&n| n > 0)?;
    (seconds > 0.0).then(|| f64::from(tokens) / seconds)
}

struct Histogram {
    bounds: &'static [f64; 11],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    millionths: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::of(&BOUNDS)
    }
}

impl Histogram {
    fn of(bounds: &'static [f64; 11]) -> Histogram {
        Histogram {
            bounds,
            buckets: Default::default(),
            millionths: AtomicU64::new(0),
        }
    }

    fn add(&self, value: f64) {
        let bucket = self
            .bounds
            .iter()
            .position(|&b| value <= b)
            .unwrap_or(self.bounds.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.millionths.fetch_add((value * 1e6) as u64, Relaxed);
    }

    fn print(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(
            self.bounds
                .iter()
                .map(f64::to_string)
                .chain(["+Inf".to_owned()]),
        ) {
            count += bucket.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(
            out,
            "{name}_sum {}\n{name}_count {count}",
            self.millionths.load(Relaxed) as f64 / 1e6
        );
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == RECENT {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            requests: Mutex::default(),
            queued: AtomicU64::new(0),
            running: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
            forced_tokens: AtomicU64::new(0),
            speculated_tokens: AtomicU64::new(0),
            accepted_tokens: AtomicU64::new(0),
            late: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            queue_time: Histogram::default(),
            first_token: Histogram::default(),
            total: Histogram::default(),
            speed: Histogram::of(&SPEEDS),
            recent: Mutex::default(),
            card: Mutex::default(),
        }
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
        self.queue_time.add(waited.as_secs_f64());
        push(&mut self.recent().waits, waited.as_secs_f64() * 1000.0);
    }

    /// Counts a request whose deadline passed.
    pub fn was_late(&self) {
        self.late.fetch_add(1, Relaxed);
    }

    /// Counts a request that found the queue full.
    pub fn was_turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    /// Keeps what is known of the graphics card.
    pub fn card(&self, card: Option<&GpuStatus>) {
        *self.card.lock().unwrap_or_else(PoisonError::into_inner) = card.cloned();
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last requests were like.
    pub fn summary(&self) -> Summary {
        let recent = self.recent();
        let of = |value: fn(&Usage) -> f64| recent.finished.iter().map(value);
        let prompt: f64 = of(|u| u.prompt_tokens.into()).sum();
        let cached: f64 = of(|u| u.cached_tokens.into()).sum();
        Summary {
            requests: recent.finished.len(),
            queue_ms: median(recent.waits.iter().copied().collect()),
            first_token_ms: median(of(|u| u.first_token_ms.into()).collect()),
            tokens_per_second: median(recent.finished.iter().filter_map(speed).collect()),
            cache_hits: share(cached, prompt),
            speculation_hits: share(
                of(|u| u.accepted_tokens.into()).sum(),
                of(|u| u.speculated_tokens.into()).sum(),
            ),
        }
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
        let seconds = |milliseconds: f32| f64::from(milliseconds.max(0.0)) / 1000.0;
        self.first_token.add(seconds(usage.first_token_ms));
        self.total.add(seconds(usage.total_ms));
        if let Some(speed) = speed(usage) {
            self.speed.add(speed);
        }
        push(&mut self.recent().finished, *usage);
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
        one(
            "hadada_inference_late_requests_total",
            "counter",
            "Requests whose deadline passed.",
            &self.late,
        );
        one(
            "hadada_inference_turned_away_requests_total",
            "counter",
            "Requests that found the queue full.",
            &self.turned_away,
        );
        if let Some(card) = self
            .card
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            print_card(&mut out, card);
        }
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
        self.speed.print(
            &mut out,
            "hadada_inference_tokens_per_second",
            "Speed of an answer after its first token.",
        );
        out
    }
}

fn print_card(out: &mut String, card: &GpuStatus) {
    let _ = writeln!(
        out,
        "# HELP hadada_inference_gpu_state 1 for the state the graphics card is in.\n# TYPE hadada_inference_gpu_state gauge"
    );
    for (state, name) in [
        (gpu::State::Healthy, "healthy"),
        (gpu::State::Hot, "hot"),
        (gpu::State::Degraded, "degraded"),
        (gpu::State::Lost, "lost"),
    ] {
        let value = u8::from(card.state == state);
        let _ = writeln!(
            out,
            "hadada_inference_gpu_state{{state=\"{name}\"}} {value}"
        );
    }
    let r = &card.readings;
    let number = |value: Option<u32>| value.map(f64::from);
    let large = |value: Option<u64>| value.map(|v| v as f64);
    let gauges = [
        (
            "serving",
            "1 while the model runs on the card.",
            Some(f64::from(u8::from(card.serving))),
        ),
        ("temperature_celsius", "Temperature.", number(r.temperature)),
        (
            "slowdown_celsius",
            "Temperature at which it slows down.",
            number(r.slowdown_at),
        ),
        ("memory_total_bytes", "Memory.", large(r.memory_total)),
        ("memory_free_bytes", "Free memory.", large(r.memory_free)),
        (
            "utilization_ratio",
            "Share of time in which it computed.",
            number(r.utilization).map(|p| p / 100.0),
        ),
        (
            "power_watts",
            "Power drawn.",
            number(r.power).map(|p| p / 1000.0),
        ),
        (
            "power_limit_watts",
            "Power allowed.",
            number(r.power_limit).map(|p| p / 1000.0),
        ),
        (
            "fan_ratio",
            "Share of the fan's full speed.",
            number(r.fan).map(|p| p / 100.0),
        ),
        (
            "ecc_corrected_errors",
            "Memory errors put right since the driver was loaded.",
            large(r.ecc_corrected),
        ),
        (
            "ecc_uncorrected_errors",
            "Memory errors not put right since the driver was loaded.",
            large(r.ecc_uncorrected),
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            let name = format!("hadada_inference_gpu_{name}");
            let _ = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_of_the_last_requests_only() {
        let metrics = Metrics::default();
        for i in 0..RECENT as u32 * 2 {
            metrics.left_queue(Duration::from_millis(if i < RECENT as u32 {
                900
            } else {
                4
            }));
            metrics.finished(&Usage {
                prompt_tokens: 100,
                cached_tokens: if i < RECENT as u32 { 0 } else { 75 },
                completion_tokens: 21,
                first_token_ms: 50.0,
                total_ms: 150.0,
                ..Usage::default()
            });
        }
        let summary = metrics.summary();
        assert_eq!((summary.requests, summary.cache_hits), (RECENT, 0.75));
        assert!(
            (summary.queue_ms - 4.0).abs() < 1e-9 && (summary.first_token_ms - 50.0).abs() < 1e-3
        );
        assert!(
            (summary.tokens_per_second - 200.0).abs() < 1e-2,
            "{summary:?}"
        );
        let text = metrics.print();
        assert!(
            text.contains("hadada_inference_tokens_per_second_bucket{le=\"160\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("hadada_inference_tokens_per_second_bucket{le=\"320\"} 200\n"),
            "{text}"
        );
        assert!(
            text.contains("hadada_inference_prompt_tokens_total 20000\n"),
            "{text}"
        );
    }
}
