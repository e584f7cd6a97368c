//! Renders every sample of every page and reads it as a browser would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use html5gum::{Token, Tokenizer};

use crate::web::RenderedSample;

fn all() -> Vec<RenderedSample> {
    let templates = crate::app::templates().unwrap();
    [
        crate::web::error_samples,
        crate::audit::page_samples,
        crate::accounts::page_samples,
        crate::settings::page_samples,
        crate::patients::page_samples,
        crate::appointments::page_samples,
        crate::encounters::page_samples,
        crate::billing::page_samples,
        crate::erasure::page_samples,
        crate::status::page_samples,
        crate::trust::page_samples,
        crate::setup::page_samples,
    ]
    .into_iter()
    .flat_map(|room| room(&templates))
    .collect()
}

/// Elements without content (HTML, 13.1.2).
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];

/// The ids that an attribute of this name refers to.
const REFERRING: [&str; 5] = [
    "for",
    "aria-labelledby",
    "aria-describedby",
    "aria-controls",
    "list",
];

/// What is wrong with a page: what a tokenizer of the standard objects to, elements that are not closed in order, ids that are
/// there twice or that are pointed to and not there, and what the security policy forbids.
fn faults(html: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for token in Tokenizer::new(html) {
        match token.unwrap() {
            Token::StartTag(tag) => {
                let name = text(&tag.name);
                for (key, value) in &tag.attributes {
                    let (key, value) = (text(key), text(value));
                    if key == "style" || key.starts_with("on") {
                        faults.push(format!(
                            "<{name} {key}> is forbidden by the security policy"
                        ));
                    }
                    if key == "id" && !ids.insert(value.clone()) {
                        faults.push(format!("id {value:?} is there twice"));
                    }
                    if REFERRING.contains(&key.as_str()) {
                        wanted.extend(value.split_whitespace().map(str::to_owned));
                    }
                }
                if name == "script" && !tag.attributes.contains_key(&b"src"[..]) {
                    faults.push("a script inside the page".into());
                }
                if !tag.self_closing && !VOID.contains(&name.as_str()) {
                    open.push(name);
                }
            }
            Token::EndTag(tag) => {
                let name = text(&tag.name);
                match open.pop() {
                    Some(last) if last == name => {}
                    last => faults.push(format!("</{name}> where {last:?} is open")),
                }
            }
            Token::Error(error) => faults.push(format!("{error:?}")),
            Token::String(words) => {
                let words = text(&words);
                if words.contains("{{") || words.contains("{%") {
                    faults.push(format!("template code in {words:?}"));
                }
            }
            Token::Comment(_) | Token::Doctype(_) => {}
        }
    }
    if !open.is_empty() {
        faults.push(format!("not closed: {open:?}"));
    }
    // A fragment points to what its page has.
    if html.trim_start().starts_with("<!doctype") {
        faults.extend(
            wanted
                .difference(&ids)
                // The dialog is empty; its heading comes with what fills it.
                .filter(|id| *id != "dialog-h")
                .map(|id| format!("nothing has the id {id:?}")),
        );
    }
    faults
}

#[test]
fn every_page_renders_every_sample_as_well_formed_html() {
    let mut wrong = BTreeMap::new();
    for sample in all() {
        let faults = faults(&sample.html);
        if !faults.is_empty() {
            wrong.insert(format!("{} ({})", sample.page, sample.template), faults);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reader_sees_faults() {
    for (html, fault) in [
        ("<p><b>x</p></b>", "</p> where"),
        ("<p>x", "not closed"),
        ("<p id=\"a\"></p><p id=\"a\"></p>", "there twice"),
        ("<p class=\"a\" class=\"b\"></p>", "Duplicate"),
        ("<p style=\"color:red\"></p>", "forbidden"),
        ("<p onclick=\"x()\"></p>", "forbidden"),
        (
            "<!doctype html><label for=\"f-x\"></label>",
            "nothing has the id",
        ),
        ("<p>{{ name }}</p>", "template code"),
        ("<script>x()</script>", "inside the page"),
    ] {
        let found = faults(html).join(", ");
        assert!(found.contains(fault), "{html}: {found}");
    }
    assert_eq!(faults("<p>a &amp; b<br><i></i></p>"), Vec::<String>::new());
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_page_is_missing_here() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut written = BTreeSet::new();
    for file in files {
        let module = file
            .strip_prefix(&src)
            .unwrap()
            .with_extension("")
            .to_string_lossy()
            .replace('/', "::");
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            if let Some(rest) = line.strip_prefix("impl Page for ") {
                let name = rest.split([' ', '{', '<']).next().unwrap();
                written.insert(format!(
                    "hadada::{}::{name}",
                    module.trim_end_matches("::mod")
                ));
            }
        }
    }
    let rendered: BTreeSet<String> = all().into_iter().map(|s| s.page.to_owned()).collect();
    assert!(written.len() > 25, "{written:?}");
    assert_eq!(written, rendered);
}
