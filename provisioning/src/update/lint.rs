//! Migrations of an update may only add: the release before must work on what they leave, because an update that fails is taken
//! back without touching the databases.
//!
//! What is removed goes in two releases: the first stops using it, a later one removes it in a migration whose first lines say
//! `-- contract: VERSION`, the first release that does not use it. Such a migration is let through where the box runs that
//! release or a newer one already.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::release::version::Version;

/// A migration that a database has not had.
pub struct Migration<'a> {
    /// Its file's name.
    pub name: &'a str,
    /// Its text.
    pub sql: &'a str,
}

/// Checks the migrations of one database, in order, for a box that runs `from`.
///
/// # Errors
/// When one does more than add; the error names it, the statement and the rule.
pub fn check(migrations: &[Migration<'_>], from: Version) -> Result<()> {
    let mut made = BTreeSet::new();
    for migration in migrations {
        let contract = contract_of(migration.sql).is_some_and(|since| from >= since);
        for statement in statements(migration.sql) {
            let words = words(&statement);
            if let Some(why) = problem(&words, &statement, &mut made)
                && !contract
            {
                let shown: Vec<&str> = words.iter().take(12).map(String::as_str).collect();
                bail!(
                    "not expand-only: the migration {} {why}, so release {from} could not run after it: {} …",
                    migration.name,
                    shown.join(" ")
                );
            }
        }
    }
    Ok(())
}

fn contract_of(sql: &str) -> Option<Version> {
    sql.lines()
        .take_while(|line| line.trim().is_empty() || line.trim_start().starts_with("--"))
        .find_map(|line| {
            line.trim()
                .strip_prefix("-- contract:")?
                .trim()
                .parse()
                .ok()
        })
}

/// One statement: its text without comments and strings, and the bodies of its dollar quotes.
struct Statement {
    text: String,
    bodies: Vec<String>,
}

/// Takes SQL apart as Postgres' lexer would, as far as it matters here.
fn statements(sql: &str) -> Vec<Statement> {
    let empty = || Statement {
        text: String::new(),
        bodies: Vec::new(),
    };
    let mut all = Vec::new();
    let mut now = empty();
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        if rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
            now.text.push(' ');
        } else if letter == '\'' {
            // An E'' string may escape its quote with a backslash.
            let escapes = now.text.ends_with(['e', 'E']);
            rest = after_quoted(rest, '\'', escapes);
            now.text.push_str(" '' ");
        } else if letter == '"' {
            let after = after_quoted(rest, '"', false);
            now.text.push_str(&rest[..rest.len() - after.len()]);
            rest = after;
        } else if let Some((body, after)) = dollar_quoted(rest) {
            now.bodies.push(body.to_owned());
            now.text.push_str(" '' ");
            rest = after;
        } else if letter == ';' {
            all.push(std::mem::replace(&mut now, empty()));
            rest = &rest[1..];
        } else {
            now.text.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    all.push(now);
    all.retain(|statement| !statement.text.trim().is_empty());
    all
}

fn after_comment(text: &str) -> &str {
    let mut depth = 0;
    let mut rest = text;
    while !rest.is_empty() {
        if rest.starts_with("/*") {
            depth += 1;
            rest = &rest[2..];
        } else if rest.starts_with("*/") {
            depth -= 1;
            rest = &rest[2..];
            if depth == 0 {
                return rest;
            }
        } else {
            let step = rest.chars().next().map_or(1, char::len_utf8);
            rest = &rest[step..];
        }
    }
    rest
}

fn after_quoted(text: &str, quote: char, escapes: bool) -> &str {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            if letters.peek().is_some_and(|(_, next)| *next == quote) {
                letters.next();
            } else {
                return &text[at + quote.len_utf8()..];
            }
        }
    }
    ""
}

fn dollar_quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('$')?;
    let end = inner.find('$')?;
    let tag = &inner[..end];
    if tag.starts_with(|letter: char| letter.is_ascii_digit())
        || !tag
            .chars()
            .all(|letter| letter.is_alphanumeric() || letter == '_')
    {
        return None;
    }
    let mark = &text[..end + 2];
    let body = &text[mark.len()..];
    let close = body.find(mark).unwrap_or(body.len());
    Some((&body[..close], body.get(close + mark.len()..).unwrap_or("")))
}

/// Words in upper case (quoted names as they are), brackets and commas on their own.
fn words(statement: &Statement) -> Vec<String> {
    split(&statement.text)
}

fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        let word = words.len() - 1;
        match letter {
            '"' => {
                quoted = !quoted;
                words[word].push(letter);
            }
            _ if quoted => words[word].push(letter),
            _ if letter.is_whitespace() => words.push(String::new()),
            '(' | ')' | ',' => words.extend([letter.to_string(), String::new()]),
            _ => words[word].extend(letter.to_uppercase()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What is wrong with a statement; also notes what it makes.
fn problem(
    words: &[String],
    statement: &Statement,
    made: &mut BTreeSet<String>,
) -> Option<&'static str> {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    // The name after the statement's kind, past what may stand between.
    let name_after = |at: usize| {
        words[at.min(words.len())..]
            .iter()
            .find(|word| {
                !matches!(
                    word.as_str(),
                    "IF" | "NOT" | "EXISTS" | "ONLY" | "CONCURRENTLY"
                )
            })
            .map_or(String::new(), |word| bare(word))
    };
    match word(0) {
        "CREATE" => {
            let mut at = 1;
            while matches!(
                word(at),
                "OR" | "REPLACE"
                    | "TEMP"
                    | "TEMPORARY"
                    | "UNLOGGED"
                    | "UNIQUE"
                    | "MATERIALIZED"
                    | "CONSTRAINT"
            ) {
                at += 1;
            }
            match word(at) {
                "INDEX" => {
                    let on = words
                        .iter()
                        .position(|word| word == "ON")
                        .unwrap_or(words.len());
                    (has("UNIQUE") && !made.contains(&name_after(on + 1)))
                        .then_some("makes values unique that the old release may repeat")
                }
                "RULE" => Some("makes a rewrite rule"),
                "POLICY" => {
                    let on = words
                        .iter()
                        .position(|word| word == "ON")
                        .unwrap_or(words.len());
                    (has("RESTRICTIVE") && !made.contains(&name_after(on + 1)))
                        .then_some("restricts rows the old release works with")
                }
                _ => {
                    made.insert(name_after(at + 1));
                    None
                }
            }
        }
        "DROP" => {
            let at = if word(1) == "MATERIALIZED" { 2 } else { 1 };
            (word(at) != "INDEX" && !made.contains(&name_after(at + 1)))
                .then_some("removes something (DROP)")
        }
        "ALTER" if word(1) == "TABLE" => {
            if made.contains(&name_after(2)) {
                return None;
            }
            let mut at = 2;
            while matches!(word(at), "IF" | "EXISTS" | "ONLY") {
                at += 1;
            }
            actions(words.get(at + 1..).unwrap_or_default())
                .into_iter()
                .find_map(|action| table_problem(&action))
        }
        "ALTER" if word(1) == "TYPE" => {
            let adds = has("ADD") && has("VALUE");
            (!adds && !made.contains(&name_after(2))).then_some("changes a type")
        }
        "ALTER" if word(1) == "DEFAULT" => None,
        "ALTER" => (has("RENAME")
            || has("SCHEMA")
            || !matches!(word(1), "FUNCTION" | "SEQUENCE" | "INDEX" | "VIEW"))
        .then_some("changes something that the old release relies on (ALTER)")
        .filter(|_| !made.contains(&name_after(2))),
        "REVOKE" => {
            let on = words
                .iter()
                .position(|word| word == "ON")
                .unwrap_or(words.len());
            let named = words[on.min(words.len())..]
                .iter()
                .any(|word| made.contains(&bare(word)));
            (!named).then_some("takes a right away (REVOKE)")
        }
        "TRUNCATE" | "DELETE" => {
            let named = words.iter().any(|word| made.contains(&bare(word)));
            (!named).then_some("removes rows")
        }
        "DO" => statement
            .bodies
            .iter()
            .flat_map(|body| split(body))
            .any(|word| {
                matches!(
                    word.trim_end_matches(';'),
                    "DROP" | "ALTER" | "TRUNCATE" | "DELETE" | "REVOKE" | "EXECUTE" | "RENAME"
                )
            })
            .then_some("changes things in a block (DO) that can't be read here"),
        "COMMENT" | "GRANT" | "INSERT" | "SELECT" | "SET" | "UPDATE" | "WITH" | "ANALYZE"
        | "LOCK" => None,
        _ => Some("has a statement that is not known to only add"),
    }
}

/// A name without its schema and quotes, in upper case.
fn bare(name: &str) -> String {
    name.rsplit('.')
        .next()
        .unwrap_or(name)
        .trim_matches('"')
        .to_uppercase()
}

/// The actions of an ALTER TABLE, which commas part.
fn actions(words: &[String]) -> Vec<Vec<&str>> {
    let mut depth = 0_usize;
    let mut all = vec![Vec::new()];
    for word in words {
        match word.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 0 => {
                all.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = all.last_mut() {
            last.push(word.as_str());
        }
    }
    all
}

fn table_problem(action: &[&str]) -> Option<&'static str> {
    let has = |wanted: &str| action.contains(&wanted);
    match action {
        [
            "ADD",
            "CONSTRAINT" | "CHECK" | "UNIQUE" | "PRIMARY" | "FOREIGN" | "EXCLUDE",
            ..,
        ] => Some("adds a rule (ADD CONSTRAINT) that the old release's writes may break"),
        ["ADD", ..] => {
            let filled = has("DEFAULT") || has("GENERATED");
            let required = action.windows(2).any(|pair| pair == ["NOT", "NULL"]) || has("PRIMARY");
            if required && !filled {
                Some("adds a column that must be filled (NOT NULL without DEFAULT)")
            } else if has("UNIQUE") && filled {
                Some("adds a unique column with one value for all")
            } else {
                None
            }
        }
        ["DROP", "CONSTRAINT", ..]
        | ["VALIDATE" | "RESET" | "CLUSTER" | "REPLICA", ..]
        | ["SET", "(", ..] => None,
        ["DROP", ..] => Some("removes a column (DROP)"),
        ["RENAME", ..] => Some("renames something (RENAME)"),
        ["ALTER", rest @ ..] => {
            let rest = if rest.first() == Some(&"COLUMN") {
                &rest[1..]
            } else {
                rest
            };
            match rest.get(1..).unwrap_or_default() {
                ["TYPE", ..] | ["SET", "DATA", ..] => Some("changes a column's type (ALTER TYPE)"),
                ["SET", "NOT", ..] => Some("makes a column required (SET NOT NULL)"),
                ["DROP", "NOT", ..]
                | [
                    "SET",
                    "DEFAULT" | "STATISTICS" | "STORAGE" | "COMPRESSION",
                    ..,
                ] => None,
                _ => Some("changes a column"),
            }
        }
        _ => Some("changes a table in a way that is not known to only add"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(sql: &str) -> Result<()> {
        check(
            &[Migration {
                name: "0009_x.sql",
                sql,
            }],
            "1.0.0".parse().unwrap(),
        )
    }

    #[test]
    fn what_only_adds_passes() {
        for sql in [
            "CREATE TABLE rooms (id uuid PRIMARY KEY, name text NOT NULL UNIQUE); CREATE UNIQUE INDEX ON rooms (name); \
             ALTER TABLE rooms ADD CONSTRAINT named CHECK (name <> ''); DROP TABLE rooms;",
            "ALTER TABLE patients ADD COLUMN nickname text",
            "ALTER TABLE patients ADD COLUMN seen boolean NOT NULL DEFAULT false, ADD COLUMN note text",
            "ALTER TABLE patients ALTER COLUMN phone DROP NOT NULL",
            "ALTER TABLE ONLY public.patients DROP CONSTRAINT IF EXISTS old_rule",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS quick ON patients (phone); DROP INDEX slow;",
            "ALTER TYPE colour ADD VALUE 'green'",
            "UPDATE patients SET phone = 'drop table patients; -- not code' WHERE phone = ''",
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM x; ALTER TABLE y DROP z; END $$; \
             REVOKE ALL ON FUNCTION f FROM PUBLIC",
            "-- ALTER TABLE patients DROP COLUMN name;\n/* DROP /* nested */ TABLE patients; */ SELECT 1",
            "DO $$ BEGIN PERFORM 1; END $$",
        ] {
            verdict(sql).unwrap();
        }
    }

    #[test]
    fn what_the_old_release_could_not_bear_is_refused() {
        for (sql, rule) in [
            ("DROP TABLE patients", "DROP"),
            ("alter table patients drop column name", "DROP"),
            ("ALTER TABLE patients DROP name", "DROP"),
            (
                "ALTER TABLE patients RENAME COLUMN name TO full_name",
                "RENAME",
            ),
            ("ALTER TABLE IF EXISTS patients RENAME TO people", "RENAME"),
            (
                "ALTER TABLE patients ALTER COLUMN phone TYPE bigint USING phone::bigint",
                "ALTER TYPE",
            ),
            (
                "ALTER TABLE patients ALTER phone SET DATA TYPE bigint",
                "ALTER TYPE",
            ),
            (
                "ALTER TABLE patients ADD COLUMN x text, ALTER COLUMN phone SET NOT NULL",
                "SET NOT NULL",
            ),
            (
                "ALTER TABLE patients ADD COLUMN kind text NOT NULL",
                "NOT NULL without DEFAULT",
            ),
            (
                "ALTER TABLE patients ADD CONSTRAINT c CHECK (phone <> '')",
                "ADD CONSTRAINT",
            ),
            (
                "CREATE UNIQUE INDEX one_phone ON patients (phone)",
                "unique",
            ),
            ("TRUNCATE patients", "removes rows"),
            ("DELETE FROM patients", "removes rows"),
            ("REVOKE SELECT ON patients FROM hadada_app", "REVOKE"),
            ("ALTER TYPE colour RENAME VALUE 'a' TO 'b'", "type"),
            (
                "DO $x$ BEGIN EXECUTE 'drop table patients'; END $x$",
                "block",
            ),
            ("SELECT 'it''s'; DROP VIEW everybody", "DROP"),
            ("SELECT E'a\\'; b'; DROP FUNCTION f", "DROP"),
            ("ALTER VIEW everybody RENAME TO all_of_them", "ALTER"),
            ("VACUUM FULL patients", "not known"),
        ] {
            let error = verdict(sql).unwrap_err().to_string();
            assert!(
                error.starts_with("not expand-only: ") && error.contains(rule),
                "{sql}: {error}"
            );
        }
    }

    #[test]
    fn removing_waits_until_no_release_on_the_box_uses_it() {
        let sql = "-- Nothing reads it any more.\n-- contract: 1.0.0\nALTER TABLE patients DROP COLUMN fax";
        verdict(sql).unwrap();
        let early = check(&[Migration { name: "x", sql }], "0.9.9".parse().unwrap());
        assert!(early.is_err());
        verdict("SELECT 1;\n-- contract: 0.1.0\nDROP TABLE patients").unwrap_err();
    }
}
