//! The form of a therapist: what is typed, what is right about it, and the page.

use serde_json::{Map, Value};

use super::forms::{Choice, Pairs, Side, hpcsa_number, practice_number, sample_errors};
use super::hours;
use super::store::{NewTherapist, RoomRow, TherapistRow};
use crate::error::{Problems, Result};
use crate::ids::RoomId;
use crate::practices::Discipline;
use crate::web::{FormId, Page, Shell, optional_text, required_text};

/// A therapist's fields, as typed.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    title: String,
    given_name: String,
    family_name: String,
    discipline: String,
    hpcsa_number: String,
    bhf_number: String,
    room_id: String,
    monday: String,
    tuesday: String,
    wednesday: String,
    thursday: String,
    friday: String,
    saturday: String,
    sunday: String,
}

impl Fields {
    /// An empty form: office hours, the only room there is, and the name of whoever signs in already.
    pub(super) fn new(name: Option<&str>, rooms: &[RoomRow]) -> Self {
        let hours = || "08:00-16:30".to_owned();
        let (given, family) = name
            .unwrap_or_default()
            .rsplit_once(' ')
            .unwrap_or((name.unwrap_or_default(), ""));
        let mut usable = rooms.iter().filter(|r| r.active);
        let only = match (usable.next(), usable.next()) {
            (Some(room), None) => room.id.to_string(),
            _ => String::new(),
        };
        Self {
            given_name: given.to_owned(),
            family_name: family.to_owned(),
            room_id: only,
            monday: hours(),
            tuesday: hours(),
            wednesday: hours(),
            thursday: hours(),
            friday: hours(),
            ..Self::default()
        }
    }

    pub(super) fn of(t: &TherapistRow, week: [String; 7]) -> Self {
        let [
            monday,
            tuesday,
            wednesday,
            thursday,
            friday,
            saturday,
            sunday,
        ] = week;
        Self {
            title: t.title.clone(),
            given_name: t.given_name.clone(),
            family_name: t.family_name.clone(),
            discipline: t.discipline.clone(),
            hpcsa_number: t.hpcsa_number.clone(),
            bhf_number: t.bhf_number.clone(),
            room_id: t.room_id.map(|r| r.to_string()).unwrap_or_default(),
            monday,
            tuesday,
            wednesday,
            thursday,
            friday,
            saturday,
            sunday,
        }
    }

    fn days(&self) -> [(&'static str, &str); 7] {
        [
            ("monday", &self.monday),
            ("tuesday", &self.tuesday),
            ("wednesday", &self.wednesday),
            ("thursday", &self.thursday),
            ("friday", &self.friday),
            ("saturday", &self.saturday),
            ("sunday", &self.sunday),
        ]
    }

    /// Reads the form; what is wrong goes to `problems`.
    pub(super) fn check(&self, problems: &mut Problems, rooms: &[RoomRow]) -> NewTherapist {
        let title = optional_text(problems, "title", Some(&self.title), 20);
        let given_name = required_text(problems, "given_name", &self.given_name, 80);
        let family_name = required_text(problems, "family_name", &self.family_name, 80);
        let discipline = self.discipline.trim();
        if Discipline::from_text(discipline).is_none() {
            problems.add("discipline", "Choose a profession from the list.");
        }
        let hpcsa = problems.take("hpcsa_number", hpcsa_number(&self.hpcsa_number));
        let bhf = problems.take("bhf_number", practice_number(&self.bhf_number));
        let room_id = match self.room_id.trim() {
            "" => None,
            text => {
                let room = text
                    .parse::<RoomId>()
                    .ok()
                    .filter(|id| rooms.iter().any(|r| r.active && r.id == *id));
                problems.take("room_id", room.ok_or("Choose a room from the list."))
            }
        };
        let week = self
            .days()
            .map(|(name, text)| problems.take(name, hours::parse(text)).unwrap_or_default());
        NewTherapist {
            title,
            given_name,
            family_name,
            discipline: discipline.to_owned(),
            hpcsa_number: hpcsa.unwrap_or_default(),
            bhf_number: bhf.unwrap_or_default(),
            room_id,
            week,
        }
    }
}

/// The form's fields in words.
pub(super) fn pairs(t: &NewTherapist, rooms: &[RoomRow]) -> Pairs {
    let room = rooms.iter().find(|r| Some(r.id) == t.room_id);
    let mut pairs = vec![
        ("title", t.title.clone()),
        ("given_name", t.given_name.clone()),
        ("family_name", t.family_name.clone()),
        (
            "discipline",
            Discipline::from_text(&t.discipline)
                .map(|d| d.person().to_owned())
                .unwrap_or_default(),
        ),
        ("hpcsa_number", t.hpcsa_number.clone()),
        ("bhf_number", t.bhf_number.clone()),
        ("room_id", room.map(|r| r.name.clone()).unwrap_or_default()),
    ];
    let names = Fields::default().days().map(|(name, _)| name);
    pairs.extend(names.into_iter().zip(t.week.iter().map(|d| hours::text(d))));
    pairs
}

/// The same for a therapist as stored.
pub(super) fn stored(t: &TherapistRow, week: &[String; 7], rooms: &[RoomRow]) -> Pairs {
    let week = week
        .each_ref()
        .map(|day| hours::parse(day).unwrap_or_default());
    let there = NewTherapist {
        title: t.title.clone(),
        given_name: t.given_name.clone(),
        family_name: t.family_name.clone(),
        discipline: t.discipline.clone(),
        hpcsa_number: t.hpcsa_number.clone(),
        bhf_number: t.bhf_number.clone(),
        room_id: t.room_id,
        week,
    };
    pairs(&there, rooms)
}

/// The log-in of a therapist, for the form.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct LoginLine {
    pub(super) name: String,
    pub(super) username: String,
    pub(super) href: String,
}

