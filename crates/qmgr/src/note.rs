//! Notes: what happened, for the log, the trace of the simulator and the counters.
//!
//! Promises: every event of the trace exactly once, in order, with all that its log line needs.
//! Refuses: to say what is only in the envelope (sender, original recipient); the driver has that.

use std::sync::Arc;
use std::time::Duration;

use mail::{Outcome, QueueId, Time};

use crate::event::{DeliveryNumber, Queue, ReportKind};

/// A transport, or one of its destinations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The transport.
    pub transport: Arc<str>,
    /// The destination; nothing means the transport as a whole.
    pub destination: Option<Arc<str>>,
}

/// What a flush was about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlushOf {
    /// A site.
    Site(Arc<str>),
    /// One message.
    Message(QueueId),
    /// Everything (a trigger of F, A, D and I at once).
    All,
    /// Whatever has waited long enough (refresh and purge).
    Waiting,
}

/// Where a message spent its time until this attempt ended: the first two parts of `delays=a/b/c/d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delays {
    /// From arrival to the end of this attempt (`delay=`).
    pub total: Duration,
    /// From arrival until it entered memory (a).
    pub before_active: Duration,
    /// In memory until an agent took it (b).
    pub in_active: Duration,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Note {
    /// New mail is durable.
    Accepted {
        /// The message.
        id: QueueId,
        /// How many.
        recipients: u32,
    },
    /// A message entered memory.
    Active {
        /// The message.
        id: QueueId,
        /// The queue it came from.
        from: Queue,
    },
    /// An entry was given to an agent. Made by [`Engine::selection`](crate::Engine::selection).
    Select {
        /// 1, 2, … since the engine was made.
        n: u64,
        /// The delivery.
        number: DeliveryNumber,
        /// The message.
        id: QueueId,
        /// The transport.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// Recipients in this entry.
        recipients: u32,
    },
    /// An agent is done with an entry.
    Done {
        /// The delivery.
        number: DeliveryNumber,
        /// The message.
        id: QueueId,
        /// The transport.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// The window afterwards; 0 when dead.
        window: u32,
    },
    /// What was decided about a recipient: one log line `to=<…>`.
    Recipient {
        /// The message.
        id: QueueId,
        /// Position in the envelope.
        position: u32,
        /// The mailbox.
        address: Arc<str>,
        /// The decision.
        outcome: Outcome,
        /// The transport it was decided under.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// The delivery; nothing when no agent was asked.
        number: Option<DeliveryNumber>,
        /// `soft_bounce` turned a failure into this deferral.
        soft_bounce: bool,
        /// For `delay=` and `delays=`.
        delays: Delays,
    },
    /// A window changed.
    Window {
        /// The transport.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// Before.
        from: u32,
        /// After; 0 when dead.
        to: u32,
    },
    /// A destination or transport is left alone for a while.
    Dead {
        /// Which.
        place: Place,
        /// `STATUS TEXT`.
        reason: Arc<str>,
    },
    /// It may be tried again.
    Alive {
        /// Which.
        place: Place,
        /// Why.
        reason: Arc<str>,
    },
    /// A rate delay started.
    Suspended {
        /// Where.
        place: Place,
    },
    /// A rate delay is over.
    Resumed {
        /// Where.
        place: Place,
    },
    /// A message went (back) to the deferred queue.
    Deferred {
        /// The message.
        id: QueueId,
        /// The next attempt.
        next: Time,
        /// The last reason there was.
        reason: Arc<str>,
        /// The recipients deferred in this run.
        positions: Vec<u32>,
    },
    /// The sender was told of the delay.
    Warned {
        /// The message.
        id: QueueId,
        /// The late recipients.
        positions: Vec<u32>,
    },
    /// The sender was told of failures.
    Bounced {
        /// The message.
        id: QueueId,
        /// The recipients.
        positions: Vec<u32>,
    },
    /// The sender was told that time is over: `status=expired` or `status=force-expired`.
    Expired {
        /// The message.
        id: QueueId,
        /// By an operator's order.
        forced: bool,
        /// The recipients.
        positions: Vec<u32>,
    },
    /// A report could not be made; the message is kept and it is tried again.
    ReportFailed {
        /// The message.
        id: QueueId,
        /// Which one.
        kind: ReportKind,
        /// In words.
        reason: Arc<str>,
    },
    /// Put on hold.
    Held {
        /// The message.
        id: QueueId,
    },
    /// Released from hold.
    Released {
        /// The message.
        id: QueueId,
    },
    /// To be resolved anew.
    Requeued {
        /// The message.
        id: QueueId,
    },
    /// Deleted by an operator.
    Deleted {
        /// The message.
        id: QueueId,
    },
    /// Marked to be returned to its sender at the next attempt.
    ForceExpire {
        /// The message.
        id: QueueId,
    },
    /// Set aside as damaged.
    Corrupt {
        /// The message.
        id: QueueId,
        /// In words.
        reason: Arc<str>,
    },
    /// Not readable just now; tried again later.
    Skipped {
        /// The message.
        id: QueueId,
        /// In words.
        reason: Arc<str>,
        /// When it is tried again.
        next: Time,
    },
    /// A scan ended.
    Scan {
        /// Incoming or deferred.
        queue: Queue,
        /// Messages looked at.
        examined: u64,
        /// Messages taken into memory.
        taken: u64,
    },
    /// A flush request was answered.
    Flush {
        /// What it was about.
        of: FlushOf,
        /// The answer.
        answer: flush::Status,
        /// Messages released.
        released: u64,
    },
    /// The log of an eligible site changes.
    FlushLog {
        /// The site.
        site: Arc<str>,
        /// How.
        change: flush::LogChange,
    },
    /// One destination fills the active queue.
    Clogged {
        /// The transport.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// Its entries.
        entries: u64,
        /// The active limit.
        of: u64,
    },
    /// One step of concurrency feedback (`destination_concurrency_feedback_debug`).
    Feedback {
        /// The transport.
        transport: Arc<str>,
        /// The destination.
        destination: Arc<str>,
        /// All numbers of the step, in words.
        text: Arc<str>,
    },
    /// The message has ended and is gone: `ID: removed`.
    Removed {
        /// The message.
        id: QueueId,
    },
}
