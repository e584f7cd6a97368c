//! The program as systemd runs it: with a socket it is given, telling how it is, over TLS whose certificate changes under it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Bare, connect_as, programs};

/// An authority and what it issues.
struct Authority {
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            key,
        }
    }

    fn issue(&self, name: &str, for_what: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![for_what];
        let issuer = Issuer::from_ca_cert_pem(&self.pem, &self.key).unwrap();
        (
            params.signed_by(&key, &issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

/// A server in a process of its own, on a socket that it is given as systemd gives it.
struct Service {
    bare: Bare,
    authority: Authority,
    port: u16,
    /// Port of the socket for IT and vendors.
    remote: u16,
    child: Child,
    told: UnixDatagram,
}

impl Service {
    async fn start(more: &str) -> Self {
        let bare = Bare::start().await;
        let authority = Authority::new("test authority");
        let folder = bare.folder.path();
        let (chain, key) = authority.issue("first", ExtendedKeyUsagePurpose::ServerAuth);
        std::fs::write(&bare.config.tls_certificate, chain).unwrap();
        std::fs::write(&bare.config.tls_key, key).unwrap();
        let c = &bare.config;
        let text = |p: &PathBuf| format!("{:?}", p.display().to_string());
        let config = format!(
            "postgres = {}\nrecords_database = {:?}\nkeys_database = {:?}\ntls_certificate = {}\ntls_key = {}\nmaster_key = {}\nrecovery_key = {}\n\
             audit_key = {}\naudit_head = {}\ninference_socket = {}\nadmin_socket = {}\nsetup_dir = {}\nrequests_dir = {}\nfacts_dir = {}\n\
             erasure_register = {}\nupdate_incoming = {}\n{more}\n[box.backup]\nkeep = 7\n",
            text(&c.postgres),
            c.records_database,
            c.keys_database,
            text(&c.tls_certificate),
            text(&c.tls_key),
            text(&c.master_key),
            text(&c.recovery_key),
            text(&c.audit_key),
            text(&c.audit_head),
            text(&c.inference_socket),
            text(&c.admin_socket),
            text(&c.setup_dir),
            text(&c.requests_dir),
            text(&c.facts_dir),
            text(&c.erasure_register),
            text(&c.update_incoming),
        );
        let path = folder.join("hadada.toml");
        std::fs::write(&path, config).unwrap();
        let told = UnixDatagram::bind(folder.join("notify.sock")).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let [pages, remote] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, remote_port] = [&pages, &remote].map(|l| l.local_addr().unwrap().port());
        // As systemd does: the sockets are descriptors 3 and 4, and the process knows that they are meant.
        let child = Command::new("bash")
            .args(["-c", "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:remote; exec \"$0\" --config \"$1\" serve"])
            .arg(programs().join("hadada"))
            .arg(&path)
            .env("NOTIFY_SOCKET", folder.join("notify.sock"))
            .env("WATCHDOG_USEC", "1500000")
            .stdin(Stdio::from(OwnedFd::from(pages)))
            .stdout(Stdio::from(OwnedFd::from(remote)))
            .spawn()
            .unwrap();
        let service = Self {
            bare,
            authority,
            port,
            remote: remote_port,
            child,
            told,
        };
        service.hear("READY=1");
        service
    }

    /// Waits until the program says this.
    fn hear(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let n = self
                .told
                .recv(&mut buffer)
                .unwrap_or_else(|e| panic!("{what} was not told: {e}"));
            if String::from_utf8_lossy(&buffer[..n])
                .lines()
                .any(|line| line == what)
            {
                return;
            }
        }
        panic!("{what} was not told");
    }

    /// What remote access has put into the audit log from the moment `is_there` holds.
    async fn log_until(&self, is_there: impl Fn(&[String]) -> bool, what: &str) -> Vec<String> {
        let config = &self.bare.config;
        let mut db = connect_as("postgres", &config.records_database).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log: Vec<String> = sqlx::query_scalar(
                "SELECT reason FROM audit_events WHERE actor = 'remote access' AND action = 'refuse' ORDER BY at, id",
            )
            .fetch_all(&mut db)
            .await
            .unwrap();
            if is_there(&log) {
                return log;
            }
            assert!(Instant::now() < deadline, "{what}: {log:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn client(
        &self,
        identity: Option<(String, String)>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(
        &self,
        port: u16,
        connector: &TlsConnector,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        connector
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

const MODERN: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
const OLD: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// One request on an open connection; gives the status line and the body.
async fn ask(
    stream: &mut TlsStream<TcpStream>,
    request: &str,
) -> std::io::Result<(String, String)> {
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .lines()
        .find_map(|l| {
            l.to_lowercase()
                .strip_prefix("content-length: ")
                .map(|n| n.trim().parse::<usize>().unwrap())
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((
        head.lines().next().unwrap_or_default().to_owned(),
        String::from_utf8_lossy(&body).into_owned(),
    ))
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn leaf(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn systemd_s_socket_is_served_and_systemd_is_told() {
    let mut service = Service::start("").await;
    let connector = service.client(None, MODERN);
    let mut stream = service.connect(service.port, &connector).await.unwrap();
    let (status, body) = ask(&mut stream, HEALTH).await.unwrap();
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok"));
    service.hear("WATCHDOG=1");
    service.hear("WATCHDOG=1");
    service.signal("-TERM");
    service.hear("STOPPING=1");
    assert!(service.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_page_asked_for_as_the_program_stops_is_still_served() {
    let mut service = Service::start("").await;
    let connector = service.client(None, MODERN);
    let mut used = service.connect(service.port, &connector).await.unwrap();
    ask(&mut used, HEALTH).await.unwrap();
    let mut fresh = service.connect(service.port, &connector).await.unwrap();
    service.signal("-TERM");
    service.hear("STOPPING=1");
    // The connection that was idle is closed at once, so its user waits for nothing.
    assert_eq!(used.read(&mut [0]).await.unwrap(), 0);
    let (status, body) = ask(&mut fresh, HEALTH).await.unwrap();
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok"));
    // That was its last.
    assert_eq!(fresh.read(&mut [0]).await.unwrap(), 0);
    assert!(service.child.wait().unwrap().success());
}

#[tokio::test]
async fn who_must_sign_in_first_is_told_so_although_nobody_read_the_form() {
    let service = Service::start("").await;
    let connector = service.client(None, MODERN);
    let mut stream = service.connect(service.port, &connector).await.unwrap();
    let form = format!("given_name={}", "x".repeat(1_000_000));
    for _ in 0..3 {
        let head = format!(
            "POST /patients HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            form.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (status, _) = ask(&mut stream, &form).await.unwrap();
        assert_eq!(status, "HTTP/1.1 303 See Other");
    }
    let (status, _) = ask(&mut stream, HEALTH).await.unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_stopped_accept_loop_is_not_reported_as_well() {
    let service = Service::start("").await;
    service.hear("WATCHDOG=1");
    service.signal("-STOP");
    service
        .told
        .set_read_timeout(Some(Duration::from_millis(2500)))
        .unwrap();
    let mut buffer = [0; 512];
    // What was under way before the stop may still lie in the socket.
    while service.told.recv(&mut buffer).is_ok() {}
    service.signal("-CONT");
    service
        .told
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    service.hear("WATCHDOG=1");
}

#[tokio::test]
async fn pages_are_served_while_systemd_is_behind_with_reading() {
    let service = Service::start("").await;
    let connector = service.client(None, MODERN);
    let to = UnixDatagram::unbound().unwrap();
    to.connect(service.bare.folder.path().join("notify.sock"))
        .unwrap();
    to.set_nonblocking(true).unwrap();
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(service.connect(service.port, &connector).await.unwrap());
    }
    // For six turns of the watchdog: what it tells finds the queue full.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        while to.send(b"STATUS=full").is_ok() {}
        for stream in &mut streams {
            let (status, _) = tokio::time::timeout(Duration::from_secs(20), ask(stream, HEALTH))
                .await
                .expect("an answer")
                .unwrap();
            assert_eq!(status, "HTTP/1.1 200 OK");
        }
    }
}

#[tokio::test]
async fn tls_1_2_is_spoken_only_where_it_is_switched_on() {
    for (setting, expected) in [("", false), ("tls12 = true", true)] {
        let service = Service::start(setting).await;
        let old = service.client(None, OLD);
        assert_eq!(
            service.connect(service.port, &old).await.is_ok(),
            expected,
            "{setting}"
        );
        let modern = service.client(None, MODERN);
        service.connect(service.port, &modern).await.unwrap();
    }
}

#[tokio::test]
async fn two_hundred_connections_outlive_a_renewed_certificate() {
    let service = Service::start("").await;
    let connector = service.client(None, MODERN);
    let stop = tokio_util::sync::CancellationToken::new();
    let mut busy = tokio::task::JoinSet::new();
    let mut before = None;
    for _ in 0..200 {
        let mut stream = service.connect(service.port, &connector).await.unwrap();
        before.get_or_insert_with(|| leaf(&stream));
        let stop = stop.clone();
        // Each goes on asking, through the renewal and once more after it.
        busy.spawn(async move {
            let mut answered = 0;
            loop {
                let last = stop.is_cancelled();
                let (status, _) =
                    tokio::time::timeout(Duration::from_secs(60), ask(&mut stream, HEALTH))
                        .await
                        .expect("an answer within a minute")
                        .unwrap();
                assert_eq!(status, "HTTP/1.1 200 OK");
                answered += 1;
                if last {
                    return answered;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    let (chain, key) = service
        .authority
        .issue("second", ExtendedKeyUsagePurpose::ServerAuth);
    // As a renewal does: whole files put in place of the old ones.
    for (path, text) in [
        (&service.bare.config.tls_key, key),
        (&service.bare.config.tls_certificate, chain),
    ] {
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, path).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stream = tokio::time::timeout(
            Duration::from_secs(60),
            service.connect(service.port, &service.client(None, MODERN)),
        )
        .await
        .expect("a handshake within a minute")
        .unwrap();
        if Some(leaf(&stream)) != before {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the renewed certificate was not taken up"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.cancel();
    let answered = busy.join_all().await;
    assert_eq!(answered.len(), 200);
    assert!(answered.iter().all(|n| *n >= 2), "{answered:?}");
}

/// Asks the admin socket.
async fn admin(socket: &Path, method: &str, path: &str, body: &str) -> String {
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: box\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn remote_access_wants_a_certificate_of_its_own_authority_and_only_while_open() {
    let clients = Authority::new("IT and vendors");
    let pem = clients.pem.clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.pem");
    std::fs::write(&path, pem).unwrap();
    let service = Service::start(&format!(
        "client_authority = {:?}",
        path.display().to_string()
    ))
    .await;
    service.bare.furnish().await;
    let remote = service.remote;
    let vendor = service.client(
        Some(clients.issue("vendor", ExtendedKeyUsagePurpose::ClientAuth)),
        MODERN,
    );
    assert!(
        service.connect(remote, &vendor).await.is_err(),
        "closed until somebody opens it"
    );

    let socket = &service.bare.config.admin_socket;
    let until = (time::OffsetDateTime::now_utc() + time::Duration::hours(1))
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let opened = admin(
        socket,
        "POST",
        "/remote-access",
        &format!("{{\"until\":\"{until}\",\"reason\":\"test\"}}"),
    )
    .await;
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut stream = loop {
        match service.connect(remote, &vendor).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (status, body) = ask(
        &mut stream,
        "GET /box/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await
    .unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
    let push =
        "POST /box/update/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nbundle";
    let (status, body) = ask(&mut stream, push).await.unwrap();
    assert_eq!(status, "HTTP/1.1 202 Accepted", "{body}");
    let (status, _) = ask(&mut stream, "GET /day HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status, "HTTP/1.1 404 Not Found", "no patients' pages there");

    // Without a certificate, or with the server's own authority's: nothing.
    let own = service
        .authority
        .issue("somebody", ExtendedKeyUsagePurpose::ClientAuth);
    for identity in [None, Some(own)] {
        let connector = service.client(identity, MODERN);
        let answered = async {
            let mut stream = service.connect(remote, &connector).await?;
            ask(&mut stream, HEALTH).await
        };
        assert!(answered.await.is_err());
    }
    // Each is in the log with the certificate it showed; of many more only their number is.
    let log = service
        .log_until(|log| log.len() == 2, "two refusals")
        .await;
    assert_eq!(
        log[0],
        "127.0.0.1 was turned away: it showed no certificate"
    );
    assert!(
        log[1].starts_with("127.0.0.1 was turned away: it showed a certificate that is not from this box's authority")
            && log[1].contains("(\"somebody\", SHA-256 "),
        "{log:?}"
    );
    let nobody = service.client(None, MODERN);
    for _ in 0..20 {
        let answered = async {
            let mut stream = service.connect(remote, &nobody).await?;
            ask(&mut stream, HEALTH).await
        };
        assert!(answered.await.is_err());
    }
    // The pages' port does not know these addresses.
    let mut pages = service
        .connect(service.port, &service.client(None, MODERN))
        .await
        .unwrap();
    let (status, _) = ask(
        &mut pages,
        "GET /box/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await
    .unwrap();
    assert!(!status.contains("200"), "{status}");

    let closed = admin(socket, "DELETE", "/remote-access", "").await;
    assert!(closed.contains("\"was_open\":true"), "{closed}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while service.connect(remote, &vendor).await.is_ok() {
        assert!(Instant::now() < deadline, "still answered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let counted = |log: &[String]| {
        log.last()
            .is_some_and(|last| last.contains("more were turned away"))
    };
    let log = service.log_until(counted, "the others' number").await;
    assert_eq!(log.len(), 12, "{log:?}");
    assert_eq!(
        log[11],
        "11 more were turned away: it showed no certificate"
    );
}