/// `settings/therapist.html`.
#[derive(serde::Serialize)]
pub(super) struct TherapistPage {
    pub(super) shell: Shell,
    pub(super) heading: String,
    pub(super) action: String,
    pub(super) errors: Map<String, Value>,
    pub(super) conflict: Vec<Side>,
    pub(super) idempotency_key: String,
    pub(super) version: Option<i32>,
    /// Whether they are at work here, for a therapist who is there.
    pub(super) active: Option<bool>,
    pub(super) form: Fields,
    pub(super) username: String,
    /// The log-in that a new therapist has already, or that one who is there signs in with.
    pub(super) user_id: String,
    pub(super) login: Option<LoginLine>,
    /// Where a therapist without a log-in gets one.
    pub(super) login_href: String,
    pub(super) professions: Vec<Choice>,
    pub(super) rooms: Vec<Choice>,
}

impl TherapistPage {
    pub(super) fn with(shell: Shell, form: Fields, rooms: &[RoomRow]) -> Self {
        Self {
            shell,
            heading: "New therapist".into(),
            action: "/settings/therapists".into(),
            errors: Map::new(),
            conflict: Vec::new(),
            idempotency_key: FormId::now_v7().to_string(),
            version: None,
            active: None,
            form,
            username: String::new(),
            user_id: String::new(),
            login: None,
            login_href: String::new(),
            professions: Discipline::ALL
                .into_iter()
                .map(|d| Choice::new(d.text(), d.person()))
                .collect(),
            rooms: rooms
                .iter()
                .filter(|r| r.active)
                .map(|r| Choice::new(r.id, r.name.clone()))
                .collect(),
        }
    }
}

impl Page for TherapistPage {
    const TEMPLATE: &'static str = "settings/therapist.html";
    fn samples() -> Vec<Self> {
        let room = RoomRow {
            id: RoomId(uuid::Uuid::nil()),
            name: "Room 1".into(),
            active: true,
            version: 1,
        };
        let login = LoginLine {
            name: "Anneke Vermeulen".into(),
            username: "anneke".into(),
            href: "/settings/accounts/1".into(),
        };
        let new = || {
            Self::with(
                Shell::sample(),
                Fields::new(None, std::slice::from_ref(&room)),
                std::slice::from_ref(&room),
            )
        };
        let there = |active| Self {
            version: Some(2),
            active: Some(active),
            action: "/settings/therapists/1".into(),
            login_href: "/settings/accounts/new?practitioner_id=1".into(),
            ..new()
        };
        let myself = Self {
            user_id: "1".into(),
            login: Some(login.clone()),
            form: Fields::new(Some("Anneke Vermeulen"), &[]),
            rooms: Vec::new(),
            ..new()
        };
        let wrong = Self {
            errors: sample_errors("monday"),
            ..new()
        };
        let conflict = Self {
            conflict: vec![Side::sample()],
            login: Some(login),
            ..there(true)
        };
        vec![new(), myself, wrong, there(true), there(false), conflict]
    }
}

/// Whom a form for a new therapist is about: the fields of the form that are not the therapist's own.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct LoginFields {
    pub(super) username: String,
    pub(super) user_id: String,
}

/// A week without hours.
pub(super) fn no_hours() -> [String; 7] {
    Default::default()
}

/// Fails where something is wrong.
pub(super) fn checked(
    form: &Fields,
    rooms: &[RoomRow],
    more: impl FnOnce(&mut Problems),
) -> Result<NewTherapist> {
    let mut problems = Problems::new();
    let therapist = form.check(&mut problems, rooms);
    more(&mut problems);
    problems.check()?;
    Ok(therapist)
}
