//! TLS and the accept loop: 1.3 (Mozilla's modern profile), and 1.2 only where the configuration says so.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
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
use hyper_util::service::TowerToHyperService;
use rustls::RootCertStore;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject,
};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Current;
use super::refused::Guarded;
use super::watchdog::Pulse;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a browser's connection may take to its first request when the program stops: it was made for one, and its user sees
/// an error where that gets no answer, while what an older connection lost is sent once more.
const FIRST: Duration = Duration::from_secs(2);
/// How long requests under way may take when the program stops.
const FINISH: Duration = Duration::from_secs(20);

/// Which file is at a path. A time alone can be the same for two files that were put in place one after the other, and then
/// the second would never be seen.
pub(super) fn which(path: &Path) -> Option<(u64, SystemTime)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.modified().ok()?))
}

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

    /// Which files these are.
    fn changed(&self) -> [Option<(u64, SystemTime)>; 2] {
        [&self.chain, &self.key].map(|path| which(path))
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

/// How browsers and programs on the clinic's network are spoken to.
pub(super) fn for_everybody(
    certificates: Certificates,
    tls12: bool,
) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = if tls12 {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The list of revoked certificates that belongs to an authority: beside it, signed by it.
pub(super) fn revocations(authority: &Path) -> PathBuf {
    authority.with_extension("crl")
}

/// Who speaks for IT and vendors: those whose certificate comes from their authority and is not revoked.
pub(super) fn certified(authority: &Path) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(authority)
        .with_context(|| format!("can't read the client authority {}", authority.display()))?
    {
        roots.add(root.context("the client authority is not in PEM form")?)?;
    }
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let list = revocations(authority);
    if list.exists() {
        let lists = CertificateRevocationListDer::pem_file_iter(&list)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("can't read the revoked certificates {}", list.display()))?;
        verifier = verifier.with_crls(lists);
    }
    Ok(verifier.build()?)
}

/// How IT and vendors are spoken to: only over TLS 1.3.
pub(super) fn for_certified(
    certificates: Certificates,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(certificates));
    // A session that is taken up again would not show its certificate anew.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// How a connection becomes a secured one.
#[derive(Clone)]
pub(super) enum Door {
    /// For every device of the clinic.
    Open(TlsAcceptor),
    /// For IT and vendors.
    Certified(Guarded),
}

impl Door {
    async fn let_in(
        &self,
        stream: tokio::net::TcpStream,
        address: SocketAddr,
    ) -> anyhow::Result<TlsStream<tokio::net::TcpStream>> {
        match self {
            Self::Open(acceptor) => Ok(acceptor.accept(stream).await?),
            Self::Certified(guarded) => guarded.let_in(stream, address).await,
        }
    }

    /// How long a connection may take to its first request, once no more are let in.
    fn patience(&self) -> Duration {
        match self {
            Self::Open(_) => FIRST,
            // What closes this door may be that a certificate was revoked: who came in before has to show theirs again.
            Self::Certified(_) => Duration::ZERO,
        }
    }
}

/// The certificate that a client showed, checked already: DER.
#[derive(Clone, Debug)]
pub struct ClientCertificate(pub Arc<[u8]>);

impl ClientCertificate {
    /// Its name and fingerprint, for the log.
    pub(super) fn who(&self) -> String {
        let fingerprint = hex::encode(Sha256::digest(&self.0));
        let name = x509_parser::parse_x509_certificate(&self.0)
            .ok()
            .and_then(|(_, c)| {
                let name = c.subject().iter_common_name().next()?.as_str().ok()?;
                Some(name.chars().take(60).collect())
            })
            .unwrap_or_else(|| String::from("no name"));
        // In quotes, and what can't be seen in it written out: it may be a stranger's, who would like to look like another.
        format!("{name:?}, SHA-256 {}", &fingerprint[..16])
    }
}

/// Accepts connections until `stop` ends, then closes the socket unless somebody else holds it too, and lets the open ones
/// finish. `stopping` is called in between.
pub(super) async fn accept(
    listener: Arc<TcpListener>,
    door: Door,
    router: Router,
    stop: impl Future<Output = anyhow::Result<()>>,
    mut pulses: mpsc::Receiver<Pulse>,
    stopping: impl FnOnce(),
) -> anyhow::Result<()> {
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
    let router = router.layer(axum::middleware::from_fn(super::unread::read));
    let (closing, open) = (CancellationToken::new(), TaskTracker::new());
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
            Some(pulse) = pulses.recv() => {
                // Whoever asked may have given up waiting.
                let _gone = pulse.send(());
                continue;
            }
            stopped = &mut stop => {
                stopped?;
                break;
            }
        };
        let (door, router, server, closing) = (
            door.clone(),
            router.clone(),
            server.clone(),
            closing.clone(),
        );
        open.spawn(async move {
            if let Err(error) = connection(door, router, server, closing, stream, address).await {
                tracing::debug!(%error, %address, "connection ended");
            }
        });
    }
    drop(listener);
    stopping();
    closing.cancel();
    open.close();
    if tokio::time::timeout(FINISH, open.wait()).await.is_err() {
        tracing::warn!("some requests were still under way and were cut");
    }
    Ok(())
}

async fn connection(
    door: Door,
    router: Router,
    server: Builder<TokioExecutor>,
    closing: CancellationToken,
    stream: tokio::net::TcpStream,
    address: SocketAddr,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, door.let_in(stream, address))
        .await
        .context("slow handshake")??;
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|leaf| ClientCertificate(leaf.as_ref().into()));
    let last = tokio::time::Instant::now() + door.patience();
    let (begun, mut begins) = watch::channel(false);
    let router = tower::ServiceExt::map_request(
        router,
        move |mut request: http::Request<hyper::body::Incoming>| {
            begun.send_replace(true);
            request.extensions_mut().insert(ConnectInfo(address));
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            request.map(axum::body::Body::new)
        },
    );
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let closes = async {
        closing.cancelled().await;
        tokio::select! {
            _ = begins.wait_for(|&begun| begun) => {}
            () = tokio::time::sleep_until(last) => {}
        }
    };
    let ended = tokio::select! {
        biased;
        () = closes => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    ended.map_err(|e| anyhow::anyhow!(e))?;
    Ok(())
}
