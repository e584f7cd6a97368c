//! Every form of the pages, with fields that are right.

use crate::support::Furnished;

/// A form, with fields that are right.
pub struct Form {
    pub user: &'static str,
    pub path: String,
    pub fields: Vec<(&'static str, String)>,
}

impl Form {
    pub fn set(&mut self, field: &str, value: &str) {
        let found = self.fields.iter_mut().find(|f| f.0 == field);
        found.unwrap().1 = value.to_owned();
    }
}

fn form(user: &'static str, path: impl Into<String>, fields: &[(&'static str, &str)]) -> Form {
    Form {
        user,
        path: path.into(),
        fields: fields.iter().map(|&(k, v)| (k, v.to_owned())).collect(),
    }
}

const PERSON: [(&str, &str); 17] = [
    ("title", "Ms"),
    ("family_name", "Mudau"),
    ("given_name", "Ndivhuwo"),
    ("preferred_name", "Ndi"),
    ("birth_date", "14-Mar-1992"),
    ("sex", "female"),
    ("identity_kind", "none"),
    ("identity_value", ""),
    ("phone", "082 123 4567"),
    ("email", "n@example.co.za"),
    ("address", "1 Main Road"),
    ("scheme_name", "Bonitas"),
    ("scheme_plan", "Standard"),
    ("member_number", "123"),
    ("dependant_code", "00"),
    ("emergency_name", "Rudzani"),
    ("emergency_phone", "083 123 4567"),
];

/// The forms of the settings; what tells one sending from the next stands first.
pub fn settings(all: &Furnished) -> Vec<Form> {
    let practice = &all.open.clinic.practice;
    let therapist = [
        ("given_name", "Lerato"),
        ("family_name", "Dlamini"),
        ("title", "Dr"),
        ("discipline", "biokinetics"),
        ("hpcsa_number", "BK 0012345"),
        ("bhf_number", "0123456"),
        ("room_id", ""),
        ("monday", "08:00-12:00, 13:00-17:00"),
        ("sunday", ""),
        ("username", ""),
        ("user_id", ""),
        ("idempotency_key", ""),
    ];
    let kind = [
        ("name", "Hand therapy"),
        ("given_by", "occupational-therapy"),
        ("duration_minutes", "45"),
        ("price", "650,00"),
        ("tariff_code", "66501"),
        ("capacity", "1"),
    ];
    let details = [
        ("name", "Rosebank Rehab"),
        ("bhf_number", "0123456"),
        ("vat_number", ""),
        ("address", "1 Main Road"),
        ("phone", "011 555 0143"),
        ("email", "desk@example.co.za"),
        ("bank_details", "First Bank"),
        ("version", "1"),
    ];
    let with = |fields: &[(&'static str, &'static str)], last| {
        let mut fields = fields.to_vec();
        fields.push(last);
        fields
    };
    let account = [
        ("username", "lerato"),
        ("display_name", "Lerato Dlamini"),
        ("role", "receptionist"),
        ("practitioner_id", ""),
        ("idempotency_key", ""),
    ];
    let key = ("idempotency_key", "");
    let version = ("version", "1");
    vec![
        form("admin", "/settings/rooms", &with(&[("name", "Gym")], key)),
        form(
            "admin",
            format!("/settings/rooms/{}", practice.room),
            &with(&[("name", "Room 2")], version),
        ),
        form("admin", "/settings/session-types", &with(&kind, key)),
        form("admin", "/settings/practice", &details),
        form("admin", "/settings/therapists", &therapist),
        form("admin", "/settings/accounts", &account),
        form(
            "admin",
            format!("/settings/accounts/{}", practice.admin),
            &with(&account[1..4], version),
        ),
    ]
}

pub fn forms(all: &Furnished) -> Vec<Form> {
    let (open, practice) = (&all.open, &all.open.clinic.practice);
    let (patient, booking) = (open.patient.to_string(), open.booking);
    let practitioner = practice.occupational.to_string();
    let mut person = PERSON.to_vec();
    person.extend([
        ("allergy_state", "known"),
        ("substance", "Latex"),
        ("reaction", "Rash"),
        ("duplicate_confirmed", "true"),
        ("idempotency_key", ""),
    ]);
    let mut edited = PERSON.to_vec();
    edited.push(("version", "1"));
    let booked = [
        ("patient_id", patient.as_str()),
        ("practitioner_id", &practitioner),
        ("session_type", "physio-45"),
        ("date", "2026-11-25"),
        ("start", "10:00"),
        ("duration_minutes", "45"),
        ("reason", "Knee"),
        ("outside_hours", ""),
        ("idempotency_key", ""),
    ];
    vec![
        form("reception", "/patients", &person),
        form("reception", format!("/patients/{patient}/edit"), &edited),
        form(
            "reception",
            format!("/patients/{patient}/allergies"),
            &[
                ("substance", "Latex"),
                ("reaction", "Rash"),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "reception",
            format!("/patients/{patient}/alerts"),
            &[
                ("alert", "Falls"),
                ("until", "24-Dec-2026"),
                ("idempotency_key", ""),
            ],
        ),
        form("reception", "/appointments", &booked),
        form("reception", "/appointments/blocks", &booked),
        form(
            "reception",
            format!("/appointments/{booking}/move"),
            &[
                ("date", "2026-11-25"),
                ("start", "11:00"),
                ("practitioner_id", &practitioner),
                ("duration_minutes", "45"),
                ("version", "1"),
                ("outside_hours", ""),
            ],
        ),
        form(
            "reception",
            format!("/appointments/{booking}/status"),
            &[
                ("to", "confirmed"),
                ("version", "1"),
                ("date", "2026-11-24"),
                ("reason", ""),
            ],
        ),
        form(
            "reception",
            format!("/appointments/{booking}/participants"),
            &[
                ("patient_id", &patient),
                ("action", "add"),
                ("date", "2026-11-24"),
            ],
        ),
        form(
            "reception",
            "/waiting-list",
            &[
                ("patient_id", &patient),
                ("with", ""),
                ("duration_minutes", "45"),
                ("reason", "Knee"),
                ("not_before", "08:00"),
                ("not_after", "12:00"),
                ("priority", "2"),
                ("mon", "on"),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "reception",
            format!("/waiting-list/{}/book", all.waiting),
            &[
                ("date", "2026-11-25"),
                ("start", "14:00"),
                ("practitioner_id", &practitioner),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "naledi",
            "/encounters",
            &[
                ("appointment_id", &booking.to_string()),
                ("patient_id", &patient),
            ],
        ),
        form("naledi", open.path("/sign"), &[("version", "7")]),
        form(
            "naledi",
            open.path("/scores"),
            &[
                ("measure", "lefs"),
                ("score", "40"),
                ("taken_on", "2026-11-24"),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "reception",
            "/invoices",
            &[("encounter_id", &open.id), ("icd10", "M54.5")],
        ),
        form(
            "reception",
            format!("/invoices/{}/payments", all.invoice),
            &[
                ("amount", "1,00"),
                ("method", "card"),
                ("reference", "slip"),
                ("idempotency_key", ""),
            ],
        ),
        // The last, because the note is signed first.
        form(
            "naledi",
            open.path("/addenda"),
            &[("text", "More."), ("idempotency_key", "")],
        ),
    ]
}
