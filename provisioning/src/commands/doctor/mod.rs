//! `doctor`: looks at everything a box needs and says what to do about what is wrong.

mod installed;

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ed25519_dalek::{SigningKey, VerifyingKey};
use hadada_audit_log::Head;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, header::HOST};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::Outcome;
use crate::admin::{self, Socket};
use crate::disk;
use crate::files;
use crate::place::Place;
use crate::secrets::{
    self, AUDIT_KEY, AUTHORITY_KEY, CERTIFICATE_KEY, MASTER_KEY, NEXT_MASTER_KEY,
};
use crate::trust::certificates::{Facts, RENEW_BEFORE, list};

const PATIENCE: Duration = Duration::from_secs(10);
/// Below this many free bytes a write may fail within the day.
const DISK_LEAST: u64 = 2 << 30;
/// Below this share of free space it is time to act.
const DISK_SHARE: f64 = 0.10;
/// A new authority means a visit to every device, so there is a year's notice.
const AUTHORITY_NOTICE_DAYS: i64 = 365;

/// Sealing takes half a second; as many events as this are never waiting while it works.
const MANY_UNSEALED: i64 = 1000;

#[derive(Default)]
struct Findings {
    warnings: u32,
    faults: u32,
}

impl Findings {
    fn good(&mut self, what: &str, detail: impl Display) {
        println!("ok    {what}: {detail}");
    }

    fn warn(&mut self, what: &str, detail: impl Display, act: &str) {
        self.warnings += 1;
        println!("warn  {what}: {detail}\n      → {act}");
    }

    fn fault(&mut self, what: &str, detail: impl Display, act: &str) {
        self.faults += 1;
        println!("FAULT {what}: {detail}\n      → {act}");
    }
}

/// Checks everything there is, faults or not, and prints a line for each.
///
/// # Errors
/// Never for a fault of the box; those are findings.
pub async fn run(place: &Place, port: u16, now: OffsetDateTime) -> Result<Outcome> {
    let mut findings = Findings::default();
    check_records_disk(place, &mut findings);
    check_keys(place, &mut findings);
    check_certificates(place, now, &mut findings);
    check_disk(place, &mut findings);
    check_status(place, &mut findings).await;
    check_inference(place, &mut findings).await;
    check_web(place, port, &mut findings).await;
    if place.is_installed() {
        installed::check(place, now, &mut findings);
    }
    let Findings { warnings, faults } = findings;
    println!("\n{faults} faults, {warnings} warnings");
    Ok(if faults == 0 {
        Outcome::Good
    } else {
        Outcome::Fault
    })
}

/// Without its disk a box has neither records nor keys: whatever else is wrong then comes from that.
fn check_records_disk(place: &Place, findings: &mut Findings) {
    if !place.is_installed() {
        return;
    }
    match (disk::closed_words(), disk::configured()) {
        (Some((what, act)), _) => findings.fault("records' disk", what, &act),
        (None, Some(device)) => findings.good(
            "records' disk",
            format!(
                "{} is encrypted and open; `hadadactl disk status` says what opens it",
                device.display()
            ),
        ),
        (None, None) => findings.warn(
            "records' disk",
            "it is not encrypted by this box: who steals the machine reads bookings and bills",
            "hadadactl disk encrypt, unless the machine's disks are encrypted in another way",
        ),
    }
}

fn check_keys(place: &Place, findings: &mut Findings) {
    if !place.is_installed() && !check_keys_folder(place, findings) {
        return;
    }
    check_secret("master key", place, MASTER_KEY, findings);
    if secrets::path(place, NEXT_MASTER_KEY).exists() {
        findings.warn(
            "master key",
            "changing it broke off: the one before still opens the records too",
            "hadadactl keys new-master, which goes on",
        );
    }
    if let Some(secret) = check_secret("audit key", place, AUDIT_KEY, findings) {
        let public = SigningKey::from_bytes(&secret).verifying_key().to_bytes();
        match files::read_public_key(&place.audit_public_key()) {
            Ok(Some(written)) if written == public => {
                findings.good("audit key's public half", hex::encode(public))
            }
            _ => findings.fault(
                "audit key's public half",
                format!(
                    "{} is missing or belongs to another key",
                    place.audit_public_key().display()
                ),
                "hadadactl init writes it again from the key",
            ),
        }
    }
    match files::read_key(&place.recovery_public_key()) {
        Ok(Some(_)) => findings.good(
            "recovery key",
            "its public half is there; `hadadactl recovery check` proves the paper",
        ),
        _ => findings.fault(
            "recovery key",
            "there is none, so a broken board would lose every note",
            "hadadactl init makes one and shows it once",
        ),
    }
}

