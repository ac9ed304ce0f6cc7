//! What a receiving session asks of its driver, and the transaction it is about.

use mail::{Address, Recipient, Reply};

use crate::command::{MailFrom, Verb};

/// What to do next. The events from `Hello` to `Etrn` are questions: the session stands still until the
/// method named here has been called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Send the output, read from the client and feed it.
    NeedInput,
    /// HELO, EHLO or LHLO came, with [`Session::helo`](super::Session::helo): `accept` or `refuse`.
    Hello,
    /// MAIL came, with [`Session::transaction`](super::Session::transaction): `accept` or `refuse`.
    Mail,
    /// RCPT came, with [`Session::candidate`](super::Session::candidate): `accept` or `refuse`.
    Rcpt,
    /// Content is about to come, by DATA or the first BDAT: `begin_body` or `refuse`.
    Data,
    /// The whole message is there: `take_message`, make it durable, then `finish` or `finish_each`.
    Message,
    /// STARTTLS was answered: send the output, shake hands, then `tls_started`; drop the connection
    /// when the handshake fails.
    StartTls,
    /// ETRN came outside a transaction and with a name that can be one: `answer`.
    Etrn {
        /// The site, as [`mail::site_of_domain`] spells it.
        site: String,
        /// `@` stood in front: its subdomains are meant too.
        subdomains: bool,
    },
    /// Much content is there: `take_body_part`, or leave it to grow. No question, no answer.
    BodyPart,
    /// The message that was arriving will not be taken: drop what `take_body_part` gave.
    Abandoned,
    /// Something was refused, by the session or by the driver. For the log.
    Refused(Refusal),
    /// Send the output and close.
    Close,
}

/// One refusal, for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The command; nothing when it was none.
    pub verb: Option<Verb>,
    /// The reverse path without brackets; nothing outside a transaction, and nothing when the driver has
    /// taken the message and refuses it then.
    pub sender: Option<String>,
    /// The recipient, when RCPT was refused.
    pub recipient: Option<Address>,
    /// The reply that was given.
    pub reply: Reply,
}

/// One mail transaction (RFC 5321 3.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// The reverse path and its parameters.
    pub mail: MailFrom,
    /// The recipients accepted, in order.
    pub recipients: Vec<Recipient>,
}
