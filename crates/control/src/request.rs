//! What an operator can ask. One line of JSON each: `{"list":{"selector":{"all":true}}}`.
//!
//! Refuses: unknown requests and unknown fields, so that a newer client is never half understood.

use serde::{Deserialize, Serialize};

use crate::{QueueName, Selector};

/// The version of the protocol that this crate speaks. It changes when an old peer would
/// misunderstand a new one; added items and optional fields do not change it.
pub const VERSION: u32 = 1;

/// Most queue ids that a client puts into one request; more are sent as several requests.
pub const IDS_PER_REQUEST_MAX: usize = 10_000;

/// Most buckets of ages that the engine counts in.
pub const SHAPE_BUCKETS_MAX: u32 = 100;

/// Most bytes of message content in one [`crate::ContentItem`].
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// One request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Says which version the client speaks; answered with [`crate::HelloItem`], or refused. A
    /// connection that starts without it is taken to speak [`VERSION`].
    Hello {
        /// The client's [`VERSION`].
        version: u32,
    },
    /// The messages that the selector takes, one [`crate::MessageItem`] each, in order of their ids.
    List {
        /// Which messages; an empty selector means all.
        selector: Selector,
    },
    /// Unfinished recipients by site and age, as [`crate::ShapeItem`]s; sites come in no order.
    Shape {
        /// Which queues; none means all.
        queues: Vec<QueueName>,
        /// The age that the first bucket covers, in milliseconds.
        unit: u64,
        /// How many buckets, from 1 to [`SHAPE_BUCKETS_MAX`].
        buckets: u32,
        /// Equal steps instead of doubling ones.
        linear: bool,
    },
    /// One message: its [`crate::MessageItem`], then the parts asked for.
    Show {
        /// Queue id.
        id: String,
        /// What to show beside the message's line.
        parts: Parts,
    },
    /// Everything known of each message, site and transport, in that order.
    Dump {
        /// Which messages; an empty selector means all messages and every site and transport, another
        /// one those messages with the sites and transports they name.
        selector: Selector,
    },
    /// Changes messages; `done.count` says how many, and where the selector names ids there is one
    /// [`crate::ChangedItem`] for each. With `dry_run` they are only counted.
    Change {
        /// What to do with them.
        action: Action,
        /// Which messages; an empty selector is refused.
        selector: Selector,
        /// Count only.
        dry_run: bool,
    },
    /// Asks for early delivery; answered with [`crate::FlushItem`]s.
    Flush {
        /// What to flush.
        target: FlushTarget,
    },
    /// Trigger letters `D I A F W` as one folded request; others are ignored as in Postfix.
    Trigger {
        /// At most [`crate::TRIGGER_BYTES_MAX`] bytes.
        letters: String,
    },
    /// What binds a message or a site now, as one [`crate::WhyItem`].
    Why {
        /// A queue id or a site.
        what: String,
    },
    /// Reads every record of the spool and checks every sum: [`crate::ProgressItem`]s,
    /// [`crate::DamageItem`]s and one [`crate::VerifyItem`] at the end.
    Verify {
        /// Move damaged messages to `corrupt` and bring back what can be read again.
        repair: bool,
    },
    /// How the engine is, as one [`crate::StatusItem`].
    Status {},
    /// Answered with `done` at once.
    Ping {},
}

/// What to do with the selected messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// No delivery until released; an attempt in flight ends first.
    Hold,
    /// Out of hold, due at once.
    Release,
    /// Resolve every unfinished recipient anew and try at once.
    Requeue,
    /// Try deferred messages now, all their recipients.
    Flush,
    /// Remove without telling the sender.
    Delete,
    /// Take back what was deleted within `delete_grace`. The selector is over deleted messages.
    Undelete,
    /// Return to the sender at the next attempt.
    Expire,
    /// As `Expire`, and out of hold.
    ExpireRelease,
}

impl Action {
    /// The word on the command line and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Hold => "hold",
            Action::Release => "release",
            Action::Requeue => "requeue",
            Action::Flush => "flush",
            Action::Delete => "delete",
            Action::Undelete => "undelete",
            Action::Expire => "expire",
            Action::ExpireRelease => "expire_release",
        }
    }
}

/// What to flush.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FlushTarget {
    /// Mail for these sites, one [`crate::FlushItem`] each.
    Sites(Vec<String>),
    /// The same for those that clients may ask for (`fast_flush_domains`); others are denied. What
    /// postqueue(1) and sendmail(1) ask for.
    EligibleSites(Vec<String>),
    /// Notes that a message waits for a site (ADD of flush(8)): `ok` when it is on record there, which is
    /// so by itself as long as it waits.
    Add {
        /// The site.
        site: String,
        /// Queue id.
        id: String,
    },
    /// Everything: the trigger buffer `FADI`.
    All {},
    /// One message.
    Message(String),
    /// Sites whose mail was not asked for within `fast_flush_refresh_time`; logs that were empty for
    /// `fast_flush_purge_time` are deleted.
    Refresh {},
    /// As `Refresh`, for all eligible sites with mail waiting.
    Purge {},
    /// Nothing is released: one [`crate::FlushItem`] for each site with mail waiting.
    Status {},
}

/// The parts of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parts {
    /// The [`crate::EnvelopeItem`].
    pub envelope: bool,
    /// The header section up to and without the empty line, as [`crate::ContentItem`]s.
    pub headers: bool,
    /// What follows the empty line, as [`crate::ContentItem`]s.
    pub body: bool,
}
