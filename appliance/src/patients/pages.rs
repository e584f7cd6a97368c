//! The list of patients, finding, and registering.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde_json::{Map, Value};

use super::actions::{self, Registered};
use super::details::{AllergyAnswer, Details, NewAllergy};
use super::forms::{ALLERGIES, Choice, DOCUMENTS, Duplicate, Sides, certain, errors, sexes};
use super::store::Summary;
use super::{phone, rules, search};
use crate::clock;
use crate::error::{Error, Problems, Result};
use crate::web::{App, Form, FormId, Page, Permission, Query, Session, Shell, html, optional_text};

/// Patients on one page of the list.
const PAGE: i32 = 50;
/// Patients in the command palette and the picker.
const FEW: i32 = 8;

#[derive(Debug, serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct ListQuery {
    q: String,
    cursor: Option<String>,
}

/// `patients/list.html`.
#[derive(serde::Serialize)]
pub(super) struct ListPage {
    shell: Shell,
    q: String,
    error: Option<String>,
    rows: Vec<Row>,
    more: Option<String>,
    can_add: bool,
}

#[derive(serde::Serialize)]
struct Row {
    id: String,
    href: String,
    family: String,
    given: String,
    preferred: String,
    file_no: String,
    born: String,
    age: String,
    sex: String,
    phone: String,
    scheme: String,
}

impl Row {
    fn of(s: Summary, today: time::Date) -> Self {
        Self {
            id: s.id.to_string(),
            href: format!("/patients/{}", s.id),
            born: clock::date_text(s.birth_date),
            age: rules::age_text(s.birth_date, today),
            sex: super::Sex::from_text(&s.sex)
                .unwrap_or(super::Sex::Unknown)
                .label()
                .to_owned(),
            phone: if s.phone.is_empty() {
                String::new()
            } else {
                phone::shown(&s.phone)
            },
            preferred: if s.preferred_name == s.given_name {
                String::new()
            } else {
                s.preferred_name
            },
            family: s.family_name,
            given: s.given_name,
            file_no: s.file_number,
            scheme: s.scheme_name,
        }
    }

    fn sample() -> Self {
        Self {
            id: uuid::Uuid::nil().to_string(),
            href: "/patients/1".into(),
            family: "Khumalo".into(),
            given: "Thandiwe".into(),
            preferred: "Thandi".into(),
            file_no: "H-00482".into(),
            born: "14-Mar-1992".into(),
            age: "34".into(),
            sex: "Female".into(),
            phone: "082 123 4567".into(),
            scheme: "Discovery Health".into(),
        }
    }
}

impl Page for ListPage {
    const TEMPLATE: &'static str = "patients/list.html";
    fn samples() -> Vec<Self> {
        let page = |q: &str, rows, more| Self {
            shell: Shell::sample(),
            q: q.into(),
            error: None,
            rows,
            more,
            can_add: true,
        };
        vec![
            page(
                "khu",
                vec![Row::sample()],
                Some("/patients?cursor=1".into()),
            ),
            page("xyz", Vec::new(), None),
            page("", Vec::new(), None),
            Self {
                error: Some("At most 100 characters.".into()),
                ..page("x", Vec::new(), None)
            },
        ]
    }
}

