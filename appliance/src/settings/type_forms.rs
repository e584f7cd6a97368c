//! What is typed about a session type, and what is right about it.

use super::forms::Pairs;
use super::types_store::{NewType, TypeRow};
use crate::error::{Problems, Result};
use crate::money::Rand;
use crate::practices::Discipline;
use crate::web::{optional_text, required_text};

/// A session type's fields, as typed.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    name: String,
    given_by: String,
    duration_minutes: String,
    price: String,
    tariff_code: String,
    capacity: String,
}

impl Fields {
    pub(super) fn of(t: &TypeRow) -> Self {
        Self {
            name: t.name.clone(),
            given_by: t.discipline.clone(),
            duration_minutes: t.duration_minutes.to_string(),
            price: format!("{:.2}", t.price.amount()).replace('.', ","),
            tariff_code: t.tariff_code.clone(),
            capacity: t.capacity.to_string(),
        }
    }

    pub(super) fn new() -> Self {
        Self {
            duration_minutes: "45".into(),
            capacity: "1".into(),
            ..Self::default()
        }
    }

    pub(super) fn check(
        &self,
        others: &[TypeRow],
        own: Option<&TypeRow>,
        is_used: bool,
    ) -> Result<NewType> {
        let mut problems = Problems::new();
        let name = required_text(&mut problems, "name", &self.name, 120);
        let same = |t: &&TypeRow| {
            t.active
                && t.name.to_lowercase() == name.to_lowercase()
                && own.is_none_or(|own| own.id != t.id)
        };
        if others.iter().any(|t| same(&t)) {
            problems.add("name", "There is already a session type of this name.");
        }
        let discipline = self.given_by.trim();
        if !discipline.is_empty() && Discipline::from_text(discipline).is_none() {
            problems.add("given_by", "Choose a profession from the list.");
        }
        let duration = whole(&self.duration_minutes)
            .filter(|m| (5..=480).contains(m) && m % 5 == 0)
            .ok_or("Enter minutes in steps of 5, from 5 to 480.");
        let duration_minutes = problems.take("duration_minutes", duration);
        let price = Rand::parse(&self.price).and_then(|price| {
            if price.is_negative() {
                Err("A price is not below R 0,00.")
            } else {
                Ok(price)
            }
        });
        let price = problems.take("price", price);
        let tariff_code = optional_text(&mut problems, "tariff_code", Some(&self.tariff_code), 10);
        if !tariff_code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            problems.add(
                "tariff_code",
                "A tariff code has letters and digits only, such as 72302.",
            );
        }
        let capacity = whole(&self.capacity)
            .filter(|n| (1..=100).contains(n))
            .ok_or("Enter how many patients take part, from 1 to 100.");
        let capacity = problems.take("capacity", capacity);
        if let (Some(own), Some(capacity)) = (own, capacity)
            && is_used
            && (own.capacity == 1) != (capacity == 1)
        {
            problems.add(
                "capacity",
                "What was booked as a single session can't become a class, nor a class a single session. End this session type and add another one.",
            );
        }
        problems.check()?;
        Ok(NewType {
            name,
            discipline: discipline.to_owned(),
            duration_minutes: duration_minutes.unwrap_or_default(),
            price: price.unwrap_or_default(),
            tariff_code,
            capacity: capacity.unwrap_or_default(),
        })
    }
}

/// A whole number as typed, without sign.
fn whole(text: &str) -> Option<i32> {
    let text = text.trim();
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn profession(discipline: &str) -> String {
    Discipline::from_text(discipline)
        .map_or_else(|| "Any therapist".to_owned(), |d| d.person().to_owned())
}

/// The form's fields in words.
pub(super) fn pairs(t: &NewType) -> Pairs {
    vec![
        ("name", t.name.clone()),
        ("given_by", profession(&t.discipline)),
        ("duration_minutes", format!("{} min", t.duration_minutes)),
        ("price", t.price.to_string()),
        ("tariff_code", t.tariff_code.clone()),
        ("capacity", t.capacity.to_string()),
    ]
}

/// The same for a session type as stored.
pub(super) fn stored(t: &TypeRow) -> Pairs {
    pairs(&NewType {
        name: t.name.clone(),
        discipline: t.discipline.clone(),
        duration_minutes: t.duration_minutes,
        price: t.price,
        tariff_code: t.tariff_code.clone(),
        capacity: t.capacity,
    })
}

/// The name that programs use: `physiotherapy-session-45`, with a number behind it where that is taken.
pub(super) fn code(t: &NewType, others: &[TypeRow]) -> String {
    let words: String = t
        .name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let words: Vec<&str> = words.split('-').filter(|w| !w.is_empty()).take(4).collect();
    let base = format!("{}-{}", words.join("-"), t.duration_minutes);
    let base = base.trim_start_matches('-').to_owned();
    let taken = |code: &str| others.iter().any(|o| o.code == code);
    std::iter::once(base.clone())
        .chain((2..).map(|n: u32| format!("{base}-{n}")))
        .find(|code| !taken(code))
        .unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionTypeId;

    #[test]
    fn a_code_is_plain_and_nobody_else_s() {
        let new = |name: &str| NewType {
            name: name.into(),
            discipline: String::new(),
            duration_minutes: 45,
            price: Rand::ZERO,
            tariff_code: String::new(),
            capacity: 1,
        };
        let there = |code: &str| TypeRow {
            id: SessionTypeId::random(),
            code: code.into(),
            name: String::new(),
            discipline: String::new(),
            duration_minutes: 45,
            price: Rand::ZERO,
            tariff_code: String::new(),
            capacity: 1,
            active: true,
            version: 1,
        };
        assert_eq!(
            code(&new("First visit, physio"), &[]),
            "first-visit-physio-45"
        );
        assert_eq!(code(&new("ṱhoho"), &[]), "hoho-45");
        assert_eq!(code(&new("理学"), &[]), "45");
        assert_eq!(
            code(&new("Physio"), &[there("physio-45"), there("physio-45-2")]),
            "physio-45-3"
        );
    }
}
