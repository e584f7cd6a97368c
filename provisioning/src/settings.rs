//! What `hadada.toml` says in its table `[box]`, section by section. The web program leaves that table alone.

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use toml_edit::{DocumentMut, Item, Table};

use crate::files;
use crate::place::Place;

/// The section `[box.NAME]`; its defaults where it is not there.
///
/// # Errors
/// When the file can't be read or the section says something it should not; the error names the setting.
pub fn section<T: DeserializeOwned + Default>(place: &Place, name: &str) -> Result<T> {
    let Some(table) = read(place)? else {
        return Ok(T::default());
    };
    let Some(section) = table
        .get("box")
        .and_then(toml::Value::as_table)
        .and_then(|all| all.get(name))
    else {
        return Ok(T::default());
    };
    section
        .clone()
        .try_into()
        .with_context(|| format!("{}: [box.{name}]", place.config().display()))
}

/// A setting of the web program's, such as `host`.
///
/// # Errors
/// When the file can't be read.
pub fn web(place: &Place, name: &str) -> Result<Option<toml::Value>> {
    Ok(read(place)?.and_then(|table| table.get(name).cloned()))
}

/// Changes the file, keeping its comments and all else it says.
///
/// # Errors
/// When it can't be read or written.
pub fn change(place: &Place, change: impl FnOnce(&mut DocumentMut)) -> Result<()> {
    let path = place.config();
    let content = files::read_if_there(&path)?
        .with_context(|| format!("there is no {}: run `hadadactl install`", path.display()))?;
    let text =
        String::from_utf8(content).with_context(|| format!("{} is not text", path.display()))?;
    let mut document: DocumentMut = text
        .parse()
        .with_context(|| format!("{} is not TOML", path.display()))?;
    change(&mut document);
    files::replace(&path, 0o644, document.to_string().as_bytes())
}

/// The table at a path of names, made where it is missing.
pub fn table<'a>(document: &'a mut DocumentMut, names: &[&str]) -> &'a mut Table {
    let mut table = document.as_table_mut();
    for name in names {
        let item = table.entry(name).or_insert_with(|| {
            let mut new = Table::new();
            new.set_implicit(true);
            Item::Table(new)
        });
        if !item.is_table() {
            *item = Item::Table(Table::new());
        }
        #[expect(
            clippy::expect_used,
            reason = "made a table just above where it was none"
        )]
        let inner = item.as_table_mut().expect("a table");
        table = inner;
    }
    table
}

fn read(place: &Place) -> Result<Option<toml::Table>> {
    let path = place.config();
    let Some(content) = files::read_if_there(&path)? else {
        return Ok(None);
    };
    let text =
        String::from_utf8(content).with_context(|| format!("{} is not text", path.display()))?;
    text.parse()
        .map(Some)
        .with_context(|| format!("{} is not TOML", path.display()))
}
