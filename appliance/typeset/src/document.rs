//! The documents: the JSON contract between the appliance and this program.
//!
//! Input is `{"template": NAME, "data": {…}}` with the fields of [`Invoice`], [`Receipt`] or [`Note`]. Amounts and
//! quantities are decimal numbers as text (`"1250.00"`), days `"2026-11-24"`, moments RFC 3339 with offset; fields
//! marked optional may be left out or null. Unknown fields are refused: what is sent is meant to be printed. Line
//! breaks in free text are kept; other control characters are refused.

use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::format::{Day, Moment, Quantity, Rand};

/// What is wrong with the input: the field, and the rule it breaks.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{field}: {rule}")]
pub struct WrongInput {
    field: String,
    rule: String,
}

impl WrongInput {
    fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            rule: rule.into(),
        }
    }
}

/// A document that is complete and consistent.
#[derive(Debug)]
pub enum Document {
    /// A tax invoice, or an invoice where the practice is not registered for VAT.
    Invoice(Box<Invoice>),
    /// Proof of a payment.
    Receipt(Box<Receipt>),
    /// A clinical note, for the patient or another practitioner.
    Note(Box<Note>),
}

/// The letterhead.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Practice {
    pub name: String,
    /// The practice code number of the Board of Healthcare Funders.
    pub practice_number: String,
    /// Optional; an invoice with one is a tax invoice (VAT Act 89 of 1991, section 20(4)).
    pub vat_number: Option<String>,
    /// Lines of the address.
    pub address: Vec<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub bank: Option<Bank>,
}

/// Where to pay.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    pub bank: String,
    pub branch_code: Option<String>,
    pub account_name: String,
    pub account_number: String,
}

/// The person treated.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patient {
    pub name: String,
    pub birth_date: Option<Day>,
    /// The practice's own file number.
    pub file_number: Option<String>,
    pub dependant_code: Option<String>,
}

/// Who owes an invoice.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payer {
    pub name: String,
    #[serde(default)]
    pub address: Vec<String>,
    pub vat_number: Option<String>,
}

/// The medical scheme.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    pub name: String,
    pub option: Option<String>,
    pub member_name: Option<String>,
    pub member_number: String,
}

/// Who treated.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Practitioner {
    pub name: String,
    pub discipline: Option<String>,
    /// Registration with the Health Professions Council of South Africa.
    pub hpcsa_number: String,
}

/// One thing charged.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The day of service.
    pub date: Day,
    /// The tariff code.
    pub code: String,
    #[serde(default)]
    pub icd10: Vec<String>,
    pub description: String,
    pub quantity: Quantity,
    /// The price of one, without VAT.
    pub unit: Rand,
    /// The VAT within `amount`.
    pub vat: Rand,
    /// The line's price, VAT included.
    pub amount: Rand,
}

/// The sums; they must agree with the lines and with each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Without VAT.
    pub net: Rand,
    /// In per cent.
    pub vat_rate: Quantity,
    pub vat: Rand,
    /// VAT included: the sum of the lines' amounts.
    pub total: Rand,
    pub paid: Rand,
    /// `total` less `paid`; below zero in the patient's favour.
    pub balance: Rand,
}

/// `"template": "invoice"`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoice {
    pub practice: Practice,
    pub number: String,
    pub date: Day,
    pub due: Option<Day>,
    pub patient: Patient,
    /// Who owes it; the patient where left out.
    pub payer: Option<Payer>,
    pub scheme: Option<Scheme>,
    pub practitioner: Practitioner,
    pub lines: Vec<Line>,
    pub totals: Totals,
    /// A sentence of the practice's own, below the totals.
    pub remark: Option<String>,
    /// The audit log's head in its short form, for the foot of the page.
    pub audit_head: Option<String>,
    /// When the document was made: the PDF's own date, so that the same input gives the same bytes.
    pub produced_at: Moment,
}

/// `"template": "receipt"`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    pub practice: Practice,
    pub number: String,
    pub paid_at: Moment,
    pub received_from: String,
    pub patient: Option<Patient>,
    /// Which invoices it pays.
    pub invoices: Vec<String>,
    /// Cash, card, EFT, …, in words.
    pub method: String,
    pub reference: Option<String>,
    pub amount: Rand,
    /// What is still owed after it.
    pub balance: Option<Rand>,
    pub received_by: Option<String>,
    pub audit_head: Option<String>,
    pub produced_at: Moment,
}

