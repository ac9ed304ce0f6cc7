//! What callers and the writer share: the list of waiting jobs, the index, the cache, counters.
//!
//! Promises: every lock is held for memory operations only, except that a segment may be opened under
//! the index, and that messages are set aside one at a time. Where two are held, the order is that of
//! the fields of [`Shared`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use mail::{IdSource, QueueId};

use crate::cache::Cache;
use crate::disk::Disk;
use crate::index::Index;
use crate::job::Job;
use crate::spares::Spares;
use crate::{AcceptError, CorruptMessage, Options};

/// Jobs that wait for the writer.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) jobs: VecDeque<Job>,
    /// Somebody waits: do not gather.
    pub(crate) urgent: bool,
    pub(crate) closing: bool,
    /// Whether to leave the mark of a clean stop.
    pub(crate) clean: bool,
}

/// Counts since the start.
#[derive(Default)]
pub(crate) struct Counters {
    /// Messages found at the start, damaged ones included.
    pub(crate) found: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Messages that ended; to be set aside is no end.
    pub(crate) ended: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) bytes_copied: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) envelopes_read: AtomicU64,
    pub(crate) contents_read: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn value(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// All that is shared.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) uuid: [u8; 16],
    /// Held while a message is set aside.
    pub(crate) setting_aside: Mutex<()>,
    pub(crate) index: Mutex<Index>,
    pub(crate) cache: Mutex<Cache>,
    pub(crate) pending: Mutex<Pending>,
    pub(crate) wake: Condvar,
    /// How many changes of state of each message are asked for and not yet durable.
    pub(crate) unsettled: Mutex<HashMap<QueueId, u32>>,
    /// One of them has become so.
    pub(crate) settled: Condvar,
    pub(crate) ids: Mutex<IdSource>,
    /// Messages in `corrupt/`.
    pub(crate) corrupt: Mutex<BTreeMap<QueueId, CorruptMessage>>,
    /// Large bodies whose checksum has been verified by this process.
    pub(crate) verified: Mutex<BTreeSet<QueueId>>,
    /// Directories in `big/` that are durable.
    pub(crate) directories: Mutex<BTreeSet<String>>,
    /// Why no mail is taken; nothing when it is.
    pub(crate) refusal: Mutex<Option<AcceptError>>,
    pub(crate) spares: Spares,
    pub(crate) counters: Counters,
}

/// How long a reader waits for the last changes of a message. A commit takes milliseconds; only a disk
/// that fails takes longer.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Takes a lock. A thread that panicked while it held one left whole values behind: every change
/// under a lock is complete before anything that could panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    /// A change of state of the message is on its way to the log.
    pub(crate) fn unsettle(&self, id: QueueId) {
        *lock(&self.unsettled).entry(id).or_default() += 1;
    }

    /// It has got there, or never will.
    pub(crate) fn settle(&self, id: QueueId) {
        let mut unsettled = lock(&self.unsettled);
        if let Some(count) = unsettled.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                unsettled.remove(&id);
                self.settled.notify_all();
            }
        }
    }

    /// Whether a change of the message was asked for that cannot be read yet.
    pub(crate) fn is_unsettled(&self, id: QueueId) -> bool {
        lock(&self.unsettled).contains_key(&id)
    }

    /// Waits until every change of the message that was asked for before can be read; false when that
    /// takes too long.
    pub(crate) fn wait_settled(&self, id: QueueId) -> bool {
        let unsettled = lock(&self.unsettled);
        let waited =
            self.settled.wait_timeout_while(unsettled, SETTLE_MAX, |unsettled| unsettled.contains_key(&id));
        waited.is_ok_and(|(_, waited)| !waited.timed_out())
    }

    /// Hands a job to the writer; gives it back when the spool is closed.
    pub(crate) fn push(&self, job: Job, urgent: bool) -> Result<(), Job> {
        let mut pending = lock(&self.pending);
        if pending.closing {
            return Err(job);
        }
        pending.jobs.push_back(job);
        // The writer sleeps without a deadline only while there is nothing at all to do.
        let wake = pending.jobs.len() == 1 || (urgent && !pending.urgent);
        pending.urgent |= urgent;
        drop(pending);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Why no mail is taken now.
    pub(crate) fn refusal(&self) -> Option<AcceptError> {
        lock(&self.refusal).clone()
    }
}
