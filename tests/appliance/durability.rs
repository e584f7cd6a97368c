//! Nothing acknowledged is lost: the server and the database are killed under a write load, and every acknowledged write
//! must be there after the restart. The control counts a write as acknowledged before it is answered, and must lose some.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::programs;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Runs functions of `provisioning/lib.sh`.
fn shell(script: &str) -> String {
    let output = Command::new("bash")
        .arg("-c")
        .arg(format!("set -eu; . provisioning/lib.sh; {script}"))
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A whole box: Postgres with durability on, and the real server over TLS.
struct Box {
    dir: tempfile::TempDir,
    user: String,
    port: u16,
    server: Option<Child>,
}

impl Box {
    fn start() -> Self {
        let user = shell("service_user");
        let dir = tempfile::Builder::new()
            .prefix("hadada-box")
            .tempdir_in("/tmp")
            .unwrap();
        let path = dir.path().display().to_string();
        let bin = programs().display().to_string();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        shell(&format!(
            "chmod 755 {path}; mkdir -p {path}/postgres {path}/run {path}/audit; {bin}/hadadactl init --dir {path} --host localhost >/dev/null;
             chown -R {user} {path}; chmod 700 {path}/postgres; cluster_create {path}/postgres {user} {path}/run; cluster_start {path}/postgres {user} {path}/run/log;
             psql_as postgres {path}/run postgres -f migrations/roles.sql;
             psql_as postgres {path}/run postgres -c 'CREATE DATABASE hadada OWNER hadada_owner' -c 'CREATE DATABASE hadada_keys OWNER hadada_owner'"
        ));
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\npostgres = \"{path}/run\"\ntls_certificate = \"{path}/tls/cert.pem\"\ntls_key = \"{path}/tls/key.pem\"\n\
             master_key = \"{path}/keys/master.key\"\nrecovery_key = \"{path}/keys/recovery.pub\"\naudit_key = \"{path}/keys/audit.key\"\n\
             audit_head = \"{path}/audit/head.json\"\ninference_socket = \"{path}/run/inference.sock\"\nadmin_socket = \"{path}/run/admin.sock\"\ndemo = true\n"
        );
        std::fs::write(dir.path().join("hadada.toml"), config).unwrap();
        let mut this = Self {
            dir,
            user,
            port,
            server: None,
        };
        for command in ["migrate", "demo-data"] {
            assert!(
                this.hadada(command).status().unwrap().success(),
                "{command}"
            );
        }
        this.serve();
        this
    }

    fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    fn hadada(&self, command: &str) -> Command {
        let mut process = if shell("id -un") == self.user {
            Command::new(programs().join("hadada"))
        } else {
            let mut process = Command::new("setpriv");
            process
                .args([
                    "--reuid",
                    &self.user,
                    "--regid",
                    &self.user,
                    "--clear-groups",
                    "--",
                ])
                .arg(programs().join("hadada"));
            process
        };
        process
            .arg("--config")
            .arg(self.dir.path().join("hadada.toml"))
            .arg(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process
    }

    fn serve(&mut self) {
        self.server = Some(self.hadada("serve").spawn().unwrap());
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    fn kill_database(&self) {
        let path = self.path();
        // Its children are groups of their own: they see that it died, and hold the shared memory until they are gone.
        shell(&format!(
            "kill -9 -$(ps -o pgid= -p $(head -1 {path}/postgres/postmaster.pid) | tr -d ' ')
             while ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q ' {path}/postgres$'; do sleep 0.02; done"
        ));
    }

    fn start_database(&self) {
        let (path, user) = (self.path(), &self.user);
        shell(&format!(
            // Where nobody collects the dead, the killed server's number still looks alive, and its two lock files with it.
            "rm -f {path}/postgres/postmaster.pid {path}/run/.s.PGSQL.*; (cluster_start {path}/postgres {user} {path}/run/log) || {{ tail -5 {path}/run/log >&2; false; }}"
        ));
    }

    /// Family names of the patients that are there.
    fn families(&self) -> std::collections::HashSet<String> {
        let path = self.path();
        shell(&format!(
            "psql_as postgres {path}/run hadada -Atc \"SELECT family_name FROM patients\""
        ))
        .lines()
        .map(str::to_owned)
        .collect()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().ok();
            server.wait().ok();
        }
        let (path, user) = (self.path(), self.user.clone());
        Command::new("bash")
            .arg("-c")
            .arg(format!(
                ". provisioning/lib.sh; cluster_stop {path}/postgres {user}"
            ))
            .current_dir(root())
            .status()
            .ok();
    }
}

fn client(place: &Box) -> reqwest::Client {
    let ca = std::fs::read(place.dir.path().join("tls/ca.pem")).unwrap();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

async fn until_ready(place: &Box, client: &reqwest::Client) {
    let end = Instant::now() + Duration::from_secs(30);
    while !client
        .get(format!("{}/readyz", place.url()))
        .send()
        .await
        .is_ok_and(|r| r.status().is_success())
    {
        assert!(Instant::now() < end, "the server did not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Count {
    /// When the server said 201.
    Answered,
    /// Before the server said anything: the control.
    Sent,
}

/// Writes from eight clients until the kill, then restarts. Gives what was acknowledged and what is there.
async fn under_load(
    place: &mut Box,
    count: Count,
    kill: impl FnOnce(&mut Box),
    restart: impl FnOnce(&mut Box),
) -> (Vec<String>, std::collections::HashSet<String>) {
    let client = client(place);
    until_ready(place, &client).await;
    let signed_in = client
        .post(format!("{}/login", place.url()))
        .form(&[("username", "reception"), ("password", "hadada-demo")])
        .send()
        .await
        .unwrap();
    let cookie = signed_in.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let (client, cookie, url, stop, answered) = (
            client.clone(),
            cookie.clone(),
            place.url(),
            stop.clone(),
            answered.clone(),
        );
        writers.spawn(async move {
            let mut ledger = Vec::new();
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let family: String = format!("Load{writer}n{n}").chars().map(|c| if c.is_ascii_digit() { (c as u8 - b'0' + b'a') as char } else { c }).collect();
                let body = serde_json::json!({ "family_name": family, "given_name": "Test", "birth_date": "1980-02-03", "sex": "female", "duplicate_confirmed": true });
                if count == Count::Sent {
                    ledger.push(family.clone());
                }
                let reply = client.post(format!("{url}/api/v1/patients")).header("cookie", &cookie).json(&body).send().await;
                match reply {
                    Ok(reply) if reply.status() == 201 => {
                        answered.fetch_add(1, Ordering::Relaxed);
                        if count == Count::Answered {
                            ledger.push(family);
                        }
                    }
                    Ok(reply) if reply.status().is_client_error() => panic!("{}", reply.text().await.unwrap()),
                    _ => break,
                }
            }
            ledger
        });
    }
    let end = Instant::now() + Duration::from_secs(30);
    while answered.load(Ordering::Relaxed) < 60 {
        assert!(Instant::now() < end, "the load does not run");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill(place);
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writers.join_all().await.concat();
    restart(place);
    until_ready(place, &client).await;
    (acknowledged, place.families())
}

fn missing(acknowledged: &[String], there: &std::collections::HashSet<String>) -> Vec<String> {
    acknowledged
        .iter()
        .filter(|name| !there.contains(*name))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_server_loses_nothing_that_was_acknowledged() {
    let mut place = Box::start();
    let (acknowledged, there) =
        under_load(&mut place, Count::Answered, Box::kill_server, Box::serve).await;
    assert!(acknowledged.len() >= 60);
    assert_eq!(
        missing(&acknowledged, &there),
        Vec::<String>::new(),
        "lost of {}",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_database_loses_nothing_that_was_acknowledged() {
    let mut place = Box::start();
    let (acknowledged, there) = under_load(
        &mut place,
        Count::Answered,
        |p| p.kill_database(),
        |p| p.start_database(),
    )
    .await;
    assert!(acknowledged.len() >= 60);
    assert_eq!(
        missing(&acknowledged, &there),
        Vec::<String>::new(),
        "lost of {}",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_acknowledgement_before_the_commit_does_lose_writes() {
    let mut place = Box::start();
    let (acknowledged, there) =
        under_load(&mut place, Count::Sent, Box::kill_server, Box::serve).await;
    assert!(
        !missing(&acknowledged, &there).is_empty(),
        "the test would not notice a lost write"
    );
}