/// False where nothing more can be seen.
fn check_keys_folder(place: &Place, findings: &mut Findings) -> bool {
    match files::mode(&place.keys()) {
        Ok(mode) if mode & 0o007 == 0 => findings.good(
            "keys folder",
            format!("{} {mode:04o}", place.keys().display()),
        ),
        Ok(mode) => findings.fault(
            "keys folder",
            format!(
                "anybody can look into {} ({mode:04o})",
                place.keys().display()
            ),
            &format!("chmod 700 {}", place.keys().display()),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            findings.fault("keys folder", error, "run this as root");
            return false;
        }
        Err(error) => findings.fault(
            "keys folder",
            format!("{}: {error}", place.keys().display()),
            "hadadactl init, or say with --dir where the box is",
        ),
    }
    true
}

fn check_secret(
    what: &str,
    place: &Place,
    name: &str,
    findings: &mut Findings,
) -> Option<Zeroizing<[u8; 32]>> {
    let path = secrets::path(place, name);
    let shown = path.display();
    if !path.exists() {
        findings.fault(
            what,
            format!("there is no {shown}"),
            "put it back from a backup; only a new box gets a new one, from hadadactl init",
        );
        return None;
    }
    match secrets::key(place, name) {
        Ok(key) => {
            check_private(what, &path, findings);
            Some(key)
        }
        Err(error) => {
            findings.fault(
                what,
                format!("{error:#}"),
                "run this as root; put a damaged key back from a backup of this machine",
            );
            None
        }
    }
}

/// Says so where others than a secret's owner can read it.
fn check_private(what: &str, path: &Path, findings: &mut Findings) {
    let shown = path.display();
    match files::mode(path) {
        Ok(mode) if mode & 0o077 == 0 => findings.good(what, format!("{shown} {mode:04o}")),
        Ok(mode) => findings.fault(
            what,
            format!("others than its owner can read {shown} ({mode:04o})"),
            &format!("chmod 600 {shown}, and think about who has read it"),
        ),
        Err(error) => findings.fault(what, error, "run this as root"),
    }
}

fn read_certificate(path: &Path) -> Result<Facts> {
    let pem =
        files::read_if_there(path)?.with_context(|| format!("there is no {}", path.display()))?;
    Ok(Facts::read(&String::from_utf8_lossy(&pem))?)
}

fn check_certificates(place: &Place, now: OffsetDateTime, findings: &mut Findings) {
    let authority = match read_certificate(&place.authority()) {
        Ok(facts) => facts,
        Err(error) => {
            findings.fault(
                "certificate authority",
                format!("{error:#}"),
                "hadadactl init, or put it back from a backup",
            );
            return;
        }
    };
    let days = authority.days_left(now);
    if days < AUTHORITY_NOTICE_DAYS {
        findings.warn(
            "certificate authority",
            format!("ends in {days} days"),
            "plan a visit to every device: move ca.pem and ca.key away, run hadadactl init, install the new ca.pem",
        );
    } else {
        findings.good(
            "certificate authority",
            format!(
                "good for {days} days, for {} only",
                list(&authority.permitted)
            ),
        );
    }

    let renew = "hadadactl certificate renew";
    let certificate = match read_certificate(&place.certificate()) {
        Ok(facts) => facts,
        Err(error) => return findings.fault("certificate", format!("{error:#}"), renew),
    };
    let key = secrets::read(place, CERTIFICATE_KEY)
        .ok()
        .flatten()
        .unwrap_or_default();
    let days = certificate.days_left(now);
    if !certificate.is_signed_by(&authority) {
        findings.fault("certificate", "the box's authority did not sign it", renew);
    } else if !certificate.has_key(&String::from_utf8_lossy(&key)) {
        findings.fault(
            "certificate",
            format!(
                "{} is missing or is not its key",
                secrets::path(place, CERTIFICATE_KEY).display()
            ),
            renew,
        );
    } else if now < certificate.not_before {
        findings.fault(
            "certificate",
            format!("is valid from {} on", certificate.not_before.date()),
            "set this machine's clock right",
        );
    } else if now > certificate.not_after {
        findings.fault("certificate", "has ended; browsers refuse the box", renew);
    } else if certificate.not_after - now < RENEW_BEFORE {
        findings.warn("certificate", format!("ends in {days} days"), renew);
    } else {
        findings.good(
            "certificate",
            format!("good for {days} days, for {}", list(&certificate.hosts)),
        );
    }
    for name in [AUTHORITY_KEY, CERTIFICATE_KEY] {
        let secret = secrets::path(place, name);
        if let Ok(mode) = files::mode(&secret)
            && mode & 0o007 != 0
        {
            let shown = secret.display();
            findings.fault(
                "certificate",
                format!("anybody can read {shown} ({mode:04o})"),
                &format!("chmod 600 {shown}, then make new ones"),
            );
        }
    }
}

