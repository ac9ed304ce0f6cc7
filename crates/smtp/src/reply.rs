//! Replies on the wire (RFC 5321 4.2, RFC 2034): read as they arrive, printed as they are sent.
//!
//! Promises: any bytes in any pieces give the same replies or the same error, in bounded memory, without a
//! panic; what is printed reads back. Every word a next hop said is kept, up to the limits.
//!
//! Refuses: lines that do not start with a code from 200 to 599 and a space, a hyphen or the end; replies
//! of more than [`REPLY_LINES_MAX`] lines or [`REPLY_BYTES_MAX`] bytes.
//!
//! Tolerates what is met in the field: a bare LF as the end of a line, codes that differ between the lines
//! of one reply (the last counts), bytes that are not UTF-8 or not printable (replaced).

use mail::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX};
use mail::{EnhancedStatus, Reply};

/// Most bytes of one reply, line ends included; bounds a line that never ends, too.
pub const REPLY_BYTES_MAX: usize = REPLY_LINES_MAX * REPLY_LINE_BYTES_MAX;

/// Why what arrived is no reply. The connection cannot be trusted any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplyError {
    /// A line that does not start like a reply; what it was, shortened and printable.
    #[error("no SMTP reply: {line:?}")]
    Garbage {
        /// The start of the line.
        line: String,
    },
    /// More than [`REPLY_LINES_MAX`] lines.
    #[error("reply with too many lines")]
    TooManyLines,
    /// More than [`REPLY_BYTES_MAX`] bytes.
    #[error("reply too long")]
    TooLong,
}

/// Puts replies together from the bytes of a connection. After an error it stays in error.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The start of a line whose end has not arrived, never more than is kept of a line.
    line: Vec<u8>,
    /// Complete lines of a reply whose last line has not arrived.
    lines: Vec<String>,
    status: Option<EnhancedStatus>,
    /// Bytes of the unfinished reply.
    bytes: usize,
    failed: Option<ReplyError>,
}

impl ReplyReader {
    /// A reader at the start of a reply.
    pub fn new() -> ReplyReader {
        ReplyReader::default()
    }

    /// Takes bytes off the front of `input` until one reply is complete; what follows that reply stays
    /// there. Nothing is returned when all of `input` was taken and the reply goes on.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let reply = self.read_lines(input);
        if let Err(error) = &reply {
            self.failed = Some(error.clone());
        }
        reply
    }

    /// Whether a part of a reply has been read, so that an end of the connection here cuts it off.
    pub fn is_inside_reply(&self) -> bool {
        self.bytes > 0
    }

    fn read_lines(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while !input.is_empty() {
            let (piece, ended) = match memchr::memchr(b'\n', input) {
                Some(end) => (&input[..end], true),
                None => (*input, false),
            };
            *input = &input[piece.len() + usize::from(ended)..];
            self.bytes = self.bytes.saturating_add(piece.len() + usize::from(ended));
            // One byte over the limit is kept so that the CR in front of the LF is not mistaken for text.
            let room = (REPLY_LINE_BYTES_MAX + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if self.bytes > REPLY_BYTES_MAX {
                return Err(ReplyError::TooLong);
            }
            if ended {
                let line = std::mem::take(&mut self.line);
                if let Some(reply) = self.take_line(&line)? {
                    return Ok(Some(reply));
                }
                self.line = line;
                self.line.clear();
            }
        }
        Ok(None)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = &line[..line.len().min(REPLY_LINE_BYTES_MAX)];
        let garbage = || ReplyError::Garbage { line: printable(&line[..line.len().min(GARBAGE_SHOWN)]) };
        let (code, more, text) = split_line(line).ok_or_else(garbage)?;
        if self.lines.len() == REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        let text = printable(text);
        let (status, rest) = split_status(&text);
        if self.lines.is_empty() {
            self.status = status;
        }
        // A status that differs from the first line's is kept as text: no word is lost.
        let text = if status.is_some() && status == self.status { rest.to_owned() } else { text };
        self.lines.push(text);
        if more {
            return Ok(None);
        }
        self.bytes = 0;
        Ok(Some(Reply { code, status: self.status.take(), lines: std::mem::take(&mut self.lines) }))
    }
}

