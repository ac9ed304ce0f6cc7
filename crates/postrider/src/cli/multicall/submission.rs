//! A message as a program hands it to sendmail(1): read from standard input, its recipients found, its
//! header completed.
//!
//! Promises: the body is not changed but for line ends, which become CRLF. Known to be simple: comments
//! inside comments in address headers are not understood, Resent- headers are not looked at.

use std::io::{BufRead, Read};

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
    pub(super) notify: Option<String>,
    /// -R.
    pub(super) ret: Option<String>,
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
    for field in fields {
        let name = field_name(&field).unwrap_or_default();
        if submission.recipients_from_header && matches!(name.as_str(), "to" | "cc" | "bcc") {
            let value = String::from_utf8_lossy(&field[name.len() + 1..]).into_owned();
            submission.recipients.extend(addresses(&value));
        }
        if name != "bcc" {
            message.header.extend(field);
        }
    }
    Ok(message)
}

/// The name of a header field, in lower case.
fn field_name(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = &line[..colon];
    let good = !name.is_empty() && name.iter().all(|byte| matches!(byte, 33..=126));
    good.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// The mailboxes in the value of an address header: without names, comments and groups.
fn addresses(value: &str) -> Vec<String> {
    let (mut found, mut current, mut angle) = (Vec::new(), String::new(), None::<String>);
    let (mut quoted, mut comment, mut escaped) = (false, false, false);
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
        let plain = !quoted && !comment && !escaped;
        match c {
            '(' if plain => comment = true,
            ')' if comment && !escaped => {
                comment = false;
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
            '"' if !comment && !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if !comment && !matches!(c, '\r' | '\n') {
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
