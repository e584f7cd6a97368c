//! The certificate: the box's own authority issues it, or the practice brings one.

use axum::extract::State;
use axum::response::Response;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::code::Visitor;
use super::pages::{self, Errors, Progressing, StepLink, by_field, go, steps, wrong};
use super::progress::{Progress, Step};
use super::request::{self, Ask, Source, State as Stand};
use super::rules;
use crate::error::{Error, Problems, Result};
use crate::web::{App, Form, Page, html};

/// Largest chain or key, in bytes.
const LARGEST: usize = 64 * 1024;

/// `setup/certificate.html`.
#[derive(serde::Serialize)]
pub(super) struct CertificatePage {
    steps: Vec<StepLink>,
    errors: Errors,
    source: String,
    hosts: String,
    chain: String,
    progressing: Option<Progressing>,
    done: bool,
}

impl Page for CertificatePage {
    const TEMPLATE: &'static str = "setup/certificate.html";
    fn samples() -> Vec<Self> {
        let page = |source: &str, progressing, errors, done| Self {
            steps: steps(&Progress::default(), Step::Certificate),
            errors,
            source: source.into(),
            hosts: "clinic.local".into(),
            chain: String::new(),
            progressing,
            done,
        };
        let mut samples = vec![
            page("own", None, Errors::new(), true),
            page(
                "given",
                None,
                Errors::from([(
                    "key".into(),
                    "This key does not belong to the certificate.".into(),
                )]),
                false,
            ),
        ];
        samples.extend(
            Progressing::samples()
                .into_iter()
                .map(|p| page("own", Some(p), Errors::new(), false)),
        );
        samples
    }
}

const POLL: &str = "/setup/certificate/progress";

/// Where root has got to with the last request, and whether that ended the step.
fn look(app: &App, visitor: &mut Visitor) -> Option<Progressing> {
    let step = &mut visitor.row.progress.certificate;
    let id = step.request?;
    let answer = request::answer(&app.config.requests_dir, id);
    let waited = visitor.now.unix_timestamp() - step.asked_at;
    let shown = Progressing::of(POLL, answer.as_ref(), waited, Step::Backup.path());
    if answer.is_some_and(|a| a.state == Stand::Good) {
        step.done = true;
    }
    Some(shown)
}

/// `GET /setup/certificate`
pub(super) async fn show(State(app): State<App>, mut visitor: Visitor) -> Result<Response> {
    if !visitor.row.progress.may_open(Step::Certificate) {
        return Ok(go(visitor.row.progress.next()));
    }
    let progressing = look(&app, &mut visitor);
    let progress = &visitor.row.progress;
    let step = &progress.certificate;
    let mut errors = Errors::new();
    let answer = step
        .request
        .and_then(|id| request::answer(&app.config.requests_dir, id))
        .filter(|a| a.state == Stand::Bad);
    if let Some(field) = answer.as_ref().and_then(|a| a.field.clone())
        && ["hosts", "chain", "key"].contains(&field.as_str())
        && let Some(answer) = &answer
    {
        errors.insert(field, answer.said.clone());
    }
    let page = CertificatePage {
        steps: steps(progress, Step::Certificate),
        errors,
        source: if step.source.is_empty() {
            "own".into()
        } else {
            step.source.clone()
        },
        hosts: if step.hosts.is_empty() {
            app.config.host.clone()
        } else {
            step.hosts.clone()
        },
        chain: String::new(),
        progressing,
        done: step.done,
    };
    visitor.save().await?;
    html(&app, &page)
}

