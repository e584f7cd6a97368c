//! Counting requests, and `/metrics` for Prometheus.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::facts::Facts;
use super::rules;
use crate::error::{Error, Result};
use crate::web::{App, Permission, Session, token_hash};

const REQUESTS: &str = "hadada_http_requests_total";
const DURATION: &str = "hadada_http_request_duration_seconds";
/// Upper bounds in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting, once a process.
pub(super) fn install() {
    RECORDER.get_or_init(|| {
        // Only an empty list of bounds is refused, and this one is not.
        let builder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder counts already; /metrics stays empty");
        }
        describe_counter!(REQUESTS, "Requests by method, route and status.");
        describe_histogram!(
            DURATION,
            "Seconds from a request to the head of its response, by route."
        );
        describe_gauge!(
            "hadada_database_connections",
            "Connections of this program by pool and state."
        );
        describe_gauge!("hadada_database_up", "1 when the records database answers.");
        describe_gauge!(
            "hadada_audit_unsealed",
            "Audit events that wait for their seal."
        );
        describe_gauge!(
            "hadada_audit_refused",
            "1 when nothing is sealed, because the log was tampered with."
        );
        describe_gauge!("hadada_audit_sealed", "Audit events under a seal.");
        describe_gauge!(
            "hadada_inference_state",
            "1 for the state the drafting service is in."
        );
        describe_gauge!("hadada_inference_queue_depth", "Drafts waiting.");
        describe_gauge!(
            "hadada_inference_restarts",
            "Restarts of the model's worker."
        );
        describe_gauge!(
            "hadada_report_state",
            "What the box's commands reported, by kind: 0 good, 1 needs a look, 2 needs help."
        );
        describe_gauge!("hadada_report_age_seconds", "Age of a report, by kind.");
        describe_gauge!("hadada_alerts_open", "Alerts that are not over.");
        describe_gauge!(
            "hadada_remote_access_open",
            "1 while remote access is open."
        );
        describe_gauge!(
            "hadada_outbox_messages",
            "Messages that wait, and those given up in a week."
        );
        describe_gauge!("hadada_resident_bytes", "Memory of this program.");
        describe_gauge!("hadada_disk_free_bytes", "Free space by mount point.");
        describe_gauge!(
            "hadada_certificate_end_seconds",
            "When the certificate in use ends, seconds since 1970."
        );
        handle
    });
}

/// Empties the histograms' buffers from time to time, so that they do not grow where nobody asks for metrics.
pub async fn upkeep(stop: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            _ = ticks.tick() => if let Some(recorder) = RECORDER.get() { recorder.run_upkeep() },
            () = stop.cancelled() => return,
        }
    }
}

/// Counts a request and times it. Routes are named by their pattern, so that no id becomes a label.
pub async fn measure(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = match *request.method() {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::DELETE => "DELETE",
        _ => "other",
    };
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |p| p.as_str().to_owned());
    let response = next.run(request).await;
    counter!(REQUESTS, "method" => method, "route" => route.clone(), "status" => response.status().as_u16().to_string()).increment(1);
    histogram!(DURATION, "route" => route).record(start.elapsed().as_secs_f64());
    response
}

/// `GET /metrics`: for this machine itself, or for an admin's token with the scope `admin`.
pub(super) async fn metrics(
    State(app): State<App>,
    session: Option<Session>,
    request: Request,
) -> Result<Response> {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|c| c.0.ip());
    if !peer.is_some_and(rules::is_loopback) && !has_token(&app, request.headers()).await {
        session
            .ok_or(Error::Unauthenticated)?
            .require(Permission::ViewBox)?;
    }
    let facts = Facts::gather(&app).await;
    gauge(&facts, app.clock.now());
    let text = RECORDER
        .get()
        .map(PrometheusHandle::render)
        .unwrap_or_default();
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response())
}

/// Whether the request carries the token that the configuration names a file for. Hashes are compared, so that the time it takes
/// tells nothing.
async fn has_token(app: &App, headers: &http::HeaderMap) -> bool {
    let Some(path) = &app.config.metrics_token else {
        return false;
    };
    let Ok(token) = tokio::fs::read_to_string(path).await else {
        tracing::warn!(path = %path.display(), "the token for /metrics can't be read");
        return false;
    };
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    let token = token.trim();
    !token.is_empty() && sent.is_some_and(|sent| token_hash(sent) == token_hash(token))
}

fn gauge(facts: &Facts, now: time::OffsetDateTime) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus knows only floats; counts and bytes stay below 2^53"
    )]
    let set = |name: &'static str, labels: &[(&'static str, String)], value: u64| {
        gauge!(name, labels).set(value as f64)
    };
    for (pool, size, idle) in facts.pools {
        let idle = u64::try_from(idle).unwrap_or_default();
        set(
            "hadada_database_connections",
            &[("pool", pool.into()), ("state", "idle".into())],
            idle,
        );
        set(
            "hadada_database_connections",
            &[("pool", pool.into()), ("state", "busy".into())],
            u64::from(size).saturating_sub(idle),
        );
    }
    set(
        "hadada_database_up",
        &[],
        u64::from(facts.database.is_some()),
    );
    if let Some(audit) = &facts.audit {
        set(
            "hadada_audit_sealed",
            &[],
            u64::try_from(audit.sealed).unwrap_or_default(),
        );
        set(
            "hadada_audit_unsealed",
            &[],
            u64::try_from(audit.unsealed).unwrap_or_default(),
        );
        set(
            "hadada_audit_refused",
            &[],
            u64::from(audit.refusal.is_some()),
        );
    }
    for state in ["starting", "ready", "degraded", "down"] {
        set(
            "hadada_inference_state",
            &[("state", state.into())],
            u64::from(facts.inference.state == state),
        );
    }
    set(
        "hadada_inference_queue_depth",
        &[],
        facts.inference.queue_depth,
    );
    set("hadada_inference_restarts", &[], facts.inference.restarts);
    set("hadada_resident_bytes", &[], facts.process.memory);
    for disk in &facts.disks {
        set(
            "hadada_disk_free_bytes",
            &[("mount", disk.disk.mount.clone())],
            disk.disk.free,
        );
    }
    for (kind, standing, ..) in &facts.judged {
        set(
            "hadada_report_state",
            &[("kind", kind.clone())],
            *standing as u64,
        );
    }
    for report in &facts.reports.read {
        set(
            "hadada_report_age_seconds",
            &[("kind", report.kind.clone())],
            u64::try_from((now - report.at).whole_seconds()).unwrap_or_default(),
        );
    }
    set(
        "hadada_alerts_open",
        &[],
        u64::try_from(facts.alerts.len()).unwrap_or_default(),
    );
    set(
        "hadada_remote_access_open",
        &[],
        u64::from(facts.remote.is_some()),
    );
    if let Some((waiting, failed, _)) = facts.outbox {
        for (state, count) in [("queued", waiting), ("failed", failed)] {
            set(
                "hadada_outbox_messages",
                &[("state", state.into())],
                u64::try_from(count).unwrap_or_default(),
            );
        }
    }
    if let Some(end) = facts.certificate {
        set(
            "hadada_certificate_end_seconds",
            &[],
            u64::try_from(end.unix_timestamp()).unwrap_or_default(),
        );
    }
}
