//! Making an invoice from a visit, and taking a payment: the two things this room writes.

use rust_decimal::Decimal;

use super::invoice::{Invoice, Line, Method};
use super::{rules, store};
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::{AppointmentId, EncounterId, InvoiceId, PaymentId};
use crate::keys::Place;
use crate::money::Rand;
use crate::web::{App, Permission, Session, claim};

/// How a visit is named.
#[derive(Clone, Copy, Debug)]
pub enum Visit {
    /// By itself.
    Encounter(EncounterId),
    /// By its booking, where that has one visit.
    Appointment(AppointmentId),
}

/// A line typed by hand in place of the session type's price.
#[derive(Clone, Debug)]
pub struct NewLine {
    /// What was supplied.
    pub description: String,
    /// How many.
    pub quantity: Decimal,
    /// Price of one, without VAT.
    pub unit_price: Decimal,
    /// Procedure code, may be empty.
    pub tariff_code: String,
    /// Diagnosis code, may be empty.
    pub icd10: String,
}

/// The invoice of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its id.
    pub id: InvoiceId,
    /// False when the visit had it already.
    pub created: bool,
}

/// Makes the invoice of a visit: its lines, VAT by the date of service, its number, all in one transaction. A visit has one
/// invoice; asked again, that one is the answer.
///
/// # Errors
/// [`Error::NotFound`] for a visit of another practice, [`Error::Invalid`] naming each field that breaks a rule,
/// [`Error::Conflict`] when hand-typed lines are sent for a visit that has its invoice already.
pub async fn issue(
    app: &App,
    session: &Session,
    visit: Visit,
    icd10: &str,
    lines: Option<Vec<NewLine>>,
) -> Result<Issued> {
    session.require(Permission::Bill)?;
    let mut tx = app.begin(session).await?;
    let encounter = match visit {
        Visit::Encounter(id) => id,
        Visit::Appointment(id) => match store::visits_of(tx.conn(), id)
            .await?
            .ok_or(Error::NotFound)?
            .as_slice()
        {
            [one] => *one,
            [] => {
                return Err(Error::field(
                    "appointment_id",
                    "This booking has no visit yet. Open the visit first, then invoice it.",
                ));
            }
            _ => {
                return Err(Error::field(
                    "appointment_id",
                    "This is a class with several patients. Send the encounter_id of the one to invoice.",
                ));
            }
        },
    };
    let facts = store::visit(tx.conn(), encounter).await?;
    let service_date = clock::local(facts.started_at).0;
    let rates = store::vat_rates(tx.conn()).await?;
    let rate = rules::vat_rate(facts.vendor, &rates, service_date).ok_or_else(|| {
        Error::conflict(
            "No VAT rate is known for the date of this visit. Correct the visit's date first.",
        )
    })?;
    let by_hand = lines.is_some();
    let unpriced = match lines {
        None => {
            let mut problems = Problems::new();
            let icd10 = problems
                .take("icd10", rules::icd10(icd10))
                .unwrap_or_default();
            problems.check()?;
            vec![rules::Unpriced {
                service_date,
                session_type_id: Some(facts.session_type),
                tariff_code: facts.tariff_code,
                icd10,
                description: facts.session_name,
                quantity: Decimal::ONE,
                unit_price: facts.price,
            }]
        }
        Some(lines) => check_lines(lines, service_date)?,
    };
    let lines: Vec<Line> = unpriced
        .into_iter()
        .map(|l| rules::price(l, rate))
        .collect();
    let sums = rules::totals(&lines);
    rules::check_total(sums.total).map_err(|sentence| Error::field("lines", sentence))?;
    let key = app.keys.patient(tx.practice(), facts.patient).await?;

    // From here on other invoices of the practice wait, so what is found below stays true until the commit.
    let practice = tx.practice();
    let number = store::take_invoice_number(tx.conn(), practice).await?;
    if let Some(id) = store::invoice_of(tx.conn(), encounter).await? {
        if by_hand {
            return Err(Error::conflict(
                "This visit has its invoice already; lines can't be added to it.",
            ));
        }
        return Ok(Issued { id, created: false });
    }
    let id = InvoiceId::random();
    let new = store::NewInvoice {
        id,
        number,
        patient: facts.patient,
        practitioner: facts.practitioner,
        encounter,
        issued_on: clock::local(tx.now()).0,
        issued_by: session.user_id,
        issued_at: tx.now(),
        sums,
    };
    store::insert_invoice(tx.conn(), practice, &new, &lines).await?;
    let change = serde_json::json!({ "old": null, "new": {
        "number": number.to_string(), "total": sums.total, "vat": sums.vat,
        "lines": lines.iter().map(|l| serde_json::json!({
            "description": l.description, "tariff_code": l.tariff_code, "icd10": l.icd10, "quantity": l.quantity, "unit_price": l.unit_price,
        })).collect::<Vec<_>>(),
    }});
    let sealed = key.seal_text(Place::new("audit_events.change", id.0), &change.to_string())?;
    tx.record(
        AuditEvent::new(Action::Create, "Invoice")
            .id(id.0)
            .patient(facts.patient)
            .change(sealed),
    )
    .await?;
    tx.announce("invoice", id.0).await?;
    tx.commit().await?;
    Ok(Issued { id, created: true })
}

