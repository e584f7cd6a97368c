//! What comes in: forms, queries and JSON, with errors that name the field, and text checked at the border.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, FieldError, Problems};

/// The id of a form sent by a page: sent twice, it makes one record.
pub type FormId = uuid::Uuid;

/// A URL-encoded form.
#[derive(Debug)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Error;
    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match axum::extract::Form::<T>::from_request(request, state).await {
            Ok(axum::extract::Form(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large())
            }
            Err(rejection) => Err(named(&rejection.body_text())),
        }
    }
}

/// The query of an address.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(named(&rejection.body_text())),
        }
    }
}

/// A JSON body.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Error;
    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large())
            }
            Err(rejection) => Err(named(&rejection.body_text())),
        }
    }
}

fn too_large() -> Error {
    Error::TooLarge("What was sent is larger than this server takes. Nothing was saved; shorten it or send it in parts.".into())
}

/// Finds the field in serde's words, so that the error stands beside it.
fn named(words: &str) -> Error {
    let field = words
        .split_once("missing field `")
        .or_else(|| words.split_once("unknown field `"))
        .and_then(|(_, rest)| rest.split_once('`'))
        .map(|(field, _)| field.to_owned())
        .or_else(|| {
            let start = ["target type: ", "query string: ", "form body: "]
                .into_iter()
                .find_map(|before| words.split_once(before));
            let body = start.map_or(words, |(_, rest)| rest);
            body.split_once(": ")
                .map(|(field, _)| field.to_owned())
                .filter(|f| f.len() < 40 && !f.contains(' '))
        })
        .unwrap_or_else(|| "body".into());
    let message = if words.contains("missing field") {
        "This is needed.".to_owned()
    } else if words.contains("unknown field") {
        "There is no such field.".to_owned()
    } else {
        let reason = words.rsplit(": ").next().unwrap_or(words);
        format!("This can't be read: {reason}.")
    };
    Error::field(field, message)
}

/// Whether text holds characters that no record may: NUL and other controls, save line breaks and tabs.
fn has_controls(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// A line of text that must be there.
pub fn required_text(
    problems: &mut Problems,
    field: &'static str,
    text: &str,
    most: usize,
) -> String {
    if text.trim().is_empty() {
        problems.add(field, "This is needed.");
        return String::new();
    }
    single_line(problems, field, text, most)
}

/// A line of text that may be empty.
pub fn optional_text(
    problems: &mut Problems,
    field: &'static str,
    text: Option<&str>,
    most: usize,
) -> String {
    single_line(problems, field, text.unwrap_or_default(), most)
}

/// Trims a line and notes what is wrong with it. `most` counts characters.
pub fn single_line(
    problems: &mut Problems,
    field: &'static str,
    text: &str,
    most: usize,
) -> String {
    let text = text.trim();
    if has_controls(text) || text.contains(['\n', '\r', '\t']) {
        problems.add(field, "This holds characters that can't be stored, such as NUL or a line break. Type it again.");
        return String::new();
    }
    if text.chars().count() > most {
        problems.add(field, format!("At most {most} characters."));
        return String::new();
    }
    use unicode_normalization::UnicodeNormalization;
    text.nfc().collect()
}

/// Field → sentence that names the field and the rule, for `error_summary` and the fields; `label` gives a
/// field's words on the form.
pub fn field_errors(fields: &[FieldError], label: fn(&str) -> &str) -> Map<String, Value> {
    let mut errors = Map::new();
    for error in fields {
        let label = label(&error.field);
        let sentence = if error.message == "This is needed." {
            let verb = if label.ends_with("names") {
                "are"
            } else {
                "is"
            };
            format!("{label} {verb} needed.")
        } else {
            format!("{label}: {}", error.message)
        };
        errors
            .entry(error.field.to_string())
            .or_insert(Value::String(sentence));
    }
    errors
}

/// Accepts what a mail server could deliver to (the shape of RFC 5321, section 4.1.2, without quoted local parts),
/// and nothing; trimmed.
///
/// # Errors
/// The rule that is broken.
pub fn email_address(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "This is not an email address, such as name@example.co.za.";
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let (local, domain) = text.rsplit_once('@').ok_or(RULE)?;
    let domain_fits = domain.contains('.')
        && domain
            .split('.')
            .all(|l| !l.is_empty() && l.chars().all(|c| c.is_alphanumeric() || c == '-'));
    let local_fits = !local.is_empty()
        && local.chars().count() <= 64
        && !local.chars().any(|c| {
            c.is_whitespace() || c.is_control() || matches!(c, '@' | '<' | '>' | ',' | ';')
        });
    if domain_fits && local_fits && text.chars().count() <= 254 {
        Ok(text.to_owned())
    } else {
        Err(RULE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_addresses_have_their_shape() {
        for good in ["a@b.co", "thandiwe.khumalo+physio@example.co.za", ""] {
            assert!(email_address(good).is_ok(), "{good}");
        }
        for bad in [
            "a",
            "a@b",
            "@b.co",
            "a b@c.co",
            "a@b..co",
            "a@b.co,c@d.co",
            "a@b.c\0o",
        ] {
            assert!(email_address(bad).is_err(), "{bad}");
        }
    }
}
