//! The recovery key: shown for printing, and confirmed by typing two of its groups, so that nobody opens a practice whose key
//! is on no paper.

use axum::extract::State;
use axum::response::Response;
use zeroize::Zeroizing;

use super::code::Visitor;
use super::pages::{Errors, StepLink, go, steps, wrong};
use super::progress::{Progress, Step};
use super::rules;
use crate::error::Result;
use crate::web::{App, Form, Page, html};

/// `setup/recovery.html`.
#[derive(serde::Serialize)]
pub(super) struct RecoveryPage {
    steps: Vec<StepLink>,
    errors: Errors,
    /// The key's groups, while it is shown.
    groups: Vec<String>,
    /// The numbers of the groups that are asked for, from 1.
    ask: Option<[usize; 2]>,
    confirmed: bool,
    /// Whether root has put the key there.
    ready: bool,
    host: String,
    today: String,
}

impl Page for RecoveryPage {
    const TEMPLATE: &'static str = "setup/recovery.html";
    fn samples() -> Vec<Self> {
        let page = |groups: usize, ask, confirmed, ready, errors| Self {
            steps: steps(&Progress::default(), Step::Recovery),
            errors,
            groups: vec!["7KQ2".into(); groups],
            ask,
            confirmed,
            ready,
            host: "clinic.local".into(),
            today: "24-Nov-2026".into(),
        };
        vec![
            page(14, None, false, true, Errors::new()),
            page(0, Some([3, 11]), false, true, Errors::new()),
            page(
                0,
                Some([3, 11]),
                false,
                true,
                Errors::from([("first".into(), "This is not group 3.".into())]),
            ),
            page(0, None, true, true, Errors::new()),
            page(0, None, false, false, Errors::new()),
        ]
    }
}

/// The key's groups, as root put them there.
async fn key(app: &App) -> Option<Zeroizing<Vec<String>>> {
    let text = Zeroizing::new(
        tokio::fs::read_to_string(app.config.setup_dir.join("recovery"))
            .await
            .ok()?,
    );
    let groups: Vec<String> = text
        .trim()
        .split(['-', ' ', '\n'])
        .filter(|g| !g.is_empty())
        .map(str::to_owned)
        .collect();
    (groups.len() >= 4 && groups.iter().all(|g| g.len() == 4)).then(|| Zeroizing::new(groups))
}

fn page(app: &App, progress: &Progress, ready: bool) -> RecoveryPage {
    RecoveryPage {
        steps: steps(progress, Step::Recovery),
        errors: Errors::new(),
        groups: Vec::new(),
        ask: progress.recovery_groups.map(|[a, b]| [a + 1, b + 1]),
        confirmed: progress.recovery_confirmed,
        ready,
        host: app.config.host.clone(),
        today: crate::clock::date_text(app.clock.today()),
    }
}

/// `GET /setup/recovery`
pub(super) async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let progress = &visitor.row.progress;
    if !progress.may_open(Step::Recovery) {
        return Ok(go(progress.next()));
    }
    let key = key(&app).await;
    let mut page = page(&app, progress, key.is_some());
    if page.ask.is_none() && !page.confirmed {
        page.groups = key.map(|k| k.to_vec()).unwrap_or_default();
    }
    html(&app, &page)
}

/// `POST /setup/recovery/written`: it is on paper; from now on it is not shown but asked for.
pub(super) async fn written(State(app): State<App>, mut visitor: Visitor) -> Result<Response> {
    let Some(key) = key(&app)
        .await
        .filter(|_| visitor.row.progress.may_open(Step::Recovery))
    else {
        return Ok(go(Step::Recovery));
    };
    let mut random = [0; 2];
    rand::fill(&mut random);
    visitor.row.progress.recovery_groups = Some(rules::groups_to_ask(key.len(), random));
    visitor.save().await?;
    Ok(go(Step::Recovery))
}

/// `POST /setup/recovery/again`: the paper was not good; as long as it was not confirmed, it is shown again.
pub(super) async fn again(State(_): State<App>, mut visitor: Visitor) -> Result<Response> {
    if !visitor.row.progress.recovery_confirmed {
        visitor.row.progress.recovery_groups = None;
    }
    visitor.save().await?;
    Ok(go(Step::Recovery))
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    first: String,
    second: String,
}

/// `POST /setup/recovery`: two groups from the paper.
pub(super) async fn confirm(
    State(app): State<App>,
    mut visitor: Visitor,
    Form(typed): Form<Typed>,
) -> Result<Response> {
    let (Some(key), Some(asked)) = (key(&app).await, visitor.row.progress.recovery_groups) else {
        return Ok(go(Step::Recovery));
    };
    let mut errors = Errors::new();
    for (field, text, group) in [
        ("first", &typed.first, asked[0]),
        ("second", &typed.second, asked[1]),
    ] {
        let right = key
            .get(group)
            .is_some_and(|g| rules::canonical(g) == rules::canonical(text));
        if !right {
            errors.insert(
                field.into(),
                format!(
                    "This is not group {} of the key. Look at the paper again.",
                    group + 1
                ),
            );
        }
    }
    if !errors.is_empty() {
        let mut page = page(&app, &visitor.row.progress, true);
        page.errors = errors;
        return wrong(&app, &page);
    }
    visitor.row.progress.recovery_confirmed = true;
    let next = visitor.row.progress.next();
    visitor.save().await?;
    Ok(go(next))
}
