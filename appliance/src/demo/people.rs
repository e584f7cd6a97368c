//! The demo's people. All are fictional; their identity numbers fit the rules and belong to nobody we know of.

use time::Date;

/// A fictional patient.
pub(super) struct Person {
    pub title: &'static str,
    pub family: &'static str,
    pub given: &'static str,
    pub preferred: &'static str,
    pub female: bool,
    pub born: (i32, u8, u8),
    pub scheme: &'static str,
    pub plan: &'static str,
    /// What they come for: the words on the booking.
    pub reason: &'static str,
    /// Substances and reactions; `None` is "no known allergies", `Some(&[])` is "not recorded".
    pub allergies: Option<&'static [(&'static str, &'static str)]>,
    pub alert: &'static str,
}

const fn person(
    title: &'static str,
    family: &'static str,
    given: &'static str,
    female: bool,
    born: (i32, u8, u8),
    scheme: &'static str,
    reason: &'static str,
) -> Person {
    Person {
        title,
        family,
        given,
        preferred: "",
        female,
        born,
        scheme,
        plan: "",
        reason,
        allergies: None,
        alert: "",
    }
}

impl Person {
    const fn allergic(mut self, allergies: &'static [(&'static str, &'static str)]) -> Self {
        self.allergies = Some(allergies);
        self
    }
    const fn alert(mut self, alert: &'static str) -> Self {
        self.alert = alert;
        self
    }
    const fn preferred(mut self, preferred: &'static str) -> Self {
        self.preferred = preferred;
        self
    }
    const fn plan(mut self, plan: &'static str) -> Self {
        self.plan = plan;
        self
    }

    pub(super) fn birth_date(&self) -> Date {
        let (year, month, day) = self.born;
        time::Month::try_from(month)
            .ok()
            .and_then(|m| Date::from_calendar_date(year, m, day).ok())
            .unwrap_or(Date::MIN)
    }
}

