//! One message on its way through a session: its commands, and what became of each recipient.

use std::fmt::Write as _;
use std::sync::Arc;

use mail::{BodyType, EnhancedStatus, Envelope, Orcpt, Outcome, Recipient, Relay, Scope};

use super::content::Content;
use crate::command::{Command, MailFrom};
use crate::extension::Extensions;

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// One for each recipient, in the order in which they were given.
    pub outcomes: Vec<Outcome>,
    /// How many recipients have no final reply although the content went out whole: they are deferred, and
    /// the next hop may have them all the same. When there are any, nothing may be offered to another host.
    pub doubtful: u32,
    /// Whether the next hop takes over the duty to report (RFC 3461); without it, success reports are ours.
    pub dsn: bool,
}

/// The message being sent.
#[derive(Debug)]
pub(super) struct Transaction {
    envelope: Arc<Envelope>,
    /// Positions in the envelope.
    recipients: Vec<u32>,
    /// By index into `recipients`.
    outcomes: Vec<Option<Outcome>>,
    /// Indexes of the recipients that the next hop took at RCPT.
    pub(super) accepted: Vec<usize>,
    /// The next index to send a RCPT for.
    next: usize,
    pub(super) mail_sent: bool,
    /// A reply to MAIL arrived.
    pub(super) mail_answered: bool,
    pub(super) data_sent: bool,
    content: Content,
    extensions: Extensions,
}

/// Message too big for the next hop (RFC 3463 3.4).
const TOO_BIG: EnhancedStatus = EnhancedStatus::new(5, 3, 4);
/// Conversion required but not supported (RFC 3463 3.7).
const CONVERSION_NEEDED: EnhancedStatus = EnhancedStatus::new(5, 6, 3);
/// Non-ASCII addresses not permitted for that recipient (RFC 6531 3.5, RFC 5248).
const UTF8_NEEDED: EnhancedStatus = EnhancedStatus::new(5, 6, 7);

impl Transaction {
    /// A transaction in which recipients that the next hop cannot serve are already decided.
    pub(super) fn new(
        envelope: Arc<Envelope>,
        recipients: Vec<u32>,
        content: Content,
        extensions: Extensions,
        relay: Option<&Arc<Relay>>,
    ) -> Transaction {
        let outcomes = vec![None; recipients.len()];
        let mut transaction = Transaction {
            envelope,
            recipients,
            outcomes,
            accepted: Vec::new(),
            next: 0,
            mail_sent: false,
            mail_answered: false,
            data_sent: false,
            content,
            extensions,
        };
        if let Some((status, why)) = transaction.obstacle() {
            let host = relay.map_or_else(|| "the next hop".to_owned(), |relay| relay.to_string());
            let outcome = Outcome::bounced(Scope::Message, status, format!("{why} {host}"));
            transaction.decide_rest(&outcome.at(relay.cloned()));
        } else if !extensions.smtputf8 {
            transaction.refuse_utf8_recipients(relay);
        }
        transaction
    }

    /// Why the next hop cannot take this message for anybody.
    fn obstacle(&self) -> Option<(EnhancedStatus, String)> {
        let Content { size, eight_bit, utf8_header } = self.content;
        if let Some(limit) = self.extensions.size.filter(|&limit| limit > 0 && size > limit) {
            return Some((TOO_BIG, format!("message of {size} bytes is over the limit of {limit} of")));
        }
        if self.envelope.body == BodyType::EightBitMime && eight_bit && !self.extensions.eight_bit_mime {
            return Some((CONVERSION_NEEDED, "message needs 8BITMIME, which is not offered by".into()));
        }
        let sender_utf8 = self.envelope.sender.as_ref().is_some_and(|sender| sender.needs_utf8());
        let utf8 = sender_utf8 || (self.envelope.smtputf8 && utf8_header);
        if utf8 && !self.extensions.smtputf8 {
            return Some((UTF8_NEEDED, "message needs SMTPUTF8, which is not offered by".into()));
        }
        None
    }

