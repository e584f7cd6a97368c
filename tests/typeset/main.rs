//! `hadada-typeset` as the appliance runs it: JSON in, a PDF out, and what its text says to a reader.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

fn start() -> Child {
    Command::new(env!("CARGO_BIN_EXE_hadada-typeset"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Exit code, PDF and error.
fn typeset_bytes(input: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    let mut child = start();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        output.stdout,
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[track_caller]
fn pdf(document: &Value) -> Vec<u8> {
    let (code, pdf, error) = typeset_bytes(document.to_string().as_bytes());
    assert_eq!(code, Some(0), "{error}");
    assert!(pdf.starts_with(b"%PDF-"));
    pdf
}

#[track_caller]
fn refusal(document: &Value) -> String {
    let (code, pdf, error) = typeset_bytes(document.to_string().as_bytes());
    assert_eq!((code, pdf.len()), (Some(2), 0), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// A PDF's text as poppler reads it, with single spaces.
fn text(pdf: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("document.pdf");
    fs::write(&file, pdf).unwrap();
    let output = Command::new("pdftotext")
        .args(["-layout"])
        .arg(&file)
        .arg("-")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "\"{part}\" is not in: {text}");
    }
}

fn practice() -> Value {
    json!({
        "name": "Vhembe Physiotherapy", "practice_number": "0720000123456", "vat_number": "4012345678",
        "address": ["12 Jacaranda Street", "Thohoyandou", "0950"], "phone": "015 962 0000",
        "bank": { "bank": "First Example Bank", "branch_code": "250655", "account_name": "Vhembe Physiotherapy",
            "account_number": "62000000000" },
    })
}

fn practitioner() -> Value {
    json!({ "name": "Naledi Mokoena", "discipline": "Physiotherapist", "hpcsa_number": "PT 0123456" })
}

fn invoice() -> Value {
    json!({ "template": "invoice", "data": {
        "practice": practice(), "number": "INV-2026-00042", "date": "2026-11-24", "due": "2026-12-24",
        "patient": { "name": "Ḽivhuwani Ṱhanyani", "birth_date": "1985-03-09" },
        "payer": { "name": "Aluwani Ṋemuḓivhiso", "address": ["PO Box 77"] },
        "scheme": { "name": "Example Medical Scheme", "member_number": "123456789" },
        "practitioner": practitioner(),
        "lines": [
            { "date": "2026-11-24", "code": "72925", "icd10": ["M54.5", "Z50.1"], "description": "First visit, Šárka, ṅwana",
              "quantity": "1", "unit": "1250.00", "vat": "163.04", "amount": "1250.00" },
            { "date": "2026-11-24", "code": "72401", "description": "Rehabilitation", "quantity": "2", "unit": "287.50",
              "vat": "75.00", "amount": "575.00" },
        ],
        "totals": { "net": "1586.96", "vat_rate": "15", "vat": "238.04", "total": "1825.00", "paid": "500.00",
            "balance": "1325.00" },
        "audit_head": "412-18230-7KQ2-9F4M-ZT3A-B6XD", "produced_at": "2026-11-24T12:05:00Z",
    }})
}

fn set(mut document: Value, path: &str, value: Value) -> Value {
    *document.pointer_mut(path).unwrap() = value;
    document
}

#[test]
fn an_invoice_says_all_that_the_law_and_the_scheme_ask() {
    let text = text(&pdf(&invoice()));
    says(
        &text,
        &[
            "Tax invoice",
            "INV-2026-00042",
            "24-Nov-2026",
            "Due 24-Dec-2026",
            "Vhembe Physiotherapy",
            "Practice number 0720000123456",
            "VAT number 4012345678",
            "12 Jacaranda Street",
            "Aluwani Ṋemuḓivhiso",
            "PO Box 77",
            "Ḽivhuwani Ṱhanyani",
            "Example Medical Scheme",
            "Member 123456789",
            "Naledi Mokoena, Physiotherapist · HPCSA PT 0123456",
            "72925",
            "First visit, Šárka, ṅwana",
            "ICD-10 M54.5, Z50.1",
            "1 R 1 250,00 R 163,04 R 1 250,00",
            "2 R 287,50 R 75,00 R 575,00",
            "Net R 1 586,96",
            "VAT at 15 % R 238,04",
            "Total R 1 825,00",
            "Paid R 500,00",
            "Balance R 1 325,00",
            "First Example Bank",
            "62000000000",
            "Audit head 412-18230-7KQ2-9F4M-ZT3A-B6XD",
            "Page 1 of 1",
        ],
    );
}

#[test]
fn a_practice_without_vat_writes_no_tax_invoice() {
    let mut document = invoice();
    document["data"]["practice"]
        .as_object_mut()
        .unwrap()
        .remove("vat_number");
    let error = refusal(&document);
    assert!(
        error.contains("data.totals.vat: only a practice with a VAT number"),
        "{error}"
    );

    for line in document["data"]["lines"].as_array_mut().unwrap() {
        line["vat"] = json!("0");
    }
    document["data"]["totals"]["vat"] = json!("0.00");
    document["data"]["totals"]["net"] = json!("1825.00");
    let text = text(&pdf(&document));
    says(&text, &["Invoice INV-2026-00042", "Balance R 1 325,00"]);
    assert!(
        !text.to_lowercase().contains("tax") && !text.contains("VAT"),
        "{text}"
    );
}

#[test]
fn a_long_invoice_goes_on_with_its_heads_and_page_numbers() {
    let mut document = invoice();
    let line = document["data"]["lines"][1].clone();
    document["data"]["lines"] = json!(vec![line; 70]);
    document["data"]["totals"] = json!({ "net": "35000.00", "vat_rate": "15", "vat": "5250.00", "total": "40250.00",
        "paid": "0", "balance": "40250.00" });
    let text = text(&pdf(&document));
    says(
        &text,
        &["Page 1 of 3", "Page 3 of 3", "Balance R 40 250,00"],
    );
    assert_eq!(text.matches("DESCRIPTION").count(), 3, "{text}");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_its_own_date() {
    let first = pdf(&invoice());
    assert_eq!(first, pdf(&invoice()));
    assert!(String::from_utf8_lossy(&first).contains("D:20261124120500Z"));
    assert_ne!(
        first,
        pdf(&set(invoice(), "/data/number", json!("INV-2026-00043")))
    );
}

#[test]
fn an_invoice_takes_less_than_a_second() {
    let input = invoice();
    pdf(&input);
    let start = Instant::now();
    pdf(&input);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn text_is_text_and_never_markup() {
    let wild = "#read(\"/etc/passwd\") *bold* $x$ <label> @ref \\ // [x]\nsecond line";
    let document = set(invoice(), "/data/lines/0/description", json!(wild));
    says(
        &text(&pdf(&document)),
        &[
            "#read(\"/etc/passwd\")",
            "*bold* $x$",
            "<label> @ref \\ // [x]",
            "second line",
        ],
    );
}

#[test]
fn wrong_input_names_the_field_and_prints_nothing() {
    for (path, value, error) in [
        (
            "/template",
            json!("poster"),
            "template: \"poster\" is none of",
        ),
        ("/data/date", json!("2026-02-30"), "data.date: "),
        (
            "/data/lines/1/amount",
            json!("57,50"),
            "data.lines[1].amount: ",
        ),
        (
            "/data/lines/1/amount",
            json!("575.001"),
            "data.lines[1].amount: ",
        ),
        ("/data/lines/1/amount", json!(575), "data.lines[1].amount: "),
        (
            "/data/lines/1/amount",
            json!("576.00"),
            "data.totals.total: is 1825.00, but",
        ),
        (
            "/data/totals/balance",
            json!("0.00"),
            "data.totals.balance: ",
        ),
        ("/data/totals/net", json!("1600.00"), "data.totals.net: "),
        (
            "/data/lines",
            json!([]),
            "data.lines: an invoice has at least one line",
        ),
        ("/data/number", json!(" "), "data.number: "),
        (
            "/data/patient/name",
            json!("a\u{0}b"),
            "data.patient.name: the character \\u{0}",
        ),
        (
            "/data/patient",
            json!({ "name": "A", "diagnosis": "B" }),
            "data.patient.diagnosis: unknown field",
        ),
        (
            "/data/practitioner",
            json!({ "name": "A" }),
            "data.practitioner: missing field `hpcsa_number`",
        ),
    ] {
        let said = refusal(&set(invoice(), path, value));
        assert!(said.contains(error), "{path}: {said}");
    }
    for input in [&b""[..], b"{", b"[]", b"\xff"] {
        let (code, pdf, error) = typeset_bytes(input);
        assert_eq!(
            (code, pdf.len(), error.lines().count()),
            (Some(2), 0, 1),
            "{error}"
        );
    }
}

#[test]
fn a_receipt_says_what_was_paid() {
    let receipt = json!({ "template": "receipt", "data": {
        "practice": practice(), "number": "REC-7", "paid_at": "2026-11-24T22:30:00Z",
        "received_from": "Aluwani Ṋemuḓivhiso", "invoices": ["INV-2026-00042"], "method": "Card", "amount": "500.00",
        "balance": "1325.00", "received_by": "Reception", "produced_at": "2026-11-24T22:30:00Z",
    }});
    says(
        &text(&pdf(&receipt)),
        &[
            "Receipt REC-7",
            "25-Nov-2026 00:30",
            "R 500,00",
            "Card",
            "Still owed R 1 325,00",
        ],
    );
    let error = refusal(&set(receipt, "/data/amount", json!("0.00")));
    assert!(error.contains("data.amount"), "{error}");
}

#[test]
fn a_note_shows_whether_it_is_signed_and_what_was_added() {
    let mut note = json!({ "template": "note", "data": {
        "practice": practice(), "title": "Visit note", "date": "2026-11-24",
        "patient": { "name": "Ḽivhuwani Ṱhanyani" }, "allergies": "Penicillin (rash)",
        "sections": [{ "heading": "Subjective", "paragraphs": ["Pain 4/10.\nWorse at night."] }],
        "signed": { "by": practitioner(), "at": "2026-11-24T12:00:00Z" },
        "addenda": [{ "at": "2026-11-25T06:00:00Z", "by": practitioner(), "text": "Left, not right." }],
        "produced_at": "2026-11-25T06:10:00Z",
    }});
    let signed = text(&pdf(&note));
    says(
        &signed,
        &[
            "Allergies Penicillin (rash)",
            "Subjective",
            "Pain 4/10. Worse at night.",
            "Signed by Naledi Mokoena, Physiotherapist · HPCSA PT 0123456, 24-Nov-2026 14:00",
            "Addendum, 25-Nov-2026 08:00",
            "Left, not right.",
        ],
    );
    assert!(!signed.contains("not signed"));
    note["data"].as_object_mut().unwrap().remove("signed");
    says(&text(&pdf(&note)), &["This note is not signed."]);
}

/// Before it has read anything it can gain no privilege and open next to nothing.
#[test]
fn it_shuts_itself_in_before_it_reads() {
    let mut child = start();
    let (status, limits) = (
        format!("/proc/{}/status", child.id()),
        format!("/proc/{}/limits", child.id()),
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    // It sets its limits and then waits for input; until then the question is asked again.
    while !fs::read_to_string(&limits)
        .unwrap()
        .contains("Max processes             0")
    {
        assert!(Instant::now() < deadline, "it never limited itself");
        std::thread::yield_now();
    }
    assert!(
        fs::read_to_string(status)
            .unwrap()
            .contains("NoNewPrivs:\t1")
    );
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}
