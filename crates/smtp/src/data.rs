//! Message content as it arrives: behind DATA with its dots, or in the chunks of BDAT.
//!
//! Promises: streaming, nothing is kept but a few counters; the same bytes in any pieces give the same
//! content. Behind DATA only CRLF `.` CRLF ends a message (RFC 5321 4.1.1.4); LF and CR on their own
//! never do, so that no second message can be smuggled in behind an end that only one side sees.
//! Refuses, each as a [`ContentFault`] that is reported after the true end: bare LF and bare CR (RFC 5321
//! 2.3.8; refused and not repaired, because repairing changes what was signed and what the next server
//! sees), NUL (RFC 5321 2.4 with RFC 2045 2.7), content over the size limit, lines over
//! [`TEXT_LINE_BYTES_MAX`], and too many `Received:` lines.
//! Lets pass: lines over the 1000 bytes of RFC 5321 4.5.3.1.6, which are common; a last chunk without
//! a line end.

use mail::{EnhancedStatus, Reply};

/// Longest line of content, line end left out. RFC 5321 4.5.3.1.6 asks for 1000 bytes and real mail has
/// whole documents in one line; the bound exists for whatever reads lines later.
pub const TEXT_LINE_BYTES_MAX: usize = 1 << 20;

/// What makes content unacceptable. Of several the last in this order is reported, so that the answer
/// does not depend on the pieces in which the content came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ContentFault {
    /// LF without CR in front.
    BareLf,
    /// CR without LF behind.
    BareCr,
    /// A NUL byte.
    Nul,
    /// A line over [`TEXT_LINE_BYTES_MAX`].
    LineTooLong,
    /// More `Received:` lines than allowed (RFC 5321 6.3).
    TooManyHops,
    /// More bytes than allowed.
    TooLarge,
}

impl ContentFault {
    /// The reply that tells the client.
    pub fn reply(self) -> Reply {
        let (code, status, text) = match self {
            ContentFault::BareLf => (554, (6, 0), "Error: bare <LF> in the message, lines end with <CR><LF>"),
            ContentFault::BareCr => (554, (6, 0), "Error: bare <CR> in the message, lines end with <CR><LF>"),
            ContentFault::Nul => (554, (6, 0), "Error: NUL byte in the message"),
            ContentFault::LineTooLong => (554, (6, 0), "Error: line too long in the message"),
            ContentFault::TooLarge => (552, (3, 4), "Error: message size exceeds fixed limit"),
            ContentFault::TooManyHops => (554, (4, 6), "Error: too many hops"),
        };
        Reply::new(code, Some(EnhancedStatus::new(5, status.0, status.1)), text)
    }
}

/// Bounds on one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentLimits {
    /// Most bytes of content, dots that were stuffed left out.
    pub bytes: u64,
    /// Most `Received:` lines in the header (`hopcount_limit` of postconf(5)).
    pub hops: u32,
}

/// What one call of [`ContentReader::read`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// How many bytes of the input belong to the message, its end included.
    pub consumed: usize,
    /// Whether CRLF `.` CRLF was met; what follows is no content.
    pub ended: bool,
}

/// Reads the content of one message.
#[derive(Clone, Debug)]
pub struct ContentReader {
    dotted: bool,
    place: Place,
    limits: ContentLimits,
    bytes: u64,
    line_bytes: usize,
    header: Option<HeaderLine>,
    hops: u32,
    fault: Option<ContentFault>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    LineStart,
    Line,
    /// Behind a CR in or at the end of a line.
    Cr,
    /// Behind a dot that began a line.
    Dot,
    /// Behind a dot that began a line and a CR.
    DotCr,
}

/// How much of `Received:` the current header line has matched; nothing once it did not or was counted.
#[derive(Clone, Copy, Debug)]
struct HeaderLine {
    matched: Option<usize>,
}

const RECEIVED: &[u8] = b"received:";

impl ContentReader {
    /// For what follows DATA: dots are unstuffed and the end is found.
    pub fn dotted(limits: ContentLimits) -> ContentReader {
        ContentReader {
            dotted: true,
            place: Place::LineStart,
            limits,
            bytes: 0,
            line_bytes: 0,
            header: Some(HeaderLine { matched: Some(0) }),
            hops: 0,
            fault: None,
        }
    }

    /// For the chunks of BDAT, one after the other: nothing is unstuffed and the end is the caller's.
    pub fn chunked(limits: ContentLimits) -> ContentReader {
        ContentReader { dotted: false, ..ContentReader::dotted(limits) }
    }

