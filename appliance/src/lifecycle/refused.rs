//! Who was turned away at the port of IT and vendors, and why: in the audit log, however many they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::tls::{self, Certificates, ClientCertificate};
use crate::audit;
use crate::web::App;

/// How long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Refusals of one window, for one reason, that have an event each; the others are counted in one more.
const EACH: u64 = 10;

/// Somebody who was turned away.
struct Refused {
    why: &'static str,
    text: String,
}

/// How many more were turned away, by the reason.
type More = Arc<Mutex<BTreeMap<&'static str, u64>>>;

fn add(more: &More, why: &'static str, count: u64) {
    let mut more = more.lock().unwrap_or_else(PoisonError::into_inner);
    *more.entry(why).or_default() += count;
}

/// Where those who are turned away are told of.
#[derive(Clone)]
pub(super) struct Teller {
    refused: mpsc::Sender<Refused>,
    more: More,
}

/// What [`record`] reads.
pub(super) struct Told {
    refused: mpsc::Receiver<Refused>,
    more: More,
}

pub(super) fn channel() -> (Teller, Told) {
    let (sender, receiver) = mpsc::channel(32);
    let more = More::default();
    let teller = Teller {
        refused: sender,
        more: more.clone(),
    };
    let told = Told {
        refused: receiver,
        more,
    };
    (teller, told)
}

impl Teller {
    fn tell(&self, refused: Refused) {
        let why = refused.why;
        if self.refused.try_send(refused).is_err() {
            add(&self.more, why, 1);
        }
    }
}

/// Lets in who shows a good certificate, and tells of everybody else.
#[derive(Clone)]
pub(super) struct Guarded {
    certificates: Certificates,
    verifier: Arc<dyn ClientCertVerifier>,
    teller: Teller,
}

impl Guarded {
    pub(super) fn new(
        certificates: Certificates,
        verifier: Arc<dyn ClientCertVerifier>,
        teller: Teller,
    ) -> Self {
        Self {
            certificates,
            verifier,
            teller,
        }
    }

    pub(super) async fn let_in(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let shown = Arc::<Shown>::default();
        let witness = Witness {
            inner: self.verifier.clone(),
            shown: shown.clone(),
        };
        let config = tls::for_certified(self.certificates.clone(), Arc::new(witness))?;
        match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => Ok(stream),
            Err(error) => {
                let cause = error.get_ref().and_then(|error| error.downcast_ref());
                let nothing = matches!(cause, Some(rustls::Error::NoCertificatesPresented));
                let why = shown.fault.get().copied();
                if let Some(why) = why.or(nothing.then_some("it showed no certificate")) {
                    let who = shown.certificate.get();
                    let who = who.map(|certificate| format!(" ({})", certificate.who()));
                    let text = format!(
                        "{} was turned away: {why}{}",
                        address.ip(),
                        who.unwrap_or_default()
                    );
                    self.teller.tell(Refused { why, text });
                }
                Err(error.into())
            }
        }
    }
}

/// Why a certificate did not do. What it says of itself is looked at before who signed it: it may be anybody's.
fn fault(error: &rustls::Error) -> &'static str {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "it showed a certificate that says it has expired"
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "it showed a certificate that says it is not valid yet; or the box's clock is behind"
            }
            Bad::Revoked => "it showed a certificate that was taken away",
            Bad::UnknownIssuer | Bad::BadSignature => {
                "it showed a certificate that is not from this box's authority for remote access"
            }
            Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
                "it showed a certificate that is not for remote access"
            }
            _ => NOT_IN_ORDER,
        },
        _ => NOT_IN_ORDER,
    }
}

const NOT_IN_ORDER: &str = "it showed a certificate that is not in order";
const NO_KEY: &str = "it showed a certificate whose key it does not hold";

/// What a client showed, and what was wrong with it.
#[derive(Debug, Default)]
struct Shown {
    certificate: OnceLock<ClientCertificate>,
    fault: OnceLock<&'static str>,
}

/// Remembers which certificate a client showed, for rustls tells nobody when it is refused.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn ClientCertVerifier>,
    shown: Arc<Shown>,
}

impl ClientCertVerifier for Witness {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let certificate = || ClientCertificate(end_entity.as_ref().into());
        self.shown.certificate.get_or_init(certificate);
        self.inner
            .verify_client_cert(end_entity, intermediates, now)
            .inspect_err(|error| {
                self.shown.fault.get_or_init(|| fault(error));
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, cert, dss)
            .inspect_err(|_| {
                self.shown.fault.get_or_init(|| NO_KEY);
            })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, cert, dss)
            .inspect_err(|_| {
                self.shown.fault.get_or_init(|| NO_KEY);
            })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Puts refusals into the audit log until told to stop: for each reason the first of a minute, the others as their number, so
/// that whoever knocks all day neither fills a disk nor hides somebody else. What is counted is written when the minute, or
/// remote access, is over.
pub(super) async fn record(app: &App, mut told: Told, stop: &CancellationToken) {
    let mut window = Instant::now();
    let mut written = BTreeMap::<&str, u64>::new();
    let mut changed = pin!(app.remote_changed.notified());
    changed.as_mut().enable();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                told.refused.close();
                while let Ok(refused) = told.refused.try_recv() {
                    add(&told.more, refused.why, 1);
                }
            }
            Some(refused) = told.refused.recv() => {
                let written = written.entry(refused.why).or_default();
                *written += 1;
                if *written > EACH || !write(app, &refused.text).await {
                    add(&told.more, refused.why, 1);
                }
                continue;
            }
            () = tokio::time::sleep_until(window + WINDOW) => {
                window = Instant::now();
                written.clear();
            }
            () = &mut changed => {
                changed.set(app.remote_changed.notified());
                changed.as_mut().enable();
            }
        }
        let more = std::mem::take(&mut *told.more.lock().unwrap_or_else(PoisonError::into_inner));
        for (why, count) in more {
            if !write(app, &format!("{count} more were turned away: {why}")).await {
                add(&told.more, why, count);
            }
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

/// Whether it is in the log.
async fn write(app: &App, what: &str) -> bool {
    tracing::warn!(refused = what, "remote access");
    audit::record_box_refusal(app, crate::remote::ACTOR, what)
        .await
        .inspect_err(
            |error| tracing::error!(%error, what, "a refusal could not be put into the audit log"),
        )
        .is_ok()
}
