//! The trust page, and that made-up cookies give nobody a fresh allowance of requests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};

use crate::support::{Bare, Clinic};

#[tokio::test]
async fn anybody_finds_the_authority_and_its_fingerprint() {
    let bare = Bare::start().await;
    let visitor = bare.stranger();
    let file = std::fs::read_to_string(&bare.config.tls_authority).unwrap();
    let der = CertificateDer::from_pem_slice(file.as_bytes()).unwrap();
    let fingerprint: Vec<String> = Sha256::digest(&der)
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    let page = visitor.get("/trust").await.expect(200).text();
    assert!(
        page.contains(&fingerprint[..16].join(":")) && page.contains(&fingerprint[16..].join(":"))
    );
    for device in ["Windows", "Mac", "iPhone", "Android", "Firefox"] {
        assert!(page.contains(device), "{device}");
    }
    let pem = visitor.get("/trust/ca.pem").await.expect(200);
    assert_eq!(CertificateDer::from_pem_slice(&pem.bytes).unwrap(), der);
    let cer = visitor.get("/trust/ca.cer").await.expect(200);
    assert_eq!(
        (&*cer.bytes, cer.headers["content-type"].to_str().unwrap()),
        (&*der, "application/x-x509-ca-cert")
    );
    let profile = visitor.get("/trust/ca.mobileconfig").await.expect(200);
    assert_eq!(
        profile.headers["content-type"],
        "application/x-apple-aspen-config"
    );
    assert!(
        profile.text().contains(&STANDARD.encode(&der))
            && profile.text().contains("com.apple.security.root")
    );
    assert_eq!(
        profile.text(),
        visitor.get("/trust/ca.mobileconfig").await.text(),
        "installing it twice leaves one"
    );
}

#[tokio::test]
async fn a_key_beside_the_certificate_never_goes_out() {
    let bare = Bare::start().await;
    let file = std::fs::read_to_string(&bare.config.tls_authority).unwrap();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(&bare.config.tls_authority, format!("{file}{key}")).unwrap();
    let pem = bare
        .stranger()
        .get("/trust/ca.pem")
        .await
        .expect(200)
        .text();
    assert!(pem.contains("BEGIN CERTIFICATE") && !pem.contains("PRIVATE"));
}

#[tokio::test]
async fn with_a_bought_certificate_there_is_nothing_to_install() {
    let bare = Bare::start().await;
    std::fs::remove_file(&bare.config.tls_authority).unwrap();
    let page = bare.stranger().get("/trust").await.expect(200).text();
    assert!(page.contains("nothing to install"));
    bare.stranger().get("/trust/ca.pem").await.expect(404);
}

#[tokio::test]
async fn made_up_cookies_give_no_fresh_allowance() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    // A burst of 600 and two hundred a second: all at once is more than one address may.
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..3_000 {
        let cookie = format!("{}=made-up-{n}", hadada::web::COOKIE);
        let visitor = clinic.stranger().with_cookie(&cookie);
        asking.spawn(async move { visitor.get("/session").await.status.as_u16() });
    }
    let answers = asking.join_all().await;
    assert!(
        answers.contains(&429),
        "each made-up cookie had an allowance of its own"
    );
    reception.get("/session").await.expect(200);
}
