//! The layouts on disk, as structs that mirror the vocabulary and change only with the version.
//!
//! Promises: fields are written in the order they stand here; numbers are fixed-width, texts and
//! lists have a 64-bit count in front, an option has one byte in front.

use std::sync::Arc;

use bincode::{BorrowDecode, Encode};
use mail::limits::REASON_BYTES_MAX;
use mail::{
    Address, BodyType, Client, EnhancedStatus, Envelope, Notify, Orcpt, Protocol, Recipient, Relay, Ret,
    Scope, Time, Verdict,
};

use super::{CodecError, Known, VERSION};
use crate::{ATTEMPT_TEXT_BYTES_MAX, Attempt, Flags, Queue, RecipientRecord, Summary};

/// [`Summary`] with arrival and size.
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct SummaryImage<'a> {
    pub(super) version: u8,
    pub(super) queue: u8,
    pub(super) flags: u8,
    pub(super) null_sender: bool,
    pub(super) arrived: i64,
    pub(super) size: u64,
    pub(super) due: i64,
    pub(super) attempts: u32,
    pub(super) recipients: u32,
    pub(super) unfinished: u32,
    pub(super) sites: Vec<&'a str>,
}

/// What follows the summary of a MSG or COPY.
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct MessageImage<'a> {
    pub(super) version: u8,
    pub(super) envelope: EnvelopeImage<'a>,
    pub(super) recipients: Vec<RecipientImage<'a>>,
}

/// What follows the summary of a STATE.
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct StateImage<'a> {
    pub(super) version: u8,
    pub(super) recipients: Vec<RecipientImage<'a>>,
}

/// [`Envelope`] without arrival and size, which are in the summary.
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct EnvelopeImage<'a> {
    sender: Option<&'a str>,
    ret: u8,
    body: u8,
    smtputf8: bool,
    protocol: u8,
    envid: Option<&'a str>,
    client: [u8; 16],
    client_kind: u8,
    helo: &'a str,
    to: Vec<ToImage<'a>>,
}

/// [`Recipient`].
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct ToImage<'a> {
    address: &'a str,
    notify: u8,
    orcpt: Option<(&'a str, &'a str)>,
}

/// [`RecipientRecord`].
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct RecipientImage<'a> {
    position: u32,
    verdict: u8,
    scope: u8,
    class: u8,
    subject: u16,
    detail: u16,
    time: i64,
    attempts: u32,
    reported: bool,
    text: &'a str,
    relay: Option<RelayImage<'a>>,
    earlier: Vec<AttemptImage<'a>>,
}

/// [`Attempt`].
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct AttemptImage<'a> {
    time: i64,
    class: u8,
    subject: u16,
    detail: u16,
    text: &'a str,
    relay: Option<RelayImage<'a>>,
}

/// [`Relay`].
#[derive(Encode, BorrowDecode, Debug, PartialEq)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct RelayImage<'a> {
    host: &'a str,
    address: Option<&'a str>,
    port: u16,
}

