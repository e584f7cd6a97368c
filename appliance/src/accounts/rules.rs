//! Lockout, as pure rules.

use time::{Duration, OffsetDateTime};

/// Wrong passwords in a row before an account is closed for a while (NIST SP 800-63B, 5.2.2, allows up to 100).
const MOST_FAILURES: i32 = 10;
/// How long it stays closed.
const LOCKED_FOR: Duration = Duration::minutes(15);

/// What a wrong password leads to: the new count, and until when the account is closed.
pub(super) fn after_failure(failures: i32, now: OffsetDateTime) -> (i32, Option<OffsetDateTime>) {
    let failures = failures.saturating_add(1);
    (
        failures,
        (failures % MOST_FAILURES == 0).then(|| now + LOCKED_FOR),
    )
}

/// Seconds until an account opens again, if it is closed.
pub(super) fn locked_for(until: Option<OffsetDateTime>, now: OffsetDateTime) -> Option<u64> {
    until
        .filter(|&u| u > now)
        .map(|u| u64::try_from((u - now).whole_seconds()).unwrap_or(0).max(1))
}

/// Where to go after signing in: only a path on this site.
pub(super) fn local_path(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        // As browsers send paths. Some drop tabs and line ends, so that `/\t/` would become `//`.
        && next.chars().all(|c| c.is_ascii_graphic() && c != '\\')
        && !next.starts_with("/log");
    if local { next } else { "/day" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn ten_failures_close_the_account_for_a_quarter_of_an_hour() {
        let now = datetime!(2026-11-24 08:00 UTC);
        let mut failures = 0;
        for n in 1..=10 {
            let (count, locked) = after_failure(failures, now);
            failures = count;
            assert_eq!(locked.is_some(), n == 10);
            if let Some(until) = locked {
                assert_eq!(locked_for(Some(until), now), Some(900));
                assert_eq!(locked_for(Some(until), until), None);
            }
        }
    }

    #[test]
    fn signing_in_never_leads_off_the_site() {
        for bad in [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "evil",
            "",
            "/logout",
            "/login?next=/login",
        ] {
            assert_eq!(local_path(bad), "/day", "{bad}");
        }
        assert_eq!(local_path("/patients/1?tab=notes"), "/patients/1?tab=notes");
    }
}
