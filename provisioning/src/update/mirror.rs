//! A mirror over HTTPS: the one address that the configuration names, and no redirects.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::settings::Settings;
use super::source::{LONGEST_METADATA, Receiver};
use crate::files;
use crate::release::repository::Said;

/// How long a connection, an answer or the next piece of one may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// More new roots than this no mirror has.
const MOST_ROOTS: u64 = 1024;
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The configured mirror.
pub struct Mirror {
    address: Url,
    tls: Arc<ClientConfig>,
}

impl Mirror {
    /// The mirror of the configuration; none where it names none.
    ///
    /// # Errors
    /// When its address or authority can't be used.
    pub fn configured(settings: &Settings) -> Result<Option<Self>> {
        let Some(address) = &settings.mirror else {
            return Ok(None);
        };
        let mut address: Url = address
            .parse()
            .with_context(|| format!("[box.update] mirror: {address} is not an address"))?;
        ensure!(
            address.scheme() == "https"
                && address.host_str().is_some()
                && address.query().is_none(),
            "[box.update] mirror must be an https address without a query"
        );
        if !address.path().ends_with('/') {
            address.set_path(&format!("{}/", address.path()));
        }
        let path = settings
            .mirror_authority
            .clone()
            .unwrap_or_else(|| PathBuf::from(AUTHORITIES));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&path)
            .with_context(|| format!("can't read the authorities in {}", path.display()))?
        {
            let certificate =
                certificate.with_context(|| format!("{} is no PEM file", path.display()))?;
            // Debian's list has some that are too old for the rules of today; they sign nothing for us.
            let _ = roots.add(certificate);
        }
        ensure!(
            !roots.is_empty(),
            "there is no authority in {}",
            path.display()
        );
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Some(Self {
            address,
            tls: Arc::new(tls),
        }))
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.address.as_str()
    }

    /// Fetches the metadata into `into`. The versions in it are not trusted here; they only say which file to ask for next.
    ///
    /// # Errors
    /// When the mirror can't be reached or its answers are too long.
    pub async fn copy_metadata(&self, into: &Path, trusted_root: u64) -> Result<()> {
        for version in trusted_root + 1..=trusted_root + MOST_ROOTS {
            let name = format!("{version}.root.json");
            let Some(root) = self.get_short(&format!("metadata/{name}")).await? else {
                break;
            };
            files::create(&into.join(name), 0o600, &root)?;
        }
        let timestamp = self.keep("timestamp.json".into(), into).await?;
        let snapshot = version_in(&timestamp, "snapshot.json")?;
        let snapshot = self.keep(format!("{snapshot}.snapshot.json"), into).await?;
        let targets = version_in(&snapshot, "targets.json")?;
        self.keep(format!("{targets}.targets.json"), into).await?;
        Ok(())
    }

    async fn keep(&self, name: String, into: &Path) -> Result<Vec<u8>> {
        let bytes = self
            .get_short(&format!("metadata/{name}"))
            .await?
            .with_context(|| format!("incomplete: the mirror has no metadata/{name}"))?;
        files::create(&into.join(name), 0o600, &bytes)?;
        Ok(bytes)
    }

    /// Fetches the bundle.
    ///
    /// # Errors
    /// When it is missing, or another.
    pub async fn copy_bundle(&self, name: &str, said: &Said, target: &Path) -> Result<()> {
        let Some(response) = self.get(&format!("targets/{name}")).await? else {
            bail!("incomplete: the mirror lacks the bundle {name}");
        };
        let mut receiver = Receiver::new(said, target)?;
        let mut body = response.into_body();
        while let Some(bytes) = next(&mut body).await? {
            receiver.push(&bytes)?;
        }
        receiver.finish()
    }

    async fn get_short(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(response) = self.get(path).await? else {
            return Ok(None);
        };
        let mut body = response.into_body();
        let mut all = Vec::new();
        while let Some(bytes) = next(&mut body).await? {
            ensure!(
                (all.len() + bytes.len()) as u64 <= LONGEST_METADATA,
                "too big: the mirror's {path} has more than {LONGEST_METADATA} bytes"
            );
            all.extend_from_slice(&bytes);
        }
        Ok(Some(all))
    }

    async fn get(&self, path: &str) -> Result<Option<Response<Incoming>>> {
        let unreachable = || format!("the mirror {} can't be reached", self.address);
        let url = self.address.join(path)?;
        let host = url
            .host_str()
            .context("the mirror's address has no host")?
            .to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_matches(['[', ']']).to_owned();
        let stream = timeout(PATIENCE, TcpStream::connect((bare.as_str(), port)))
            .await
            .with_context(unreachable)?
            .with_context(unreachable)?;
        let name = ServerName::try_from(bare)?;
        let stream = timeout(
            PATIENCE,
            TlsConnector::from(self.tls.clone()).connect(name, stream),
        )
        .await
        .with_context(unreachable)?
        .with_context(unreachable)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .with_context(unreachable)?;
        // It ends with the response; what goes wrong with it the response reports.
        tokio::spawn(connection);
        let request = Request::get(url.path())
            .header(HOST, format!("{host}:{port}"))
            .header(USER_AGENT, "hadadactl")
            .body(Empty::<Bytes>::new())?;
        let response = timeout(PATIENCE, sender.send_request(request))
            .await
            .with_context(unreachable)?
            .with_context(unreachable)?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("the mirror {} answered {status} for {path}", self.address),
        }
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        match timeout(PATIENCE, body.frame())
            .await
            .context("the mirror stopped sending")?
        {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(bytes) = frame.context("the mirror broke off")?.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

fn version_in(metadata: &[u8], file: &str) -> Result<u64> {
    let value: Value =
        serde_json::from_slice(metadata).context("the mirror's metadata can't be read")?;
    value
        .pointer(&format!("/signed/meta/{file}/version"))
        .and_then(Value::as_u64)
        .with_context(|| format!("the mirror's metadata says nothing of {file}"))
}
