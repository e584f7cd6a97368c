//! Who is asking: a browser's cookie or a program's token, and what their role allows. Permissions are decided here only.

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::App;
use crate::db::Actor;
use crate::error::{Error, Result};
use crate::ids::{PracticeId, PractitionerId, UserId};

/// `__Host-` binds the cookie to this host, the whole site and TLS.
pub const COOKIE: &str = "__Host-hadada";
/// A session ends after an hour without a request.
const IDLE_SECONDS: i64 = 3600;

/// A role in a practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the practice and the box.
    Admin,
    /// Treats patients.
    Practitioner,
    /// Front desk.
    Receptionist,
    /// Accounts.
    Billing,
}

impl Role {
    /// As stored.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Practitioner => "practitioner",
            Self::Receptionist => "receptionist",
            Self::Billing => "billing",
        }
    }

    /// In the practice's words.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "Practice admin",
            Self::Practitioner => "Therapist",
            Self::Receptionist => "Reception",
            Self::Billing => "Billing",
        }
    }

    /// As stored, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [
            Self::Admin,
            Self::Practitioner,
            Self::Receptionist,
            Self::Billing,
        ]
        .into_iter()
        .find(|r| r.text() == text)
    }
}

/// A thing that only some roles may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See the diary.
    ViewDiary,
    /// Book, move and change bookings.
    Book,
    /// Find and open patients.
    ViewPatients,
    /// Add and change patients.
    EditPatients,
    /// Show a whole identity number.
    RevealIdentity,
    /// Read clinical notes.
    ViewNotes,
    /// Write, draft and sign clinical notes.
    WriteNotes,
    /// See invoices and payments.
    ViewBilling,
    /// Invoice and take payments.
    Bill,
    /// See who looked at what.
    ViewAudit,
    /// See the box's state.
    ViewBox,
    /// Erase a patient for good.
    ErasePatients,
    /// See the practice's staff, rooms and session types.
    ViewSettings,
    /// Change them, and who may sign in.
    ChangeSettings,
}

impl Permission {
    /// The whole table of who may do what.
    fn allows(self, role: Role) -> bool {
        use Role::{Admin, Billing, Practitioner, Receptionist};
        match self {
            Self::ViewDiary | Self::ViewPatients => true,
            Self::Book | Self::EditPatients => matches!(role, Admin | Practitioner | Receptionist),
            Self::RevealIdentity => matches!(role, Admin | Receptionist | Billing | Practitioner),
            // Reception and billing do their work without reading notes (HPCSA booklet 5: need to know).
            Self::ViewNotes | Self::WriteNotes => matches!(role, Practitioner),
            Self::ViewBilling => true,
            Self::Bill => matches!(role, Admin | Receptionist | Billing | Practitioner),
            Self::ViewSettings => matches!(role, Admin | Receptionist),
            Self::ViewAudit | Self::ViewBox | Self::ErasePatients | Self::ChangeSettings => {
                matches!(role, Admin)
            }
        }
    }

    /// The scope of a token that covers it.
    fn scope(self) -> &'static str {
        match self {
            Self::ViewDiary | Self::Book => "diary",
            Self::ViewPatients | Self::EditPatients | Self::RevealIdentity => "patients",
            Self::ViewNotes | Self::WriteNotes => "notes",
            Self::ViewBilling | Self::Bill => "billing",
            Self::ViewAudit
            | Self::ViewBox
            | Self::ErasePatients
            | Self::ViewSettings
            | Self::ChangeSettings => "admin",
        }
    }
}

/// How somebody is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A browser, by the SHA-256 of its cookie.
    Browser([u8; 32]),
    /// A program, with its scopes.
    Token(String),
}

/// Somebody signed in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Their practice.
    pub practice_id: PracticeId,
    /// Who they are.
    pub user_id: UserId,
    /// Their log-in name.
    pub username: String,
    /// Their name on screen.
    pub display_name: String,
    /// Their role.
    pub role: Role,
    /// The practitioner they are, if they treat.
    pub practitioner_id: Option<PractitionerId>,
    /// How they are signed in.
    pub kind: SessionKind,
}

impl Session {
    /// Who acts, for transactions.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::user(self.practice_id, self.user_id)
    }

    /// Whether their role, and their token's scope, allow it.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        let scoped = match &self.kind {
            SessionKind::Browser(_) => true,
            SessionKind::Token(scopes) => scopes
                .split_whitespace()
                .any(|s| s == "all" || s == permission.scope()),
        };
        // Whoever runs the practice and treats patients does both.
        let treats = self.role == Role::Admin && self.practitioner_id.is_some();
        scoped && (permission.allows(self.role) || treats && permission.allows(Role::Practitioner))
    }

    /// # Errors
    /// [`Error::Forbidden`] when they may not.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.may(permission) {
            return Ok(());
        }
        let what = match permission {
            Permission::ViewDiary => "see the diary",
            Permission::Book => "book or change appointments",
            Permission::ViewPatients => "open patients",
            Permission::EditPatients => "add or change patients",
            Permission::RevealIdentity => "see whole identity numbers",
            Permission::ViewNotes => "read clinical notes",
            Permission::WriteNotes => "write clinical notes",
            Permission::ViewBilling => "see invoices",
            Permission::Bill => "invoice or take payments",
            Permission::ViewAudit => "see who looked at what",
            Permission::ViewBox => "see the state of the box",
            Permission::ErasePatients => "erase patients",
            Permission::ViewSettings => "see the practice's settings",
            Permission::ChangeSettings => "change the practice's settings",
        };
        Err(Error::Forbidden(
            format!(
                "Your role ({}) may not {what}. Ask the practice's admin.",
                self.role.label()
            )
            .into(),
        ))
    }

    /// An example for template tests.
    #[must_use]
    pub fn sample() -> Self {
        Self {
            practice_id: PracticeId(uuid::Uuid::nil()),
            user_id: UserId(uuid::Uuid::nil()),
            username: "reception".into(),
            display_name: "Zinhle Maseko".into(),
            role: Role::Receptionist,
            practitioner_id: None,
            kind: SessionKind::Browser([0; 32]),
        }
    }
}

