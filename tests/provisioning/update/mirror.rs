//! Updates from the configured mirror, over TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::bench::{Clinic, SECOND, Vendor, release};

/// Serves a folder with the certificate of a box's folder; gives the port.
fn serve(folder: &Path, tls: &Path) -> u16 {
    let certificates = CertificateDer::pem_file_iter(tls.join("cert.pem"))
        .unwrap()
        .map(|c| c.unwrap())
        .collect();
    let key = PrivateKeyDer::from_pem_file(tls.join("key.pem")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, folder) = (Arc::new(config), folder.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(
                ServerConnection::new(config.clone()).unwrap(),
                stream.unwrap(),
            );
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let path = text.split_whitespace().nth(1).unwrap_or("/").to_owned();
            let answer = match path
                .strip_prefix("/hadada/")
                .map(|path| fs::read(folder.join(path)))
            {
                Some(Ok(body)) => {
                    let mut answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    )
                    .into_bytes();
                    answer.extend(body);
                    answer
                }
                _ => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    .to_vec(),
            };
            let _ = stream.write_all(&answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    port
}

#[test]
fn an_update_comes_from_the_configured_mirror_and_no_other() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    let none = clinic.ctl(&["update", "apply"]).error();
    assert!(
        none.contains("there is no mirror in the configuration"),
        "{none}"
    );
    vendor.publish(&super::bench::Release {
        migrations: vec![SECOND],
        ..release("0.2.0", 2)
    });
    let mirrored = vendor.copy("mirrored");
    let port = serve(&mirrored, &clinic.path("tls"));
    let authority = clinic.path("tls/ca.pem");
    clinic.configure("mirror = \"http://localhost:80/hadada\"");
    assert!(
        clinic
            .ctl(&["update", "check"])
            .error()
            .contains("must begin with https://")
    );
    // A mirror whose certificate nobody vouches for is none.
    clinic.configure(&format!("mirror = \"https://localhost:{port}/hadada\""));
    clinic
        .ctl(&["update", "apply"])
        .refused("the mirror https://localhost");

    clinic.configure(&format!(
        "automatic = true\nmirror = \"https://localhost:{port}/hadada\"\nmirror_authority = \"{}\"",
        authority.display()
    ));
    let offer = clinic.ctl(&["update", "check"]).good();
    assert!(offer.contains("Release 0.2.0 can be installed"), "{offer}");
    // A mirror in bad hands: a bundle that goes on and on, metadata that does not belong together, a part that is gone.
    let bundle = super::bench::bundle_in(&mirrored);
    let good = fs::read(&bundle).unwrap();
    fs::write(&bundle, [good.as_slice(), &[0; 100_000]].concat()).unwrap();
    clinic.ctl(&["update", "apply"]).refused("too big: ");
    fs::remove_file(&bundle).unwrap();
    clinic
        .ctl(&["update", "apply"])
        .refused("incomplete: the mirror lacks the bundle");
    fs::write(&bundle, good).unwrap();
    let timestamp = fs::read(mirrored.join("metadata/timestamp.json")).unwrap();
    fs::write(
        mirrored.join("metadata/timestamp.json"),
        vec![b' '; 11 << 20],
    )
    .unwrap();
    clinic.ctl(&["update", "apply"]).refused("too big: ");
    fs::write(mirrored.join("metadata/timestamp.json"), timestamp).unwrap();
    clinic.untouched("0.1.0");
    // At night, by itself.
    clinic.ctl(&["update", "run"]).good();
    clinic.runs_wholly("0.2.0", "1");
    let history = clinic.ctl(&["update", "history"]).good();
    assert!(
        history
            .lines()
            .last()
            .unwrap()
            .contains(&format!("from https://localhost:{port}/hadada/")),
        "{history}"
    );
}
