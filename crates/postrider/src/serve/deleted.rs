//! Deleted mail that can still be taken back.
//!
//! Promises: a deleted message is nobody's but this module's: the engine has forgotten it and nothing
//! lists it. Until its end it can be taken back, also after a restart; then its bytes are freed.
//! Known to be simple: a damaged message is not kept, and disk space comes back only after
//! `control.delete_grace`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control::{MessageItem, Selector};
use mail::{QueueId, Time, Verdict};
use qmgr::{MessageView, Stored};
use spool::{Ending, Spool, StateChange, StoredMessage, Summary};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::engine_task::now;
use super::routes::Routes;
use super::{convert, listing};

/// How often it is looked whose time is over, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for deletions on their way to the disk.
const SETTLED_MAX: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Deleted {
    spool: Arc<Spool>,
    grace: Duration,
    state: Mutex<State>,
    /// Nothing is left to be marked.
    settled: Condvar,
    /// [`State::first`] is sooner than it was.
    sooner: Notify,
}

#[derive(Default)]
struct State {
    /// When each message is gone for good. A message is entered once its mark is on the way to the disk,
    /// so that taking it back always comes after.
    ends: BTreeMap<QueueId, Time>,
    /// No end is before this; nothing when there is none.
    first: Option<Time>,
    /// Still to be marked, by a thread that runs while there are any.
    unmarked: VecDeque<QueueId>,
    marking: bool,
}

impl Deleted {
    /// A grace of zero keeps nothing.
    pub(crate) fn new(spool: Arc<Spool>, grace: Duration) -> Deleted {
        Deleted { spool, grace, state: Mutex::default(), settled: Condvar::new(), sooner: Notify::new() }
    }

    /// A deleted message, just marked or found in the spool at the start, and when it is gone for good.
    pub(crate) fn enter(&self, id: QueueId, end: Time) {
        let mut state = self.state();
        state.ends.insert(id, end);
        if state.first.is_none_or(|first| end < first) {
            state.first = Some(end);
            self.sooner.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine has let go of a message that was deleted.
    pub(crate) fn keep(self: &Arc<Self>, id: QueueId) {
        if self.grace.is_zero() {
            return self.spool.finish(id, Ending::Deleted, None);
        }
        let mut state = self.state();
        state.unmarked.push_back(id);
        if !std::mem::replace(&mut state.marking, true) {
            let deleted = self.clone();
            tokio::task::spawn_blocking(move || deleted.mark_all());
        }
    }

    fn mark_all(&self) {
        loop {
            let mut state = self.state();
            let Some(id) = state.unmarked.pop_front() else {
                state.marking = false;
                return self.settled.notify_all();
            };
            drop(state);
            self.mark(id);
        }
    }

    fn mark(&self, id: QueueId) {
        let Ok(stored) = self.spool.read(id) else {
            return self.spool.finish(id, Ending::Deleted, None);
        };
        let end = now() + self.grace;
        let mut summary = Summary { due: end, ..stored.summary };
        summary.flags.deleted = true;
        self.spool.update(id, StateChange { summary, recipients: Vec::new() }, None);
        self.enter(id, end);
    }

    /// Waits until every deletion that was told is on the way to the disk, at most [`SETTLED_MAX`]. Blocks.
    pub(crate) fn settle(&self) {
        let marking = |state: &mut State| state.marking;
        // A disk that hangs is told by others; waiting longer helps nobody.
        drop(self.settled.wait_timeout_while(self.state(), SETTLED_MAX, marking));
    }

    /// Frees, for ever, what nobody can take back any more.
    pub(crate) async fn forget_in_time(self: Arc<Self>) {
        loop {
            let first = self.state().first;
            match first {
                None => self.sooner.notified().await,
                Some(end) => {
                    let wait = end.since(now()).max(LOOK_EVERY);
                    // Whether it is time or there is a sooner one, the next look is due.
                    let _ = timeout(wait, self.sooner.notified()).await;
                }
            }
            let now = now();
            let mut state = self.state();
            state.ends.retain(|id, end| {
                let over = *end <= now;
                if over {
                    self.spool.finish(*id, Ending::Deleted, None);
                }
                !over
            });
            state.first = state.ends.values().min().copied();
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        let state = self.state();
        state.ends.len() + state.unmarked.len()
    }

    /// The deleted messages that a selector takes. Blocks on the disk.
    pub(crate) fn selected(&self, selector: &Selector, routes: &Routes) -> Vec<QueueId> {
        let known: Vec<QueueId> = self.state().ends.keys().copied().collect();
        let takes = |id: &QueueId| self.item(*id, routes).is_some_and(|item| selector.matches(&item, now()));
        let limit = selector.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        known.into_iter().filter(takes).take(limit).collect()
    }

    fn item(&self, id: QueueId, routes: &Routes) -> Option<MessageItem> {
        let stored = self.spool.read(id).ok()?;
        let Stored { queue, attempts, null_sender, recipients, unfinished, sites, flags, .. } =
            convert::stored(id, stored.envelope.arrived, stored.envelope.size, stored.summary);
        let view = MessageView {
            id,
            queue,
            arrived: stored.envelope.arrived,
            due: None,
            attempts,
            size: stored.envelope.size,
            null_sender,
            recipients,
            unfinished,
            sites,
            flags,
            reason: None,
            delivering: 0,
        };
        listing::item(&view, &self.spool, routes)
    }

    /// Takes a message back: it is again where it was, and due at once unless it was on hold. Nothing when
    /// its time was over. Blocks on the disk.
    pub(crate) fn take_back(&self, id: QueueId) -> Option<Stored> {
        self.state().ends.remove(&id)?;
        let stored = self.spool.read(id).ok()?;
        let summary = alive(&stored);
        let change = StateChange { summary: summary.clone(), recipients: Vec::new() };
        self.spool.update(id, change, None);
        Some(convert::stored(id, stored.envelope.arrived, stored.envelope.size, summary))
    }
}

/// The summary without the mark. What depends on recipients is counted anew: the one that was marked may
/// have been older than the last outcome.
fn alive(stored: &StoredMessage) -> Summary {
    let is_open = |position: &u32| {
        stored.recipients.get(position).is_none_or(|record| record.verdict == Verdict::Deferred)
    };
    let open = (0..).zip(&stored.envelope.recipients).filter(|(position, _)| is_open(position));
    let mut sites: Vec<String> = open.clone().filter_map(|(_, recipient)| recipient.address.site()).collect();
    sites.sort_unstable();
    sites.dedup();
    let mut summary = Summary {
        due: now(),
        unfinished: u32::try_from(open.count()).unwrap_or(u32::MAX),
        sites,
        ..stored.summary.clone()
    };
    (summary.flags.deleted, summary.flags.site_wait) = (false, false);
    summary
}
