//! What the steps share, and the two that only ask: the practice and its first admin.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;

use super::code::Visitor;
use super::progress::{Admin, Progress, Step};
use super::request::{Answer, Confirm, State as Stand};
use super::rules;
use crate::accounts::{hash_password, password_fault, username};
use crate::error::{Error, FieldError, Problems, Result};
use crate::practices::Details;
use crate::web::{App, Form, Page, html, optional_text, required_text};

/// Errors by field.
pub(super) type Errors = BTreeMap<String, String>;

pub(super) fn by_field(fields: Vec<FieldError>) -> Errors {
    fields
        .into_iter()
        .map(|f| (f.field.into_owned(), f.message.into_owned()))
        .collect()
}

/// A page with what is wrong in it.
pub(super) fn wrong<P: Page>(app: &App, page: &P) -> Result<Response> {
    Ok((StatusCode::UNPROCESSABLE_ENTITY, html(app, page)?).into_response())
}

pub(super) fn go(step: Step) -> Response {
    Redirect::to(step.path()).into_response()
}

/// A step in the list at the top.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct StepLink {
    title: &'static str,
    href: &'static str,
    /// `done`, `now`, `open` or `later`.
    state: &'static str,
}

pub(super) fn steps(progress: &Progress, now: Step) -> Vec<StepLink> {
    Step::ALL
        .into_iter()
        .map(|step| StepLink {
            title: step.title(),
            href: step.path(),
            state: if step == now {
                "now"
            } else if progress.is_done(step) {
                "done"
            } else if progress.may_open(step) {
                "open"
            } else {
                "later"
            },
        })
        .collect()
}

/// How far root has come with a request.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Progressing {
    /// Address that is asked again while it is under way.
    pub poll: &'static str,
    /// `working`, `good`, `bad` or `silent`.
    pub state: &'static str,
    pub percent: Option<u8>,
    pub said: String,
    pub what_to_do: String,
    pub confirm: Option<Confirm>,
    pub next: Option<&'static str>,
}

/// How long root may be silent, in seconds.
const SILENT: i64 = 30;

impl Progressing {
    pub(super) fn of(
        poll: &'static str,
        answer: Option<&Answer>,
        waited: i64,
        next: &'static str,
    ) -> Self {
        let base = Self {
            poll,
            state: "working",
            percent: None,
            said: "The server has been asked and begins in a moment.".into(),
            what_to_do: String::new(),
            confirm: None,
            next: None,
        };
        match answer {
            None if waited > SILENT => Self {
                state: "silent",
                said: "The server's set-up service does not answer.".into(),
                what_to_do: "Look at `journalctl -u hadada-setup` on the server. This page goes on by itself when it answers.".into(),
                ..base
            },
            None => base,
            Some(answer) => Self {
                state: match answer.state {
                    Stand::Working => "working",
                    Stand::Good => "good",
                    Stand::Bad => "bad",
                    Stand::Confirm => "confirm",
                },
                percent: answer.percent.map(|p| p.min(100)),
                said: answer.said.clone(),
                what_to_do: answer.what_to_do.clone().unwrap_or_default(),
                confirm: answer.confirm.clone().filter(|_| answer.state == Stand::Confirm),
                next: (answer.state == Stand::Good).then_some(next),
                ..base
            },
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, "good" | "bad" | "confirm")
    }

    pub(super) fn samples() -> Vec<Self> {
        let one = |state: &'static str| Self {
            poll: "/setup/backup/progress",
            state,
            percent: (state == "working").then_some(40),
            said: "Writing a test file to nas.local.".into(),
            what_to_do: if state == "bad" {
                "Check the password.".into()
            } else {
                String::new()
            },
            confirm: (state == "confirm").then(|| Confirm {
                host_key: "SHA256:abc".into(),
                public_key: "ssh-ed25519 AAAA hadada".into(),
            }),
            next: (state == "good").then_some("/setup/recovery"),
        };
        ["working", "good", "bad", "silent", "confirm"]
            .map(one)
            .into()
    }
}

/// `setup/progress.html`.
#[derive(serde::Serialize)]
pub(super) struct ProgressFragment {
    pub progressing: Progressing,
}

impl Page for ProgressFragment {
    const TEMPLATE: &'static str = "setup/progress.html";
    fn samples() -> Vec<Self> {
        Progressing::samples()
            .into_iter()
            .map(|progressing| Self { progressing })
            .collect()
    }
}

/// `setup/practice.html`.
#[derive(serde::Serialize)]
pub(super) struct PracticePage {
    steps: Vec<StepLink>,
    errors: Errors,
    typed: Details,
}

impl Page for PracticePage {
    const TEMPLATE: &'static str = "setup/practice.html";
    fn samples() -> Vec<Self> {
        let page = |errors| Self {
            steps: steps(&Progress::default(), Step::Practice),
            errors,
            typed: Details::default(),
        };
        vec![
            page(Errors::new()),
            page(Errors::from([("name".into(), "This is needed.".into())])),
        ]
    }
}

