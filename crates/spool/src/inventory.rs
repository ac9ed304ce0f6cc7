//! The messages that a start found, for whoever has to know them all.
//!
//! Promises: every message that is live or in `corrupt` when it is told, once, in the order of ids; one whose
//! summary cannot be read is set aside on the way and told as corrupt. The log is in use meanwhile: nothing
//! here has to be finished before mail is taken.
//!
//! Refuses: messages that were accepted since.

use std::collections::btree_map;
use std::iter::Peekable;
use std::sync::Arc;

use mail::{AscendingMap, QueueId, Time};

use crate::codec::{self, Known};
use crate::quarantine::Kept;
use crate::shared::{Counters, Shared, lock};
use crate::{Found, Queue, Summary};

/// What is wrong with a message whose record verifies and whose summary does not decode.
pub(crate) const UNREADABLE: &str = "its summary is unreadable";

/// Live messages and where their summaries are.
#[derive(Default)]
pub(crate) struct Summaries {
    pub(crate) messages: AscendingMap<QueueId, News>,
    blobs: Vec<Vec<u8>>,
}

/// What is known of one message.
#[derive(Clone, Copy)]
pub(crate) struct News {
    pub(crate) first: Blob,
    pub(crate) newest: Blob,
    pub(crate) fault: Option<&'static str>,
}

/// A stretch of one of the blobs.
#[derive(Clone, Copy)]
pub(crate) struct Blob {
    pub(crate) number: u32,
    pub(crate) start: u32,
    pub(crate) length: u32,
}

impl Summaries {
    /// Takes bytes that summaries lie in; the answer is their number.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>) -> u32 {
        let number = self.next_number();
        self.blobs.push(bytes);
        number
    }

    /// The number that [`Summaries::keep`] will give next.
    pub(crate) fn next_number(&self) -> u32 {
        self.blobs.len() as u32
    }

    /// Bytes that were kept.
    pub(crate) fn blob(&self, number: u32) -> &[u8] {
        &self.blobs[number as usize]
    }

    /// The next message behind `after`, and whether its summary can be read.
    pub(crate) fn next(&self, after: Option<QueueId>) -> Option<(Found, bool)> {
        let (id, news) = self.messages.after(after).next()?;
        let (first, newest) = (self.known(news.first), self.known(news.newest));
        let readable = first.is_some() && newest.is_some();
        let mut message = found(id, first, newest);
        if !readable {
            message.summary.queue = Queue::Corrupt;
        }
        Some((message, readable))
    }

    fn known(&self, blob: Blob) -> Option<Known> {
        let start = blob.start as usize;
        let bytes = self.blobs.get(blob.number as usize)?.get(start..start + blob.length as usize)?;
        codec::decode_summary(bytes).ok()
    }
}

/// A message with as much as is known of it.
pub(crate) fn found(id: QueueId, first: Option<Known>, newest: Option<Known>) -> Found {
    let (arrived, size) = first.as_ref().map_or((id.made_at(), 0), |known| (known.arrived, known.size));
    let unknown = || Summary { queue: Queue::Corrupt, due: Time::NEVER, ..Summary::default() };
    let summary = newest.or(first).map_or_else(unknown, |known| known.summary);
    Found { id, arrived, size, summary }
}

/// The messages that a start found, one after the other. See the module.
pub struct Inventory {
    shared: Arc<Shared>,
    summaries: Summaries,
    last: Option<QueueId>,
    /// In `corrupt/` and not in the log.
    others: Peekable<btree_map::IntoIter<QueueId, Kept>>,
    total: u64,
}

impl Inventory {
    pub(crate) fn new(
        shared: Arc<Shared>,
        summaries: Summaries,
        mut kept: btree_map::BTreeMap<QueueId, Kept>,
    ) -> Inventory {
        kept.retain(|id, _| !summaries.messages.contains_key(id));
        let total = (summaries.messages.len() + kept.len()) as u64;
        Inventory { shared, summaries, last: None, others: kept.into_iter().peekable(), total }
    }

    /// How many messages there were at the start.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next one of the log.
    fn next_logged(&mut self) -> Option<Found> {
        loop {
            let (mut message, readable) = self.summaries.next(self.last)?;
            let id = message.id;
            self.last = Some(id);
            if lock(&self.shared.corrupt).contains_key(&id) {
                message.summary.queue = Queue::Corrupt;
            } else if lock(&self.shared.index).get(id).is_none() {
                continue;
            } else if !readable && self.shared.quarantine(id, UNREADABLE).is_err() {
                Counters::add(&self.shared.counters.failures, 1);
            }
            return Some(message);
        }
    }

    fn next_other(&mut self) -> Option<Found> {
        let (id, kept) = self.others.next()?;
        let mut message = found(id, kept.known, None);
        message.summary.queue = Queue::Corrupt;
        Some(message)
    }
}

impl Iterator for Inventory {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let logged = self.summaries.messages.after(self.last).next().map(|(id, _)| id);
        match (self.others.peek(), logged) {
            (Some((other, _)), Some(logged)) if *other < logged => self.next_other(),
            (Some(_), None) => self.next_other(),
            _ => self.next_logged().or_else(|| self.next_other()),
        }
    }
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inventory({} messages)", self.total)
    }
}
