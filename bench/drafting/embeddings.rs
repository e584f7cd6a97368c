//! Asks a running (or here started) `hadada-inference` for embeddings over its Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Error = Box<dyn std::error::Error>;

/// Texts in one request.
const BATCH: usize = 32;
/// A cold start maps two models; a request embeds [`BATCH`] texts.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Daemon {
    socket: PathBuf,
    child: Option<(Child, PathBuf)>,
}

impl Daemon {
    /// Uses the daemon behind `socket`.
    pub fn at(socket: PathBuf) -> Self {
        Daemon {
            socket,
            child: None,
        }
    }

    /// Starts `program` with the models in `models`, on a socket of its own, and waits until it answers.
    pub fn start(program: &Path, models: &Path) -> Result<Self, Error> {
        let dir = std::env::temp_dir().join(format!("hadada-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let socket = dir.join("inference.sock");
        let gguf = std::fs::read_dir(models)
            .map_err(|e| format!("{}: {e}; run provisioning/models first", models.display()))?
            .filter_map(|f| f.ok().map(|f| f.path()))
            .find(|p| p.extension().is_some_and(|x| x == "gguf"))
            .ok_or_else(|| {
                format!(
                    "no .gguf model in {}; run provisioning/models first",
                    models.display()
                )
            })?;
        let child = Command::new(program)
            .arg("--socket")
            .arg(&socket)
            .arg("--model")
            .arg(gguf)
            .arg("--embedding-model")
            .arg(models.join("minilm-l6-v2"))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let mut daemon = Daemon {
            socket,
            child: Some((child, dir)),
        };
        let begun = Instant::now();
        loop {
            match daemon.embed(&["knee pain"]) {
                Ok(_) => return Ok(daemon),
                Err(error) if begun.elapsed() > PATIENCE => {
                    return Err(format!("the inference daemon does not answer: {error}").into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
            if let Some((child, _)) = &mut daemon.child
                && let Some(status) = child.try_wait()?
            {
                return Err(format!("the inference daemon ended: {status}").into());
            }
        }
    }

    /// One embedding a text, in order.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        #[derive(serde::Deserialize)]
        struct Answer {
            data: Vec<Item>,
        }
        #[derive(serde::Deserialize)]
        struct Item {
            embedding: Vec<f32>,
        }
        let mut out = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let body =
                serde_json::to_vec(&serde_json::json!({"model": "minilm-l6-v2", "input": batch}))?;
            let answer: Answer = serde_json::from_slice(&self.post("/v1/embeddings", &body)?)?;
            if answer.data.len() != batch.len() {
                return Err("the daemon gave another number of embeddings than asked for".into());
            }
            out.extend(answer.data.into_iter().map(|i| i.embedding));
        }
        Ok(out)
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Error> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .ok_or("no HTTP answer")?;
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let body = &answer[end + 4..];
        if !head.starts_with("http/1.1 200") {
            return Err(format!(
                "{}: {}",
                head.lines().next().unwrap_or(""),
                String::from_utf8_lossy(body)
            )
            .into());
        }
        if head.contains("transfer-encoding: chunked") {
            unchunk(body)
        } else {
            Ok(body.to_vec())
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some((child, dir)) = &mut self.child {
            // Nothing is left to save: the daemon holds no state, and a failure here only leaves a temporary folder.
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn unchunk(mut body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    loop {
        let line = body
            .windows(2)
            .position(|w| w == b"\r\n")
            .ok_or("broken chunk")?;
        let size = usize::from_str_radix(
            std::str::from_utf8(&body[..line])?
                .split(';')
                .next()
                .unwrap_or("")
                .trim(),
            16,
        )?;
        if size == 0 {
            return Ok(out);
        }
        out.extend(body.get(line + 2..line + 2 + size).ok_or("broken chunk")?);
        body = body.get(line + 4 + size..).ok_or("broken chunk")?;
    }
}
