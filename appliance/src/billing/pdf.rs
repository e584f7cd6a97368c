//! The PDF of an invoice, written by the typeset program: a process of its own, so that a fault in it stays there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::extract::{self, State};
use axum::response::{IntoResponse, Response};
use http::header;
use rust_decimal::Decimal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::invoice::Invoice;
use super::pages::read;
use crate::clock;
use crate::db::Action;
use crate::error::{Error, Result};
use crate::ids::InvoiceId;
use crate::money::Rand;
use crate::web::{App, Session};

/// Longest wait for a PDF, start of the program included; an invoice takes about 20 ms.
const DEADLINE: Duration = Duration::from_secs(10);
/// No document of a practice makes a larger PDF.
const LARGEST: u64 = 16 << 20;
/// Typesetters at work at one time; further ones wait their turn.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// What the typeset program reads on standard input: its own types say what each field is.
#[derive(serde::Serialize)]
struct Job {
    template: &'static str,
    data: Document,
}

#[derive(serde::Serialize)]
struct Document {
    practice: Practice,
    number: String,
    date: String,
    patient: Patient,
    payer: Option<Payer>,
    scheme: Option<Scheme>,
    practitioner: Practitioner,
    lines: Vec<Line>,
    totals: Totals,
    remark: Option<String>,
    produced_at: String,
}

#[derive(serde::Serialize)]
struct Practice {
    name: String,
    practice_number: String,
    vat_number: Option<String>,
    address: Vec<String>,
    phone: Option<String>,
    email: Option<String>,
}

#[derive(serde::Serialize)]
struct Patient {
    name: String,
    birth_date: String,
    file_number: String,
    dependant_code: Option<String>,
}

#[derive(serde::Serialize)]
struct Payer {
    name: String,
    address: Vec<String>,
}

#[derive(serde::Serialize)]
struct Scheme {
    name: String,
    option: Option<String>,
    member_number: String,
}

#[derive(serde::Serialize)]
struct Practitioner {
    name: String,
    discipline: String,
    hpcsa_number: String,
}

#[derive(serde::Serialize)]
struct Line {
    date: String,
    code: String,
    icd10: Vec<String>,
    description: String,
    quantity: String,
    /// Without VAT, as it is priced; `amount` has it.
    unit: Rand,
    vat: Rand,
    amount: Rand,
}

