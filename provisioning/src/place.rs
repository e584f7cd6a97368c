//! Where a box keeps its things.

use std::path::{Path, PathBuf};

/// The folders of one box: an installed one, or a demo in a folder of its own.
#[derive(Debug, Clone)]
pub struct Place {
    state: PathBuf,
    run: PathBuf,
    port: u16,
}

impl Place {
    /// The box installed on this machine.
    pub fn installed() -> Self {
        Self {
            state: "/var/lib/hadada".into(),
            run: "/run/hadada".into(),
            port: 443,
        }
    }

    /// A box that lives in one folder.
    pub fn folder(dir: PathBuf) -> Self {
        Self {
            run: dir.join("run"),
            state: dir,
            port: 8443,
        }
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

    /// Holds the secrets; only the service's user may enter.
    pub fn keys(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// The Ed25519 key that signs the audit log: 32 bytes.
    pub fn audit_key(&self) -> PathBuf {
        self.keys().join("audit.key")
    }

    /// Its public half, in hex, to be copied to where audits are checked.
    pub fn audit_public_key(&self) -> PathBuf {
        self.keys().join("audit.pub")
    }

    /// The Ed25519 key that signs models which IT adds itself: 32 bytes.
    pub fn models_key(&self) -> PathBuf {
        self.keys().join("models.key")
    }

    /// Holds the models, their manifests and what is enabled.
    pub fn models(&self) -> PathBuf {
        self.state.join("models")
    }

    /// The key that wraps the practices' keys: 32 bytes.
    pub fn master_key(&self) -> PathBuf {
        self.keys().join("master.key")
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

    pub fn authority_key(&self) -> PathBuf {
        self.tls().join("ca.key")
    }

    pub fn certificate(&self) -> PathBuf {
        self.tls().join("cert.pem")
    }

    pub fn certificate_key(&self) -> PathBuf {
        self.tls().join("key.pem")
    }

    /// Holds the audit log's head, which the appliance writes after each seal.
    pub fn audit(&self) -> PathBuf {
        self.state.join("audit")
    }

    pub fn head(&self) -> PathBuf {
        self.audit().join("head.json")
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }

    pub fn inference_socket(&self) -> PathBuf {
        self.run.join("inference.sock")
    }
}
