//! A new box, and the same command again.

use crate::{Home, hadadactl, hadadactl_reading, mode};

/// The recovery key among what `init` said.
fn recovery_key(said: &str) -> String {
    let groups: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .flat_map(|line| line.split('-'))
        .collect();
    assert_eq!(groups.len(), 14, "{said}");
    groups.join(" ")
}

#[tokio::test]
async fn a_new_box_has_secrets_only_its_owner_can_read() {
    let home = Home::new().await;
    assert_eq!(mode(&home.path("keys")), 0o700);
    for secret in [
        "keys/master.key",
        "keys/audit.key",
        "tls/ca.key",
        "tls/key.pem",
    ] {
        assert_eq!(mode(&home.path(secret)), 0o600, "{secret}");
    }
    for key in ["keys/master.key", "keys/audit.key", "keys/recovery.pub"] {
        assert_eq!(home.read(key).len(), 32, "{key}");
    }
    assert_ne!(home.read("keys/master.key"), home.read("keys/audit.key"));
    assert!(std::fs::read_dir(home.path("keys")).unwrap().all(|entry| {
        !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".new")
    }));
}

#[tokio::test]
async fn init_again_changes_nothing_and_shows_no_key_again() {
    let home = Home::new().await;
    let files = [
        "keys/master.key",
        "keys/audit.key",
        "keys/audit.pub",
        "keys/recovery.pub",
        "tls/ca.pem",
        "tls/ca.key",
        "tls/cert.pem",
        "tls/key.pem",
    ];
    let before = files.map(|file| home.read(file));
    let said = hadadactl(&["init", "--dir", home.dir(), "--host", "clinic.local"])
        .await
        .good();
    assert_eq!(before, files.map(|file| home.read(file)));
    assert!(!said.contains("recovery key of this box"), "{said}");
}

#[tokio::test]
async fn a_damaged_key_is_not_replaced() {
    let home = Home::new().await;
    std::fs::write(home.path("keys/master.key"), b"short").unwrap();
    let error = hadadactl(&["init", "--dir", home.dir(), "--host", "clinic.local"])
        .await
        .error();
    assert!(error.contains("master.key holds 5 bytes"), "{error}");
    assert_eq!(home.read("keys/master.key"), b"short");
}

#[tokio::test]
async fn the_recovery_key_exists_on_paper_only_and_can_be_checked() {
    let home = Home::new().await;
    let paper = recovery_key(&home.said);
    for file in [
        "keys/master.key",
        "keys/audit.key",
        "keys/audit.pub",
        "keys/recovery.pub",
    ] {
        let content = String::from_utf8_lossy(&home.read(file)).to_uppercase();
        assert!(!content.contains(&paper[..9].replace(' ', "")), "{file}");
    }
    let check = ["recovery", "check", "--dir", home.dir()];
    let said = hadadactl_reading(&paper.to_lowercase(), &check)
        .await
        .good();
    assert!(said.contains("is the recovery key of this box"), "{said}");

    let other = recovery_key(&Home::new().await.said);
    hadadactl_reading(&other, &check).await.fault();

    let last = if paper.ends_with('7') { "8" } else { "7" };
    let mistyped = format!("{}{last}", &paper[..paper.len() - 1]);
    let error = hadadactl_reading(&mistyped, &check).await.error();
    assert!(error.contains("typing error"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_renewed_with_the_same_key_and_names() {
    let home = Home::new().await;
    let (certificate, key, authority) = (
        home.read("tls/cert.pem"),
        home.read("tls/key.pem"),
        home.read("tls/ca.pem"),
    );
    let said = hadadactl(&["certificate", "renew", "--dir", home.dir()])
        .await
        .good();
    assert!(
        said.contains("clinic.local, localhost, 127.0.0.1, ::1, good for 47 days"),
        "{said}"
    );
    assert_ne!(home.read("tls/cert.pem"), certificate);
    assert_eq!(
        (home.read("tls/key.pem"), home.read("tls/ca.pem")),
        (key, authority)
    );
}

#[tokio::test]
async fn a_lost_certificate_comes_back() {
    let home = Home::new().await;
    std::fs::remove_file(home.path("tls/cert.pem")).unwrap();
    let said = hadadactl(&["init", "--dir", home.dir(), "--host", "clinic.local"])
        .await
        .good();
    assert!(
        said.contains("made   the certificate for clinic.local"),
        "{said}"
    );
}

#[tokio::test]
async fn names_the_authority_may_not_sign_for_are_refused_and_nothing_changes() {
    let home = Home::new().await;
    let certificate = home.read("tls/cert.pem");
    let error = hadadactl(&[
        "certificate",
        "renew",
        "--dir",
        home.dir(),
        "--host",
        "bank.example",
    ])
    .await
    .error();
    assert!(
        error.contains("not for bank.example") && error.contains("clinic.local"),
        "{error}"
    );
    assert_eq!(home.read("tls/cert.pem"), certificate);

    let error = hadadactl(&["init", "--dir", home.dir(), "--host", "not a name"])
        .await
        .error();
    assert!(error.contains("host \"not a name\""), "{error}");
}
