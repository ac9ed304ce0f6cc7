//! What the engine is told: found and accepted messages, envelopes that were loaded, reports of
//! delivery agents, answers to its requests.
//!
//! Promises: plain values. Refuses: to check what the spool has already checked; positions and sites are
//! taken as given.

use std::fmt;
use std::sync::Arc;

use mail::{Outcome, QueueId, Time};

/// The queue a message is in, as an operator knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Queue {
    /// Accepted, not yet in memory.
    Incoming,
    /// In memory, being delivered. A message found in this state at start-up goes to incoming.
    Active,
    /// Waiting for its next attempt.
    Deferred,
    /// Frozen by an operator.
    Hold,
    /// Damaged; kept for inspection.
    Corrupt,
}

impl Queue {
    /// All of them.
    pub const ALL: [Queue; 5] =
        [Queue::Incoming, Queue::Active, Queue::Deferred, Queue::Hold, Queue::Corrupt];

    /// `incoming`, `active`, `deferred`, `hold`, `corrupt`.
    pub const fn name(self) -> &'static str {
        match self {
            Queue::Incoming => "incoming",
            Queue::Active => "active",
            Queue::Deferred => "deferred",
            Queue::Hold => "hold",
            Queue::Corrupt => "corrupt",
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a message carries from attempt to attempt besides its times. Stored with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Flags {
    /// An operator wants it returned to its sender at the next attempt.
    pub force_expire: bool,
    /// The sender was told that it is late.
    pub warned: bool,
    /// It was deferred only because its site could not be reached: it is woken when the site can. An
    /// attempt was spent only if it was really tried.
    pub site_wait: bool,
    /// There are bounced recipients on record whose report is not out yet.
    pub failure_due: bool,
    /// There are delivered recipients on record that asked for a report (NOTIFY=SUCCESS) and have not
    /// got one yet.
    pub success_due: bool,
}

/// One message as the spool describes it without its envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its id. An id the engine already has is ignored.
    pub id: QueueId,
    /// When it was accepted: age, backoff and lifetime count from here.
    pub arrived: Time,
    /// When it is said to have entered memory, which is what the scheduler calls its age. Nothing means
    /// the moment it really does.
    pub entered: Option<Time>,
    /// The queue it was stored in.
    pub queue: Queue,
    /// Next attempt, for deferred mail; ignored otherwise.
    pub due: Time,
    /// Attempts so far.
    pub attempts: u32,
    /// Bytes of content.
    pub size: u64,
    /// The sender is the null reverse path.
    pub null_sender: bool,
    /// Recipients it was accepted with.
    pub recipients: u32,
    /// Recipients that are neither delivered nor bounced.
    pub unfinished: u32,
    /// The distinct sites of the unfinished recipients, spelled by [`mail::site_of_domain`].
    pub sites: Vec<Arc<str>>,
    /// See there.
    pub flags: Flags,
    /// Why it was last deferred or quarantined, when that is known.
    pub reason: Option<Arc<str>>,
}

/// Where the resolver sends a recipient.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Route {
    /// Name of the transport. `error` and `retry` bounce and defer with the `STATUS TEXT` in the nexthop.
    pub transport: Arc<str>,
    /// Where the agent should send to.
    pub nexthop: Arc<str>,
}

/// One recipient that is neither delivered nor bounced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Its position in the envelope.
    pub position: u32,
    /// The mailbox.
    pub address: Arc<str>,
    /// The site of the mailbox (empty for `postmaster` alone): what it is flushed by.
    pub site: Arc<str>,
    /// Where it goes. Trouble with the resolver is the route `retry` with
    /// `4.3.0 address resolver failure`.
    pub route: Route,
    /// An earlier attempt left a reason on record.
    pub recorded: bool,
    /// Its success is to be reported (NOTIFY=SUCCESS).
    pub notify_success: bool,
}

/// Some unfinished recipients of a message, in ascending position.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// At most as many as [`Effect::Load`](crate::Effect::Load) allowed; for a fresh message that is
    /// accepted with its batch, as many as one likes to hold.
    pub recipients: Vec<Pending>,
    /// The position to go on from, when there are more.
    pub next: Option<u32>,
}

/// Why an envelope could not be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The record is damaged: the message goes to corrupt.
    #[error("corrupt: {0}")]
    Corrupt(Arc<str>),
    /// The message no longer exists: it is forgotten.
    #[error("no such message")]
    Gone,
    /// The disk failed: it is tried again after a minute.
    #[error("unreadable: {0}")]
    Unreadable(Arc<str>),
}

/// Names one delivery; never used twice by one engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeliveryNumber(pub u64);

/// How a delivery ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// One outcome for each recipient, in the order of the delivery. Missing ones count as
    /// [`Report::Died`].
    Each(Vec<Outcome>),
    /// The same outcome for all.
    All(Outcome),
    /// The agent vanished without one; the reason is for the record.
    Died(Arc<str>),
}

/// What a report to the sender is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReportKind {
    /// Recipients bounced.
    Failure,
    /// The lifetime is over; bounced recipients of the same run are in the same report.
    Expired,
    /// As `Expired`, by an operator's order.
    ForceExpired,
    /// Recipients are late and will be tried further.
    Delay,
    /// The mail that a delay report was about has arrived.
    DelayCleared,
    /// Recipients with NOTIFY=SUCCESS were delivered.
    Success,
}