impl<'a> SummaryImage<'a> {
    pub(super) fn new(summary: &'a Summary, arrived: Time, size: u64) -> SummaryImage<'a> {
        let Flags { force_expire, warned, site_wait, failure_due, success_due, deleted } = summary.flags;
        SummaryImage {
            version: VERSION,
            queue: match summary.queue {
                Queue::Incoming => 0,
                Queue::Deferred => 1,
                Queue::Hold => 2,
                Queue::Corrupt => 3,
            },
            flags: bits([force_expire, warned, site_wait, failure_due, success_due, deleted]),
            null_sender: summary.null_sender,
            arrived: arrived.as_millis(),
            size,
            due: summary.due.as_millis(),
            attempts: summary.attempts,
            recipients: summary.recipients,
            unfinished: summary.unfinished,
            sites: summary.sites.iter().map(String::as_str).collect(),
        }
    }

    pub(super) fn known(&self) -> Result<Known, CodecError> {
        let queue = match self.queue {
            0 => Queue::Incoming,
            1 => Queue::Deferred,
            2 => Queue::Hold,
            3 => Queue::Corrupt,
            _ => return Err(CodecError::Value("queue")),
        };
        let [force_expire, warned, site_wait, failure_due, success_due, deleted] = unbits(self.flags);
        let summary = Summary {
            queue,
            due: Time::from_millis(self.due),
            attempts: self.attempts,
            null_sender: self.null_sender,
            recipients: self.recipients,
            unfinished: self.unfinished,
            sites: self.sites.iter().map(|&site| site.to_owned()).collect(),
            flags: Flags { force_expire, warned, site_wait, failure_due, success_due, deleted },
        };
        Ok(Known { summary, arrived: Time::from_millis(self.arrived), size: self.size })
    }
}

impl<'a> EnvelopeImage<'a> {
    pub(super) fn new(envelope: &'a Envelope) -> EnvelopeImage<'a> {
        let Protocol { lmtp, extended, tls, utf8 } = envelope.client.protocol;
        let (client_kind, client) = match envelope.client.address {
            None => (0, [0; 16]),
            Some(std::net::IpAddr::V4(v4)) => (4, v4.to_ipv6_mapped().octets()),
            Some(std::net::IpAddr::V6(v6)) => (6, v6.octets()),
        };
        EnvelopeImage {
            sender: envelope.sender.as_ref().map(Address::as_str),
            ret: match envelope.ret {
                None => 0,
                Some(Ret::Full) => 1,
                Some(Ret::Headers) => 2,
            },
            body: match envelope.body {
                BodyType::SevenBit => 0,
                BodyType::EightBitMime => 1,
            },
            smtputf8: envelope.smtputf8,
            protocol: bits([lmtp, extended, tls, utf8]),
            envid: envelope.envid.as_deref(),
            client,
            client_kind,
            helo: &envelope.client.helo,
            to: envelope.recipients.iter().map(ToImage::new).collect(),
        }
    }

    pub(super) fn envelope(&self, arrived: Time, size: u64) -> Result<Envelope, CodecError> {
        let v6 = std::net::Ipv6Addr::from(self.client);
        let address = match self.client_kind {
            0 => None,
            4 => Some(v6.to_ipv4_mapped().ok_or(CodecError::Value("client"))?.into()),
            6 => Some(v6.into()),
            _ => return Err(CodecError::Value("client")),
        };
        let [lmtp, extended, tls, utf8] = unbits(self.protocol);
        Ok(Envelope {
            sender: self.sender.map(|text| mailbox(text, "sender")).transpose()?,
            recipients: self.to.iter().map(ToImage::recipient).collect::<Result<_, _>>()?,
            ret: match self.ret {
                0 => None,
                1 => Some(Ret::Full),
                2 => Some(Ret::Headers),
                _ => return Err(CodecError::Value("ret")),
            },
            envid: self.envid.map(str::to_owned),
            body: match self.body {
                0 => BodyType::SevenBit,
                1 => BodyType::EightBitMime,
                _ => return Err(CodecError::Value("body")),
            },
            smtputf8: self.smtputf8,
            arrived,
            size,
            client: Client {
                address,
                helo: self.helo.to_owned(),
                protocol: Protocol { lmtp, extended, tls, utf8 },
            },
        })
    }
}

impl<'a> ToImage<'a> {
    fn new(recipient: &'a Recipient) -> ToImage<'a> {
        ToImage {
            address: recipient.address.as_str(),
            notify: recipient.notify.map_or(0, |n| bits([n.success, n.failure, n.delay, true])),
            orcpt: recipient.orcpt.as_ref().map(|orcpt| (orcpt.kind.as_str(), orcpt.address.as_str())),
        }
    }

    fn recipient(&self) -> Result<Recipient, CodecError> {
        let [success, failure, delay, given] = unbits(self.notify);
        Ok(Recipient {
            address: mailbox(self.address, "recipient")?,
            orcpt: self
                .orcpt
                .map(|(kind, address)| Orcpt { kind: kind.to_owned(), address: address.to_owned() }),
            notify: given.then_some(Notify { success, failure, delay }),
        })
    }
}

impl<'a> RecipientImage<'a> {
    /// With the last `kept` of the earlier attempts.
    pub(super) fn new(record: &'a RecipientRecord, kept: usize) -> RecipientImage<'a> {
        let forgotten = record.earlier.len().saturating_sub(kept);
        RecipientImage {
            position: record.position,
            verdict: match record.verdict {
                Verdict::Sent => 0,
                Verdict::Deferred => 1,
                Verdict::Bounced => 2,
            },
            scope: match record.scope {
                Scope::Recipient => 0,
                Scope::Message => 1,
                Scope::Site => 2,
                Scope::Transport => 3,
            },
            class: record.status.class(),
            subject: record.status.subject(),
            detail: record.status.detail(),
            time: record.time.as_millis(),
            attempts: record.attempts,
            reported: record.reported,
            text: cut(&record.text, REASON_BYTES_MAX),
            relay: record.relay.as_deref().map(RelayImage::new),
            earlier: record.earlier[forgotten..].iter().map(AttemptImage::new).collect(),
        }
    }

    pub(super) fn record(&self) -> Result<RecipientRecord, CodecError> {
        Ok(RecipientRecord {
            position: self.position,
            verdict: match self.verdict {
                0 => Verdict::Sent,
                1 => Verdict::Deferred,
                2 => Verdict::Bounced,
                _ => return Err(CodecError::Value("verdict")),
            },
            scope: match self.scope {
                0 => Scope::Recipient,
                1 => Scope::Message,
                2 => Scope::Site,
                3 => Scope::Transport,
                _ => return Err(CodecError::Value("scope")),
            },
            status: status(self.class, self.subject, self.detail)?,
            text: self.text.into(),
            relay: self.relay.as_ref().map(RelayImage::relay),
            time: Time::from_millis(self.time),
            attempts: self.attempts,
            reported: self.reported,
            earlier: self.earlier.iter().map(AttemptImage::attempt).collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> AttemptImage<'a> {
    fn new(attempt: &'a Attempt) -> AttemptImage<'a> {
        AttemptImage {
            time: attempt.time.as_millis(),
            class: attempt.status.class(),
            subject: attempt.status.subject(),
            detail: attempt.status.detail(),
            text: cut(&attempt.text, ATTEMPT_TEXT_BYTES_MAX),
            relay: attempt.relay.as_deref().map(RelayImage::new),
        }
    }

    fn attempt(&self) -> Result<Attempt, CodecError> {
        Ok(Attempt {
            time: Time::from_millis(self.time),
            status: status(self.class, self.subject, self.detail)?,
            text: self.text.into(),
            relay: self.relay.as_ref().map(RelayImage::relay),
        })
    }
}

impl<'a> RelayImage<'a> {
    fn new(relay: &'a Relay) -> RelayImage<'a> {
        RelayImage { host: &relay.host, address: relay.address.as_deref(), port: relay.port }
    }

    fn relay(&self) -> Arc<Relay> {
        Arc::new(Relay {
            host: self.host.to_owned(),
            address: self.address.map(str::to_owned),
            port: self.port,
        })
    }
}

fn status(class: u8, subject: u16, detail: u16) -> Result<EnhancedStatus, CodecError> {
    EnhancedStatus::checked(class, subject, detail).ok_or(CodecError::Value("status"))
}

fn mailbox(text: &str, field: &'static str) -> Result<Address, CodecError> {
    Address::parse(text).map_err(|_| CodecError::Value(field))
}

/// The text, at most as long as it is kept.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn bits<const N: usize>(flags: [bool; N]) -> u8 {
    flags.iter().rev().fold(0, |byte, &flag| byte << 1 | u8::from(flag))
}

fn unbits<const N: usize>(byte: u8) -> [bool; N] {
    std::array::from_fn(|bit| byte >> bit & 1 == 1)
}
