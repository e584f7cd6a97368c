//! Whether the running programs are the ones that were installed, and work.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin::Socket;
use crate::place::Place;
use crate::release::version::Version;

/// What the web program says of the box.
pub struct Health {
    answer: Value,
}

/// Asks it, by the admin socket.
pub async fn ask(place: &Place) -> Option<Health> {
    let answer = Socket::new(place.admin_socket())
        .status("/status")
        .await
        .ok()?;
    Some(Health { answer })
}

impl Health {
    fn text(&self, pointer: &str) -> &str {
        self.answer
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Whether drafts can be written or sorted.
    pub fn drafts(&self) -> bool {
        matches!(self.text("/inference/state"), "ready" | "degraded")
    }

    /// What is wrong; none where all is well.
    fn fault(&self, version: Version, drafting: bool) -> Option<String> {
        let running = self.text("/version");
        if running != version.to_string() {
            return Some(format!(
                "the running program is release {running:?}, not {version}"
            ));
        }
        if self.text("/database") != "ok" {
            return Some("the database does not answer".into());
        }
        if self.text("/migrations") != "current" {
            return Some("the database has not had this release's migrations".into());
        }
        if drafting && !self.drafts() {
            let reason = self.text("/inference/reason");
            let state = self.text("/inference/state");
            return Some(format!(
                "the drafting service worked before and is {state:?} now: {reason}"
            ));
        }
        None
    }
}

/// Waits until the release `version` works; `drafting` says whether its drafting service must, too. What works must go on
/// working for a moment: a program that starts, answers and dies is no success.
///
/// # Errors
/// What was wrong last, when the time is up.
pub async fn wait(
    place: &Place,
    version: Version,
    drafting: bool,
    patience: Duration,
) -> Result<(), String> {
    const STEADY: Duration = Duration::from_secs(2);
    let began = Instant::now();
    let mut good_since: Option<Instant> = None;
    loop {
        let fault = match ask(place).await {
            None => Some("it does not answer at its admin socket".to_owned()),
            Some(health) => health.fault(version, drafting),
        };
        match fault {
            None => {
                if good_since.get_or_insert_with(Instant::now).elapsed() >= STEADY {
                    return Ok(());
                }
            }
            Some(fault) => {
                good_since = None;
                if began.elapsed() >= patience {
                    return Err(format!("after {} seconds {fault}", patience.as_secs()));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
