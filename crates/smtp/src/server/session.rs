//! One receiving session: cuts lines, keeps the order of commands, asks its driver, writes replies.
//!
//! Promises: replies come in the order of the commands whatever was pipelined (RFC 2920), and the same
//! for the same bytes in any pieces; what was buffered in clear is forgotten at STARTTLS (RFC 3207 6);
//! every error counts, and too many end the session. A line that ends in a bare LF gets its refusal at
//! once and is never carried out.
//! Refuses: to decide who may send what where; that is the driver's, asked by [`Event`].
//! Known to be wrong: behind a malformed BDAT nobody can tell chunk from command, so the session ends
//! there instead of going on.

use std::sync::Arc;

use mail::limits::COMMAND_LINE_BYTES_MAX;
use mail::{EnhancedStatus, Protocol, Recipient, Reply};

use super::body::Body;
use super::commands::is_other_protocol;
use super::event::{Event, Refusal, Transaction};
use super::settings::Settings;
use crate::command::{Command, Verb};
use crate::reply::print_reply;

/// A session as its driver sees it: [`poll`](Session::poll) until it wants input, send
/// [`output`](Session::output), read into [`input`](Session::input), and so on until `Close`.
#[derive(Debug)]
pub struct Session {
    pub(super) settings: Arc<Settings>,
    pub(super) input: Vec<u8>,
    pub(super) taken: usize,
    pub(super) output: Vec<u8>,
    pub(super) state: State,
    pub(super) helo: Option<String>,
    pub(super) extended: bool,
    pub(super) tls: bool,
    pub(super) transaction: Option<Transaction>,
    pub(super) candidate: Option<Recipient>,
    pub(super) etrn: (String, bool),
    pub(super) body: Body,
    notices: Vec<Event>,
    stopping: Option<Reply>,
    pub(super) quit: bool,
    errors: u32,
    junk: u32,
    pub(super) overshoot: usize,
    pub(super) recipient_refused: bool,
}

/// Where the session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Between commands.
    Command,
    /// Inside a command line that is too long.
    LongLine,
    /// The driver owes an answer.
    Hello,
    Mail,
    Rcpt,
    Data,
    Chunk,
    Message,
    StartTls,
    Etrn,
    /// In the content behind DATA.
    Dotted,
    /// In a chunk of BDAT.
    Chunked,
    /// Over.
    Closed,
}

