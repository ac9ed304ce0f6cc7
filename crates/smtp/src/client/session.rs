//! The sending session: a state machine that is fed with what arrives and says what to send.
//!
//! Promises: every recipient of a transaction gets exactly one outcome, whatever the next hop does; no
//! input makes it panic or grow; the status of every command of a pipelined group is read before a new
//! group starts (RFC 2920 3.1); a 354 for nobody is answered by an empty message; after STARTTLS nothing
//! that was said in clear is believed (RFC 3207 4.2).
//!
//! Scopes: a failure before a message can be offered is the site's; a reply to MAIL, DATA or the final dot
//! concerns the message (in LMTP the final reply concerns its recipient), a reply to RCPT the recipient.
//! 421 counts as a lost connection. A lost connection is the site's trouble while nothing was accepted and
//! when it timed out, since a host that hangs costs an agent; else it may be the message that broke it.
//!
//! This file holds the states and what the caller sees; `opening.rs` and `transmission.rs` say what replies
//! do before and during a message.
//!
//! Refuses: BDAT (DATA does the same everywhere), AUTH, and to know a clock: the caller holds the deadline
//! of each [`Stage`].

use std::collections::VecDeque;
use std::sync::Arc;

use mail::{Envelope, Outcome, Relay, Reply, Scope};

use super::content::Content;
use super::envelope::{Ending, Transaction, print_line};
use super::failure::Loss;
use crate::command::Command;
use crate::extension::Extensions;
use crate::reply::ReplyReader;

/// Most bytes of commands that are sent before their replies are read. Replies to so many commands fit
/// the receive window of any TCP, so that neither side waits for the other to read (RFC 2920 3.1).
pub const PIPELINED_BYTES_MAX: usize = 8 * 1024;

/// Whether to ask for TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StartTls {
    /// Never.
    #[default]
    Never,
    /// When it is offered; in clear when it is not, or when the next hop refuses the command.
    WhenOffered,
    /// Or not at all.
    Required,
}

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// LMTP: LHLO, and one final reply for each accepted recipient (RFC 2033).
    pub lmtp: bool,
    /// The name given in EHLO.
    pub hostname: Arc<str>,
    /// Whether to ask for TLS.
    pub start_tls: StartTls,
    /// Who is at the other end: goes into outcomes and texts.
    pub relay: Option<Arc<Relay>>,
}

/// What is being waited for. Each has a deadline of its own (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Stage {
    /// The greeting.
    Greeting,
    /// The reply to EHLO, HELO or LHLO.
    Hello,
    /// The reply to STARTTLS, and the handshake.
    StartTls,
    /// The reply to RSET in front of a new message.
    Reset,
    /// The reply to MAIL.
    Mail,
    /// The reply to RCPT.
    Recipient,
    /// The reply to DATA.
    Data,
    /// Content is going out.
    Content,
    /// The reply to the final dot.
    Final,
    /// Nothing: no message is being sent.
    Idle,
}

impl Stage {
    /// What goes on, for texts: behind "while".
    pub(super) fn doing(self) -> &'static str {
        match self {
            Stage::Greeting => "waiting for the greeting",
            Stage::Hello => "performing the EHLO handshake",
            Stage::StartTls => "performing the TLS handshake",
            Stage::Reset => "sending RSET",
            Stage::Mail => "sending MAIL FROM",
            Stage::Recipient => "sending RCPT TO",
            Stage::Data => "sending DATA",
            Stage::Content => "sending the content",
            Stage::Final => "waiting for the reply to the end of data; the message may be sent twice",
            Stage::Idle => "idle",
        }
    }
}

/// What the caller has to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Shake hands, then call [`Session::tls_established`] or give up on the connection.
    StartTls,
    /// The session is open: [`Session::send`] a message, or close.
    Ready,
    /// Send the content through a [`super::DotStuffer`], its end included, then call
    /// [`Session::content_sent`].
    SendContent,
    /// The message is dealt with. Look at [`Session::is_reusable`] for what to do with the connection.
    Finished(Ending),
    /// The session could not be opened: this is the outcome of everybody it was meant for. Close.
    Failed(Outcome),
}

/// A command that was sent and not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Reset,
    Mail,
    Recipient(usize),
    Data,
    /// The final dot; in LMTP for the recipient with this index.
    Final(Option<usize>),
    /// The final dot behind nothing, for nobody.
    EmptyFinal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Opening,
    Handshake,
    Idle,
    Envelope,
    Content,
    Final,
    Closed,
}

