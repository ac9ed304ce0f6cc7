//! Peers: what one job has for one destination.
//!
//! Promises: entries first in, first out. Peers of a job take turns in the order in which they joined it.
//! Known difference from Postfix: a peer that joins a job in the middle of a round gets its turn in that
//! round, not after it.

use std::collections::VecDeque;

use slotmap::new_key_type;

use crate::destination::DestinationKey;
use crate::entry::EntryKey;
use crate::job::JobKey;

new_key_type! {
    /// Names a peer.
    pub(crate) struct PeerKey;
}

/// One job's entries for one destination.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) job: JobKey,
    pub(crate) destination: DestinationKey,
    /// Its place among the peers of the job.
    pub(crate) place: u64,
    /// Entries to do.
    pub(crate) entries: EntryQueue,
    /// All entries, also those in delivery.
    pub(crate) references: u32,
}

/// Entries first in, first out. The first one needs no memory of its own: nearly always it is the only one.
#[derive(Debug, Default)]
pub(crate) struct EntryQueue {
    first: Option<EntryKey>,
    /// Empty when there is no first one.
    rest: VecDeque<EntryKey>,
}

impl EntryQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(crate) fn front(&self) -> Option<EntryKey> {
        self.first
    }

    pub(crate) fn back(&self) -> Option<EntryKey> {
        self.rest.back().copied().or(self.first)
    }

    pub(crate) fn push_back(&mut self, entry: EntryKey) {
        match self.first {
            None => self.first = Some(entry),
            Some(_) => self.rest.push_back(entry),
        }
    }

    /// Takes an entry out, wherever it is.
    pub(crate) fn remove(&mut self, entry: EntryKey) {
        if self.first == Some(entry) {
            self.first = self.rest.pop_front();
        } else if let Some(place) = self.rest.iter().position(|other| *other == entry) {
            self.rest.remove(place);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &EntryKey> {
        self.first.iter().chain(&self.rest)
    }
}
