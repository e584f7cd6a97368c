//! What is to be served: the models that are enabled, or why one is not.

use crate::config::Models;
use hadada_model_registry::{Model, Purpose, Registry};
use std::path::PathBuf;

/// One model for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name on the API.
    pub name: String,
    /// The file or folder.
    pub path: PathBuf,
    /// Files that must have a content: SHA-256 and path.
    pub expect: Vec<(String, PathBuf)>,
}

/// What a worker is started for. Two plans that are equal are served by the same worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The model that writes.
    pub writing: Option<Part>,
    /// The model that sorts.
    pub sorting: Option<Part>,
    /// Why one of them is missing.
    pub flaw: Option<String>,
    /// Tokens of the cache, where the model asks for some number.
    pub cache_tokens: Option<u32>,
}

impl Plan {
    /// Whether a worker of `other` would serve this one as well.
    pub fn same_models(&self, other: &Plan) -> bool {
        (&self.writing, &self.sorting) == (&other.writing, &other.sorting)
    }

    /// The name of the model that writes, for people.
    pub fn name(&self) -> &str {
        self.writing.as_ref().map_or("no model", |part| &part.name)
    }

    /// Whether there is anything to start a worker for.
    pub fn is_empty(&self) -> bool {
        self.writing.is_none() && self.sorting.is_none()
    }
}

/// Makes plans, and notices when there may be a new one.
pub struct Planner {
    models: Models,
    stamp: String,
}

impl Planner {
    /// For these models.
    pub fn new(models: Models) -> Planner {
        Planner {
            models,
            stamp: String::new(),
        }
    }

    /// A plan, if it may be another than the last one made.
    pub fn look(&mut self) -> Option<Plan> {
        match &self.models {
            Models::Files { model, embedding } => {
                if !self.stamp.is_empty() {
                    return None;
                }
                self.stamp = "files".into();
                let plain = |path: &PathBuf| Part {
                    name: path
                        .file_stem()
                        .map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned()),
                    path: path.clone(),
                    expect: Vec::new(),
                };
                Some(Plan {
                    writing: Some(plain(model)),
                    sorting: embedding.as_ref().map(plain),
                    ..Plan::default()
                })
            }
            Models::Folder(folder) => {
                let registry = Registry::new(folder);
                let stamp = registry.stamp();
                if stamp == self.stamp {
                    return None;
                }
                self.stamp = stamp;
                Some(enabled(&registry))
            }
        }
    }
}

fn enabled(registry: &Registry) -> Plan {
    let mut plan = Plan::default();
    let mut flaws = Vec::new();
    let chosen = match registry.enabled() {
        Ok(chosen) => chosen,
        Err(error) => {
            plan.flaw = Some(format!("what is enabled can't be read: {error}"));
            return plan;
        }
    };
    match chosen.writing {
        None => flaws.push(
            "no model is enabled for writing; IT enables one with `hadadactl model enable`"
                .to_owned(),
        ),
        Some(id) => match registry
            .model(&id)
            .and_then(|model| model.may_write().map(|()| model))
        {
            Ok(model) => {
                plan.cache_tokens = model.manifest.cache_tokens;
                plan.writing = Some(part(&model));
            }
            Err(error) => flaws.push(error.to_string()),
        },
    }
    if let Some(id) = chosen.sorting {
        match registry.model(&id) {
            Ok(model) if model.manifest.purpose == Purpose::Sorting => {
                plan.sorting = Some(part(&model));
            }
            Ok(_) => flaws.push(format!("'{id}' is no model that sorts")),
            Err(error) => flaws.push(error.to_string()),
        }
    }
    if !flaws.is_empty() {
        plan.flaw = Some(flaws.join("; "));
    }
    plan
}

fn part(model: &Model) -> Part {
    Part {
        name: model.manifest.id.clone(),
        path: model.weights(),
        expect: model
            .manifest
            .files
            .iter()
            .map(|file| (file.sha256.clone(), model.path(file)))
            .collect(),
    }
}
