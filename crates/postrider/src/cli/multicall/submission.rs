//! A message as a program hands it to sendmail(1): read from standard input, its recipients found, its
//! header completed.
//!
//! Promises: the body is not changed but for line ends, which become CRLF. A message with Resent- fields goes
//! to those whom they name and to nobody else (RFC 5322 3.6.6). `From ` lines of mailbox files in front of
//! the header are left out.

use std::io::{BufRead, Read};

use mail::{Notify, Ret};

use super::super::failure::{Failure, exit};

/// Most bytes that are read.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Submission {
    /// -f; nothing: the user.
    pub(super) sender: Option<String>,
    /// -F, for a From: header that has to be made.
    pub(super) full_name: Option<String>,
    /// Operands, and with -t what the header names.
    pub(super) recipients: Vec<String>,
    /// -t.
    pub(super) recipients_from_header: bool,
    /// -i: a line with a dot alone does not end the message.
    pub(super) dot_is_content: bool,
    /// -N.
    pub(super) notify: Option<Notify>,
    /// -R.
    pub(super) ret: Option<Ret>,
    /// -V.
    pub(super) envid: Option<String>,
}

/// A message with CRLF line ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Header fields with their line ends, Bcc left out.
    pub(super) header: Vec<u8>,
    /// What follows the empty line.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Whether the header has the field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.header.split(|&byte| byte == b'\n').any(|line| field_name(line).is_some_and(|n| n == name))
    }
}

/// Reads the message; with -t its recipients are added to the submission.
pub(super) fn read(input: &mut dyn BufRead, submission: &mut Submission) -> Result<Message, Failure> {
    let mut message = Message::default();
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut in_header = true;
    let mut input = input.take(MESSAGE_BYTES_MAX);
    loop {
        let mut line = Vec::new();
        let count = input.read_until(b'\n', &mut line).map_err(|error| Failure::Told {
            code: exit::IO,
            text: format!("cannot read the message from standard input: {error}"),
        })?;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if count == 0 || (text == b"." && !submission.dot_is_content) {
            break;
        }
        if fields.is_empty() && in_header && is_mailbox_line(text) {
            continue;
        }
        if !in_header {
            message.body.extend([text, b"\r\n"].concat());
            continue;
        }
        match text {
            [] => in_header = false,
            [b' ' | b'\t', ..] if !fields.is_empty() => {
                if let Some(last) = fields.last_mut() {
                    last.extend([text, b"\r\n"].concat());
                }
            }
            _ if field_name(text).is_some() => fields.push([text, b"\r\n"].concat()),
            // No header field: the body begins without an empty line.
            _ => {
                in_header = false;
                message.body.extend([text, b"\r\n"].concat());
            }
        }
    }
    let resent = fields.iter().any(|field| name_of(field).starts_with("resent-"));
    let named: &[&str] =
        if resent { &["resent-to", "resent-cc", "resent-bcc"] } else { &["to", "cc", "bcc"] };
    for field in fields {
        let name = name_of(&field);
        if submission.recipients_from_header && named.contains(&name.as_str()) {
            let value = String::from_utf8_lossy(&field[name.len() + 1..]).into_owned();
            submission.recipients.extend(addresses(&value));
        }
        if !matches!(name.as_str(), "bcc" | "resent-bcc") {
            message.header.extend(field);
        }
    }
    Ok(message)
}

/// The name of what was taken for a header field.
fn name_of(field: &[u8]) -> String {
    field_name(field).unwrap_or_default()
}

/// `From someone Mon Jan 1 …`, as mailbox files have it in front of a message.
fn is_mailbox_line(text: &[u8]) -> bool {
    text.strip_prefix(b">").unwrap_or(text).starts_with(b"From ")
}

