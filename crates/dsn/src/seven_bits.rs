//! A report for a next hop that takes seven bits only (no 8BITMIME).
//!
//! Promises: what is a text, or may be encoded by its type (RFC 6532 3.7), is encoded and loses nothing; of
//! an original of type `message/rfc822`, which may not be (RFC 2046 5.2.1), the header goes along, encoded.
//! Refuses: anything but a report that [`compose`](crate::compose) wrote.

use crate::lines::quoted_printable;

const EIGHT_BIT: &str = "Content-Transfer-Encoding: 8bit\r\n";
const ENCODED: &str = "Content-Transfer-Encoding: quoted-printable\r\n";
const WHOLE: &str = "Content-Type: message/rfc822\r\n";
const HEADER: &str = "Content-Type: text/rfc822-headers\r\n";

/// The report in ASCII; nothing when it is none of ours.
pub fn in_seven_bits(report: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = split_at_empty_line(report)?;
    let head = std::str::from_utf8(head).ok()?;
    let (_, boundary) = head.split_once("\r\n    boundary=\"")?;
    let (boundary, _) = boundary.split_once("\"\r\n")?;
    let (separator, end) = (format!("\r\n--{boundary}\r\n"), format!("\r\n--{boundary}--\r\n"));
    let body = body.strip_suffix(end.as_bytes())?;
    let mut pieces = split(body, separator.as_bytes()).into_iter();
    let mut out = head.replacen(EIGHT_BIT, "", 1).into_bytes();
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(pieces.next()?);
    for piece in pieces {
        out.extend_from_slice(separator.as_bytes());
        push_part(&mut out, piece)?;
    }
    out.extend_from_slice(end.as_bytes());
    out.is_ascii().then_some(out)
}

fn push_part(out: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    if part.is_ascii() {
        out.extend_from_slice(part);
        return Some(());
    }
    let (head, mut body) = split_at_empty_line(part)?;
    let mut head = std::str::from_utf8(head).ok()?.replacen(EIGHT_BIT, ENCODED, 1);
    if head.contains(WHOLE) {
        head = head.replacen(WHOLE, HEADER, 1).replacen(
            ": Your message\r\n",
            ": The header of your message\r\n",
            1,
        );
        body = split_at_empty_line(body).map_or(body, |(header, _)| header);
    }
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(quoted_printable(body).as_bytes());
    Some(())
}

/// The lines before the first empty one, and what is behind it.
fn split_at_empty_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let place = text.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((&text[..place + 2], &text[place + 4..]))
}

fn split<'t>(text: &'t [u8], separator: &[u8]) -> Vec<&'t [u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(place) = rest.windows(separator.len()).position(|window| window == separator) {
        pieces.push(&rest[..place]);
        rest = &rest[place + separator.len()..];
    }
    pieces.push(rest);
    pieces
}
