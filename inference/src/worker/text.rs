//! Turns the bytes of tokens into text that is safe to send: whole characters, and nothing that might turn out to be
//! the beginning of a stop text.

/// The text of one answer as it grows.
pub struct TextStream {
    stops: Vec<String>,
    /// Bytes that are not a whole character yet.
    partial: Vec<u8>,
    /// Text that might be the beginning of a stop text.
    held: String,
    stopped: bool,
}

impl TextStream {
    /// An empty text that ends at any of these; empty ones are ignored.
    pub fn new(stops: Vec<String>) -> TextStream {
        let stops = stops.into_iter().filter(|s| !s.is_empty()).collect();
        TextStream {
            stops,
            partial: Vec::new(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Whether a stop text came.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Adds a token's bytes and gives the text that is now final.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let mut text = std::mem::take(&mut self.held);
        take_whole(&mut self.partial, &mut text, false);
        self.settle(text, false)
    }

    /// The rest, when no more comes.
    pub fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        take_whole(&mut self.partial, &mut text, true);
        self.settle(text, true)
    }

    fn settle(&mut self, mut text: String, last: bool) -> String {
        if self.stopped {
            return String::new();
        }
        if let Some(at) = self
            .stops
            .iter()
            .filter_map(|s| text.find(s.as_str()))
            .min()
        {
            self.stopped = true;
            text.truncate(at);
            return text;
        }
        if !last {
            let begins_stop = |at: usize| self.stops.iter().any(|s| s.starts_with(&text[at..]));
            let hold = text
                .char_indices()
                .map(|(at, _)| at)
                .find(|&at| begins_stop(at));
            if let Some(at) = hold {
                self.held = text.split_off(at);
            }
        }
        text
    }
}

/// Moves whole characters from `bytes` to `text`; what can't become a character goes as U+FFFD.
fn take_whole(bytes: &mut Vec<u8>, text: &mut String, last: bool) {
    let mut used = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        used += chunk.valid().len();
        let broken = chunk.invalid();
        let at_end = used + broken.len() == bytes.len();
        if !broken.is_empty() && (last || !at_end || !could_grow(broken)) {
            text.push('\u{fffd}');
            used += broken.len();
        }
    }
    bytes.drain(..used);
}

/// Whether more bytes could make a character of these.
fn could_grow(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stop_text_in_pieces_is_found_and_left_out() {
        let mut stream = TextStream::new(vec!["</s>".into(), "STOP".into()]);
        let parts: Vec<String> = ["one <", "/", "b> two S", "TO", "P three"]
            .iter()
            .map(|p| stream.push(p.as_bytes()))
            .collect();
        assert_eq!(parts, ["one ", "", "</b> two ", "", ""]);
        assert!(stream.stopped());
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn what_only_looked_like_a_stop_comes_at_the_end() {
        let mut stream = TextStream::new(vec!["STOP".into()]);
        assert_eq!(stream.push(b"a ST"), "a ");
        assert_eq!(stream.finish(), "ST");
        assert!(!stream.stopped());
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_text(text in "\\PC{0,40}", cuts in prop::collection::vec(0usize..200, 0..20)) {
            let mut stream = TextStream::new(vec!["zzz".into()]);
            prop_assume!(!text.contains("zzz"));
            let mut places: Vec<usize> = cuts.into_iter().map(|c| c % (text.len() + 1)).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let mut out: String = places.windows(2).map(|w| stream.push(&text.as_bytes()[w[0]..w[1]])).collect();
            out.push_str(&stream.finish());
            prop_assert_eq!(out, text);
        }

        #[test]
        fn broken_bytes_become_marks(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let mut stream = TextStream::new(vec![]);
            let mut out: String = bytes.iter().map(|b| stream.push(&[*b])).collect();
            out.push_str(&stream.finish());
            prop_assert_eq!(out, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
