//! postcat(1) with -q: one message by its queue id; -b, -e and -h choose parts.
//!
//! Different: there are no queue files, so there are no record types, offsets or paths. The envelope has
//! the words it has there, as far as they have a meaning here; lines end with a line feed, as there.

use std::io;

use control::{Item, Parts, Request};
use jiff::tz::TimeZone;

use super::super::failure::{Failure, exit};
use super::super::output::Output;
use super::super::session;
use super::{Word, is_foreign_id, words};
use crate::config::Sources;
use crate::format;

const USAGE: &str = "postcat [-b (body text)] [-c config_dir] [-e (envelope records)] [-h (header text)] \
    [-v] -q (access queue) queueid...";

/// Whatever goes wrong, except that the engine is not running.
const EX_FAILED: u8 = 1;

/// Runs it.
pub(super) fn run(arguments: &[String]) -> Result<u8, Failure> {
    let (mut asked, mut by_id, mut ids) = (Parts::default(), false, Vec::new());
    for word in words(arguments, "bc:defhoqrsv", "c", (USAGE, EX_FAILED))? {
        match word {
            Word::Option('b', _) => asked.body = true,
            Word::Option('e', _) => asked.envelope = true,
            Word::Option('h', _) => asked.headers = true,
            Word::Option('q', _) => by_id = true,
            Word::Option('c' | 'v', _) => {}
            Word::Option(letter, _) => {
                return Err(failed(format!("-{letter} needs queue files, and there are none: use -q")));
            }
            Word::Operand(id) => ids.push(id),
        }
    }
    if !by_id {
        return Err(failed(format!("there are no queue files to read: use -q; usage: {USAGE}")));
    }
    let parts = match asked == Parts::default() {
        true => Parts { envelope: true, headers: true, body: true },
        false => asked,
    };
    let mut output = Output::open();
    for id in &ids {
        let missing = || failed(format!("open queue file {id}: No such file or directory"));
        let known = session::queue_id(id).map_err(|_| match is_foreign_id(id) {
            true => missing(),
            false => failed(format!("bad mail queue ID: {id}")),
        })?;
        match one(&known, parts, &mut output) {
            Err(Failure::Told { code: exit::NOTHING, .. }) => return Err(missing()),
            result => result?,
        }
    }
    output.finish()?;
    Ok(exit::DONE)
}

fn failed(text: String) -> Failure {
    Failure::Told { code: EX_FAILED, text }
}

fn one(id: &str, parts: Parts, output: &mut Output) -> Result<(), Failure> {
    let mut engine = session::engine(&Sources::default())?;
    let mark = |output: &mut Output, text: &str| match parts.envelope {
        true => output.line(&format!("*** {text} {id} ***")),
        false => Ok(()),
    };
    let mut message = None;
    let (mut contents, mut body, mut last) = (false, false, 0);
    for item in engine.ask(&Request::Show { id: id.to_owned(), parts })? {
        match item? {
            Item::Message(item) => message = Some(item),
            Item::Envelope(envelope) => {
                let Some(message) = message.as_ref() else { continue };
                mark(output, "ENVELOPE RECORDS")?;
                let text = format::postcat_envelope(message, &envelope, &TimeZone::system());
                output.bytes(text.as_bytes())?;
            }
            Item::Content(content) => {
                if !contents {
                    mark(output, "MESSAGE CONTENTS")?;
                }
                // The empty line belongs to the body.
                if !content.headers && !body {
                    output.line("")?;
                }
                (contents, body) = (true, body || !content.headers);
                line_feeds(output, &content.bytes, &mut last)?;
            }
            _ => {}
        }
    }
    if !contents {
        mark(output, "MESSAGE CONTENTS")?;
    }
    mark(output, "HEADER EXTRACTED")?;
    mark(output, "MESSAGE FILE END")?;
    Ok(())
}

/// Writes content with line feeds for CRLF; a CR at the end of a piece waits for the next one.
fn line_feeds(output: &mut Output, bytes: &[u8], last: &mut u8) -> io::Result<()> {
    let mut plain = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if *last == b'\r' && byte != b'\n' {
            plain.push(b'\r');
        }
        if byte != b'\r' {
            plain.push(byte);
        }
        *last = byte;
    }
    output.bytes(&plain)
}