/// A part of a note.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub heading: String,
    pub paragraphs: Vec<String>,
}

/// Who signed, and when.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    pub by: Practitioner,
    pub at: Moment,
}

/// What was added after signing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addendum {
    pub at: Moment,
    pub by: Practitioner,
    pub text: String,
}

/// `"template": "note"`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub practice: Practice,
    pub title: String,
    /// The day of the visit.
    pub date: Day,
    pub patient: Patient,
    /// Allergies in one line, as on the patient's banner.
    pub allergies: String,
    pub sections: Vec<Section>,
    /// Left out for a note that is not signed, which is printed as such.
    pub signed: Option<Signed>,
    #[serde(default)]
    pub addenda: Vec<Addendum>,
    pub audit_head: Option<String>,
    pub produced_at: Moment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    template: String,
    data: Value,
}

/// Reads and checks a document.
///
/// # Errors
/// Names the first field that is wrong, as `data.lines[2].amount`, and the rule it breaks.
pub fn read(json: &[u8]) -> Result<Document, WrongInput> {
    let Request { template, data } = parse(&mut serde_json::Deserializer::from_slice(json), "")?;
    check_text(&data, "data")?;
    match template.as_str() {
        "invoice" => {
            let invoice: Invoice = parse(data, "data")?;
            check_invoice(&invoice)?;
            Ok(Document::Invoice(Box::new(invoice)))
        }
        "receipt" => {
            let receipt: Receipt = parse(data, "data")?;
            if receipt.amount.0 <= Decimal::ZERO {
                return Err(WrongInput::new(
                    "data.amount",
                    "a receipt is for more than nothing",
                ));
            }
            Ok(Document::Receipt(Box::new(receipt)))
        }
        "note" => Ok(Document::Note(Box::new(parse(data, "data")?))),
        _ => Err(WrongInput::new(
            "template",
            format!("\"{template}\" is none of invoice, receipt and note"),
        )),
    }
}

fn parse<'de, T: DeserializeOwned>(
    from: impl serde::Deserializer<'de>,
    within: &str,
) -> Result<T, WrongInput> {
    serde_path_to_error::deserialize(from).map_err(|error| {
        let field = match (within, error.path().to_string().as_str()) {
            ("", ".") => "document".to_owned(),
            ("", path) => path.to_owned(),
            (within, ".") => within.to_owned(),
            (within, path) => format!("{within}.{path}"),
        };
        WrongInput::new(field, error.into_inner().to_string())
    })
}

fn check_text(value: &Value, field: &str) -> Result<(), WrongInput> {
    match value {
        Value::String(text) => match text
            .chars()
            .find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t'))
        {
            Some(letter) => Err(WrongInput::new(
                field,
                format!("the character {} can't be printed", letter.escape_unicode()),
            )),
            None => Ok(()),
        },
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(place, item)| check_text(item, &format!("{field}[{place}]"))),
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(name, value)| check_text(value, &format!("{field}.{name}"))),
        _ => Ok(()),
    }
}

fn check_invoice(invoice: &Invoice) -> Result<(), WrongInput> {
    let totals = &invoice.totals;
    if invoice.number.trim().is_empty() {
        return Err(WrongInput::new("data.number", "an invoice has a number"));
    }
    if invoice.lines.is_empty() {
        return Err(WrongInput::new(
            "data.lines",
            "an invoice has at least one line",
        ));
    }
    let sum = |amount: fn(&Line) -> Rand| {
        invoice
            .lines
            .iter()
            .map(|line| amount(line).0)
            .sum::<Decimal>()
    };
    for (field, stated, worked_out) in [
        ("data.totals.total", totals.total.0, sum(|line| line.amount)),
        ("data.totals.vat", totals.vat.0, sum(|line| line.vat)),
        (
            "data.totals.net",
            totals.net.0,
            totals.total.0 - totals.vat.0,
        ),
        (
            "data.totals.balance",
            totals.balance.0,
            totals.total.0 - totals.paid.0,
        ),
    ] {
        if stated != worked_out {
            return Err(WrongInput::new(
                field,
                format!("is {stated}, but the lines and sums give {worked_out}"),
            ));
        }
    }
    if invoice.practice.vat_number.is_none() && !totals.vat.0.is_zero() {
        return Err(WrongInput::new(
            "data.totals.vat",
            "only a practice with a VAT number may charge VAT",
        ));
    }
    Ok(())
}
