//! `model add`: brings a model into the folder, from its vendor or by the clinic's own IT person.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use ed25519_dalek::SigningKey;
use hadada_model_registry::{
    FileEntry, MANIFEST, Manifest, Model, Purpose, Registry, SIGNATURE, digest_of, sign,
};
use zeroize::Zeroizing;

use super::{folder_of, purpose_name, registry};
use crate::commands::Outcome;
use crate::files;
use crate::place::Place;
use crate::secrets::{self, MODELS_KEY};

/// The name of this box's own key among those that are trusted.
const OWN_KEY: &str = "box.pub";

/// Copies a vendor's model, checked: its manifest must be signed by a trusted key, and each file be the one it names.
///
/// # Errors
/// When a signature or a file is not good; nothing is left behind then.
pub fn add(place: &Place, source: &Path) -> Result<Outcome> {
    let registry = registry(place);
    if !source.join(MANIFEST).exists() {
        bail!(
            "{} holds no {MANIFEST}. A vendor's model comes as a folder with {MANIFEST}, {SIGNATURE} and its files; a model of your own is added with --by-it",
            source.display()
        );
    }
    let model = registry.open(source, &source.display().to_string())?;
    println!("The manifest is signed by {}.", model.signed_by);
    put(&registry, &model, |file| source.join(&file.name))
}

/// What IT says of a model it adds itself.
pub struct ByIt {
    /// The GGUF file, or the folder of a sorting model.
    pub source: PathBuf,
    /// The model's name.
    pub id: Option<String>,
    /// Its licence.
    pub licence: String,
    /// The kind of network.
    pub architecture: Option<String>,
    /// The most tokens it was trained for.
    pub context: Option<u32>,
    /// Tokens of keys and values its cache should hold.
    pub cache_tokens: Option<u32>,
}

/// Adds a model that no vendor signed: it is marked as added by IT, and signed with this box's own key, so that a later
/// change of its files shows all the same.
///
/// # Errors
/// When a file is missing or can't be read; nothing is left behind then.
pub fn add_by_it(place: &Place, wish: &ByIt) -> Result<Outcome> {
    let registry = registry(place);
    let key = own_key(place, &registry)?;
    let folder = wish.source.is_dir();
    let (purpose, sources) = if folder {
        let names = ["model.safetensors", "tokenizer.json", "config.json"];
        (
            Purpose::Sorting,
            names.map(|n| wish.source.join(n)).to_vec(),
        )
    } else {
        (Purpose::Writing, vec![wish.source.clone()])
    };
    let id = match &wish.id {
        Some(id) => id.clone(),
        None => wish
            .source
            .file_stem()
            .map(|s| s.to_string_lossy().to_lowercase())
            .context("the source has no name: give --id")?,
    };
    let mut entries = Vec::new();
    for path in &sources {
        let name = path
            .file_name()
            .with_context(|| format!("{} names no file", path.display()))?;
        println!("reading {}", path.display());
        entries.push(FileEntry {
            name: name.to_string_lossy().into_owned(),
            sha256: digest_of(path)?,
            bytes: fs::metadata(path)?.len(),
        });
    }
    let default = if folder { "bert" } else { "as its file says" };
    let manifest = Manifest {
        id: id.clone(),
        purpose,
        licence: wish.licence.clone(),
        architecture: wish.architecture.clone().unwrap_or_else(|| default.into()),
        context: wish.context,
        template: (!folder).then(|| "file".into()),
        source: None,
        added_by_it: true,
        cache_tokens: wish.cache_tokens,
        files: entries,
        known_answers: Vec::new(),
    };
    let text = manifest
        .write()
        .map_err(|rule| anyhow!("the model can't be described: {rule}"))?;
    // The manifest is written where a vendor's would lie, so that both go the same way from here.
    let draft = registry
        .folder()
        .join(format!(".{id}.{}.manifest", std::process::id()));
    let made = (|| {
        files::make_folder(&draft, 0o700)?;
        fs::write(draft.join(MANIFEST), &text)?;
        fs::write(draft.join(SIGNATURE), sign(text.as_bytes(), &key))?;
        let model = registry.open(&draft, &id)?;
        put(&registry, &model, |file| {
            sources
                .iter()
                .find(|path| path.file_name().is_some_and(|n| n == file.name.as_str()))
                .cloned()
                .unwrap_or_default()
        })
    })();
    // A leftover here would only be clutter; the result is what counts.
    let _ = fs::remove_dir_all(&draft);
    made
}

/// Copies a model's files into its folder, which appears whole or not at all.
fn put(
    registry: &Registry,
    model: &Model,
    source: impl Fn(&FileEntry) -> PathBuf,
) -> Result<Outcome> {
    let id = &model.manifest.id;
    let target = folder_of(registry, id)?;
    let draft = registry
        .folder()
        .join(format!(".{id}.{}.new", std::process::id()));
    let copied = (|| {
        files::make_folder(&draft, 0o755)?;
        for name in [MANIFEST, SIGNATURE] {
            fs::copy(model.folder.join(name), draft.join(name))
                .with_context(|| format!("can't copy {name}"))?;
        }
        for file in &model.manifest.files {
            let (from, to) = (source(file), draft.join(&file.name));
            println!("copying {} ({} MB)", file.name, file.bytes / 1_000_000);
            fs::copy(&from, &to).with_context(|| format!("can't copy {}", from.display()))?;
            fs::File::open(&to)?.sync_all()?;
        }
        // What was copied is what is checked: not even a disk fault on the way goes unseen.
        let copy = registry.open(&draft, id)?;
        copy.check_files()?;
        for file in model
            .manifest
            .files
            .iter()
            .map(|f| f.name.as_str())
            .chain([MANIFEST, SIGNATURE])
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(draft.join(file), fs::Permissions::from_mode(0o644))?;
        }
        fs::rename(&draft, &target).with_context(|| format!("can't make {}", target.display()))
    })();
    if let Err(error) = copied {
        let _ = fs::remove_dir_all(&draft);
        return Err(error.context("the model was not added"));
    }
    println!(
        "{id} is there; it {}. Next: {}",
        purpose_name(model.manifest.purpose),
        match model.manifest.purpose {
            Purpose::Writing =>
                format!("`hadadactl model evaluate {id}`, then `hadadactl model enable {id}`"),
            Purpose::Sorting => format!("`hadadactl model enable {id}`"),
        }
    );
    Ok(Outcome::Good)
}

/// This box's own key for models, made when it is first needed; its public half becomes a trusted one.
fn own_key(place: &Place, registry: &Registry) -> Result<SigningKey> {
    let secret = match secrets::read(place, MODELS_KEY)? {
        Some(_) => secrets::key(place, MODELS_KEY)?,
        None => {
            let mut secret = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *secret)
                .map_err(|error| anyhow!("this machine gives no random numbers: {error}"))?;
            if !place.is_installed() {
                files::make_folder(&place.keys(), 0o700)?;
            }
            secrets::create(place, MODELS_KEY, &*secret)?;
            println!(
                "made   this box's key for models: {}",
                secrets::path(place, MODELS_KEY).display()
            );
            secret
        }
    };
    let key = SigningKey::from_bytes(&secret);
    files::make_folder(registry.folder(), 0o755)?;
    files::make_folder(&registry.keys_folder(), 0o755)?;
    let public = format!("{}\n", hex::encode(key.verifying_key().to_bytes()));
    files::replace(
        &registry.keys_folder().join(OWN_KEY),
        0o644,
        public.as_bytes(),
    )?;
    Ok(key)
}
