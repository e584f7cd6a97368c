//! What the facts say of an update.

use anyhow::Result;
use time::OffsetDateTime;

use crate::facts::{self, Fact, State};
use crate::update::home::{Home, version_of};
use crate::update::journal::{Journal, Step};

/// What these facts are called.
const FACT: &str = "update";

pub(super) fn progress(home: &Home, journal: &Journal) -> Result<()> {
    let (step, of) = (journal.step, Step::ALL.len());
    let said = match journal.waits_until {
        Some(until) => format!(
            "it works; somebody must confirm it by {} UTC, else it is taken back",
            until.time()
        ),
        None => step.said().to_owned(),
    };
    println!("[{:>2}/{of}] {said}", step.number());
    let what = journal.to.map_or_else(
        || "An update".to_owned(),
        |to| format!("The update to {to}"),
    );
    facts::write(
        home.place(),
        Fact::good(
            FACT,
            OffsetDateTime::now_utc(),
            format!(
                "{what} is under way, step {} of {of}: {said}.",
                step.number()
            ),
        )
        .with("running", true)
        .with("step", step.number())
        .with("of", of)
        .with("name", step.name())
        .with("from", journal.from.to_string())
        .with("to", journal.to.map(|to| to.to_string())),
    )
}

pub(super) fn settled(home: &Home, said: &str) -> Result<()> {
    facts::write(
        home.place(),
        Fact::good(FACT, OffsetDateTime::now_utc(), said)
            .with("running", false)
            .with(
                "version",
                version_of(&home.current()).map(|version| version.to_string()),
            ),
    )
}

pub(super) fn fault(home: &Home, state: State, said: String, to_do: &str) -> Result<()> {
    println!("{said}\n{to_do}");
    facts::write(
        home.place(),
        Fact::fault(FACT, OffsetDateTime::now_utc(), state, said, to_do)
            .with("running", false)
            .with(
                "version",
                version_of(&home.current()).map(|version| version.to_string()),
            ),
    )
}
