//! Pure decisions: VAT by date, line and invoice amounts, what a payment may be, what a diagnosis code looks like.

use rust_decimal::Decimal;
use time::Date;

use super::invoice::{Line, Settlement};
use crate::ids::SessionTypeId;
use crate::money::Rand;

/// Most lines of one invoice.
pub(super) const MOST_LINES: usize = 100;
/// Most of one line.
const MOST_QUANTITY: u32 = 1_000;
/// Most that one line's unit price, and one invoice, may be, in rand.
const MOST_RAND: u32 = 10_000_000;

/// A line before it is priced.
#[derive(Clone, Debug)]
pub(super) struct Unpriced {
    pub service_date: Date,
    pub session_type_id: Option<SessionTypeId>,
    pub tariff_code: String,
    pub icd10: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Rand,
}

/// The sums of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub net: Rand,
    pub vat: Rand,
    pub total: Rand,
}

/// The VAT rate of a supply on a day, as a fraction: the newest rate that had begun (VAT Act 89 of 1991, section 7(1)).
/// A practice that is no vendor charges none. None when no rate is known for so early a day.
pub(super) fn vat_rate(vendor: bool, rates: &[(Date, Decimal)], day: Date) -> Option<Decimal> {
    if !vendor {
        return Some(Decimal::ZERO);
    }
    rates
        .iter()
        .filter(|(from, _)| *from <= day)
        .max_by_key(|(from, _)| *from)
        .map(|(_, rate)| *rate)
}

/// Prices a line. Session prices are without VAT; each amount is rounded to the cent by itself, half away from zero, so
/// that the printed lines add up to the printed totals.
pub(super) fn price(line: Unpriced, vat_rate: Decimal) -> Line {
    let net = Rand::rounded(line.quantity * line.unit_price.amount());
    let vat = Rand::rounded(net.amount() * vat_rate);
    Line {
        service_date: line.service_date,
        session_type_id: line.session_type_id,
        tariff_code: line.tariff_code,
        icd10: line.icd10,
        description: line.description,
        quantity: line.quantity,
        unit_price: line.unit_price,
        vat_rate,
        net,
        vat,
    }
}

/// Adds lines up.
pub(super) fn totals(lines: &[Line]) -> Totals {
    let net: Rand = lines.iter().map(|l| l.net).sum();
    let vat: Rand = lines.iter().map(|l| l.vat).sum();
    Totals {
        net,
        vat,
        total: net + vat,
    }
}

/// # Errors
/// A sentence when an invoice is larger than any this practice could mean.
pub(super) fn check_total(total: Rand) -> Result<(), String> {
    let most = Rand::rounded(MOST_RAND.into());
    if total > most {
        Err(format!(
            "An invoice can be at most {most}. Check the amounts."
        ))
    } else {
        Ok(())
    }
}

/// # Errors
/// A sentence when it is no price: negative, too large, or finer than a cent.
pub(super) fn check_unit_price(price: Decimal) -> Result<Rand, String> {
    let most = Rand::rounded(MOST_RAND.into());
    if price.is_sign_negative() && !price.is_zero() {
        return Err("A price can't be negative. Enter 0 or more.".into());
    }
    if price > most.amount() {
        return Err(format!("A price can be at most {most}."));
    }
    if price.normalize().scale() > 2 {
        return Err("Enter at most two decimals.".into());
    }
    Ok(Rand::rounded(price))
}

/// # Errors
/// A sentence when it is no quantity.
pub(super) fn check_quantity(quantity: Decimal) -> Result<Decimal, String> {
    if quantity <= Decimal::ZERO {
        return Err("A quantity must be more than 0.".into());
    }
    if quantity > MOST_QUANTITY.into() {
        return Err(format!("A quantity can be at most {MOST_QUANTITY}."));
    }
    if quantity.normalize().scale() > 2 {
        return Err("Enter at most two decimals.".into());
    }
    Ok(quantity)
}

/// Reads a diagnosis code in the form of the South African ICD-10 Master Industry Table: `M54.5`, `S83.20`, `I10`,
/// `G63.2*`. Whether the table holds it is not checked here.
///
/// # Errors
/// A sentence when it does not have that form.
pub(super) fn icd10(text: &str) -> Result<String, String> {
    let code = text.trim().to_ascii_uppercase();
    if code.is_empty() {
        return Ok(code);
    }
    let plain = code.strip_suffix(['+', '*']).unwrap_or(&code);
    let (category, detail) = plain
        .split_once('.')
        .map_or((plain, None), |(c, d)| (c, Some(d)));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let category_fits = category.len() == 3
        && category.as_bytes()[0].is_ascii_uppercase()
        && digits(&category[1..]);
    let detail_fits = detail.is_none_or(|d| (1..=2).contains(&d.len()) && digits(d));
    if category_fits && detail_fits {
        Ok(code)
    } else {
        Err("This is not an ICD-10 code. Enter one such as M54.5.".into())
    }
}

/// How far a total is paid.
pub(super) fn settlement(total: Rand, paid: Rand) -> Settlement {
    if paid >= total {
        Settlement::Paid
    } else if paid > Rand::ZERO {
        Settlement::Part
    } else {
        Settlement::Unpaid
    }
}

