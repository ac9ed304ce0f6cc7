//! The messages that a start found, for whoever has to know them all.
//!
//! Promises: every message that is live or in `corrupt` when it is told, once, in the order of ids; one whose
//! summary cannot be read is set aside on the way and told as corrupt. The log is in use meanwhile: nothing
//! here has to be finished before mail is taken.
//!
//! Refuses: messages that were accepted since.

use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use mail::{QueueId, Time};

use crate::codec::{self, Known};
use crate::frame::Kind;
use crate::quarantine::Kept;
use crate::shared::{Counters, Shared, lock};
use crate::{Found, Queue, Summary};

/// What is wrong with a message whose record verifies and whose summary does not decode.
pub(crate) const UNREADABLE: &str = "its summary is unreadable";

/// What the records of the log say of messages, in one piece of memory that is given back as a whole: a
/// start reads a hundred bytes of each message and must not keep them.
#[derive(Default)]
pub(crate) struct Summaries {
    /// Summaries lie somewhere in here.
    pub(crate) bytes: Vec<u8>,
    /// In the order of the log, until they are taken.
    records: Vec<Noted>,
    /// Records that were taken.
    taken: usize,
}

/// A record that counts.
struct Noted {
    id: QueueId,
    start: u64,
    length: u32,
    kind: Kind,
}

impl Summaries {
    /// Takes note of a record of a message, whose summary lies there in the bytes.
    pub(crate) fn note(&mut self, kind: Kind, id: QueueId, summary: Range<usize>) {
        let (start, length) = (summary.start as u64, summary.len() as u32);
        self.records.push(Noted { id, start, length, kind });
    }

    /// Takes the next live message, and whether its summary can be read. Nothing may be noted afterwards.
    pub(crate) fn take_next(&mut self) -> Option<(Found, bool)> {
        let id = self.next_id()?;
        let records = self.of_one();
        let (first, newest) = ends(records)?;
        let (first, newest) = (self.known(first), self.known(newest));
        let readable = first.is_some() && newest.is_some();
        self.taken += records.len();
        let mut message = found(id, first, newest);
        if !readable {
            message.summary.queue = Queue::Corrupt;
        }
        Some((message, readable))
    }

    /// The next live message.
    fn next_id(&mut self) -> Option<QueueId> {
        if self.taken == 0 {
            // A stable sort: the records of one message stay in the order of the log.
            self.records.sort_by_key(|record| record.id);
        }
        loop {
            let records = self.of_one();
            let id = records.first()?.id;
            if ends(records).is_some() {
                return Some(id);
            }
            self.taken += records.len();
        }
    }

    /// The records of the message that is next.
    fn of_one(&self) -> &[Noted] {
        let rest = &self.records[self.taken..];
        let same = |record: &&Noted| record.id == rest[0].id;
        &rest[..rest.iter().take_while(same).count()]
    }

    fn known(&self, record: &Noted) -> Option<Known> {
        let start = record.start as usize;
        let bytes = self.bytes.get(start..start + record.length as usize)?;
        codec::decode_summary(bytes).ok()
    }
}

/// The record that a message lives by and its newest one; nothing when it has ended.
fn ends(records: &[Noted]) -> Option<(&Noted, &Noted)> {
    let newest = records.last().filter(|record| record.kind != Kind::Done)?;
    let begins = |record: &&Noted| matches!(record.kind, Kind::Message | Kind::Copy);
    records.iter().rev().find(begins).map(|first| (first, newest))
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
    /// In `corrupt/` and not in the log.
    others: Peekable<btree_map::IntoIter<QueueId, Kept>>,
    total: u64,
}

impl Inventory {
    /// `logged` messages of the log and the others that `corrupt/` has.
    pub(crate) fn new(
        shared: Arc<Shared>,
        summaries: Summaries,
        logged: usize,
        others: btree_map::BTreeMap<QueueId, Kept>,
    ) -> Inventory {
        let total = (logged + others.len()) as u64;
        Inventory { shared, summaries, others: others.into_iter().peekable(), total }
    }

    /// How many messages there were at the start.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next one of the log.
    fn next_logged(&mut self) -> Option<Found> {
        loop {
            let (mut message, readable) = self.summaries.take_next()?;
            let id = message.id;
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
        let logged = self.summaries.next_id();
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
