//! Which messages an operator means. All criteria are joined by *and*.
//!
//! The criteria about recipients (`site`, `recipient`, `reason`, `transport`) must hold for one and the
//! same recipient that is not finished yet: a message is not taken for what has already been delivered.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mail::{Time, site_of_domain};
use serde::{Deserialize, Serialize};

use crate::{MessageItem, RecipientItem};

/// The queues as operators know them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    /// Accepted, not yet in memory.
    Incoming,
    /// In memory.
    Active,
    /// Waiting for the next attempt.
    Deferred,
    /// Waiting for an operator.
    Hold,
    /// Damaged.
    Corrupt,
}

impl QueueName {
    /// Every queue, in the order in which Postfix lists them.
    pub const ALL: [QueueName; 5] =
        [QueueName::Incoming, QueueName::Active, QueueName::Deferred, QueueName::Hold, QueueName::Corrupt];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            QueueName::Incoming => "incoming",
            QueueName::Active => "active",
            QueueName::Deferred => "deferred",
            QueueName::Hold => "hold",
            QueueName::Corrupt => "corrupt",
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for QueueName {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<QueueName, SelectorError> {
        let known = QueueName::ALL.into_iter().find(|queue| queue.as_str() == text);
        known.ok_or_else(|| SelectorError::Queue(text.to_owned()))
    }
}

/// Ids that a selector names in a log.
const IDS_NAMED_MAX: usize = 5;

/// Why a selector cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectorError {
    /// A command that changes mail needs to be told which.
    #[error("no messages are selected: give queue ids or criteria, or --all for every message")]
    Empty,
    /// No such queue.
    #[error("no queue is called {0:?}: use incoming, active, deferred, hold or corrupt")]
    Queue(String),
}

/// Criteria; an absent one does not restrict.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// One of these queue ids (letter case does not matter).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Said explicitly: every message.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// In one of these queues.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueName>,
    /// An unfinished recipient waits for this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The sender: an address, `@domain`, or empty for the null sender. Letter case does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// An unfinished recipient: an address or `@domain`. Letter case does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Accepted at least so many milliseconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// Accepted less than so many milliseconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<u64>,
    /// At least so many attempts begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_attempts: Option<u32>,
    /// The last reason of an unfinished recipient, or of the message, contains this text. Letter case
    /// does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An unfinished recipient goes by this transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Not more than so many messages, in order of their ids. Counted by whoever walks the queue;
    /// [`Selector::matches`] does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// As on the command line, for logs: on one line, long lists of ids by their number.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Selector { ids, all, queues, site, sender, recipient, .. } = self;
        let Selector { older_than, newer_than, min_attempts, reason, transport, limit, .. } = self;
        let mut words: Vec<String> = match ids.len() {
            0..=IDS_NAMED_MAX => ids.clone(),
            more => vec![format!("({more} ids)")],
        };
        words.extend(all.then(|| "--all".to_owned()));
        words.extend(queues.iter().map(|queue| format!("--queue {queue}")));
        let texts = [
            ("site", site),
            ("sender", sender),
            ("recipient", recipient),
            ("reason", reason),
            ("transport", transport),
        ];
        for (name, text) in texts {
            words.extend(text.iter().map(|text| format!("--{name} {}", shown(text))));
        }
        for (name, millis) in [("older-than", older_than), ("newer-than", newer_than)] {
            words.extend(millis.iter().map(|millis| format!("--{name} {millis}ms")));
        }
        words.extend(min_attempts.iter().map(|count| format!("--min-attempts {count}")));
        words.extend(limit.iter().map(|count| format!("--limit {count}")));
        f.write_str(&words.join(" "))
    }
}

/// A value that others may have given: quoted when it is more than one plain word.
fn shown(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\'' && b != b'"');
    if plain { text.to_owned() } else { format!("{text:?}") }
}

impl Selector {
    /// Every message.
    pub fn everything() -> Selector {
        Selector { all: true, ..Selector::default() }
    }

