//! Text that came from elsewhere, made into lines that are safe in a message.
//!
//! Promises: nothing leaves here with a control character in it, and no line is longer than RFC 5322
//! 2.1.1 allows; lines stay within the 78 characters that it recommends wherever words permit.

use mail::limits::REASON_BYTES_MAX;

/// Preferred length of a line, without its end (RFC 5322 2.1.1).
pub(crate) const LINE_BYTES: usize = 78;
/// Longest line, without its end (RFC 5322 2.1.1).
pub(crate) const LINE_BYTES_MAX: usize = 998;
/// Words longer than this are cut. Leaves room for a field name and an indent.
const WORD_BYTES_MAX: usize = 900;
/// Longest line of quoted-printable text (RFC 2045 6.7).
const QUOTED_LINE_BYTES: usize = 76;
/// Longest encoded word (RFC 2047 2).
const ENCODED_WORD_BYTES_MAX: usize = 75;

/// One line of at most [`REASON_BYTES_MAX`] bytes: control characters become blanks, and unless
/// `utf8` everything beyond ASCII becomes `?`.
pub(crate) fn plain(text: &str, utf8: bool) -> String {
    let mut line = String::with_capacity(text.len().min(REASON_BYTES_MAX));
    for c in text.chars() {
        let c = if c.is_control() {
            ' '
        } else if utf8 || c.is_ascii() {
            c
        } else {
            '?'
        };
        if line.len() + c.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        line.push(c);
    }
    line
}

/// Appends `first` and the words of `text`, broken into lines that continue with `indent`. Every line
/// ends in CRLF; a line is never blank but for `first` itself.
pub(crate) fn fill(out: &mut String, first: &str, text: &str, indent: &str) {
    out.push_str(first);
    let mut length = first.len();
    let mut fresh = first.is_empty();
    for word in text.split_ascii_whitespace().flat_map(pieces) {
        if fresh {
            fresh = false;
        } else if length + 1 + word.len() <= LINE_BYTES {
            out.push(' ');
            length += 1;
        } else {
            out.push_str("\r\n");
            out.push_str(indent);
            length = indent.len();
        }
        out.push_str(word);
        length += word.len();
    }
    out.push_str("\r\n");
}

/// A word in pieces of at most [`WORD_BYTES_MAX`] bytes, cut between characters.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(WORD_BYTES_MAX));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Appends a header field whose value may be folded between words. The first word stays beside the
/// name, because a line with nothing but blanks ends a header for careless readers.
pub(crate) fn field(out: &mut String, name: &str, value: &str) {
    let value = value.trim_ascii_start();
    let first = value.split_ascii_whitespace().next().unwrap_or_default();
    let beside = first.floor_char_boundary(WORD_BYTES_MAX);
    fill(out, &format!("{name}: {}", &first[..beside]), &value[beside..], "    ");
}

/// Whether a text has to be encoded to travel as 7-bit lines.
pub(crate) fn needs_encoding(text: &str) -> bool {
    !text.is_ascii() || text.split("\r\n").any(|line| line.len() > LINE_BYTES_MAX)
}

/// Lines ending in CRLF as quoted-printable (RFC 2045 6.7).
pub(crate) fn quoted_printable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let body = text.strip_suffix(b"\r\n").unwrap_or(text);
    for line in body.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut length = 0;
        for (place, &byte) in line.iter().enumerate() {
            let last_blank = byte == b' ' && place + 1 == line.len();
            let literal = (byte == b' ' || byte.is_ascii_graphic()) && byte != b'=' && !last_blank;
            let width = if literal { 1 } else { 3 };
            if length + width >= QUOTED_LINE_BYTES {
                out.push_str("=\r\n");
                length = 0;
            }
            if literal {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("={byte:02X}"));
            }
            length += width;
        }
        out.push_str("\r\n");
    }
    out
}

/// A text for a header field: as it is when it is ASCII, else as encoded words (RFC 2047 4.2).
pub(crate) fn header_text(text: &str) -> String {
    let text = plain(text, true);
    if text.is_ascii() && !text.contains("=?") {
        return text;
    }
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        let mut bytes = [0; 4];
        let encoded: String = match c {
            ' ' => "_".to_owned(),
            c if c.is_ascii_alphanumeric() => c.to_string(),
            c => c.encode_utf8(&mut bytes).bytes().map(|byte| format!("={byte:02X}")).collect(),
        };
        if word.len() + encoded.len() + "=?utf-8?Q??=".len() > ENCODED_WORD_BYTES_MAX {
            words.push(std::mem::take(&mut word));
        }
        word.push_str(&encoded);
    }
    words.push(word);
    let words: Vec<String> = words.into_iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_folded_between_words() {
        let mut out = String::new();
        field(&mut out, "Diagnostic-Code", &format!("smtp; {}", "word ".repeat(30)));
        assert!(out.lines().all(|line| line.len() <= LINE_BYTES), "{out}");
        assert!(out.starts_with("Diagnostic-Code: smtp; word"));
        assert!(out.split("\r\n").skip(1).all(|line| line.is_empty() || line.starts_with("    w")));
        let mut out = String::new();
        field(&mut out, "X", "");
        assert_eq!(out, "X: \r\n");
    }

    #[test]
    fn nothing_can_start_a_line_of_its_own() {
        assert_eq!(plain("a\r\nBcc: x\u{85}\u{0}\u{7f}", false), "a  Bcc: x   ");
        assert_eq!(plain("grün", false), "gr?n");
        assert_eq!(plain(&"ü".repeat(2000), true).len(), REASON_BYTES_MAX);
    }

    #[test]
    fn header_texts_are_encoded_when_they_must_be() {
        assert_eq!(header_text("Undelivered mail"), "Undelivered mail");
        assert_eq!(header_text("Für Sie"), "=?utf-8?Q?F=C3=BCr_Sie?=");
        assert!(header_text(&"ü".repeat(90)).split(' ').all(|word| word.len() <= ENCODED_WORD_BYTES_MAX));
        assert_eq!(header_text("=?x"), "=?utf-8?Q?=3D=3Fx?=");
    }

    fn unquote(text: &str) -> Vec<u8> {
        let text = text.replace("=\r\n", "");
        let mut bytes = text.bytes();
        let mut plain = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'=' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                plain.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            } else {
                plain.push(byte);
            }
        }
        plain
    }

    proptest! {
        #[test]
        fn filled_lines_hold_their_limits(
            text in "(\\PC|[\r\n\t]){0,300}|[a-z]{800,2100}",
            name in "[A-Z][a-z]{1,20}",
        ) {
            let mut out = String::new();
            field(&mut out, &name, &plain(&text, true));
            prop_assert!(out.ends_with("\r\n"));
            for (n, line) in out.strip_suffix("\r\n").unwrap().split("\r\n").enumerate() {
                prop_assert!(line.len() <= LINE_BYTES_MAX && !line.chars().any(char::is_control));
                prop_assert!(n == 0 || (line.starts_with("    ") && !line.trim_ascii().is_empty()));
            }
        }

        #[test]
        fn quoted_printable_reads_back(lines in proptest::collection::vec("\\PC{0,120}", 1..5)) {
            let text = lines.join("\r\n") + "\r\n";
            let quoted = quoted_printable(text.as_bytes());
            prop_assert!(quoted.is_ascii() && quoted.lines().all(|line| line.len() <= QUOTED_LINE_BYTES));
            prop_assert_eq!(unquote(&quoted), text.into_bytes());
        }
    }
}
