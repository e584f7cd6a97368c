//! Pages: typed structs rendered by minijinja with strict undefined, templates embedded by their rooms.

use std::sync::Arc;

use axum::response::{Html, IntoResponse, Response};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use super::{App, Notice, Permission, Session, assets};
use crate::db::PracticeTx;
use crate::error::{Error, Result};

/// A page or fragment: a struct whose fields its template shows.
pub trait Page: serde::Serialize + Sized {
    /// The template's name, `room/file.html`.
    const TEMPLATE: &'static str;

    /// Filled examples, one for each form the page can take, for the template tests.
    fn samples() -> Vec<Self>;
}

/// The compiled templates.
#[derive(Clone)]
pub struct Templates(Arc<Environment<'static>>);

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Templates(…)")
    }
}

/// Templates of the shell itself.
const SHELL: [(&str, &str); 8] = [
    ("base.html", include_str!("base.html")),
    ("web/plain.html", include_str!("plain.html")),
    (
        "components/macros.html",
        include_str!("components/macros.html"),
    ),
    (
        "components/forms.html",
        include_str!("components/forms.html"),
    ),
    (
        "components/banner.html",
        include_str!("components/banner.html"),
    ),
    (
        "components/appointment.html",
        include_str!("components/appointment.html"),
    ),
    (
        "components/draft.html",
        include_str!("components/draft.html"),
    ),
    ("web/error.html", include_str!("error.html")),
];

impl Templates {
    /// Compiles the rooms' templates.
    ///
    /// # Errors
    /// The first template that does not parse, with its line.
    pub fn new(
        rooms: &[&'static [(&'static str, &'static str)]],
    ) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| {
            if name.ends_with(".html") {
                AutoEscape::Html
            } else {
                AutoEscape::None
            }
        });
        environment.set_syntax(
            minijinja::syntax::SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()?,
        );
        environment.add_function("asset", |name: &str| {
            assets::url(name)
                .map(minijinja::Value::from_safe_string)
                .ok_or_else(|| {
                    minijinja::Error::new(
                        minijinja::ErrorKind::InvalidOperation,
                        format!("there is no asset {name}"),
                    )
                })
        });
        environment.add_function("new_id", || uuid::Uuid::now_v7().to_string());
        for (name, source) in SHELL.iter().chain(rooms.iter().copied().flatten()) {
            environment.add_template(name, source)?;
        }
        Ok(Self(Arc::new(environment)))
    }

    /// Renders a page's template with its fields.
    ///
    /// # Errors
    /// When the template names a field the page does not have.
    pub fn render<P: Page>(&self, page: &P) -> Result<String> {
        let template = self.0.get_template(P::TEMPLATE).map_err(Error::internal)?;
        template
            .render(minijinja::value::Serde(page))
            .map_err(|e| Error::internal(format!("{e:#}")))
    }
}

/// A sample of a page, rendered: the page's type, its template and the HTML.
#[cfg(test)]
pub(crate) struct RenderedSample {
    pub page: &'static str,
    pub template: &'static str,
    pub html: String,
}

/// Renders every sample of a page.
#[cfg(test)]
pub(crate) fn render_samples<P: Page>(templates: &Templates) -> Vec<RenderedSample> {
    let samples = P::samples();
    assert!(!samples.is_empty(), "{} has no sample", P::TEMPLATE);
    samples
        .iter()
        .map(|sample| RenderedSample {
            page: std::any::type_name::<P>(),
            template: P::TEMPLATE,
            html: templates
                .render(sample)
                .unwrap_or_else(|e| panic!("{}: {e:?}", P::TEMPLATE)),
        })
        .collect()
}

/// Lists a room's pages for the test that renders them all.
#[cfg(test)]
macro_rules! page_samples {
    ($($page:ty),+ $(,)?) => {
        pub(crate) fn page_samples(templates: &crate::web::Templates) -> Vec<crate::web::RenderedSample> {
            [$(crate::web::render_samples::<$page>(templates)),+].into_iter().flatten().collect()
        }
    };
}
#[cfg(test)]
pub(crate) use page_samples;

/// A page as a response.
///
/// # Errors
/// When the template fails.
pub fn html<P: Page>(app: &App, page: &P) -> Result<Response> {
    Ok(Html(app.templates.render(page)?).into_response())
}

/// What the frame around every page shows.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shell {
    title: String,
    active: &'static str,
    user: ShellUser,
    nav: Vec<NavItem>,
    unsigned_notes: i64,
    can_book: bool,
    can_add_patient: bool,
    server: ShellServer,
    /// What an admin is told on every page.
    notices: Vec<Notice>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct ShellServer {
    connected: bool,
    ai_ready: bool,
    ai_text: String,
}

#[derive(Clone, Debug, serde::Serialize)]
struct ShellUser {
    initials: String,
    name: String,
    role_label: &'static str,
}