    /// Takes content from the front of `input` and appends it, decoded, to `content`. From the first
    /// fault on nothing is appended, and what was appended before is worthless.
    pub fn read(&mut self, input: &[u8], content: &mut Vec<u8>) -> Progress {
        let mut at = 0;
        let mut kept = 0;
        while let Some(&byte) = input.get(at) {
            match self.place {
                Place::LineStart if self.dotted && byte == b'.' => {
                    self.keep(&input[kept..at], content);
                    at += 1;
                    kept = at;
                    self.place = Place::Dot;
                }
                Place::LineStart => self.place = Place::Line,
                Place::Dot if byte == b'\r' => {
                    // Either this CR belongs to the end, or the content is refused.
                    at += 1;
                    kept = at;
                    self.place = Place::DotCr;
                }
                Place::Dot => self.place = Place::Line,
                Place::DotCr if byte == b'\n' => return Progress { consumed: at + 1, ended: true },
                Place::Cr if byte == b'\n' => {
                    at += 1;
                    self.end_line();
                }
                Place::Cr | Place::DotCr => {
                    self.fail(ContentFault::BareCr);
                    self.place = Place::Line;
                }
                Place::Line => at = self.read_line(input, at),
            }
        }
        self.keep(&input[kept..], content);
        Progress { consumed: at, ended: false }
    }

    /// To be called behind the last chunk of BDAT.
    pub fn finish(&mut self) {
        if self.place == Place::Cr {
            self.fail(ContentFault::BareCr);
        }
    }

    /// The gravest fault found so far.
    pub fn fault(&self) -> Option<ContentFault> {
        self.fault
    }

    /// Bytes of content so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Goes on inside a line, to its CR or whatever does not belong into it.
    fn read_line(&mut self, input: &[u8], at: usize) -> usize {
        let found = memchr::memchr3(b'\r', b'\n', 0, &input[at..]).map(|offset| at + offset);
        let end = found.unwrap_or(input.len());
        self.see_header(&input[at..end]);
        self.line_bytes += end - at;
        if self.line_bytes > TEXT_LINE_BYTES_MAX {
            self.fail(ContentFault::LineTooLong);
        }
        match found.map(|place| input[place]) {
            None => return end,
            Some(b'\r') => self.place = Place::Cr,
            Some(b'\n') => self.fail(ContentFault::BareLf),
            Some(_) => self.fail(ContentFault::Nul),
        }
        end + 1
    }

    fn end_line(&mut self) {
        self.header = match self.header {
            Some(_) if self.line_bytes > 0 => Some(HeaderLine { matched: Some(0) }),
            _ => None,
        };
        self.line_bytes = 0;
        self.place = Place::LineStart;
    }

    /// Counts the line when it begins with `Received:`.
    fn see_header(&mut self, part: &[u8]) {
        let Some(line) = &mut self.header else { return };
        let Some(matched) = line.matched else { return };
        let wanted = &RECEIVED[matched..];
        let length = part.len().min(wanted.len());
        if !part[..length].eq_ignore_ascii_case(&wanted[..length]) {
            line.matched = None;
        } else if length < wanted.len() {
            line.matched = Some(matched + length);
        } else {
            line.matched = None;
            self.hops += 1;
            if self.hops > self.limits.hops {
                self.fail(ContentFault::TooManyHops);
            }
        }
    }

    fn keep(&mut self, part: &[u8], content: &mut Vec<u8>) {
        self.bytes += part.len() as u64;
        if self.bytes > self.limits.bytes {
            self.fail(ContentFault::TooLarge);
        }
        if self.fault.is_none() {
            content.extend_from_slice(part);
        }
    }

