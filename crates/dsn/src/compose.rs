//! The report as a message: header, text for people, fields for programs, the original.
//!
//! Promises: the same request gives the same bytes; the boundary appears in no part; the report needs
//! SMTPUTF8 only when its own recipient does, so that it can reach every sender whose mail could reach
//! us.
//!
//! An original with 8-bit content makes an 8-bit report, since a part of type message/rfc822 may not be
//! encoded (RFC 2046 5.2.1); `in_seven_bits` is for next hops that do not take it.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use mail::{Address, BodyType, Envelope, QueueId, Ret, Time, Verdict};

use crate::date::rfc5322_date;
use crate::lines::{field, fill, header_text, needs_encoding, plain, quoted_printable};
use crate::returned::{self, Returned};
use crate::status::{ReportedRecipient, delivery_status, is_global, original_address};
use crate::template::Templates;
use crate::values::{Values, in_words};
use crate::{Action, Audience, Kind};

/// Most recipients that the text for people names; the fields for programs name all of them.
pub const TEXT_RECIPIENTS_MAX: usize = 200;

/// Everything a report is made of, but the original's content.
#[derive(Clone, Debug)]
pub struct Request<'m> {
    /// What it is about.
    pub kind: Kind,
    /// For whom it is written.
    pub audience: Audience,
    /// The report's envelope sender, as planned; nothing is the null sender.
    pub from: Option<&'m Address>,
    /// The report's recipient, as planned.
    pub to: &'m Address,
    /// The report's own queue id. Message-ID and boundary are made of it.
    pub report_id: QueueId,
    /// The original's queue id.
    pub id: QueueId,
    /// The original's envelope.
    pub envelope: &'m Envelope,
    /// The recipients to report on, at least one, in the order of the envelope.
    pub recipients: &'m [ReportedRecipient<'m>],
    /// Our host name: Reporting-MTA and the domain of From and Message-ID.
    pub reporting_mta: &'m str,
    /// The date of the report.
    pub now: Time,
    /// What to return of the original, as planned.
    pub returned: Ret,
    /// `bounce_size_limit`, bytes of the original.
    pub bounce_size_limit: u64,
    /// The texts.
    pub templates: &'m Templates,
    /// What the texts may name.
    pub values: &'m Values,
}

/// A message that is ready for the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Envelope sender; nothing is the null sender.
    pub from: Option<Address>,
    /// Envelope recipient. To be queued with NOTIFY=NEVER: nobody wants a report about it.
    pub to: Address,
    /// The SMTPUTF8 parameter is needed.
    pub smtputf8: bool,
    /// Whether there are 8-bit bytes in it.
    pub body: BodyType,
    /// Header and body.
    pub content: Vec<u8>,
}

struct Part {
    content_type: &'static str,
    description: &'static str,
    encoding: Option<&'static str>,
    bytes: Vec<u8>,
}

/// Writes a report. Without `content`, or when it cannot be read, the report says what happened and
/// returns nothing; that never stops it.
pub fn compose(request: &Request<'_>, content: Option<&mut dyn Read>) -> Report {
    let global = is_global(request);
    let original = content.and_then(|c| returned::read(c, request.returned, request.bounce_size_limit));
    let message_id = original.as_ref().and_then(|original| original.message_id.clone());
    let mut parts = vec![text_part(request), status_part(request, global)];
    parts.extend(original.map(|original| original_part(original, global)));
    let boundary = boundary(request.report_id, &parts);
    let eight_bit = parts.iter().any(|part| !part.bytes.is_ascii());
    let mut content = header(request, message_id.as_deref(), &boundary, eight_bit).into_bytes();
    for part in &parts {
        content.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        push_part(&mut content, part);
    }
    content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let body = if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
    let smtputf8 = request.to.needs_utf8() || request.from.is_some_and(Address::needs_utf8);
    Report { from: request.from.cloned(), to: request.to.clone(), smtputf8, body, content }
}

