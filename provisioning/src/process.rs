//! Other programs of the machine, run to their end.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program and gives what it printed.
///
/// # Errors
/// When it can't be run, or fails; the error carries its own words.
pub fn run<I, S>(program: &str, arguments: I) -> Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    feed(program, arguments, b"")
}

/// As [`run`], with something on its standard input: what others must not read in its arguments.
///
/// # Errors
/// As [`run`].
pub fn feed<I, S>(program: &str, arguments: I, input: &[u8]) -> Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} can't be run: is it installed?"))?;
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_vec();
        // Of a program that does not read all of it, its exit code says what matters.
        std::thread::spawn(move || drop(pipe.write_all(&input)));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.is_empty() {
            said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        }
        bail!("{program} failed ({}): {said}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} did not answer in text"))
}

/// Whether a program ends well; its words are dropped.
pub fn succeeds<I, S>(program: &str, arguments: I) -> bool
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
