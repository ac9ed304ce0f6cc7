//! Content on its way out: dot-stuffing (RFC 5321 4.5.2) and the facts that decide how it may travel.
//!
//! Promises: what a receiver gets after undoing the stuffing is the content byte for byte, plus a final
//! CRLF where there was none; nothing is copied.
//!
//! A line begins after CRLF and nowhere else, for stuffing as for the end of the content: a dot behind a
//! bare LF or a bare CR is left alone, because a receiver that follows RFC 5321 would keep a second one. A
//! receiver that does not can be tricked by such content; that is why our front-end refuses it.

use memchr::memmem;

/// What has to be known of content before it is offered to a next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Content {
    /// Bytes, before stuffing.
    pub size: u64,
    /// There is a byte over 127 somewhere. Only looked at when the next hop lacks 8BITMIME.
    pub eight_bit: bool,
    /// There is a byte over 127 in the header. Only looked at when the next hop lacks SMTPUTF8.
    pub utf8_header: bool,
}

/// Finds the facts by reading content in pieces.
#[derive(Clone, Debug, Default)]
pub struct ContentScan {
    content: Content,
    /// Line ends seen in a row; two end the header.
    line_ends: u8,
    in_body: bool,
}

impl ContentScan {
    /// A scan at the start of content.
    pub fn new() -> ContentScan {
        ContentScan::default()
    }

    /// Reads the next piece.
    pub fn read(&mut self, piece: &[u8]) {
        self.content.size += piece.len() as u64;
        let header = if self.in_body { 0 } else { self.header_length(piece) };
        if !piece[..header].is_ascii() {
            self.content.utf8_header = true;
            self.content.eight_bit = true;
        }
        self.content.eight_bit = self.content.eight_bit || !piece[header..].is_ascii();
    }

    /// What was found so far.
    pub fn content(&self) -> Content {
        self.content
    }

    fn header_length(&mut self, piece: &[u8]) -> usize {
        for (place, byte) in piece.iter().enumerate() {
            match byte {
                b'\n' => self.line_ends += 1,
                b'\r' => {}
                _ => self.line_ends = 0,
            }
            if self.line_ends == 2 {
                self.in_body = true;
                return place + 1;
            }
        }
        piece.len()
    }
}

/// Doubles the dots at line starts while content passes by in pieces, and knows how it has to end.
#[derive(Clone, Debug)]
pub struct DotStuffer {
    place: Place,
}

/// What the last bytes of the content so far were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    LineStart,
    BehindCr,
    InLine,
}

impl Default for DotStuffer {
    fn default() -> DotStuffer {
        DotStuffer::new()
    }
}

impl DotStuffer {
    /// A stuffer at the start of content.
    pub fn new() -> DotStuffer {
        DotStuffer { place: Place::LineStart }
    }

    /// Appends to `out` the slices that are to be sent for `piece`, in order. They overlap at each dot that
    /// has to be doubled. A piece without such dots gives one slice, an empty one gives none.
    pub fn stuff<'c>(&mut self, piece: &'c [u8], out: &mut Vec<&'c [u8]>) {
        let across = match self.place {
            Place::LineStart if piece.starts_with(b".") => Some(0),
            Place::BehindCr if piece.starts_with(b"\n.") => Some(1),
            _ => None,
        };
        let within = memmem::find_iter(piece, b"\r\n.").map(|place| place + 2);
        let mut start = 0;
        for dot in across.into_iter().chain(within) {
            out.push(&piece[start..=dot]);
            start = dot;
        }
        if start < piece.len() {
            out.push(&piece[start..]);
        }
        self.place = match piece {
            [] => self.place,
            [b'\n'] if self.place == Place::BehindCr => Place::LineStart,
            [.., b'\r', b'\n'] => Place::LineStart,
            [.., b'\r'] => Place::BehindCr,
            _ => Place::InLine,
        };
    }

    /// What has to follow the content: the final dot, and a CRLF in front of it where the content does not
    /// end a line.
    pub fn end(&self) -> &'static [u8] {
        match self.place {
            Place::LineStart => b".\r\n",
            Place::BehindCr | Place::InLine => b"\r\n.\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(content: &[u8], cut: usize) -> Vec<u8> {
        let mut stuffer = DotStuffer::new();
        let mut slices = Vec::new();
        content.chunks(cut).for_each(|piece| stuffer.stuff(piece, &mut slices));
        [slices.concat().as_slice(), stuffer.end()].concat()
    }

    #[test]
    fn stuffs_and_ends_exactly() {
        for (content, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n..b\r\n.\r\n", "a\r\n...b\r\n..\r\n.\r\n"),
            ("a\n.\nb\r.\r\n", "a\n.\nb\r.\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\n", "a\n\r\n.\r\n"),
            ("\r\n.\r\n.", "\r\n..\r\n..\r\n.\r\n"),
        ] {
            for cut in 1..8 {
                assert_eq!(
                    stuffed(content.as_bytes(), cut),
                    wire.as_bytes(),
                    "{content:?} in pieces of {cut}"
                );
            }
        }
    }

    #[test]
    fn plain_content_is_one_slice() {
        let content = b"Subject: x\r\n\r\ntext\r\n";
        let mut slices = Vec::new();
        DotStuffer::new().stuff(content, &mut slices);
        assert_eq!(slices, [&content[..]]);
    }

    proptest! {
        #[test]
        fn a_strict_receiver_gets_the_content(content in "[a.\r\n]{0,60}", cut in 1usize..9) {
            let wire = stuffed(content.as_bytes(), cut);
            let end = [b"\r\n".as_slice(), &wire].concat();
            // The first place where a receiver may see the end is the end.
            prop_assert_eq!(memmem::find(&end, b"\r\n.\r\n"), Some(end.len() - 5));
            let undone = String::from_utf8(end).unwrap().replace("\r\n.", "\r\n");
            let mut expected = format!("\r\n{content}");
            if !expected.ends_with("\r\n") {
                expected.push_str("\r\n");
            }
            prop_assert_eq!(undone, expected + "\r\n");
        }

        #[test]
        fn facts_do_not_depend_on_the_pieces(
            header in "[aé\r]{0,9}", body in "[aé\r\n]{0,9}", cut in 1usize..9,
        ) {
            let content = format!("{header}\r\n\r\n{body}");
            let mut scan = ContentScan::new();
            content.as_bytes().chunks(cut).for_each(|piece| scan.read(piece));
            prop_assert_eq!(scan.content(), Content {
                size: content.len() as u64,
                eight_bit: !content.is_ascii(),
                utf8_header: !header.is_ascii(),
            });
        }
    }
}
