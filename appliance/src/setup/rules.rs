//! What the wizard accepts. Pure.

use std::net::IpAddr;

use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// Wrong codes before a wait.
const FREE: i32 = 5;
/// Wrong codes before a code is void.
const MOST: i32 = 30;

/// What happens after a wrong code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another try at once.
    Again,
    /// Another try from then on.
    Wait(OffsetDateTime),
    /// Root has to make a new code.
    Void,
}

pub(super) fn after_wrong_code(failures: i32, now: OffsetDateTime) -> After {
    match failures {
        ..FREE => After::Again,
        MOST.. => After::Void,
        n => {
            let minutes = 1_i64 << (n - FREE).min(4);
            After::Wait(now + Duration::minutes(minutes))
        }
    }
}

/// A code as it is hashed: without gaps, in capitals, and with the digits that letters were misread for.
pub(super) fn canonical(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect()
}

/// Hex SHA-256 of a code.
pub(super) fn code_hash(code: &str) -> String {
    hex::encode(Sha256::digest(canonical(code).as_bytes()))
}

/// Two different groups of so many to ask for, from random numbers.
pub(super) fn groups_to_ask(groups: usize, random: [u8; 2]) -> [usize; 2] {
    let first = usize::from(random[0]) % groups.max(2);
    let step = 1 + usize::from(random[1]) % (groups.max(2) - 1);
    let second = (first + step) % groups.max(2);
    [first.min(second), first.max(second)]
}

/// A name or address that browsers or backups can reach.
pub(super) fn host(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    if text.parse::<IpAddr>().is_ok() {
        return Some(text);
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let number = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    (text.len() <= 253 && !number && text.split('.').all(label)).then_some(text)
}

/// A folder without surprises: letters, digits, dots, hyphens and slashes, never upwards.
pub(super) fn folder(text: &str, absolute: bool) -> Option<String> {
    let text = text.trim();
    let plain = (1..=100).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && text.starts_with('/') <= absolute
        && !text.contains("//")
        && text.split('/').all(|part| part != ".." && part != ".");
    plain.then(|| text.trim_end_matches('/').to_owned())
}

/// An e-mail address, roughly: the mail server decides.
pub(super) fn mail_address(text: &str) -> Option<String> {
    let text = text.trim();
    let (local, domain) = text.rsplit_once('@')?;
    let plain = |s: &str| {
        !s.is_empty()
            && s.chars()
                .all(|c| c.is_ascii_graphic() && !"<>(),;:\\\"@[]".contains(c))
    };
    (text.len() <= 254 && plain(local) && host(domain).is_some()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_code_is_the_same_however_it_is_typed(code in "[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}") {
            let sloppy = code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            prop_assert_eq!(code_hash(&sloppy), code_hash(&code));
            prop_assert_eq!(canonical(&code), code.replace('-', ""));
        }

        #[test]
        fn two_different_groups_are_asked_for(groups in 2_usize..40, random: [u8; 2]) {
            let [one, two] = groups_to_ask(groups, random);
            prop_assert!(one < two && two < groups);
        }

        #[test]
        fn no_folder_leads_upwards(text in "[a-z./]{1,20}") {
            if let Some(folder) = folder(&text, true) {
                prop_assert!(!folder.split('/').any(|p| p == ".."));
            }
        }
    }

    #[test]
    fn guessing_a_code_takes_longer_and_longer_and_then_ends() {
        let now = OffsetDateTime::UNIX_EPOCH;
        assert_eq!(after_wrong_code(4, now), After::Again);
        assert_eq!(
            after_wrong_code(5, now),
            After::Wait(now + Duration::minutes(1))
        );
        assert_eq!(
            after_wrong_code(20, now),
            After::Wait(now + Duration::minutes(16))
        );
        assert_eq!(after_wrong_code(30, now), After::Void);
    }

    #[test]
    fn places_are_what_they_say() {
        assert_eq!(host(" NAS.local "), Some("nas.local".into()));
        assert_eq!(host("192.168.1.10"), Some("192.168.1.10".into()));
        for bad in ["", "nas local", "-nas", "1.2.3", "nas;reboot", "a..b"] {
            assert_eq!(host(bad), None, "{bad}");
        }
        assert_eq!(
            folder("hadada/backup/", false),
            Some("hadada/backup".into())
        );
        for bad in ["", "/abs", "a/../b", "..", "a b", "a//b", "$(x)"] {
            assert_eq!(folder(bad, false), None, "{bad}");
        }
        assert_eq!(folder("/srv/hadada", true), Some("/srv/hadada".into()));
        assert!(
            mail_address("it@example.org").is_some()
                && mail_address("it@").is_none()
                && mail_address("a b@example.org").is_none()
        );
    }
}
