//! Lockout, log-in names and passwords, as pure rules.

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

/// What somebody is told whose account is closed for that many seconds.
pub(super) fn locked_text(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    format!(
        "Too many wrong passwords. This account opens again in {minutes} minutes; the practice's admin can see who tried."
    )
}

/// What is wrong with a password that somebody chose and typed twice, and in which field.
pub(super) fn chosen_fault(
    chosen: &str,
    again: &str,
    username: &str,
    practice: &str,
) -> Option<(&'static str, &'static str)> {
    if let Some(fault) = password_fault(chosen, username, practice) {
        return Some(("new_password", fault));
    }
    (chosen != again).then_some((
        "new_password_again",
        "The two passwords differ. Type both again.",
    ))
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

/// Why a password will not do (NIST SP 800-63B, 5.1.1.2: length counts, composition does not; no expected words).
#[must_use]
pub fn password_fault(password: &str, username: &str, practice: &str) -> Option<&'static str> {
    let low = password.to_lowercase();
    let distinct: std::collections::BTreeSet<char> = low.chars().collect();
    let run = |text: &str| {
        let bytes = text.as_bytes();
        let straight = bytes
            .windows(2)
            .filter(|w| {
                w[1] == w[0] || w[1] == w[0].wrapping_add(1) || w[1].wrapping_add(1) == w[0]
            })
            .count();
        straight * 10 >= bytes.len().saturating_sub(1) * 8
    };
    if password.chars().count() < 12 {
        Some(
            "Use at least 12 characters. Four words that do not belong together are easy to keep in mind.",
        )
    } else if password.len() > 1024 {
        Some("Use at most 1024 characters.")
    } else if distinct.len() < 6 || run(&low) {
        Some(
            "This repeats itself or counts up, so it is quickly guessed. Use four words that do not belong together.",
        )
    } else if [
        "password",
        "qwertyuiop",
        "letmein",
        "welcome",
        "hadada",
        "admin",
    ]
    .into_iter()
    .chain(
        [username, practice]
            .into_iter()
            .filter(|w| w.chars().count() > 3),
    )
    .any(|word| low.replace(&word.to_lowercase(), "").chars().count() < 8)
    {
        Some(
            "This is mostly a word that anybody would try first. Use four words that do not belong together.",
        )
    } else {
        None
    }
}

/// A log-in name: small letters, digits, dots and hyphens.
#[must_use]
pub fn username(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    ((2..=40).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_lowercase()))
    .then_some(text)
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

    #[test]
    fn passwords_anybody_would_try_are_refused() {
        for bad in [
            "short",
            "aaaaaaaaaaaaaa",
            "123456789012345",
            "abcdefghijklmnop",
            "password12345",
            "Rosebank Rehab",
            "hadada-demo1",
        ] {
            assert!(
                password_fault(bad, "anneke", "Rosebank Rehab").is_some(),
                "{bad}"
            );
        }
        for good in ["correct horse battery staple", "ghoofkar reent 7 sambreel"] {
            assert_eq!(password_fault(good, "anneke", "Rosebank Rehab"), None);
        }
    }

    #[test]
    fn a_log_in_name_is_plain() {
        assert_eq!(username(" Anneke.V "), Some("anneke.v".into()));
        assert!(username("1a").is_none() && username("a b").is_none());
    }
}
