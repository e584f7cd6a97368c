//! What a practice says of itself on its paper, and what may stand there. Pure.

use crate::error::{Problems, Result};
use crate::web::{email_address, optional_text, required_text};

/// Lines of an address or of bank details at the most.
const LINES: usize = 8;

/// What a practice's letters and invoices say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Details {
    /// Its name.
    pub name: String,
    /// Its number with the Board of Healthcare Funders; empty where it has none.
    pub bhf_number: String,
    /// Its VAT number; empty where it is no vendor.
    pub vat_number: String,
    /// Its street and postal address, a line each.
    pub address: String,
    /// Its phone number.
    pub phone: String,
    /// Its e-mail address.
    pub email: String,
    /// Where to pay, as invoices print it.
    pub bank_details: String,
}

fn digits(text: &str) -> usize {
    text.chars().filter(char::is_ascii_digit).count()
}

fn lines(problems: &mut Problems, field: &'static str, text: &str) -> Vec<String> {
    let kept: Vec<String> = text
        .lines()
        .map(|line| optional_text(problems, field, Some(line), 120))
        .filter(|line| !line.is_empty())
        .collect();
    if kept.len() > LINES {
        problems.add(field, "At most eight lines.");
    }
    kept
}

impl Details {
    /// As typed → as stored.
    ///
    /// # Errors
    /// What is wrong, by field.
    pub fn checked(&self) -> Result<Self> {
        let mut problems = Problems::new();
        let line = |problems: &mut Problems, field, text: &str, most| {
            optional_text(problems, field, Some(text), most)
        };
        let checked = Self {
            name: required_text(&mut problems, "name", &self.name, 200),
            bhf_number: line(&mut problems, "bhf_number", &self.bhf_number, 20),
            vat_number: line(&mut problems, "vat_number", &self.vat_number, 20),
            address: lines(&mut problems, "address", &self.address).join("\n"),
            phone: line(&mut problems, "phone", &self.phone, 40),
            email: problems
                .take("email", email_address(&self.email))
                .unwrap_or_default(),
            // One paragraph on the invoice, and in the bank's own order.
            bank_details: lines(&mut problems, "bank_details", &self.bank_details).join(", "),
        };
        if !checked.bhf_number.is_empty() && digits(&checked.bhf_number) != 7 {
            problems.add(
                "bhf_number",
                "A practice number has 7 digits, such as 0123456.",
            );
        }
        // VAT Act 89 of 1991: a vendor's number has ten digits and begins with 4.
        let first = checked.vat_number.chars().find(char::is_ascii_digit);
        if !checked.vat_number.is_empty()
            && (digits(&checked.vat_number) != 10 || first != Some('4'))
        {
            problems.add(
                "vat_number",
                "A VAT number has 10 digits and begins with 4.",
            );
        }
        problems.check()?;
        Ok(checked)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Error;

    fn named() -> Details {
        Details {
            name: "Rosebank Rehab".into(),
            ..Details::default()
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let wrong = Details {
            name: " ".into(),
            bhf_number: "12".into(),
            vat_number: "5234567890".into(),
            address: "x\n".repeat(9),
            phone: "0".repeat(41),
            email: "nobody".into(),
            bank_details: "x".repeat(121),
        };
        let Err(Error::Invalid(fields)) = wrong.checked() else {
            panic!("taken");
        };
        let told: Vec<&str> = fields.iter().map(|f| f.field.as_ref()).collect();
        for field in [
            "name",
            "bhf_number",
            "vat_number",
            "address",
            "phone",
            "email",
            "bank_details",
        ] {
            assert!(told.contains(&field), "{field}");
        }
    }

    #[test]
    fn numbers_may_be_grouped_and_lines_are_kept_tidy() {
        let typed = Details {
            bhf_number: "012 3456".into(),
            vat_number: "4123 456 789".into(),
            address: " 12 Bath Avenue \n\n Rosebank ".into(),
            bank_details: "FNB\nAccount 62 000 000 000\nBranch 250655".into(),
            ..named()
        };
        let stored = typed.checked().unwrap();
        assert_eq!(stored.address, "12 Bath Avenue\nRosebank");
        assert_eq!(
            stored.bank_details,
            "FNB, Account 62 000 000 000, Branch 250655"
        );
        assert_eq!(stored.bhf_number, "012 3456");
    }

    proptest! {
        #[test]
        fn what_is_stored_is_stored_again_as_it_is(address in "[ a-z\n]{0,60}", bank in "[ a-z,\n]{0,60}") {
            let typed = Details { address, bank_details: bank, ..named() };
            if let Ok(stored) = typed.checked() {
                prop_assert_eq!(stored.checked().unwrap(), stored);
            }
        }
    }
}