fn check_search(text: &str) -> Result<String> {
    let mut problems = Problems::new();
    let text = optional_text(&mut problems, "q", Some(text), search::LONGEST);
    problems.check()?;
    Ok(text)
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// `GET /patients?q=&cursor=`
pub(super) async fn list(
    State(app): State<App>,
    session: Session,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    session.require(Permission::ViewPatients)?;
    let page = ListPage {
        shell: Shell::open(&app, &session, "Patients", "patients").await?,
        q: query.q.clone(),
        error: None,
        rows: Vec::new(),
        more: None,
        can_add: session.may(Permission::EditPatients),
    };
    let q = match check_search(&query.q) {
        Ok(q) => q,
        Err(Error::Invalid(fields)) => {
            let error = fields.first().map(|f| f.message.to_string());
            return Ok((
                StatusCode::UNPROCESSABLE_ENTITY,
                html(
                    &app,
                    &ListPage {
                        error,
                        q: String::new(),
                        ..page
                    },
                )?,
            )
                .into_response());
        }
        Err(other) => return Err(other),
    };
    let reason = if q.is_empty() {
        "list of patients"
    } else {
        "search"
    };
    let found = actions::find(&app, &session, &q, query.cursor.as_deref(), PAGE, reason).await?;
    let today = app.clock.today();
    let more = found
        .next
        .map(|cursor| format!("/patients?q={}&cursor={}", encode(&q), encode(&cursor)));
    html(
        &app,
        &ListPage {
            rows: found
                .patients
                .into_iter()
                .map(|s| Row::of(s, today))
                .collect(),
            more,
            q,
            ..page
        },
    )
}

/// `patients/find.html`: options for the command palette and the picker.
#[derive(serde::Serialize)]
pub(super) struct FindFragment {
    rows: Vec<Row>,
}

impl Page for FindFragment {
    const TEMPLATE: &'static str = "patients/find.html";
    fn samples() -> Vec<Self> {
        vec![
            Self {
                rows: vec![Row::sample()],
            },
            Self { rows: Vec::new() },
        ]
    }
}

/// `GET /patients/find?q=`
pub(super) async fn find(
    State(app): State<App>,
    session: Session,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    session.require(Permission::ViewPatients)?;
    let q = check_search(&query.q)?;
    if q.is_empty() {
        return html(&app, &FindFragment { rows: Vec::new() });
    }
    let found = actions::find(&app, &session, &q, None, FEW, "search").await?;
    let today = app.clock.today();
    html(
        &app,
        &FindFragment {
            rows: found
                .patients
                .into_iter()
                .map(|s| Row::of(s, today))
                .collect(),
        },
    )
}

/// `patients/form.html`: registering and changing.
#[derive(serde::Serialize)]
pub(super) struct FormPage {
    pub shell: Shell,
    pub heading: String,
    pub action: String,
    pub back: String,
    pub submit: &'static str,
    pub errors: Map<String, Value>,
    pub form: Details,
    pub identity_hint: String,
    pub sexes: Vec<Choice>,
    pub documents: Vec<Choice>,
    /// None when a patient is changed: allergies have their own forms then.
    pub allergy: Option<AllergyFields>,
    pub allergy_choices: Vec<Choice>,
    pub duplicates: Vec<Duplicate>,
    /// Whether a person may say that it is someone else.
    pub may_confirm: bool,
    pub idempotency_key: String,
    /// The version a change is made over.
    pub version: Option<i32>,
    pub conflict: Vec<Sides>,
}

/// What a new patient's form asks about allergies.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct AllergyFields {
    #[serde(default)]
    allergy_state: String,
    #[serde(default)]
    substance: String,
    #[serde(default)]
    reaction: String,
}

impl FormPage {
    async fn register(
        app: &App,
        session: &Session,
        form: Details,
        allergy: AllergyFields,
        key: FormId,
    ) -> Result<Self> {
        let shell = Shell::open(app, session, "New patient", "patients").await?;
        Ok(Self::with(shell, form, Some(allergy), key))
    }

    pub(super) fn with(
        shell: Shell,
        form: Details,
        allergy: Option<AllergyFields>,
        key: FormId,
    ) -> Self {
        Self {
            shell,
            heading: "New patient".into(),
            action: "/patients".into(),
            back: "/patients".into(),
            submit: "Add patient",
            errors: Map::new(),
            form,
            identity_hint: "13 digits, or a passport number. None at hand? Choose \u{201c}No document seen\u{201d}.".into(),
            sexes: sexes(),
            documents: DOCUMENTS.to_vec(),
            allergy,
            allergy_choices: ALLERGIES.to_vec(),
            duplicates: Vec::new(),
            may_confirm: false,
            idempotency_key: key.to_string(),
            version: None,
            conflict: Vec::new(),
        }
    }
}