/// # Errors
/// A sentence when this much can't be paid on this balance.
pub(super) fn check_payment(balance: Rand, amount: Rand) -> Result<(), String> {
    if amount <= Rand::ZERO {
        return Err("The amount must be more than R\u{a0}0,00.".into());
    }
    if balance <= Rand::ZERO {
        return Err("This invoice is paid in full; nothing more is due.".into());
    }
    if amount > balance {
        return Err(format!(
            "The amount is more than the balance. Enter at most {balance}."
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::date;

    fn rates() -> Vec<(Date, Decimal)> {
        vec![
            (date!(2018 - 04 - 01), Decimal::new(15, 2)),
            (date!(1993 - 04 - 07), Decimal::new(14, 2)),
        ]
    }

    fn line(quantity: Decimal, unit_price: Rand) -> Unpriced {
        Unpriced {
            service_date: date!(2026 - 11 - 24),
            session_type_id: None,
            tariff_code: String::new(),
            icd10: String::new(),
            description: "Session".into(),
            quantity,
            unit_price,
        }
    }

    #[test]
    fn vat_follows_the_service_date() {
        assert_eq!(
            vat_rate(true, &rates(), date!(2018 - 03 - 31)),
            Some(Decimal::new(14, 2))
        );
        assert_eq!(
            vat_rate(true, &rates(), date!(2018 - 04 - 01)),
            Some(Decimal::new(15, 2))
        );
        assert_eq!(vat_rate(true, &rates(), date!(1990 - 01 - 01)), None);
        assert_eq!(
            vat_rate(false, &rates(), date!(2026 - 11 - 24)),
            Some(Decimal::ZERO)
        );
    }

    #[test]
    fn half_a_cent_rounds_away_from_zero() {
        // 0,10 × 15 % = 0,015; 1,5 × 0,33 = 0,495.
        let cheap = price(
            line(Decimal::ONE, Rand::rounded(Decimal::new(10, 2))),
            Decimal::new(15, 2),
        );
        assert_eq!(cheap.vat, Rand::rounded(Decimal::new(2, 2)));
        let part = price(
            line(Decimal::new(15, 1), Rand::rounded(Decimal::new(33, 2))),
            Decimal::ZERO,
        );
        assert_eq!(part.net, Rand::rounded(Decimal::new(50, 2)));
    }

    #[test]
    fn prices_below_nothing_are_refused() {
        assert!(
            check_unit_price(Decimal::new(-1, 2))
                .unwrap_err()
                .contains("negative")
        );
        assert!(check_unit_price(Decimal::ZERO).is_ok());
        assert!(check_unit_price(Decimal::new(1, 3)).is_err());
        assert!(check_quantity(Decimal::ZERO).is_err());
        assert!(check_quantity(Decimal::new(-1, 0)).is_err());
    }

    #[test]
    fn diagnosis_codes_have_one_form() {
        for (typed, kept) in [
            ("m54.5", "M54.5"),
            (" S83.20 ", "S83.20"),
            ("I10", "I10"),
            ("G63.2*", "G63.2*"),
            ("", ""),
        ] {
            assert_eq!(icd10(typed).as_deref(), Ok(kept));
        }
        for wrong in [
            "M5",
            "54.5",
            "M54.",
            "M54.555",
            "back pain",
            "M54.5;",
            "é54",
        ] {
            assert!(icd10(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_payment_names_the_balance_it_may_not_pass() {
        let rand = |n| Rand::rounded(Decimal::new(n, 2));
        assert!(
            check_payment(rand(10_000), rand(10_001))
                .unwrap_err()
                .contains("R\u{a0}100,00")
        );
        assert!(check_payment(rand(10_000), rand(10_000)).is_ok());
        assert!(
            check_payment(rand(0), rand(1))
                .unwrap_err()
                .contains("paid in full")
        );
        assert!(check_payment(rand(100), rand(0)).is_err());
        assert!(check_payment(rand(100), rand(-1)).is_err());
    }

    proptest! {
        #[test]
        fn totals_are_the_sum_of_the_lines_and_never_negative(
            lines in prop::collection::vec((1_i64..=100_000, 0_i64..=100_000_000), 1..=20),
            vendor in any::<bool>(),
        ) {
            let rate = vat_rate(vendor, &rates(), date!(2026-11-24)).unwrap();
            let lines: Vec<Line> =
                lines.into_iter().map(|(q, p)| price(line(Decimal::new(q, 2), Rand::rounded(Decimal::new(p, 2))), rate)).collect();
            let sums = totals(&lines);
            let net: Decimal = lines.iter().map(|l| l.net.amount()).sum();
            let vat: Decimal = lines.iter().map(|l| l.vat.amount()).sum();
            prop_assert_eq!(sums.net.amount(), net);
            prop_assert_eq!(sums.vat.amount(), vat);
            prop_assert_eq!(sums.total.amount(), net + vat);
            prop_assert!(!sums.net.is_negative() && !sums.vat.is_negative());
            prop_assert!(vendor || vat.is_zero());
            // Rounding a line moves it by half a cent at most.
            for l in &lines {
                prop_assert!((l.net.amount() - l.quantity * l.unit_price.amount()).abs() <= Decimal::new(5, 3));
                prop_assert!((l.vat.amount() - l.net.amount() * rate).abs() <= Decimal::new(5, 3));
            }
        }

        #[test]
        fn payments_that_are_taken_never_pass_the_total(total in 0_i64..1_000_000, tries in prop::collection::vec(-1_000_i64..2_000_000, 0..12)) {
            let total = Rand::rounded(Decimal::new(total, 2));
            let mut paid = Rand::ZERO;
            for amount in tries {
                let amount = Rand::rounded(Decimal::new(amount, 2));
                if check_payment(total - paid, amount).is_ok() {
                    paid = paid + amount;
                }
                prop_assert!(paid <= total && !paid.is_negative());
                prop_assert_eq!(settlement(total, paid) == Settlement::Paid, paid == total);
            }
        }

        #[test]
        fn no_text_breaks_the_code_reader(text in "\\PC{0,12}") {
            if let Ok(code) = icd10(&text) {
                prop_assert!(code.is_empty() || code.len() >= 3);
            }
        }
    }
}
