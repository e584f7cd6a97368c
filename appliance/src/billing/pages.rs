//! The page of an invoice.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use uuid::Uuid;

use super::invoice::{Invoice, Method, Settlement};
use super::issue::{Paying, pay as take_payment};
use super::list::{Badge, Choice};
use super::store;
use crate::clock;
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, Result};
use crate::ids::InvoiceId;
use crate::patients::{self, Banner};
use crate::web::{App, Form, Page, Permission, Session, Shell, html};

/// `billing/invoice.html`.
#[derive(serde::Serialize)]
pub(super) struct InvoicePage {
    shell: Shell,
    paper: Paper,
    href: String,
    p: Banner,
    actions: [(); 0],
    standing: Badge,
    may_pay: bool,
    methods: Vec<Choice>,
    errors: BTreeMap<String, String>,
    typed: Typed,
}

#[derive(Default, serde::Serialize)]
struct Typed {
    amount: String,
    method: String,
    reference: String,
    idempotency_key: Uuid,
}

/// An invoice in words.
#[derive(Clone, Debug, serde::Serialize)]
struct Paper {
    heading: &'static str,
    number: String,
    issued_on: String,
    practice: Vec<(&'static str, String)>,
    practice_name: String,
    bank_details: String,
    patient_name: String,
    patient: Vec<(&'static str, String)>,
    practitioner: String,
    lines: Vec<PaperLine>,
    net: String,
    vat_label: String,
    vat: String,
    total: String,
    payments: Vec<PaperPayment>,
    paid: String,
    balance: String,
    settled: bool,
}

#[derive(Clone, Debug, serde::Serialize)]
struct PaperLine {
    service_date: String,
    tariff_code: String,
    icd10: String,
    description: String,
    quantity: String,
    unit_price: String,
    net: String,
}

#[derive(Clone, Debug, serde::Serialize)]
struct PaperPayment {
    receipt: String,
    date: String,
    method: &'static str,
    reference: String,
    received_by: String,
    amount: String,
}

fn filled(pairs: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn joined(parts: &[&str]) -> String {
    parts
        .iter()
        .filter(|p| !p.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

impl From<&Invoice> for Paper {
    fn from(invoice: &Invoice) -> Self {
        let (supplier, patient, treating) =
            (&invoice.supplier, &invoice.patient, &invoice.practitioner);
        let mut percents: Vec<String> = invoice
            .lines
            .iter()
            .map(|l| {
                (l.vat_rate * rust_decimal::Decimal::ONE_HUNDRED)
                    .normalize()
                    .to_string()
            })
            .collect();
        percents.dedup();
        let hpcsa = if treating.hpcsa_number.is_empty() {
            String::new()
        } else {
            format!(", HPCSA {}", treating.hpcsa_number)
        };
        let bhf = if treating.bhf_number.is_empty() {
            String::new()
        } else {
            format!(", practice no. {}", treating.bhf_number)
        };
        Self {
            heading: invoice.heading(),
            number: invoice.number.to_string(),
            issued_on: clock::date_text(invoice.issued_on),
            practice_name: supplier.name.clone(),
            practice: filled(vec![
                ("Address", supplier.address.clone()),
                ("Phone", supplier.phone.clone()),
                ("Email", supplier.email.clone()),
                ("Practice no.", supplier.bhf_number.clone()),
                ("VAT no.", supplier.vat_number.clone()),
            ]),
            bank_details: supplier.bank_details.clone(),
            patient_name: joined(&[&patient.title, &patient.given_name, &patient.family_name]),
            patient: filled(vec![
                ("Born", clock::date_text(patient.birth_date)),
                ("File", patient.file_number.clone()),
                ("Address", patient.address.clone()),
                (
                    "Scheme",
                    joined(&[&patient.scheme_name, &patient.scheme_plan]),
                ),
                ("Member no.", patient.member_number.clone()),
                ("Dependant", patient.dependant_code.clone()),
            ]),
            practitioner: format!("{}{hpcsa}{bhf}", treating.name),
            lines: invoice
                .lines
                .iter()
                .map(|l| PaperLine {
                    service_date: clock::date_text(l.service_date),
                    tariff_code: l.tariff_code.clone(),
                    icd10: l.icd10.clone(),
                    description: l.description.clone(),
                    quantity: l.quantity.normalize().to_string().replace('.', ","),
                    unit_price: l.unit_price.to_string(),
                    net: l.net.to_string(),
                })
                .collect(),
            net: invoice.net.to_string(),
            vat_label: match percents.as_slice() {
                [one] if supplier.vat_number.is_empty() && one == "0" => {
                    "VAT (not a VAT vendor)".into()
                }
                [one] => format!("VAT {}\u{a0}%", one.replace('.', ",")),
                _ => "VAT".into(),
            },
            vat: invoice.vat.to_string(),
            total: invoice.total.to_string(),
            payments: invoice
                .payments
                .iter()
                .map(|p| PaperPayment {
                    receipt: p.receipt.to_string(),
                    date: clock::stamp_text(p.received_at),
                    method: p.method.label(),
                    reference: p.reference.clone(),
                    received_by: p.received_by.clone(),
                    amount: p.amount.to_string(),
                })
                .collect(),
            paid: invoice.paid().to_string(),
            balance: invoice.balance().to_string(),
            settled: invoice.settlement() == Settlement::Paid,
        }
    }
}

impl Paper {
    /// An example for template tests.
    fn sample(paid: bool) -> Self {
        let payment = PaperPayment {
            receipt: "REC-000045".into(),
            date: "24-Nov-2026 11:20".into(),
            method: "Card",
            reference: "4411".into(),
            received_by: "Zinhle Maseko".into(),
            amount: "R 747,50".into(),
        };
        Self {
            heading: "Tax invoice",
            number: "INV-000123".into(),
            issued_on: "24-Nov-2026".into(),
            practice: vec![("VAT no.", "4123456789".into())],
            practice_name: "Umhlanga Movement Clinic".into(),
            bank_details: "FNB 62000000000".into(),
            patient_name: "Ms Thandiwe Khumalo".into(),
            patient: vec![("File", "H-00482".into())],
            practitioner: "Naledi Mokoena, HPCSA PT 0123456".into(),
            lines: vec![PaperLine {
                service_date: "24-Nov-2026".into(),
                tariff_code: "72926".into(),
                icd10: "M54.5".into(),
                description: "Follow-up".into(),
                quantity: "1".into(),
                unit_price: "R 650,00".into(),
                net: "R 650,00".into(),
            }],
            net: "R 650,00".into(),
            vat_label: "VAT 15 %".into(),
            vat: "R 97,50".into(),
            total: "R 747,50".into(),
            payments: if paid { vec![payment] } else { Vec::new() },
            paid: if paid { "R 747,50" } else { "R 0,00" }.into(),
            balance: if paid { "R 0,00" } else { "R 747,50" }.into(),
            settled: paid,
        }
    }
}

impl Page for InvoicePage {
    const TEMPLATE: &'static str = "billing/invoice.html";
    fn samples() -> Vec<Self> {
        let page = |settlement: Settlement, errors| Self {
            shell: Shell::sample(),
            paper: Paper::sample(settlement == Settlement::Paid),
            href: "/invoices/1".into(),
            p: Banner::sample(),
            actions: [],
            standing: settlement.into(),
            may_pay: settlement != Settlement::Paid,
            methods: methods(),
            errors,
            typed: Typed {
                amount: "747,50".into(),
                ..Typed::default()
            },
        };
        let wrong = BTreeMap::from([(
            "amount".to_owned(),
            "The amount is more than the balance.".to_owned(),
        )]);
        vec![
            page(Settlement::Unpaid, BTreeMap::new()),
            page(Settlement::Unpaid, wrong),
            page(Settlement::Paid, BTreeMap::new()),
        ]
    }
}

fn methods() -> Vec<Choice> {
    Method::ALL
        .into_iter()
        .map(|m| Choice {
            value: m.text(),
            label: m.label(),
        })
        .collect()
}

/// Loads an invoice for showing it, and notes that it was.
pub(super) async fn read(
    app: &App,
    session: &Session,
    id: InvoiceId,
    action: Action,
    how: &'static str,
) -> Result<Invoice> {
    let (tx, invoice) = open(app, session, id, action, how).await?;
    tx.commit().await?;
    Ok(invoice)
}

async fn open(
    app: &App,
    session: &Session,
    id: InvoiceId,
    action: Action,
    how: &'static str,
) -> Result<(PracticeTx, Invoice)> {
    session.require(Permission::ViewBilling)?;
    let mut tx = app.begin(session).await?;
    let invoice = store::invoice(tx.conn(), id).await?;
    tx.record(
        AuditEvent::new(action, "Invoice")
            .id(id.0)
            .patient(invoice.patient.id)
            .reason(how),
    )
    .await?;
    Ok((tx, invoice))
}

async fn render(
    app: &App,
    session: &Session,
    id: InvoiceId,
    errors: BTreeMap<String, String>,
    typed: Option<Typed>,
) -> Result<Response> {
    let (mut tx, invoice) = open(app, session, id, Action::Read, "page").await?;
    let banner = patients::banner(&mut tx, app, invoice.patient.id).await?;
    let shell = Shell::load(app, session, &mut tx, invoice.number.to_string(), "billing").await?;
    tx.commit().await?;
    let balance = format!("{:.2}", invoice.balance().amount()).replace('.', ",");
    let page = InvoicePage {
        shell,
        href: format!("/invoices/{id}"),
        p: banner,
        actions: [],
        standing: invoice.settlement().into(),
        may_pay: session.may(Permission::Bill) && invoice.settlement() != Settlement::Paid,
        methods: methods(),
        errors,
        typed: typed.unwrap_or_else(|| Typed {
            amount: balance,
            method: Method::Card.text().into(),
            reference: String::new(),
            idempotency_key: Uuid::now_v7(),
        }),
        paper: Paper::from(&invoice),
    };
    html(app, &page)
}

pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    Path(id): Path<InvoiceId>,
) -> Result<Response> {
    render(&app, &session, id, BTreeMap::new(), None).await
}

pub(super) async fn pay(
    State(app): State<App>,
    session: Session,
    Path(id): Path<InvoiceId>,
    Form(form): Form<Paying>,
) -> Result<Response> {
    match take_payment(&app, &session, id, &form).await {
        Ok(_) => Ok(Redirect::to(&format!("/invoices/{id}")).into_response()),
        Err(Error::Invalid(fields)) => {
            let errors = fields
                .into_iter()
                .map(|f| (f.field.into_owned(), f.message.into_owned()))
                .collect();
            let typed = Typed {
                amount: form.amount,
                method: form.method,
                reference: form.reference,
                idempotency_key: form.idempotency_key,
            };
            Ok((
                StatusCode::UNPROCESSABLE_ENTITY,
                render(&app, &session, id, errors, Some(typed)).await?,
            )
                .into_response())
        }
        Err(other) => Err(other),
    }
}