/// The hash under which a cookie or token is stored.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The header that signs a browser in.
#[must_use]
pub fn set_cookie(token: &str) -> HeaderValue {
    let text = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Lax");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The header that signs a browser out.
#[must_use]
pub fn clear_cookie() -> HeaderValue {
    HeaderValue::from_static("__Host-hadada=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

async fn find(app: &App, headers: &HeaderMap) -> Result<Option<Session>> {
    let now = app.clock.now();
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    if let Some(token) = bearer {
        let hash = token_hash(token.trim());
        let row = sqlx::query!(
            r#"SELECT practice_id AS "practice_id!: PracticeId", user_id AS "user_id!: UserId", username AS "username!",
                      display_name AS "display_name!", role AS "role!", practitioner_id AS "practitioner_id: PractitionerId", scope AS "scope!"
               FROM api_user_by_token($1, $2)"#,
            &hash[..],
            now
        )
        .fetch_optional(&app.db.records)
        .await?;
        return Ok(row.and_then(|r| {
            Some(Session {
                practice_id: r.practice_id,
                user_id: r.user_id,
                username: r.username,
                display_name: r.display_name,
                role: Role::from_text(&r.role)?,
                practitioner_id: r.practitioner_id,
                kind: SessionKind::Token(r.scope),
            })
        }));
    }
    let Some(token) = cookie(headers) else {
        return Ok(None);
    };
    let hash = token_hash(token);
    let idle = sqlx::postgres::types::PgInterval {
        months: 0,
        days: 0,
        microseconds: IDLE_SECONDS * 1_000_000,
    };
    let row = sqlx::query!(
        r#"SELECT practice_id AS "practice_id!: PracticeId", user_id AS "user_id!: UserId", username AS "username!",
                  display_name AS "display_name!", role AS "role!", practitioner_id AS "practitioner_id: PractitionerId", seen_at AS "seen_at!"
           FROM session_user_by_token($1, $2, $3)"#,
        &hash[..],
        now,
        idle
    )
    .fetch_optional(&app.db.records)
    .await?;
    let Some(row) = row else { return Ok(None) };
    touch(app, &hash, row.seen_at, now).await?;
    Ok(Role::from_text(&row.role).map(|role| Session {
        practice_id: row.practice_id,
        user_id: row.user_id,
        username: row.username,
        display_name: row.display_name,
        role,
        practitioner_id: row.practitioner_id,
        kind: SessionKind::Browser(hash),
    }))
}

/// Notes that the session is in use, at most once a minute.
async fn touch(
    app: &App,
    hash: &[u8; 32],
    seen: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<()> {
    if now - seen < time::Duration::minutes(1) {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE sessions SET seen_at = $2 WHERE token_hash = $1",
        &hash[..],
        now
    )
    .execute(&app.db.records)
    .await?;
    Ok(())
}

/// Put beside a request whose sender could not be looked up, so that nobody waits for the same database twice.
#[derive(Clone, Copy, Debug)]
struct LookupFailed;

fn known(parts: &Parts) -> Result<Option<Session>> {
    if parts.extensions.get::<LookupFailed>().is_some() {
        return Err(Error::Unavailable(
            "The clinic's database is not answering. Nothing was changed; try again in a moment."
                .into(),
        ));
    }
    Ok(parts.extensions.get::<Session>().cloned())
}

impl FromRequestParts<App> for Session {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        if let Some(session) = known(parts)? {
            return Ok(session);
        }
        find(app, &parts.headers)
            .await?
            .ok_or(Error::Unauthenticated)
    }
}

impl OptionalFromRequestParts<App> for Session {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Error> {
        if let Some(session) = known(parts)? {
            return Ok(Some(session));
        }
        find(app, &parts.headers).await
    }
}

/// Finds out who asks before anything else looks at the request, once; the session goes along with it.
pub async fn recognise(State(app): State<App>, mut request: Request, next: Next) -> Response {
    // Static files and health checks need nobody.
    let path = request.uri().path();
    let nobody = path.starts_with("/a/")
        || matches!(
            path,
            "/healthz" | "/readyz" | "/metrics" | "/sw.js" | "/trust"
        );
    if !nobody {
        match find(&app, request.headers()).await {
            Ok(Some(session)) => {
                request.extensions_mut().insert(session);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "could not look up the session");
                request.extensions_mut().insert(LookupFailed);
            }
        }
    }
    next.run(request).await
}
