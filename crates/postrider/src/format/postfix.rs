//! The listings of postqueue(1) and the envelope of postcat(1), for scripts made for Postfix.

use std::fmt::Write;

use control::{EnvelopeItem, MessageItem, QueueName, RecipientItem, RecipientStatus};
use jiff::tz::TimeZone;

use super::text::printable;
use super::time::{ctime, ctime_with_year};

/// Above the first message (the layout that Postfix uses for long queue ids).
pub(crate) const MAILQ_HEADING: &str =
    "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------";
/// Instead of a listing.
pub(crate) const MAILQ_EMPTY: &str = "Mail queue is empty";

/// The column in which reasons end, brackets not counted.
const REASON_END: usize = 76;

/// One message: its line, then reasons and recipients; delivered ones are not shown.
pub(crate) fn mailq_entry(message: &MessageItem, zone: TimeZone) -> String {
    let mut id = message.queue_id.clone();
    match message.queue_name {
        QueueName::Active => id.push('*'),
        QueueName::Hold => id.push('!'),
        _ => {}
    }
    if message.forced_expire {
        id.push('#');
    }
    let sender = sender(message);
    let date = ctime(message.arrival_time, zone);
    let mut out = format!("{id:17} {:>8} {date:19} {}\n", message.message_size, printable(sender));
    let mut last_reason = "";
    for recipient in unfinished(message) {
        let reason = recipient.delay_reason.as_deref().unwrap_or_default();
        if reason != last_reason {
            let shown = if reason.is_empty() { "reason unavailable".into() } else { printable(reason) };
            let padding = REASON_END.saturating_sub(shown.chars().count());
            let _ = writeln!(out, "{:padding$}({shown})", "");
            last_reason = reason;
        }
        let _ = writeln!(out, "{:47}{}", "", printable(&recipient.address));
    }
    out
}

/// Below the last message.
pub(crate) fn mailq_sums(messages: u64, bytes: u64) -> String {
    let word = if messages == 1 { "Request" } else { "Requests" };
    format!("-- {} Kbytes in {messages} {word}.", bytes / 1024)
}

/// `postqueue -j`: its members in its order, with its separators.
pub(crate) fn postqueue_json(message: &MessageItem) -> String {
    let recipient = |recipient: &RecipientItem| {
        let mut object = format!("{{\"address\": {}", quoted(&recipient.address));
        if let Some(reason) = &recipient.delay_reason {
            let _ = write!(object, ", \"delay_reason\": {}", quoted(reason));
        }
        object.push('}');
        object
    };
    format!(
        "{{\"queue_name\": {}, \"queue_id\": {}, \"arrival_time\": {}, \"message_size\": {}, \
         \"forced_expire\": {}, \"sender\": {}, \"recipients\": [{}]}}",
        quoted(message.queue_name.as_str()),
        quoted(&message.queue_id),
        message.arrival_time,
        message.message_size,
        message.forced_expire,
        quoted(sender(message)),
        unfinished(message).map(recipient).collect::<Vec<_>>().join(", "),
    )
}

/// The records of postcat(1) that have a counterpart here. Of the numbers behind `message_size` the content
/// and the recipients are counted; the others describe a queue file.
pub(crate) fn postcat_envelope(message: &MessageItem, envelope: &EnvelopeItem, zone: &TimeZone) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name}: {}", printable(value));
    };
    let (size, recipients) = (message.message_size, envelope.recipients.len());
    let sizes = [size, 0, recipients as u64, 0, size, 0].map(|number| format!("{number:>15}"));
    field("message_size", &sizes.join(" "));
    let arrival = ctime_with_year(message.arrival_time, zone.clone());
    field("message_arrival_time", &arrival);
    field("create_time", &arrival);
    let address = envelope.client.as_deref().map(|client| client.trim_matches(['[', ']']).to_owned());
    let attributes = [
        ("log_ident", Some(&message.queue_id)),
        ("client_address", address.as_ref()),
        ("helo_name", envelope.helo.as_ref()),
        ("protocol_name", envelope.protocol.as_ref()),
        ("encoding", envelope.body.as_ref().filter(|body| *body == "8BITMIME")),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            let value = if name == "encoding" { "8bit" } else { value };
            field("named_attribute", &format!("{name}={value}"));
        }
    }
    if let Some(envid) = &envelope.envid {
        field("named_attribute", &format!("dsn_envid={envid}"));
    }
    field("sender", &message.sender);
    for (record, item) in envelope.recipients.iter().zip(&message.recipients) {
        if let Some(orcpt) = &record.orcpt {
            field("named_attribute", &format!("dsn_orig_rcpt={orcpt}"));
        }
        field("original_recipient", &record.address);
        let done = matches!(item.status, RecipientStatus::Sent | RecipientStatus::Bounced);
        field(if done { "done_recipient" } else { "recipient" }, &record.address);
    }
    out
}

/// The null sender has a name in both listings.
fn sender(message: &MessageItem) -> &str {
    if message.sender.is_empty() { "MAILER-DAEMON" } else { &message.sender }
}

fn unfinished(message: &MessageItem) -> impl Iterator<Item = &RecipientItem> {
    message.recipients.iter().filter(|recipient| !recipient.status.is_final())
}

/// A JSON string with `?` for what cannot be printed.
fn quoted(text: &str) -> String {
    serde_json::Value::from(printable(text)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::listing::tests::sample;

    #[test]
    fn a_message_looks_as_in_mailq() {
        let expected = "\
0D5QJK2B7X1ZC         2345 Tue Nov 14 22:13:20 s@src.test
                                                 (connect to b.test: refused?)
                                               b@b.test
                                                        (reason unavailable)
                                               c@c.test
";
        let expected = expected.replacen(
            "                                                 (connect",
            &format!("{:49}(connect", ""),
            1,
        );
        let expected = expected.replacen(
            "                                                        (reason",
            &format!("{:58}(reason", ""),
            1,
        );
        assert_eq!(mailq_entry(&sample(), TimeZone::UTC), expected);
        let held = MessageItem {
            queue_name: QueueName::Hold,
            forced_expire: true,
            sender: String::new(),
            recipients: Vec::new(),
            ..sample()
        };
        let line = "0D5QJK2B7X1ZC!#       2345 Tue Nov 14 22:13:20 MAILER-DAEMON\n";
        assert_eq!(mailq_entry(&held, TimeZone::UTC), line);
    }

    #[test]
    fn the_sums_round_down() {
        assert_eq!(mailq_sums(1, 2047), "-- 1 Kbytes in 1 Request.");
        assert_eq!(mailq_sums(2, 0), "-- 0 Kbytes in 2 Requests.");
    }

    #[test]
    fn json_has_the_members_of_postqueue_in_its_order() {
        assert_eq!(
            postqueue_json(&sample()),
            "{\"queue_name\": \"deferred\", \"queue_id\": \"0D5QJK2B7X1ZC\", \"arrival_time\": 1700000000, \
             \"message_size\": 2345, \"forced_expire\": false, \"sender\": \"s@src.test\", \"recipients\": \
             [{\"address\": \"b@b.test\", \"delay_reason\": \"connect to b.test: refused?\"}, \
             {\"address\": \"c@c.test\"}]}"
        );
    }
}