    /// These messages.
    pub fn of_ids<I: IntoIterator<Item = S>, S: Into<String>>(ids: I) -> Selector {
        Selector { ids: ids.into_iter().map(Into::into).collect(), ..Selector::default() }
    }

    /// Whether nothing was said about which messages.
    pub fn is_empty(&self) -> bool {
        *self == Selector::default()
    }

    /// Refuses an empty selector, for commands that change mail.
    pub fn require_some(&self) -> Result<(), SelectorError> {
        if self.is_empty() { Err(SelectorError::Empty) } else { Ok(()) }
    }

    /// Whether the selector can be answered from the ids alone, without looking at every message.
    pub fn names_ids(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Whether the message meets every criterion but `limit`.
    pub fn matches(&self, message: &MessageItem, now: Time) -> bool {
        let age = now.since(Time::from_millis(message.arrival_time.saturating_mul(1000)));
        (self.ids.is_empty() || self.ids.iter().any(|id| id.eq_ignore_ascii_case(&message.queue_id)))
            && (self.queues.is_empty() || self.queues.contains(&message.queue_name))
            && self.sender.as_deref().is_none_or(|pattern| address_matches(pattern, &message.sender))
            && self.older_than.is_none_or(|limit| age >= Duration::from_millis(limit))
            && self.newer_than.is_none_or(|limit| age < Duration::from_millis(limit))
            && self.min_attempts.is_none_or(|least| message.attempts >= least)
            && self.recipients_match(message)
    }

    fn recipients_match(&self, message: &MessageItem) -> bool {
        let about_recipients = self.site.is_some() || self.recipient.is_some() || self.transport.is_some();
        if !about_recipients {
            let Some(text) = self.reason.as_deref() else { return true };
            if message.reason.as_deref().is_some_and(|reason| contains(reason, text)) {
                return true;
            }
        }
        let site = self.site.as_deref().map(normal_site);
        let mut unfinished = message.recipients.iter().filter(|recipient| !recipient.status.is_final());
        unfinished.any(|recipient| self.recipient_matches(recipient, site.as_deref(), message))
    }

    fn recipient_matches(
        &self,
        recipient: &RecipientItem,
        site: Option<&str>,
        message: &MessageItem,
    ) -> bool {
        let reasons = [recipient.delay_reason.as_deref(), message.reason.as_deref()];
        let says = |text| reasons.iter().flatten().any(|reason| contains(reason, text));
        site.is_none_or(|site| site == recipient.site)
            && self.transport.as_deref().is_none_or(|transport| transport == recipient.transport)
            && self.recipient.as_deref().is_none_or(|pattern| address_matches(pattern, &recipient.address))
            && self.reason.as_deref().is_none_or(says)
    }
}

/// A site as the engine spells it; what is no site matches nothing but itself.
fn normal_site(text: &str) -> String {
    site_of_domain(text).unwrap_or_else(|_| text.to_owned())
}

/// `@domain` against the address's domain, anything else against the whole address.
fn address_matches(pattern: &str, address: &str) -> bool {
    match pattern.strip_prefix('@') {
        Some(domain) => address
            .rsplit_once('@')
            .is_some_and(|(_, of_address)| normal_site(of_address) == normal_site(domain)),
        None => pattern.eq_ignore_ascii_case(address),
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_reads_as_it_was_written() {
        let selector = Selector {
            site: Some("x.test".into()),
            sender: Some(String::new()),
            reason: Some("go\naway".into()),
            queues: vec![QueueName::Hold],
            limit: Some(3),
            ..Selector::default()
        };
        let text = "--queue hold --site x.test --sender \"\" --reason \"go\\naway\" --limit 3";
        assert_eq!(selector.to_string(), text);
        let ids = |count: usize| Selector { ids: vec!["1".into(); count], ..Selector::default() };
        assert_eq!((ids(2).to_string(), ids(6).to_string()), ("1 1".into(), "(6 ids)".into()));
    }

    use crate::RecipientStatus;

    fn recipient(address: &str, status: RecipientStatus, reason: Option<&str>) -> RecipientItem {
        RecipientItem {
            address: address.to_owned(),
            delay_reason: reason.map(str::to_owned),
            site: address.rsplit_once('@').unwrap().1.to_ascii_lowercase(),
            transport: "smtp".to_owned(),
            status,
            nexthop: None,
        }
    }

    fn message() -> MessageItem {
        MessageItem {
            queue_name: QueueName::Deferred,
            queue_id: "0D5QJK2B7X1ZC".to_owned(),
            arrival_time: 1_000,
            message_size: 5,
            forced_expire: false,
            sender: "List@Src.test".to_owned(),
            recipients: vec![
                recipient("a@done.test", RecipientStatus::Sent, None),
                recipient("b@Slow.test", RecipientStatus::Deferred, Some("Connection refused")),
                recipient("c@new.test", RecipientStatus::Pending, None),
            ],
            next_attempt: Some(2_000),
            attempts: 3,
            reason: None,
        }
    }

    fn takes(selector: Selector) -> bool {
        selector.matches(&message(), Time::from_millis(1_300_000))
    }

    #[test]
    fn each_criterion_alone() {
        let text = |text: &str| Some(text.to_owned());
        let none = Selector::default;
        assert!(takes(none()));
        assert!(takes(Selector::of_ids(["0d5qjk2b7x1zc"])));
        assert!(!takes(Selector::of_ids(["0D5QJK2B7X1ZD"])));
        assert!(takes(Selector { queues: vec![QueueName::Hold, QueueName::Deferred], ..none() }));
        assert!(!takes(Selector { queues: vec![QueueName::Hold], ..none() }));
        assert!(takes(Selector { sender: text("list@src.TEST"), ..none() }));
        assert!(takes(Selector { sender: text("@src.test"), ..none() }));
        assert!(!takes(Selector { sender: text(""), ..none() }), "the null sender");
        assert!(takes(Selector { recipient: text("@slow.test."), ..none() }));
        assert!(takes(Selector { site: text("SLOW.test"), ..none() }));
        assert!(!takes(Selector { site: text("low.test"), ..none() }));
        assert!(takes(Selector { older_than: Some(300_000), ..none() }));
        assert!(!takes(Selector { older_than: Some(300_001), ..none() }));
        assert!(!takes(Selector { newer_than: Some(300_000), ..none() }));
        assert!(takes(Selector { newer_than: Some(300_001), ..none() }));
        assert!(takes(Selector { min_attempts: Some(3), ..none() }));
        assert!(!takes(Selector { min_attempts: Some(4), ..none() }));
        assert!(takes(Selector { reason: text("connection REFUSED"), ..none() }));
        assert!(takes(Selector { transport: text("smtp"), ..none() }));
        assert!(!takes(Selector { transport: text("lmtp"), ..none() }));
    }

    #[test]
    fn criteria_about_recipients_meet_in_one_unfinished_recipient() {
        let both = |site: &str, reason: &str| Selector {
            site: Some(site.to_owned()),
            reason: Some(reason.to_owned()),
            ..Selector::default()
        };
        assert!(takes(both("slow.test", "refused")));
        assert!(!takes(both("new.test", "refused")), "another recipient's reason");
        assert!(!takes(Selector { site: Some("done.test".to_owned()), ..Selector::default() }), "delivered");
    }

    #[test]
    fn the_reason_of_a_message_without_recipients_is_found() {
        let mut damaged = message();
        damaged.recipients.clear();
        damaged.reason = Some("checksum mismatch".to_owned());
        let selector = Selector { reason: Some("checksum".to_owned()), ..Selector::default() };
        assert!(selector.matches(&damaged, Time::ZERO));
    }

    #[test]
    fn only_an_empty_selector_is_refused() {
        assert_eq!(Selector::default().require_some(), Err(SelectorError::Empty));
        assert_eq!(
            Selector { limit: Some(3), ..Selector::default() }.require_some(),
            Ok(()),
            "the oldest three"
        );
        assert_eq!(Selector::everything().require_some(), Ok(()));
        assert_eq!(Selector { sender: Some(String::new()), ..Selector::default() }.require_some(), Ok(()));
    }
}
