//! How money, dates and times come in (as the API writes them) and how they are printed (as South Africa does).

use jiff::tz::{Offset, TimeZone};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// South African standard time is two hours ahead of UTC all year (no daylight saving since 1944).
const SOUTH_AFRICA: Offset = Offset::constant(2);

/// An amount in rand, at most two decimals: `"1250.00"` in, `R 1 250,00` out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rand(pub Decimal);

impl<'de> Deserialize<'de> for Rand {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let amount = decimal(from)?;
        if amount.normalize().scale() > 2 {
            return Err(D::Error::custom(format!(
                "{amount} is not an amount of rand and whole cents"
            )));
        }
        Ok(Self(amount))
    }
}

impl Serialize for Rand {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let sign = if self.0.is_sign_negative() && !self.0.is_zero() {
            "-"
        } else {
            ""
        };
        let cents = format!("{:.2}", self.0.abs());
        let (whole, cents) = cents.split_once('.').unwrap_or((&cents, "00"));
        to.serialize_str(&format!("{sign}R {},{cents}", grouped(whole)))
    }
}

/// A plain number: `"1.5"` in, `1,5` out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(pub Decimal);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        decimal(from).map(Self)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let number = self
            .0
            .round_dp_with_strategy(3, RoundingStrategy::MidpointAwayFromZero)
            .normalize()
            .to_string();
        let (whole, parts) = number
            .split_once('.')
            .map_or((&*number, None), |(whole, parts)| (whole, Some(parts)));
        let (sign, whole) = whole
            .strip_prefix('-')
            .map_or(("", whole), |whole| ("-", whole));
        let parts = parts.map(|parts| format!(",{parts}")).unwrap_or_default();
        to.serialize_str(&format!("{sign}{}{parts}", grouped(whole)))
    }
}

/// A day: `"2026-11-24"` in, `24-Nov-2026` out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Day(pub jiff::civil::Date);

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.strftime("%d-%b-%Y").to_string())
    }
}

/// A moment: `"2026-11-24T12:05:00Z"` in, `24-Nov-2026 14:05` out, in South African time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub jiff::Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let there = self.0.to_zoned(TimeZone::fixed(SOUTH_AFRICA));
        to.serialize_str(&there.strftime("%d-%b-%Y %H:%M").to_string())
    }
}

/// A decimal number written as text, so that no program between has made a float of it.
fn decimal<'de, D: Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(from)?;
    Decimal::from_str_exact(&text)
        .map_err(|_| D::Error::custom(format!("\"{text}\" is not a number such as \"1250.00\"")))
}

/// Digits in groups of three, with spaces.
fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn money_is_written_as_in_south_africa() {
        for (given, printed) in [
            ("1250.00", "R 1 250,00"),
            ("0", "R 0,00"),
            ("7.5", "R 7,50"),
            ("1234567.89", "R 1 234 567,89"),
            ("-50.00", "-R 50,00"),
            ("-0.00", "R 0,00"),
            ("12.500", "R 12,50"),
        ] {
            let amount: Rand = from_value(json!(given)).unwrap();
            assert_eq!(to_value(amount).unwrap(), json!(printed));
        }
        for wrong in [
            json!("12.505"),
            json!("R 12"),
            json!(""),
            json!(12.5),
            json!("1e3"),
        ] {
            assert!(from_value::<Rand>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_dates_and_times_too() {
        let quantity = |text: &str| to_value(from_value::<Quantity>(json!(text)).unwrap()).unwrap();
        assert_eq!(quantity("1"), json!("1"));
        assert_eq!(quantity("1.50"), json!("1,5"));
        assert_eq!(quantity("-1200.25"), json!("-1 200,25"));
        let day: Day = from_value(json!("2026-11-04")).unwrap();
        assert_eq!(to_value(day).unwrap(), json!("04-Nov-2026"));
        let moment: Moment = from_value(json!("2026-11-24T22:30:00Z")).unwrap();
        assert_eq!(to_value(moment).unwrap(), json!("25-Nov-2026 00:30"));
        assert!(from_value::<Day>(json!("2026-02-30")).is_err());
    }
}
