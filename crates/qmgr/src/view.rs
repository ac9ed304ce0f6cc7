//! Views: snapshots for operators, and what an engine hands to its successor.
//!
//! Promises: values that own what they show. Refuses: references into the engine.

use std::sync::Arc;

use mail::{QueueId, Time};

use crate::event::{Flags, Queue};

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageView {
    /// Its id.
    pub id: QueueId,
    /// Where it is.
    pub queue: Queue,
    /// When it was accepted.
    pub arrived: Time,
    /// Next attempt: of deferred mail only.
    pub due: Option<Time>,
    /// Attempts so far.
    pub attempts: u32,
    /// Bytes of content.
    pub size: u64,
    /// The null reverse path.
    pub null_sender: bool,
    /// Recipients it was accepted with.
    pub recipients: u32,
    /// Recipients neither delivered nor bounced.
    pub unfinished: u32,
    /// The distinct sites of these.
    pub sites: Vec<Arc<str>>,
    /// See there.
    pub flags: Flags,
    /// The last reason it was deferred for, or why it is corrupt; bounded by
    /// [`mail::limits::REASON_BYTES_MAX`].
    pub reason: Option<Arc<str>>,
    /// Deliveries running right now.
    pub delivering: u32,
}

/// What may be delivered to a destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DestinationState {
    /// Up to this many deliveries at a time.
    Ready {
        /// At least 1.
        window: u32,
    },
    /// Dead until then, or until something revives it.
    Throttled {
        /// Since when.
        since: Time,
        /// Until when.
        until: Time,
        /// `STATUS TEXT`.
        reason: Arc<str>,
    },
    /// A rate delay is in force.
    Suspended {
        /// Until when.
        until: Time,
    },
}

/// One destination of a transport: what operators call a site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteView {
    /// The transport.
    pub transport: Arc<str>,
    /// The destination.
    pub destination: Arc<str>,
    /// See there.
    pub state: DestinationState,
    /// Entries waiting in memory.
    pub todo: u32,
    /// Entries being delivered.
    pub busy: u32,
    /// Deferred messages that wait for it to recover.
    pub waiting: u64,
    /// Last completed delivery.
    pub last_done: Option<Time>,
}

/// One transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportView {
    /// Its name.
    pub transport: Arc<str>,
    /// Deliveries running.
    pub busy: u32,
    /// `process_limit`; 0 is no limit.
    pub process_limit: u64,
    /// Entries waiting in memory.
    pub todo: u64,
    /// Messages with work for it, in the order of the scheduler.
    pub jobs: u64,
    /// Destinations it knows.
    pub destinations: u64,
    /// Recipient slots that are free; negative when the extra ones are lent.
    pub free_recipient_slots: i64,
    /// Until when and why it is left alone.
    pub dead: Option<(Time, Arc<str>)>,
    /// Until when a rate delay locks it.
    pub locked_until: Option<Time>,
}

/// Messages by queue, and what is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Accepted, not in memory.
    pub incoming: u64,
    /// In memory.
    pub active: u64,
    /// Waiting.
    pub deferred: u64,
    /// On hold.
    pub hold: u64,
    /// Damaged.
    pub corrupt: u64,
    /// Recipients in memory.
    pub recipients: u64,
    /// Deliveries running.
    pub delivering: u64,
    /// Whether all mail that was there at the start has been handed in.
    pub all_stored: bool,
}

/// One site of the flush record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlushView {
    /// The site.
    pub site: Arc<str>,
    /// Messages with unfinished mail for it.
    pub waiting: u64,
    /// Whether clients may ask for it (`fast_flush_domains`).
    pub eligible: bool,
    /// When its mail was last asked for, if it is eligible and that is known.
    pub last_sent: Option<Time>,
    /// Messages that a flush under way has still to try.
    pub to_be_tried: u64,
}

/// What an operator's command did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Messages changed at once.
    pub done: u64,
    /// Messages that are being delivered: changed when the attempt in flight is over.
    pub after_attempt: u64,
    /// Ids that are unknown, or not in a state the command applies to.
    pub unmatched: u64,
    /// The messages behind `done` and `after_attempt`, in the order in which they were named.
    pub ids: Vec<QueueId>,
}

impl Changed {
    pub(crate) fn count(&mut self, id: QueueId, change: Change) {
        match change {
            Change::Done => self.done += 1,
            Change::AfterAttempt => self.after_attempt += 1,
            Change::None => return self.unmatched += 1,
        }
        self.ids.push(id);
    }
}

/// What a command did to one message.
pub(crate) enum Change {
    Done,
    AfterAttempt,
    None,
}

/// The one thing a message waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// No such message or site.
    Unknown,
    /// Nothing: this many deliveries are running.
    BeingDelivered {
        /// How many.
        deliveries: u32,
    },
    /// Its due time.
    Due {
        /// The next attempt.
        at: Time,
        /// Why the last one failed.
        reason: Option<Arc<str>>,
    },
    /// A dead destination.
    SiteDead {
        /// The transport.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// Since when.
        since: Time,
        /// When it is tried again.
        until: Time,
        /// `STATUS TEXT`.
        reason: Arc<str>,
    },
    /// The destination has as many deliveries as its window allows.
    WindowFull {
        /// The transport.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// The window.
        window: u32,
    },
    /// All agents of the transport, or this destination's share of them, are busy.
    AgentsBusy {
        /// The transport.
        transport: Arc<str>,
        /// Deliveries running.
        busy: u32,
    },
    /// A rate delay.
    RateDelay {
        /// The transport.
        transport: Arc<str>,
        /// Until when.
        until: Time,
    },
    /// Its turn: other mail of the transport goes first.
    Turn {
        /// The transport.
        transport: Arc<str>,
    },
    /// An operator's release.
    Hold,
    /// Room in the active queue.
    ActiveLimit {
        /// `qmgr_message_active_limit`.
        limit: u64,
    },
    /// A flush that lets its messages out one after the other.
    FlushPending,
    /// Its envelope is being read.
    Loading,
    /// A report to the sender is being made.
    Reporting,
    /// Deliveries are switched off.
    Paused,
    /// It is damaged; an operator must look at it.
    Corrupt {
        /// In words.
        reason: Option<Arc<str>>,
    },
    /// Nothing waits for this site, and nothing holds it.
    Idle,
}

/// What was learned about destinations, for the successor of an engine.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Learned {
    /// In the order of names.
    pub destinations: Vec<LearnedDestination>,
    /// Rate delays of whole transports that are still running: name and end.
    pub transports: Vec<(Arc<str>, Time)>,
}

/// What was learned about one destination.
#[derive(Clone, PartialEq, Debug)]
pub struct LearnedDestination {
    /// The transport.
    pub transport: Arc<str>,
    /// The destination.
    pub destination: Arc<str>,
    /// Its nexthop.
    pub nexthop: Arc<str>,
    /// The window; for a dead one the window it would start again with.
    pub window: u32,
    /// When it last mattered: it is forgotten `keep_learned_concurrency` later.
    pub seen: Time,
    /// A rate delay that is still running.
    pub suspended_until: Option<Time>,
}
