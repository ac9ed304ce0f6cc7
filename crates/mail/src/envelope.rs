//! The envelope of a message: everything that was said about it outside its content.

use std::net::IpAddr;

use crate::{Address, Notify, Orcpt, Ret, Time};

/// How the content may be encoded (RFC 6152).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum BodyType {
    /// Not declared, or BODY=7BIT.
    #[default]
    SevenBit,
    /// BODY=8BITMIME.
    EightBitMime,
}

/// The words that a message came in with, for `Received:` (RFC 3848, RFC 6531 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Protocol {
    /// LMTP, not SMTP.
    pub lmtp: bool,
    /// EHLO or LHLO, not HELO.
    pub extended: bool,
    /// Under TLS.
    pub tls: bool,
    /// SMTPUTF8 was used in this transaction.
    pub utf8: bool,
}

impl Protocol {
    /// The word behind `with` in `Received:` (RFC 3848 3, RFC 6531 4.3). There is none for HELO under TLS.
    pub const fn word(self) -> &'static str {
        match (self.lmtp, self.utf8, self.tls) {
            (false, true, false) => "UTF8SMTP",
            (false, true, true) => "UTF8SMTPS",
            (true, true, false) => "UTF8LMTP",
            (true, true, true) => "UTF8LMTPS",
            (true, false, false) => "LMTP",
            (true, false, true) => "LMTPS",
            (false, false, _) if !self.extended => "SMTP",
            (false, false, false) => "ESMTP",
            (false, false, true) => "ESMTPS",
        }
    }
}

/// Who handed the message over. Empty for mail that Postrider made itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Client {
    /// The peer's address.
    pub address: Option<IpAddr>,
    /// What it said in HELO, EHLO or LHLO.
    pub helo: String,
    /// How it spoke.
    pub protocol: Protocol,
}

/// One recipient as accepted. Its position in the envelope names it for the life of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// Where to, exactly as given (source routes dropped, RFC 5321 Appendix C).
    pub address: Address,
    /// ORCPT (RFC 3461 4.2).
    pub orcpt: Option<Orcpt>,
    /// NOTIFY (RFC 3461 4.1); nothing means failure reports, as without the extension.
    pub notify: Option<Notify>,
}

/// Everything but the content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// MAIL FROM; nothing is the null reverse path `<>`.
    pub sender: Option<Address>,
    /// In the order of their RCPT commands; at least one.
    pub recipients: Vec<Recipient>,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID, decoded (RFC 3461 4.4).
    pub envid: Option<String>,
    /// BODY (RFC 6152).
    pub body: BodyType,
    /// The SMTPUTF8 parameter was given (RFC 6531 3.4).
    pub smtputf8: bool,
    /// When the message was accepted.
    pub arrived: Time,
    /// Bytes of content, the `Received:` line included.
    pub size: u64,
    /// Who handed it over.
    pub client: Client,
}
