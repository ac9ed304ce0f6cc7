//! When each deferred message is due: the only place that orders mail by time.
//!
//! Promises: the message that is due first in logarithmic time, equal times in the order of setting, the
//! same on every run; what is far away costs little more than its three numbers. Refuses: to know why a
//! message is due.
//!
//! Only the nearest mail is in a priority queue, which costs almost three times as much memory a message.
//! The rest lies in spans of about a minute by id, and one span after the other moves nearer when nothing
//! nearer is left.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use mail::{AscendingMap, QueueId, Time};
use priority_queue::PriorityQueue;

/// A span is this power of two of milliseconds: 65 seconds.
const SPAN_BITS: u32 = 16;
/// Messages that may be near before spans are moved away again. Tests have so few that this must be small.
const NEAR_MAX: usize = if cfg!(test) { 4 } else { 4096 };

/// When a message is due, and when that was set.
type Place = (Time, u64);
type Near = PriorityQueue<QueueId, Reverse<Place>, FixedState>;

/// A place within a span: the milliseconds from its start, and below them the sequence. Sorts as places do.
#[derive(Clone, Copy, Debug)]
struct Packed(u64);

/// The rest of a packed place is sequence: enough for nine thousand years of a thousand settings a second.
const SEQUENCE_BITS: u32 = u64::BITS - SPAN_BITS;

impl Packed {
    fn new((due, sequence): Place) -> Packed {
        let within = due.as_millis() as u64 & ((1 << SPAN_BITS) - 1);
        Packed(within << SEQUENCE_BITS | sequence)
    }

    fn unpack(self, span: i64) -> Place {
        let within = (self.0 >> SEQUENCE_BITS) as i64;
        (Time::from_millis(span << SPAN_BITS | within), self.0 & ((1 << SEQUENCE_BITS) - 1))
    }
}

/// The deferred messages by due time.
#[derive(Debug)]
pub(crate) struct DueQueue {
    /// All of the spans up to and with `near_span`. Not empty when there is any message.
    near: Near,
    near_span: i64,
    /// Moving spans away is tried again when more messages than this are near.
    near_limit: usize,
    /// The spans behind that.
    far: BTreeMap<i64, AscendingMap<QueueId, Packed>>,
    far_len: usize,
    sequence: u64,
}

fn span(due: Time) -> i64 {
    due.as_millis() >> SPAN_BITS
}

impl DueQueue {
    pub(crate) fn new() -> DueQueue {
        DueQueue {
            near: PriorityQueue::with_hasher(FixedState::default()),
            near_span: i64::MIN,
            near_limit: NEAR_MAX,
            far: BTreeMap::new(),
            far_len: 0,
            sequence: 0,
        }
    }

    /// Sets when a message is due that is not in the queue.
    pub(crate) fn insert(&mut self, id: QueueId, due: Time) {
        self.sequence += 1;
        let place = (due, self.sequence);
        if self.near.is_empty() {
            self.near_span = span(due);
        }
        if span(due) <= self.near_span {
            self.near.push(id, Reverse(place));
            if self.near.len() > self.near_limit {
                self.move_away();
            }
        } else {
            self.put_far(id, place);
        }
    }

    fn put_far(&mut self, id: QueueId, place: Place) {
        self.far.entry(span(place.0)).or_default().insert(id, Packed::new(place));
        self.far_len += 1;
    }

    /// Takes out a message that is due then. Nothing happens when it is not there.
    pub(crate) fn remove(&mut self, id: QueueId, due: Time) {
        if span(due) <= self.near_span {
            self.near.remove(&id);
            if self.near.is_empty() {
                self.move_nearer();
            }
        } else if let Some(messages) = self.far.get_mut(&span(due))
            && messages.remove(&id).is_some()
        {
            self.far_len -= 1;
            if messages.is_empty() {
                self.far.remove(&span(due));
            }
        }
    }

