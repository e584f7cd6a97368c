//! Lays a conversation out as the model was trained to read it, by the template in its file.

use super::tokenizer::{Piece, Tokenizer};
use hadada_inference_protocol::{Message, Token};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};

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
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|e| format!("the model's chat template is not valid: {e}"))?;
        Ok(ChatTemplate { environment })
    }

    /// The tokens of a conversation, up to where the assistant's answer begins. Names of special tokens inside messages
    /// stay text: only the template can write special tokens.
    ///
    /// # Errors
    /// When the template refuses the conversation, for example for the order of its roles.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<Vec<Token>, String> {
        let mark = unused_mark(messages);
        let guarded: Vec<_> = messages
            .iter()
            .map(|m| context! { role => guard(tokenizer, &m.role, mark), content => guard(tokenizer, &m.content, mark) })
            .collect();
        let name = |token: Option<Token>| token.and_then(|t| tokenizer.name(t)).unwrap_or_default();
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! {
                    messages => guarded,
                    add_generation_prompt => true,
                    bos_token => name(tokenizer.begin()),
                    eos_token => name(Some(tokenizer.eos())),
                })
            })
            .map_err(|e| format!("the model's chat template refused the conversation: {e}"))?;
        let mut tokens = Vec::new();
        for piece in tokenizer.split_special(&rendered) {
            match piece {
                Piece::Special(token) => tokens.push(token),
                Piece::Text(text) => tokens.extend(tokenizer.encode(&text.replace(mark, ""))?),
            }
        }
        if let Some(opening) = tokenizer.opening().filter(|&t| tokens.first() != Some(&t)) {
            tokens.insert(0, opening);
        }
        Ok(tokens)
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
    let mut out = String::with_capacity(text.len());
    for piece in tokenizer.split_special(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Special(token) => {
                let name = tokenizer.name(token).unwrap_or_default();
                let first = name.chars().next().map_or(0, char::len_utf8);
                out.push_str(&name[..first]);
                out.push(mark);
                out.push_str(&name[first..]);
            }
        }
    }
    out
}
