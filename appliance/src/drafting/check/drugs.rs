//! Names of medicines and allergens.

use super::source::Source;
use super::tokens::Token;
use std::collections::HashMap;
use std::sync::LazyLock;

static NAMES: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let mut map = HashMap::new();
    for line in include_str!("drugs.txt")
        .lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
    {
        let (generic, brands) = line.split_once(':').unwrap_or((line, ""));
        map.insert(generic.trim(), generic.trim());
        for brand in brands.split_whitespace() {
            map.insert(brand, generic.trim());
        }
    }
    map
});

/// Endings that only medicines have (International Nonproprietary Name stems, WHO).
const ENDINGS: &[&str] = &[
    "pril",
    "sartan",
    "olol",
    "statin",
    "prazole",
    "conazole",
    "cillin",
    "mycin",
    "dipine",
    "floxacin",
    "azepam",
    "triptan",
    "gliptin",
    "gliflozin",
    "profen",
    "coxib",
    "xaban",
    "parin",
    "cycline",
    "tidine",
    "setron",
    "lukast",
    "zosin",
    "thiazide",
    "semide",
    "oxetine",
    "tadine",
    "caine",
    "dronate",
    "glutide",
    "navir",
    "tegravir",
    "ciclovir",
    "nidazole",
    "zumab",
    "ximab",
    "tinib",
    "barbital",
    "zolam",
    "curium",
    "vudine",
    "fenac",
];

/// Words that end so and are none.
const NOT_DRUGS: &[&str] = &["april", "cocaine", "histamine", "mumab"];

/// The substance that a lower-case word names.
pub fn substance(word: &str) -> Option<String> {
    let lookup = |w: &str| NAMES.get(w).map(|g| (*g).to_owned());
    lookup(word)
        .or_else(|| word.strip_suffix('s').and_then(lookup))
        .or_else(|| {
            (word.len() >= 7
                && !NOT_DRUGS.contains(&word)
                && ENDINGS.iter().any(|e| word.ends_with(e)))
            .then(|| word.to_owned())
        })
}

/// All generic names, for the bench's mutation rules.
pub fn generic_names() -> Vec<&'static str> {
    let mut names: Vec<_> = NAMES.values().copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Substances named in the sentence and not in the source.
pub(super) fn missing(sentence: &[Token], source: &Source) -> Vec<String> {
    let mut out = Vec::new();
    for token in sentence {
        let Some(name) = substance(&token.text) else {
            continue;
        };
        let found = source
            .units
            .iter()
            .flat_map(|u| &u.tokens)
            .any(|t| match substance(&t.text) {
                Some(other) => other == name,
                // A transcript may misspell a name; another known name is never taken for a misspelling.
                None => {
                    t.text.len() >= 6
                        && t.text.starts_with(|c| token.text.starts_with(c))
                        && distance(&t.text, &token.text) <= token.text.len() / 5
                }
            });
        if !found && !split_name(&token.text, source) && !out.contains(&token.text) {
            out.push(token.text.clone());
        }
    }
    out
}

/// "nitro glycerin" said as two words.
fn split_name(name: &str, source: &Source) -> bool {
    source.units.iter().any(|u| {
        u.tokens.windows(2).any(|w| {
            w[0].text.len() > 2
                && name.starts_with(&w[0].text)
                && name == format!("{}{}", w[0].text, w[1].text)
        })
    })
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = before + usize::from(ca != *cb);
            before = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brands_meet_their_generics() {
        assert_eq!(substance("panado"), substance("tylenol"));
        assert_eq!(substance("brufen").as_deref(), Some("ibuprofen"));
        assert!(substance("zofenopril").is_some());
        assert_eq!(substance("april"), None);
        assert_eq!(substance("therapy"), None);
    }
}