    /// The message that is due first, when, and the sequence of its setting.
    pub(crate) fn first(&self) -> Option<(QueueId, Time, u64)> {
        self.near.peek().map(|(id, Reverse((due, sequence)))| (*id, *due, *sequence))
    }

    /// The sequence of the latest setting.
    pub(crate) fn latest(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn len(&self) -> usize {
        self.near.len() + self.far_len
    }

    /// The next span comes near, now that nothing is.
    fn move_nearer(&mut self) {
        // A new one: the old one may have grown large, and keeps its room.
        self.near = PriorityQueue::with_hasher(FixedState::default());
        self.near_limit = NEAR_MAX;
        let Some((span, messages)) = self.far.pop_first() else { return };
        self.near_span = span;
        self.far_len -= messages.len();
        self.near.extend(messages.after(None).map(|(id, packed)| (id, Reverse(packed.unpack(span)))));
        self.near_limit = NEAR_MAX.max(2 * self.near.len());
    }

    /// Keeps the first span near, and those behind it as long as they are few. Mail that comes in with the
    /// earliest last would otherwise stay near for good.
    fn move_away(&mut self) {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for (_, Reverse((due, _))) in &self.near {
            *counts.entry(span(*due)).or_default() += 1;
        }
        let mut kept = 0;
        for (span, count) in counts {
            if kept > 0 && kept + count > NEAR_MAX / 2 {
                break;
            }
            kept += count;
            self.near_span = span;
        }
        let near = std::mem::replace(&mut self.near, PriorityQueue::with_hasher(FixedState::default()));
        for (id, Reverse(place)) in near {
            if span(place.0) <= self.near_span {
                self.near.push(id, Reverse(place));
            } else {
                self.put_far(id, place);
            }
        }
        self.near_limit = NEAR_MAX.max(2 * self.near.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection;
    use proptest::prelude::*;

    /// Ids, due times in spans, and whether it is set or taken out.
    fn history() -> impl Strategy<Value = Vec<(u64, i64, bool)>> {
        collection::vec((0u64..40, 0i64..20, proptest::bool::weighted(0.6)), 0..300)
    }

    proptest! {
        #[test]
        fn gives_the_order_of_a_plain_map(
            history in history(),
            step in prop::sample::select(vec![1, 30_000]),
        ) {
            let mut due = DueQueue::new();
            let mut model: BTreeMap<u64, Place> = BTreeMap::new();
            for (id, steps, set) in history {
                let at = Time::from_millis(steps * step);
                if let Some((before, _)) = model.remove(&id) {
                    due.remove(QueueId::from_u64(id), before);
                }
                if set {
                    due.insert(QueueId::from_u64(id), at);
                    model.insert(id, (at, due.latest()));
                }
                let first = model.iter().map(|(id, (at, set))| (*at, *set, *id)).min();
                let expected = first.map(|(at, set, id)| (QueueId::from_u64(id), at, set));
                prop_assert_eq!(due.first(), expected);
                prop_assert_eq!(due.len(), model.len());
            }
            while let Some((id, at, _)) = due.first() {
                due.remove(id, at);
                prop_assert!(model.remove(&id.as_u64()).is_some());
            }
            prop_assert!(model.is_empty() && due.far.is_empty() && due.near.is_empty());
        }
    }

    #[test]
    fn packing_loses_nothing() {
        for millis in [i64::MIN, -70_000, -1, 0, 1, 65_535, 65_536, 1_700_000_000_123, i64::MAX] {
            let place = (Time::from_millis(millis), 7);
            assert_eq!(Packed::new(place).unpack(span(place.0)), place);
        }
    }

    #[test]
    fn what_is_far_away_leaves_the_priority_queue() {
        let mut due = DueQueue::new();
        for n in (0..1000).rev() {
            due.insert(QueueId::from_u64(n), Time::from_millis(n as i64 * 30_000));
        }
        assert!(due.near.len() <= 2 * NEAR_MAX, "{} of {} are near", due.near.len(), due.len());
    }
}