/// One connection's session. See the module head.
#[derive(Debug)]
pub struct Session {
    pub(super) options: SessionOptions,
    pub(super) state: State,
    pub(super) reader: ReplyReader,
    pub(super) extensions: Extensions,
    pub(super) tls: bool,
    pub(super) awaited: VecDeque<Awaited>,
    pub(super) output: Vec<u8>,
    /// Bytes of the group of commands whose replies are not complete.
    pub(super) group: usize,
    pub(super) events: VecDeque<Event>,
    pub(super) transaction: Option<Transaction>,
    pub(super) needs_reset: bool,
    pub(super) uses: u32,
    pub(super) replies: u64,
    pub(super) stale: bool,
    /// A reply was out of place: what follows may be, too, so that the connection is not used again.
    pub(super) confused: bool,
}

impl Session {
    /// A session on a fresh connection, waiting for the greeting.
    pub fn new(options: SessionOptions) -> Session {
        Session {
            options,
            state: State::Opening,
            reader: ReplyReader::new(),
            extensions: Extensions::default(),
            tls: false,
            awaited: VecDeque::from([Awaited::Greeting]),
            output: Vec::new(),
            group: 0,
            events: VecDeque::new(),
            transaction: None,
            needs_reset: false,
            uses: 0,
            replies: 0,
            stale: false,
            confused: false,
        }
    }

    /// Takes what arrived.
    pub fn receive(&mut self, mut input: &[u8]) {
        if self.state == State::Handshake && !input.is_empty() {
            // RFC 3207 5: plaintext behind the reply to STARTTLS was put there by somebody in between.
            return self.lose(&Loss::Closed(Some("data in clear behind the reply to STARTTLS".into())));
        }
        while !input.is_empty() && self.state != State::Closed {
            match self.reader.read(&mut input) {
                Ok(Some(reply)) => self.take(reply),
                Ok(None) => {}
                Err(error) => self.lose(&Loss::Garbage(error)),
            }
            if self.state == State::Handshake && !input.is_empty() {
                return self.receive(input);
            }
        }
    }

    /// The connection has ended; `why` when the system said more than that.
    pub fn connection_lost(&mut self, why: Option<String>) {
        self.lose(&Loss::Closed(why));
    }

    /// The deadline of [`Session::stage`] has passed. The connection has to be closed.
    pub fn timed_out(&mut self) {
        self.lose(&Loss::TimedOut);
    }

    /// What is to be sent before anything else happens; empty when there is nothing.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// All of [`Session::output`] has been sent.
    pub fn output_sent(&mut self) {
        self.output.clear();
    }

    /// The next thing to do, when there is one; otherwise send the output, then wait for input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is being waited for.
    pub fn stage(&self) -> Stage {
        match (self.awaited.front(), self.state) {
            (Some(Awaited::Greeting), _) => Stage::Greeting,
            (Some(Awaited::Ehlo | Awaited::Helo), _) => Stage::Hello,
            (Some(Awaited::StartTls), _) | (None, State::Handshake) => Stage::StartTls,
            (Some(Awaited::Reset), _) => Stage::Reset,
            (Some(Awaited::Mail), _) => Stage::Mail,
            (Some(Awaited::Recipient(_)), _) => Stage::Recipient,
            (Some(Awaited::Data), _) => Stage::Data,
            (Some(Awaited::Final(_) | Awaited::EmptyFinal), _) => Stage::Final,
            (None, State::Content) => Stage::Content,
            (None, _) => Stage::Idle,
        }
    }

    /// Grows with every reply; the deadline of a stage runs anew when it does, and only then, so that a
    /// next hop cannot stretch a reply by sending it letter by letter.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Gives everybody who has no outcome this one: the content cannot be had. The connection has to be
    /// closed without the final dot, so that the next hop drops what it got.
    pub fn abort(&mut self, outcome: &Outcome) {
        if let Some(transaction) = &mut self.transaction {
            transaction.decide_rest(outcome);
            self.abandon();
            self.finish(0);
        }
    }

    /// Who is at the other end.
    pub fn relay(&self) -> Option<&Arc<Relay>> {
        self.options.relay.as_ref()
    }

    /// What the next hop offers; all off before [`Event::Ready`] and after HELO.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether TLS is on.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// How many messages were handed to this session so far.
    pub fn uses(&self) -> u32 {
        self.uses
    }