/// The name of a header field, in lower case.
fn field_name(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = &line[..colon];
    let good = !name.is_empty() && name.iter().all(|byte| matches!(byte, 33..=126));
    good.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// The mailboxes in the value of an address header: without names, comments and groups.
pub(super) fn addresses(value: &str) -> Vec<String> {
    let (mut found, mut current, mut angle) = (Vec::new(), String::new(), None::<String>);
    let (mut quoted, mut comments, mut escaped) = (false, 0u32, false);
    let mut finish = |current: &mut String, angle: &mut Option<String>| {
        let address = angle.take().unwrap_or_else(|| current.clone());
        current.clear();
        let address = address.trim();
        if !address.is_empty() {
            found.push(address.to_owned());
        }
    };
    let mut in_angle = false;
    for c in value.chars() {
        let plain = !quoted && comments == 0 && !escaped;
        match c {
            '(' if !quoted && !escaped => comments += 1,
            ')' if comments > 0 && !escaped => {
                comments -= 1;
                continue;
            }
            '<' if plain => {
                in_angle = true;
                angle = Some(String::new());
                continue;
            }
            '>' if plain => {
                in_angle = false;
                continue;
            }
            ',' | ';' if plain && !in_angle => {
                finish(&mut current, &mut angle);
                continue;
            }
            // What stood before was the name of a group.
            ':' if plain && !in_angle => {
                current.clear();
                continue;
            }
            '"' if comments == 0 && !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if comments == 0 && !matches!(c, '\r' | '\n') {
            match angle.as_mut().filter(|_| in_angle) {
                Some(angle) => angle.push(c),
                None => current.push(c),
            }
        }
    }
    finish(&mut current, &mut angle);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_text(text: &str, submission: &mut Submission) -> (String, String) {
        let message = read(&mut text.as_bytes(), submission).unwrap();
        (String::from_utf8(message.header).unwrap(), String::from_utf8(message.body).unwrap())
    }

    #[test]
    fn recipients_are_found_in_the_header() {
        let mut submission = Submission { recipients_from_header: true, ..Submission::default() };
        let text = "To: Ann <ann@a.test>, \"Bob, B.\" <bob@b.test>,\n  c@c.test (a comment, here)\nBcc: d@d.test\n\
                    Cc: friends: e@e.test, f@f.test;\nSubject: x\n\nbody\n..\n.\nlost\n";
        let (header, body) = read_text(text, &mut submission);
        let expected = ["ann@a.test", "bob@b.test", "c@c.test", "d@d.test", "e@e.test", "f@f.test"];
        assert_eq!(submission.recipients, expected);
        assert!(!header.contains("d@d.test") && header.ends_with("Subject: x\r\n"), "{header}");
        assert_eq!(body, "body\r\n..\r\n");
    }

    #[test]
    fn a_message_that_is_sent_again_goes_to_those_named_for_it() {
        let mut submission = Submission { recipients_from_header: true, ..Submission::default() };
        let text = "Resent-To: r@r.test\nResent-Bcc: s@s.test\nTo: ann@a.test\nBcc: bob@b.test\n\nbody\n";
        let (header, _) = read_text(text, &mut submission);
        assert_eq!(submission.recipients, ["r@r.test", "s@s.test"]);
        assert_eq!(header, "Resent-To: r@r.test\r\nTo: ann@a.test\r\n");
    }

    #[test]
    fn lines_of_mailbox_files_are_left_out() {
        let mut submission = Submission { recipients_from_header: true, ..Submission::default() };
        let text = "From s@src.test Mon Jan  1 00:00:00 2024\n>From me again\nTo: a@a.test\n\nFrom here on\n";
        let (header, body) = read_text(text, &mut submission);
        assert_eq!((header.as_str(), body.as_str()), ("To: a@a.test\r\n", "From here on\r\n"));
    }

    #[test]
    fn comments_may_hold_comments() {
        let found = addresses("a@a.test (one (two, three) four), (b@x.test) Bob <b@b.test>, \"(c\"@c.test");
        assert_eq!(found, ["a@a.test", "b@b.test", "\"(c\"@c.test"]);
    }

    #[test]
    fn a_dot_ends_the_message_unless_told_otherwise() {
        let mut submission = Submission { dot_is_content: true, ..Submission::default() };
        let (header, body) = read_text("Subject: x\r\n\r\n.\r\nno line end", &mut submission);
        assert_eq!((header.as_str(), body.as_str()), ("Subject: x\r\n", ".\r\nno line end\r\n"));
        let (header, body) = read_text("just text\nmore: of it\n", &mut Submission::default());
        assert_eq!((header.as_str(), body.as_str()), ("", "just text\r\nmore: of it\r\n"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "(To: [a-z@<>(),;:\"\\\\ é]{0,30}\n)?[\\PC\n]{0,30}") {
            let mut submission = Submission { recipients_from_header: true, ..Submission::default() };
            let _ = read(&mut text.as_bytes(), &mut submission);
        }
    }
}