impl Page for FormPage {
    const TEMPLATE: &'static str = "patients/form.html";
    fn samples() -> Vec<Self> {
        let page = || {
            Self::with(
                Shell::sample(),
                Details::default(),
                Some(AllergyFields::default()),
                FormId::nil(),
            )
        };
        let wrong = [crate::error::FieldError {
            field: "birth_date".into(),
            message: "There is no such day as 31-Feb-1992.".into(),
        }];
        let duplicate = Duplicate {
            href: "/patients/1".into(),
            name: "Khumalo, Thandiwe".into(),
            born: "14-Mar-1992".into(),
            file_no: "H-00482".into(),
            why: rules::SameAs::BirthDate.words(),
        };
        let sides = Sides {
            label: "Phone".into(),
            yours: "082 123 4567".into(),
            theirs: "083 123 4567".into(),
        };
        vec![
            page(),
            Self {
                errors: errors(&wrong),
                ..page()
            },
            Self {
                duplicates: vec![duplicate],
                may_confirm: true,
                ..page()
            },
            Self {
                allergy: None,
                version: Some(3),
                conflict: vec![sides],
                submit: "Save",
                ..page()
            },
        ]
    }
}

/// `GET /patients/new`
pub(super) async fn new(State(app): State<App>, session: Session) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let form = Details {
        identity_kind: "sa-id".into(),
        ..Details::default()
    };
    let allergy = AllergyFields {
        allergy_state: "not-recorded".into(),
        ..AllergyFields::default()
    };
    html(
        &app,
        &FormPage::register(&app, &session, form, allergy, FormId::now_v7()).await?,
    )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct CreateForm {
    idempotency_key: FormId,
    #[serde(default)]
    duplicate_confirmed: String,
    #[serde(flatten)]
    details: Details,
    #[serde(flatten)]
    allergy: AllergyFields,
}

fn allergy_answer(fields: &AllergyFields, problems: &mut Problems) -> AllergyAnswer {
    match fields.allergy_state.as_str() {
        "known" => AllergyAnswer::Known(vec![NewAllergy::check(
            problems,
            &fields.substance,
            &fields.reaction,
        )]),
        "none-known" if fields.substance.trim().is_empty() => AllergyAnswer::NoneKnown,
        "" | "not-recorded" if fields.substance.trim().is_empty() => AllergyAnswer::NotRecorded,
        "none-known" | "not-recorded" | "" => {
            problems.add("allergy_state", "A substance is typed below. Choose that the patient is allergic to it, or remove it.");
            AllergyAnswer::NotRecorded
        }
        _ => {
            problems.add(
                "allergy_state",
                "Choose one of known, none-known or not-recorded.",
            );
            AllergyAnswer::NotRecorded
        }
    }
}

/// `POST /patients`
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<CreateForm>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let mut problems = Problems::new();
    let allergies = allergy_answer(&form.allergy, &mut problems);
    let checked = form.details.check(app.clock.today(), None);
    let page = FormPage::register(
        &app,
        &session,
        form.details,
        form.allergy,
        form.idempotency_key,
    )
    .await?;
    let person = match checked {
        Ok(person) if problems.is_empty() => person,
        checked => {
            let mut fields = checked.err().map(Problems::into_fields).unwrap_or_default();
            fields.extend(problems.into_fields());
            let page = FormPage {
                errors: errors(&fields),
                ..page
            };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
        }
    };
    let confirmed = form.duplicate_confirmed == "true";
    match actions::register(
        &app,
        &session,
        Some(form.idempotency_key),
        &person,
        &allergies,
        confirmed,
    )
    .await?
    {
        Registered::Patient(id) => Ok(Redirect::to(&format!("/patients/{id}")).into_response()),
        Registered::Duplicates(found) => {
            let certain = certain(&found);
            let page = FormPage {
                duplicates: found.iter().map(Duplicate::of).collect(),
                may_confirm: !certain,
                ..page
            };
            Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response())
        }
    }
}