    fn fail(&mut self, fault: ContentFault) {
        self.fault = self.fault.max(Some(fault));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ContentLimits = ContentLimits { bytes: 10_000_000, hops: 3 };

    type Read = (Result<Vec<u8>, ContentFault>, Option<usize>);

    /// The content or its fault, and where the message ended.
    fn read_in_pieces(mut reader: ContentReader, input: &[u8], pieces: usize) -> Read {
        let mut content = Vec::new();
        let mut at = 0;
        for piece in input.chunks(pieces) {
            let progress = reader.read(piece, &mut content);
            at += progress.consumed;
            if progress.ended {
                return (reader.fault().map_or(Ok(content), Err), Some(at));
            }
            assert_eq!(progress.consumed, piece.len());
        }
        (reader.fault().map_or(Ok(content), Err), None)
    }

    fn read(input: &[u8]) -> Read {
        let whole = read_in_pieces(ContentReader::dotted(LIMITS), input, usize::MAX);
        assert_eq!(whole, read_in_pieces(ContentReader::dotted(LIMITS), input, 1), "{input:?}");
        whole
    }

    #[test]
    fn dots_are_unstuffed_and_the_end_is_found() {
        for (input, content) in [
            (".\r\n", ""),
            ("\r\n.\r\n", "\r\n"),
            ("a\r\n.\r\n", "a\r\n"),
            ("..\r\n.\r\n", ".\r\n"),
            ("...a\r\n.b\r\n.\r\n", "..a\r\nb\r\n"),
            ("a.\r\n.\r\n", "a.\r\n"),
        ] {
            assert_eq!(read(input.as_bytes()), (Ok(content.into()), Some(input.len())), "{input:?}");
        }
    }

    #[test]
    fn nothing_else_ends_a_message() {
        for (input, fault) in [
            ("a\n.\nb", Some(ContentFault::BareLf)),
            ("a\n.\r\nb", Some(ContentFault::BareLf)),
            ("a\r\n.\nb", Some(ContentFault::BareLf)),
            ("a\r.\rb", Some(ContentFault::BareCr)),
            ("a\r\n.\rb", Some(ContentFault::BareCr)),
            ("a\r\r\n.\r\r\nb", Some(ContentFault::BareCr)),
            ("a\r.\r\nb", Some(ContentFault::BareCr)),
            ("a\0\r\n.\0\r\nb", Some(ContentFault::Nul)),
            ("a\r\n.", None),
            ("a\r\n.\r", None),
        ] {
            let (content, end) = read(input.as_bytes());
            assert_eq!((content.err(), end), (fault, None), "{input:?}");
        }
        let (content, end) = read(b"a\n.\r\n\r\n.\r\nMAIL");
        assert_eq!((content, end), (Err(ContentFault::BareLf), Some(10)), "the true end is still found");
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let header = "Received: x\r\nRECEIVED:y\r\n Received: folded\r\nReceived-SPF: z\r\nreceived: z\r\n";
        let good = format!("{header}\r\nReceived: in the body\r\n.\r\n");
        assert!(read(good.as_bytes()).0.is_ok());
        let bad = format!("{header}Received: one more\r\n\r\n.\r\n");
        assert_eq!(read(bad.as_bytes()).0, Err(ContentFault::TooManyHops));
    }

    #[test]
    fn size_and_line_limits_hold_exactly() {
        let limits = ContentLimits { bytes: 5, hops: 1 };
        let read = |input: &[u8]| read_in_pieces(ContentReader::dotted(limits), input, 2).0;
        assert_eq!(read(b"..bc\r\n.\r\n"), Ok(b".bc\r\n".to_vec()));
        assert_eq!(read(b"abcd\r\n.\r\n"), Err(ContentFault::TooLarge));
        let line = |bytes| [vec![b'x'; bytes], b"\r\n.\r\n".to_vec()].concat();
        let reader = || ContentReader::dotted(LIMITS);
        assert!(read_in_pieces(reader(), &line(TEXT_LINE_BYTES_MAX), 4096).0.is_ok());
        let long = read_in_pieces(reader(), &line(TEXT_LINE_BYTES_MAX + 1), 4096).0;
        assert_eq!(long, Err(ContentFault::LineTooLong));
    }

    #[test]
    fn chunks_are_taken_as_they_are() {
        let mut reader = ContentReader::chunked(LIMITS);
        let mut content = Vec::new();
        for chunk in ["a\r", "\n.\r\n", "..b"] {
            assert!(!reader.read(chunk.as_bytes(), &mut content).ended);
        }
        reader.finish();
        assert_eq!((content.as_slice(), reader.fault()), (b"a\r\n.\r\n..b".as_slice(), None));
        reader.read(b"\r", &mut content);
        reader.finish();
        assert_eq!(reader.fault(), Some(ContentFault::BareCr));
    }

    /// The plainest unstuffing there is, to compare with.
    fn unstuff(text: &str) -> Option<(String, usize)> {
        let end = if text.starts_with(".\r\n") { 0 } else { text.find("\r\n.\r\n")? + 2 };
        let lines: Vec<&str> = text[..end].split("\r\n").map(|l| l.strip_prefix('.').unwrap_or(l)).collect();
        Some((lines.join("\r\n"), end + 3))
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(input in "[.\r\n\0aRr]{0,40}", pieces in 1usize..8) {
            let limits = ContentLimits { bytes: 20, hops: 0 };
            let whole = read_in_pieces(ContentReader::dotted(limits), input.as_bytes(), usize::MAX);
            let split = read_in_pieces(ContentReader::dotted(limits), input.as_bytes(), pieces);
            prop_assert_eq!(whole, split);
        }

        #[test]
        fn agrees_with_the_plain_definition(lines in prop::collection::vec("[.a]{0,3}", 0..8)) {
            let text = lines.join("\r\n") + "\r\n.\r\n";
            let (content, end) = read(text.as_bytes());
            let (plain, plain_end) = unstuff(&text).unwrap();
            prop_assert_eq!((content, end), (Ok(plain.into_bytes()), Some(plain_end)));
        }
    }
}
