//! The list of invoices with the visits that wait for one.

use axum::extract::State;
use axum::response::{Redirect, Response};
use uuid::Uuid;

use super::invoice::{InvoiceNumber, Settlement};
use super::issue::{Visit, issue};
use super::{rules, store};
use crate::clock;
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Problems, Result};
use crate::ids::EncounterId;
use crate::patients::{self};
use crate::web::{App, Form, Page, Permission, Query, Session, Shell, html, optional_text};

const PAGE: i64 = 50;
/// Visits waiting for an invoice that the list shows; the rest is counted.
const WAITING: i64 = 20;

/// Patients whose invoices a search shows.
const FITTING: i32 = 200;

#[derive(Debug, serde::Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    status: String,
    before: Option<i32>,
}

/// `billing/list.html`.
#[derive(serde::Serialize)]
pub(super) struct ListPage {
    shell: Shell,
    q: String,
    status: &'static str,
    statuses: Vec<Choice>,
    may_bill: bool,
    waiting: Vec<WaitingVisit>,
    waiting_count: i64,
    rows: Vec<Row>,
    count: i64,
    total: String,
    due: String,
    next: Option<String>,
}

#[derive(serde::Serialize)]
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) label: &'static str,
}

#[derive(serde::Serialize)]
struct WaitingVisit {
    encounter: Uuid,
    patient: String,
    patient_href: String,
    file_number: String,
    when: String,
    practitioner: String,
    session: String,
    amount: String,
}

#[derive(serde::Serialize)]
struct Row {
    href: String,
    number: String,
    date: String,
    patient: String,
    file_number: String,
    practitioner: String,
    total: String,
    due: String,
    badge: Badge,
}

#[derive(serde::Serialize)]
pub(super) struct Badge {
    pub(super) label: &'static str,
    pub(super) state: &'static str,
    pub(super) icon: &'static str,
}

impl From<Settlement> for Badge {
    fn from(settlement: Settlement) -> Self {
        let (state, icon) = match settlement {
            Settlement::Paid => ("good", "circle-check"),
            Settlement::Part => ("warn", "circle-dashed"),
            Settlement::Unpaid => ("quiet", "wallet"),
        };
        Self {
            label: settlement.label(),
            state,
            icon,
        }
    }
}

impl Page for ListPage {
    const TEMPLATE: &'static str = "billing/list.html";
    fn samples() -> Vec<Self> {
        let row = |settlement: Settlement| Row {
            href: "/invoices/1".into(),
            number: "INV-000123".into(),
            date: "24-Nov-2026".into(),
            patient: "KHUMALO, Thandiwe".into(),
            file_number: "H-00482".into(),
            practitioner: "Naledi Mokoena".into(),
            total: "R 747,50".into(),
            due: "R 0,00".into(),
            badge: settlement.into(),
        };
        let page = |rows: Vec<Row>, waiting: Vec<WaitingVisit>, next| Self {
            shell: Shell::sample(),
            q: String::new(),
            status: "",
            statuses: choices(),
            may_bill: true,
            waiting_count: 30,
            waiting,
            count: 3,
            rows,
            total: "R 747,50".into(),
            due: "R 0,00".into(),
            next,
        };
        let visit = WaitingVisit {
            encounter: Uuid::nil(),
            patient: "KHUMALO, Thandiwe".into(),
            patient_href: "/patients/1".into(),
            file_number: "H-00482".into(),
            when: "24-Nov-2026 10:41".into(),
            practitioner: "Naledi Mokoena".into(),
            session: "Follow-up".into(),
            amount: "R 747,50".into(),
        };
        vec![
            page(
                Settlement::ALL.into_iter().map(row).collect(),
                vec![visit],
                Some("/invoices?before=12".into()),
            ),
            page(Vec::new(), Vec::new(), None),
            Self {
                q: "khum".into(),
                status: "paid",
                may_bill: false,
                ..page(Vec::new(), Vec::new(), None)
            },
        ]
    }
}

fn choices() -> Vec<Choice> {
    Settlement::ALL
        .into_iter()
        .map(|s| Choice {
            value: s.text(),
            label: s.label(),
        })
        .collect()
}

fn family_first(family: &str, given: &str) -> String {
    format!("{family}, {given}")
}

