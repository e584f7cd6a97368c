//! `hadada-typeset`: one JSON document on standard input, one PDF on standard output.
//!
//! ```text
//! {"template": "invoice" | "receipt" | "note", "data": {…}}      data as in document.rs
//! ```
//! The same input always gives the same bytes. Exit code 2: the input is wrong, and standard error names the field;
//! 3: it could not be typeset. Either way standard output stays empty. It runs in a process of its own because a
//! typesetter is a large machine: here it holds no key, no database and no network, and opens no file.

mod document;
mod format;
mod render;
mod sandbox;

use std::io::{self, Read, Write};
use std::process::ExitCode;

/// No document of a practice comes near this; more is a mistake or an attack.
const LONGEST_INPUT: u64 = 4 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(message)) => {
            eprintln!("hadada-typeset: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Typeset(message)) => {
            eprintln!("hadada-typeset: {message}");
            ExitCode::from(3)
        }
    }
}

enum Failure {
    Input(String),
    Typeset(String),
}

fn run() -> Result<(), Failure> {
    sandbox::enter().map_err(|error| Failure::Typeset(format!("can't shut itself in: {error}")))?;
    let mut input = Vec::new();
    io::stdin()
        .take(LONGEST_INPUT + 1)
        .read_to_end(&mut input)
        .map_err(|error| Failure::Input(format!("can't read the document: {error}")))?;
    if input.len() as u64 > LONGEST_INPUT {
        return Err(Failure::Input(format!(
            "the document is longer than {LONGEST_INPUT} bytes"
        )));
    }
    let document = document::read(&input).map_err(|error| Failure::Input(error.to_string()))?;
    let pdf = render::pdf(&document).map_err(Failure::Typeset)?;
    let mut out = io::stdout().lock();
    out.write_all(&pdf)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Typeset(format!("can't write the PDF: {error}")))
}
