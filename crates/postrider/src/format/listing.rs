//! `queue list`: one line a message, fixed columns in front, addresses and the reason behind.

use anstyle::{AnsiColor, Style};
use control::{MessageItem, QueueName, RecipientItem};
use mail::Time;

use super::text::{counted, mailbox, printable};
use super::time::{age, until};

/// Above the columns, on terminals.
pub(crate) const HEADING: &str =
    "ID            QUEUE        SIZE    AGE    NEXT TRIES SENDER -> RECIPIENT (LAST REASON)";

/// One message.
pub(crate) fn listing(message: &MessageItem, now: Time, colour: bool) -> String {
    let style = if colour { queue_style(message.queue_name) } else { Style::new() };
    let mark = if message.forced_expire { '#' } else { ' ' };
    let mut line = format!(
        "{}{mark}{style}{:8}{style:#} {:>8} {:>6} {:>7} {:>5} {} -> {}",
        message.queue_id,
        message.queue_name,
        message.message_size,
        age(message.arrival_time, now),
        until(message.next_attempt, now),
        message.attempts,
        mailbox(&message.sender),
        recipients(message),
    );
    if let Some(reason) = reason(message) {
        line.push_str(&format!(" ({})", printable(reason)));
    }
    line
}

/// Below the last message, on terminals.
pub(crate) fn listing_sums(messages: u64, bytes: u64) -> String {
    match messages {
        0 => "no messages".to_owned(),
        _ => format!("{}, {} KiB", counted(messages, "message"), bytes.div_ceil(1024)),
    }
}

/// The first unfinished recipient, and how many there are besides.
fn recipients(message: &MessageItem) -> String {
    let mut unfinished = unfinished(message);
    let Some(first) = unfinished.next() else { return "-".to_owned() };
    match unfinished.count() {
        0 => mailbox(&first.address).into_owned(),
        more => format!("{} +{more}", mailbox(&first.address)),
    }
}

fn unfinished(message: &MessageItem) -> impl Iterator<Item = &RecipientItem> {
    message.recipients.iter().filter(|recipient| !recipient.status.is_final())
}

fn reason(message: &MessageItem) -> Option<&str> {
    let of_recipient = unfinished(message).find_map(|recipient| recipient.delay_reason.as_deref());
    message.reason.as_deref().or(of_recipient)
}

fn queue_style(queue: QueueName) -> Style {
    let colour = match queue {
        QueueName::Incoming => AnsiColor::Cyan,
        QueueName::Active => AnsiColor::Green,
        QueueName::Deferred => AnsiColor::Yellow,
        QueueName::Hold => AnsiColor::Magenta,
        QueueName::Corrupt => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use control::RecipientStatus;

    /// A deferred message with one recipient delivered, one deferred, one untried.
    pub(crate) fn sample() -> MessageItem {
        let recipient = |address: &str, status, reason: Option<&str>| RecipientItem {
            address: address.to_owned(),
            delay_reason: reason.map(str::to_owned),
            site: address.rsplit_once('@').unwrap().1.to_owned(),
            transport: "smtp".to_owned(),
            status,
            nexthop: None,
        };
        MessageItem {
            queue_name: QueueName::Deferred,
            queue_id: "0D5QJK2B7X1ZC".to_owned(),
            arrival_time: 1_700_000_000,
            message_size: 2345,
            forced_expire: false,
            sender: "s@src.test".to_owned(),
            recipients: vec![
                recipient("done@a.test", RecipientStatus::Sent, None),
                recipient("b@b.test", RecipientStatus::Deferred, Some("connect to b.test: refused\u{7}")),
                recipient("c@c.test", RecipientStatus::Pending, None),
            ],
            next_attempt: Some(1_700_000_850),
            attempts: 2,
            reason: None,
        }
    }

    #[test]
    fn a_message_is_one_line_under_its_heading() {
        let line = listing(&sample(), Time::from_millis(1_700_000_600_000), false);
        assert_eq!(
            line,
            "0D5QJK2B7X1ZC deferred     2345    10m   4m10s     2 s@src.test -> b@b.test +1 \
             (connect to b.test: refused?)"
        );
        for (column, word) in [("QUEUE", "deferred"), ("SENDER", "s@src")] {
            assert_eq!(HEADING.find(column), line.find(word), "{column}");
        }
    }

    #[test]
    fn odd_messages_stay_one_line() {
        let mut message = sample();
        message.recipients.clear();
        message.sender.clear();
        message.next_attempt = None;
        message.forced_expire = true;
        message.reason = Some("bad\nsum".to_owned());
        let line = listing(&message, Time::from_millis(1_700_000_600_000), false);
        assert_eq!(line, "0D5QJK2B7X1ZC#deferred     2345    10m       -     2 <> -> - (bad?sum)");
        assert!(listing(&message, Time::ZERO, true).contains('\u{1b}'));
    }
}
