//! The machine-readable part of a report (RFC 3464 2, RFC 6533 4).
//!
//! Promises: one block of fields for the message and one for each recipient, only with values that
//! the grammar allows; addresses are never folded, because a blank inside would be part of them.

use std::borrow::Cow;
use std::net::IpAddr;

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
        exact(out, "Original-Recipient", &original(orcpt, global));
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
fn original(orcpt: &Orcpt, global: bool) -> String {
    // Only a hostile value gets so long; its pieces can be joined again, xtext has no blanks.
    const PIECE_BYTES: usize = 900;
    let address = if global { original_address(orcpt) } else { Cow::from(&orcpt.address) };
    let text = format!("{};{}", orcpt.kind, harmless(&address));
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

/// The address that ORCPT means.
pub(crate) fn original_address(orcpt: &Orcpt) -> Cow<'_, str> {
    if orcpt.kind.eq_ignore_ascii_case("utf-8") {
        unicode(&orcpt.address).into()
    } else {
        (&orcpt.address).into()
    }
}

/// The address behind `\x{HEX}` (RFC 6533 3: `utf-8-address` in a report of its types, which can hold it).
/// What is no such escape, or names no character that may stand in a field, stays as it is.
fn unicode(encoded: &str) -> String {
    let mut out = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((before, behind)) = rest.split_once("\\x{") {
        out.push_str(before);
        let code = behind.split_once('}').and_then(|(digits, later)| {
            let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let code = u32::from_str_radix(digits, 16).ok().filter(|_| hex).and_then(char::from_u32)?;
            (!code.is_control()).then_some((code, later))
        });
        match code {
            Some((c, later)) => {
                out.push(c);
                rest = later;
            }
            None => {
                out.push_str("\\x{");
                rest = behind;
            }
        }
    }
    out + rest
}

/// A value that came as xtext: decoded, as RFC 3461 wants it, unless it could not stand in a field.
fn harmless(value: &str) -> Cow<'_, str> {
    if value.chars().any(char::is_control) { encode_xtext(value).into() } else { value.into() }
}

/// The next hop: a host name, an address as a literal (RFC 3464 2.1.2), or whatever a transport is
/// configured with.
fn remote_mta(relay: &Relay) -> String {
    match relay.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => return format!("dns; [{address}]"),
        Ok(IpAddr::V6(address)) => return format!("dns; [IPv6:{address}]"),
        Err(_) => {}
    }
    match site_of_domain(&relay.host) {
        Ok(host) => format!("dns; {host}"),
        Err(_) => format!("x-local; {}", plain(&relay.host, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_rfc_6533_become_characters() {
        for (encoded, plain) in [
            ("gr\\x{FC}n@x.test", "grün@x.test"),
            ("\\x{1f4e7}\\x{5C}@x.test", "📧\\@x.test"),
            ("a\\x{}b\\x{D800}c\\x{A}d\\x{+1}e\\x{41", "a\\x{}b\\x{D800}c\\x{A}d\\x{+1}e\\x{41"),
            ("plain@x.test", "plain@x.test"),
        ] {
            assert_eq!(unicode(encoded), plain, "{encoded}");
        }
    }

    #[test]
    fn a_next_hop_without_a_name_is_a_literal() {
        for (host, expected) in [
            ("mx.x.test", "dns; mx.x.test"),
            ("192.0.2.1", "dns; [192.0.2.1]"),
            ("2001:db8::1", "dns; [IPv6:2001:db8::1]"),
            ("/run/lmtp", "x-local; /run/lmtp"),
        ] {
            let relay = Relay { host: host.to_owned(), address: None, port: 25 };
            assert_eq!(remote_mta(&relay), expected);
        }
    }
}
