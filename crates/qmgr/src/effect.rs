//! What the engine asks for. Each request is answered by an event, except where it says otherwise.
//!
//! Promises: effects come in the order in which they must become durable; a message that depends on a
//! report is not saved or removed before the report is. Refuses: to wait; an effect that is never
//! answered leaves its message where it is, and `why` says so.

use std::sync::Arc;

use mail::{Outcome, QueueId, Time};
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::event::{DeliveryNumber, Flags, Queue, ReportKind};
use crate::note::Note;

/// One request.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Read unfinished recipients; answered by [`Engine::handle_loaded`](crate::Engine::handle_loaded).
    Load {
        /// The message.
        id: QueueId,
        /// The position to start at.
        from: u32,
        /// At most this many, at least 1.
        limit: u32,
    },
    /// Start a delivery; answered by [`Engine::handle_report`](crate::Engine::handle_report).
    Deliver(Delivery),
    /// Store the state of a message. Not answered: what could not be stored is the spool's to repeat.
    Save {
        /// The message.
        id: QueueId,
        /// All of its state, and the recipients that changed.
        change: StateChange,
    },
    /// Tell the sender; answered by [`Engine::handle_reported`](crate::Engine::handle_reported) when the
    /// report is durable or nobody was to be told.
    Report {
        /// The message.
        id: QueueId,
        /// What about.
        kind: ReportKind,
        /// The recipients concerned. Empty for a failure report that a crash interrupted: then every
        /// bounced recipient on record is meant.
        positions: Vec<u32>,
    },
    /// The message has ended: forget it, and every record of it. Not answered.
    Remove {
        /// The message.
        id: QueueId,
        /// How.
        ending: Ending,
    },
    /// Set the message aside for inspection. Not answered.
    Quarantine {
        /// The message.
        id: QueueId,
        /// In words.
        reason: Arc<str>,
    },
    /// Something to log or count. Not answered.
    Note(Note),
}

/// One delivery request: one message, one destination, a bounded number of recipients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// To be named in the report.
    pub number: DeliveryNumber,
    /// The message.
    pub id: QueueId,
    /// The transport.
    pub transport: Arc<str>,
    /// Where to send to, as the resolver gave it. Short ones, nearly all, are kept in place.
    pub nexthop: SmolStr,
    /// Their positions in the envelope, at least one.
    pub recipients: SmallVec<[u32; 4]>,
    /// Whether to look for and to keep open connections.
    pub reuse: Reuse,
}

/// Hints about connection reuse (the destination is busy enough that it pays).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reuse {
    /// Take an open connection if there is one.
    pub load: bool,
    /// Keep the connection afterwards.
    pub store: bool,
}

/// All state of a message that changes, as it is now.
#[derive(Clone, PartialEq, Debug)]
pub struct StateChange {
    /// The queue. `Active` is found as incoming after a crash.
    pub queue: Queue,
    /// Next attempt, for deferred mail.
    pub due: Time,
    /// Attempts so far.
    pub attempts: u32,
    /// Recipients that are neither delivered nor bounced.
    pub unfinished: u32,
    /// See there.
    pub flags: Flags,
    /// Recipients decided since the last save, each once.
    pub recipients: Vec<(u32, Outcome)>,
    /// The distinct sites of the unfinished recipients. This may name sites that have just been finished
    /// while a message is active, and after a run that ended before all recipients were read (held or
    /// requeued in the middle of a mailing); it is exact otherwise.
    pub sites: Arc<[Arc<str>]>,
}

/// How a message ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ending {
    /// Every recipient is delivered.
    Delivered,
    /// Some recipients bounced, and the sender was told; the others are delivered.
    Bounced,
    /// Its lifetime was over, and the sender was told.
    Expired,
    /// By an operator.
    Deleted,
}
