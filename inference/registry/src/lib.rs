//! The folder of models on a box. `hadadactl` writes it as root; the inference daemon only reads it.
//!
//! ```text
//! models/
//!   keys/NAME.pub                    whose signatures count: Ed25519, 64 hex digits
//!   enabled.toml                     writing = "ID", sorting = "ID"
//!   ID/manifest.toml                 what the model is, and the SHA-256 of each of its files
//!   ID/manifest.toml.sig             signature over the manifest's bytes, 128 hex digits
//!   ID/evaluation.json               how it did on this box
//!   ID/…                             the files
//! ```
//!
//! Nothing of a manifest is read before its signature is found good.

mod evaluation;
mod manifest;

pub use evaluation::{Evaluation, Figure};
pub use manifest::{FileEntry, KnownAnswer, Manifest, Purpose};

use ed25519_dalek::{Signature, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The manifest's name in a model's folder.
pub const MANIFEST: &str = "manifest.toml";
/// Its signature's name.
pub const SIGNATURE: &str = "manifest.toml.sig";
/// The evaluation's name.
pub const EVALUATION: &str = "evaluation.json";
const ENABLED: &str = "enabled.toml";
/// A manifest is a page of text; more is something else.
const MOST_MANIFEST: u64 = 1 << 20;

/// What is wrong with a model or the registry, for people.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is no such model.
    #[error("there is no model '{0}'; `hadadactl model list` shows those that are there")]
    Unknown(String),
    /// Nobody's signature counts.
    #[error("no key is trusted yet: {0} holds no .pub file. Put the vendor's public key there")]
    NoKeys(String),
    /// The signature is missing, broken, or of somebody else.
    #[error("the manifest of '{0}' is not signed by any trusted key, so the model is not used")]
    Signature(String),
    /// The manifest says something impossible.
    #[error("the manifest of '{model}' is wrong: {rule}")]
    Manifest {
        /// Whose.
        model: String,
        /// What.
        rule: String,
    },
    /// A file is not the one that was signed for.
    #[error(
        "{path} is not the file its manifest was signed for: its SHA-256 is {found} instead of {expected}"
    )]
    Content {
        /// Which.
        path: String,
        /// What it has.
        found: String,
        /// What it must have.
        expected: String,
    },
    /// The model may not write.
    #[error("{0}")]
    Gate(String),
}

type Result<T> = std::result::Result<T, RegistryError>;

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.display().to_string();
    move |source| RegistryError::Io { path, source }
}

/// Which models serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enabled {
    /// The model that writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writing: Option<String>,
    /// The model that sorts, by embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorting: Option<String>,
}

/// A model whose manifest is signed by a trusted key. Its files are not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What it is.
    pub manifest: Manifest,
    /// The name of the key that signed.
    pub signed_by: String,
    /// SHA-256 of the manifest's bytes, which stands for the whole model.
    pub digest: String,
    /// Where its files are.
    pub folder: PathBuf,
}

impl Model {
    /// Where a file of it is.
    pub fn path(&self, file: &FileEntry) -> PathBuf {
        self.folder.join(&file.name)
    }

    /// The file of a writing model, or the folder of a sorting one: what the worker is given.
    pub fn weights(&self) -> PathBuf {
        match self.manifest.purpose {
            Purpose::Writing => self
                .manifest
                .files
                .iter()
                .find(|f| f.name.ends_with(".gguf"))
                .map_or_else(|| self.folder.clone(), |f| self.path(f)),
            Purpose::Sorting => self.folder.clone(),
        }
    }

    /// Reads every file and compares its SHA-256.
    ///
    /// # Errors
    /// Names the first file that is missing or another.
    pub fn check_files(&self) -> Result<()> {
        for file in &self.manifest.files {
            let path = self.path(file);
            let found = digest_of(&path)?;
            if found != file.sha256 {
                return Err(RegistryError::Content {
                    path: path.display().to_string(),
                    found,
                    expected: file.sha256.clone(),
                });
            }
        }
        Ok(())
    }

    /// How it was evaluated on this box, if it was.
    ///
    /// # Errors
    /// When the result can't be read.
    pub fn evaluation(&self) -> Result<Option<Evaluation>> {
        let path = self.folder.join(EVALUATION);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error(&path)(e)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| io_error(&path)(io::Error::other(e)))
    }

    /// Whether it may be enabled for writing: it was evaluated as it is now, and passed.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn may_write(&self) -> Result<()> {
        let id = &self.manifest.id;
        let refuse = |why: String| Err(RegistryError::Gate(why));
        if self.manifest.purpose != Purpose::Writing {
            return refuse(format!("'{id}' sorts; it doesn't write"));
        }
        match self.evaluation()? {
            None => refuse(format!(
                "'{id}' was not evaluated on this box yet: run `hadadactl model evaluate {id}` first"
            )),
            Some(e) if e.model != self.digest => refuse(format!(
                "'{id}' was evaluated before it was changed: run `hadadactl model evaluate {id}` again"
            )),
            Some(e) if !e.passed => refuse(format!(
                "'{id}' did not pass its evaluation ({}), so it may not write",
                e.failures().join("; ")
            )),
            Some(_) => Ok(()),
        }
    }
}

