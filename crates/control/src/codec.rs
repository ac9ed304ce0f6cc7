//! Values to lines and lines to values, free of I/O.
//!
//! Promises: an encoded line holds no line break but the one at its end; nothing longer than the named
//! limits is kept in memory; a line that cannot be understood gives one error with the column.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Answer, Request};

/// Longest request line, the line break included: 10,000 queue ids and generous criteria.
pub const REQUEST_LINE_BYTES_MAX: usize = 1024 * 1024;

/// Longest answer line, the line break included: a message with half a million recipients, each with
/// a reason.
pub const ANSWER_LINE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest trigger buffer (Postfix reads as many bytes in one go).
pub const TRIGGER_BYTES_MAX: usize = 1024;

/// What a connection is, told by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// Nothing has arrived yet.
    Unknown,
    /// Lines of JSON.
    Requests,
    /// A trigger buffer of up to [`TRIGGER_BYTES_MAX`] bytes that ends with the connection's write side
    /// or with a line break; there is no answer. Bytes that are no letters of a trigger are ignored.
    Trigger,
    /// Neither.
    Nonsense,
}

/// Tells requests from triggers.
pub fn classify(first_bytes: &[u8]) -> Opening {
    match first_bytes.first() {
        None => Opening::Unknown,
        Some(b'{') => Opening::Requests,
        Some(b'D' | b'I' | b'A' | b'F' | b'W') => Opening::Trigger,
        Some(_) => Opening::Nonsense,
    }
}

/// A line was not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not understood at column {column}: {text}")]
pub struct DecodeError {
    /// Counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub text: String,
}

/// A line exceeds its limit; the connection cannot be used any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a line is longer than {limit} bytes")]
pub struct LineTooLong {
    /// The limit.
    pub limit: usize,
}

/// The value as one line of JSON, line break included.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("protocol types have text keys only");
    line.push(b'\n');
    line
}

/// Reads a request line, with or without its line break.
pub fn decode_request(line: &[u8]) -> Result<Request, DecodeError> {
    decode(line)
}

/// Reads an answer line, with or without its line break.
pub fn decode_answer(line: &[u8]) -> Result<Answer, DecodeError> {
    decode(line)
}

fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        let plain = text.rsplit_once(" at line ").map_or(text.as_str(), |(plain, _)| plain);
        DecodeError { column: error.column().max(1), text: plain.to_owned() }
    })
}

/// Collects bytes as they arrive and gives whole lines.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes in front that have been given out.
    taken: usize,
    /// Bytes that are known to hold no line break.
    searched: usize,
    limit: usize,
}

impl LineBuffer {
    /// A buffer for lines of at most `limit` bytes, line break included.
    pub fn new(limit: usize) -> LineBuffer {
        LineBuffer { bytes: Vec::new(), taken: 0, searched: 0, limit }
    }

    /// Appends what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.searched -= self.taken;
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line without its line break, or nothing when more bytes are needed.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        let start = self.taken;
        let found = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n');
        let end = found.map_or(self.bytes.len(), |place| self.searched + place);
        let length = end - start + usize::from(found.is_some());
        self.searched = end;
        if length > self.limit || (found.is_none() && length == self.limit) {
            return Err(LineTooLong { limit: self.limit });
        }
        if found.is_none() {
            return Ok(None);
        }
        self.taken = end + 1;
        self.searched = self.taken;
        let line = &self.bytes[start..end];
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Whether bytes of an unfinished line are waiting.
    pub fn has_partial_line(&self) -> bool {
        self.taken < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ContentItem, FlushTarget, Item, Parts, Selector};
    use proptest::prelude::*;

    #[test]
    fn requests_are_plain_to_a_reader() {
        let cases = [
            (Request::Ping {}, r#"{"ping":{}}"#),
            (Request::Hello { version: 1 }, r#"{"hello":{"version":1}}"#),
            (Request::List { selector: Selector::everything() }, r#"{"list":{"selector":{"all":true}}}"#),
            (
                Request::Show { id: "X".to_owned(), parts: Parts { body: true, ..Parts::default() } },
                r#"{"show":{"id":"X","parts":{"envelope":false,"headers":false,"body":true}}}"#,
            ),
            (
                Request::Change { action: Action::Hold, selector: Selector::of_ids(["X"]), dry_run: false },
                r#"{"change":{"action":"hold","selector":{"ids":["X"]},"dry_run":false}}"#,
            ),
            (
                Request::Flush { target: FlushTarget::Sites(vec!["a.test".to_owned()]) },
                r#"{"flush":{"target":{"sites":["a.test"]}}}"#,
            ),
            (Request::Flush { target: FlushTarget::All {} }, r#"{"flush":{"target":{"all":{}}}}"#),
        ];
        for (request, line) in cases {
            let encoded = encode(&request);
            assert_eq!(String::from_utf8(encoded.clone()).unwrap(), format!("{line}\n"));
            assert_eq!(decode_request(&encoded), Ok(request));
            assert_eq!(classify(&encoded), Opening::Requests);
        }
    }

    #[test]
    fn nonsense_gives_a_column_and_no_line_number() {
        for bad in ["", "{", "[]", "{\"ping\":{\"x\":1}}", "{\"fly\":{}}", "{\"ping\":{}} x", "\u{0}"] {
            let error = decode_request(bad.as_bytes()).expect_err(bad);
            assert!(error.column >= 1 && !error.text.contains(" line "), "{error}");
        }
    }

    #[test]
    fn the_first_byte_tells_triggers_from_requests() {
        for letter in b"DIAFW" {
            assert_eq!(classify(&[*letter]), Opening::Trigger);
        }
        assert_eq!(classify(b""), Opening::Unknown);
        assert_eq!(classify(b"GET / HTTP/1.1"), Opening::Nonsense);
        assert_eq!(classify(b"dia"), Opening::Nonsense);
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_above_does_not() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"abc\nabc");
        assert_eq!(buffer.next_line(), Ok(Some(&b"abc"[..])));
        assert_eq!(buffer.next_line(), Ok(None));
        assert!(buffer.has_partial_line());
        buffer.push(b"d\n");
        assert_eq!(buffer.next_line(), Err(LineTooLong { limit: 4 }));
        let mut endless = LineBuffer::new(4);
        endless.push(b"abcd");
        assert_eq!(endless.next_line(), Err(LineTooLong { limit: 4 }));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(
            lines in prop::collection::vec("[a-z{}\"]{0,8}", 0..8),
            cut in 1usize..5,
        ) {
            let wire: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
            let mut buffer = LineBuffer::new(64);
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                buffer.push(piece);
                while let Some(line) = buffer.next_line().unwrap() {
                    got.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            prop_assert_eq!(got, lines);
            prop_assert!(!buffer.has_partial_line());
        }

        #[test]
        fn content_survives_byte_for_byte(bytes: Vec<u8>, headers: bool) {
            let answer = Answer::item(Item::Content(ContentItem { headers, bytes }));
            let line = encode(&answer);
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            prop_assert_eq!(decode_answer(&line), Ok(answer));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = (decode_request(&bytes), decode_answer(&bytes), classify(&bytes));
        }
    }
}
