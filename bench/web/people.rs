//! Fictional people in number: names that differ as real ones do, identity numbers that keep their rules.

use serde_json::{Value, json};

const FAMILIES: [&str; 32] = [
    "Mokoena",
    "Naidoo",
    "Van der Merwe",
    "Dlamini",
    "Botha",
    "Khumalo",
    "Pillay",
    "Nkosi",
    "Jacobs",
    "Sithole",
    "Adams",
    "Mahlangu",
    "Govender",
    "Pretorius",
    "Ndlovu",
    "Williams",
    "Mthembu",
    "Fourie",
    "Ngcobo",
    "Petersen",
    "Tshabalala",
    "Ṱshivhase",
    "Du Plessis",
    "Maluleke",
    "Abrahams",
    "Radebe",
    "Coetzee",
    "Zulu",
    "Hendricks",
    "Molefe",
    "Smit",
    "Cele",
];
const GIVEN: [&str; 32] = [
    "Lerato", "Priya", "Johan", "Sipho", "Anneke", "Thandeka", "Yusuf", "Nomsa", "Craig",
    "Bongani", "Fatima", "Kagiso", "Elmarie", "Themba", "Rashid", "Zanele", "Pieter", "Ayanda",
    "Chantal", "Mpho", "Devi", "Hendrik", "Lindiwe", "Rendani", "Shaun", "Palesa", "Imraan",
    "Nolwazi", "Gerda", "Tshepo", "Candice", "Vusi",
];

/// A sequence of people, always the same one, and who of them the practice has.
#[derive(Debug, Default)]
pub struct People {
    next: usize,
    /// Ids and family names.
    pub known: Vec<(String, String)>,
}

impl People {
    /// The next person, as the API takes a patient.
    pub fn next(&mut self) -> Value {
        let n = self.next;
        self.next += 1;
        // Steps without a common factor with the lengths walk through all combinations before one comes again.
        let family = match (n / 32) % 4 {
            0 => FAMILIES[n % 32].to_owned(),
            _ => format!("{}-{}", FAMILIES[n % 32], FAMILIES[(n / 32 * 7 + 5) % 32]),
        };
        let given = format!(
            "{} {}",
            GIVEN[(n * 13 + n / 1024) % 32],
            GIVEN[(n / 32 * 11 + 3) % 32]
        );
        let (year, month, day) = (1940 + n * 37 % 70, 1 + n * 5 % 12, 1 + n * 11 % 28);
        json!({
            "family_name": family,
            "given_name": given,
            "birth_date": format!("{year}-{month:02}-{day:02}"),
            "sex": "female",
            "phone": format!("082 {:03} {:04}", n / 10_000 % 1000, n % 10_000),
            "identity": { "kind": "sa-id", "value": identity(year, month, day, n) },
        })
    }
}

/// A South African identity number: YYMMDD, a sequence below 5000 for women, 08, and the Luhn digit.
fn identity(year: usize, month: usize, day: usize, n: usize) -> String {
    let mut digits = format!("{:02}{month:02}{day:02}{:04}08", year % 100, n / 7 % 5000);
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, b)| {
            let digit = u32::from(b - b'0') * if at % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    digits.push_str(&((10 - sum % 10) % 10).to_string());
    digits
}
