//! Passphrases: from the terminal without echo, from a file descriptor, or from standard input. Never from an argument or a
//! variable, which others can read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The shortest that a new key may have.
const SHORTEST: usize = 12;
const LONGEST: u64 = 1024;

/// Where passphrases come from; each is one line.
pub enum Passphrases {
    /// A person types.
    Terminal,
    /// A file descriptor or a pipe.
    Lines(BufReader<Box<dyn Read>>),
}

impl Passphrases {
    /// From the descriptor `fd` that the caller opened, else from standard input.
    ///
    /// # Errors
    /// When there is no such descriptor.
    pub fn from(fd: Option<u32>) -> Result<Self> {
        let reader: Box<dyn Read> = match fd {
            Some(fd) => Box::new(File::open(format!("/proc/self/fd/{fd}")).with_context(|| {
                format!("there is no file descriptor {fd} to read the passphrase from")
            })?),
            None if io::stdin().is_terminal() => return Ok(Self::Terminal),
            None => Box::new(io::stdin()),
        };
        Ok(Self::Lines(BufReader::new(reader)))
    }

    /// The passphrase of an existing key.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask(&mut self, what: &str) -> Result<Zeroizing<String>> {
        let line = match self {
            Self::Terminal => read_silently(&format!("Passphrase of {what}: "))?,
            Self::Lines(reader) => read_line(reader)?,
        };
        ensure!(!line.is_empty(), "there was no passphrase for {what}");
        Ok(line)
    }

    /// The passphrase for a new key; a person types it twice.
    ///
    /// # Errors
    /// When it is too short or mistyped.
    pub fn choose(&mut self, what: &str) -> Result<Zeroizing<String>> {
        let chosen = match self {
            Self::Terminal => {
                let chosen = read_silently(&format!("A passphrase for {what}: "))?;
                let again = read_silently("The same again: ")?;
                ensure!(*chosen == *again, "the two are not the same");
                chosen
            }
            Self::Lines(reader) => read_line(reader)?,
        };
        ensure!(
            chosen.chars().count() >= SHORTEST,
            "the passphrase for {what} is shorter than {SHORTEST} characters"
        );
        Ok(chosen)
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    reader
        .by_ref()
        .take(LONGEST)
        .read_line(&mut line)
        .context("the passphrase can't be read")?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}

fn read_silently(prompt: &str) -> Result<Zeroizing<String>> {
    eprint!("{prompt}");
    io::stderr().flush()?;
    let stdin = io::stdin();
    let before = tcgetattr(stdin.as_fd())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin.as_fd(), OptionalActions::Now, &silent)?;
    let line = read_line(&mut stdin.lock());
    tcsetattr(stdin.as_fd(), OptionalActions::Now, &before)?;
    eprintln!();
    line
}
