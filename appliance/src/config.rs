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
    /// Unix socket of a service that writes PDFs; where set, the program above is not started.
    #[serde(default)]
    pub typeset_socket: Option<PathBuf>,
    /// A demo: shows its log-ins on the sign-in page and sends no HSTS.
    #[serde(default)]
    pub demo: bool,
    /// Also speaks TLS 1.2, for devices that can do no better.
    #[serde(default)]
    pub tls12: bool,
    /// PEM certificate of the box's own authority, offered on the trust page; without the file a bought certificate is in use.
    #[serde(default = "default_authority")]
    pub tls_authority: PathBuf,
    /// PEM certificates of the authority that IT's and vendors' client certificates come from; without it there is no
    /// remote access.
    #[serde(default)]
    pub client_authority: Option<PathBuf>,
    /// Where remote access is answered while it is open.
    #[serde(default = "default_remote")]
    pub remote_listen: std::net::SocketAddr,
    /// Folder that pushed updates are put into. They are not looked at here.
    #[serde(default = "default_incoming")]
    pub update_incoming: PathBuf,
    /// Folder that root fills for the first-run wizard.
    #[serde(default = "default_setup")]
    pub setup_dir: PathBuf,
    /// Folder for requests to root.
    #[serde(default = "default_requests")]
    pub requests_dir: PathBuf,
    /// Folder of what the box's commands found out.
    #[serde(default = "default_facts")]
    pub facts_dir: PathBuf,
    /// Mark that is there while a disk of the box is full.
    #[serde(default = "default_disk_full")]
    pub disk_full_mark: PathBuf,
    /// Register of erased patients, outside Postgres.
    #[serde(default = "default_erasures")]
    pub erasure_register: PathBuf,
    /// File with a token that may read `/metrics` from elsewhere.
    #[serde(default)]
    pub metrics_token: Option<PathBuf>,
    /// Settings of the drafting service, which reads the same file.
    #[serde(default)]
    pub inference: toml::Table,
    /// Settings of `hadadactl`; only [`Config::mail`] looks into them here.
    #[serde(default, rename = "box")]
    pub the_box: toml::Table,
}

/// `[box.mail]`: how mail leaves the box.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Name or address of the mail server.
    pub server: String,
    /// Its port.
    #[serde(default = "default_mail_port")]
    pub port: u16,
    /// How the connection is protected.
    #[serde(default)]
    pub security: MailSecurity,
    /// Log-in name there; empty where it wants none. The password is the credential `mail.password`.
    #[serde(default)]
    pub user: String,
    /// Sender's address.
    pub from: String,
    /// Address of whoever looks after the box.
    pub to: String,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// TLS is asked for, and without it nothing is sent.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None: for a mail server on the same machine only.
    None,
}

fn default_mail_port() -> u16 {
    587
}
fn default_authority() -> PathBuf {
    "/var/lib/hadada/tls/ca.pem".into()
}
fn default_remote() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([0, 0, 0, 0], 8444))
}
fn default_incoming() -> PathBuf {
    "/var/lib/hadada/update/incoming".into()
}
fn default_setup() -> PathBuf {
    "/run/hadada-setup".into()
}
fn default_requests() -> PathBuf {
    "/var/lib/hadada/requests".into()
}
fn default_facts() -> PathBuf {
    "/var/lib/hadada/facts".into()
}
fn default_disk_full() -> PathBuf {
    "/run/hadada-reserve/full".into()
}
fn default_erasures() -> PathBuf {
    "/var/lib/hadada/audit/erasures.jsonl".into()
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
    /// `[box.mail]` does not say what it should.
    #[error("[box.mail]: {0}")]
    Mail(Box<toml::de::Error>),
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
                "demo" | "tls12" => value
                    .parse()
                    .map(toml::Value::Boolean)
                    .map_err(|e| ConfigError::Override(name, e.to_string()))?,
                _ => toml::Value::String(value),
            };
            table.insert(setting, parsed);
        }
        let config: Self = table
            .try_into()
            .map_err(|e| ConfigError::Parse(path.into(), Box::new(e)))?;
        config.mail()?;
        Ok(config)
    }

    /// The folder on whose disk the clinic's data lies.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.audit_head
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default()
    }

    /// How mail leaves the box; none where no mail server is configured. (The first-run pages note whom to write to before
    /// anybody has said by which server.)
    ///
    /// # Errors
    /// When `[box.mail]` is there and not usable.
    pub fn mail(&self) -> Result<Option<Mail>, ConfigError> {
        self.the_box
            .get("mail")
            .filter(|mail| mail.as_table().is_none_or(|t| t.contains_key("server")))
            .map(|mail| mail.clone().try_into())
            .transpose()
            .map_err(|e| ConfigError::Mail(Box::new(e)))
    }
}

const SETTINGS: [&str; 30] = [
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
    "typeset_socket",
    "demo",
    "tls12",
    "tls_authority",
    "client_authority",
    "remote_listen",
    "update_incoming",
    "setup_dir",
    "requests_dir",
    "facts_dir",
    "disk_full_mark",
    "erasure_register",
    "metrics_token",
];

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
postgres = "/run/postgresql"
tls_certificate = "c"
tls_key = "k"
master_key = "m"
recovery_key = "r"
audit_key = "a"
audit_head = "h"
inference_socket = "i"
admin_socket = "s"
"#;

    fn load(more: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hadada.toml");
        std::fs::write(&path, format!("{SMALLEST}{more}")).unwrap();
        Config::load(&path)
    }

    #[test]
    fn what_the_commands_keep_in_the_file_is_none_of_our_business_save_mail() {
        let config = load("[box.backup]\nkeep = 7\n[box.mail]\nserver = \"mail.example.org\"\nfrom = \"box@example.org\"\nto = \"it@example.org\"\n").unwrap();
        let mail = config.mail().unwrap().unwrap();
        assert_eq!((mail.port, mail.security), (587, MailSecurity::Starttls));
        assert_eq!(load("").unwrap().mail().unwrap(), None);
        let noted = load("[box.mail]\nto = \"it@example.org\"\n[inference]\nworkers = 2\n");
        assert_eq!(noted.unwrap().mail().unwrap(), None);
        assert!(load("[box.mail]\nserver = 1\n").is_err());
        assert!(load("unknown = 1\n").is_err());
    }
}
