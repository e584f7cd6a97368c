//! Money in rand and cents.

use rust_decimal::{Decimal, RoundingStrategy};

/// An amount in South African rand, kept to the cent.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Deserialize,
    sqlx::Type,
    utoipa::ToSchema,
)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, example = "650.00")]
pub struct Rand(Decimal);

impl Rand {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Rounds to the cent, half away from zero, as the VAT guide for vendors (VAT 404) allows.
    #[must_use]
    pub fn rounded(amount: Decimal) -> Self {
        let mut cents = amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        cents.rescale(2);
        Self(cents)
    }

    /// The amount as a number with two decimals.
    #[must_use]
    pub fn amount(self) -> Decimal {
        self.0
    }

    /// Whether the amount is below nothing.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// Reads what a person types: `650`, `R 1 250,00`, `1250.00`.
    ///
    /// # Errors
    /// A sentence for the field when it is not an amount with at most two decimals.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let plain: String = text
            .trim()
            .trim_start_matches(['R', 'r'])
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        let plain = plain.replace(',', ".");
        let amount: Decimal = plain
            .parse()
            .map_err(|_| "Enter an amount such as 650,00.")?;
        if amount.normalize().scale() > 2 {
            return Err("Enter at most two decimals.");
        }
        if amount.abs() >= Decimal::from(10_000_000_000_i64) {
            return Err("The amount is too large.");
        }
        Ok(Self::rounded(amount))
    }
}

/// `"650.00"`: text, so that no program between makes a float of it, and always two decimals, also where Postgres gives none.
impl serde::Serialize for Rand {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:.2}", self.0))
    }
}

impl std::ops::Add for Rand {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::rounded(self.0 + other.0)
    }
}

impl std::ops::Sub for Rand {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::rounded(self.0 - other.0)
    }
}

impl std::iter::Sum for Rand {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |a, b| a + b)
    }
}

/// `R 1 250,00`, with no-break spaces so that an amount never wraps.
impl std::fmt::Display for Rand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.2}", self.0.abs());
        let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
        let mut grouped = String::new();
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i).is_multiple_of(3) {
                grouped.push('\u{a0}');
            }
            grouped.push(digit);
        }
        write!(
            f,
            "{}R\u{a0}{grouped},{cents}",
            if self.is_negative() { "-" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_south_african_form() {
        let amount = Rand::parse("R 1 250,5").unwrap();
        assert_eq!(amount.to_string(), "R\u{a0}1\u{a0}250,50");
        assert_eq!(Rand::parse("650").unwrap().amount().to_string(), "650.00");
        assert!(Rand::parse("12,345").is_err());
        assert!(Rand::parse("abc").is_err());
        assert!(Rand::parse("-5").unwrap().is_negative());
        assert_eq!(
            serde_json::to_string(&Rand(Decimal::ZERO)).unwrap(),
            "\"0.00\""
        );
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(cents in -1_000_000_000_i64..1_000_000_000) {
            let amount = Rand::rounded(Decimal::new(cents, 2));
            let text = amount.to_string();
            let read = Rand::parse(text.trim_start_matches('-')).unwrap();
            proptest::prop_assert_eq!(read.amount(), amount.amount().abs());
        }
    }
}
