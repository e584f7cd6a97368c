//! A target that is full, slow or damaged, and somebody who puts things there.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::backup_site::Site;

/// A restic REST server over a folder, that takes so many bytes and then does something.
struct Rest {
    folder: PathBuf,
    room: AtomicU64,
    /// What it does when there is no room: refuse, or never answer.
    stalls: bool,
}

impl Rest {
    async fn start(folder: PathBuf, room: u64, stalls: bool) -> (Arc<Self>, u16) {
        let rest = Arc::new(Self {
            folder,
            room: AtomicU64::new(room),
            stalls,
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = Arc::clone(&rest);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let rest = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let rest = Arc::clone(&rest);
                        async move { Ok::<_, Infallible>(rest.answer(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        (rest, port)
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let reply = |status: StatusCode, body: Vec<u8>| {
            Response::builder()
                .status(status)
                .body(Full::new(Bytes::from(body)))
                .unwrap()
        };
        let relative = request.uri().path().trim_matches('/').to_owned();
        let path = self.folder.join(&relative);
        let list = request.uri().path().ends_with('/');
        let range = request.headers().get("range").and_then(|range| {
            let (from, to) = range
                .to_str()
                .ok()?
                .strip_prefix("bytes=")?
                .split_once('-')?;
            Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()))
        });
        match *request.method() {
            Method::POST if list => {
                for kind in ["data", "index", "keys", "locks", "snapshots"] {
                    fs::create_dir_all(path.join(kind)).unwrap();
                }
                reply(StatusCode::OK, Vec::new())
            }
            Method::POST => {
                let Ok(body) = request.into_body().collect().await else {
                    return reply(StatusCode::BAD_REQUEST, Vec::new());
                };
                let body = body.to_bytes();
                let room = self.room.load(Ordering::Relaxed);
                if (body.len() as u64) > room {
                    if self.stalls {
                        std::future::pending::<()>().await;
                    }
                    return reply(
                        StatusCode::INSUFFICIENT_STORAGE,
                        b"no space left on device".to_vec(),
                    );
                }
                self.room.store(room - body.len() as u64, Ordering::Relaxed);
                fs::write(&path, &body).unwrap();
                reply(StatusCode::OK, Vec::new())
            }
            Method::GET if list => {
                let files: Vec<serde_json::Value> = fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| serde_json::json!({"name": entry.file_name().to_string_lossy(), "size": entry.metadata().unwrap().len()}))
                    .collect();
                let mut response = reply(StatusCode::OK, serde_json::to_vec(&files).unwrap());
                response.headers_mut().insert(
                    "content-type",
                    "application/vnd.x.restic.rest.v2".parse().unwrap(),
                );
                response
            }
            Method::GET | Method::HEAD => match fs::read(&path) {
                Ok(content) => match range {
                    Some((from, to)) => {
                        let to = to.map_or(content.len(), |to| (to + 1).min(content.len()));
                        reply(
                            StatusCode::PARTIAL_CONTENT,
                            content[from.min(to)..to].to_vec(),
                        )
                    }
                    None => reply(StatusCode::OK, content),
                },
                Err(_) => reply(StatusCode::NOT_FOUND, Vec::new()),
            },
            Method::DELETE => {
                let gone = fs::remove_file(&path).is_ok();
                reply(
                    if gone {
                        StatusCode::OK
                    } else {
                        StatusCode::NOT_FOUND
                    },
                    Vec::new(),
                )
            }
            _ => reply(StatusCode::METHOD_NOT_ALLOWED, Vec::new()),
        }
    }
}

fn over_rest(port: u16, stall: u32) -> String {
    format!(
        "[box.backup]\nstall_seconds = {stall}\n[[box.backup.target]]\nname = \"nas\"\nrest = {{ url = \"http://127.0.0.1:{port}/\" }}\n"
    )
}

fn fill(site: &Site) {
    site.sql(
        "CREATE TABLE large AS SELECT g AS id, string_agg(md5(random()::text || g || h), '') AS words FROM generate_series(1, 30000) g, \
         generate_series(1, 60) h GROUP BY g; GRANT SELECT ON large TO hadada_backup",
    );
}

#[tokio::test]
async fn a_server_takes_backups_and_gives_them_back() {
    let site = Site::new();
    let (_rest, port) = Rest::start(site.target.clone(), u64::MAX, false).await;
    site.configure(&over_rest(port, 600));
    site.ctl(&["backup", "setup"]).await.good();
    site.ctl(&["backup", "run"]).await.good();
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.ctl(&["drill", "run"]).await.good();
}

#[tokio::test]
async fn a_full_target_is_said_and_what_was_there_stays() {
    let site = Site::new();
    let (rest, port) = Rest::start(site.target.clone(), u64::MAX, false).await;
    site.configure(&over_rest(port, 60));
    site.ctl(&["backup", "setup"]).await.good();
    site.ctl(&["backup", "run"]).await.good();
    fill(&site);
    rest.room.store(4 << 20, Ordering::Relaxed);
    let said = site.ctl(&["backup", "run"]).await;
    assert_ne!(said.code, Some(0), "{said:?}");
    assert_eq!(site.fact("backup")["state"], "bad");
    let list = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(list.matches("  nightly ").count(), 1, "{list}");
    // With room again it goes on, and what was there before is as good as before.
    rest.room.store(u64::MAX, Ordering::Relaxed);
    site.sql("DROP TABLE large");
    site.ctl(&["backup", "run"]).await.good();
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.ctl(&["drill", "run"]).await.good();
}

/// A file system of so many MB; only root can mount one.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &std::path::Path, megabytes: u32) -> Self {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(at)
            .status()
            .unwrap();
        assert!(status.success());
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_as_such() {
    if !rustix::process::geteuid().is_root() {
        // The same over the network is tried above.
        eprintln!("only root can mount a small disk");
        return;
    }
    let site = Site::with(|target| {
        format!(
            "[[box.backup.target]]\nname = \"usb\"\nfolder = \"{}\"\n",
            target.display()
        )
    });
    let _mount = Mount::new(&site.target, 24);
    site.ctl(&["backup", "setup"]).await.good();
    site.ctl(&["backup", "run"]).await.good();
    fill(&site);
    let said = site.ctl(&["backup", "run"]).await;
    assert_ne!(said.code, Some(0), "{said:?}");
    let fact = site.fact("backup");
    assert!(
        fact["do"]
            .as_str()
            .unwrap()
            .contains("the backup target is full"),
        "{fact}"
    );
    let list = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(list.matches("  nightly ").count(), 1, "{list}");
}

#[tokio::test]
async fn a_target_that_hangs_is_given_up() {
    let site = Site::new();
    let (rest, port) = Rest::start(site.target.clone(), u64::MAX, true).await;
    site.configure(&over_rest(port, 5));
    site.ctl(&["backup", "setup"]).await.good();
    fill(&site);
    rest.room.store(4 << 20, Ordering::Relaxed);
    let began = std::time::Instant::now();
    let said = site.ctl(&["backup", "run"]).await;
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("no progress for"), "{}", said.err);
    assert!(began.elapsed().as_secs() < 180, "{:?}", began.elapsed());
    assert_eq!(site.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('pg_dump', 'hadadactl')"), "0");
    assert_eq!(site.fact("backup")["state"], "bad");
}

#[tokio::test]
async fn a_damaged_target_makes_the_drill_red() {
    let site = Site::backed_up().await;
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.ctl(&["drill", "run"]).await.good();
    let mut flipped = 0;
    for pack in walk(&site.target.join("records/data")) {
        let mut content = fs::read(&pack).unwrap();
        let middle = content.len() / 3;
        content[middle] ^= 0x10;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, content).unwrap();
        flipped += 1;
    }
    assert!(flipped > 0);
    let said = site.ctl(&["drill", "run"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("The backup is NOT verified"),
        "{}",
        said.out
    );
    let fact = site.fact("drill");
    assert_eq!(fact["state"], "bad", "{fact}");
    assert!(
        fact["do"].as_str().unwrap().contains("another target"),
        "{fact}"
    );
    // When it was last good is still known.
    assert!(fact["last_good"].is_string(), "{fact}");
    site.ctl(&["backup", "check", "--read", "1/1"])
        .await
        .fault();
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .flatten()
        .flat_map(|entry| {
            if entry.path().is_dir() {
                walk(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

#[tokio::test]
async fn what_others_put_there_pushes_nothing_out() {
    let site = Site::backed_up().await;
    site.ctl(&["backup", "run"]).await.good();
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    let own: Vec<String> = site.snapshots("records");
    let ledger = fs::read_to_string(site.dir().join("backup/ledger.json")).unwrap();
    let run = ledger.split("\\\"run\\\":\\\"").nth(1).unwrap()[..32].to_owned();
    // Somebody with the box's password: newer, older, with the box's host and tags, and the name of the dump.
    for (number, time) in [
        "2031-01-01 02:00:00",
        "2026-11-22 23:59:59",
        "2019-06-01 02:00:00",
        "2026-11-23 02:00:00",
    ]
    .iter()
    .cycle()
    .take(12)
    .enumerate()
    {
        let tag = if number % 2 == 0 {
            format!("dump,{run}")
        } else {
            "ledger,wal".to_owned()
        };
        for repository in ["records", "keys"] {
            let output = site.restic(
                repository,
                &[
                    "backup",
                    "--stdin",
                    "--stdin-filename",
                    "records.dump",
                    "--host",
                    "hadada",
                    "--tag",
                    &tag,
                    "--time",
                    time,
                ],
                format!("nothing of value {number}").as_bytes(),
            );
            assert!(output.status.success(), "{output:?}");
        }
    }
    site.configure(&format!(
        "[box.backup.keep]\ndays = 1\nweeks = 0\nmonths = 0\nyears = 0\nany_second_days = 1\n{}",
        crate::backup_site::plain_folder(&site.target)
    ));
    let said = site.ctl(&["backup", "run"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out
            .contains("Somebody else has put 24 snapshots there"),
        "{}",
        said.out
    );
    assert_eq!(site.fact("backup")["state"], "warning");
    // The newest of the day is there and the two before it went; the strangers' are untouched.
    let list = site.ctl(&["backup", "list"]).await.good();
    assert_eq!(list.matches("  nightly ").count(), 1, "{list}");
    assert!(
        list.contains("12 snapshots in records are not this box's"),
        "{list}"
    );
    let there = site.snapshots("records");
    assert!(own.iter().filter(|id| there.contains(id)).count() < own.len());
    assert!(there.len() >= 12 + 3);
    site.switch_wal().await;
    site.ctl(&["wal", "push"]).await.good();
    site.ctl(&["drill", "run"]).await.good();
    // Nor does new hardware take any of it for the box's own.
    let new = site.new_hardware();
    let said = new
        .ctl_reading(
            &site.paper(),
            &[
                "restore",
                "new-box",
                "--folder",
                site.target.to_str().unwrap(),
            ],
        )
        .await
        .good();
    assert!(
        said.contains("claim to be this box's ledger are not"),
        "{said}"
    );
    assert_eq!(
        new.sql("SELECT count(*) FROM patients"),
        site.sql("SELECT count(*) FROM patients")
    );
}
