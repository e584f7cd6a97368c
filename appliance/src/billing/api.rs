//! `/api/v1/invoices`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use rust_decimal::Decimal;

use super::invoice::{Invoice, InvoiceNumber, Method, Settlement};
use super::issue::{NewLine, Visit, issue};
use super::{list, pages, rules, store};
use crate::api::List;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::{AppointmentId, EncounterId, InvoiceId, PatientId, PaymentId, PractitionerId};
use crate::money::Rand;
use crate::web::{App, JsonBody, Permission, Query, Session, optional_text};

/// The visit to invoice, by itself or by its booking; exactly one of the two.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvoiceBody {
    /// The visit.
    encounter_id: Option<EncounterId>,
    /// Its booking, where that has one visit.
    appointment_id: Option<AppointmentId>,
    /// Diagnosis code of the line made from the session type.
    #[serde(default)]
    icd10: String,
    /// Lines in place of the one made from the session type.
    lines: Option<Vec<NewLineBody>>,
}

/// A line typed by hand.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLineBody {
    /// What was supplied, at most 200 characters.
    description: String,
    /// How many; 1 when left out.
    #[serde(default = "one")]
    #[schema(value_type = String, example = "1")]
    quantity: Decimal,
    /// Price of one without VAT, 0 or more, at most two decimals.
    #[schema(value_type = String, example = "650.00")]
    unit_price: Decimal,
    /// Procedure code.
    #[serde(default)]
    tariff_code: String,
    /// Diagnosis code.
    #[serde(default)]
    icd10: String,
}

fn one() -> Decimal {
    Decimal::ONE
}

/// An invoice.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct InvoiceBody {
    id: InvoiceId,
    /// Counts up within the practice, without a gap.
    number: i32,
    /// `INV-000123`, as on paper.
    number_text: String,
    patient_id: PatientId,
    practitioner_id: PractitionerId,
    encounter_id: Option<EncounterId>,
    #[schema(value_type = String, format = Date)]
    issued_on: String,
    lines: Vec<LineBody>,
    net: Rand,
    vat: Rand,
    total: Rand,
    payments: Vec<PaymentBody>,
    paid: Rand,
    balance: Rand,
    status: Settlement,
}

/// A line of an invoice.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct LineBody {
    #[schema(value_type = String, format = Date)]
    service_date: String,
    tariff_code: String,
    icd10: String,
    description: String,
    #[schema(value_type = String)]
    quantity: Decimal,
    unit_price: Rand,
    /// A fraction, such as 0.15.
    #[schema(value_type = String)]
    vat_rate: Decimal,
    net: Rand,
    vat: Rand,
}

/// A payment on an invoice.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct PaymentBody {
    id: PaymentId,
    /// `REC-000045`.
    receipt: String,
    amount: Rand,
    method: Method,
    reference: String,
    received_at: String,
}

/// An invoice in a list.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct InvoiceSummary {
    id: InvoiceId,
    number: i32,
    number_text: String,
    patient_id: PatientId,
    practitioner_id: PractitionerId,
    encounter_id: Option<EncounterId>,
    #[schema(value_type = String, format = Date)]
    issued_on: String,
    total: Rand,
    paid: Rand,
    balance: Rand,
    status: Settlement,
}

impl From<Invoice> for InvoiceBody {
    fn from(invoice: Invoice) -> Self {
        let (paid, balance, status) = (invoice.paid(), invoice.balance(), invoice.settlement());
        Self {
            id: invoice.id,
            number: invoice.number.0,
            number_text: invoice.number.to_string(),
            patient_id: invoice.patient.id,
            practitioner_id: invoice.practitioner.id,
            encounter_id: invoice.encounter_id,
            issued_on: invoice.issued_on.to_string(),
            lines: invoice
                .lines
                .into_iter()
                .map(|l| LineBody {
                    service_date: l.service_date.to_string(),
                    tariff_code: l.tariff_code,
                    icd10: l.icd10,
                    description: l.description,
                    quantity: l.quantity.normalize(),
                    unit_price: l.unit_price,
                    vat_rate: l.vat_rate.normalize(),
                    net: l.net,
                    vat: l.vat,
                })
                .collect(),
            net: invoice.net,
            vat: invoice.vat,
            total: invoice.total,
            payments: invoice
                .payments
                .into_iter()
                .map(|p| PaymentBody {
                    id: p.id,
                    receipt: p.receipt.to_string(),
                    amount: p.amount,
                    method: p.method,
                    reference: p.reference,
                    received_at: clock::rfc3339(p.received_at),
                })
                .collect(),
            paid,
            balance,
            status,
        }
    }
}

