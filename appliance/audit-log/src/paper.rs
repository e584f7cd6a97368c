//! Bytes on paper, to be read out and typed in again: Crockford's base 32, which has no I, L, O or U to misread
//! (<https://www.crockford.com/base32.html>), in groups of four.

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Writes bytes in groups of four digits, as `7KQ2-9F4M`. Eight digits hold five bytes; a last group of fewer than
/// five is filled up with zeros.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.chunks(5) {
        let mut bits = 0_u64;
        for place in 0..5 {
            bits = bits << 8 | u64::from(chunk.get(place).copied().unwrap_or(0));
        }
        for place in (0..8).rev() {
            if (place == 7 || place == 3) && !out.is_empty() {
                out.push('-');
            }
            out.push(char::from(DIGITS[(bits >> (5 * place)) as usize & 31]));
        }
    }
    out
}

/// Reads what [`encode`] wrote: small letters, spaces, other groups, and the letters O, I and L for the digits they
/// look like are all right. None when a letter is unknown or the number of digits is not a multiple of eight.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .bytes()
        .filter(|letter| *letter != b'-' && !letter.is_ascii_whitespace())
        .map(|letter| {
            let letter = match letter.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            DIGITS
                .iter()
                .position(|digit| *digit == letter)
                .map(|digit| digit as u64)
        })
        .collect::<Option<Vec<u64>>>()?;
    let groups = digits.chunks_exact(8);
    if !groups.remainder().is_empty() {
        return None;
    }
    let bytes = groups.flat_map(|group| {
        let bits = group.iter().fold(0, |bits, digit| bits << 5 | digit);
        let [_, _, _, bytes @ ..] = bits.to_be_bytes();
        bytes
    });
    Some(bytes.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_back(groups in proptest::collection::vec(any::<[u8; 5]>(), 0..9)) {
            let bytes = groups.concat();
            let text = encode(&bytes);
            prop_assert!(text.split('-').all(|group| group.len() == 4 || text.is_empty()));
            prop_assert_eq!(decode(&text), Some(bytes.clone()));
            let handwritten = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            prop_assert_eq!(decode(&handwritten), Some(bytes));
        }
    }

    #[test]
    fn wrong_letters_and_lost_digits_are_refused() {
        for text in ["7KQ2-9F4", "7KQ2-9F4U", "7KQ2-9F4M-7"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
