//! The content of a message inside a session: DATA, BDAT, and the one or several replies behind it.

use mail::Reply;

use super::event::{Event, Refusal, Transaction};
use super::session::{Session, State, reply};
use crate::command::Verb;
use crate::data::{ContentFault, ContentReader};

/// What has arrived of the content.
#[derive(Debug, Default)]
pub(super) struct Body {
    reader: Option<ContentReader>,
    content: Vec<u8>,
    /// Bytes of the current chunk that have not come, and whether it is the last.
    chunk_left: u64,
    last: bool,
    /// Why the content is not taken; it is still read to its end.
    refusal: Option<Reply>,
    /// The driver was told that nothing comes of it.
    abandoned: bool,
    /// How many replies the message gets.
    replies: usize,
}

impl Body {
    /// Whether the transaction has come to its content.
    pub(super) fn has_begun(&self) -> bool {
        self.reader.is_some()
    }
}

impl Session {
    /// Yes to `Data`: content is appended to `front`, which usually holds a `Received:` line.
    pub fn begin_body(&mut self, front: Vec<u8>) {
        let limits = self.settings.content_limits();
        match self.state {
            State::Data => {
                self.body.reader = Some(ContentReader::dotted(limits));
                self.output.extend_from_slice(b"354 End data with <CR><LF>.<CR><LF>\r\n");
                self.state = State::Dotted;
            }
            State::Chunk => {
                self.body.reader = Some(ContentReader::chunked(limits));
                self.state = State::Chunked;
            }
            _ => return,
        }
        self.body.content = front;
    }

    /// The content that has piled up, `front` included.
    pub fn body_part(&self) -> &Vec<u8> {
        &self.body.content
    }