/// The folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// It need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Registry {
        Registry {
            folder: folder.into(),
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the trusted keys are.
    pub fn keys_folder(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Where a model is, or would be.
    pub fn model_folder(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// The trusted keys, by name.
    ///
    /// # Errors
    /// When a key file is none.
    pub fn keys(&self) -> Result<Vec<(String, VerifyingKey)>> {
        let folder = self.keys_folder();
        let mut keys = Vec::new();
        for path in entries(&folder)? {
            if path.extension().is_none_or(|e| e != "pub") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(io_error(&path))?;
            let mut bytes = [0; 32];
            let key = hex::decode_to_slice(text.trim(), &mut bytes)
                .ok()
                .and_then(|()| VerifyingKey::from_bytes(&bytes).ok())
                .ok_or_else(|| {
                    io_error(&path)(io::Error::other(
                        "it is not an Ed25519 public key of 64 hex digits",
                    ))
                })?;
            let name = path
                .file_stem()
                .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
            keys.push((name, key));
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(keys)
    }

    /// A model that is there and signed.
    ///
    /// # Errors
    /// When it is not there, or not signed by a trusted key.
    pub fn model(&self, id: &str) -> Result<Model> {
        if !manifest::is_id(id) {
            return Err(RegistryError::Unknown(id.to_owned()));
        }
        let folder = self.model_folder(id);
        if !folder.join(MANIFEST).exists() {
            return Err(RegistryError::Unknown(id.to_owned()));
        }
        let model = self.open(&folder, id)?;
        if model.manifest.id != id {
            return Err(RegistryError::Manifest {
                model: id.to_owned(),
                rule: format!("it is of '{}'", model.manifest.id),
            });
        }
        Ok(model)
    }

    /// A model in any folder, checked against this registry's keys. `name` is for errors.
    ///
    /// # Errors
    /// When it is not signed by a trusted key, or its manifest is wrong.
    pub fn open(&self, folder: &Path, name: &str) -> Result<Model> {
        let path = folder.join(MANIFEST);
        let mut bytes = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(MOST_MANIFEST).read_to_end(&mut bytes))
            .map_err(io_error(&path))?;
        let unsigned = || RegistryError::Signature(name.to_owned());
        let signature = fs::read_to_string(folder.join(SIGNATURE)).map_err(|_| unsigned())?;
        let signature = hex::decode(signature.trim())
            .ok()
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or_else(unsigned)?;
        let keys = self.keys()?;
        if keys.is_empty() {
            return Err(RegistryError::NoKeys(
                self.keys_folder().display().to_string(),
            ));
        }
        let (signed_by, _) = keys
            .into_iter()
            .find(|(_, key)| key.verify(&bytes, &signature).is_ok())
            .ok_or_else(unsigned)?;
        let manifest = Manifest::read(&bytes).map_err(|rule| RegistryError::Manifest {
            model: name.to_owned(),
            rule,
        })?;
        Ok(Model {
            manifest,
            signed_by,
            digest: hex::encode(Sha256::digest(&bytes)),
            folder: folder.to_owned(),
        })
    }

    /// Every model that is there, in order of names, each usable or with what is wrong.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn list(&self) -> Result<Vec<(String, Result<Model>)>> {
        let mut found: Vec<String> = entries(&self.folder)?
            .into_iter()
            .filter(|path| path.join(MANIFEST).exists())
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        found.sort();
        Ok(found
            .into_iter()
            .map(|id| {
                let model = self.model(&id);
                (id, model)
            })
            .collect())
    }

    /// Which models serve.
    ///
    /// # Errors
    /// When the file is there and is not what it should be.
    pub fn enabled(&self) -> Result<Enabled> {
        let path = self.folder.join(ENABLED);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|e| io_error(&path)(io::Error::other(e))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Enabled::default()),
            Err(e) => Err(io_error(&path)(e)),
        }
    }

    /// Says which models serve. The daemon sees it within a second or two.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn enable(&self, enabled: &Enabled) -> Result<()> {
        let path = self.folder.join(ENABLED);
        let text = toml::to_string(enabled).map_err(|e| io_error(&path)(io::Error::other(e)))?;
        replace(&path, text.as_bytes())
    }

    /// Stores how a model did.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn store(&self, model: &Model, evaluation: &Evaluation) -> Result<()> {
        let path = model.folder.join(EVALUATION);
        let text = serde_json::to_vec_pretty(evaluation)
            .map_err(|e| io_error(&path)(io::Error::other(e)))?;
        replace(&path, &text)
    }

    /// Changes whenever something that the daemon goes by may have changed.
    pub fn stamp(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        let enabled = self.enabled().unwrap_or_default();
        let mut files = vec![self.folder.join(ENABLED), self.keys_folder()];
        for id in [enabled.writing, enabled.sorting].into_iter().flatten() {
            let folder = self.model_folder(&id);
            files.extend([MANIFEST, SIGNATURE, EVALUATION].map(|name| folder.join(name)));
            files.push(folder);
        }
        let one = |path: PathBuf| match fs::metadata(&path) {
            Ok(m) => format!("{}.{}.{}.{};", m.ino(), m.mtime(), m.mtime_nsec(), m.len()),
            Err(_) => "-;".to_owned(),
        };
        files.into_iter().map(one).collect()
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_error(folder)(e)),
    };
    read.map(|entry| entry.map(|e| e.path()).map_err(io_error(folder)))
        .collect()
}

/// Writes a whole file over what was there, or leaves that.
///
/// # Errors
/// When it can't be written; what was there stays.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(|error| {
        // Half a file that nobody reads; the error that counts is the first.
        let _ = fs::remove_file(&draft);
        io_error(path)(error)
    })
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it can't be read.
pub fn digest_of(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).map_err(io_error(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io_error(path)(e)),
        }
    }
}

/// The signature over a manifest's bytes, as its file holds it.
pub fn sign(manifest: &[u8], key: &SigningKey) -> String {
    use ed25519_dalek::Signer;
    format!("{}\n", hex::encode(key.sign(manifest).to_bytes()))
}

#[cfg(test)]
mod tests;
