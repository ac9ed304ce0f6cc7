//! Messages: the compact stub that every message has, and the record of one that is in memory.
//!
//! Promises: a stub holds no text of its own (sites are numbers, reasons are shared), so that a million
//! deferred messages fit. Refuses: addresses and outcomes of messages that are not in memory.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use flush::SiteId;
use mail::limits::REASON_BYTES_MAX;
use mail::{AscendingMap, Outcome, QueueId, Time};
use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::destination::DestinationKey;
use crate::due::DueQueue;
use crate::event::{Flags, LoadError, Queue, ReportKind};
use crate::few::FewMap;
use crate::job::JobKey;

new_key_type! {
    /// Names a message in memory.
    pub(crate) struct MessageKey;
}

/// What is known of every message.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) arrived: Time,
    /// Next attempt, when deferred or held.
    pub(crate) due: Time,
    pub(crate) size: u64,
    pub(crate) attempts: u32,
    pub(crate) recipients: u32,
    pub(crate) unfinished: u32,
    pub(crate) queue: Queue,
    pub(crate) flags: Flags,
    pub(crate) null_sender: bool,
    /// A targeted scan has named it.
    pub(crate) released: bool,
    /// It has its lines in the logs of its eligible sites.
    pub(crate) logged: bool,
    /// Each with its place in the flush record.
    pub(crate) sites: Sites,
    pub(crate) reason: Option<Reason>,
}

/// The sites of one message: nearly always one.
#[derive(Clone, Debug)]
pub(crate) enum Sites {
    One(SiteId),
    Many(Box<[SiteId]>),
}

impl Sites {
    pub(crate) fn as_slice(&self) -> &[SiteId] {
        match self {
            Sites::One(site) => std::slice::from_ref(site),
            Sites::Many(sites) => sites,
        }
    }
}

impl FromIterator<SiteId> for Sites {
    fn from_iter<I: IntoIterator<Item = SiteId>>(sites: I) -> Sites {
        let sites: Vec<SiteId> = sites.into_iter().collect();
        match sites[..] {
            [site] => Sites::One(site),
            _ => Sites::Many(sites.into()),
        }
    }
}

/// All messages, and the orders in which some of them wait.
#[derive(Debug)]
pub(crate) struct Stubs {
    map: AscendingMap<QueueId, Stub>,
    counts: [u64; Queue::ALL.len()],
    /// Messages in incoming.
    pub(crate) incoming: AscendingMap<QueueId, ()>,
    /// Messages in deferred.
    pub(crate) due: DueQueue,
}

impl Stubs {
    pub(crate) fn new() -> Stubs {
        Stubs {
            map: AscendingMap::new(),
            counts: [0; Queue::ALL.len()],
            incoming: AscendingMap::new(),
            due: DueQueue::new(),
        }
    }

    pub(crate) fn get(&self, id: QueueId) -> Option<&Stub> {
        self.map.get(&id)
    }

    /// For everything but the queue and the due time: see [`Stubs::enter`].
    pub(crate) fn get_mut(&mut self, id: QueueId) -> Option<&mut Stub> {
        self.map.get_mut(&id)
    }

    pub(crate) fn insert(&mut self, id: QueueId, stub: Stub) {
        let queue = stub.queue;
        let due = stub.due;
        self.counts[queue as usize] += 1;
        self.map.insert(id, stub);
        self.index(id, queue, due);
    }

    /// Moves a message to a queue, due then if that is the deferred one.
    pub(crate) fn enter(&mut self, id: QueueId, queue: Queue, due: Time) {
        let Some(stub) = self.map.get_mut(&id) else { return };
        let from = std::mem::replace(&mut stub.queue, queue);
        let was_due = std::mem::replace(&mut stub.due, due);
        stub.released = false;
        self.counts[from as usize] -= 1;
        self.counts[queue as usize] += 1;
        self.unindex(id, from, was_due);
        self.index(id, queue, due);
    }

