//! The one error type of handlers. `web::errors` turns it into a page or an RFC 9457 problem document.

use std::borrow::Cow;

/// A rule that one field broke.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The field's name in the form or JSON body.
    pub field: Cow<'static, str>,
    /// What is wrong and what to do, as a sentence.
    pub message: Cow<'static, str>,
}

/// Why a request was not done. Every variant carries words that may be shown to whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing by that name is here, or it belongs to another practice: the two look the same.
    #[error("This does not exist, or it is not in your practice.")]
    NotFound,
    /// Nobody is signed in.
    #[error("Nothing was changed, because nobody is signed in here.")]
    Unauthenticated,
    /// Signed in, but the role does not allow it.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// The same, and the audit log has it already with what it was about.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// The input breaks rules; nothing was written.
    #[error("Some details need attention.")]
    Invalid(Vec<FieldError>),
    /// It clashes with what is there: a taken slot, a newer version, a signed note.
    #[error("{detail}")]
    Conflict {
        /// What it clashes with, and what to do.
        detail: Cow<'static, str>,
        /// The other side, where the page can show it.
        theirs: Option<serde_json::Value>,
    },
    /// The body is larger than allowed.
    #[error("{0}")]
    TooLarge(Cow<'static, str>),
    /// Asked too often.
    #[error("Too many attempts. Try again in {retry_after} seconds.")]
    TooMany {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// The patient's record was erased: its text opens for nobody any more.
    #[error("This patient's record was erased. Its text can't be opened any more, by anybody.")]
    Erased,
    /// There is no room on the disk.
    #[error(
        "The clinic server's disk is full. Nothing was saved; what is stored can still be read. Call your IT support."
    )]
    Full,
    /// A part of the box is not answering; the rest works on.
    #[error("{0}")]
    Unavailable(Cow<'static, str>),
    /// A fault of ours. The cause is logged, never shown.
    #[error("Something went wrong on the clinic server. Nothing was changed.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What handlers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One field that broke one rule.
    pub fn field(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// A conflict with nothing more to show than its sentence.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Conflict {
            detail: detail.into(),
            theirs: None,
        }
    }

    /// Says of a refusal that the audit log has it.
    #[must_use]
    pub fn logged(self) -> Self {
        match self {
            Self::Forbidden(words) => Self::Refused(words),
            other => other,
        }
    }

    /// A fault of ours, with the cause for the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The HTTP status it becomes.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        use http::StatusCode as S;
        match self {
            Self::NotFound => S::NOT_FOUND,
            Self::Unauthenticated => S::UNAUTHORIZED,
            Self::Forbidden(_) | Self::Refused(_) => S::FORBIDDEN,
            Self::Invalid(_) => S::UNPROCESSABLE_ENTITY,
            Self::Conflict { .. } => S::CONFLICT,
            Self::TooLarge(_) => S::PAYLOAD_TOO_LARGE,
            Self::TooMany { .. } => S::TOO_MANY_REQUESTS,
            Self::Erased => S::GONE,
            Self::Full => S::INSUFFICIENT_STORAGE,
            Self::Unavailable(_) => S::SERVICE_UNAVAILABLE,
            Self::Internal(_) => S::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(cause: sqlx::Error) -> Self {
        match cause {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => {
                tracing::error!(error = %cause, "database not reachable");
                Self::Unavailable("The clinic's database is not answering. Nothing was changed; try again in a moment.".into())
            }
            // 53100 is disk_full (PostgreSQL 15, appendix A).
            sqlx::Error::Database(error) if error.code().as_deref() == Some("53100") => {
                tracing::error!(%error, "the disk is full");
                Self::Full
            }
            other => Self::Internal(other.into()),
        }
    }
}

/// Collects the rules that fields broke, so that a person sees all of them at once.
#[derive(Debug, Default)]
pub struct Problems(Vec<FieldError>);

impl Problems {
    /// Nothing wrong so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a broken rule.
    pub fn add(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) {
        self.0.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
    }

    /// Keeps the value, or notes the sentence why it is none.
    pub fn take<T, M: Into<Cow<'static, str>>>(
        &mut self,
        field: &'static str,
        value: Result<T, M>,
    ) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(message) => {
                self.add(field, message);
                None
            }
        }
    }

    /// # Errors
    /// [`Error::Invalid`] when anything was noted.
    pub fn check(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.0))
        }
    }

    /// Whether nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was noted.
    #[must_use]
    pub fn into_fields(self) -> Vec<FieldError> {
        self.0
    }
}
