//! Requests over TLS, one at a time or on many connections, and what they cost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header;
use serde_json::{Value, json};

use crate::Error;
use crate::people::People;
use crate::process::Server;

/// One person or program with a connection of its own.
#[derive(Clone, Debug)]
pub struct Caller {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Caller {
    pub fn new(base: &str, authority: &[u8]) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(authority)?)
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self {
            client,
            base: base.to_owned(),
            token: None,
        })
    }

    pub fn with_token(base: &str, authority: &[u8], token: &str) -> Result<Self, Error> {
        let mut caller = Self::new(base, authority)?;
        caller.token = Some(token.to_owned());
        Ok(caller)
    }

    pub async fn sign_in(&mut self, name: &str) -> Result<(), Error> {
        let reply = self
            .client
            .post(format!("{}/login", self.base))
            .header(header::ORIGIN, &self.base)
            .form(&[("username", name), ("password", "hadada-demo")])
            .send()
            .await?;
        if reply.status() != 303 {
            return Err(format!("{name} could not sign in: {}", reply.status()).into());
        }
        Ok(())
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request.header(header::ACCEPT_ENCODING, "br, gzip"),
        }
    }

    pub async fn page(&self, path: &str) -> Result<(), Error> {
        let reply = self.request(reqwest::Method::GET, path).send().await?;
        let status = reply.status();
        let body = reply.bytes().await?;
        if status != 200 || body.is_empty() {
            return Err(format!("{path}: {status}").into());
        }
        Ok(())
    }

    pub async fn json(&self, path: &str) -> Result<Value, Error> {
        let reply = self
            .client
            .get(format!("{}{path}", self.base))
            .header(header::ACCEPT, "application/json")
            .send()
            .await?;
        let status = reply.status();
        if status != 200 {
            return Err(format!("{path}: {status}").into());
        }
        Ok(reply.json().await?)
    }

    /// Registers a person; `None` when the practice says that it may have them already.
    async fn register(&self, person: &Value) -> Result<Option<String>, Error> {
        let reply = self
            .request(reqwest::Method::POST, "/api/v1/patients")
            .json(person)
            .send()
            .await?;
        let status = reply.status();
        let body = reply.text().await?;
        match status.as_u16() {
            201 => {
                let made: Value = serde_json::from_str(&body)?;
                Ok(made["id"].as_str().map(str::to_owned))
            }
            409 => Ok(None),
            _ => Err(format!("POST /api/v1/patients: {status}: {body}").into()),
        }
    }
}

