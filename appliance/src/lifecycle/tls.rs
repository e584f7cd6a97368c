//! TLS 1.3 and the accept loop.

use std::fs::Metadata;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Current;
use crate::web::Events;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests under way may take when the program stops.
const FINISH: Duration = Duration::from_secs(20);

/// The certificate in use and the files it came from.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    current: Current,
    chain: PathBuf,
    key: PathBuf,
}

impl Certificates {
    pub(super) fn load(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let current = Arc::new(ArcSwap::from_pointee(read(chain, key)?));
        Ok(Self {
            current,
            chain: chain.into(),
            key: key.into(),
        })
    }

    fn changed(&self) -> Option<SystemTime> {
        let time = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|m: Metadata| m.modified())
                .ok()
        };
        time(&self.chain).max(time(&self.key))
    }

    /// Takes up a renewed certificate; a broken one is left alone and said so.
    pub(super) async fn watch(self) {
        let mut seen = self.changed();
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let changed = self.changed();
            if changed == seen {
                continue;
            }
            seen = changed;
            match read(&self.chain, &self.key) {
                Ok(fresh) => {
                    self.current.store(Arc::new(fresh));
                    tracing::info!("took up the renewed certificate");
                }
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "the new certificate can't be used; the old one stays")
                }
            }
        }
    }
}

fn read(chain: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .with_context(|| format!("can't read the certificate {}", chain.display()))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("can't read the key {}", key.display()))?;
    CertifiedKey::from_der(
        certificates,
        private,
        &rustls::crypto::aws_lc_rs::default_provider(),
    )
    .context("the certificate and the key do not belong together")
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Accepts connections until `stop` ends, then lets the open ones finish.
pub(super) async fn accept(
    listener: TcpListener,
    certificates: Certificates,
    router: Router,
    stop: impl Future<Output = anyhow::Result<()>>,
    events: &Events,
) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(15));
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .keep_alive_interval(Duration::from_secs(30));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for connections to end.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            stopped = &mut stop => {
                stopped?;
                break;
            }
        };
        let (acceptor, router, server, watcher) = (
            acceptor.clone(),
            router.clone(),
            server.clone(),
            graceful.watcher(),
        );
        tokio::spawn(async move {
            if let Err(error) = connection(acceptor, router, server, watcher, stream, address).await
            {
                tracing::debug!(%error, %address, "connection ended");
            }
        });
    }
    tracing::info!("stopping");
    drop(listener);
    events.close();
    if tokio::time::timeout(FINISH, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests were still under way and were cut");
    }
    Ok(())
}

async fn connection(
    acceptor: TlsAcceptor,
    router: Router,
    server: Builder<TokioExecutor>,
    watcher: hyper_util::server::graceful::Watcher,
    stream: tokio::net::TcpStream,
    address: SocketAddr,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .context("slow handshake")??;
    let router = tower::ServiceExt::map_request(
        router,
        move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(address));
            request.map(axum::body::Body::new)
        },
    );
    let service = TowerToHyperService::new(router);
    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
    watcher
        .watch(connection.into_owned())
        .await
        .map_err(|e| anyhow::anyhow!(e))?;
    Ok(())
}