/// Makes the invoice of a visit. A visit has one invoice: asked again without lines, the answer is that one, with 200.
#[utoipa::path(post, path = "/api/v1/invoices", tag = "invoices", request_body = NewInvoiceBody, responses(
    (status = 201, description = "Made", body = InvoiceBody),
    (status = 200, description = "The visit had it already", body = InvoiceBody),
    (status = 404, description = "No such visit in this practice"),
    (status = 409, description = "Lines were sent for a visit that has its invoice already"),
    (status = 422, description = "A field breaks a rule; `errors` names it"),
))]
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    JsonBody(body): JsonBody<NewInvoiceBody>,
) -> Result<Response> {
    let visit = match (body.encounter_id, body.appointment_id) {
        (Some(id), None) => Visit::Encounter(id),
        (None, Some(id)) => Visit::Appointment(id),
        (None, None) => {
            return Err(Error::field(
                "encounter_id",
                "Send encounter_id or appointment_id.",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Error::field(
                "appointment_id",
                "Send either encounter_id or appointment_id, not both.",
            ));
        }
    };
    let lines = body.lines.map(|lines| {
        lines
            .into_iter()
            .map(|l| NewLine {
                description: l.description,
                quantity: l.quantity,
                unit_price: l.unit_price,
                tariff_code: l.tariff_code,
                icd10: l.icd10,
            })
            .collect()
    });
    let issued = issue(&app, &session, visit, &body.icd10, lines).await?;
    let invoice = pages::read(&app, &session, issued.id, Action::Read, "API").await?;
    let status = if issued.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((
        status,
        [(header::LOCATION, format!("/api/v1/invoices/{}", issued.id))],
        Json(InvoiceBody::from(invoice)),
    )
        .into_response())
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// An invoice number, or letters of the patient's name.
    #[serde(default)]
    q: String,
    /// `unpaid`, `part` or `paid`.
    status: Option<Settlement>,
    /// Only this patient's.
    patient_id: Option<PatientId>,
    /// The `next` of the page before.
    cursor: Option<i32>,
    /// 1 to 200; 50 when left out.
    limit: Option<i64>,
}

/// Lists invoices, newest first.
#[utoipa::path(get, path = "/api/v1/invoices", tag = "invoices", params(ListParams), responses((status = 200, body = List<InvoiceSummary>)))]
pub(super) async fn list(
    State(app): State<App>,
    session: Session,
    Query(params): Query<ListParams>,
) -> Result<Json<List<InvoiceSummary>>> {
    session.require(Permission::ViewBilling)?;
    let mut problems = Problems::new();
    let q = optional_text(&mut problems, "q", Some(&params.q), 80);
    let limit = params.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        problems.add("limit", "A limit is 1 to 200.");
    }
    problems.check()?;
    let mut tx = app.begin(&session).await?;
    let wanted = store::Wanted {
        search: list::search(&app, &mut tx, &q).await?,
        settlement: params.status,
        patient: params.patient_id,
    };
    let invoices = store::list(tx.conn(), &wanted, params.cursor, limit).await?;
    let shown = invoices
        .iter()
        .map(|i| i.patient.0)
        .collect::<std::collections::BTreeSet<_>>();
    tx.record(
        AuditEvent::new(Action::Read, "Invoice")
            .reason("API list")
            .shown(shown),
    )
    .await?;
    tx.commit().await?;
    let next = (i64::try_from(invoices.len()).unwrap_or_default() == limit)
        .then(|| invoices.last().map(|i| i.number.to_string()))
        .flatten();
    let items = invoices
        .into_iter()
        .map(|i| InvoiceSummary {
            id: i.id,
            number: i.number,
            number_text: InvoiceNumber(i.number).to_string(),
            patient_id: i.patient,
            practitioner_id: i.practitioner,
            encounter_id: i.encounter,
            issued_on: i.issued_on.to_string(),
            total: i.total,
            paid: i.paid,
            balance: i.total - i.paid,
            status: rules::settlement(i.total, i.paid),
        })
        .collect();
    Ok(Json(List { items, next }))
}

/// Reads an invoice.
#[utoipa::path(get, path = "/api/v1/invoices/{id}", tag = "invoices", params(("id" = InvoiceId, Path)), responses(
    (status = 200, body = InvoiceBody),
    (status = 404, description = "No such invoice in this practice"),
))]
pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    Path(id): Path<InvoiceId>,
) -> Result<Json<InvoiceBody>> {
    Ok(Json(
        pages::read(&app, &session, id, Action::Read, "API")
            .await?
            .into(),
    ))
}
