//! The invoice as a PDF, and what is said where none can be made.

use super::{any_invoice, pay, visit};
use crate::support::Clinic;

#[tokio::test]
async fn the_pdf_says_what_the_invoice_says_within_a_second() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Ṱhohoyanḓou", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    let encounter = visit(&clinic, patient).await;
    let reply = reception
        .post_form(
            "/invoices",
            &[("encounter_id", &encounter.to_string()), ("icd10", "m54.5")],
        )
        .await
        .expect(303);
    let path = reply.location().to_owned();
    pay(&reception, &path, uuid::Uuid::new_v4(), "100")
        .await
        .expect(303);
    let started = std::time::Instant::now();
    let pdf = reception.get(&format!("{path}/pdf")).await.expect(200);
    let took = started.elapsed();
    assert!(took.as_millis() < 1_000, "{took:?}");
    assert_eq!(pdf.headers["content-type"], "application/pdf");
    assert_eq!(
        pdf.headers["content-disposition"],
        "inline; filename=\"invoice-000001.pdf\""
    );
    let file = clinic.folder.path().join("invoice.pdf");
    std::fs::write(&file, &pdf.bytes).unwrap();
    let text = std::process::Command::new("pdftotext")
        .arg("-layout")
        .arg(&file)
        .arg("-")
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout)
        .unwrap()
        .replace('\u{a0}', " ");
    for expected in [
        "INV-000001",
        "Ṱhohoyanḓou",
        "Physiotherapy session",
        "M54.5",
        "R 747,50",
        "R 647,50",
        "24-Nov-2026",
        "4123456789",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(
        clinic
            .audited(patient)
            .await
            .contains(&"execute Invoice".to_owned())
    );
}

#[tokio::test]
async fn without_the_typesetter_the_invoice_stays_and_says_why() {
    let clinic = Clinic::start().await;
    let mut config = clinic.config.clone();
    config.typeset = Some(clinic.folder.path().join("not-there"));
    let app = hadada::lifecycle::assemble(config, clinic.app.clock.clone()).unwrap();
    let reception = clinic.login("reception").await;
    let path = any_invoice(&clinic, &reception).await;
    let reply = reception
        .on(hadada::app::router(app))
        .get(&format!("{path}/pdf"))
        .await
        .expect(503);
    assert!(reply.text().contains("The PDF could not be made"));
    reception.get(&path).await.expect(200);
}

#[tokio::test]
async fn a_pdf_comes_from_a_service_at_a_socket_too() {
    let clinic = Clinic::start_with(|config| {
        config.typeset_socket = Some(config.audit_key.with_file_name("typeset.sock"));
        config.typeset = Some("/nowhere/hadada-typeset".into());
    })
    .await;
    let reception = clinic.login("reception").await;
    let path = any_invoice(&clinic, &reception).await;
    let away = reception.get(&format!("{path}/pdf")).await.expect(503);
    assert!(away.text().contains("The invoice is safe"));

    // One process a connection, as systemd starts them with Accept=yes.
    let socket = clinic.config.typeset_socket.clone().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let program = crate::support::programs().join("hadada-typeset");
    let service = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let stream = std::os::fd::OwnedFd::from(stream.unwrap());
            let mut child = std::process::Command::new(&program)
                .stdin(std::process::Stdio::from(stream.try_clone().unwrap()))
                .stdout(std::process::Stdio::from(stream))
                .spawn()
                .unwrap();
            assert!(child.wait().unwrap().success());
        }
    });
    for _ in 0..2 {
        let pdf = reception.get(&format!("{path}/pdf")).await.expect(200);
        assert_eq!(pdf.headers["content-type"], "application/pdf");
        assert!(pdf.bytes.starts_with(b"%PDF-") && pdf.bytes.len() > 5_000);
    }
    service.join().unwrap();
}
