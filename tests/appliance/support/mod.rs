//! A clinic for a test: two practices in databases of their own, and clients that are signed in.

mod client;
mod furnished;
mod practice;
mod visit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hadada::clock::Clock;
use hadada::config::Config;
use hadada::db::{Action, Actor, AuditEvent, PracticeTx};
use hadada::ids::PatientId;
use hadada::web::{App, token_hash};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

pub use client::{Client, Reply};
pub use furnished::Furnished;
use practice::furnish;
pub use practice::{Practice, start_counters};
pub use visit::{Open, booking_in};

/// The password of every user of the test practices.
pub const PASSWORD: &str = "correct horse battery";

/// A running clinic. Its databases go when it goes.
pub struct Clinic {
    pub app: App,
    pub router: axum::Router,
    /// The practice of `admin`, `reception`, `naledi`, `ayesha` and `billing`.
    pub practice: Practice,
    /// The practice of `other` (an admin) and `other-therapist`.
    pub elsewhere: Practice,
    pub folder: tempfile::TempDir,
    pub config: Config,
    offset: Arc<AtomicI64>,
    _databases: Databases,
}

/// Tuesday 24 November 2026, 09:00 on the practice's clock.
pub const NOW: OffsetDateTime = datetime!(2026-11-24 07:00 UTC);

fn sockets() -> PathBuf {
    std::env::var_os("HADADA_TEST_POSTGRES")
        .map(PathBuf::from)
        .expect("HADADA_TEST_POSTGRES is not set: run these tests through `tests/run appliance`, which starts Postgres for them")
}

/// A folder with the built programs.
pub fn programs() -> PathBuf {
    std::env::var_os("HADADA_BIN_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            std::env::current_exe()
                .unwrap()
                .parent()
                .unwrap()
                .parent()
                .unwrap()
                .to_path_buf()
        })
}

/// A fresh idempotency key.
pub fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Every Rust file below a folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code with which the database refused.
pub fn sql_state(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .unwrap_or_default()
        .into_owned()
}

/// Connects as any role of the cluster, the superuser included.
pub async fn connect_as(role: &str, database: &str) -> PgConnection {
    let options = PgConnectOptions::new()
        .socket(sockets())
        .username(role)
        .database(database);
    PgConnection::connect_with(&options).await.unwrap()
}

/// A box with empty databases, before anybody has set it up. Its databases go when it goes.
pub struct Bare {
    pub app: App,
    pub router: axum::Router,
    pub folder: tempfile::TempDir,
    pub config: Config,
    offset: Arc<AtomicI64>,
    databases: Databases,
}

impl Bare {
    /// Starts with the clock at [`NOW`].
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Makes a practice.
    pub async fn furnish(&self) -> Practice {
        furnish(&self.app, "Practice", &["therapist", "admin"]).await
    }