fn check_disk(place: &Place, findings: &mut Findings) {
    let what = "disk";
    match rustix::fs::statvfs(place.state()) {
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize;
            let share = disk.f_bavail as f64 / disk.f_blocks.max(1) as f64;
            let detail = format!("{:.1} GB free, {:.0} %", free as f64 / 1e9, share * 100.0);
            let act = "delete what is not the box's, or put in a larger disk";
            if free < DISK_LEAST {
                findings.fault(what, detail, act);
            } else if share < DISK_SHARE {
                findings.warn(what, detail, act);
            } else {
                findings.good(what, detail);
            }
        }
        Err(error) => findings.fault(what, error, "say with --dir where the box is"),
    }
}

async fn check_status(place: &Place, findings: &mut Findings) {
    // Read first: the log may only grow past it.
    let head = read_head(place);
    let answer = match timeout(PATIENCE, Socket::new(place.admin_socket()).get("/status")).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            return findings.fault(
                "hadada",
                format!("{error:#}"),
                "start it and look at its log",
            );
        }
        Err(_) => {
            return findings.fault(
                "hadada",
                "did not answer in 10 seconds",
                "restart it and look at its log",
            );
        }
    };
    findings.good("hadada", format!("version {}", word(answer.get("version"))));
    for (part, act) in [
        ("database", "start PostgreSQL and look at its log"),
        ("migrations", "run `hadada migrate`"),
    ] {
        let state = answer.get(part);
        if is_well(state) {
            findings.good(part, word(state));
        } else {
            findings.fault(part, word(state), act);
        }
    }
    let inference = answer.get("inference");
    if is_well(inference) {
        findings.good("drafting", word(inference));
    } else {
        findings.warn(
            "drafting",
            word(inference),
            "the clinic works on without drafts; restart hadada-inference",
        );
    }
    check_audit(place, head, &answer, findings);
}

fn read_head(place: &Place) -> Result<Option<Head>> {
    let Some(json) = files::read_if_there(&place.head())? else {
        return Ok(None);
    };
    let key = files::read_public_key(&place.audit_public_key())?
        .context("the audit key's public half is missing")?;
    let key = VerifyingKey::from_bytes(&key)?;
    Ok(Some(Head::from_json(
        &String::from_utf8_lossy(&json),
        &key,
    )?))
}

fn check_audit(place: &Place, head: Result<Option<Head>>, answer: &Value, findings: &mut Findings) {
    let verify =
        "run `hadadactl audit verify`, and tell the practice's information officer what it finds";
    let count = |key| answer.pointer(key).and_then(Value::as_i64);
    let Some(sealed) = count("/audit/sealed") else {
        return findings.fault(
            "audit",
            "hadada does not say what is sealed",
            "look at its log",
        );
    };
    if let Some(refusal) = answer.pointer("/audit/refusal").and_then(Value::as_str) {
        findings.fault(
            "audit sealing",
            format!("hadada refuses to seal: {refusal}"),
            "new events wait and nothing is lost: run `hadadactl audit verify`, keep what it says, and tell the practice's \
             information officer; sealing goes on by itself once the removed seals are back from a backup",
        );
    }
    match count("/audit/unsealed") {
        Some(waiting) if waiting >= MANY_UNSEALED => findings.fault(
            "audit",
            format!("{waiting} events wait for their seal, {sealed} are sealed"),
            "sealing has stopped: look at hadada's log, then run `hadadactl audit verify`",
        ),
        Some(waiting) => findings.good(
            "audit",
            format!("{sealed} events sealed, {waiting} waiting"),
        ),
        None => findings.fault(
            "audit",
            "hadada does not say how many events wait for their seal",
            "look at its log",
        ),
    }
    let what = "audit head";
    match head {
        Ok(Some(head)) if head.total > sealed => findings.fault(
            what,
            format!(
                "it counts {} events, the database only {sealed}: the log was cut short",
                head.total
            ),
            verify,
        ),
        Ok(Some(head)) => findings.good(
            what,
            format!("{} at {}", head.slip(), place.head().display()),
        ),
        Ok(None) if sealed == 0 => findings.good(what, "none yet, for nothing is sealed"),
        Ok(None) => findings.fault(
            what,
            format!("there is no {}", place.head().display()),
            verify,
        ),
        Err(error) => findings.fault(what, format!("{error:#}"), verify),
    }
}