/// `GET /setup/practice`
pub(super) async fn practice(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let progress = &visitor.row.progress;
    html(
        &app,
        &PracticePage {
            steps: steps(progress, Step::Practice),
            errors: Errors::new(),
            typed: progress.practice.clone().unwrap_or_default(),
        },
    )
}

/// `POST /setup/practice`
pub(super) async fn save_practice(
    State(app): State<App>,
    mut visitor: Visitor,
    Form(form): Form<Details>,
) -> Result<Response> {
    match form.checked() {
        Ok(practice) => {
            visitor.row.progress.practice = Some(practice);
            let next = visitor.row.progress.next();
            visitor.save().await?;
            Ok(go(next))
        }
        Err(Error::Invalid(fields)) => wrong(
            &app,
            &PracticePage {
                steps: steps(&visitor.row.progress, Step::Practice),
                errors: by_field(fields),
                typed: form,
            },
        ),
        Err(other) => Err(other),
    }
}

/// `setup/admin.html`.
#[derive(serde::Serialize)]
pub(super) struct AdminPage {
    steps: Vec<StepLink>,
    errors: Errors,
    display_name: String,
    username: String,
    it_mail: String,
    /// A password is set already and may be left as it is.
    has_password: bool,
}

impl Page for AdminPage {
    const TEMPLATE: &'static str = "setup/admin.html";
    fn samples() -> Vec<Self> {
        let page = |errors, has_password| Self {
            steps: steps(&Progress::default(), Step::Admin),
            errors,
            display_name: "Anneke Vermeulen".into(),
            username: "anneke".into(),
            it_mail: String::new(),
            has_password,
        };
        vec![
            page(Errors::new(), true),
            page(
                Errors::from([("password".into(), "Use at least 12 characters.".into())]),
                false,
            ),
        ]
    }
}

/// `GET /setup/admin`
pub(super) async fn admin(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let progress = &visitor.row.progress;
    if !progress.may_open(Step::Admin) {
        return Ok(go(progress.next()));
    }
    let typed = progress.admin.clone().unwrap_or_default();
    html(
        &app,
        &AdminPage {
            steps: steps(progress, Step::Admin),
            errors: Errors::new(),
            display_name: typed.display_name,
            username: typed.username,
            it_mail: typed.it_mail,
            has_password: !typed.password_hash.is_empty(),
        },
    )
}

#[derive(serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct AdminForm {
    display_name: String,
    username: String,
    password: String,
    password_again: String,
    it_mail: String,
}

fn read_admin(form: &AdminForm, progress: &Progress) -> Result<Admin> {
    let mut problems = Problems::new();
    let display_name = required_text(&mut problems, "display_name", &form.display_name, 120);
    let name = username(&form.username).ok_or(
        "Use 2 to 40 small letters, digits, dots or hyphens, beginning with a letter, such as anneke.",
    );
    let username = problems.take("username", name).unwrap_or_default();
    let it_mail = optional_text(&mut problems, "it_mail", Some(&form.it_mail), 254);
    if !it_mail.is_empty() && rules::mail_address(&it_mail).is_none() {
        problems.add("it_mail", "This is not an e-mail address.");
    }
    let kept = progress
        .admin
        .as_ref()
        .map(|a| a.password_hash.clone())
        .filter(|hash| !hash.is_empty() && form.password.is_empty());
    if kept.is_none() {
        let practice = progress.practice.as_ref().map_or("", |p| p.name.as_str());
        if let Some(fault) = password_fault(&form.password, &username, practice) {
            problems.add("password", fault);
        } else if form.password != form.password_again {
            problems.add(
                "password_again",
                "The two passwords differ. Type both again.",
            );
        }
    }
    problems.check()?;
    Ok(Admin {
        display_name,
        username,
        password_hash: kept.unwrap_or_default(),
        it_mail,
    })
}

/// `POST /setup/admin`
pub(super) async fn save_admin(
    State(app): State<App>,
    mut visitor: Visitor,
    Form(form): Form<AdminForm>,
) -> Result<Response> {
    if !visitor.row.progress.may_open(Step::Admin) {
        return Ok(go(visitor.row.progress.next()));
    }
    match read_admin(&form, &visitor.row.progress) {
        Ok(mut admin) => {
            if admin.password_hash.is_empty() {
                let password = form.password;
                admin.password_hash = tokio::task::spawn_blocking(move || hash_password(&password))
                    .await
                    .map_err(Error::internal)??;
            }
            visitor.row.progress.admin = Some(admin);
            let next = visitor.row.progress.next();
            visitor.save().await?;
            Ok(go(next))
        }
        Err(Error::Invalid(fields)) => {
            let has_password = visitor.row.progress.admin.is_some();
            wrong(
                &app,
                &AdminPage {
                    steps: steps(&visitor.row.progress, Step::Admin),
                    errors: by_field(fields),
                    display_name: form.display_name,
                    username: form.username,
                    it_mail: form.it_mail,
                    has_password,
                },
            )
        }
        Err(other) => Err(other),
    }
}
