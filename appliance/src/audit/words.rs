//! Events in the practice's words.

/// What an entity, named as FHIR names it, is called in the practice.
fn thing(entity: &str) -> &str {
    match entity {
        "Patient" => "the patient's record",
        "AllergyIntolerance" => "an allergy",
        "Flag" => "an alert",
        "Appointment" => "a booking",
        "Waiting" | "WaitingList" => "a place on the waiting list",
        "Encounter" => "a visit",
        "Note" | "Composition" => "a note",
        "Addendum" => "an addendum",
        "Draft" => "a draft",
        "Observation" => "an outcome score",
        "Invoice" => "an invoice",
        "Payment" => "a payment",
        "AuditEvent" => "the log of who did what",
        "Session" => "the sign-in",
        "Token" => "a token for a program",
        "Organization" => "the practice's details",
        "Practitioner" => "a practitioner",
        "User" => "a user",
        "Location" => "a room",
        "HealthcareService" => "a session type",
        "Device" => "the state of the box",
        other => other,
    }
}

/// What was done: `Opened the patient's record`. `about`: whether the event is about one patient.
pub(super) fn what(action: &str, entity: &str, shown: i32, about: bool) -> String {
    if action == "read" && entity == "Patient" && shown == 0 && !about {
        return "Looked for patients and saw none".into();
    }
    if action == "read" && shown > 0 {
        let patients = if shown == 1 {
            "1 patient".to_owned()
        } else {
            format!("{shown} patients")
        };
        return match entity {
            "Appointment" => format!("Saw bookings of {patients}"),
            "Encounter" => format!("Saw visits of {patients}"),
            "Invoice" => format!("Saw invoices of {patients}"),
            "AuditEvent" => format!("Saw who did what about {patients}"),
            _ => format!("Saw {patients} in a list"),
        };
    }
    match (action, entity) {
        ("execute", "Session") => "Signed in or out".into(),
        ("refuse", "Session") => "Was refused at sign-in".into(),
        ("refuse", "Endpoint") => "Turned a connection away".into(),
        ("execute", "Draft") => "Had a note drafted".into(),
        ("execute", "Note" | "Composition" | "Encounter") => {
            "Signed or finished a visit's note".into()
        }
        ("execute", "Invoice") => "Printed or sent an invoice".into(),
        ("create", _) => format!("Added {}", thing(entity)),
        ("read", _) => format!("Opened {}", thing(entity)),
        ("update", _) => format!("Changed {}", thing(entity)),
        ("delete", _) => format!("Ended {}", thing(entity)),
        ("refuse", _) => format!("Was refused {}", thing(entity)),
        _ => format!("Used {}", thing(entity)),
    }
}

/// A part of the box that acted by itself, or a person's name.
pub(super) fn who(name: &str, role: Option<&str>) -> String {
    if role.is_some() {
        name.to_owned()
    } else {
        format!("The box ({name})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_sentences() {
        assert_eq!(
            what("read", "Patient", 0, true),
            "Opened the patient's record"
        );
        assert_eq!(
            what("read", "Patient", 0, false),
            "Looked for patients and saw none"
        );
        assert_eq!(
            what("read", "Patient", 12, false),
            "Saw 12 patients in a list"
        );
        assert_eq!(
            what("create", "Patient", 0, true),
            "Added the patient's record"
        );
        assert_eq!(
            what("delete", "AllergyIntolerance", 0, true),
            "Ended an allergy"
        );
        assert_eq!(
            what("read", "Appointment", 1, false),
            "Saw bookings of 1 patient"
        );
        assert_eq!(what("execute", "Session", 0, false), "Signed in or out");
        assert_eq!(who("backup", None), "The box (backup)");
        assert_eq!(
            who("Naledi Mokoena", Some("practitioner")),
            "Naledi Mokoena"
        );
    }
}