    /// Takes the content that has piled up.
    pub fn take_body_part(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body.content)
    }

    /// The message cannot be taken after all (452, 451): its content is read to the end and dropped,
    /// then this reply is given.
    pub fn fail_body(&mut self, reply: Reply) {
        if self.is_inside_body() {
            self.body.refusal.get_or_insert(reply);
            self.body.content = Vec::new();
            self.body.abandoned = true;
        }
    }

    /// At `Message`: the transaction and the rest of the content.
    pub fn take_message(&mut self) -> Option<(Transaction, Vec<u8>)> {
        if self.state != State::Message {
            return None;
        }
        let content = self.take_body_part();
        self.transaction.take().map(|transaction| (transaction, content))
    }

    /// The answer to `Message`; LMTP repeats it for every recipient (RFC 2033 4.2).
    pub fn finish(&mut self, reply: &Reply) {
        self.finish_each(|_| reply.clone());
    }

    /// The answer to `Message` for each recipient by its position; SMTP asks for the first only.
    pub fn finish_each(&mut self, reply_to: impl Fn(usize) -> Reply) {
        if self.state != State::Message {
            return;
        }
        self.state = State::Command;
        let replies = std::mem::take(&mut self.body.replies);
        self.body = Body::default();
        self.end_transaction();
        for position in 0..replies {
            let reply = reply_to(position);
            self.write(&reply);
            if reply.code < 400 {
                self.forgive();
            } else {
                let verb = Some(Verb::Data);
                self.notify(Event::Refused(Refusal { verb, sender: None, recipient: None, reply }));
            }
        }
    }

    /// Drops what has arrived and says so, when the driver may hold a part of it.
    pub(super) fn abandon_body(&mut self) {
        let body = std::mem::take(&mut self.body);
        if body.reader.is_some() && !body.abandoned {
            self.notify(Event::Abandoned);
        }
    }

    /// BDAT that may stand here.
    pub(super) fn chunk(&mut self, bytes: u64, last: bool) {
        if bytes > self.settings.endless_bytes() {
            return self.skip_bytes(bytes, ContentFault::TooLarge.reply());
        }
        self.body.chunk_left = bytes;
        self.body.last = last;
        self.state = if self.body.has_begun() { State::Chunked } else { State::Chunk };
    }

    /// BDAT that may not stand here: its bytes come all the same.
    pub(super) fn skip_bytes(&mut self, bytes: u64, reply: Reply) {
        if bytes > self.settings.endless_bytes() {
            self.refused(Some(Verb::Bdat), reply);
            self.end_transaction();
            return self.close_on_endless();
        }
        self.body.chunk_left = bytes;
        self.body.refusal = Some(reply);
        self.state = State::Chunked;
    }

    /// The driver refused the first chunk.
    pub(super) fn skip_chunk(&mut self, reply: Reply) {
        self.body.refusal = Some(reply);
        self.state = State::Chunked;
    }

    /// Content that has been refused for its size is read to its end, but not for ever.
    fn close_on_endless(&mut self) {
        let text = format!("{} Error: the message has no end", self.settings.hostname);
        self.close(&reply(421, 3, 4, text));
    }

    /// Reads content. Nothing means that the session is somewhere else now.
    pub(super) fn read_body(&mut self) -> Option<Event> {
        let dotted = self.state == State::Dotted;
        if !dotted && self.body.chunk_left == 0 {
            self.end_chunk();
            return None;
        }
        let waiting = &self.input[self.taken..];
        if waiting.is_empty() {
            return Some(Event::NeedInput);
        }
        let chunk = usize::try_from(self.body.chunk_left).unwrap_or(usize::MAX);
        let part = if dotted { waiting } else { &waiting[..waiting.len().min(chunk)] };
        let Some(reader) = &mut self.body.reader else {
            // A chunk that belongs to nothing.
            self.taken += part.len();
            self.body.chunk_left -= part.len() as u64;
            return None;
        };
        let length = self.body.content.len();
        let progress = reader.read(part, &mut self.body.content);
        let endless = reader.bytes() > self.settings.endless_bytes();
        self.taken += progress.consumed;
        self.body.chunk_left = self.body.chunk_left.saturating_sub(progress.consumed as u64);
        if self.body.abandoned {
            self.body.content.truncate(0);
        } else if reader.fault().is_some() {
            self.body.content = Vec::new();
            self.body.abandoned = true;
            self.notify(Event::Abandoned);
        }
        if progress.ended || endless {
            self.end_message();
            if endless {
                self.close_on_endless();
            }
            return None;
        }
        let grown = self.body.content.len() > length;
        (grown && self.body.content.len() >= self.settings.body_part).then_some(Event::BodyPart)
    }

    fn end_chunk(&mut self) {
        self.state = State::Command;
        let last = self.body.last;
        match &mut self.body.reader {
            None => {
                // Refused before it began. What was refused for good is over (RFC 3030 2).
                let refusal = self.body.refusal.take();
                let refusal = refusal.unwrap_or_else(|| reply(503, 5, 1, "Error: unexpected BDAT"));
                self.refused(Some(Verb::Bdat), refusal);
                self.end_transaction();
            }
            Some(reader) => {
                if last {
                    reader.finish();
                }
                let bytes = reader.bytes();
                if last || reader.fault().is_some() || self.body.refusal.is_some() {
                    self.end_message();
                } else {
                    self.write(&reply(250, 0, 0, format!("Ok: {bytes} bytes")));
                }
            }
        }
    }

    /// All content is there, or enough of it to say no.
    fn end_message(&mut self) {
        let fault = self.body.reader.as_ref().and_then(ContentReader::fault).map(|fault| fault.reply());
        let recipients = self.transaction.as_ref().map_or(1, |transaction| transaction.recipients.len());
        let replies = if self.settings.lmtp { recipients } else { 1 };
        let Some(refusal) = self.body.refusal.take().or(fault) else {
            self.body.replies = replies;
            self.state = State::Message;
            return;
        };
        self.state = State::Command;
        for _ in 1..replies {
            self.write(&refusal);
        }
        self.refused(Some(Verb::Data), refusal);
        self.end_transaction();
    }
}