/// Checks hand-typed lines; every broken rule is named as `lines[N].field`.
fn check_lines(lines: Vec<NewLine>, service_date: time::Date) -> Result<Vec<rules::Unpriced>> {
    if lines.is_empty() {
        return Err(Error::field(
            "lines",
            "Send at least one line, or leave lines out to use the session type's price.",
        ));
    }
    if lines.len() > rules::MOST_LINES {
        return Err(Error::field(
            "lines",
            format!("An invoice has at most {} lines.", rules::MOST_LINES),
        ));
    }
    let mut problems = Problems::new();
    let mut checked = Vec::with_capacity(lines.len());
    for (at, line) in lines.into_iter().enumerate() {
        let mut text = |field: &'static str, value: &str, most: usize, needed: bool| {
            let mut own = Problems::new();
            let kept = if needed {
                crate::web::required_text(&mut own, field, value, most)
            } else {
                crate::web::optional_text(&mut own, field, Some(value), most)
            };
            for problem in own.into_fields() {
                problems.add(format!("lines[{at}].{field}"), problem.message);
            }
            kept
        };
        let description = text("description", &line.description, 200, true);
        let tariff_code = text("tariff_code", &line.tariff_code, 20, false);
        let mut rule =
            |field: &str, sentence: String| problems.add(format!("lines[{at}].{field}"), sentence);
        let icd10 = rules::icd10(&line.icd10).unwrap_or_else(|e| {
            rule("icd10", e);
            String::new()
        });
        let quantity = rules::check_quantity(line.quantity).unwrap_or_else(|e| {
            rule("quantity", e);
            Decimal::ONE
        });
        let unit_price = rules::check_unit_price(line.unit_price).unwrap_or_else(|e| {
            rule("unit_price", e);
            Rand::ZERO
        });
        checked.push(rules::Unpriced {
            service_date,
            session_type_id: None,
            tariff_code,
            icd10,
            description,
            quantity,
            unit_price,
        });
    }
    problems.check()?;
    Ok(checked)
}

/// A payment as typed.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Paying {
    /// `650,00`.
    #[serde(default)]
    pub amount: String,
    /// `cash`, `card` or `eft`.
    #[serde(default)]
    pub method: String,
    /// Of the slip or transfer; may be empty.
    #[serde(default)]
    pub reference: String,
    /// The form's id.
    pub idempotency_key: uuid::Uuid,
}

/// Records a payment and gives its receipt a number. The same form sent again records nothing more.
///
/// # Errors
/// [`Error::NotFound`] for an invoice of another practice, [`Error::Invalid`] naming each field that breaks a rule.
pub async fn pay(
    app: &App,
    session: &Session,
    invoice: InvoiceId,
    form: &Paying,
) -> Result<PaymentId> {
    session.require(Permission::Bill)?;
    let mut tx = app.begin(session).await?;
    let practice = tx.practice();
    let patient = store::invoice(tx.conn(), invoice).await?.patient.id;
    let key = app.keys.patient(practice, patient).await?;
    // The counter's lock makes payments of a practice come one after the other, so that two can't both fit the balance.
    let receipt = store::take_receipt_number(tx.conn(), practice).await?;
    let id = PaymentId::random();
    if let Some(made) = claim(&mut tx, session, form.idempotency_key, "payment", id.0).await? {
        return Ok(PaymentId(made));
    }
    let due: Invoice = store::invoice(tx.conn(), invoice).await?;
    let mut problems = Problems::new();
    let amount = problems.take(
        "amount",
        Rand::parse(&form.amount)
            .map_err(str::to_owned)
            .and_then(|amount| rules::check_payment(due.balance(), amount).map(|()| amount)),
    );
    let method = problems.take(
        "method",
        Method::from_text(&form.method).ok_or("Choose cash, card or EFT."),
    );
    let reference =
        crate::web::optional_text(&mut problems, "reference", Some(&form.reference), 80);
    let (Some(amount), Some(method)) = (amount, method) else {
        return Err(Error::Invalid(problems.into_fields()));
    };
    problems.check()?;
    let new = store::NewPayment {
        id,
        invoice,
        receipt,
        amount,
        method,
        reference: &reference,
        at: tx.now(),
        by: session.user_id,
    };
    store::insert_payment(tx.conn(), practice, &new).await?;
    let change = serde_json::json!({ "old": null, "new": { "receipt": receipt.to_string(), "amount": amount, "method": method, "reference": reference } });
    let sealed = key.seal_text(Place::new("audit_events.change", id.0), &change.to_string())?;
    tx.record(
        AuditEvent::new(Action::Create, "Payment")
            .id(id.0)
            .patient(patient)
            .change(sealed),
    )
    .await?;
    tx.announce("invoice", invoice.0).await?;
    tx.commit().await?;
    Ok(id)
}

/// What is still due on an invoice.
///
/// # Errors
/// [`Error::NotFound`] for an invoice of another practice.
pub async fn balance(app: &App, session: &Session, invoice: InvoiceId) -> Result<Rand> {
    Ok(
        super::pages::read(app, session, invoice, Action::Read, "balance")
            .await?
            .balance(),
    )
}
