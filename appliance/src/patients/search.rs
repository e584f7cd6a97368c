//! What somebody types to find a patient, and the form in which names are kept for it.

use time::{Date, Month};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::{identity, phone};
use crate::clock::MONTH_NAMES;

/// Longest text that is searched for, in characters.
pub(super) const LONGEST: usize = 100;
/// Longest that one folded name may be, so that an index can hold three.
const FOLDED: usize = 100;

/// Lower case, accents folded, letters and digits only, one blank between words: `Ṱhohoyanḓou-Nel` → `thohoyandou nel`.
/// Apostrophes vanish, so that O'Brien is found as obrien.
#[must_use]
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    // Decomposing can give capitals and lowering can give marks, so marks go last.
    let lower: String = text.nfkd().flat_map(char::to_lowercase).collect();
    for c in lower.nfkd() {
        match c {
            c if is_combining_mark(c) || matches!(c, '\'' | '’' | 'ʼ' | '`') => {}
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' => folded.push('d'),
            'ı' => folded.push('i'),
            c if c.is_alphanumeric() => folded.push(c),
            _ if !folded.is_empty() && !folded.ends_with(' ') => folded.push(' '),
            _ => {}
        }
    }
    let folded = folded.trim_end();
    folded
        .chars()
        .take(FOLDED)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// `family given preferred file phone`.
#[must_use]
pub(super) fn search_text(
    family: &str,
    given: &str,
    preferred: &str,
    file: &str,
    e164: &str,
) -> String {
    let national = e164.strip_prefix("+27").map_or_else(
        || e164.trim_start_matches('+').to_owned(),
        |rest| format!("0{rest}"),
    );
    let parts = [
        fold(family),
        fold(given),
        fold(preferred),
        fold(file),
        national,
    ];
    parts
        .iter()
        .filter(|p| !p.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `given family`.
#[must_use]
pub(super) fn search_given(family: &str, given: &str) -> String {
    format!("{} {}", fold(given), fold(family))
        .trim()
        .to_owned()
}

/// Reads a date as people write it: `14-Mar-1992`, `14 March 1992`, `1992-03-14`, `14/03/1992`.
///
/// # Errors
/// A sentence with the rule it breaks.
pub(super) fn parse_date(text: &str) -> Result<Date, String> {
    let text = text.trim();
    let parts: Vec<&str> = text
        .split(['-', '/', '.', ' '])
        .filter(|p| !p.is_empty())
        .collect();
    let rule = || "Write the date as 14-Mar-1992, 1992-03-14 or 14/03/1992.".to_owned();
    let &[first, middle, last] = parts.as_slice() else {
        return Err(rule());
    };
    let digits = |part: &str, most: usize| {
        (!part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u16>().ok())
            .flatten()
    };
    let (year, day) = if first.len() == 4 {
        (digits(first, 4), digits(last, 2))
    } else {
        (
            digits(last, 4).filter(|_| last.len() == 4),
            digits(first, 2),
        )
    };
    let month = digits(middle, 2).or_else(|| month_by_name(middle));
    let (Some(year), Some(month), Some(day)) = (year, month, day) else {
        return Err(rule());
    };
    u8::try_from(month)
        .ok()
        .and_then(|m| Month::try_from(m).ok())
        .and_then(|m| Date::from_calendar_date(i32::from(year), m, u8::try_from(day).ok()?).ok())
        .ok_or_else(|| format!("There is no such day as {text}."))
}

fn month_by_name(text: &str) -> Option<u16> {
    let text = text.to_ascii_lowercase();
    (text.len() >= 3)
        .then(|| {
            MONTH_NAMES
                .iter()
                .position(|name| name.to_ascii_lowercase().starts_with(&text))
        })
        .flatten()
        .and_then(|at| u16::try_from(at + 1).ok())
}

/// A search, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Words as typed, folded.
    pub prefix: String,
    /// The same words, longest first.
    pub words: Vec<String>,
    /// What may be an identity number, with the kind it may be.
    pub identities: Vec<(&'static str, String)>,
    pub births: Vec<Date>,
    pub file: Option<String>,
    pub phone: Option<String>,
}

impl Wanted {
    /// Takes apart what was typed; `None` when there is nothing to search for.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut wanted = Self::default();
        let mut rest = text.trim().to_owned();
        let pieces: Vec<&str> = text.split_whitespace().collect();
        // A date may stand alone or beside a name, in one piece or (14 Mar 1992) in three.
        'dates: for width in [1, 3] {
            for (at, window) in pieces.windows(width).enumerate() {
                if let Ok(date) = parse_date(&window.join(" ")) {
                    wanted.births.push(date);
                    rest = pieces
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| *i < at || *i >= at + width)
                        .map(|(_, p)| *p)
                        .collect::<Vec<_>>()
                        .join(" ");
                    break 'dates;
                }
            }
        }
        let compact: String = rest
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '(' | ')' | '.'))
            .collect();
        let digits = compact.trim_start_matches('+');
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            wanted.phone = phone::search_prefix(&compact);
            if digits.len() == 13 {
                wanted.identities.push(("sa-id", digits.to_owned()));
            }
            if digits.len() <= 6 {
                wanted.file = digits.parse().ok().map(super::file_number);
            }
            wanted.births.extend(short_births(digits));
            // Written with blanks, it is still one number; a national number is found by its digits anywhere.
            rest = compact
                .strip_prefix("+27")
                .map_or_else(|| digits.to_owned(), |r| format!("0{r}"));
            if digits.len() == 6 && !wanted.births.is_empty() {
                rest.clear();
            }
        } else if let Some(number) = compact
            .strip_prefix(['h', 'H'])
            .filter(|n| n.len() <= 9)
            .and_then(|n| n.parse::<u32>().ok())
        {
            wanted.file = i32::try_from(number).ok().map(super::file_number);
        }
        if let Ok(passport) = identity::Passport::parse(&rest)
            && let Some(number) = identity::Identity::Passport(passport).value()
            && number.bytes().any(|b| b.is_ascii_digit())
        {
            wanted.identities.push(("passport", number.to_owned()));
        }
        wanted.prefix = fold(&rest);
        wanted.words = wanted
            .prefix
            .split(' ')
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect();
        wanted
            .words
            .sort_by_key(|w| std::cmp::Reverse(w.chars().count()));
        wanted.words.truncate(8);
        (wanted != Self::default()).then_some(wanted)
    }
}

