//! What the practice says of itself on its paper.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value};

use super::forms::{
    Pairs, Side, begin, both_sides, changes, done, errors, finish, sample_errors, version,
};
use super::store;
use crate::db::Action;
use crate::error::{Error, Result};
use crate::practices::{self, Details, Practice};
use crate::web::{App, Form, Page, Permission, Session, Shell, html};

/// `settings/practice.html`.
#[derive(serde::Serialize)]
pub(super) struct PracticePage {
    shell: Shell,
    errors: Map<String, Value>,
    conflict: Vec<Side>,
    version: i32,
    typed: Details,
}

impl Page for PracticePage {
    const TEMPLATE: &'static str = "settings/practice.html";
    fn samples() -> Vec<Self> {
        let page = || Self {
            shell: Shell::sample(),
            errors: Map::new(),
            conflict: Vec::new(),
            version: 1,
            typed: Details {
                name: "Rosebank Rehab".into(),
                ..Details::default()
            },
        };
        let wrong = Self {
            errors: sample_errors("name"),
            ..page()
        };
        let conflict = Self {
            conflict: vec![Side::sample()],
            ..page()
        };
        vec![page(), wrong, conflict]
    }
}

impl PracticePage {
    async fn new(app: &App, session: &Session, typed: Details, version: i32) -> Result<Self> {
        Ok(Self {
            shell: Shell::open(app, session, "The practice", "settings").await?,
            errors: Map::new(),
            conflict: Vec::new(),
            version,
            typed,
        })
    }
}

fn pairs(details: &Details) -> Pairs {
    // On one line, as the log and the table of both sides show them.
    let line = |text: &str| text.lines().collect::<Vec<_>>().join(", ");
    vec![
        ("name", details.name.clone()),
        ("bhf_number", details.bhf_number.clone()),
        ("vat_number", details.vat_number.clone()),
        ("address", line(&details.address)),
        ("phone", details.phone.clone()),
        ("email", details.email.clone()),
        ("bank_details", line(&details.bank_details)),
    ]
}

/// `GET /settings/practice`
pub(super) async fn edit(State(app): State<App>, session: Session) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(&session).await?;
    let Practice {
        details, version, ..
    } = practices::practice(&mut tx).await?;
    tx.close_without_patient_data().await?;
    html(
        &app,
        &PracticePage::new(&app, &session, details, version).await?,
    )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct EditForm {
    #[serde(default)]
    version: String,
    #[serde(flatten)]
    typed: Details,
}

/// `POST /settings/practice`
pub(super) async fn save(
    State(app): State<App>,
    session: Session,
    Form(form): Form<EditForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let Practice {
        id,
        details: there,
        version: now,
    } = practices::practice(&mut tx).await?;
    let seen = version(&form.version)?;
    match form.typed.checked() {
        Ok(typed) if typed == there => Ok(done(id.0)),
        Ok(typed) if now == seen => {
            store::update_details(tx.conn(), &typed).await?;
            let reason = changes(&pairs(&there), &pairs(&typed));
            finish(tx, Action::Update, "Organization", id.0, reason).await
        }
        Ok(typed) => {
            tx.close_without_patient_data().await?;
            let page = PracticePage {
                conflict: both_sides(&pairs(&typed), &pairs(&there)),
                ..PracticePage::new(&app, &session, typed, now).await?
            };
            Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response())
        }
        Err(Error::Invalid(fields)) => {
            tx.close_without_patient_data().await?;
            let page = PracticePage {
                errors: errors(&fields),
                ..PracticePage::new(&app, &session, form.typed, seen).await?
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response())
        }
        Err(other) => Err(other),
    }
}
