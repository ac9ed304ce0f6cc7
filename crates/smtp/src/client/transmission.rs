//! A message inside a session: its commands in groups, and what each reply decides.

use mail::{Reply, Scope};

use super::envelope::print_line;
use super::failure::{Loss, decided, misplaced};
use super::session::{Awaited, Event, PIPELINED_BYTES_MAX, Session, State};
use crate::command::Command;

impl Session {
    pub(super) fn take_transaction(&mut self, awaited: Awaited, mut reply: Reply) {
        let relay = self.options.relay.clone();
        let relay = relay.as_ref();
        let Some(transaction) = &mut self.transaction else { return };
        self.confused |= is_misplaced(awaited, reply.code);
        match awaited {
            Awaited::Reset | Awaited::EmptyFinal => self.needs_reset = false,
            Awaited::Mail => {
                transaction.mail_answered = true;
                self.needs_reset = true;
                match reply.code {
                    200..=299 => {}
                    300..=399 => {
                        transaction.decide_rest(&misplaced(reply, "MAIL FROM", Scope::Message, relay))
                    }
                    _ => transaction.decide_rest(&decided(reply, "MAIL FROM", Scope::Message, relay)),
                }
            }
            Awaited::Recipient(index) => match reply.code {
                200..=299 => transaction.accepted.push(index),
                300..=399 => transaction.decide(index, misplaced(reply, "RCPT TO", Scope::Recipient, relay)),
                code => {
                    // RFC 5321 4.5.3.1.10: servers that say 552 for too many recipients mean 452.
                    reply.code = if code == 552 { 452 } else { code };
                    transaction.decide(index, decided(reply, "RCPT TO", Scope::Recipient, relay));
                }
            },
            Awaited::Data => self.take_data(reply),
            Awaited::Final(index) => {
                let scope = if index.is_some() { Scope::Recipient } else { Scope::Message };
                let outcome = match reply.code {
                    300..=399 => misplaced(reply, "end of data", scope, relay),
                    200..=299 => decided(reply, "end of data", Scope::Recipient, relay),
                    _ => decided(reply, "end of data", scope, relay),
                };
                match index {
                    Some(index) => transaction.decide(index, outcome),
                    None => transaction.decide_rest(&outcome),
                }
                self.needs_reset = false;
            }
            Awaited::Greeting | Awaited::Ehlo | Awaited::Helo | Awaited::StartTls => {}
        }
    }

    pub(super) fn take_data(&mut self, reply: Reply) {
        let relay = self.options.relay.clone();
        let Some(transaction) = &mut self.transaction else { return };
        let wanted = !transaction.accepted.is_empty() && !transaction.is_decided();
        match reply.code {
            300..=399 if wanted => {
                self.state = State::Content;
                self.events.push_back(Event::SendContent);
            }
            // RFC 2920 3.1: the server goes on although every recipient failed.
            300..=399 if !self.options.lmtp => {
                self.output.extend_from_slice(b".\r\n");
                self.awaited.push_back(Awaited::EmptyFinal);
            }
            // In LMTP there is no telling how many replies nobody gets (RFC 2033 4.2).
            300..=399 => self.abandon(),
            200..=299 => {
                transaction.decide_rest(&misplaced(reply, "DATA", Scope::Message, relay.as_ref()));
                self.abandon();
            }
            _ => transaction.decide_rest(&decided(reply, "DATA", Scope::Message, relay.as_ref())),
        }
    }

    /// A reply to nothing. While content goes out it can only be an early refusal of it.
    pub(super) fn take_unasked(&mut self, reply: Reply) {
        let relay = self.options.relay.clone();
        match &mut self.transaction {
            Some(transaction) if self.state == State::Content && reply.code >= 400 => {
                transaction.decide_rest(&decided(reply, "content", Scope::Message, relay.as_ref()));
                self.abandon();
                self.advance();
            }
            _ => self.lose(&Loss::OutOfPlace(reply)),
        }
    }

    /// Nothing more can be said on this connection, although it may still stand. What the caller was about
    /// to be asked for is void: above all, no content may go out for recipients that are decided.
    pub(super) fn abandon(&mut self) {
        self.state = State::Closed;
        self.events.retain(|event| matches!(event, Event::Finished(_)));
        self.awaited.clear();
        self.output.clear();
    }

    /// Sends what may be sent now, and ends the transaction when nothing is left.
    pub(super) fn advance(&mut self) {
        if self.state == State::Envelope {
            self.send_commands();
        }
        let between = matches!(self.state, State::Envelope | State::Final | State::Closed);
        if between && self.awaited.is_empty() {
            self.finish(0);
        }
    }

    pub(super) fn send_commands(&mut self) {
        loop {
            if self.awaited.is_empty() {
                self.group = 0;
            } else if !self.extensions.pipelining || self.group >= PIPELINED_BYTES_MAX {
                return;
            }
            let Some(transaction) = &mut self.transaction else { return };
            let before = self.output.len();
            if !transaction.mail_sent {
                if self.needs_reset && !self.awaited.contains(&Awaited::Reset) {
                    print_line(&Command::Rset, &mut self.output);
                    self.awaited.push_back(Awaited::Reset);
                } else {
                    transaction.print_mail(&mut self.output);
                    self.awaited.push_back(Awaited::Mail);
                }
            } else if let Some(index) = transaction.next_recipient() {
                transaction.print_recipient(index, &mut self.output);
                self.awaited.push_back(Awaited::Recipient(index));
            } else if !transaction.data_sent && !transaction.is_decided() {
                transaction.data_sent = true;
                print_line(&Command::Data, &mut self.output);
                self.awaited.push_back(Awaited::Data);
            } else {
                return;
            }
            self.group += self.output.len() - before;
        }
    }

    pub(super) fn finish(&mut self, doubtful: u32) {
        let Some(transaction) = self.transaction.take() else { return };
        self.state = match self.state {
            State::Closed => State::Closed,
            _ if self.confused => State::Closed,
            _ => State::Idle,
        };
        self.events.push_back(Event::Finished(transaction.finish(doubtful)));
    }
}

/// Whether a code means nothing as an answer to this.
fn is_misplaced(awaited: Awaited, code: u16) -> bool {
    let intermediate = matches!(code, 300..=399);
    if awaited == Awaited::Data { code < 300 } else { intermediate }
}
