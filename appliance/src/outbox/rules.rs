//! When a message is tried again. Pure.

use time::{Duration, OffsetDateTime};

/// Attempts before a message is given up: about a day.
const MOST: i32 = 30;

/// When to try again after so many attempts; none when it is given up.
pub(super) fn next_attempt(attempts: i32, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let wait = Duration::minutes(1_i64 << attempts.clamp(0, 6));
    (attempts < MOST).then(|| now + wait.min(Duration::hours(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_for_about_a_day_and_then_given_up() {
        let start = OffsetDateTime::UNIX_EPOCH;
        let (mut now, mut attempts) = (start, 1);
        while let Some(next) = next_attempt(attempts, now) {
            assert!(next > now && next - now <= Duration::hours(1));
            now = next;
            attempts += 1;
        }
        assert!(
            (Duration::hours(20)..Duration::hours(30)).contains(&(now - start)),
            "{}",
            now - start
        );
    }
}
