//! The machine-readable part of a report (RFC 3464 2, RFC 6533 4).
//!
//! Promises: one block of fields for the message and one for each recipient, only with values that
//! the grammar allows; addresses are never folded, because a blank inside would be part of them.

use std::borrow::Cow;

use mail::{Address, EnhancedStatus, Orcpt, Outcome, Relay, Time, encode_xtext, site_of_domain};

use crate::compose::Request;
use crate::date::rfc5322_date;
use crate::lines::{field, plain};

/// What happened to a recipient (RFC 3464 2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet.
    Delayed,
    /// In the mailbox.
    Delivered,
    /// Handed to a system that reports nothing on its own.
    Relayed,
    /// Handed to several addresses, as a list does.
    Expanded,
    /// A delivery check found the recipient good.
    Deliverable,
    /// A delivery check found that the recipient would be refused.
    Undeliverable,
}

impl Action {
    /// The word in the report. RFC 3464 has none for checks; theirs are those that Postfix uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Deliverable => "deliverable",
            Action::Undeliverable => "undeliverable",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }
}

/// What a report says about one recipient.
#[derive(Clone, Debug)]
pub struct ReportedRecipient<'m> {
    /// The address that delivery was tried to.
    pub address: &'m Address,
    /// ORCPT of the envelope.
    pub orcpt: Option<&'m Orcpt>,
    /// What happened.
    pub action: Action,
    /// The outcome of the last attempt.
    pub outcome: &'m Outcome,
    /// The status to report when it is not that of the outcome (such as 4.4.7 or 5.4.7 for a
    /// message that expired).
    pub status: Option<EnhancedStatus>,
    /// When it was last tried; nothing when it never was.
    pub last_attempt: Option<Time>,
    /// For a delay: until when it will be tried.
    pub will_retry_until: Option<Time>,
}

/// Whether the report has to use the types of RFC 6533.
pub(crate) fn is_global(request: &Request<'_>) -> bool {
    let utf8 = |r: &ReportedRecipient<'_>| {
        r.address.needs_utf8() || r.orcpt.is_some_and(|orcpt| !orcpt.address.is_ascii())
    };
    let sender = request.envelope.sender.as_ref();
    request.envelope.smtputf8
        || sender.is_some_and(Address::needs_utf8)
        || request.recipients.iter().any(utf8)
}

/// All blocks, separated by empty lines.
pub(crate) fn delivery_status(request: &Request<'_>, global: bool) -> String {
    let mut out = String::new();
    let envelope = request.envelope;
    field(&mut out, "Reporting-MTA", &format!("dns; {}", plain(request.reporting_mta, false)));
    if let Some(envid) = &envelope.envid {
        exact(&mut out, "Original-Envelope-Id", &harmless(envid));
    }
    exact(&mut out, "X-Postrider-Queue-ID", &request.id.to_string());
    if let Some(sender) = &envelope.sender {
        exact(&mut out, "X-Postrider-Sender", &typed(sender));
    }
    exact(&mut out, "Arrival-Date", &rfc5322_date(envelope.arrived));
    for recipient in request.recipients {
        out.push_str("\r\n");
        recipient_status(&mut out, recipient, global);
    }
    out
}

fn recipient_status(out: &mut String, recipient: &ReportedRecipient<'_>, global: bool) {
    exact(out, "Final-Recipient", &typed(recipient.address));
    if let Some(orcpt) = recipient.orcpt {
        exact(out, "Original-Recipient", &original(orcpt));
    }
    let outcome = recipient.outcome;
    exact(out, "Action", recipient.action.as_str());
    exact(out, "Status", &recipient.status.unwrap_or(outcome.status).to_string());
    if let Some(relay) = &outcome.relay {
        field(out, "Remote-MTA", &remote_mta(relay));
    }
    let (kind, text) = match &outcome.reply {
        Some(reply) => ("smtp", reply.one_line()),
        None => ("x-postrider", outcome.text.to_string()),
    };
    field(out, "Diagnostic-Code", &format!("{kind}; {}", plain(&text, global)));
    if let Some(time) = recipient.last_attempt {
        exact(out, "Last-Attempt-Date", &rfc5322_date(time));
    }
    if let Some(time) = recipient.will_retry_until {
        exact(out, "Will-Retry-Until", &rfc5322_date(time));
    }
}

/// A field on one line.
fn exact(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("{name}: {value}\r\n"));
}

/// An address with its type (RFC 3464 2.1.2, RFC 6533 3).
fn typed(address: &Address) -> String {
    let kind = if address.needs_utf8() { "utf-8" } else { "rfc822" };
    format!("{kind};{address}")
}

/// ORCPT as the sender gave it (RFC 3461 6.3).
fn original(orcpt: &Orcpt) -> String {
    // Only a hostile value gets so long; its pieces can be joined again, xtext has no blanks.
    const PIECE_BYTES: usize = 900;
    let text = format!("{};{}", orcpt.kind, harmless(&orcpt.address));
    let mut rest = text.as_str();
    let mut out = String::with_capacity(rest.len());
    while rest.len() > PIECE_BYTES {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        out.push_str(piece);
        out.push_str("\r\n ");
        rest = later;
    }
    out + rest
}

/// A value that came as xtext: decoded, as RFC 3461 wants it, unless it could not stand in a field.
fn harmless(value: &str) -> Cow<'_, str> {
    if value.chars().any(char::is_control) { encode_xtext(value).into() } else { value.into() }
}

/// The next hop: a host name, an address literal, or whatever a transport is configured with.
fn remote_mta(relay: &Relay) -> String {
    match site_of_domain(&relay.host) {
        Ok(host) => format!("dns; {host}"),
        Err(_) => format!("x-local; {}", plain(&relay.host, false)),
    }
}
