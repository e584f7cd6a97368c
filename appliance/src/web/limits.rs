//! How often one may ask: signing in is limited per address, everything else per session, generously.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use governor::middleware::NoOpMiddleware;
use http::{Method, Request, header};
use tower_governor::governor::{GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::{KeyExtractor, PeerIpKeyExtractor};
use tower_governor::{GovernorError, GovernorLayer};

use super::{Session, SessionKind};
use crate::error::Error;

/// Sign-ins of one address: this many at once, then one a second.
const SIGN_IN_BURST: u32 = 40;
/// Requests of one session: this many at once, then two hundred a second.
const SESSION_BURST: u32 = 600;
const SESSION_PERIOD: Duration = Duration::from_millis(5);

/// Whoever is signed in, by the cookie or token that was found to be good; everybody else by their address, so that made-up
/// cookies do not give anybody a fresh allowance.
#[derive(Clone, Debug)]
pub struct Caller;

impl KeyExtractor for Caller {
    type Key = u64;
    fn extract<T>(&self, request: &Request<T>) -> Result<u64, GovernorError> {
        let mut hasher = DefaultHasher::new();
        match request.extensions().get::<Session>().map(|s| &s.kind) {
            Some(SessionKind::Browser(hash)) => hash.hash(&mut hasher),
            Some(SessionKind::Token(_)) => request
                .headers()
                .get(header::AUTHORIZATION)
                .map(http::HeaderValue::as_bytes)
                .hash(&mut hasher),
            None => PeerIpKeyExtractor.extract(request)?.hash(&mut hasher),
        }
        Ok(hasher.finish())
    }
}

type Config<K> = Arc<GovernorConfig<K, NoOpMiddleware<governor::clock::QuantaInstant>>>;
type Layer<K> = GovernorLayer<K, NoOpMiddleware<governor::clock::QuantaInstant>, Body>;

/// Counts requests.
#[derive(Clone)]
pub struct Limits {
    sign_in: Config<PeerIpKeyExtractor>,
    session: Config<Caller>,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limits(…)")
    }
}

impl Default for Limits {
    #[expect(
        clippy::expect_used,
        reason = "a builder refuses only a burst or period of zero, and these are constants"
    )]
    fn default() -> Self {
        let sign_in = GovernorConfigBuilder::default()
            .key_extractor(PeerIpKeyExtractor)
            .per_second(1)
            .burst_size(SIGN_IN_BURST)
            .methods(vec![Method::POST])
            .finish();
        let session = GovernorConfigBuilder::default()
            .key_extractor(Caller)
            .period(SESSION_PERIOD)
            .burst_size(SESSION_BURST)
            .finish();
        Self {
            sign_in: Arc::new(sign_in.expect("constants")),
            session: Arc::new(session.expect("constants")),
        }
    }
}

fn refuse(error: GovernorError) -> Response {
    match error {
        GovernorError::TooManyRequests { wait_time, .. } => Error::TooMany {
            retry_after: wait_time.max(1),
        }
        .into_response(),
        other => Error::internal(other.to_string()).into_response(),
    }
}

impl Limits {
    /// For the sign-in page.
    #[must_use]
    pub fn sign_in(&self) -> Layer<PeerIpKeyExtractor> {
        GovernorLayer::new(self.sign_in.clone()).error_handler(refuse)
    }

    /// For everything else.
    #[must_use]
    pub fn session(&self) -> Layer<Caller> {
        GovernorLayer::new(self.session.clone()).error_handler(refuse)
    }

    /// Forgets callers who have been quiet, so that memory does not grow.
    pub fn tidy(&self) {
        self.sign_in.limiter().retain_recent();
        self.session.limiter().retain_recent();
    }
}
