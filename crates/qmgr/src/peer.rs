//! Peers: what one job has for one destination.
//!
//! Promises: entries first in, first out. Peers of a job take turns in the order in which they joined it;
//! one that joins in the middle of a round gets its turn when the round is over.

use std::collections::VecDeque;

use slotmap::new_key_type;

use crate::destination::DestinationKey;
use crate::engine::Engine;
use crate::entry::EntryKey;
use crate::job::{Job, JobKey};

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

/// Distance between peers that joined before the first turn was taken.
const GAP: u64 = 1 << 32;
/// Newcomers that find room between two neighbours, about.
const ROOM: u64 = 1 << 20;

impl Engine {
    /// The job's peer for a destination, found or made.
    pub(crate) fn obtain_peer(&mut self, key: JobKey, destination: DestinationKey) -> PeerKey {
        if let Some(peer) = self.jobs[key].peers.get(destination) {
            return peer;
        }
        let place = self.place_of_newcomer(key);
        let fresh = Peer { job: key, destination, place, entries: EntryQueue::default(), references: 0 };
        let peer = self.peers.insert(fresh);
        self.jobs[key].peers.insert(destination, peer);
        peer
    }

    /// The place whose turn comes last: right behind the peer that had its turn last, with the round
    /// beginning behind the newcomer. Where there is no room left, the end of the line.
    fn place_of_newcomer(&mut self, key: JobKey) -> u64 {
        let Job { newest_place, cursor, round_starts, .. } = self.jobs[key];
        let behind = || self.jobs[key].peers.values().map(|peer| self.peers[peer].place);
        let next = round_starts.or_else(|| behind().filter(|place| *place > cursor).min());
        let step = next.map(|next| ((next - cursor) / ROOM).max(1));
        let job = &mut self.jobs[key];
        job.round_starts = next;
        match (next, step) {
            (Some(next), Some(step)) if cursor > 0 && cursor + step < next => job.cursor = cursor + step,
            _ => {
                job.newest_place = newest_place + GAP;
                if cursor > 0 && next.is_none() {
                    job.cursor = job.newest_place;
                }
                return job.newest_place;
            }
        }
        job.cursor
    }
}

/// Entries first in, first out. The first one needs no memory of its own: nearly always it is the only one.
#[derive(Debug, Default)]
pub(crate) struct EntryQueue {
    first: Option<EntryKey>,
    /// Holds none when there is no first one.
    #[expect(clippy::box_collection, reason = "a queue in place would make every peer half as large again")]
    rest: Option<Box<VecDeque<EntryKey>>>,
}

impl EntryQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(crate) fn front(&self) -> Option<EntryKey> {
        self.first
    }

    pub(crate) fn back(&self) -> Option<EntryKey> {
        self.rest.as_ref().and_then(|rest| rest.back()).copied().or(self.first)
    }

    pub(crate) fn push_back(&mut self, entry: EntryKey) {
        match self.first {
            None => self.first = Some(entry),
            Some(_) => self.rest.get_or_insert_default().push_back(entry),
        }
    }

    /// Takes an entry out, wherever it is.
    pub(crate) fn remove(&mut self, entry: EntryKey) {
        if self.first == Some(entry) {
            self.first = self.rest.as_mut().and_then(|rest| rest.pop_front());
        } else if let Some(rest) = &mut self.rest
            && let Some(place) = rest.iter().position(|other| *other == entry)
        {
            rest.remove(place);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &EntryKey> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }
}