/// `GET /setup/certificate/progress`: asked every second while it is under way.
pub(super) async fn progress(State(app): State<App>, mut visitor: Visitor) -> Result<Response> {
    let progressing = look(&app, &mut visitor).ok_or(Error::NotFound)?;
    if progressing.is_over() {
        visitor.save().await?;
    }
    html(&app, &pages::ProgressFragment { progressing })
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct CertificateForm {
    source: String,
    hosts: String,
    chain: String,
    key: String,
}

fn read(form: &CertificateForm, host: &str, now: OffsetDateTime) -> Result<Source> {
    let mut problems = Problems::new();
    let source = match form.source.as_str() {
        "own" => {
            let hosts: Vec<&str> = form
                .hosts
                .split([',', ' ', '\n', '\r', '\t'])
                .filter(|h| !h.is_empty())
                .collect();
            if hosts.is_empty() || hosts.len() > 8 {
                problems.add("hosts", "Write one to eight names or addresses.");
            }
            let read: Vec<String> = hosts
                .into_iter()
                .filter_map(|h| {
                    let known = rules::host(h);
                    if known.is_none() {
                        problems.add(
                            "hosts",
                            format!("\"{h}\" is neither a name such as clinic.local nor an address such as 192.168.1.10."),
                        );
                    }
                    known
                })
                .collect();
            Source::Own { hosts: read }
        }
        "given" => {
            match given(&form.chain, &form.key, host, now) {
                Ok(()) => {}
                Err((field, message)) => problems.add(field, message),
            }
            Source::Given {
                chain: form.chain.trim().to_owned() + "\n",
                key: form.key.trim().to_owned() + "\n",
            }
        }
        _ => {
            problems.add("source", "Choose one of the two.");
            Source::Own { hosts: Vec::new() }
        }
    };
    problems.check()?;
    Ok(source)
}

/// What is wrong with a certificate that was brought, and in which field.
fn given(
    chain: &str,
    key: &str,
    host: &str,
    now: OffsetDateTime,
) -> Result<(), (&'static str, String)> {
    if chain.len() > LARGEST {
        return Err(("chain", "This is longer than any certificate.".into()));
    }
    if key.len() > LARGEST {
        return Err(("key", "This is longer than any key.".into()));
    }
    if chain.contains("PRIVATE KEY") {
        return Err((
            "chain",
            "This holds the key. Put only the certificates here, and the key below.".into(),
        ));
    }
    let unreadable = || {
        (
            "chain",
            "This is not a certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----."
                .to_owned(),
        )
    };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| unreadable())?;
    if certificates.is_empty() {
        return Err(unreadable());
    }
    let mut parsed = Vec::new();
    for der in &certificates {
        let (_, certificate) =
            x509_parser::parse_x509_certificate(der).map_err(|_| unreadable())?;
        parsed.push(certificate);
    }
    for pair in parsed.windows(2) {
        if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
            return Err((
                "chain",
                "The certificates do not follow on each other: the server's own comes first, then the one that issued it, and so on.".into(),
            ));
        }
    }
    let leaf = &parsed[0];
    let (from, until) = (
        leaf.validity().not_before.to_datetime(),
        leaf.validity().not_after.to_datetime(),
    );
    if until <= now || from > now {
        return Err((
            "chain",
            format!(
                "This certificate is good from {} until {}, and not today.",
                crate::clock::stamp_text(from),
                crate::clock::stamp_text(until)
            ),
        ));
    }
    let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        (
            "key",
            "This is not a key in PEM form without a password, which begins with -----BEGIN PRIVATE KEY-----."
                .to_owned(),
        )
    })?;
    CertifiedKey::from_der(
        certificates.clone(),
        private,
        &rustls::crypto::aws_lc_rs::default_provider(),
    )
    .map_err(|_| {
        (
            "key",
            "This key does not belong to the certificate.".to_owned(),
        )
    })?;
    let end_entity =
        rustls::server::ParsedCertificate::try_from(&certificates[0]).map_err(|_| unreadable())?;
    let fits = rustls::pki_types::ServerName::try_from(host.to_owned())
        .is_ok_and(|name| rustls::client::verify_server_name(&end_entity, &name).is_ok());
    if !fits {
        return Err((
            "chain",
            format!("This certificate is not for {host}, the name staff type for this server."),
        ));
    }
    Ok(())
}

/// `POST /setup/certificate`
pub(super) async fn ask(
    State(app): State<App>,
    mut visitor: Visitor,
    Form(form): Form<CertificateForm>,
) -> Result<Response> {
    if !visitor.row.progress.may_open(Step::Certificate) {
        return Ok(go(visitor.row.progress.next()));
    }
    let source = match read(&form, &app.config.host, visitor.now) {
        Ok(source) => source,
        Err(Error::Invalid(fields)) => {
            return wrong(
                &app,
                &CertificatePage {
                    steps: steps(&visitor.row.progress, Step::Certificate),
                    errors: by_field(fields),
                    source: form.source,
                    hosts: form.hosts,
                    chain: form.chain,
                    progressing: None,
                    done: visitor.row.progress.certificate.done,
                },
            );
        }
        Err(other) => return Err(other),
    };
    let id = send(&app, visitor.now, Ask::Certificate { source }).await?;
    let step = &mut visitor.row.progress.certificate;
    step.request = Some(id);
    step.asked_at = visitor.now.unix_timestamp();
    step.source = form.source;
    step.hosts = form.hosts;
    step.done = false;
    visitor.save().await?;
    Ok(go(Step::Certificate))
}

/// Sends a request to root.
pub(super) async fn send(app: &App, now: OffsetDateTime, ask: Ask) -> Result<uuid::Uuid> {
    let folder = app.config.requests_dir.clone();
    tokio::task::spawn_blocking(move || request::send(&folder, now, ask))
        .await
        .map_err(Error::internal)?
        .map_err(|error| {
            tracing::error!(%error, "a request to root could not be written");
            Error::Unavailable(
                "The server could not be asked: its folder for requests can't be written. Look at `journalctl -u hadada`."
                    .into(),
            )
        })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::macros::datetime;

    use super::*;

    fn pair(host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = datetime!(2026-11-01 00:00 UTC);
        params.not_after = datetime!(2026-12-01 00:00 UTC);
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_that_is_brought_is_looked_at_before_root_is_asked() {
        let now = datetime!(2026-11-24 08:00 UTC);
        let (chain, key) = pair("clinic.example.org");
        let (other_chain, other_key) = pair("clinic.example.org");
        let check = |chain: &str, key: &str, host: &str, now| {
            given(chain, key, host, now).map_err(|(field, _)| field)
        };
        assert_eq!(check(&chain, &key, "clinic.example.org", now), Ok(()));
        assert_eq!(
            check(&chain, &other_key, "clinic.example.org", now),
            Err("key")
        );
        assert_eq!(
            check(&chain, "nonsense", "clinic.example.org", now),
            Err("key")
        );
        assert_eq!(check(&key, &key, "clinic.example.org", now), Err("chain"));
        assert_eq!(check("", &key, "clinic.example.org", now), Err("chain"));
        assert_eq!(check(&chain, &key, "other.example.org", now), Err("chain"));
        assert_eq!(
            check(
                &chain,
                &key,
                "clinic.example.org",
                datetime!(2027-01-01 00:00 UTC)
            ),
            Err("chain")
        );
        let mixed = format!("{chain}{other_chain}");
        // Both name the same issuer, so the order is all that can be told; the key must still be the first one's.
        assert_eq!(
            check(&mixed, &other_key, "clinic.example.org", now),
            Err("key")
        );
    }
}
