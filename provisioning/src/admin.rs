//! The client of hadada's admin socket: HTTP/1.1 over a Unix socket that only root and the service can open.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long the box may take to begin an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest line of an export that is taken; a longer one is not an export.
const LONGEST_LINE: usize = 256 << 20;

/// A Unix socket that speaks HTTP.
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Sends JSON and returns the JSON that comes back.
    ///
    /// # Errors
    /// When the box can't be reached, refuses, or answers with something else.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        json(response).await
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// As [`Socket::post`].
    pub async fn get(&self, path: &str) -> Result<Value> {
        json(self.send(Method::GET, path, None).await?).await
    }

    /// Takes something away; gives what comes back, which may be nothing.
    ///
    /// # Errors
    /// As [`Socket::post`].
    pub async fn delete(&self, path: &str) -> Result<Value> {
        let response = self.send(Method::DELETE, path, None).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        json(response).await
    }

    /// Asks for JSON that says how something is, and comes with whatever status fits that.
    ///
    /// # Errors
    /// When nobody answers, or not with JSON.
    pub async fn status(&self, path: &str) -> Result<Value> {
        json(self.exchange(Method::GET, path, None).await?).await
    }

    /// Asks for lines, to be read as they come.
    ///
    /// # Errors
    /// As [`Socket::post`].
    pub async fn lines(&self, path: &str) -> Result<Lines> {
        let response = self.send(Method::GET, path, None).await?;
        Ok(Lines {
            body: response.into_body(),
            buffer: BytesMut::new(),
            ended: false,
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>> {
        let response = self.exchange(method, path, body).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the request; what goes wrong with it the request reports.
        tokio::spawn(connection);
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "hadada");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(bytes))?;
        timeout(PATIENCE, sender.send_request(request))
            .await
            .with_context(|| {
                format!(
                    "{} took the request but did not answer in 30 seconds",
                    self.path.display()
                )
            })?
            .with_context(|| format!("{} broke the connection off", self.path.display()))
    }

    fn unreachable(&self, error: &io::Error) -> anyhow::Error {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::NotFound => anyhow!(
                "hadada is not running: there is no socket {path}. Start it, or say with --dir where it is"
            ),
            io::ErrorKind::ConnectionRefused => {
                anyhow!("hadada is not running: nobody listens at {path}. Start it again")
            }
            io::ErrorKind::PermissionDenied => anyhow!(
                "{path} may only be opened by root and the service's user: run this as root"
            ),
            _ => anyhow!("can't connect to {path}: {error}"),
        }
    }
}

async fn json(response: Response<Incoming>) -> Result<Value> {
    let body = response
        .into_body()
        .collect()
        .await
        .context("the answer broke off")?
        .to_bytes();
    serde_json::from_slice(&body).context("the answer is not JSON")
}

/// The error for an answer that is a refusal, told by its problem document (RFC 9457) where it has one.
async fn refusal(response: Response<Incoming>) -> anyhow::Error {
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    anyhow!(explain(status, &body))
}

fn explain(status: StatusCode, body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut said = text(&problem, "detail")
        .or_else(|| text(&problem, "title"))
        .unwrap_or_else(|| format!("hadada answered {status}"));
    for error in problem
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let message = text(error, "message")
            .or_else(|| text(error, "detail"))
            .unwrap_or_default();
        match text(error, "field") {
            Some(field) => said.push_str(&format!("; {field}: {message}")),
            None => said.push_str(&format!("; {message}")),
        }
    }
    said
}

/// A body read line by line.
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

impl Lines {
    /// The next line without its end, or none at the end of the body.
    ///
    /// # Errors
    /// When the connection breaks before the body's end, or a line is absurdly long.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let mut line = self.buffer.split_to(searched + end + 1);
                line.truncate(line.len() - 1);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if searched > LONGEST_LINE {
                bail!("the export has a line of more than {LONGEST_LINE} bytes");
            }
            if self.ended {
                return Ok((searched > 0).then(|| self.buffer.split().freeze()));
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.context(
                        "the export broke off: hadada stopped or failed while sending it",
                    )?;
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => self.ended = true,
            }
        }
    }
}

/// Whether somebody listens at a socket.
pub fn listens(path: &Path) -> io::Result<()> {
    std::os::unix::net::UnixStream::connect(path).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_fields() {
        let body = br#"{"type":"about:blank","title":"Invalid","status":422,"detail":"The token was not made",
            "errors":[{"field":"user","message":"there is nobody with this log-in"}]}"#;
        assert_eq!(
            explain(StatusCode::UNPROCESSABLE_ENTITY, body),
            "The token was not made; user: there is nobody with this log-in"
        );
        assert_eq!(
            explain(StatusCode::BAD_GATEWAY, b"<html>"),
            "hadada answered 502 Bad Gateway"
        );
    }
}
