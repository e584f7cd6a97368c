//! What an invoice, its lines and its payments are.

use rust_decimal::Decimal;
use time::{Date, OffsetDateTime};

use crate::ids::{EncounterId, InvoiceId, PatientId, PaymentId, PractitionerId, SessionTypeId};
use crate::money::Rand;

/// An invoice's number within its practice: 1, 2, 3, … without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InvoiceNumber(pub i32);

/// `INV-000123`.
impl std::fmt::Display for InvoiceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "INV-{:06}", self.0)
    }
}

impl InvoiceNumber {
    /// Reads what a person types to find an invoice: `INV-000123`, `inv 123`, `#123`, `123`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        let digits = text
            .strip_prefix("inv")
            .unwrap_or(&text)
            .trim_start_matches([' ', '-', '#']);
        let number = (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok())??;
        (number > 0).then_some(Self(number))
    }
}

/// A receipt's number within its practice, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptNumber(pub i32);

/// `REC-000045`.
impl std::fmt::Display for ReceiptNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "REC-{:06}", self.0)
    }
}

/// How far an invoice is paid.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Settlement {
    /// Nothing is paid yet.
    Unpaid,
    /// Something is paid, something is due.
    Part,
    /// Nothing is due.
    Paid,
}

impl Settlement {
    /// Every state, in the order of the list's filter.
    pub const ALL: [Self; 3] = [Self::Unpaid, Self::Part, Self::Paid];

    /// As filters and the API write it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::Part => "part",
            Self::Paid => "paid",
        }
    }

    /// In the practice's words.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unpaid => "Unpaid",
            Self::Part => "Part paid",
            Self::Paid => "Paid",
        }
    }

    /// As filters write it, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.text() == text)
    }
}

/// How money came in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Notes and coins.
    Cash,
    /// A card machine.
    Card,
    /// An electronic transfer.
    Eft,
}

impl Method {
    /// Every way, in the order of the form.
    pub const ALL: [Self; 3] = [Self::Card, Self::Cash, Self::Eft];

    /// As stored.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Cash => "cash",
            Self::Card => "card",
            Self::Eft => "eft",
        }
    }

    /// On screen and paper.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Cash => "Cash",
            Self::Card => "Card",
            Self::Eft => "EFT",
        }
    }

    /// As stored, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.text() == text)
    }
}

/// One thing supplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The day it was supplied, on the practice's wall calendar.
    pub service_date: Date,
    /// The session type it was priced from, unless typed by hand.
    pub session_type_id: Option<SessionTypeId>,
    /// Procedure code of the tariff, may be empty.
    pub tariff_code: String,
    /// Diagnosis code, may be empty.
    pub icd10: String,
    /// What it was.
    pub description: String,
    /// How many, at most two decimals.
    pub quantity: Decimal,
    /// Price of one, without VAT.
    pub unit_price: Rand,
    /// VAT rate as a fraction: 0.15.
    pub vat_rate: Decimal,
    /// Quantity times price, rounded to the cent.
    pub net: Rand,
    /// VAT on the net amount, rounded to the cent.
    pub vat: Rand,
}

/// Money that came in for an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// Its receipt's number.
    pub receipt: ReceiptNumber,
    /// How much.
    pub amount: Rand,
    /// How.
    pub method: Method,
    /// The slip's or transfer's reference, may be empty.
    pub reference: String,
    /// When it was recorded.
    pub received_at: OffsetDateTime,
    /// Who recorded it.
    pub received_by: String,
}

/// Who supplied: the practice, as its invoices name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supplier {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) phone: String,
    pub(super) email: String,
    pub(super) bhf_number: String,
    pub(super) vat_number: String,
    pub(super) bank_details: String,
}

/// Who was treated, as an account names them (Medical Schemes Act regulation 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treated {
    pub(super) id: PatientId,
    pub(super) title: String,
    pub(super) family_name: String,
    pub(super) given_name: String,
    pub(super) birth_date: Date,
    pub(super) file_number: String,
    pub(super) address: String,
    pub(super) scheme_name: String,
    pub(super) scheme_plan: String,
    pub(super) member_number: String,
    pub(super) dependant_code: String,
}

/// Who treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treating {
    pub(super) id: PractitionerId,
    pub(super) name: String,
    pub(super) discipline: String,
    pub(super) hpcsa_number: String,
    pub(super) bhf_number: String,
}

/// An invoice with all that its page and its paper show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub id: InvoiceId,
    /// Its number.
    pub number: InvoiceNumber,
    /// Who was treated.
    pub patient: Treated,
    /// Who treated.
    pub practitioner: Treating,
    /// Who supplied.
    pub supplier: Supplier,
    /// The visit it was made from.
    pub encounter_id: Option<EncounterId>,
    /// Its date.
    pub issued_on: Date,
    /// What was supplied, in order.
    pub lines: Vec<Line>,
    /// Sum without VAT.
    pub net: Rand,
    /// VAT.
    pub vat: Rand,
    /// What is asked for.
    pub total: Rand,
    /// What came in, oldest first.
    pub payments: Vec<Payment>,
}

impl Invoice {
    /// What came in so far.
    #[must_use]
    pub fn paid(&self) -> Rand {
        self.payments.iter().map(|p| p.amount).sum()
    }

    /// What is still due; never negative, because no payment may pass the balance.
    #[must_use]
    pub fn balance(&self) -> Rand {
        self.total - self.paid()
    }

    /// How far it is paid.
    #[must_use]
    pub fn settlement(&self) -> Settlement {
        super::rules::settlement(self.total, self.paid())
    }

    /// What the paper is called: only a VAT vendor may issue a tax invoice (VAT Act, section 20).
    #[must_use]
    pub fn heading(&self) -> &'static str {
        if self.supplier.vat_number.is_empty() {
            "Invoice"
        } else {
            "Tax invoice"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_however_it_is_typed() {
        for text in ["INV-000123", "inv 123", "#123", " 123 ", "INV000123"] {
            assert_eq!(
                InvoiceNumber::parse(text),
                Some(InvoiceNumber(123)),
                "{text}"
            );
        }
        for text in ["", "INV-", "0", "12a", "khumalo", "99999999999", "-"] {
            assert_eq!(InvoiceNumber::parse(text), None, "{text}");
        }
        assert_eq!(InvoiceNumber(123).to_string(), "INV-000123");
    }
}
