//! A copy of a message as programs on this machine expect it: lines that end with LF, header fields of
//! the final delivery in front (RFC 5321 4.4).
//!
//! Promises: nothing is changed but line ends and, when asked for, lines that begin with `From `.
//! Refuses: reading files; the content comes in pieces.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use mail::{Address, Envelope};
use spool::Body;

use crate::words::Mailbox;

/// How much of the beginning is searched for `Delivered-To:`; a header section beyond it is nobody's.
const HEADER_BYTES_MAX: usize = 256 * 1024;

/// What is put in front of a message, what is done to its lines, and what its delivery is (the flags of
/// pipe(8)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Preparation {
    /// `R`: a `Return-Path:` field.
    pub return_path: bool,
    /// `D`: a `Delivered-To:` field; mail that has one for the same recipient loops and is returned.
    pub delivered_to: bool,
    /// `O`: an `X-Original-To:` field.
    pub original_to: bool,
    /// `F`: a `From ` line, as mailbox files have it.
    pub from_line: bool,
    /// `>`: a `>` in front of lines that begin with `From `.
    pub quote_from: bool,
    /// `B`: an empty line at the end.
    pub blank_line: bool,
    /// `X`: the program puts mail into the mailbox; success is reported as delivered, not as relayed.
    pub final_delivery: bool,
}

/// The letters of pipe(8) and the field each one sets.
type Flag = (char, fn(&mut Preparation) -> &mut bool);

const FLAGS: [Flag; 7] = [
    ('B', |preparation| &mut preparation.blank_line),
    ('D', |preparation| &mut preparation.delivered_to),
    ('F', |preparation| &mut preparation.from_line),
    ('O', |preparation| &mut preparation.original_to),
    ('R', |preparation| &mut preparation.return_path),
    ('X', |preparation| &mut preparation.final_delivery),
    ('>', |preparation| &mut preparation.quote_from),
];

/// A letter that is no flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{letter}\" is no flag; known are B, D, F, O, R, X and >")]
pub struct UnknownFlag {
    /// The letter.
    pub letter: char,
}

impl Preparation {
    /// Reads flags written as in master(5): `DRF>`.
    pub fn parse(flags: &str) -> Result<Preparation, UnknownFlag> {
        let mut preparation = Preparation::default();
        for letter in flags.chars().filter(|letter| !letter.is_whitespace()) {
            let known = FLAGS.iter().find(|(known, _)| *known == letter);
            let (_, field) = known.ok_or(UnknownFlag { letter })?;
            *field(&mut preparation) = true;
        }
        Ok(preparation)
    }

    /// Whether it says something that is true of one recipient only.
    pub fn names_recipient(&self) -> bool {
        self.delivered_to || self.original_to
    }

    /// The lines in front of the message.
    pub(crate) fn head(&self, envelope: &Envelope, mailbox: &Mailbox, now: SystemTime) -> String {
        let sender = envelope.sender.as_ref().map_or("", Address::as_str);
        let mut head = String::new();
        if self.from_line {
            let sender = if sender.is_empty() { "MAILER-DAEMON" } else { sender };
            head.push_str(&format!("From {} {}\n", sender.replace(' ', "_"), asctime(now)));
        }
        if self.return_path {
            head.push_str(&format!("Return-Path: <{sender}>\n"));
        }
        if self.original_to {
            head.push_str(&format!(
                "X-Original-To: {}\n",
                mailbox.original.as_ref().unwrap_or(&mailbox.recipient)
            ));
        }
        if self.delivered_to {
            head.push_str(&format!("Delivered-To: {}\n", mailbox.recipient));
        }
        head
    }
}