    /// Whether another message can be sent.
    pub fn is_reusable(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether the last message failed because the connection was already gone when its first command was
    /// sent, or was refused with 421 in reply to it: it can be sent again on a fresh connection as if
    /// nothing had happened. Only a session that was used before is stale.
    pub fn was_stale(&self) -> bool {
        self.stale
    }

    /// TLS is on: the next hop is asked anew what it offers.
    pub fn tls_established(&mut self) {
        if self.state == State::Handshake {
            self.tls = true;
            self.state = State::Opening;
            self.hello();
        }
    }

    /// Starts a message on a session that [`is_reusable`](Session::is_reusable). `recipients` are
    /// positions in the envelope. On any other session, everybody is deferred.
    pub fn send(&mut self, envelope: Arc<Envelope>, recipients: Vec<u32>, content: Content) {
        let relay = self.options.relay.as_ref();
        let mut transaction = Transaction::new(envelope, recipients, content, self.extensions, relay);
        if self.state != State::Idle {
            transaction.decide_rest(&Loss::Closed(None).outcome(Stage::Idle, Scope::Site, relay));
            return self.events.push_back(Event::Finished(transaction.finish(0)));
        }
        self.uses += 1;
        if transaction.is_decided() {
            return self.events.push_back(Event::Finished(transaction.finish(0)));
        }
        self.transaction = Some(transaction);
        self.state = State::Envelope;
        self.advance();
    }

    /// The content and its end are handed to the network. From here on the next hop may have the message,
    /// whatever happens to the connection.
    pub fn content_sent(&mut self) {
        let Some(transaction) = self.transaction.as_ref().filter(|_| self.state == State::Content) else {
            return;
        };
        self.state = State::Final;
        if self.options.lmtp {
            self.awaited.extend(transaction.accepted.iter().map(|&index| Awaited::Final(Some(index))));
        } else {
            self.awaited.push_back(Awaited::Final(None));
        }
    }

    /// Says goodbye. The reply is not worth waiting for.
    pub fn quit(&mut self) {
        if self.state == State::Idle {
            self.state = State::Closed;
            print_line(&Command::Quit, &mut self.output);
        }
    }

    pub(super) fn command(&mut self, command: &Command, awaited: Awaited) {
        print_line(command, &mut self.output);
        self.awaited.push_back(awaited);
    }

    fn take(&mut self, reply: Reply) {
        self.replies += 1;
        if reply.code == 421 {
            return self.lose(&Loss::Refused(reply));
        }
        match self.awaited.front().copied() {
            None => self.take_unasked(reply),
            Some(awaited @ (Awaited::Greeting | Awaited::Ehlo | Awaited::Helo | Awaited::StartTls)) => {
                self.take_opening(awaited, reply);
            }
            Some(Awaited::Reset) if reply.code >= 300 => self.lose(&Loss::Refused(reply)),
            Some(awaited) => {
                self.awaited.pop_front();
                self.take_transaction(awaited, reply);
                self.advance();
            }
        }
    }

    pub(super) fn lose(&mut self, loss: &Loss) {
        if self.state == State::Closed {
            return;
        }
        let stage = self.stage();
        let relay = self.options.relay.as_ref();
        let doubtful = self.awaited.iter().filter(|awaited| matches!(awaited, Awaited::Final(_))).count();
        let refused = matches!(loss, Loss::Refused(_));
        // A session whose readiness was not heard of yet has not been opened either.
        let unopened =
            matches!(self.state, State::Opening | State::Handshake) || self.events.contains(&Event::Ready);
        match &mut self.transaction {
            Some(transaction) => {
                let harmless = transaction.accepted.is_empty();
                let timed_out = *loss == Loss::TimedOut;
                let scope = if harmless || timed_out { Scope::Site } else { Scope::Message };
                self.stale = self.uses > 1 && !transaction.mail_answered && !timed_out;
                let open = transaction.open();
                transaction.decide_rest(&loss.outcome(stage, scope, relay));
                // A refusal after the dot is an answer; silence is not.
                let doubtful = if doubtful > 0 && !refused { open } else { 0 };
                self.abandon();
                self.finish(doubtful);
            }
            None if unopened => {
                let outcome = loss.outcome(stage, Scope::Site, relay);
                self.fail(outcome);
            }
            None => self.abandon(),
        }
    }
}
