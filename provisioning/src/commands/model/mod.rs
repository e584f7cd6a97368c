//! `model …`: the folder of models, which the inference daemon only reads.

mod add;
mod evaluate;

pub use add::{ByIt, add, add_by_it};
pub use evaluate::evaluate;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hadada_model_registry::{Model, Purpose, Registry};

use super::Outcome;
use crate::admin::Socket;
use crate::place::Place;

/// How long `enable` waits for the daemon: a large model takes minutes to load from a slow disk.
const PATIENCE: Duration = Duration::from_secs(300);

fn registry(place: &Place) -> Registry {
    Registry::new(place.models())
}

/// Prints a table of what is there.
///
/// # Errors
/// When the folder can't be read.
pub fn list(place: &Place) -> Result<Outcome> {
    let registry = registry(place);
    let enabled = registry.enabled()?;
    let found = registry.list()?;
    if found.is_empty() {
        println!(
            "No model is in {} yet; `hadadactl model add` brings one.",
            registry.folder().display()
        );
        return Ok(Outcome::Good);
    }
    println!(
        "{:32} {:8} {:12} {:8} {:22} licence",
        "model", "purpose", "signed by", "enabled", "evaluation"
    );
    let mut outcome = Outcome::Good;
    for (id, model) in found {
        match model {
            Ok(model) => {
                let on = [&enabled.writing, &enabled.sorting].contains(&&Some(id.clone()));
                let signed_by = if model.manifest.added_by_it {
                    "added by IT"
                } else {
                    model.signed_by.as_str()
                };
                println!(
                    "{id:32} {:8} {signed_by:12} {:8} {:22} {}",
                    purpose_name(model.manifest.purpose),
                    if on { "yes" } else { "" },
                    evaluation_text(&model),
                    model.manifest.licence,
                );
            }
            Err(error) => {
                println!("{id:32} can't be used: {error}");
                outcome = Outcome::Fault;
            }
        }
    }
    Ok(outcome)
}

fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Writing => "writes",
        Purpose::Sorting => "sorts",
    }
}

fn evaluation_text(model: &Model) -> String {
    if model.manifest.purpose == Purpose::Sorting {
        return "-".into();
    }
    match model.evaluation() {
        Ok(None) => "not yet".into(),
        Ok(Some(e)) if e.model != model.digest => "before it was changed".into(),
        Ok(Some(e)) => format!(
            "{} {}",
            if e.passed { "passed" } else { "failed" },
            e.at.get(..10).unwrap_or_default()
        ),
        Err(_) => "not readable".into(),
    }
}

/// Checks signatures and every file, of one model or of all.
///
/// # Errors
/// When the folder can't be read, or there is no such model.
pub fn verify(place: &Place, id: Option<&str>) -> Result<Outcome> {
    let registry = registry(place);
    let found = match id {
        Some(id) => vec![(id.to_owned(), registry.model(id))],
        None => registry.list()?,
    };
    let mut outcome = Outcome::Good;
    for (id, model) in found {
        match model.and_then(|model| model.check_files().map(|()| model)) {
            Ok(model) => println!(
                "{id}: whole, as signed by {} ({} files)",
                model.signed_by,
                model.manifest.files.len()
            ),
            Err(error) => {
                println!("{id}: {error}");
                outcome = Outcome::Fault;
            }
        }
    }
    Ok(outcome)
}

/// Makes the daemon serve a model, and waits until it does.
///
/// # Errors
/// When the model is not whole, did not pass its evaluation, or the daemon can't load it.
pub async fn enable(place: &Place, id: &str) -> Result<Outcome> {
    let registry = registry(place);
    let model = registry.model(id)?;
    let mut enabled = registry.enabled()?;
    match model.manifest.purpose {
        Purpose::Writing => {
            model.may_write()?;
            enabled.writing = Some(id.to_owned());
        }
        Purpose::Sorting => enabled.sorting = Some(id.to_owned()),
    }
    model.check_files()?;
    registry.enable(&enabled)?;
    println!(
        "{id} is enabled: it {}.",
        purpose_name(model.manifest.purpose)
    );
    let socket = Socket::new(place.inference_socket());
    if crate::admin::listens(&place.inference_socket()).is_err() {
        println!("The drafting service is not running; it will serve it when it starts.");
        return Ok(Outcome::Good);
    }
    let part = match model.manifest.purpose {
        Purpose::Writing => "/model/id",
        Purpose::Sorting => "/embedding_model/id",
    };
    // The daemon looks at the folder every second; until it has, its last word is about the model before.
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < PATIENCE {
        let health = socket.status("/health").await?;
        if health.pointer(part).and_then(|v| v.as_str()) == Some(id) {
            println!("The drafting service serves it.");
            return Ok(Outcome::Good);
        }
        let reason = health
            .get("reason")
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned();
        if reason != last && !reason.is_empty() {
            println!("The drafting service: {reason}");
            last = reason;
        }
        if last.contains("can't be used, and") {
            bail!("the drafting service keeps the model it had; the reason is above");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!(
        "the drafting service does not serve it after {} minutes; its log says more",
        PATIENCE.as_secs() / 60
    )
}

fn folder_of(registry: &Registry, id: &str) -> Result<std::path::PathBuf> {
    let folder = registry.model_folder(id);
    std::fs::create_dir_all(registry.folder())
        .with_context(|| format!("can't make the folder {}", registry.folder().display()))?;
    if folder.exists() {
        bail!(
            "there is a model {id} already: {}. Give the new one another id, or move the old one away",
            folder.display()
        );
    }
    Ok(folder)
}