    fn refuse_utf8_recipients(&mut self, relay: Option<&Arc<Relay>>) {
        for index in 0..self.recipients.len() {
            if self.recipient(index).address.needs_utf8() {
                let host = relay.map_or_else(|| "the next hop".to_owned(), |relay| relay.to_string());
                let text = format!("address needs SMTPUTF8, which is not offered by {host}");
                self.decide(index, Outcome::bounced(Scope::Recipient, UTF8_NEEDED, text).at(relay.cloned()));
            }
        }
    }

    fn recipient(&self, index: usize) -> &Recipient {
        &self.envelope.recipients[self.recipients[index] as usize]
    }

    /// Records the outcome of one recipient; the first one stands.
    pub(super) fn decide(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index].get_or_insert(outcome);
    }

    /// Gives the outcome to everybody who has none.
    pub(super) fn decide_rest(&mut self, outcome: &Outcome) {
        for open in self.outcomes.iter_mut().filter(|open| open.is_none()) {
            *open = Some(outcome.clone());
        }
    }

    /// Whether everybody has an outcome.
    pub(super) fn is_decided(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// How many have no outcome yet.
    pub(super) fn open(&self) -> u32 {
        self.outcomes.iter().filter(|outcome| outcome.is_none()).count() as u32
    }

    /// Appends MAIL with the parameters that the next hop understands.
    pub(super) fn print_mail(&mut self, out: &mut Vec<u8>) {
        self.mail_sent = true;
        let offered = self.extensions;
        let mail = MailFrom {
            sender: self.envelope.sender.clone(),
            size: offered.size.map(|_| self.content.size),
            body: (offered.eight_bit_mime && self.envelope.body == BodyType::EightBitMime)
                .then_some(BodyType::EightBitMime),
            smtputf8: offered.smtputf8 && self.envelope.smtputf8,
            ret: self.envelope.ret.filter(|_| offered.dsn),
            envid: self.envelope.envid.clone().filter(|_| offered.dsn),
        };
        print_line(&Command::Mail(mail), out);
    }

    /// The next recipient that has to be named, if there is one left.
    pub(super) fn next_recipient(&mut self) -> Option<usize> {
        let rest = &self.outcomes[self.next..];
        let index = self.next + rest.iter().position(Option::is_none)?;
        self.next = index + 1;
        Some(index)
    }

    /// Appends RCPT with the parameters that the next hop understands.
    pub(super) fn print_recipient(&self, index: usize, out: &mut Vec<u8>) {
        let recipient = self.recipient(index);
        let dsn = self.extensions.dsn;
        let recipient = Recipient {
            address: recipient.address.clone(),
            notify: recipient.notify.filter(|_| dsn),
            orcpt: recipient.orcpt.as_ref().filter(|_| dsn).map(|orcpt| self.portable(orcpt)),
        };
        print_line(&Command::Rcpt(recipient), out);
    }

    /// ORCPT as the next hop can read it: a `utf-8` address in ASCII where SMTPUTF8 is missing
    /// (RFC 6533 3, utf-8-addr-xtext).
    fn portable(&self, orcpt: &Orcpt) -> Orcpt {
        if self.extensions.smtputf8 || !orcpt.kind.eq_ignore_ascii_case("utf-8") || orcpt.address.is_ascii() {
            return orcpt.clone();
        }
        let mut address = String::with_capacity(orcpt.address.len() * 2);
        for c in orcpt.address.chars() {
            if c.is_ascii() {
                address.push(c);
            } else {
                write!(address, "\\x{{{:X}}}", u32::from(c)).expect("a string takes everything");
            }
        }
        Orcpt { kind: orcpt.kind.clone(), address }
    }

    /// The end of the transaction. Everybody is decided by then.
    pub(super) fn finish(self, doubtful: u32) -> Ending {
        let outcomes = self.outcomes.into_iter().map(|outcome| outcome.expect("every recipient is decided"));
        Ending { outcomes: outcomes.collect(), doubtful, dsn: self.extensions.dsn }
    }
}

/// Appends one command with its CRLF.
pub(super) fn print_line(command: &Command, out: &mut Vec<u8>) {
    let line = command.to_string();
    debug_assert!(!line.contains(['\r', '\n']), "a command is one line");
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}
