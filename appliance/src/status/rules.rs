//! When a fact about the box is fine, needs a look, or needs help. Pure.

use std::net::IpAddr;

pub(super) use crate::watch::{Standing, bytes_text, certificate, disk, sealing, span_text};

/// What computes the drafts, in plain words.
pub(super) fn device(name: &str) -> &str {
    match name {
        "cpu" => "processor",
        "cuda" | "gpu" => "graphics card",
        other => other,
    }
}

/// The drafting service, in words for whoever waits for a draft. Nothing about it is ever worse than a warning: the clinic
/// works on without it.
pub(super) fn drafting(state: &str) -> (Standing, &'static str) {
    match state {
        "ready" => (Standing::Good, "Ready"),
        "degraded" => (Standing::Warn, "Slower than usual"),
        "starting" => (Standing::Warn, "Starting"),
        _ => (Standing::Warn, "Not running: write notes yourself"),
    }
}

/// The graphics card. Nothing about it is worse than a warning: the processor takes over.
pub(super) fn graphics_card(state: &str) -> (Standing, &'static str) {
    match state {
        "healthy" => (Standing::Good, "Well"),
        "hot" => (Standing::Warn, "Hot"),
        "degraded" => (Standing::Warn, "Has faults"),
        _ => (Standing::Warn, "Dropped out"),
    }
}

/// Whether a peer is this machine itself.
pub(super) fn is_loopback(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for (peer, here) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.168.1.20", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(peer.parse().unwrap()), here, "{peer}");
        }
    }
}