#[derive(Clone, Debug, serde::Serialize)]
struct NavItem {
    href: &'static str,
    icon: &'static str,
    label: &'static str,
    count: i64,
    current: bool,
}

const NAV: [(&str, &str, &str, &str, Permission); 6] = [
    ("day", "/day", "calendar-days", "Day", Permission::ViewDiary),
    (
        "patients",
        "/patients",
        "users",
        "Patients",
        Permission::ViewPatients,
    ),
    (
        "notes",
        "/notes",
        "pen-line",
        "Notes",
        Permission::ViewNotes,
    ),
    (
        "billing",
        "/invoices",
        "receipt",
        "Billing",
        Permission::ViewBilling,
    ),
    (
        "settings",
        "/settings",
        "settings",
        "Settings",
        Permission::ViewSettings,
    ),
    ("admin", "/admin", "server", "Box", Permission::ViewBox),
];

impl Shell {
    /// The frame for whoever is signed in; `active` is the key of the navigation entry. For pages of people who
    /// have no notes to sign; the others use [`Shell::load`].
    #[must_use]
    pub fn plain(
        app: &App,
        session: &Session,
        title: impl Into<String>,
        active: &'static str,
    ) -> Self {
        Self::with_unsigned(app, session, title, active, 0)
    }

    /// The frame with the number of the reader's own notes to sign beside "Notes": one count in an index, and only
    /// for somebody who treats.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load(
        app: &App,
        session: &Session,
        tx: &mut PracticeTx,
        title: impl Into<String>,
        active: &'static str,
    ) -> Result<Self> {
        let unsigned = match session.practitioner_id {
            Some(practitioner) if session.may(Permission::ViewNotes) => {
                sqlx::query_scalar!(
                    r#"SELECT count(*) AS "n!" FROM encounters WHERE practitioner_id = $1 AND status = 'in-progress'"#,
                    practitioner.0
                )
                .fetch_one(tx.conn())
                .await?
            }
            _ => 0,
        };
        Ok(Self::with_unsigned(app, session, title, active, unsigned))
    }

    /// [`Shell::load`] for a page that has no transaction of its own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(
        app: &App,
        session: &Session,
        title: impl Into<String>,
        active: &'static str,
    ) -> Result<Self> {
        if session.practitioner_id.is_none() {
            return Ok(Self::plain(app, session, title, active));
        }
        let mut tx = app.begin(session).await?;
        let shell = Self::load(app, session, &mut tx, title, active).await?;
        tx.close_without_patient_data().await?;
        Ok(shell)
    }

    /// The frame where the number of unsigned notes is known already.
    #[must_use]
    pub fn with_unsigned(
        app: &App,
        session: &Session,
        title: impl Into<String>,
        active: &'static str,
        unsigned_notes: i64,
    ) -> Self {
        let mut shell = Self::new(
            session,
            &app.ai.load(),
            title.into(),
            active,
            unsigned_notes,
        );
        if session.may(Permission::ViewBox) && active != "admin" {
            shell.notices = app.notices.load().to_vec();
        }
        shell
    }

    fn new(
        session: &Session,
        ai: &crate::inference::Health,
        title: String,
        active: &'static str,
        unsigned_notes: i64,
    ) -> Self {
        let initials = session
            .display_name
            .split_whitespace()
            .filter_map(|w| w.chars().next())
            .take(2)
            .collect::<String>()
            .to_uppercase();
        Self {
            title,
            active,
            user: ShellUser {
                initials,
                name: session.display_name.clone(),
                role_label: session.role.label(),
            },
            nav: NAV
                .iter()
                .filter(|n| session.may(n.4))
                .map(|&(key, href, icon, label, _)| NavItem {
                    href,
                    icon,
                    label,
                    count: if key == "notes" { unsigned_notes } else { 0 },
                    current: key == active,
                })
                .collect(),
            unsigned_notes,
            notices: Vec::new(),
            can_book: session.may(Permission::Book),
            can_add_patient: session.may(Permission::EditPatients),
            server: ShellServer {
                connected: true,
                ai_ready: matches!(ai.state.as_str(), "ready" | "degraded"),
                ai_text: match ai.state.as_str() {
                    "ready" => "Ready, nothing leaves this building".into(),
                    "degraded" => "Slower than usual, nothing leaves this building".into(),
                    "starting" => "Starting, ready in a moment".into(),
                    _ => "Not running. Everything else works; write the note yourself.".into(),
                },
            },
        }
    }

    /// An example for template tests.
    #[must_use]
    pub fn sample() -> Self {
        let mut shell = Self::new(
            &Session::sample(),
            &crate::inference::Health::default(),
            "Example".into(),
            "day",
            3,
        );
        shell.notices = vec![Notice {
            state: "bad",
            text: "Backup: Last heard of 2 days ago.".into(),
        }];
        shell
    }
}
