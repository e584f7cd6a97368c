//! What the program says of itself: to the journal with fields where systemd started it, as plain text elsewhere. Statements
//! that took long are kept for the state page as well. Nothing that is logged holds patient data.

use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use systemd_journal_logger::{JournalLog, connected_to_journal};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::clock::Clock;

/// A statement that takes longer than this is slow.
pub const SLOW: Duration = Duration::from_millis(250);
/// How many slow statements are kept.
const KEPT: usize = 20;

/// A statement that took long. It holds placeholders, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowStatement {
    /// When it ended.
    pub at: OffsetDateTime,
    /// Its beginning.
    pub statement: String,
    /// How long it took.
    pub took: Duration,
}

static SLOW_STATEMENTS: Mutex<VecDeque<SlowStatement>> = Mutex::new(VecDeque::new());

/// The newest slow statements, newest first.
#[must_use]
pub fn slow_statements() -> Vec<SlowStatement> {
    let kept = SLOW_STATEMENTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    kept.iter().rev().cloned().collect()
}

/// Starts logging, once a process.
///
/// # Errors
/// When something else logs already.
pub fn start() -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let journal = connected_to_journal()
        .then(JournalLog::empty)
        .transpose()
        .unwrap_or_default()
        .map(|log| Journal(log.with_syslog_identifier("hadada".into())));
    let text = journal
        .is_none()
        .then(|| fmt::layer().with_writer(std::io::stderr));
    tracing_subscriber::registry()
        .with(filter)
        .with(KeepSlow(Clock::system()))
        .with(journal)
        .with(text)
        .try_init()?;
    Ok(())
}

/// Sends events to the journal, each field as a field.
struct Journal(JournalLog);

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.others.push((name.replace('.', "_"), value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Fields {
    /// The message with the fields behind it, as `journalctl` shows one line an event.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in self
            .others
            .iter()
            .filter(|(name, _)| name != "db_statement")
        {
            // Writing to a string can't fail.
            let _ok = write!(line, " {name}={value}");
        }
        line
    }
}

fn level(level: tracing::Level) -> log::Level {
    match level {
        tracing::Level::ERROR => log::Level::Error,
        tracing::Level::WARN => log::Level::Warn,
        tracing::Level::INFO => log::Level::Info,
        tracing::Level::DEBUG => log::Level::Debug,
        tracing::Level::TRACE => log::Level::Trace,
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let line = fields.line();
        let sent = self.0.journal_send(
            &log::Record::builder()
                .args(format_args!("{line}"))
                .level(level(*meta.level()))
                .target(meta.target())
                .module_path(meta.module_path())
                .file(meta.file())
                .line(meta.line())
                .key_values(&fields.others)
                .build(),
        );
        if sent.is_err() {
            eprintln!("{line}");
        }
    }
}

/// Keeps what sqlx says of slow statements.
struct KeepSlow(Clock);

#[derive(Default)]
struct Slowness {
    summary: String,
    seconds: f64,
    slow: bool,
}

impl Visit for Slowness {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            value.clone_into(&mut self.summary);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "slow_threshold" => self.slow = true,
            "summary" => self.summary = format!("{value:?}"),
            _ => {}
        }
    }
}

impl<S: Subscriber> Layer<S> for KeepSlow {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut said = Slowness::default();
        event.record(&mut said);
        if !said.slow {
            return;
        }
        let mut kept = SLOW_STATEMENTS
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(SlowStatement {
            at: self.0.now(),
            statement: said.summary,
            took: Duration::try_from_secs_f64(said.seconds).unwrap_or_default(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_statement_is_kept_with_its_beginning_and_others_are_not() {
        let layers = tracing_subscriber::registry().with(KeepSlow(Clock::system()));
        tracing::subscriber::with_default(layers, || {
            let summary = "SELECT id FROM …";
            tracing::warn!(target: "sqlx::query", summary, elapsed_secs = 0.5, slow_threshold = ?SLOW, "slow statement");
            tracing::warn!(target: "sqlx::query", summary = "SELECT 1", elapsed_secs = 0.1);
            tracing::warn!(summary = "SELECT 2", elapsed_secs = 0.1, slow_threshold = ?SLOW);
        });
        let kept = slow_statements();
        assert_eq!(kept.len(), 1);
        assert_eq!(
            (kept[0].statement.as_str(), kept[0].took),
            ("SELECT id FROM …", Duration::from_millis(500))
        );
    }

    #[test]
    fn the_journal_s_line_says_what_happened_and_with_what() {
        let fields = Fields {
            message: "serving".into(),
            others: vec![("address".into(), "[::]:443".into())],
        };
        assert_eq!(fields.line(), "serving address=[::]:443");
    }
}