/// Turns what was typed into what the store looks for.
pub(super) async fn search(
    app: &App,
    tx: &mut PracticeTx,
    typed: &str,
) -> Result<Option<(Option<InvoiceNumber>, Vec<Uuid>)>> {
    if typed.is_empty() {
        return Ok(None);
    }
    // A number is looked up as an invoice's first; as a file, phone or identity number only when no invoice can have it.
    let number = InvoiceNumber::parse(typed);
    let patients = if number.is_some() {
        Vec::new()
    } else {
        patients::matching(app, tx, typed, FITTING).await?
    };
    Ok(Some((number, patients.into_iter().map(|p| p.0).collect())))
}

pub(super) async fn list(
    State(app): State<App>,
    session: Session,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    session.require(Permission::ViewBilling)?;
    let mut problems = Problems::new();
    let q = optional_text(&mut problems, "q", Some(&query.q), 80);
    problems.check()?;
    let settlement = Settlement::from_text(&query.status);
    let mut tx = app.begin(&session).await?;
    let wanted = store::Wanted {
        search: search(&app, &mut tx, &q).await?,
        settlement,
        patient: None,
    };
    let invoices = store::list(tx.conn(), &wanted, query.before, PAGE).await?;
    let (count, total, due) = store::sums(tx.conn(), &wanted).await?;
    // The visits that wait stand above the whole list, not above a search or its second page.
    let may_bill = session.may(Permission::Bill);
    let first = may_bill && q.is_empty() && settlement.is_none() && query.before.is_none();
    let (visits, waiting_count) = if first {
        store::unbilled(tx.conn(), WAITING).await?
    } else {
        (Vec::new(), 0)
    };
    let rates = store::vat_rates(tx.conn()).await?;
    let shown = invoices
        .iter()
        .map(|i| i.patient.0)
        .chain(visits.iter().map(|v| v.patient.0))
        .collect::<std::collections::BTreeSet<_>>();
    tx.record(
        AuditEvent::new(Action::Read, "Invoice")
            .reason("list")
            .shown(shown),
    )
    .await?;
    let shell = Shell::load(&app, &session, &mut tx, "Billing", "billing").await?;
    tx.commit().await?;
    let next = (i64::try_from(invoices.len()).unwrap_or_default() == PAGE)
        .then(|| invoices.last())
        .flatten()
        .map(|last| {
            let status = settlement.map_or("", Settlement::text);
            let query = [
                ("q", q.as_str()),
                ("status", status),
                ("before", &last.number.to_string()),
            ];
            format!(
                "/invoices?{}",
                serde_urlencoded::to_string(query).unwrap_or_default()
            )
        });
    let waiting = visits
        .into_iter()
        .map(|v| {
            let rate =
                rules::vat_rate(v.vendor, &rates, clock::local(v.started_at).0).unwrap_or_default();
            let amount = v.price + crate::money::Rand::rounded(v.price.amount() * rate);
            WaitingVisit {
                encounter: v.encounter.0,
                patient: family_first(&v.family_name, &v.given_name),
                patient_href: format!("/patients/{}", v.patient),
                file_number: v.file_number,
                when: clock::stamp_text(v.started_at),
                practitioner: v.practitioner_name,
                session: v.session_name,
                amount: amount.to_string(),
            }
        })
        .collect();
    let rows = invoices
        .into_iter()
        .map(|i| Row {
            href: format!("/invoices/{}", i.id),
            number: InvoiceNumber(i.number).to_string(),
            date: clock::date_text(i.issued_on),
            patient: family_first(&i.family_name, &i.given_name),
            file_number: i.file_number,
            practitioner: i.practitioner_name,
            due: (i.total - i.paid).to_string(),
            badge: rules::settlement(i.total, i.paid).into(),
            total: i.total.to_string(),
        })
        .collect();
    let page = ListPage {
        shell,
        status: settlement.map_or("", Settlement::text),
        statuses: choices(),
        may_bill,
        waiting,
        waiting_count,
        rows,
        count,
        total: total.to_string(),
        due: due.to_string(),
        next,
        q,
    };
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Create {
    encounter_id: EncounterId,
    #[serde(default)]
    icd10: String,
}

pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<Create>,
) -> Result<Redirect> {
    let issued = issue(
        &app,
        &session,
        Visit::Encounter(form.encounter_id),
        &form.icd10,
        None,
    )
    .await?;
    Ok(Redirect::to(&format!("/invoices/{}", issued.id)))
}
