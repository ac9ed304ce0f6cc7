//! When each deferred message is due: the only place that orders mail by time.
//!
//! Promises: the message that is due first in logarithmic time, equal times in the order of setting, the
//! same on every run. Refuses: to know why a message is due.

use std::cmp::Reverse;

use foldhash::fast::FixedState;
use mail::{QueueId, Time};
use priority_queue::PriorityQueue;

/// The deferred messages by due time.
#[derive(Debug)]
pub(crate) struct DueQueue {
    queue: PriorityQueue<QueueId, Reverse<(Time, u64)>, FixedState>,
    sequence: u64,
}

impl DueQueue {
    pub(crate) fn new() -> DueQueue {
        DueQueue { queue: PriorityQueue::with_hasher(FixedState::default()), sequence: 0 }
    }

    /// Sets when a message is due, whether or not it was in the queue.
    pub(crate) fn set(&mut self, id: QueueId, due: Time) {
        self.sequence += 1;
        self.queue.push(id, Reverse((due, self.sequence)));
    }

    /// Takes a message out. Nothing happens when it is not there.
    pub(crate) fn remove(&mut self, id: QueueId) {
        self.queue.remove(&id);
    }

    /// The message that is due first, when, and the sequence of its setting.
    pub(crate) fn first(&self) -> Option<(QueueId, Time, u64)> {
        self.queue.peek().map(|(id, Reverse((due, sequence)))| (*id, *due, *sequence))
    }

    /// The sequence of the latest setting.
    pub(crate) fn latest(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::collection;
    use proptest::prelude::*;

    fn history() -> impl Strategy<Value = Vec<(u64, i64, bool)>> {
        collection::vec((0u64..12, 0i64..20, any::<bool>()), 0..200)
    }

    proptest! {
        #[test]
        fn gives_the_order_of_a_plain_map(history in history()) {
            let mut due = DueQueue::new();
            let mut model: BTreeMap<u64, (Time, u64)> = BTreeMap::new();
            for (sequence, (id, millis, set)) in (1u64..).zip(history) {
                if set {
                    due.set(QueueId::from_u64(id), Time::from_millis(millis));
                    model.insert(id, (Time::from_millis(millis), due.latest()));
                } else {
                    due.remove(QueueId::from_u64(id));
                    model.remove(&id);
                }
                let first = model.iter().map(|(id, (at, set))| (*at, *set, *id)).min();
                let expected = first.map(|(at, set, id)| (QueueId::from_u64(id), at, set));
                prop_assert_eq!(due.first(), expected, "step {}", sequence);
                prop_assert_eq!(due.len(), model.len());
            }
        }
    }
}
