//! The form of a log-in, and the page that shows a one-time password once.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::forms::{Choice, Pairs, Side, sample_errors};
use super::store::TherapistRow;
use crate::accounts::{self, Account, NewUser};
use crate::clock;
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::Result;
use crate::ids::{PractitionerId, UserId};
use crate::web::{App, FormId, Page, Role, Session, Shell};

/// Every role, as a choice.
pub(super) const ROLES: [Role; 4] = [
    Role::Practitioner,
    Role::Receptionist,
    Role::Billing,
    Role::Admin,
];

/// A log-in's fields, as typed.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    pub(super) display_name: String,
    pub(super) role: String,
    pub(super) practitioner_id: String,
}

impl Fields {
    pub(super) fn of(a: &Account) -> Self {
        Self {
            display_name: a.display_name.clone(),
            role: a.role.text().to_owned(),
            practitioner_id: a.practitioner_id.map(|p| p.to_string()).unwrap_or_default(),
        }
    }
}

/// What a form says of a log-in, checked.
#[derive(Debug)]
pub(super) struct NewAccount {
    pub(super) display_name: String,
    pub(super) role: Role,
    pub(super) practitioner: Option<PractitionerId>,
}

/// The form's fields in words.
pub(super) fn pairs(a: &NewAccount, therapists: &[TherapistRow]) -> Pairs {
    let therapist = therapists.iter().find(|t| Some(t.id) == a.practitioner);
    vec![
        ("display_name", a.display_name.clone()),
        ("role", a.role.label().to_owned()),
        (
            "practitioner_id",
            therapist.map(TherapistRow::name).unwrap_or_default(),
        ),
    ]
}

/// `settings/account.html`.
#[derive(serde::Serialize)]
pub(super) struct AccountPage {
    pub(super) shell: Shell,
    pub(super) heading: String,
    pub(super) action: String,
    pub(super) errors: Map<String, Value>,
    pub(super) conflict: Vec<Side>,
    pub(super) idempotency_key: String,
    pub(super) version: Option<i32>,
    /// Whether they may sign in, for a log-in that is there.
    pub(super) active: Option<bool>,
    /// Whether this is whoever looks at it.
    pub(super) own: bool,
    pub(super) form: Fields,
    pub(super) username: String,
    /// Until when the one-time password works, while it was not used.
    pub(super) waits: Option<String>,
    pub(super) roles: Vec<Choice>,
    pub(super) therapists: Vec<Choice>,
}

impl AccountPage {
    pub(super) fn with(shell: Shell, form: Fields, therapists: Vec<Choice>) -> Self {
        Self {
            shell,
            heading: "New log-in".into(),
            action: "/settings/accounts".into(),
            errors: Map::new(),
            conflict: Vec::new(),
            idempotency_key: FormId::now_v7().to_string(),
            version: None,
            active: None,
            own: false,
            form,
            username: String::new(),
            waits: None,
            roles: ROLES.map(|r| Choice::new(r.text(), r.label())).into(),
            therapists,
        }
    }
}

impl Page for AccountPage {
    const TEMPLATE: &'static str = "settings/account.html";
    fn samples() -> Vec<Self> {
        let therapists = || vec![Choice::new("1", "Naledi Mokoena")];
        let new = || Self::with(Shell::sample(), Fields::default(), therapists());
        let there = |active| Self {
            version: Some(2),
            active: Some(active),
            action: "/settings/accounts/1".into(),
            username: "naledi".into(),
            waits: active.then(|| "29-Nov-2026 09:00".into()),
            ..new()
        };
        let own = Self {
            own: true,
            waits: None,
            ..there(true)
        };
        let wrong = Self {
            errors: sample_errors("username"),
            ..new()
        };
        let conflict = Self {
            conflict: vec![Side::sample()],
            ..there(true)
        };
        vec![new(), wrong, there(true), there(false), own, conflict]
    }
}

/// A one-time password that was just given.
#[derive(Debug)]
pub(super) struct OneTime {
    name: String,
    username: String,
    password: String,
    until: String,
}

impl OneTime {
    /// Adds a person with a one-time password; `form` decides which one.
    pub(super) async fn create(
        app: &App,
        session: &Session,
        tx: &mut PracticeTx,
        form: FormId,
        id: UserId,
        user: &NewUser<'_>,
    ) -> Result<Self> {
        let practice = tx.practice();
        accounts::create_user_as(tx.conn(), practice, id, user).await?;
        let reason = format!("{}, role {}", user.username, user.role.label());
        tx.record(
            AuditEvent::new(Action::Create, "User")
                .id(id.0)
                .reason(reason),
        )
        .await?;
        Self::give(app, session, tx, form, id).await
    }

    /// Gives a person a one-time password.
    pub(super) async fn give(
        app: &App,
        session: &Session,
        tx: &mut PracticeTx,
        form: FormId,
        id: UserId,
    ) -> Result<Self> {
        let password = app.keys.one_time_password(session.user_id, form);
        let hash = accounts::hash_aside(password.clone()).await?;
        accounts::give_one_time_password(tx, id, &hash).await?;
        tx.record(
            AuditEvent::new(Action::Update, "User")
                .id(id.0)
                .reason("was given a one-time password"),
        )
        .await?;
        Ok(Self::of(&accounts::account(tx, id).await?, password))
    }

    fn of(account: &Account, password: String) -> Self {
        Self {
            name: account.display_name.clone(),
            username: account.username.clone(),
            password,
            until: account
                .one_time_until
                .map(clock::stamp_text)
                .unwrap_or_default(),
        }
    }

    /// The page once more for a form that was sent twice, as long as its password was not used and not replaced.
    pub(super) async fn again(
        app: &App,
        session: &Session,
        tx: &mut PracticeTx,
        form: FormId,
        account: Option<Account>,
    ) -> Result<Option<OneTimePage>> {
        let Some(account) = account else {
            return Ok(None);
        };
        let password = app.keys.one_time_password(session.user_id, form);
        if !accounts::one_time_fits(tx, account.id, password.clone()).await? {
            return Ok(None);
        }
        let page = Self::of(&account, password).page(app, session, tx, account.id.0);
        Ok(Some(page.await?))
    }

    /// The page that shows it.
    pub(super) async fn page(
        self,
        app: &App,
        session: &Session,
        tx: &mut PracticeTx,
        done: Uuid,
    ) -> Result<OneTimePage> {
        Ok(OneTimePage {
            shell: Shell::load(app, session, tx, "One-time password", "settings").await?,
            host: app.config.host.clone(),
            name: self.name,
            username: self.username,
            password: self.password,
            until: self.until,
            back: format!("/settings?done={done}"),
        })
    }
}

/// `settings/one_time.html`.
#[derive(serde::Serialize)]
pub(super) struct OneTimePage {
    shell: Shell,
    host: String,
    name: String,
    username: String,
    password: String,
    until: String,
    back: String,
}

impl Page for OneTimePage {
    const TEMPLATE: &'static str = "settings/one_time.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            shell: Shell::sample(),
            host: "clinic.lan".into(),
            name: "Lerato Dlamini".into(),
            username: "lerato".into(),
            password: "k7qm-2f9d-xw4t".into(),
            until: "29-Nov-2026 09:00".into(),
            back: "/settings".into(),
        }]
    }
}
