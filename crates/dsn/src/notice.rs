//! A note to the postmaster about something that is not the fate of one recipient: a session that went
//! wrong, a damaged record.
//!
//! Promises: the same request gives the same bytes, in 7 bits, whatever the lines hold; a note never
//! grows with what a client sent.

use mail::{Address, BodyType, QueueId, Time};

use crate::Report;
use crate::date::rfc5322_date;
use crate::lines::{field, header_text, needs_encoding, plain, quoted_printable};

/// Most lines of one note; of a longer transcript the beginning and the end are kept.
pub const NOTICE_LINES_MAX: usize = 500;

/// What a note is made of.
#[derive(Clone, Debug)]
pub struct Notice<'m> {
    /// `double_bounce_sender`, so that a note that cannot be delivered ends there.
    pub from: &'m Address,
    /// As [`crate::Notices::recipient`] says.
    pub to: &'m Address,
    /// The note's own queue id.
    pub report_id: QueueId,
    /// Our host name.
    pub host: &'m str,
    /// The date of the note.
    pub now: Time,
    /// What it is about, in a few words.
    pub subject: &'m str,
    /// The facts: an explanation, a transcript. Control characters are blanked.
    pub lines: &'m [String],
}

/// Writes a note.
pub fn compose_notice(notice: &Notice<'_>) -> Report {
    let host = plain(notice.host, false);
    let text = text(notice.lines);
    let mut out = String::new();
    field(&mut out, "Date", &rfc5322_date(notice.now));
    field(&mut out, "From", &format!("Mail Delivery System <MAILER-DAEMON@{host}>"));
    out.push_str(&format!("To: <{}>\r\n", notice.to));
    field(&mut out, "Subject", &header_text(notice.subject));
    field(&mut out, "Message-ID", &format!("<{}@{host}>", notice.report_id));
    out.push_str("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
    if needs_encoding(&text) {
        out.push_str("Content-Type: text/plain; charset=utf-8\r\n");
        out.push_str("Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        out.push_str(&quoted_printable(text.as_bytes()));
    } else {
        out.push_str("Content-Type: text/plain; charset=us-ascii\r\n\r\n");
        out.push_str(&text);
    }
    let smtputf8 = notice.to.needs_utf8() || notice.from.needs_utf8();
    let body = if out.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
    Report {
        from: Some(notice.from.clone()),
        to: notice.to.clone(),
        smtputf8,
        body,
        content: out.into_bytes(),
    }
}

fn text(lines: &[String]) -> String {
    let left_out = lines.len().saturating_sub(NOTICE_LINES_MAX);
    let head = if left_out > 0 { NOTICE_LINES_MAX / 2 } else { lines.len() };
    let mut text = String::new();
    let mut push = |line: &str| {
        text.push_str(&plain(line, true));
        text.push_str("\r\n");
    };
    lines[..head].iter().for_each(|line| push(line));
    if left_out > 0 {
        push(&format!("[{left_out} lines left out]"));
    }
    lines[head + left_out..].iter().for_each(|line| push(line));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    fn compose(subject: &str, lines: &[String]) -> Report {
        let from = Address::parse("double-bounce@mail.test").unwrap();
        let to = Address::parse("postmaster").unwrap();
        let (report_id, now) = (QueueId::from_u64(1 << 60), Time::ZERO);
        compose_notice(&Notice { from: &from, to: &to, report_id, host: "mail.test", now, subject, lines })
    }

    #[test]
    fn a_transcript_is_bounded() {
        let lines: Vec<String> = (0..NOTICE_LINES_MAX + 7).map(|n| format!("line {n}")).collect();
        let report = compose("errors from x.test[192.0.2.1]", &lines);
        let message = MessageParser::default().parse(&report.content).unwrap();
        let text = message.body_text(0).unwrap();
        assert_eq!(text.lines().count(), NOTICE_LINES_MAX + 1);
        assert!(
            text.starts_with("line 0\r\n")
                && text.contains("[7 lines left out]")
                && text.contains("line 506")
        );
        assert_eq!(message.subject(), Some("errors from x.test[192.0.2.1]"));
        assert!(compose("exact", &lines[..NOTICE_LINES_MAX]).content.ends_with(b"line 499\r\n"));
    }

    proptest! {
        #[test]
        fn nothing_breaks_out(
            subject in "(\\PC|[\r\n\t]){0,200}",
            lines in proptest::collection::vec("(\\PC|[\r\n\u{0}]){0,80}", 0..6),
        ) {
            let report = compose(&subject, &lines);
            let text = String::from_utf8(report.content).unwrap();
            prop_assert!(text.is_ascii() && text.split("\r\n").all(|line| line.len() <= 998));
            prop_assert!(!text.replace("\r\n", "").chars().any(char::is_control));
            let header = text.split("\r\n\r\n").next().unwrap();
            let fields = header.split("\r\n").filter(|line| !line.starts_with(' ')).count();
            prop_assert!((8..=9).contains(&fields), "{}", header);
        }
    }
}
