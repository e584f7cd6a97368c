//! Signing keys: each person holds one, in a file that a passphrase opens; its public half goes into the root metadata.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};
use tough::schema::RoleType;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use zeroize::Zeroizing;

use crate::files;

/// Argon2id with 64 MiB and three passes: about a quarter of a second a guess.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;

/// A key's public half, as it is handed around.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// What it signs.
    pub role: RoleType,
    /// Who holds it.
    pub holder: String,
    /// Ed25519, in hex.
    pub public: String,
}

impl PublicKey {
    /// As TUF writes it.
    ///
    /// # Errors
    /// When it is no Ed25519 key.
    pub fn tuf(&self) -> Result<Key> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.public, &mut bytes)
            .with_context(|| format!("the key of {} is not 64 hex digits", self.holder))?;
        ed25519_dalek::VerifyingKey::from_bytes(&bytes)
            .with_context(|| format!("the key of {} is no Ed25519 key", self.holder))?;
        Ok(Key::Ed25519 {
            keyval: Ed25519Key {
                public: Decoded::from(bytes.to_vec()),
                _extra: HashMap::new(),
            },
            scheme: Ed25519Scheme::Ed25519,
            _extra: HashMap::new(),
        })
    }

    /// Its TUF key id.
    ///
    /// # Errors
    /// As [`PublicKey::tuf`].
    pub fn id(&self) -> Result<Decoded<Hex>> {
        Ok(self.tuf()?.key_id()?)
    }

    /// Reads one from its file.
    ///
    /// # Errors
    /// When the file is not there or is none.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read_if_there(path)?
            .with_context(|| format!("there is no {}", path.display()))?;
        let key: Self = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not a public release key", path.display()))?;
        key.tuf()?;
        Ok(key)
    }
}

/// The file of a key: all but the sealed secret is public.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(flatten)]
    public: PublicKey,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

/// An opened key.
pub struct ReleaseKey {
    /// Its public half.
    pub public: PublicKey,
    secret: SigningKey,
}

impl ReleaseKey {
    /// Signs bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.secret.sign(bytes).to_bytes().to_vec()
    }
}

/// Makes a key in `folder`: `ROLE-HOLDER.key`, and `ROLE-HOLDER.pub` to hand out. Gives the latter's path.
///
/// # Errors
/// When there is one already, or the name is none.
pub fn create(folder: &Path, role: RoleType, holder: &str, passphrase: &str) -> Result<PathBuf> {
    ensure!(
        !holder.is_empty()
            && holder.len() <= 40
            && holder
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        "{holder:?} can't be in a file's name: letters, digits and - only"
    );
    let mut seed = Zeroizing::new([0; 32]);
    let (mut salt, mut nonce) = ([0; 16], [0; 12]);
    for bytes in [&mut seed[..], &mut salt[..], &mut nonce[..]] {
        getrandom::fill(bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    }
    let secret = SigningKey::from_bytes(&seed);
    let public = PublicKey {
        role,
        holder: holder.into(),
        public: hex::encode(secret.verifying_key().to_bytes()),
    };
    let sealed = cipher(passphrase, &salt, MEMORY_KIB, PASSES)?
        .encrypt(
            &Nonce::from(nonce),
            Payload {
                msg: &seed[..],
                aad: &bound(&public),
            },
        )
        .map_err(|_| anyhow!("the key could not be sealed"))?;
    let file = KeyFile {
        public: public.clone(),
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        sealed: hex::encode(sealed),
    };
    files::make_folder(folder, 0o700)?;
    let name = format!("{role}-{holder}");
    files::create(
        &folder.join(format!("{name}.key")),
        0o600,
        &serde_json::to_vec_pretty(&file)?,
    )?;
    let path = folder.join(format!("{name}.pub"));
    files::create(&path, 0o644, &serde_json::to_vec_pretty(&public)?)?;
    Ok(path)
}

/// Opens a key's file.
///
/// # Errors
/// When it is none, or the passphrase is another.
pub fn open(path: &Path, passphrase: &str) -> Result<ReleaseKey> {
    let file = read(path)?;
    let part = |name: &str, text: &str| {
        hex::decode(text).with_context(|| format!("{}: {name} is damaged", path.display()))
    };
    let (salt, nonce, sealed) = (
        part("salt", &file.salt)?,
        part("nonce", &file.nonce)?,
        part("sealed", &file.sealed)?,
    );
    let nonce: [u8; 12] = nonce
        .try_into()
        .map_err(|_| anyhow!("{}: nonce is damaged", path.display()))?;
    // What the file asks for must not be able to hang the machine.
    ensure!(
        file.memory_kib <= 1 << 20 && file.passes <= 64,
        "{} asks for more work than any of our keys",
        path.display()
    );
    let opened = cipher(passphrase, &salt, file.memory_kib, file.passes)?.decrypt(
        &Nonce::from(nonce),
        Payload {
            msg: &sealed,
            aad: &bound(&file.public),
        },
    );
    let Ok(seed) = opened.map(Zeroizing::new) else {
        bail!(
            "this is not the passphrase of {}, or the file is damaged",
            path.display()
        );
    };
    let seed: [u8; 32] = seed
        .as_slice()
        .try_into()
        .map_err(|_| anyhow!("{} holds no Ed25519 key", path.display()))?;
    let secret = SigningKey::from_bytes(&seed);
    ensure!(
        hex::encode(secret.verifying_key().to_bytes()) == file.public.public,
        "{} does not hold the key it names",
        path.display()
    );
    Ok(ReleaseKey {
        public: file.public,
        secret,
    })
}

/// What a key's file says without its passphrase.
///
/// # Errors
/// When it is not a key's file.
pub fn peek(path: &Path) -> Result<PublicKey> {
    Ok(read(path)?.public)
}

fn read(path: &Path) -> Result<KeyFile> {
    let bytes =
        files::read_if_there(path)?.with_context(|| format!("there is no {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is not a release key", path.display()))
}

fn bound(public: &PublicKey) -> Vec<u8> {
    format!(
        "hadada release key v1\0{}\0{}\0{}",
        public.role, public.holder, public.public
    )
    .into_bytes()
}

fn cipher(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<Aes256Gcm> {
    let params = argon2::Params::new(memory_kib, passes, 1, Some(32))
        .map_err(|error| anyhow!("the key's settings are wrong: {error}"))?;
    let mut key = Zeroizing::new([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key[..])
        .map_err(|error| anyhow!("the passphrase can't be used: {error}"))?;
    Aes256Gcm::new_from_slice(&key[..]).map_err(|_| anyhow!("the key has a wrong length"))
}