    /// Starts with another configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let name = format!("t_{}", uuid::Uuid::now_v7().simple());
        let prefix = std::env::var("HADADA_TEST_TEMPLATE").unwrap_or_else(|_| "hadada".into());
        let mut admin = connect_as("postgres", "postgres").await;
        for (database, template) in [
            (name.clone(), format!("{prefix}_template")),
            (format!("{name}_keys"), format!("{prefix}_keys_template")),
        ] {
            let statement =
                format!("CREATE DATABASE {database} TEMPLATE {template} OWNER hadada_owner");
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                .execute(&mut admin)
                .await
                .unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for made in ["setup", "requests", "incoming"] {
            std::fs::create_dir(file(made)).unwrap();
        }
        std::fs::write(file("ca.pem"), authority()).unwrap();
        for key in ["master.key", "recovery.pub", "audit.key"] {
            let mut bytes = [0_u8; 32];
            rand::fill(&mut bytes);
            std::fs::write(file(key), bytes).unwrap();
        }
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            host: "localhost".into(),
            postgres: sockets(),
            records_database: name.clone(),
            keys_database: format!("{name}_keys"),
            app_role: "hadada_app".into(),
            owner_role: "hadada_owner".into(),
            pool: 24,
            tls_certificate: file("cert.pem"),
            tls_key: file("key.pem"),
            master_key: file("master.key"),
            recovery_key: file("recovery.pub"),
            audit_key: file("audit.key"),
            audit_head: file("head.json"),
            inference_socket: std::env::var_os("HADADA_TEST_INFERENCE")
                .map_or_else(|| file("inference.sock"), PathBuf::from),
            admin_socket: file("admin.sock"),
            typeset: Some(programs().join("hadada-typeset")),
            typeset_socket: None,
            demo: false,
            tls12: false,
            tls_authority: file("ca.pem"),
            client_authority: None,
            inference: toml::Table::new(),
            remote_listen: ([127, 0, 0, 1], 0).into(),
            update_incoming: file("incoming"),
            setup_dir: file("setup"),
            requests_dir: file("requests"),
            facts_dir: file("facts"),
            disk_full_mark: file("disk-full"),
            erasure_register: file("erasures.jsonl"),
            metrics_token: None,
            the_box: toml::Table::new(),
        };
        change(&mut config);
        let offset = Arc::new(AtomicI64::new(0));
        let steered = offset.clone();
        let clock =
            Clock::from_fn(move || NOW + Duration::milliseconds(steered.load(Ordering::Relaxed)));
        let app = hadada::lifecycle::assemble(config.clone(), clock).unwrap();
        let router = hadada::app::router(app.clone());
        let databases = Databases(name.clone(), format!("{name}_keys"));
        Self {
            app,
            router,
            folder,
            config,
            offset,
            databases,
        }
    }

    /// Nobody in particular.
    pub fn stranger(&self) -> Client {
        Client::stranger(self.router.clone())
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.offset.fetch_add(
            i64::try_from(by.whole_milliseconds()).unwrap(),
            Ordering::Relaxed,
        );
    }
}

impl Clinic {
    /// Starts with the clock at [`NOW`].
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with another configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let bare = Bare::start_with(change).await;
        let app = bare.app;
        let practice = furnish(
            &app,
            "Rosebank Rehab",
            &["admin", "reception", "naledi", "ayesha", "billing"],
        )
        .await;
        let elsewhere = furnish(&app, "Elsewhere Physio", &["other", "other-therapist"]).await;
        Self {
            app,
            router: bare.router,
            practice,
            elsewhere,
            folder: bare.folder,
            config: bare.config,
            offset: bare.offset,
            _databases: bare.databases,
        }
    }

    /// Moves the clinic's clock.
    pub fn advance(&self, by: Duration) {
        self.offset.fetch_add(
            i64::try_from(by.whole_milliseconds()).unwrap(),
            Ordering::Relaxed,
        );
    }

    /// A browser that is signed in.
    pub async fn login(&self, username: &str) -> Client {
        let token = uuid::Uuid::new_v4().to_string();
        let now = self.app.clock.now();
        sqlx::query(
            "INSERT INTO sessions (token_hash, practice_id, user_id, created_at, seen_at, expires_at)
             SELECT $1, practice_id, user_id, $2, $2, $3 FROM logins WHERE username = $4",
        )
        .bind(&token_hash(&token)[..])
        .bind(now)
        .bind(now + Duration::hours(8))
        .bind(username)
        .execute(&self.app.db.records)
        .await
        .unwrap();
        Client::browser(self.router.clone(), token)
    }

    /// A program with a token for everything the user may do.
    pub async fn program(&self, username: &str) -> Client {
        let request = hadada::accounts::TokenRequest {
            user: username.into(),
            scope: "all".into(),
        };
        let token = hadada::accounts::create_token(&self.app.db, &self.app.clock, &request)
            .await
            .unwrap();
        self.with_token(token)
    }

    /// A program with this token.
    pub fn with_token(&self, token: String) -> Client {
        Client::program(self.router.clone(), token)
    }

    /// Nobody in particular.
    pub fn stranger(&self) -> Client {
        Client::stranger(self.router.clone())
    }

    /// A transaction in the first practice, as the box itself.
    pub async fn tx(&self) -> PracticeTx {
        self.tx_in(&self.practice).await
    }

    /// A transaction in one of the practices, as the box itself.
    pub async fn tx_in(&self, practice: &Practice) -> PracticeTx {
        let event = AuditEvent::new(Action::Execute, "Test");
        PracticeTx::open_with(
            &self.app.db,
            &Actor::system(practice.id, "test"),
            self.app.clock.now(),
            event,
        )
        .await
        .unwrap()
    }

    /// The records database as the superuser, whom nothing stops.
    pub async fn superuser(&self) -> PgConnection {
        connect_as("postgres", &self.config.records_database).await
    }

    /// The audit events about a patient as `action entity`, oldest first.
    pub async fn audited(&self, patient: PatientId) -> Vec<String> {
        let mut db = self.superuser().await;
        sqlx::query_scalar(
            "SELECT action || ' ' || entity FROM audit_events WHERE patient_id = $1 OR $1 = ANY(shown) ORDER BY at, id",
        )
        .bind(patient)
        .fetch_all(&mut db)
        .await
        .unwrap()
    }

    /// What an audit event says was changed: sealed with the patient's key, in a place named after the changed thing.
    pub async fn open_change(
        &self,
        patient: PatientId,
        changed: uuid::Uuid,
        sealed: &[u8],
    ) -> serde_json::Value {
        let key = self
            .app
            .keys
            .patient(self.practice.id, patient)
            .await
            .unwrap();
        let place = hadada::keys::Place::new("audit_events.change", changed);
        key.open_json(place, sealed).unwrap()
    }

    /// A patient in the first practice, put in by SQL: for rooms that need one and do not test patients.
    pub async fn patient(&self, family: &str, given: &str) -> PatientId {
        self.patient_in(&self.practice, family, given).await
    }

    /// A patient in one of the practices, put in by SQL.
    pub async fn patient_in(&self, practice: &Practice, family: &str, given: &str) -> PatientId {
        let id = PatientId::random();
        self.app.keys.create_patient(practice.id, id).await.unwrap();
        let mut tx = self.tx_in(practice).await;
        sqlx::query(
            "INSERT INTO patients (practice_id, id, file_number, family_name, given_name, birth_date, sex, identity_kind,
                                   search_text, search_given, created_at, created_by, updated_at)
             VALUES ($1, $2, $3, $4, $5, '1985-05-05', 'female', 'none', $6, $7, $8, $9, $8)",
        )
        .bind(practice.id)
        .bind(id)
        .bind(format!("X-{}", &id.to_string()[24..]))
        .bind(family)
        .bind(given)
        .bind(format!("{} {}", family.to_lowercase(), given.to_lowercase()))
        .bind(format!("{} {}", given.to_lowercase(), family.to_lowercase()))
        .bind(self.app.clock.now())
        .bind(practice.admin)
        .execute(tx.conn())
        .await
        .unwrap();
        tx.commit().await.unwrap();
        id
    }
}

