//! The other side: llama.cpp in a Python process of its own.

use crate::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it with the Python that has llama-cpp-python.
    pub fn start(python: &Path, script: &Path) -> Result<Peer, Error> {
        let mut child = Command::new(python)
            .arg(script)
            // Its threads must not wait by spinning for long: the bench interleaves.
            .env("OMP_NUM_THREADS", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().ok_or("no standard input")?;
        let from = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Peer { child, to, from })
    }

    pub fn ask(&mut self, what: &str, path: &Path, argument: &str) -> Result<f64, Error> {
        writeln!(self.to, "{what}\t{}\t{argument}", path.display())?;
        self.to.flush()?;
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("llama.cpp ended; its words are above".into());
        }
        Ok(line.trim().parse()?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