/// A part's state as `hadada` tells it: `true`, a word, or an object with `ok`, `state` or `status`.
fn is_well(state: Option<&Value>) -> bool {
    match state {
        Some(Value::Bool(well)) => *well,
        Some(Value::String(word)) => matches!(word.as_str(), "ok" | "up" | "ready" | "current"),
        Some(Value::Object(parts)) => is_well(
            ["ok", "state", "status"]
                .iter()
                .find_map(|key| parts.get(*key)),
        ),
        _ => false,
    }
}

fn word(state: Option<&Value>) -> String {
    match state {
        None | Some(Value::Null) => "not told".to_owned(),
        Some(Value::Bool(true)) => "ok".to_owned(),
        Some(Value::Bool(false)) => "not working".to_owned(),
        Some(Value::String(word)) => word.clone(),
        Some(Value::Object(parts)) => {
            let parts: Vec<String> = parts
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key} {}", word(Some(value))))
                .collect();
            parts.join(", ")
        }
        Some(other) => other.to_string(),
    }
}

async fn check_inference(place: &Place, findings: &mut Findings) {
    let path = place.inference_socket();
    let act = "the clinic works on without drafts; restart hadada-inference and look at its log";
    if let Err(error) = admin::listens(&path) {
        return findings.warn(
            "inference socket",
            format!("{}: {error}", path.display()),
            act,
        );
    }
    match timeout(PATIENCE, Socket::new(path).status("/health")).await {
        Ok(Ok(health)) => {
            let of = |name| health.get(name).and_then(Value::as_str);
            match (of("state"), of("reason")) {
                (Some("ready"), None) => findings.good("inference socket", word(Some(&health))),
                (_, Some(reason)) if reason.contains("hadadactl") => findings.warn(
                    "inference socket",
                    reason,
                    "the clinic works on without drafts; do as it says",
                ),
                (state, reason) => findings.warn(
                    "inference socket",
                    format!(
                        "{}: {}",
                        state.unwrap_or("no state"),
                        reason.unwrap_or("no reason is given")
                    ),
                    act,
                ),
            }
        }
        Ok(Err(error)) => findings.warn("inference socket", format!("{error:#}"), act),
        Err(_) => findings.warn("inference socket", "did not answer in 10 seconds", act),
    }
}

async fn check_web(place: &Place, port: u16, findings: &mut Findings) {
    let what = format!("https://localhost:{port}/readyz");
    match timeout(PATIENCE, ask_ready(place, port)).await {
        Ok(Ok(Ready { status, served })) => {
            if status.is_success() {
                findings.good(&what, status);
            } else {
                findings.fault(&what, status, "look at the lines above and at hadada's log");
            }
            if read_certificate(&place.certificate()).is_ok_and(|facts| facts.der != served) {
                findings.warn(
                    &what,
                    "serves another certificate than the one in its folder",
                    "reload hadada",
                );
            }
        }
        Ok(Err(error)) => findings.fault(
            &what,
            format!("{error:#}"),
            "start hadada, or say with --port where it serves",
        ),
        Err(_) => findings.fault(
            &what,
            "did not answer in 10 seconds",
            "restart hadada and look at its log",
        ),
    }
}

struct Ready {
    status: StatusCode,
    served: Vec<u8>,
}

/// Asks as a browser of the clinic does, trusting the box's own authority and nobody else.
async fn ask_ready(place: &Place, port: u16) -> Result<Ready> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(
            read_certificate(&place.authority())?.der,
        ))
        .context("the authority is no certificate")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .context("nobody listens there")?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost")?, stream)
        .await
        .context("TLS failed")?;
    let served = match stream.get_ref().1.peer_certificates() {
        Some([certificate, ..]) => certificate.to_vec(),
        _ => bail!("it showed no certificate"),
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header(HOST, format!("localhost:{port}"))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    Ok(Ready { status, served })
}
