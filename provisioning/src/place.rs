//! Where a box keeps its things.

use std::path::{Path, PathBuf};

/// The folders of one box: an installed one, or a demo in a folder of its own.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where the machine's own folders are, such as /etc: `/` on an installed box.
    root: PathBuf,
    installed: bool,
    state: PathBuf,
    run: PathBuf,
    port: u16,
}

impl Place {
    /// The box installed on this machine.
    pub fn installed() -> Self {
        Self::installed_under("/".into())
    }

    /// The box installed in a system that is not running but mounted at `root`.
    pub fn installed_under(root: PathBuf) -> Self {
        Self {
            state: root.join("var/lib/hadada"),
            run: root.join("run/hadada"),
            root,
            installed: true,
            port: 443,
        }
    }

    /// A box that lives in one folder.
    pub fn folder(dir: PathBuf) -> Self {
        Self {
            root: dir.clone(),
            installed: false,
            run: dir.join("run"),
            state: dir,
            port: 8443,
        }
    }

    /// Whether it is a box with units, sealed secrets and a user for each program, and not a folder.
    pub fn is_installed(&self) -> bool {
        self.installed
    }

    /// Where the machine's own folders are; a folder's own for a box that lives in one.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The one configuration file.
    pub fn config(&self) -> PathBuf {
        if self.installed {
            self.root.join("etc/hadada/hadada.toml")
        } else {
            self.state.join("hadada.toml")
        }
    }

    /// Holds the programs of each release, and which is current.
    pub fn programs(&self) -> PathBuf {
        if self.installed {
            self.root.join("opt/hadada")
        } else {
            self.state.join("opt")
        }
    }

    /// Holds what the box's commands know about it, for the status page.
    pub fn facts(&self) -> PathBuf {
        self.state.join("facts")
    }

    /// Holds what the web program asks root to do.
    pub fn requests(&self) -> PathBuf {
        self.state.join("requests")
    }

    pub fn default_port(&self) -> u16 {
        self.port
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Holds the public halves of keys and, in a box that lives in one folder, the secrets (see [`crate::secrets`]).
    pub fn keys(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// The public half of the key that signs the audit log, in hex, to be copied to where audits are checked.
    pub fn audit_public_key(&self) -> PathBuf {
        self.keys().join("audit.pub")
    }

    /// Holds the models, their manifests and what is enabled.
    pub fn models(&self) -> PathBuf {
        self.state.join("models")
    }

    /// The public half of the recovery key: 32 bytes. The other half exists on paper only.
    pub fn recovery_public_key(&self) -> PathBuf {
        self.keys().join("recovery.pub")
    }

    pub fn tls(&self) -> PathBuf {
        self.state.join("tls")
    }

    pub fn authority(&self) -> PathBuf {
        self.tls().join("ca.pem")
    }

    /// The authority for the certificates of IT staff and vendors; beside it, as `.crl` and `.json`, who has one and who may
    /// not use it any more.
    pub fn client_authority(&self) -> PathBuf {
        self.tls().join("clients.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.tls().join("cert.pem")
    }

    /// Holds the audit log's head, which the appliance writes after each seal.
    pub fn audit(&self) -> PathBuf {
        self.state.join("audit")
    }

    pub fn head(&self) -> PathBuf {
        self.audit().join("head.json")
    }

    /// The patients whose keys were destroyed: JSON lines that the appliance adds to.
    pub fn erasures(&self) -> PathBuf {
        self.audit().join("erasures.jsonl")
    }

    /// Holds the patients' files.
    pub fn documents(&self) -> PathBuf {
        self.state.join("documents")
    }

    /// Holds the ledger of backups, the drill's reports and what they need.
    pub fn backup(&self) -> PathBuf {
        self.state.join("backup")
    }

    /// Holds secrets sealed to the recovery key.
    pub fn escrow(&self) -> PathBuf {
        self.backup().join("escrow")
    }

    /// Holds the database's log (WAL) between the database and the backup's target.
    pub fn wal(&self) -> PathBuf {
        self.state.join("wal")
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }

    pub fn inference_socket(&self) -> PathBuf {
        self.run.join("inference.sock")
    }
}
