//! `model evaluate`: loads a model beside the one that serves, in a drafting service of its own, and measures it.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hadada_model_registry::{Evaluation, Figure, Model, Purpose, Registry};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::registry;
use crate::admin::Socket;
use crate::commands::Outcome;
use crate::place::Place;

/// How long a model may take to load.
const LOADING: Duration = Duration::from_secs(600);

/// What `hadada evaluate-drafting` writes.
#[derive(Deserialize)]
struct Report {
    prompt_version: String,
    figures: Vec<Figure>,
}

/// Measures, prints a table and stores the result beside the manifest.
///
/// # Errors
/// When the model is not whole, can't be loaded, or the measuring itself fails. A model that is measured and found wanting
/// is no error but a fault.
pub async fn evaluate(place: &Place, id: &str, now: OffsetDateTime) -> Result<Outcome> {
    let registry = registry(place);
    let model = registry.model(id)?;
    if model.manifest.purpose != Purpose::Writing {
        bail!("{id} sorts; only models that write are evaluated");
    }
    println!("checking the files of {id}");
    model.check_files()?;
    let sorting = sorting(&registry)?;
    println!("loading {id} in a drafting service of its own; the one that serves goes on");
    let service = Service::start(place, &model, sorting.as_deref())?;
    let health = service.wait().await?;
    let device = health["device"].as_str().unwrap_or("?").to_owned();
    let mut figures = vec![Figure {
        name: "known answers of the worker's own test".into(),
        // The service only gets ready when the worker has passed it.
        value: 1.0,
        at_least: Some(1.0),
        at_most: None,
        cases: 1,
    }];
    figures.extend(known_answers(&service.socket, &model).await?);
    let report = drafting(&service)?;
    figures.extend(report.figures);
    drop(service);
    let passed = figures.iter().all(Figure::passes);
    let evaluation = Evaluation {
        model: model.digest.clone(),
        at: now.format(&Rfc3339).unwrap_or_default(),
        device,
        prompt_version: report.prompt_version,
        figures,
        passed,
    };
    registry.store(&model, &evaluation)?;
    print_table(id, &evaluation);
    if passed {
        println!("\n{id} passed. `hadadactl model enable {id}` lets it write.");
        Ok(Outcome::Good)
    } else {
        println!(
            "\n{id} did not pass, so it may not write here. Sorting and the clinicians' own words work without it."
        );
        Ok(Outcome::Fault)
    }
}

/// The sorting model to draft with: the one that is enabled.
fn sorting(registry: &Registry) -> Result<Option<PathBuf>> {
    match registry.enabled()?.sorting {
        None => {
            println!("No sorting model is enabled, so statements are sorted by words alone.");
            Ok(None)
        }
        Some(id) => {
            let model = registry.model(&id)?;
            model.check_files()?;
            Ok(Some(model.weights()))
        }
    }
}

fn print_table(id: &str, evaluation: &Evaluation) {
    println!("\n{id} on {}:", evaluation.device);
    for figure in &evaluation.figures {
        let bound = match (figure.at_least, figure.at_most) {
            (Some(least), _) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => String::new(),
        };
        let verdict = match (bound.is_empty(), figure.passes()) {
            (true, _) => "",
            (false, true) => "ok",
            (false, false) => "FAILS",
        };
        println!(
            "  {:44} {:10.3} of {:4}   {bound:14} {verdict}",
            figure.name, figure.value, figure.cases
        );
    }
}

/// Asks the questions whose answers the manifest knows.
async fn known_answers(socket: &Path, model: &Model) -> Result<Option<Figure>> {
    let known = &model.manifest.known_answers;
    if known.is_empty() {
        return Ok(None);
    }
    let socket = Socket::new(socket.to_path_buf());
    let mut right = 0;
    for question in known {
        // A token has at least one byte, so this many are enough for the whole answer.
        let body = json!({"prompt": question.prompt, "temperature": 0, "max_tokens": question.answer.len() + 1});
        let answer = socket.post("/v1/completions", &body).await?;
        let text = answer["choices"][0]["text"].as_str().unwrap_or_default();
        right += usize::from(text.starts_with(&question.answer));
    }
    Ok(Some(Figure {
        name: "known answers of the manifest".into(),
        value: right as f64 / known.len() as f64,
        at_least: Some(1.0),
        at_most: None,
        cases: known.len() as u64,
    }))
}

fn drafting(service: &Service) -> Result<Report> {
    let program = beside("hadada")?;
    let mut command = Command::new(&program);
    service.as_its_user(&mut command);
    let output = command
        .arg("evaluate-drafting")
        .arg("--socket")
        .arg(&service.socket)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't start {}", program.display()))?;
    if !output.status.success() {
        bail!("the drafts could not be measured; the reason is above");
    }
    serde_json::from_slice(&output.stdout).context("the measures can't be read")
}

/// A program that is installed beside this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding my own program file")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!(
            "{} is missing: it is installed beside hadadactl",
            path.display()
        );
    }
    Ok(path)
}

/// A drafting service of this command's own, which ends with it.
struct Service {
    child: Child,
    folder: PathBuf,
    socket: PathBuf,
    /// Run as root, models are read by the account that the services run as, and by nobody more powerful.
    user: Option<(u32, u32)>,
}

impl Service {
    fn start(place: &Place, model: &Model, sorting: Option<&Path>) -> Result<Service> {
        let program = beside("hadada-inference")?;
        let folder = place
            .run()
            .join(format!("evaluation.{}", std::process::id()));
        crate::files::make_folder(&folder, 0o700)?;
        let owner = fs::metadata(place.run())?;
        let user = (rustix::process::geteuid().is_root() && owner.uid() != 0)
            .then(|| (owner.uid(), owner.gid()));
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid))?;
        }
        let socket = folder.join("s");
        let mut command = Command::new(&program);
        command
            .arg("--socket")
            .arg(&socket)
            .arg("--model")
            .arg(model.weights());
        if let Some(sorting) = sorting {
            command.arg("--embedding-model").arg(sorting);
        }
        if let Some(tokens) = model.manifest.cache_tokens {
            command.arg("--cache-tokens").arg(tokens.to_string());
        }
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        let child = command
            .env("HADADA_INFERENCE_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        Ok(Service {
            child,
            folder,
            socket,
            user,
        })
    }

    fn as_its_user(&self, command: &mut Command) {
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
    }

    /// Waits until the model is loaded, and gives its health.
    async fn wait(&self) -> Result<Value> {
        let socket = Socket::new(self.socket.clone());
        let begun = Instant::now();
        while begun.elapsed() < LOADING {
            if let Ok(health) = socket.status("/health").await {
                match health["state"].as_str() {
                    Some("ready" | "degraded") => return Ok(health),
                    Some("down") => bail!(
                        "the model can't be loaded: {}",
                        health["reason"].as_str().unwrap_or("no reason is known")
                    ),
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!(
            "the model was not loaded after {} minutes",
            LOADING.as_secs() / 60
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
