//! The envelope of one message, one `name: value` a line.

use std::fmt::Write;

use control::{EnvelopeItem, MessageItem, RecordItem};
use mail::Time;

use super::text::{mailbox, printable};
use super::time::{ahead, instant, passed};

/// What `queue show` prints for the envelope.
pub(crate) fn envelope(message: &MessageItem, envelope: &EnvelopeItem, now: Time) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name}: {}", printable(value));
    };
    field("queue_id", &message.queue_id);
    field("queue_name", message.queue_name.as_str());
    field("message_size", &message.message_size.to_string());
    field("arrival_time", &passed(message.arrival_time, now));
    if let Some(next) = message.next_attempt {
        field("next_attempt", &ahead(next, now));
    }
    field("attempts", &message.attempts.to_string());
    if message.forced_expire {
        field("forced_expire", "yes");
    }
    let options = [
        ("reason", &message.reason),
        ("client", &envelope.client),
        ("helo", &envelope.helo),
        ("protocol", &envelope.protocol),
        ("body", &envelope.body),
        ("envid", &envelope.envid),
        ("ret", &envelope.ret),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            field(name, value);
        }
    }
    if envelope.smtputf8 {
        field("smtputf8", "yes");
    }
    field("sender", &mailbox(&message.sender));
    for record in &envelope.recipients {
        recipient(&mut out, message, record);
    }
    out
}

fn recipient(out: &mut String, message: &MessageItem, record: &RecordItem) {
    let _ = writeln!(out, "recipient: {}", mailbox(&record.address));
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name}: {}", printable(value));
    };
    if let Some(item) = message.recipients.iter().find(|item| item.address == record.address) {
        field("status", item.status.as_str());
        let nexthop = item.nexthop.as_deref().unwrap_or(&item.site);
        field("route", &format!("{}:{nexthop}", item.transport));
    }
    if record.attempts > 0 {
        field("attempts", &record.attempts.to_string());
    }
    if let Some(at) = record.at {
        field("last_attempt", &instant(at));
    }
    let options = [
        ("relay", &record.relay),
        ("dsn", &record.dsn),
        ("text", &record.text),
        ("orcpt", &record.orcpt),
        ("notify", &record.notify),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            field(name, value);
        }
    }
    if record.reported {
        field("reported", "yes");
    }
    for attempt in &record.earlier {
        let relay = attempt.relay.as_deref().map(|relay| format!("{relay} ")).unwrap_or_default();
        let said = format!("{} {relay}{} {}", instant(attempt.at), attempt.dsn, attempt.text);
        field("earlier_attempt", &said);
    }
}

#[cfg(test)]
mod tests {
    use control::AttemptItem;

    use super::*;
    use crate::format::listing::tests::sample;

    #[test]
    fn every_known_field_has_its_line() {
        let record = RecordItem {
            address: "b@b.test".to_owned(),
            dsn: Some("4.4.1".to_owned()),
            text: Some("connect: refused\r\nX-Injected: 1".to_owned()),
            attempts: 2,
            earlier: vec![AttemptItem {
                at: 1_700_000_000,
                dsn: "4.4.2".to_owned(),
                text: "lost connection".to_owned(),
                relay: Some("mx.b.test[192.0.2.1]:25".to_owned()),
            }],
            ..RecordItem::default()
        };
        let item = EnvelopeItem {
            helo: Some("c.test".to_owned()),
            recipients: vec![record],
            ..EnvelopeItem::default()
        };
        let text = envelope(&sample(), &item, Time::from_millis(1_700_000_600_000));
        let earlier = instant(1_700_000_000);
        let tail = "helo: c.test\nsender: s@src.test\nrecipient: b@b.test\n  status: deferred\n  \
                    route: smtp:b.test\n  attempts: 2\n  dsn: 4.4.1\n  \
                    text: connect: refused??X-Injected: 1\n  \
                    earlier_attempt: {} mx.b.test[192.0.2.1]:25 4.4.2 lost connection\n"
            .replace("{}", &earlier);
        assert!(
            text.starts_with("queue_id: 0D5QJK2B7X1ZC\nqueue_name: deferred\n") && text.ends_with(&tail),
            "{text}"
        );
    }
}