/// `920314`, the beginning of an SA ID number, may be a birth date of either century.
fn short_births(digits: &str) -> Vec<Date> {
    if digits.len() != 6 {
        return Vec::new();
    }
    let pair = |at: usize| digits[at..at + 2].parse::<u8>().unwrap_or(0);
    [1900, 2000]
        .into_iter()
        .filter_map(|century| {
            Date::from_calendar_date(
                century + i32::from(pair(0)),
                Month::try_from(pair(2)).ok()?,
                pair(4),
            )
            .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::date;

    #[test]
    fn names_fold_to_what_a_plain_keyboard_types() {
        assert_eq!(fold("Ḓoḽoṱhi Ṅwaṋḓo-Šikhali"), "dolothi nwando sikhali");
        assert_eq!(fold("  O'Brien   van der Merwe "), "obrien van der merwe");
        assert_eq!(fold("Müller-Groß"), "muller gross");
        assert_eq!(fold("😀 100% _x_ \\"), "100 x");
        assert_eq!(
            search_text("Khumalo", "Thandiwe", "", "H-00482", "+27821234567"),
            "khumalo thandiwe h 00482 0821234567"
        );
    }

    #[test]
    fn dates_are_read_in_every_form_people_write() {
        for text in [
            "14-Mar-1992",
            "1992-03-14",
            "14/03/1992",
            "14 March 1992",
            "14.3.1992",
            "14-mar-1992",
        ] {
            assert_eq!(parse_date(text), Ok(date!(1992 - 03 - 14)), "{text}");
        }
        for text in [
            "31-Feb-1992",
            "30/02/2020",
            "1992-13-01",
            "0-Jan-1992",
            "29/02/2023",
        ] {
            assert!(
                parse_date(text)
                    .unwrap_err()
                    .starts_with("There is no such day"),
                "{text}"
            );
        }
        for text in [
            "",
            "14/03/92",
            "yesterday",
            "14031992",
            "14-Ma-1992",
            "-1-3-1992x",
            "1992-03-14-01",
        ] {
            assert!(
                parse_date(text).unwrap_err().starts_with("Write the date"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_search_is_taken_apart() {
        let wanted = Wanted::parse("Khumalo 14-Mar-1992").unwrap();
        assert_eq!(
            (wanted.prefix.as_str(), wanted.births),
            ("khumalo", vec![date!(1992 - 03 - 14)])
        );
        let wanted = Wanted::parse("14 March 1992").unwrap();
        assert_eq!(
            (wanted.prefix.as_str(), wanted.births),
            ("", vec![date!(1992 - 03 - 14)])
        );
        let wanted = Wanted::parse("+27 82 123 4567").unwrap();
        assert_eq!(
            (wanted.prefix.as_str(), wanted.phone.as_deref()),
            ("0821234567", Some("+27821234567"))
        );
        assert_eq!(
            Wanted::parse("h-482").unwrap().file.as_deref(),
            Some("H-00482")
        );
        assert_eq!(
            Wanted::parse("482").unwrap().file.as_deref(),
            Some("H-00482")
        );
        assert_eq!(
            Wanted::parse("800101 5009 087").unwrap().identities[0],
            ("sa-id", "8001015009087".into())
        );
        assert_eq!(
            Wanted::parse("920314").unwrap().births,
            [date!(1992 - 03 - 14), date!(2092 - 03 - 14)]
        );
        assert_eq!(
            Wanted::parse("a1234567").unwrap().identities,
            [("passport", "A1234567".into())]
        );
        assert_eq!(Wanted::parse(" 😀 "), None);
        assert_eq!(
            Wanted::parse("jo van der merwe").unwrap().words,
            ["merwe", "van", "der", "jo"]
        );
    }

    proptest! {
        /// The search function's patterns hold whatever folding gives, so folding must give letters, digits and single blanks.
        #[test]
        fn folded_text_is_plain_and_stays_so(text in ".{0,200}") {
            let folded = fold(&text);
            prop_assert!(folded.chars().all(|c| c.is_alphanumeric() || c == ' '), "{folded:?}");
            prop_assert!(!folded.contains("  ") && folded.trim() == folded && folded.chars().count() <= FOLDED);
            prop_assert_eq!(fold(&folded), folded);
        }

        #[test]
        fn any_text_can_be_searched_for(text in ".{0,120}") {
            let _whatever_it_wants = Wanted::parse(&text);
        }

        #[test]
        fn written_dates_read_back(day in date!(1900-01-01).to_julian_day()..date!(2100-01-01).to_julian_day()) {
            let date = Date::from_julian_day(day).unwrap();
            prop_assert_eq!(parse_date(&crate::clock::date_text(date)), Ok(date));
            prop_assert_eq!(parse_date(&date.to_string()), Ok(date));
        }
    }
}