/// Trust in the demo's own authority and nobody else.
fn tls(authority: &[u8]) -> Result<rustls::ClientConfig, Error> {
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The value below which `part` of them lie.
pub fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 - 1.0) * part).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Watches memory until told to stop; gives the most it saw.
fn watch(server: &Server) -> (Arc<AtomicBool>, tokio::task::JoinHandle<f64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (server, stopped) = (server.clone(), stop.clone());
    let task = tokio::spawn(async move {
        let mut most = 0.0_f64;
        while !stopped.load(Ordering::Relaxed) {
            most = most.max(server.resident_mb().unwrap_or(0.0));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        most
    });
    (stop, task)
}

/// Registers people on all connections until the practice has `count`; gives the most memory seen, and how many there are.
pub async fn fill(
    callers: &[Caller],
    server: &Server,
    people: &mut People,
    count: usize,
) -> Result<(f64, usize), Error> {
    let (stop, memory) = watch(server);
    let shared = Arc::new(Mutex::new(std::mem::take(people)));
    let tasks = callers.iter().cloned().map(|caller| {
        let shared = shared.clone();
        tokio::spawn(async move {
            loop {
                let person = {
                    let mut people = shared.lock().map_err(|_| "poisoned")?;
                    if people.known.len() >= count {
                        return Ok::<(), Error>(());
                    }
                    people.next()
                };
                if let Some(id) = caller.register(&person).await? {
                    let name = person["family_name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    shared
                        .lock()
                        .map_err(|_| "poisoned")?
                        .known
                        .push((id, name));
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    stop.store(true, Ordering::Relaxed);
    *people = std::mem::take(&mut *shared.lock().map_err(|_| "poisoned")?);
    Ok((memory.await?, people.known.len()))
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Search,
    DayList,
    Create,
    StaticFile,
}

/// One kind of request under load, over all its rounds.
#[derive(Debug)]
pub struct Phase {
    pub name: &'static str,
    kind: Kind,
    took: Vec<f64>,
    seconds: f64,
    web: f64,
    database: f64,
    pub refused: usize,
}

impl Phase {
    pub fn all() -> Vec<Self> {
        let phase = |name, kind| Self {
            name,
            kind,
            took: Vec::new(),
            seconds: 0.0,
            web: 0.0,
            database: 0.0,
            refused: 0,
        };
        vec![
            phase("patient read", Kind::Read),
            phase("name search", Kind::Search),
            phase("day list", Kind::DayList),
            phase("create", Kind::Create),
            phase("static file", Kind::StaticFile),
        ]
    }

    /// Runs on all connections for a while; gives the most memory seen.
    pub async fn run(
        &mut self,
        callers: &[Caller],
        server: &Server,
        people: &mut People,
        time: Duration,
    ) -> Result<f64, Error> {
        let (stop, memory) = watch(server);
        let shared = Arc::new(Mutex::new(std::mem::take(people)));
        let turn = Arc::new(AtomicUsize::new(self.took.len()));
        let refused = Arc::new(AtomicUsize::new(0));
        let asset = stylesheet(&callers[0]).await?;
        let today = callers[0].today().await?;
        let before = server.cpu()?;
        let began = Instant::now();
        let tasks: Vec<_> = callers
            .iter()
            .cloned()
            .map(|caller| {
                let (shared, turn, refused) = (shared.clone(), turn.clone(), refused.clone());
                let (kind, asset, today) = (self.kind, asset.clone(), today.clone());
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while began.elapsed() < time {
                        let n = turn.fetch_add(1, Ordering::Relaxed);
                        let started = match kind {
                            Kind::Create => {
                                let person = shared.lock().map_err(|_| "poisoned")?.next();
                                let started = Instant::now();
                                if caller.register(&person).await?.is_none() {
                                    continue;
                                }
                                started
                            }
                            _ => {
                                let path = {
                                    let people = shared.lock().map_err(|_| "poisoned")?;
                                    let (id, name) = &people.known[n * 7919 % people.known.len()];
                                    match kind {
                                        Kind::Read => format!("/api/v1/patients/{id}"),
                                        Kind::Search => {
                                            format!("/api/v1/patients?limit=20&q={}", encode(name))
                                        }
                                        Kind::DayList => {
                                            format!("/api/v1/appointments?date={today}")
                                        }
                                        _ => asset.clone(),
                                    }
                                };
                                let started = Instant::now();
                                if caller.page(&path).await.is_err() {
                                    refused.fetch_add(1, Ordering::Relaxed);
                                }
                                started
                            }
                        };
                        took.push(started.elapsed().as_secs_f64() * 1000.0);
                    }
                    Ok::<_, Error>(took)
                })
            })
            .collect();
        for task in tasks {
            self.took.extend(task.await??);
        }
        self.seconds += began.elapsed().as_secs_f64();
        let after = server.cpu()?;
        self.web += after.web - before.web;
        self.database += after.database - before.database;
        self.refused += refused.load(Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        *people = std::mem::take(&mut *shared.lock().map_err(|_| "poisoned")?);
        Ok(memory.await?)
    }

    pub fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.seconds
    }

    pub fn percentile(&self, part: f64) -> f64 {
        percentile(&mut self.took.clone(), part)
    }

    /// Milliseconds of the web server's processor time a request.
    pub fn web_ms(&self) -> f64 {
        self.web / self.took.len() as f64
    }

    /// Milliseconds of Postgres's processor time a request.
    pub fn database_ms(&self) -> f64 {
        self.database / self.took.len() as f64
    }

    pub fn cpu_ms(&self) -> f64 {
        self.web_ms() + self.database_ms()
    }

    pub fn figures(&self) -> Value {
        json!({
            "requests": self.took.len(),
            "per_second": self.per_second(),
            "p50_ms": self.percentile(0.5),
            "p95_ms": self.percentile(0.95),
            "cpu_ms_web": self.web_ms(),
            "cpu_ms_database": self.database_ms(),
            "cpu_ms": self.cpu_ms(),
        })
    }
}

impl Caller {
    /// The practice's date, from its own diary page's link to today's list.
    async fn today(&self) -> Result<String, Error> {
        let reply = self
            .request(reqwest::Method::GET, "/api/v1/appointments?limit=1")
            .send()
            .await?;
        let list: Value = reply.json().await?;
        Ok(list["items"][0]["start"]
            .as_str()
            .and_then(|s| s.get(..10))
            .ok_or("the demo's diary is empty today")?
            .to_owned())
    }
}

/// The path of the stylesheet that every page loads.
async fn stylesheet(caller: &Caller) -> Result<String, Error> {
    // Without the token, which would be shown the diary, and uncompressed.
    let page = caller
        .client
        .get(format!("{}/login", caller.base))
        .send()
        .await?
        .text()
        .await?;
    let page = page.replace("&#x2f;", "/");
    page.split('"')
        .find(|part| part.starts_with("/a/") && part.ends_with(".css"))
        .map(str::to_owned)
        .ok_or_else(|| "the log-in page names no stylesheet".into())
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
