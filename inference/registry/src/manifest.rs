//! What a model says of itself.

use serde::{Deserialize, Serialize};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It writes text: a GGUF file.
    Writing,
    /// It turns text into vectors, by which statements are sorted: model.safetensors, tokenizer.json, config.json.
    Sorting,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name; no folder.
    pub name: String,
    /// SHA-256, 64 hex digits in small letters.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A text and how the model goes on from it when it always takes the likeliest token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAnswer {
    /// The text, special tokens by name.
    pub prompt: String,
    /// What comes next.
    pub answer: String,
}

/// A model, as its vendor or the clinic's IT person describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name on the API and on pages: small letters, digits, `.`, `_`, `-`.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Its licence's SPDX name, or a word for it.
    pub licence: String,
    /// The kind of network: `llama`, `mistral`, `qwen2`, `bert`.
    pub architecture: String,
    /// The most tokens it was trained for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// How a conversation is laid out; `file` where the model's file says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Where it comes from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Added by the clinic's IT person, not by a vendor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub added_by_it: bool,
    /// Tokens of keys and values its cache should hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_tokens: Option<u32>,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// What it is known to answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_answers: Vec<KnownAnswer>,
}

/// Whether a text can name a model: it becomes a folder's name.
pub fn is_id(text: &str) -> bool {
    let good =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(good)
        && text != "keys"
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn read(bytes: &[u8]) -> Result<Manifest, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let manifest: Manifest = toml::from_str(text).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Its text, as it is signed.
    ///
    /// # Errors
    /// When a rule is broken.
    pub fn write(&self) -> Result<String, String> {
        self.check()?;
        toml::to_string(self).map_err(|e| e.to_string())
    }

    fn check(&self) -> Result<(), String> {
        if !is_id(&self.id) {
            return Err(format!(
                "id: '{}' is no name; small letters, digits, '.', '_' and '-' make one",
                self.id
            ));
        }
        if self.licence.trim().is_empty() {
            return Err("licence: it is empty".into());
        }
        for file in &self.files {
            let name = &file.name;
            let plain = !name.is_empty()
                && !name.starts_with('.')
                && !name.contains(['/', '\\', '\0', ':'])
                && ![super::MANIFEST, super::SIGNATURE, super::EVALUATION].contains(&name.as_str());
            if !plain {
                return Err(format!("files: '{name}' is no plain file name"));
            }
            let hex = file.sha256.len() == 64
                && file
                    .sha256
                    .chars()
                    .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
            if !hex {
                return Err(format!(
                    "files: the SHA-256 of '{name}' is not 64 hex digits in small letters"
                ));
            }
            if self.files.iter().filter(|f| f.name == *name).count() > 1 {
                return Err(format!("files: '{name}' is there twice"));
            }
        }
        let names: Vec<&str> = self.files.iter().map(|f| f.name.as_str()).collect();
        match self.purpose {
            Purpose::Writing if names.iter().filter(|n| n.ends_with(".gguf")).count() != 1 => {
                Err("files: a writing model has exactly one .gguf file".into())
            }
            Purpose::Sorting => ["model.safetensors", "tokenizer.json", "config.json"]
                .iter()
                .find(|n| !names.contains(n))
                .map_or(Ok(()), |n| Err(format!("files: a sorting model has a {n}"))),
            Purpose::Writing => Ok(()),
        }
    }
}