    pub(crate) fn remove(&mut self, id: QueueId) -> Option<Stub> {
        let stub = self.map.remove(&id)?;
        self.counts[stub.queue as usize] -= 1;
        self.unindex(id, stub.queue, stub.due);
        Some(stub)
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn count(&self, queue: Queue) -> u64 {
        self.counts[queue as usize]
    }

    /// In the order of ids, behind `after`.
    pub(crate) fn after(&self, after: Option<QueueId>) -> impl Iterator<Item = (QueueId, &Stub)> {
        self.map.after(after)
    }

    fn index(&mut self, id: QueueId, queue: Queue, due: Time) {
        match queue {
            Queue::Incoming => {
                self.incoming.insert(id, ());
            }
            Queue::Deferred => self.due.insert(id, due),
            Queue::Active | Queue::Hold | Queue::Corrupt => {}
        }
    }

    fn unindex(&mut self, id: QueueId, queue: Queue, due: Time) {
        match queue {
            Queue::Incoming => {
                self.incoming.remove(&id);
            }
            Queue::Deferred => self.due.remove(id, due),
            Queue::Active | Queue::Hold | Queue::Corrupt => {}
        }
    }
}

/// What is to become of a message in memory instead of its attempts; an operator ordered it, except the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Hold,
    Requeue,
    Delete,
    /// Back to where it waits for room: see [`crate::overtime`].
    Return,
}

/// How a message came into memory this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Activation {
    /// `defer_transports` does not apply.
    pub(crate) override_defer: bool,
    /// Dead destinations and transports that it needs are revived.
    pub(crate) revive: bool,
    /// Only recipients of this site are tried.
    pub(crate) scope: Option<SiteId>,
    /// It came in beyond the limit, because its time has come.
    pub(crate) over_time: bool,
    /// The site flush that released it.
    pub(crate) flush: Option<u64>,
}

/// One message in memory.
#[derive(Debug)]
#[repr(C)] // What every selection looks at comes first, in few cache lines.
pub(crate) struct Message {
    pub(crate) id: QueueId,
    /// Where to read on.
    pub(crate) next: Option<u32>,
    /// Entries, waiting and in delivery.
    pub(crate) entries: u32,
    /// Entries in delivery.
    pub(crate) busy: u32,
    /// An unanswered [`Effect::Load`](crate::Effect::Load).
    pub(crate) loading: bool,
    /// An agent was asked about at least one recipient.
    pub(crate) attempted: bool,
    pub(crate) recipient_limit: i64,
    pub(crate) recipient_count: i64,
    /// When it entered memory, or is said to have: the age the scheduler goes by.
    pub(crate) queued: Time,
    /// Recipients behind that position, at most.
    pub(crate) unread: u32,
    pub(crate) jobs: SmallVec<[JobKey; 1]>,
    pub(crate) arrived: Time,
    pub(crate) null_sender: bool,
    /// When it really did.
    pub(crate) activated: Time,
    pub(crate) activation: Activation,
    /// Recipients counted in advance for that load.
    pub(crate) reserved: u64,
    pub(crate) last_read: Time,
    /// Unfinished recipients that were read in this run, by site.
    pub(crate) left: FewMap<SiteId, u32>,
    /// Outcomes that no save has carried yet.
    pub(crate) unsaved: Vec<(u32, Outcome)>,
    pub(crate) deferred: Vec<u32>,
    pub(crate) bounced: Vec<u32>,
    /// Delivered ones that want a report.
    pub(crate) delivered: Vec<u32>,
    /// A recipient was deferred for another reason than its site.
    pub(crate) deferred_itself: bool,
    /// A recipient was deferred because of its site or transport.
    pub(crate) site_failed: bool,
    /// The destinations that recipients were deferred for.
    pub(crate) waits_for: SmallVec<[DestinationKey; 1]>,
    /// Recipients passed over: outside the scope of a flush, or withdrawn by an order.
    pub(crate) untried: u32,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) order: Option<Order>,
    /// Why the rest of it cannot be read.
    pub(crate) unreadable: Option<LoadError>,
    /// An earlier run left bounced recipients without a report.
    pub(crate) failure_before: bool,
    /// An earlier run left delivered recipients without the report that they asked for.
    pub(crate) success_before: bool,
    pub(crate) reporting: Option<Reporting>,
    /// When its failed recipients are to be reported though the run goes on.
    pub(crate) report_due: Option<Time>,
    /// A report that was asked for in the middle of the run and is not answered.
    pub(crate) early: Option<Early>,
    /// When the sender is to be warned, or life ends.
    pub(crate) appointment: Option<Time>,
    /// Its life ended while it was in memory: what is not in delivery is given up.
    pub(crate) time_over: bool,
    /// Recipients that failed in this run have been reported already.
    pub(crate) told: bool,
    /// The names behind the stub's sites, where they are too many to list anew for every save.
    pub(crate) site_names: Option<Arc<[Arc<str>]>>,
}