fn header(request: &Request<'_>, original_id: Option<&str>, boundary: &str, eight_bit: bool) -> String {
    let template = request.templates.of(request.kind);
    let host = plain(request.reporting_mta, false);
    let mut out = String::new();
    field(&mut out, "Date", &rfc5322_date(request.now));
    field(
        &mut out,
        "From",
        &format!("{} <{}@{host}>", display_name(&template.from_name), template.from_local_part),
    );
    out.push_str(&format!("To: <{}>\r\n", request.to));
    field(&mut out, "Subject", &header_text(template.subject(request.audience)));
    field(&mut out, "Message-ID", &format!("<{}@{host}>", request.report_id));
    if let Some(id) = original_id {
        out.push_str(&format!("In-Reply-To: {id}\r\nReferences: {id}\r\n"));
    }
    out.push_str("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    out.push_str("Content-Type: multipart/report; report-type=delivery-status;\r\n");
    out.push_str(&format!("    boundary=\"{boundary}\"\r\n"));
    if eight_bit {
        out.push_str("Content-Transfer-Encoding: 8bit\r\n");
    }
    out.push_str("\r\nThis is a delivery report in MIME format.\r\n");
    out
}

/// A display name: words as they are, anything else quoted or encoded (RFC 5322 3.4).
fn display_name(name: &str) -> String {
    let atoms = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    if !name.is_ascii() || name.contains("=?") {
        header_text(name)
    } else if name.chars().all(atoms) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

fn push_part(out: &mut Vec<u8>, part: &Part) {
    let mut head =
        format!("Content-Description: {}\r\nContent-Type: {}\r\n", part.description, part.content_type);
    let encoding = part.encoding.or((!part.bytes.is_ascii()).then_some("8bit"));
    if let Some(encoding) = encoding {
        head.push_str(&format!("Content-Transfer-Encoding: {encoding}\r\n"));
    }
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&part.bytes);
}

fn text_part(request: &Request<'_>) -> Part {
    let mut text = request.templates.of(request.kind).expand(request.values);
    // Texts of an operator need not end in an empty line, as those of Postfix do not.
    text.push_str(if text.is_empty() || text.ends_with("\r\n\r\n") { "" } else { "\r\n" });
    for (number, recipient) in request.recipients.iter().take(TEXT_RECIPIENTS_MAX).enumerate() {
        text.push_str(if number > 0 { "\r\n" } else { "" });
        recipient_text(&mut text, recipient, request.values.delay);
    }
    let left = request.recipients.len().saturating_sub(TEXT_RECIPIENTS_MAX);
    if left > 0 {
        let more = format!("and {left} more, all of them named in the attached delivery status.");
        text.push_str("\r\n");
        fill(&mut text, "", &more, "");
    }
    let description = "Notification";
    let content_type =
        if text.is_ascii() { "text/plain; charset=us-ascii" } else { "text/plain; charset=utf-8" };
    if needs_encoding(&text) {
        let bytes = quoted_printable(text.as_bytes()).into_bytes();
        Part { content_type, description, encoding: Some("quoted-printable"), bytes }
    } else {
        Part { content_type, description, encoding: None, bytes: text.into_bytes() }
    }
}

fn recipient_text(out: &mut String, recipient: &ReportedRecipient<'_>, delay: Duration) {
    let outcome = recipient.outcome;
    let mut first = format!("<{}>", recipient.address);
    let original = recipient.orcpt.map(original_address);
    if let Some(original) = original.filter(|original| original != recipient.address.as_str()) {
        first.push_str(&format!(" (originally <{}>)", plain(&original, true)));
    }
    first.push(':');
    let said = match (&outcome.reply, &outcome.relay) {
        (Some(_), Some(relay)) => format!("{relay} said: "),
        _ => String::new(),
    };
    let action = match recipient.action {
        // Nobody refused it: its time was over, or an operator's order ended it.
        Action::Failed if outcome.verdict == Verdict::Deferred => {
            format!("given up after {}. ", in_words(delay))
        }
        Action::Failed | Action::Delayed | Action::Undeliverable => String::new(),
        Action::Delivered => "delivered. ".to_owned(),
        Action::Relayed => "relayed to a system that sends no such reports. ".to_owned(),
        Action::Expanded => "delivered to a list of addresses. ".to_owned(),
        Action::Deliverable => "deliverable. ".to_owned(),
    };
    let text = plain(&format!("{action}{said}{}", outcome.text), true);
    fill(out, &first, &text, "    ");
}

fn status_part(request: &Request<'_>, global: bool) -> Part {
    let content_type = if global { "message/global-delivery-status" } else { "message/delivery-status" };
    let bytes = delivery_status(request, global).into_bytes();
    Part { content_type, description: "Delivery report", encoding: None, bytes }
}

fn original_part(original: Returned, global: bool) -> Part {
    let (content_type, description) = match (original.whole, global) {
        (true, false) => ("message/rfc822", "Your message"),
        (true, true) => ("message/global", "Your message"),
        (false, false) => ("text/rfc822-headers", "The header of your message"),
        (false, true) => ("message/global-headers", "The header of your message"),
    };
    Part { content_type, description, encoding: None, bytes: original.bytes }
}

/// A boundary that begins no line of any part: the original may hold anything, even a guess at this.
fn boundary(report_id: QueueId, parts: &[Part]) -> String {
    // `=_` can appear neither in quoted-printable nor in base64 text.
    let stem = format!("=_{report_id}.");
    let number_taken = |line: &[u8]| {
        let rest = line.strip_prefix(b"--")?.strip_prefix(stem.as_bytes())?;
        let digits = rest.split(|&b| b == b'.').next()?;
        std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
    };
    let lines = parts.iter().flat_map(|part| part.bytes.split(|&b| b == b'\n'));
    let taken: BTreeSet<u64> = lines.filter_map(number_taken).collect();
    let free = (0..).find(|number| !taken.contains(number)).expect("there are fewer lines than numbers");
    format!("{stem}{free}.")
}
