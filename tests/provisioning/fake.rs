//! A box's other end: what hadada answers on its admin socket, so that these tests need neither it nor a database.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Home;

/// Answers one request: its path, with the method before it, and its body go in; a status and a body come out.
pub type Answers = Arc<dyn Fn(&str, &[u8]) -> (u16, String) + Send + Sync>;

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answers: Answers) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answers = Arc::clone(&answers);
        async move {
            let what = format!("{} {}", request.method(), request.uri().path());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let (status, body) = answers(&what, &body);
            let response = Response::builder()
                .status(status)
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    // The client may hang up as it likes.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Listens at a socket in the box's folder until the test ends.
pub fn listen(
    home: &Home,
    socket: &str,
    answers: impl Fn(&str, &[u8]) -> (u16, String) + Send + Sync + 'static,
) {
    let listener = UnixListener::bind(home.path(socket)).unwrap();
    let answers: Answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answers)));
        }
    });
}

/// Serves HTTPS with the box's certificate, and returns the port.
pub async fn listen_tls(
    home: &Home,
    answers: impl Fn(&str, &[u8]) -> (u16, String) + Send + Sync + 'static,
) -> u16 {
    let certificate = CertificateDer::from_pem_file(home.path("tls/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(home.path("tls/key.pem")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream, Arc::clone(&answers)));
            }
        }
    });
    port
}

/// What requests a listener has seen.
pub type Seen = Arc<Mutex<Vec<(String, String)>>>;
