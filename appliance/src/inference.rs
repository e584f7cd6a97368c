//! Client of the inference daemon on its Unix socket. Every call has a deadline; the clinic works on without it.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long the daemon may take to say how it is.
const HEALTH_DEADLINE: Duration = Duration::from_millis(1500);

/// Why the daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// Nobody listens on the socket, or the connection broke.
    #[error("the drafting service is not running")]
    Down,
    /// No answer in time.
    #[error("the drafting service did not answer in time")]
    Timeout,
    /// It refused, with its reason.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The daemon's words.
        message: String,
    },
    /// It answered something else than the contract says.
    #[error("the drafting service gave an answer that can't be read")]
    Answer,
}

/// What the daemon says of itself.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Health {
    /// `starting`, `ready`, `degraded` or `down`.
    pub state: String,
    /// Why, where it is not ready.
    pub reason: Option<String>,
    /// What the model runs on.
    pub device: Option<String>,
    /// The model that writes.
    pub model: Option<Model>,
    /// The model that embeds.
    pub embedding_model: Option<Model>,
    /// Requests waiting.
    pub queue_depth: u64,
    /// Restarts of the worker since the daemon started.
    pub restarts: u64,
    /// Whether a model may write; without one, statements are sorted and nothing is written.
    pub writing: bool,
    /// The graphics card, where there is one.
    pub gpu: Option<Gpu>,
}

/// The graphics card, as the daemon sees it.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// `healthy`, `hot`, `degraded` or `lost`.
    pub state: String,
    /// For staff.
    pub sentence: String,
    /// Its name.
    pub name: String,
    /// Whether the model runs on it now.
    pub serving: bool,
    /// Why it does not.
    pub why_not: Option<String>,
    /// °C.
    pub temperature: Option<u32>,
    /// Free memory in bytes.
    pub memory_free: Option<u64>,
}

/// A model the daemon has loaded.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

impl Health {
    /// Whether it drafts, at full speed or slower.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.state.as_str(), "ready" | "degraded")
    }
}

/// The daemon, by its socket.
#[derive(Clone, Debug)]
pub struct Inference {
    socket: PathBuf,
}

impl Inference {
    /// Does not connect yet.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Sends one request and gives the response once its head is there; the body may stream on.
    ///
    /// # Errors
    /// [`InferenceError::Down`] or [`InferenceError::Timeout`].
    pub async fn send(
        &self,
        request: http::Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<http::Response<Incoming>, InferenceError> {
        let exchange = async {
            let stream = UnixStream::connect(&self.socket)
                .await
                .map_err(|_| InferenceError::Down)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|_| InferenceError::Down)?;
            tokio::spawn(async move {
                // The error shows in the response body, to whoever reads it.
                let _ended = connection.await;
            });
            sender
                .send_request(request)
                .await
                .map_err(|_| InferenceError::Down)
        };
        tokio::time::timeout(deadline, exchange)
            .await
            .map_err(|_| InferenceError::Timeout)?
    }

    /// Posts JSON and reads a JSON answer.
    ///
    /// # Errors
    /// [`InferenceError`], with the daemon's own words where it refused.
    pub async fn post_json<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        deadline: Duration,
    ) -> Result<T, InferenceError> {
        let bytes = serde_json::to_vec(body).map_err(|_| InferenceError::Answer)?;
        let request = http::Request::post(path)
            .header("host", "inference")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|_| InferenceError::Answer)?;
        self.read(request, deadline).await
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        request: http::Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<T, InferenceError> {
        let whole = async {
            let response = self.send(request, deadline).await?;
            let status = response.status();
            let bytes = response
                .into_body()
                .collect()
                .await
                .map_err(|_| InferenceError::Down)?
                .to_bytes();
            if !status.is_success() {
                let message = serde_json::from_slice::<serde_json::Value>(&bytes)
                    .ok()
                    .and_then(|v| v["error"]["message"].as_str().map(str::to_owned))
                    .unwrap_or_else(|| "the drafting service refused the request".into());
                return Err(InferenceError::Refused {
                    status: status.as_u16(),
                    message,
                });
            }
            serde_json::from_slice(&bytes).map_err(|_| InferenceError::Answer)
        };
        tokio::time::timeout(deadline, whole)
            .await
            .map_err(|_| InferenceError::Timeout)?
    }

    /// How the daemon is, or `down` with the reason. Never an error: the page shows it as it is.
    pub async fn health(&self) -> Health {
        let asked = tokio::time::timeout(HEALTH_DEADLINE, self.ask_health())
            .await
            .unwrap_or(Err(InferenceError::Timeout));
        asked.unwrap_or_else(|why| Health {
            state: "down".into(),
            reason: Some(why.to_string()),
            ..Health::default()
        })
    }

    /// The same body comes with 200 while it serves and with 503 while it does not.
    async fn ask_health(&self) -> Result<Health, InferenceError> {
        let request = http::Request::get("/health")
            .header("host", "inference")
            .body(Full::new(Bytes::new()))
            .map_err(|_| InferenceError::Answer)?;
        let response = self.send(request, HEALTH_DEADLINE).await?;
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|_| InferenceError::Down)?
            .to_bytes();
        serde_json::from_slice(&bytes).map_err(|_| InferenceError::Answer)
    }
}