/// A reply with an enhanced status whose class follows from the code.
pub(super) fn reply(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> Reply {
    let class = if code < 400 { 2 } else { (code / 100) as u8 };
    Reply::new(code, Some(EnhancedStatus::new(class, subject, detail)), text)
}

impl Session {
    /// A session that has just been connected; its greeting is in the output.
    pub fn new(settings: Arc<Settings>) -> Session {
        let word = if settings.lmtp { "LMTP" } else { "ESMTP" };
        let greeting = format!("220 {} {word} Postrider\r\n", settings.hostname);
        Session {
            settings,
            input: Vec::new(),
            taken: 0,
            output: greeting.into_bytes(),
            state: State::Command,
            helo: None,
            extended: false,
            tls: false,
            transaction: None,
            candidate: None,
            etrn: (String::new(), false),
            body: Body::default(),
            notices: Vec::new(),
            stopping: None,
            quit: false,
            errors: 0,
            junk: 0,
            overshoot: 0,
            recipient_refused: false,
        }
    }

    /// Where to append what the client sent. Append only; the session takes from the front.
    pub fn input(&mut self) -> &mut Vec<u8> {
        if self.taken == self.input.len() {
            self.input.clear();
        } else {
            self.input.drain(..self.taken);
        }
        self.taken = 0;
        &mut self.input
    }

    /// Gives the session what the client sent.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input().extend_from_slice(bytes);
    }

    /// Replies that have not been sent. Whoever sends them clears them.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// What the client called itself; empty before it did.
    pub fn helo(&self) -> &str {
        self.helo.as_deref().unwrap_or_default()
    }

    /// The words for `Received:` as of now.
    pub fn protocol(&self) -> Protocol {
        let utf8 = self.transaction.as_ref().is_some_and(|transaction| transaction.mail.smtputf8);
        Protocol { lmtp: self.settings.lmtp, extended: self.extended, tls: self.tls, utf8 }
    }

    /// The transaction, from MAIL (then to be decided) to its end.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// The recipient to be decided.
    pub fn candidate(&self) -> Option<&Recipient> {
        self.candidate.as_ref()
    }

    /// Whether the client owes content, not a command: other time limits hold.
    pub fn is_inside_body(&self) -> bool {
        matches!(self.state, State::Dotted | State::Chunked)
    }

    /// Whether the client ended the session with QUIT.
    pub fn has_quit(&self) -> bool {
        self.quit
    }

    /// Ends the session with this reply (421) before the next command; a message that is arriving is
    /// finished first.
    pub fn stop(&mut self, reply: Reply) {
        self.stopping.get_or_insert(reply);
    }

    /// Ends the session with this reply (421) now.
    pub fn close(&mut self, reply: &Reply) {
        if self.state != State::Closed {
            self.write(reply);
            self.state = State::Closed;
        }
    }

    /// Goes on as far as possible and says what is needed.
    pub fn poll(&mut self) -> Event {
        loop {
            if !self.notices.is_empty() {
                return self.notices.remove(0);
            }
            match self.state {
                State::Command => match self.stopping.take() {
                    Some(reply) => self.close(&reply),
                    None if !self.take_line() => return Event::NeedInput,
                    None => {}
                },
                State::LongLine => {
                    if !self.skip_line() {
                        return Event::NeedInput;
                    }
                }
                State::Dotted | State::Chunked => {
                    if let Some(event) = self.read_body() {
                        return event;
                    }
                }
                State::Hello => return Event::Hello,
                State::Mail => return Event::Mail,
                State::Rcpt => return Event::Rcpt,
                State::Data | State::Chunk => return Event::Data,
                State::Message => return Event::Message,
                State::StartTls => return Event::StartTls,
                State::Etrn => return Event::Etrn { site: self.etrn.0.clone(), subdomains: self.etrn.1 },
                State::Closed => return Event::Close,
            }
        }
    }

    /// Yes to `Hello`, `Mail` or `Rcpt`.
    pub fn accept(&mut self) {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Hello => self.write_hello(),
            State::Mail => self.output.extend_from_slice(b"250 2.1.0 Ok\r\n"),
            State::Rcpt => {
                if let (Some(transaction), Some(recipient)) = (&mut self.transaction, self.candidate.take()) {
                    transaction.recipients.push(recipient);
                }
                self.output.extend_from_slice(b"250 2.1.5 Ok\r\n");
            }
            state => self.state = state,
        }
    }

    /// No to any question, or the answer to `Message` when there is only one. The reply is 4xx or 5xx.
    pub fn refuse(&mut self, reply: Reply) {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Hello => {
                self.helo = None;
                self.refused(Some(if self.settings.lmtp { Verb::Lhlo } else { Verb::Ehlo }), reply);
            }
            State::Mail => {
                self.refused(Some(Verb::Mail), reply);
                self.transaction = None;
            }
            State::Rcpt => {
                self.recipient_refused = true;
                self.refused(Some(Verb::Rcpt), reply);
            }
            State::Data => self.refused(Some(Verb::Data), reply),
            State::Chunk => self.skip_chunk(reply),
            State::Message => {
                self.state = State::Message;
                self.finish(&reply);
            }
            State::Etrn => self.refused(Some(Verb::Etrn), reply),
            state => self.state = state,
        }
    }

    /// The answer to `Etrn`, whatever it is.
    pub fn answer(&mut self, reply: Reply) {
        if self.state != State::Etrn {
            return;
        }
        if reply.code >= 400 {
            return self.refuse(reply);
        }
        self.state = State::Command;
        self.write(&reply);
    }

    /// The handshake is done: everything that was said before is forgotten (RFC 3207 4.2).
    pub fn tls_started(&mut self) {
        if self.state == State::StartTls {
            self.state = State::Command;
            self.tls = true;
        }
    }

    pub(super) fn write(&mut self, reply: &Reply) {
        print_reply(reply, &mut self.output);
    }

    pub(super) fn notify(&mut self, event: Event) {
        self.notices.push(event);
    }

    /// Writes a refusal, counts it, and ends the session when it is one too many.
    pub(super) fn refused(&mut self, verb: Option<Verb>, reply: Reply) {
        self.write(&reply);
        let permanent = reply.code >= 500;
        let sender = self.transaction.as_ref().map(|transaction| transaction.mail.sender_text().to_owned());
        let recipient = self.candidate.take().map(|recipient| recipient.address);
        self.notify(Event::Refused(Refusal { verb, sender, recipient, reply }));
        if permanent {
            self.count_error();
        }
    }

    /// A message was taken: the counters start again.
    pub(super) fn forgive(&mut self) {
        self.errors = 0;
        self.junk = 0;
    }

    /// Forgets the transaction, and the content that has arrived for it.
    pub(super) fn end_transaction(&mut self) {
        self.transaction = None;
        self.candidate = None;
        self.overshoot = 0;
        self.recipient_refused = false;
        self.abandon_body();
    }

    pub(super) fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.settings.hard_error_limit {
            self.close(&reply(421, 7, 0, format!("{} Error: too many errors", self.settings.hostname)));
        }
    }

    pub(super) fn count_junk(&mut self) {
        self.junk += 1;
        if self.junk > self.settings.junk_command_limit {
            self.count_error();
        }
    }

    /// Takes one command line. False when there is none.
    fn take_line(&mut self) -> bool {
        let waiting = &self.input[self.taken..];
        let within = &waiting[..waiting.len().min(COMMAND_LINE_BYTES_MAX)];
        let Some(end) = memchr::memchr(b'\n', within) else {
            if waiting.len() < COMMAND_LINE_BYTES_MAX {
                return false;
            }
            self.state = State::LongLine;
            return true;
        };
        let line = &waiting[..end];
        let Some(line) = line.strip_suffix(b"\r") else {
            self.taken += end + 1;
            self.refused(None, reply(500, 5, 2, "Error: bare <LF> received, lines end with <CR><LF>"));
            return true;
        };
        let (verb, command) = (Verb::of(line.trim_ascii_end()), Command::parse(line));
        let foreign = verb.is_none() && is_other_protocol(line);
        self.taken += end + 1;
        self.command(verb, command, foreign);
        true
    }

    /// Drops the rest of a line that is too long. False when its end has not come.
    fn skip_line(&mut self) -> bool {
        match memchr::memchr(b'\n', &self.input[self.taken..]) {
            Some(end) => {
                self.taken += end + 1;
                self.state = State::Command;
                self.refused(None, reply(500, 5, 2, "Error: command line too long"));
                true
            }
            None => {
                self.taken = self.input.len();
                false
            }
        }
    }
}
