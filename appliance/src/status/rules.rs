//! When a fact about the box is fine, needs a look, or needs help. Pure.

use std::net::IpAddr;

/// How a fact stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Standing {
    /// Nothing to do.
    Good,
    /// Somebody should look soon.
    Warn,
    /// Somebody should help now.
    Bad,
}

/// Free space: below a tenth or 5 GB somebody should look, below a twentieth or 1 GB Postgres is about to stop.
pub(super) fn disk(free: u64, total: u64) -> Standing {
    const GB: u64 = 1_000_000_000;
    if total == 0 || free < GB || free < total / 20 {
        Standing::Bad
    } else if free < 5 * GB || free < total / 10 {
        Standing::Warn
    } else {
        Standing::Good
    }
}

/// Days a certificate is still valid.
pub(super) fn certificate(days: i64) -> Standing {
    match days {
        ..7 => Standing::Bad,
        7..30 => Standing::Warn,
        _ => Standing::Good,
    }
}

/// Age in seconds of the oldest event that waits for its seal; sealing takes a second.
pub(super) fn sealing(oldest: Option<i64>) -> Standing {
    match oldest {
        None | Some(..5) => Standing::Good,
        Some(5..60) => Standing::Warn,
        Some(_) => Standing::Bad,
    }
}

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
        "degraded" => (Standing::Warn, "Needs a look"),
        _ => (Standing::Warn, "Dropped out"),
    }
}

/// Bytes as people say them.
pub(super) fn bytes_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
    ];
    for (size, unit) in UNITS {
        if bytes >= size {
            let tenths = bytes / (size / 10);
            return if tenths >= 100 {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{},{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{} kB", bytes / 1000)
}

/// Seconds as people say them, in the largest unit that fits.
pub(super) fn span_text(seconds: i64) -> String {
    let (n, unit) = match seconds {
        ..120 => (seconds.max(0), "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// Whether a peer is this machine itself.
pub(super) fn is_loopback(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn a_full_disk_is_seen_before_it_is_full() {
        assert_eq!(disk(500 * GB, 1000 * GB), Standing::Good);
        assert_eq!(disk(99 * GB, 1000 * GB), Standing::Warn);
        assert_eq!(disk(49 * GB, 1000 * GB), Standing::Bad);
        assert_eq!(disk(4 * GB, 10 * GB), Standing::Warn);
        assert_eq!(disk(GB / 2, GB), Standing::Bad);
        assert_eq!(disk(0, 0), Standing::Bad, "a disk of unknown size");
    }

    #[test]
    fn certificates_and_seals_warn_in_time() {
        assert_eq!(
            [30, 29, 7, 6, -1].map(certificate),
            [
                Standing::Good,
                Standing::Warn,
                Standing::Warn,
                Standing::Bad,
                Standing::Bad
            ]
        );
        assert_eq!(
            [None, Some(4), Some(5), Some(60)].map(sealing),
            [
                Standing::Good,
                Standing::Good,
                Standing::Warn,
                Standing::Bad
            ]
        );
    }

    #[test]
    fn figures_are_said_as_people_say_them() {
        assert_eq!(
            [900, 1_500_000, 54_321_000, 120 * GB].map(bytes_text),
            ["0 kB", "1,5 MB", "54 MB", "120 GB"]
        );
        assert_eq!(
            [-1, 1, 119, 120, 7_200, 172_800].map(span_text),
            [
                "0 seconds",
                "1 second",
                "119 seconds",
                "2 minutes",
                "2 hours",
                "2 days"
            ]
        );
    }

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
