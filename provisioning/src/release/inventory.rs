//! What a release is made of: a CycloneDX list from the two lock files, and the licences of all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::version::Version;

/// A third party's package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    /// `cargo` or `npm`.
    kind: &'static str,
    name: String,
    version: String,
    /// Algorithm and hash in hex, as the lock file has it.
    hash: Option<(&'static str, String)>,
    /// Only used while building.
    build_only: bool,
    licence: Option<String>,
}

/// Everything from third parties.
pub struct Inventory {
    packages: BTreeSet<Package>,
    /// Licence texts, each with the packages it came with.
    texts: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct CargoLock {
    #[serde(rename = "package")]
    packages: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct NpmLock {
    packages: BTreeMap<String, NpmPackage>,
}

#[derive(Deserialize)]
struct NpmPackage {
    version: Option<String>,
    integrity: Option<String>,
    license: Option<String>,
    #[serde(default)]
    dev: bool,
}

/// The part of `cargo metadata` that is of use here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

impl Inventory {
    /// Reads the lock files of the sources in `root`; `metadata` is what `cargo metadata` wrote, for licences.
    ///
    /// # Errors
    /// When a lock file is missing or can't be read.
    pub fn read(root: &Path, metadata: Option<&Path>) -> Result<Self> {
        let text = |name: &str| {
            let path = root.join(name);
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
        };
        let described: BTreeMap<(String, String), Described> = match metadata {
            Some(path) => {
                let json =
                    fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
                let metadata: Metadata = serde_json::from_slice(&json)
                    .with_context(|| format!("{} is not cargo's metadata", path.display()))?;
                metadata
                    .packages
                    .into_iter()
                    .map(|package| ((package.name.clone(), package.version.clone()), package))
                    .collect()
            }
            None => BTreeMap::new(),
        };
        let mut inventory = Self {
            packages: BTreeSet::new(),
            texts: BTreeMap::new(),
        };
        let cargo: CargoLock = toml::from_str(&text("Cargo.lock")?).context("Cargo.lock")?;
        // Packages without a source are our own.
        for package in cargo
            .packages
            .into_iter()
            .filter(|package| package.source.is_some())
        {
            let described = described.get(&(package.name.clone(), package.version.clone()));
            if let Some(folder) = described.and_then(|described| described.manifest_path.parent()) {
                inventory.collect_texts(folder, &format!("{} {}", package.name, package.version));
            }
            inventory.packages.insert(Package {
                kind: "cargo",
                name: package.name,
                version: package.version,
                hash: package.checksum.map(|hash| ("SHA-256", hash)),
                build_only: false,
                licence: described.and_then(|described| described.license.clone()),
            });
        }
        let npm: NpmLock =
            serde_json::from_str(&text("package-lock.json")?).context("package-lock.json")?;
        for (path, package) in npm.packages {
            let (Some((_, name)), Some(version)) =
                (path.rsplit_once("node_modules/"), package.version)
            else {
                continue;
            };
            if !package.dev {
                inventory.collect_texts(&root.join(&path), &format!("{name} {version}"));
            }
            let hash = package
                .integrity
                .and_then(|integrity| base64_hex(integrity.strip_prefix("sha512-")?))
                .map(|hash| ("SHA-512", hash));
            inventory.packages.insert(Package {
                kind: "npm",
                name: name.into(),
                version,
                hash,
                build_only: package.dev,
                licence: package.license,
            });
        }
        ensure!(
            !inventory.packages.is_empty(),
            "the lock files name no packages"
        );
        Ok(inventory)
    }

    fn collect_texts(&mut self, folder: &Path, package: &str) {
        // A package whose texts are not on this machine is still listed with its licence's name.
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().to_uppercase();
            if ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"]
                .iter()
                .any(|word| name.starts_with(word))
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                self.texts
                    .entry(text.replace("\r\n", "\n").trim().to_owned())
                    .or_default()
                    .insert(package.to_owned());
            }
        }
    }

    /// The list as CycloneDX 1.6. It has no date: the same sources make the same bytes.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn cyclonedx(&self, version: Version) -> Result<Vec<u8>> {
        let components: Vec<Value> = self.packages.iter().map(component).collect();
        let own = format!("pkg:generic/hadada@{version}");
        let mut document = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": own,
                    "name": "hadada",
                    "version": version,
                },
            },
            "components": components,
        });
        let hash = Sha256::digest(serde_json::to_vec(&document)?);
        let hex = hex::encode(hash);
        // A random UUID would differ between two builds; this one has the random kind's form.
        if let Value::Object(document) = &mut document {
            let serial = format!(
                "urn:uuid:{}-{}-4{}-8{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[13..16],
                &hex[17..20],
                &hex[20..32]
            );
            document.insert("serialNumber".into(), serial.into());
        }
        let mut bytes = serde_json::to_vec_pretty(&document)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The licences as a text for people.
    pub fn licences(&self) -> Vec<u8> {
        let mut text = String::from(
            "Hadada is built from these packages of others, under these licences.\n\n",
        );
        for package in self.packages.iter().filter(|package| !package.build_only) {
            let licence = package.licence.as_deref().unwrap_or("see its source");
            text.push_str(&format!(
                "{} {} ({}): {licence}\n",
                package.name, package.version, package.kind
            ));
        }
        for (licence, packages) in &self.texts {
            let rule = "=".repeat(100);
            let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
            text.push_str(&format!(
                "\n{rule}\n{}\n{rule}\n\n{licence}\n",
                packages.join(", ")
            ));
        }
        text.into_bytes()
    }
}

fn component(package: &Package) -> Value {
    let name = package.name.replace('@', "%40");
    let purl = format!(
        "pkg:{}/{name}@{}",
        package.kind,
        package.version.replace('+', "%2B")
    );
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "scope": if package.build_only { "excluded" } else { "required" },
    });
    if let Value::Object(fields) = &mut component {
        if let Some((algorithm, hash)) = &package.hash {
            fields.insert(
                "hashes".into(),
                json!([{ "alg": algorithm, "content": hash }]),
            );
        }
        if let Some(licence) = &package.licence {
            // Cargo's old way to say "or".
            fields.insert(
                "licenses".into(),
                json!([{ "expression": licence.replace('/', " OR ") }]),
            );
        }
    }
    component
}

/// Base64 with padding, as hex.
fn base64_hex(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        let mut letters = 0;
        for letter in group.iter().filter(|letter| **letter != b'=') {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
            letters += 1;
        }
        bits <<= 6 * (4 - letters);
        bytes.extend(bits.to_be_bytes().get(1..letters)?);
    }
    Some(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_hashes_are_read() {
        assert_eq!(base64_hex("aGFkYWRh").unwrap(), hex::encode("hadada"));
        assert_eq!(base64_hex("aGFkYWQ=").unwrap(), hex::encode("hadad"));
        assert_eq!(base64_hex("aGFkYQ==").unwrap(), hex::encode("hada"));
        assert_eq!(base64_hex("a*=="), None);
    }
}