#[derive(serde::Serialize)]
struct Totals {
    net: Rand,
    vat_rate: String,
    vat: Rand,
    total: Rand,
    paid: Rand,
    balance: Rand,
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn address(text: &str) -> Vec<String> {
    text.lines()
        .map(|l| l.trim().to_owned())
        .filter(|l| !l.is_empty())
        .collect()
}

fn discipline(code: &str) -> String {
    let words = code.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn document(invoice: &Invoice, produced_at: String) -> Document {
    let (supplier, patient, treating) =
        (&invoice.supplier, &invoice.patient, &invoice.practitioner);
    let name = [
        patient.title.as_str(),
        &patient.given_name,
        &patient.family_name,
    ]
    .into_iter()
    .filter(|p| !p.is_empty())
    .collect::<Vec<_>>()
    .join(" ");
    let rate = invoice
        .lines
        .first()
        .map_or(Decimal::ZERO, |l| l.vat_rate * Decimal::ONE_HUNDRED);
    let number = invoice.number.to_string();
    Document {
        practice: Practice {
            name: supplier.name.clone(),
            practice_number: supplier.bhf_number.clone(),
            vat_number: some(&supplier.vat_number),
            address: address(&supplier.address),
            phone: some(&supplier.phone),
            email: some(&supplier.email),
        },
        date: invoice.issued_on.to_string(),
        payer: some(&patient.address).map(|text| Payer {
            name: name.clone(),
            address: address(&text),
        }),
        patient: Patient {
            name,
            birth_date: patient.birth_date.to_string(),
            file_number: patient.file_number.clone(),
            dependant_code: some(&patient.dependant_code),
        },
        scheme: some(&patient.scheme_name).map(|name| Scheme {
            name,
            option: some(&patient.scheme_plan),
            member_number: patient.member_number.clone(),
        }),
        practitioner: Practitioner {
            name: treating.name.clone(),
            discipline: discipline(&treating.discipline),
            hpcsa_number: treating.hpcsa_number.clone(),
        },
        lines: invoice
            .lines
            .iter()
            .map(|l| Line {
                date: l.service_date.to_string(),
                code: l.tariff_code.clone(),
                icd10: some(&l.icd10).into_iter().collect(),
                description: l.description.clone(),
                quantity: l.quantity.normalize().to_string(),
                unit: l.unit_price,
                vat: l.vat,
                amount: l.net + l.vat,
            })
            .collect(),
        totals: Totals {
            net: invoice.net,
            vat_rate: rate.normalize().to_string(),
            vat: invoice.vat,
            total: invoice.total,
            paid: invoice.paid(),
            balance: invoice.balance(),
        },
        remark: some(&supplier.bank_details)
            .map(|bank| format!("Pay into {bank}, with {number} as reference.")),
        number,
        produced_at,
    }
}

/// `GET /invoices/{id}/pdf`.
pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    extract::Path(id): extract::Path<InvoiceId>,
) -> Result<Response> {
    let invoice = read(&app, &session, id, Action::Execute, "PDF").await?;
    let job = Job {
        template: "invoice",
        data: document(&invoice, clock::rfc3339(app.clock.now())),
    };
    let bytes = typeset(&app, &job).await?;
    let name = format!("inline; filename=\"invoice-{:06}.pdf\"", invoice.number.0);
    Ok((
        [
            (header::CONTENT_TYPE, "application/pdf".to_owned()),
            (header::CONTENT_DISPOSITION, name),
        ],
        bytes,
    )
        .into_response())
}

/// Says what failed without what was in it: the program's own words could hold a patient's name.
fn away(what: &str) -> Error {
    tracing::error!("the typeset program {what}");
    Error::Unavailable("The PDF could not be made. The invoice is safe: print it from its page, and tell the practice's admin.".into())
}

async fn typeset(app: &App, job: &Job) -> Result<Vec<u8>> {
    let input = serde_json::to_vec(job).map_err(Error::internal)?;
    let work = async {
        let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
        if let Some(socket) = &app.config.typeset_socket {
            return over_socket(socket, &input).await;
        }
        let mut child = Command::new(&app.typeset)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| away(&format!("could not be started: {e}")))?;
        let mut stdin = child.stdin.take().ok_or_else(|| away("has no input"))?;
        // It reads all of its input before it writes, so the two can't wait for each other.
        stdin
            .write_all(&input)
            .await
            .map_err(|e| away(&format!("took no input: {e}")))?;
        drop(stdin);
        let done = child
            .wait_with_output()
            .await
            .map_err(|e| away(&format!("broke off: {e}")))?;
        if !done.status.success() {
            return Err(away(&format!("failed: {}", done.status)));
        }
        is_pdf(done.stdout)
    };
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| Err(away("took too long")))
}

fn is_pdf(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.starts_with(b"%PDF-") {
        Ok(bytes)
    } else {
        Err(away("gave no PDF"))
    }
}

/// Has a PDF made by a service of its own, one process a connection: the document goes in, and the end of what is sent says
/// that it is whole; the PDF comes back, and nothing where it could not be made.
async fn over_socket(socket: &Path, input: &[u8]) -> Result<Vec<u8>> {
    let broke = |e: std::io::Error| away(&format!("did not answer at its socket: {e}"));
    let mut stream = UnixStream::connect(socket).await.map_err(broke)?;
    stream.write_all(input).await.map_err(broke)?;
    stream.shutdown().await.map_err(broke)?;
    let mut pdf = Vec::new();
    (&mut stream)
        .take(LARGEST)
        .read_to_end(&mut pdf)
        .await
        .map_err(broke)?;
    is_pdf(pdf)
}