/// A South African identity number for a birth date: date, sequence by sex, citizen, 8, Luhn digit.
pub(super) fn identity_number(born: Date, female: bool, sequence: usize) -> String {
    let serial = if female {
        1000 + sequence * 7
    } else {
        5000 + sequence * 7
    };
    let digits = format!(
        "{:02}{:02}{:02}{serial:04}08",
        born.year() % 100,
        u8::from(born.month()),
        born.day()
    );
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let digit = u32::from(b - b'0') * if i % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// Forty people of the first practice.
pub(super) const PATIENTS: [Person; 40] = [
    person(
        "Ms",
        "Khumalo",
        "Thandiwe",
        true,
        (1992, 3, 14),
        "GEMS",
        "Left knee, ACL rehab",
    )
    .preferred("Thandi")
    .plan("Emerald")
    .allergic(&[("Penicillin", "anaphylaxis"), ("Zinc oxide tape", "rash")])
    .alert("No open-chain extension 90–45°"),
    person(
        "Mr",
        "Botha",
        "Johannes",
        false,
        (1961, 7, 2),
        "Discovery Health",
        "Lower back",
    ),
    person(
        "Ms",
        "Nkosi",
        "Lerato",
        true,
        (1988, 11, 23),
        "Bonitas",
        "Right shoulder",
    )
    .allergic(&[("Ibuprofen", "swelling of the lips")]),
    person(
        "Mrs",
        "Davids",
        "Farida",
        true,
        (1975, 5, 9),
        "Momentum",
        "Neck pain",
    ),
    person(
        "Mr",
        "Pretorius",
        "Gert",
        false,
        (1969, 1, 30),
        "",
        "Lower back, injury on duty",
    )
    .alert("Claim number needed for each visit"),
    person(
        "Ms",
        "Mthembu",
        "Zanele",
        true,
        (1996, 9, 17),
        "GEMS",
        "Headache, neck",
    )
    .allergic(&[]),
    person(
        "Mr",
        "Steyn",
        "Riaan",
        false,
        (1983, 12, 5),
        "Discovery Health",
        "Right ankle",
    ),
    person(
        "Mr",
        "Molefe",
        "Kagiso",
        false,
        (1990, 4, 21),
        "",
        "Left hip",
    ),
    person(
        "Mrs",
        "Fourie",
        "Annelise",
        true,
        (1958, 8, 12),
        "Bestmed",
        "Frozen shoulder",
    )
    .allergic(&[("Codeine", "vomiting")]),
    person(
        "Mr",
        "Jacobs",
        "Ismail",
        false,
        (1979, 2, 27),
        "Medihelp",
        "Right knee",
    ),
    person(
        "Mr",
        "Zulu",
        "Bongani",
        false,
        (1986, 6, 8),
        "GEMS",
        "Tennis elbow",
    ),
    person(
        "Mrs",
        "Coetzee",
        "Marlene",
        true,
        (1953, 10, 19),
        "Discovery Health",
        "Lower back",
    )
    .alert("On warfarin"),
    person(
        "Mr",
        "Ndlovu",
        "Sibusiso",
        false,
        (1999, 1, 15),
        "",
        "Hamstring strain",
    ),
    person(
        "Ms",
        "Adams",
        "Charmaine",
        true,
        (1981, 3, 3),
        "Bonitas",
        "Neck",
    ),
    person(
        "Mr",
        "Mahlangu",
        "Tebogo",
        false,
        (1994, 7, 29),
        "",
        "Wrist fracture, week 8",
    ),
    person(
        "Mr",
        "du Toit",
        "Hendrik",
        false,
        (1949, 11, 11),
        "Bestmed",
        "Hip replacement, week 8",
    )
    .alert("Hip precautions"),
    person(
        "Ms",
        "Naidoo",
        "Priya",
        true,
        (1987, 12, 24),
        "Discovery Health",
        "Pelvic health",
    )
    .allergic(&[("Latex", "hives")]),
    person(
        "Mr",
        "Sithole",
        "Themba",
        false,
        (1972, 5, 6),
        "GEMS",
        "Shoulder",
    ),
    person(
        "Miss",
        "Fortuin",
        "Mia",
        true,
        (2019, 2, 18),
        "Medihelp",
        "Sensory integration",
    ),
    person(
        "Master",
        "Ngcobo",
        "Luthando",
        false,
        (2021, 6, 30),
        "",
        "Handwriting",
    ),
    person(
        "Ms",
        "Petersen",
        "Sarah-Jane",
        true,
        (1990, 10, 10),
        "Momentum",
        "Hand therapy",
    ),
    person(
        "Mr",
        "Kruger",
        "Willem",
        false,
        (1958, 1, 30),
        "Discovery Health",
        "Splint check",
    )
    .alert("Last authorised visit"),
    person(
        "Mr",
        "Ebrahim",
        "Naseem",
        false,
        (1984, 9, 9),
        "Bonitas",
        "Hand therapy",
    )
    .allergic(&[]),
    person(
        "Mr",
        "Radebe",
        "Jabu",
        false,
        (1977, 4, 4),
        "",
        "Functional capacity evaluation",
    ),
    person(
        "Mrs",
        "Marais",
        "Elsabé",
        true,
        (1955, 6, 16),
        "Bestmed",
        "Cardiac rehab",
    )
    .alert("Stop above 120 beats a minute"),
    person(
        "Mr",
        "Khoza",
        "Mandla",
        false,
        (1997, 8, 28),
        "",
        "Ankle, final phase",
    ),
    person(
        "Mr",
        "Engelbrecht",
        "Carl",
        false,
        (1968, 3, 20),
        "Momentum",
        "Conditioning",
    ),
    person(
        "Mrs",
        "Cele",
        "Nomvula",
        true,
        (1964, 12, 1),
        "GEMS",
        "Diabetes programme",
    )
    .allergic(&[("Sulphonamides", "rash")]),
    person(
        "Mr",
        "Arendse",
        "Devon",
        false,
        (2003, 5, 25),
        "",
        "Return to sport",
    ),
    person(
        "Ms",
        "Dube",
        "Nomsa",
        true,
        (1991, 1, 8),
        "Bonitas",
        "Acute lower back",
    ),
    person(
        "Mr",
        "Govender",
        "Rajesh",
        false,
        (1970, 7, 14),
        "Discovery Health",
        "Shoulder",
    ),
    person("Ms", "Maseko", "Lindiwe", true, (1993, 2, 2), "", "Knee"),
    person(
        "Mrs",
        "Viljoen",
        "Karen",
        true,
        (1966, 10, 27),
        "Medihelp",
        "Hand therapy",
    ),
    person(
        "Ms",
        "Mulaudzi",
        "Ṱhabelo",
        true,
        (1989, 9, 5),
        "GEMS",
        "Calf strain",
    )
    .preferred("Ṱhabi"),
    person(
        "Mr",
        "Netshiṱungulu",
        "Khathutshelo",
        false,
        (1982, 4, 17),
        "",
        "Neck",
    ),
    person(
        "Ms",
        "Šimić",
        "Ana",
        true,
        (1978, 6, 6),
        "Discovery Health",
        "Plantar fasciitis",
    ),
    person(
        "Mr",
        "Mokwena",
        "Oratile",
        false,
        (1995, 11, 30),
        "Bonitas",
        "Lower back",
    ),
    person(
        "Mrs",
        "Pillay",
        "Saraswathi",
        true,
        (1947, 1, 22),
        "Bestmed",
        "Falls prevention",
    )
    .alert("Fell twice in October"),
    person(
        "Mr",
        "van Rooyen",
        "Dirk",
        false,
        (1959, 8, 3),
        "Momentum",
        "Knee replacement, week 5",
    ),
    person(
        "Ms",
        "Tshabalala",
        "Nokuthula",
        true,
        (2000, 3, 9),
        "",
        "Shoulder, swimmer",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_birth_date_is_real_and_every_name_unique() {
        let mut names = std::collections::HashSet::new();
        for person in &PATIENTS {
            assert_ne!(person.birth_date(), Date::MIN, "{}", person.family);
            assert!(names.insert((person.family, person.given)));
        }
    }

    #[test]
    fn identity_numbers_carry_a_luhn_digit() {
        let number = identity_number(time::macros::date!(1980 - 01 - 01), false, 0);
        assert_eq!(number, "8001015000082".replace("82", &number[11..]));
        let sum: u32 = number
            .bytes()
            .rev()
            .enumerate()
            .map(|(i, b)| {
                let digit = u32::from(b - b'0') * if i % 2 == 1 { 2 } else { 1 };
                digit / 10 + digit % 10
            })
            .sum();
        assert_eq!(sum % 10, 0);
    }
}