/// How much of a line that is no reply goes into the error.
const GARBAGE_SHOWN: usize = 80;

/// The code, whether more lines follow, and the text.
fn split_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&code[0]) {
        return None;
    }
    let code = code.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Some((code, false, rest)),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some(_) => None,
    }
}

/// The enhanced status in front of a text (RFC 2034 4), and the text behind it.
fn split_status(text: &str) -> (Option<EnhancedStatus>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word.parse() {
        Ok(status) => (Some(status), rest),
        Err(()) => (None, text),
    }
}

/// The text as it may go into logs and reports: UTF-8, without control characters.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    } else {
        text.into_owned()
    }
}

/// Appends the reply as it is sent, the status on every line (RFC 2034 4). A control character in the text
/// becomes `?`, so that no text can forge a second reply. Lines are printed at whatever length they have.
pub fn print_reply(reply: &Reply, out: &mut Vec<u8>) {
    let last = reply.lines.len().saturating_sub(1);
    let empty = [String::new()];
    let lines = if reply.lines.is_empty() { &empty[..] } else { &reply.lines[..] };
    for (number, line) in lines.iter().enumerate() {
        let code = reply.code % 1000;
        out.extend([code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8));
        out.push(if number < last { b'-' } else { b' ' });
        if let Some(status) = reply.status {
            out.extend_from_slice(status.to_string().as_bytes());
            out.push(b' ');
        }
        if line.chars().any(char::is_control) {
            out.extend_from_slice(printable(line.as_bytes()).as_bytes());
        } else {
            out.extend_from_slice(line.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(mut input: &[u8]) -> Result<Vec<Reply>, ReplyError> {
        let mut reader = ReplyReader::new();
        let mut replies = Vec::new();
        while let Some(reply) = reader.read(&mut input)? {
            replies.push(reply);
        }
        Ok(replies)
    }

    fn one(input: &str) -> Reply {
        let mut replies = read_all(input.as_bytes()).unwrap();
        assert_eq!(replies.len(), 1, "{input:?}");
        replies.remove(0)
    }

    #[test]
    fn reads_what_servers_say() {
        assert_eq!(one("250 ok\r\n"), Reply::new(250, None, "ok"));
        assert_eq!(one("250\r\n"), Reply::new(250, None, ""));
        assert_eq!(one("250 \n"), Reply::new(250, None, ""));
        assert_eq!(one("550 5.1.1 no such user\r\n"), Reply::new(550, "5.1.1".parse().ok(), "no such user"));
        assert_eq!(one("550 5.1.1\r\n"), Reply::new(550, "5.1.1".parse().ok(), ""));
        assert_eq!(one("550 5.1 text\r\n"), Reply::new(550, None, "5.1 text"));
        let reply = one("451-4.7.1 a\r\n451-4.7.2 b\r\n451-c\r\n450 4.7.1 d\r\n");
        assert_eq!((reply.code, reply.status), (450, "4.7.1".parse().ok()));
        assert_eq!(reply.lines, ["a", "4.7.2 b", "c", "d"]);
        assert_eq!(one("250 a\tb\u{7}\r\n").lines, ["a?b?"]);
        assert!(read_all(b"250 \xff\xfe\r\n").unwrap()[0].lines[0].contains('\u{fffd}'));
    }

    #[test]
    fn refuses_garbage_for_good() {
        for bad in
            ["\r\n", "25\r\n", "hello\r\n", "250x\r\n", "199 a\r\n", "600 a\r\n", "2e0 a\r\n", " 250 a\r\n"]
        {
            assert!(matches!(read_all(bad.as_bytes()), Err(ReplyError::Garbage { .. })), "{bad:?}");
        }
        let mut reader = ReplyReader::new();
        assert!(reader.read(&mut &b"garbage\r\n"[..]).is_err());
        assert!(reader.read(&mut &b"250 ok\r\n"[..]).is_err());
    }

    #[test]
    fn limits_hold() {
        let most = "250-x\r\n".repeat(REPLY_LINES_MAX - 1) + "250 x\r\n";
        assert_eq!(one(&most).lines.len(), REPLY_LINES_MAX);
        let over = "250-x\r\n".repeat(REPLY_LINES_MAX) + "250 x\r\n";
        assert_eq!(read_all(over.as_bytes()), Err(ReplyError::TooManyLines));

        let long = format!("250 {}\r\n", "x".repeat(3 * REPLY_LINE_BYTES_MAX));
        assert_eq!(one(&long).lines[0].len(), REPLY_LINE_BYTES_MAX - "250 ".len());
        let exact = format!("250 {}\r\n", "x".repeat(REPLY_LINE_BYTES_MAX - "250 ".len()));
        assert_eq!(one(&exact).lines[0].len(), REPLY_LINE_BYTES_MAX - "250 ".len());

        let mut reader = ReplyReader::new();
        let flood = [b'2'; 4096];
        let mut fed = 0;
        let error = loop {
            fed += flood.len();
            if let Err(error) = reader.read(&mut &flood[..]) {
                break error;
            }
        };
        assert_eq!(error, ReplyError::TooLong);
        assert!(fed <= REPLY_BYTES_MAX + flood.len() && reader.line.capacity() < 4 * REPLY_LINE_BYTES_MAX);
    }

    #[test]
    fn a_reply_text_cannot_forge_a_second_reply() {
        let mut wire = Vec::new();
        print_reply(&Reply::new(550, None, "a\r\n250 ok"), &mut wire);
        assert_eq!(wire, b"550 a??250 ok\r\n");
    }

    proptest! {
        #[test]
        fn printed_replies_read_back_in_any_pieces(
            codes in proptest::collection::vec((200u16..600, proptest::option::of((0u16..1000, 0u16..1000)),
                proptest::collection::vec("[^\\p{Cc}]{0,30}", 1..5)), 1..4),
            cut in 1usize..40,
        ) {
            let replies: Vec<Reply> = codes.into_iter().map(|(code, status, lines)| Reply {
                code,
                status: status.and_then(|(s, d)| EnhancedStatus::checked(5, s, d)),
                lines: lines.into_iter().map(|line| format!("x{line}")).collect(),
            }).collect();
            let mut wire = Vec::new();
            replies.iter().for_each(|reply| print_reply(reply, &mut wire));
            let mut reader = ReplyReader::new();
            let mut read = Vec::new();
            for mut piece in wire.chunks(cut) {
                while let Some(reply) = reader.read(&mut piece).unwrap() {
                    read.push(reply);
                }
            }
            prop_assert!(!reader.is_inside_reply());
            prop_assert_eq!(read, replies);
        }

        #[test]
        fn any_bytes_give_the_same_in_any_pieces(bytes: Vec<u8>, cut in 1usize..8) {
            let mut reader = ReplyReader::new();
            let mut whole = &bytes[..];
            let mut expected = Vec::new();
            let end = loop {
                match reader.read(&mut whole) {
                    Ok(Some(reply)) => expected.push(reply),
                    end => break end,
                }
            };
            let mut reader = ReplyReader::new();
            let mut got = Vec::new();
            let mut got_end = Ok(None);
            for mut piece in bytes.chunks(cut) {
                loop {
                    match reader.read(&mut piece) {
                        Ok(Some(reply)) => got.push(reply),
                        other => { got_end = other; break }
                    }
                }
            }
            prop_assert_eq!((got, got_end), (expected, end));
        }
    }
}
