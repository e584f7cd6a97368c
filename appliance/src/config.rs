//! Configuration: one TOML file, `HADADA_…` overrides from the environment, secrets only as files (systemd credentials).

use std::path::{Path, PathBuf};

/// Everything the web program is told from outside.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen on, when systemd passes no socket.
    #[serde(default = "default_listen")]
    pub listen: std::net::SocketAddr,
    /// Name that staff type in the browser, for links.
    #[serde(default = "default_host")]
    pub host: String,
    /// Folder of the Postgres socket.
    pub postgres: PathBuf,
    /// Database of the records.
    #[serde(default = "default_records")]
    pub records_database: String,
    /// Database of the wrapped keys.
    #[serde(default = "default_keys")]
    pub keys_database: String,
    /// Database role of the web app. Only tests change it.
    #[serde(default = "default_app_role")]
    pub app_role: String,
    /// Database role that owns the schema and migrates it.
    #[serde(default = "default_owner_role")]
    pub owner_role: String,
    /// Most connections to the records database.
    #[serde(default = "default_pool")]
    pub pool: u32,
    /// PEM chain and key of the TLS certificate.
    pub tls_certificate: PathBuf,
    /// PEM private key of the TLS certificate.
    pub tls_key: PathBuf,
    /// The box's master key: 32 bytes that wrap practice keys.
    pub master_key: PathBuf,
    /// X25519 public key of the printed recovery key: 32 bytes.
    pub recovery_key: PathBuf,
    /// Ed25519 secret that signs audit seals: 32 bytes.
    pub audit_key: PathBuf,
    /// File outside Postgres that holds the signed head of the audit log.
    pub audit_head: PathBuf,
    /// Unix socket of the inference daemon.
    pub inference_socket: PathBuf,
    /// Unix socket for `hadadactl`, for root only.
    pub admin_socket: PathBuf,
    /// Program that writes PDFs; beside this one unless set.
    #[serde(default)]
    pub typeset: Option<PathBuf>,
    /// A demo: shows its log-ins on the sign-in page and sends no HSTS.
    #[serde(default)]
    pub demo: bool,
}

fn default_listen() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 8443))
}
fn default_host() -> String {
    "localhost".into()
}
fn default_records() -> String {
    "hadada".into()
}
fn default_keys() -> String {
    "hadada_keys".into()
}
fn default_app_role() -> String {
    "hadada_app".into()
}
fn default_owner_role() -> String {
    "hadada_owner".into()
}
fn default_pool() -> u32 {
    16
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The file does not say what it should.
    #[error("{0}: {1}")]
    Parse(PathBuf, Box<toml::de::Error>),
    /// An environment override is not of the setting's form.
    #[error("the environment variable {0} is not usable: {1}")]
    Override(String, String),
}

impl Config {
    /// Reads the file, then lets `HADADA_LISTEN` and its like override single settings.
    ///
    /// # Errors
    /// When the file can't be read, has an unknown or missing setting, or an override has the wrong form.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Read(path.into(), e))?;
        let mut table: toml::Table = text
            .parse()
            .map_err(|e| ConfigError::Parse(path.into(), Box::new(e)))?;
        for (name, value) in std::env::vars() {
            let Some(setting) = name.strip_prefix("HADADA_") else {
                continue;
            };
            let setting = setting.to_lowercase();
            if !SETTINGS.contains(&setting.as_str()) {
                continue;
            }
            let parsed = match setting.as_str() {
                "pool" => value
                    .parse()
                    .map(toml::Value::Integer)
                    .map_err(|e| ConfigError::Override(name, e.to_string()))?,
                "demo" => value
                    .parse()
                    .map(toml::Value::Boolean)
                    .map_err(|e| ConfigError::Override(name, e.to_string()))?,
                _ => toml::Value::String(value),
            };
            table.insert(setting, parsed);
        }
        table
            .try_into()
            .map_err(|e| ConfigError::Parse(path.into(), Box::new(e)))
    }
}

const SETTINGS: [&str; 18] = [
    "listen",
    "host",
    "postgres",
    "records_database",
    "keys_database",
    "app_role",
    "owner_role",
    "pool",
    "tls_certificate",
    "tls_key",
    "master_key",
    "recovery_key",
    "audit_key",
    "audit_head",
    "inference_socket",
    "admin_socket",
    "typeset",
    "demo",
];
