//! Phone numbers: kept as E.164, shown as people write them.

use phonenumber::{Mode, country};

/// A phone number in E.164, such as `+27821234567`, or none (empty).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phone(String);

impl Phone {
    /// Reads a number; without a country code it is South African. Empty text is no number.
    ///
    /// # Errors
    /// A sentence with the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "This is not a phone number. South African numbers have ten digits, such as 082 123 4567; others begin with + and the country code.";
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let number = phonenumber::parse(Some(country::ZA), text).map_err(|_| RULE)?;
        let e164 = number.format().mode(Mode::E164).to_string();
        // The numbering plan also holds short service numbers; nobody's own phone is one of those.
        let short = number.code().value() == 27 && e164.len() != 12;
        if !number.is_valid() || short {
            return Err(RULE);
        }
        Ok(Self(e164))
    }

    /// E.164, or empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A stored number as South Africans write it: `082 123 4567`, with the country code where it is another's.
#[must_use]
pub fn shown(e164: &str) -> String {
    // Lists show many, nearly all of them South African: those need no numbering plan.
    if let Some(national) = e164
        .strip_prefix("+27")
        .filter(|n| n.len() == 9 && n.bytes().all(|b| b.is_ascii_digit()))
    {
        return format!("0{} {} {}", &national[..2], &national[2..5], &national[5..]);
    }
    let Ok(number) = phonenumber::parse(None, e164) else {
        return e164.to_owned();
    };
    number.format().mode(Mode::International).to_string()
}

/// What somebody types when searching, as the beginning of an E.164 number.
#[must_use]
pub fn search_prefix(digits: &str) -> Option<String> {
    let rest = digits
        .strip_prefix("0027")
        .or_else(|| digits.strip_prefix("+27"))
        .map(|r| format!("+27{r}"));
    rest.or_else(|| digits.strip_prefix('0').map(|r| format!("+27{r}")))
        .or_else(|| digits.starts_with('+').then(|| digits.to_owned()))
        .filter(|p| p.len() >= 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_form() {
        for text in [
            "082 123 4567",
            "0821234567",
            "+27 82 123 4567",
            "+27821234567",
            "(082) 123-4567",
        ] {
            assert_eq!(
                Phone::parse(text).unwrap().as_str(),
                "+27821234567",
                "{text}"
            );
        }
        assert_eq!(shown("+27821234567"), "082 123 4567");
        assert_eq!(shown("+27112345678"), "011 234 5678");
        assert_eq!(
            Phone::parse("+44 20 7946 0958").unwrap().as_str(),
            "+442079460958"
        );
        assert_eq!(shown("+442079460958"), "+44 20 7946 0958");
        assert_eq!(Phone::parse(" ").unwrap(), Phone::default());
    }

    #[test]
    fn refuses_what_nobody_can_call() {
        for text in [
            "082 123",
            "12345678901234567890",
            "phone",
            "0000000000",
            "082 123 4567 8",
        ] {
            assert!(Phone::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_search_begins_where_the_number_does() {
        assert_eq!(search_prefix("0821").as_deref(), Some("+27821"));
        assert_eq!(search_prefix("+27821").as_deref(), Some("+27821"));
        assert_eq!(search_prefix("0027821").as_deref(), Some("+27821"));
        assert_eq!(search_prefix("08"), None);
        assert_eq!(search_prefix("482"), None);
    }
}