/// A report that does not wait for the end of the run.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) kind: ReportKind,
    pub(crate) positions: Vec<u32>,
}

/// The reports of a message whose run is over, one at a time.
#[derive(Debug)]
pub(crate) struct Reporting {
    /// Still to be asked for, the last one first.
    pub(crate) queue: Vec<(ReportKind, Vec<u32>)>,
    /// Asked for, not answered.
    pub(crate) pending: (ReportKind, Vec<u32>),
    /// Whether time is over for the deferred recipients.
    pub(crate) expired: bool,
}

/// A reason that many messages share: one word in each of them, where an `Arc<str>` is two.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Reason(Arc<Arc<str>>);

impl Reason {
    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl Borrow<str> for Reason {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Reasons, so that ten thousand messages deferred for one reason share one text.
#[derive(Debug)]
pub(crate) struct Reasons {
    known: BTreeSet<Reason>,
    /// With so many, those that no message has any more are forgotten.
    limit: usize,
}

impl Default for Reasons {
    fn default() -> Reasons {
        Reasons { known: BTreeSet::new(), limit: Reasons::MIN }
    }
}

impl Reasons {
    /// So many reasons are remembered in any case.
    const MIN: usize = 1024;

    /// The text, cut to [`REASON_BYTES_MAX`], shared with others that say the same.
    pub(crate) fn share(&mut self, text: &Arc<str>) -> Reason {
        let cut = &text[..text.floor_char_boundary(REASON_BYTES_MAX)];
        if let Some(known) = self.known.get(cut) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|reason| Arc::strong_count(&reason.0) > 1);
            self.limit = Reasons::MIN.max(2 * self.known.len());
        }
        let shared = Reason(Arc::new(if cut.len() < text.len() { cut.into() } else { Arc::clone(text) }));
        self.known.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_small() {
        assert!(size_of::<Stub>() <= 72, "{} bytes", size_of::<Stub>());
    }

    #[test]
    fn reasons_are_shared_bounded_and_cut() {
        let mut reasons = Reasons::default();
        let first = reasons.share(&"connection refused".into());
        assert!(Arc::ptr_eq(&first.0, &reasons.share(&"connection refused".into()).0));
        let long: Arc<str> = "é".repeat(REASON_BYTES_MAX).into();
        assert!(reasons.share(&long).text().len() <= REASON_BYTES_MAX);
        for n in 0..3 * Reasons::MIN {
            reasons.share(&n.to_string().into());
        }
        assert!(reasons.known.len() <= Reasons::MIN);
        // As many sites, each with its own trouble: those that messages have are all shared.
        let texts = || (0..3 * Reasons::MIN).map(|n| Arc::<str>::from(n.to_string()));
        let held: Vec<_> = texts().map(|text| reasons.share(&text)).collect();
        assert!(texts().zip(&held).all(|(text, held)| Arc::ptr_eq(&held.0, &reasons.share(&text).0)));
        assert!(reasons.known.len() <= 2 * held.len());
    }
}
