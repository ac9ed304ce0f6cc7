//! The last part of a report: the message it is about, whole or its header.
//!
//! Promises: nothing is read beyond the limit but the byte that shows there is more; what is returned
//! has proper line ends, no line over 998 bytes and no NUL, so that the report itself can travel; apart
//! from that the bytes are those of the original.

use std::io::Read;

use mail::Ret;

use crate::lines::LINE_BYTES_MAX;

/// Longest Message-ID that is repeated in References.
const MESSAGE_ID_BYTES_MAX: usize = 250;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) bytes: Vec<u8>,
    pub(crate) whole: bool,
    /// Of the original, with its angle brackets.
    pub(crate) message_id: Option<String>,
}

/// Reads the original. The header alone when that is wanted, when the whole is longer than `limit`, or
/// when reading fails on the way; nothing when not even a line of it can be had.
pub(crate) fn read(content: &mut dyn Read, wanted: Ret, limit: u64) -> Option<Returned> {
    let mut raw = Vec::new();
    let read = content.take(limit.saturating_add(1)).read_to_end(&mut raw);
    let complete = read.is_ok() && raw.len() as u64 <= limit;
    let whole = complete && wanted == Ret::Full;
    if !complete {
        // The last line may have been cut.
        let end = raw.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).rposition(|&b| b == b'\n');
        raw.truncate(end.map_or(0, |end| end + 1));
    }
    let lines = Lines { rest: &raw };
    let header: Vec<&[u8]> = lines.clone().take_while(|line| !line.is_empty()).collect();
    let message_id = message_id(&header);
    let mut bytes = Vec::with_capacity(raw.len());
    if whole {
        let header_lines = header.len();
        lines.zip(0..).for_each(|(line, n)| push_line(&mut bytes, line, n < header_lines));
    } else {
        header.iter().for_each(|line| push_line(&mut bytes, line, true));
    }
    (!bytes.is_empty()).then_some(Returned { bytes, whole, message_id })
}

/// The lines of a text that end in CRLF, or by mistake in LF or CR alone.
#[derive(Clone)]
struct Lines<'t> {
    rest: &'t [u8],
}

impl<'t> Iterator for Lines<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|&b| b == b'\n' || b == b'\r').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        let ending = if self.rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        self.rest = self.rest.get(end + ending..).unwrap_or_default();
        Some(line)
    }
}

fn push_line(out: &mut Vec<u8>, line: &[u8], header: bool) {
    let mut rest = line;
    let mut room = LINE_BYTES_MAX;
    while rest.len() > room {
        let (piece, later) = rest.split_at(room);
        out.extend(piece.iter().map(visible));
        // A header line goes on with a blank, or the cut would make another field of it.
        out.extend_from_slice(if header { b"\r\n " } else { b"\r\n" });
        room = LINE_BYTES_MAX - usize::from(header);
        rest = later;
    }
    out.extend(rest.iter().map(visible));
    out.extend_from_slice(b"\r\n");
}

fn visible(byte: &u8) -> u8 {
    if *byte == 0 { b' ' } else { *byte }
}

/// A Message-ID that can stand in a header of ours as it is.
fn message_id(header: &[&[u8]]) -> Option<String> {
    let name = b"message-id:";
    let line = header
        .iter()
        .find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name))?;
    let id = std::str::from_utf8(&line[name.len()..]).ok()?.trim_matches([' ', '\t']);
    let inner = id.strip_prefix('<')?.strip_suffix('>')?;
    let sound = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>');
    (sound && id.len() <= MESSAGE_ID_BYTES_MAX).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use proptest::prelude::*;

    const MAIL: &str = "Subject: x\r\nMessage-ID: <1@x.test>\r\n\r\nbody\r\n";

    fn text(content: &str, wanted: Ret, limit: u64) -> Option<(String, bool)> {
        let returned = read(&mut content.as_bytes(), wanted, limit)?;
        Some((String::from_utf8(returned.bytes).unwrap(), returned.whole))
    }

    /// Some bytes, then an error.
    struct Broken<'t>(&'t [u8]);

    impl Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("bad sector")),
                count => Ok(count),
            }
        }
    }

    #[test]
    fn the_limit_decides_between_all_and_header() {
        let size = MAIL.len() as u64;
        let header = "Subject: x\r\nMessage-ID: <1@x.test>\r\n".to_owned();
        assert_eq!(text(MAIL, Ret::Full, size), Some((MAIL.to_owned(), true)));
        assert_eq!(text(MAIL, Ret::Full, size - 1), Some((header.clone(), false)));
        assert_eq!(text(MAIL, Ret::Headers, size), Some((header, false)));
        assert_eq!(text(MAIL, Ret::Full, 14), Some(("Subject: x\r\n".to_owned(), false)), "no half lines");
        assert_eq!(text(MAIL, Ret::Full, 12), Some(("Subject: x\r\n".to_owned(), false)));
        assert_eq!(text(MAIL, Ret::Full, 11), None);
        assert_eq!(text(MAIL, Ret::Full, 0), None);
        assert_eq!(text("", Ret::Full, 100), None);
    }

    #[test]
    fn an_unreadable_original_gives_what_it_can() {
        let returned = read(&mut Broken(&MAIL.as_bytes()[..40]), Ret::Full, 1000).unwrap();
        assert_eq!((returned.whole, returned.bytes.len()), (false, 36));
        assert_eq!(returned.message_id.as_deref(), Some("<1@x.test>"));
        assert_eq!(read(&mut Broken(b"Subj"), Ret::Full, 1000), None);
    }

    #[test]
    fn only_a_sound_message_id_is_taken() {
        for bad in ["x@y", "<a b@y>", "<>", "<a@b> (c)", "<a>\tBcc: <b>", &format!("<{}@x>", "a".repeat(250))]
        {
            let mail = format!("Message-Id: {bad}\r\n\r\n");
            assert_eq!(read(&mut mail.as_bytes(), Ret::Full, 1000).unwrap().message_id, None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_can_travel(
            mut content in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()],
                0..300,
            ),
            long in 0usize..3000,
            limit in 0u64..4000,
        ) {
            content.extend(std::iter::repeat_n(b'a', long));
            if let Some(returned) = read(&mut content.as_slice(), Ret::Full, limit) {
                let body = returned.bytes.strip_suffix(b"\r\n").unwrap();
                for line in body.split(|&b| b == b'\n') {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    prop_assert!(line.len() <= LINE_BYTES_MAX);
                    prop_assert!(!line.contains(&b'\r') && !line.contains(&0));
                }
            }
        }
    }
}