/// The certificate of an authority, as PEM.
fn authority() -> String {
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Hadada authority of localhost");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

/// Two databases that go when this goes.
struct Databases(String, String);

impl Drop for Databases {
    fn drop(&mut self) {
        let (records, keys) = (self.0.clone(), self.1.clone());
        // A thread of its own, because the test's runtime may be ending. What fails here goes with the cluster.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut admin = connect_as("postgres", "postgres").await;
                for database in [records, keys] {
                    let statement = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
                    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                        .execute(&mut admin)
                        .await
                        .unwrap();
                }
            });
        })
        .join();
        if cleaned.is_err() && !std::thread::panicking() {
            eprintln!("a test database was left behind");
        }
    }
}

/// A pool of connections that see no practice, as the web app's role.
pub async fn unscoped(clinic: &Clinic) -> PgPool {
    let options = PgConnectOptions::new()
        .socket(sockets())
        .username("hadada_app")
        .database(&clinic.config.records_database);
    PgPoolOptions::new()
        .max_connections(2)
        .connect_with(options)
        .await
        .unwrap()
}

/// Rows of every table that holds what somebody entered. The log of who did what grows with every look; drafts note their
/// failures.
pub async fn rows(db: &mut PgConnection) -> BTreeMap<String, i64> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
         AND relname NOT LIKE 'audit%' AND relname NOT IN ('_sqlx_migrations', 'sessions', 'api_tokens', 'drafts') ORDER BY relname",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    let sums = tables
        .iter()
        .map(|t| format!("SELECT '{t}', count(*) FROM {t}"))
        .collect::<Vec<_>>()
        .join(" UNION ALL ");
    sqlx::query_as::<_, (String, i64)>(sqlx::AssertSqlSafe(sums))
        .fetch_all(db)
        .await
        .unwrap()
        .into_iter()
        .collect()
}