/// A time in UTC as asctime(3) writes it: `Sun Nov 22 04:17:32 2026`.
fn asctime(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from March, so that the day that may be missing is the last one.
    let since_march_of_0 = days + 719_468;
    let (era, day) = (since_march_of_0 / 146_097, since_march_of_0 % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let name = MONTHS[((month + 2) % 12) as usize];
    let year = era * 400 + year + u64::from(month >= 10);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = DAYS[(days % 7) as usize];
    format!("{weekday} {name} {day_of_month:2} {hour:02}:{minute:02}:{second:02} {year}")
}

/// Turns content with CRLF into lines with LF, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct UnixLines {
    quote_from: bool,
    /// What is known of the line that is not over: its first bytes, as far as they may become `From `.
    opening: Opening,
    /// A CR at the end of the last piece.
    carriage_return: bool,
    /// The last byte that was written.
    last: Option<u8>,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Opening {
    /// At the start of a line, with so many bytes of `From ` read and held back.
    Held(usize),
    /// Elsewhere.
    #[default]
    Past,
}

const FROM: &[u8] = b"From ";

impl UnixLines {
    pub(crate) fn new(preparation: &Preparation) -> UnixLines {
        let opening = if preparation.quote_from { Opening::Held(0) } else { Opening::Past };
        UnixLines { quote_from: preparation.quote_from, opening, ..UnixLines::default() }
    }

    /// Adds the next piece to `out`.
    pub(crate) fn convert(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() + FROM.len() + 1);
        for &byte in piece {
            if std::mem::take(&mut self.carriage_return) && byte != b'\n' {
                self.push(b'\r', out);
            }
            match byte {
                b'\r' => self.carriage_return = true,
                byte => self.push(byte, out),
            }
        }
    }

    /// Adds what was held back.
    pub(crate) fn finish(mut self, preparation: &Preparation, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.carriage_return) {
            self.push(b'\r', out);
        }
        if let Opening::Held(count) = self.opening {
            out.extend_from_slice(&FROM[..count]);
            self.last = FROM[..count].last().copied().or(self.last);
        }
        if preparation.blank_line {
            let end: &[u8] = if self.last == Some(b'\n') { b"\n" } else { b"\n\n" };
            out.extend_from_slice(end);
        }
    }

    fn push(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.opening {
            Opening::Held(count) if FROM[count] == byte && count + 1 == FROM.len() => {
                out.push(b'>');
                out.extend_from_slice(FROM);
                self.opening = Opening::Past;
            }
            Opening::Held(count) if FROM[count] == byte => {
                self.opening = Opening::Held(count + 1);
                return;
            }
            Opening::Held(count) => {
                out.extend_from_slice(&FROM[..count]);
                out.push(byte);
                self.opening = Opening::Past;
            }
            Opening::Past => out.push(byte),
        }
        self.last = Some(byte);
        if byte == b'\n' && self.quote_from {
            self.opening = Opening::Held(0);
        }
    }
}

/// Whether the header section says that the message was delivered to this recipient before.
pub(crate) fn was_delivered_to(body: &Body, address: &str) -> io::Result<bool> {
    let mut start = vec![0; HEADER_BYTES_MAX.min(usize::try_from(body.len()).unwrap_or(usize::MAX))];
    let count = body.read_at(0, &mut start)?;
    let lines = start[..count].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let name = b"delivered-to:";
    Ok(lines.take_while(|line| !line.is_empty()).any(|line| {
        line.split_at_checked(name.len()).is_some_and(|(start, value)| {
            start.eq_ignore_ascii_case(name) && value.trim_ascii().eq_ignore_ascii_case(address.as_bytes())
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(flags: &str, pieces: &[&[u8]]) -> String {
        let preparation = Preparation::parse(flags).unwrap();
        let mut lines = UnixLines::new(&preparation);
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| lines.convert(piece, &mut out));
        lines.finish(&preparation, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_end_with_lf() {
        for (flags, content, expected) in [
            ("", "a\r\nb\r\n", "a\nb\n"),
            ("", "a\rb\r\r\nc\r", "a\rb\r\nc\r"),
            ("", "no end", "no end"),
            (
                ">",
                "From a\r\nFrom b\r\n>From c\r\nFro\r\nxFrom \r\nFrom",
                ">From a\n>From b\n>From c\nFro\nxFrom \nFrom",
            ),
            ("B", "a\r\n", "a\n\n"),
            ("B", "a", "a\n\n"),
            ("B>", "Fr", "Fr\n\n"),
            ("", "From a\r\n", "From a\n"),
        ] {
            assert_eq!(converted(flags, &[content.as_bytes()]), expected, "{content:?}");
        }
    }

    #[test]
    fn times_read_as_in_mailbox_files() {
        for (seconds, text) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (951_782_399, "Mon Feb 28 23:59:59 2000"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (951_868_800, "Wed Mar  1 00:00:00 2000"),
            (1_798_761_599, "Thu Dec 31 23:59:59 2026"),
            (4_107_542_400, "Mon Mar  1 00:00:00 2100"),
        ] {
            assert_eq!(asctime(UNIX_EPOCH + std::time::Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn flags_are_letters_of_pipe() {
        let all = Preparation::parse("BDF ORX>").unwrap();
        assert!(
            all.names_recipient() && all.from_line && all.quote_from && all.blank_line && all.return_path
        );
        assert_eq!(Preparation::parse("Dx"), Err(UnknownFlag { letter: 'x' }));
        assert_eq!(Preparation::parse(""), Ok(Preparation::default()));
    }

    #[test]
    fn a_loop_is_seen_in_the_header_section_only() {
        let body = |text: &str| Body::from_bytes(text.as_bytes().to_vec().into());
        let looping = body("Subject: x\r\ndelivered-TO:  U@x.test \r\n\r\nbody\r\n");
        assert!(was_delivered_to(&looping, "u@X.test").unwrap());
        assert!(!was_delivered_to(&looping, "v@x.test").unwrap());
        assert!(!was_delivered_to(&body("A: b\r\n\r\nDelivered-To: u@x.test\r\n"), "u@x.test").unwrap());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(content in "(From |F|\r|\n|\r\n|a){0,30}", cut in 0usize..40, flags in "[>B]{0,2}") {
            let bytes = content.as_bytes();
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(converted(&flags, &[a, b]), converted(&flags, &[bytes]));
        }
    }
}
