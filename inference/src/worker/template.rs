//! Lays a conversation out as the model was trained to read it, by the template in its file.

use super::tokenizer::Tokenizer;
use hadada_inference_protocol::{Message, Token};
use jiff::tz::{TimeZone, offset};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io;

/// A model's chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// When it is not valid; the sentence says where.
    pub fn new(source: &str) -> Result<ChatTemplate, String> {
        let mut environment = Environment::new();
        // Templates are written for Python's Jinja with these two switches on.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|e| e.to_string())?);
        environment.set_fuel(Some(1_000_000));
        // And with its strings and lists: `.strip()`, `.items()` and their like.
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_function("strftime_now", now);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|e| format!("the model's chat template is not valid: {e}"))?;
        Ok(ChatTemplate { environment })
    }

    /// The text of a conversation, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// When the template refuses the conversation, for example for the order of its roles.
    pub fn render(&self, messages: &[Message], begin: &str, end: &str) -> Result<String, String> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| context! { role => m.role.as_str(), content => m.content.as_str() })
            .collect();
        self.environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! {
                    messages => messages,
                    add_generation_prompt => true,
                    bos_token => begin,
                    eos_token => end,
                })
            })
            .map_err(|e| format!("the model's chat template refused the conversation: {e}"))
    }

    /// The tokens of a conversation, up to where the assistant's answer begins. Names of special tokens inside messages
    /// stay text: only the template can write special tokens.
    ///
    /// # Errors
    /// As [`Self::render`], and when a message has a character that the vocabulary can't write.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<Vec<Token>, String> {
        let mark = unused_mark(messages);
        let guarded: Vec<Message> = messages
            .iter()
            .map(|m| Message {
                role: guard(tokenizer, &m.role, mark),
                content: guard(tokenizer, &m.content, mark),
            })
            .collect();
        let name = |token: Option<Token>| token.and_then(|t| tokenizer.name(t)).unwrap_or_default();
        let rendered = self.render(
            &guarded,
            name(tokenizer.begin()),
            name(Some(tokenizer.eos())),
        )?;
        let mut tokens = tokenizer.encode_marked(&rendered, mark)?;
        if let Some(opening) = tokenizer.opening().filter(|&t| tokens.first() != Some(&t)) {
            tokens.insert(0, opening);
        }
        Ok(tokens)
    }
}

/// The date and time in South Africa, which keeps one offset all year.
fn now(format: String) -> Result<String, Error> {
    let here = jiff::Timestamp::now().to_zoned(TimeZone::fixed(offset(2)));
    jiff::fmt::strtime::format(format, &here)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))
}

/// JSON as Python writes it: with a space after commas and colons, and letters as they are. Minijinja's own filter
/// writes for web pages.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Accepted and without effect here: they are the defaults of the programs that templates are written for.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let spaces = vec![b' '; width.min(16)];
            let pretty = PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)),
    };
    written
        .map_err(io::Error::from)
        .and_then(|()| String::from_utf8(out).map_err(io::Error::other))
        .map(Value::from_safe_string)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// A character that occurs in no message: Unicode has a range that no text may use.
fn unused_mark(messages: &[Message]) -> char {
    let used = |c: char| {
        messages
            .iter()
            .any(|m| m.content.contains(c) || m.role.contains(c))
    };
    ('\u{fdd0}'..='\u{fdef}')
        .chain('\u{f0000}'..='\u{ffffd}')
        .find(|&c| !used(c))
        .unwrap_or('\u{fdd0}')
}

/// Puts the mark inside every name of a special token, so that it is none any more until the mark is taken out.
fn guard(tokenizer: &Tokenizer, text: &str, mark: char) -> String {
    let mut text = text.to_owned();
    for name in tokenizer.special_names() {
        let first = name.chars().next().map_or(0, char::len_utf8);
        let (head, tail) = name.split_at(first);
        // Again, as a name can overlap with itself.
        while !tail.is_empty() && text.contains(name) {
            text = text.replace(name, &format!("{head}{mark}{tail}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        template: String,
        messages: Vec<Message>,
        begin: String,
        end: String,
        /// What Python's Jinja makes of it; missing where the template refuses.
        text: Option<String>,
    }

    #[test]
    fn templates_give_what_pythons_jinja_gives() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/inference/fixtures/templates"
        );
        let cases = std::fs::read(format!("{folder}/expected.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
        assert!(cases.len() >= 20);
        for case in cases {
            let source =
                std::fs::read_to_string(format!("{folder}/{}.jinja", case.template)).unwrap();
            let template = ChatTemplate::new(&source).unwrap();
            let found = template.render(&case.messages, &case.begin, &case.end);
            match case.text {
                Some(text) => assert_eq!(found.unwrap(), text, "{}", case.template),
                None => assert!(
                    found.unwrap_err().contains("alternate"),
                    "{}",
                    case.template
                ),
            }
        }
    }

    fn render(source: &str) -> String {
        let message = Message {
            role: "user".into(),
            content: "  a \"quoted\" <word> ṱ ".into(),
        };
        ChatTemplate::new(source)
            .and_then(|t| t.render(&[message], "<s>", "</s>"))
            .unwrap()
    }

    #[test]
    fn python_words_in_templates_are_understood() {
        assert_eq!(
            render("{{ messages[0]['content'].strip().upper()[:3] }}"),
            "A \""
        );
        assert_eq!(
            render("{{ messages | tojson }}"),
            r#"[{"role": "user", "content": "  a \"quoted\" <word> ṱ "}]"#
        );
        assert_eq!(
            render("{{ {'a': [1, 2]} | tojson(indent=2) }}"),
            "{\n  \"a\": [\n    1,\n    2\n  ]\n}"
        );
        assert_eq!(
            render(
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}"
            ),
            "1"
        );
        let today = render("{{ strftime_now('%d %b %Y') }}");
        assert!(
            today.len() == 11 && today.ends_with(|c: char| c.is_ascii_digit()),
            "{today}"
        );
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}";
        let refused = ChatTemplate::new(endless).unwrap().render(&[], "", "");
        assert!(refused.unwrap_err().contains("fuel"));
    }
}
