//! `postrider queue show`: one message as it is kept.

use control::{Item, Parts, Request};

use super::failure::{Failure, exit};
use super::output::Output;
use super::session;
use crate::config::Sources;
use crate::format;

/// Prints the parts asked for, all of them when none was.
pub(crate) fn run(id: &str, asked: Parts, json: bool, sources: &Sources) -> Result<u8, Failure> {
    let id = session::queue_id(id)?;
    let everything = !asked.envelope && !asked.headers && !asked.body;
    let parts = match everything {
        // As JSON a message is what is known about it; its content only on demand.
        true if json => Parts { envelope: true, ..asked },
        true => Parts { envelope: true, headers: true, body: true },
        false => asked,
    };
    if json {
        return as_json(&id, parts, sources);
    }
    let marks = everything.then_some(id.as_str());
    let mut engine = session::engine(sources)?;
    let mut output = Output::open();
    let mut writer = Writer { output: &mut output, marks, parts, at: At::Start };
    let mut message = None;
    for item in engine.ask(&Request::Show { id: id.clone(), parts })? {
        match item? {
            Item::Message(item) => message = Some(item),
            Item::Envelope(envelope) => {
                if let Some(message) = message.as_ref() {
                    writer.envelope(&format::envelope(message, &envelope, session::now()))?;
                }
            }
            Item::Content(content) => writer.content(content.headers, &content.bytes)?,
            _ => {}
        }
    }
    writer.end()?;
    output.finish()?;
    Ok(exit::DONE)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Headers,
    Body,
}

/// Puts the parts one after the other, with postcat's marks between them when everything is shown.
struct Writer<'o> {
    output: &'o mut Output,
    marks: Option<&'o str>,
    parts: Parts,
    at: At,
}

impl Writer<'_> {
    fn mark(&mut self, text: &str) -> Result<(), Failure> {
        if let Some(id) = self.marks {
            self.output.line(&format!("*** {text} {id} ***"))?;
        }
        Ok(())
    }

    fn envelope(&mut self, text: &str) -> Result<(), Failure> {
        self.mark("ENVELOPE RECORDS")?;
        Ok(self.output.bytes(text.as_bytes())?)
    }

    fn content(&mut self, headers: bool, bytes: &[u8]) -> Result<(), Failure> {
        if self.at == At::Start {
            self.mark("MESSAGE CONTENTS")?;
        }
        if !headers && self.at != At::Body && self.parts.headers {
            self.output.bytes(b"\r\n")?;
        }
        self.at = if headers { At::Headers } else { At::Body };
        // A terminal must not take orders from mail.
        if self.output.is_terminal() {
            let text = format::printable_lines(&String::from_utf8_lossy(bytes));
            return Ok(self.output.bytes(text.as_bytes())?);
        }
        Ok(self.output.bytes(bytes)?)
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.mark("MESSAGE FILE END")
    }
}

fn as_json(id: &str, parts: Parts, sources: &Sources) -> Result<u8, Failure> {
    let mut engine = session::engine(sources)?;
    let mut object = serde_json::Map::new();
    let (mut headers, mut body) = (Vec::new(), Vec::new());
    for item in engine.ask(&Request::Show { id: id.to_owned(), parts })? {
        match item? {
            Item::Message(message) => {
                object.insert("message".to_owned(), serde_json::json!(message));
            }
            Item::Envelope(envelope) => {
                object.insert("envelope".to_owned(), serde_json::json!(envelope));
            }
            Item::Content(content) if content.headers => headers.extend(content.bytes),
            Item::Content(content) => body.extend(content.bytes),
            _ => {}
        }
    }
    for (asked, name, bytes) in [(parts.headers, "headers", headers), (parts.body, "body", body)] {
        if asked {
            object.insert(name.to_owned(), String::from_utf8_lossy(&bytes).into());
        }
    }
    let mut output = Output::open();
    output.line(&format::json(&object))?;
    output.finish()?;
    Ok(exit::DONE)
}
