//! Jobs: one message's work for one transport, and the list in which the scheduler looks at them.
//!
//! Promises: jobs that nobody overtook stand in the order in which their messages entered memory. Each
//! job has a place, a number that grows along the list, so that "the first job in the list that has
//! something for a free destination" is a look-up ([`Transport::ready`](crate::transport::Transport))
//! and not a walk. A job with entries to do is on the list.
//!
//! Where Postfix marks what a walk passed over as *blockers*, here a job in front of the current one is
//! blocked by definition; when one of them can go on, the list is looked at from its head again. Only when
//! the current job becomes one that stands further in front are those between the two marked.

use mail::{AscendingMap, Time};
use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::destination::DestinationKey;
use crate::engine::Engine;
use crate::few::FewMap;
use crate::message::MessageKey;
use crate::peer::PeerKey;

new_key_type! {
    /// Names a job.
    pub(crate) struct JobKey;
}

/// One job. Its counters survive leaving the list.
#[derive(Debug)]
#[repr(C)] // What every selection looks at comes first, in few cache lines.
pub(crate) struct Job {
    pub(crate) message: MessageKey,
    pub(crate) transport: usize,
    pub(crate) previous: Option<JobKey>,
    pub(crate) next: Option<JobKey>,
    /// Its place on the list: greater than that of all jobs before it.
    pub(crate) place: u64,
    pub(crate) cursor: u64,
    pub(crate) slots_used: i64,
    pub(crate) slots_available: i64,
    /// Entries ever selected, and ever read.
    pub(crate) selected: i64,
    /// Entries to do.
    pub(crate) todo: u32,
    pub(crate) level: u32,
    /// On the scheduler's list.
    pub(crate) listed: bool,
    /// It was passed over in this round of the transport, for lack of an open destination.
    pub(crate) blocked: u64,
    pub(crate) peers: FewMap<DestinationKey, PeerKey>,
    pub(crate) recipient_count: i64,
    pub(crate) recipient_limit: i64,
    /// When the message entered memory, and a number that tells apart those of one instant.
    pub(crate) queued: (Time, u64),
    /// The first place behind the cursor that was taken before newcomers joined, once it is known.
    pub(crate) round_starts: Option<u64>,
    /// Whom it overtook.
    pub(crate) parent: Option<JobKey>,
    pub(crate) children: Vec<JobKey>,
    pub(crate) read: i64,
    /// The place of the newest peer, and of the one selected last.
    pub(crate) newest_place: u64,
}

/// Distance between neighbours that are appended.
const GAP: u64 = 1 << 32;

/// A place between two neighbours, nearer to the first, because overtaking jobs queue up in front of the
/// one they overtake. Nothing when there is no room.
fn place_between(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    let low = before.unwrap_or(0);
    match after {
        None => low.checked_add(GAP),
        Some(high) => {
            let room = high - low;
            (room >= 2).then(|| low + (room / 16).max(1))
        }
    }
}

impl Engine {
    /// The job of a message for a transport, on the list.
    pub(crate) fn obtain_job(&mut self, message: MessageKey, transport: usize) -> JobKey {
        let jobs = &self.messages[message].jobs;
        let found = jobs.iter().copied().find(|job| self.jobs[*job].transport == transport);
        let job = found.unwrap_or_else(|| {
            self.sequence += 1;
            let job =
                self.jobs.insert(Job::new(message, transport, self.messages[message].queued, self.sequence));
            self.messages[message].jobs.push(job);
            job
        });
        if !self.jobs[job].listed {
            self.link_job(job);
        }
        self.transports[transport].candidate = None;
        self.look_again(job);
        job
    }

    /// A job that was passed over for lack of an open destination may have one now: the list is looked at
    /// from its head. Those that were passed over with it stay blocked.
    fn look_again(&mut self, key: JobKey) {
        let here = &self.transports[self.jobs[key].transport];
        let round = here.blocked_round;
        let Some(current) = here.current else { return };
        let marked = self.jobs[key].blocked == round;
        if self.jobs[key].place >= self.jobs[current].place && !marked {
            return;
        }
        let mut next = here.head;
        while let Some(passed) = next.filter(|passed| *passed != current) {
            self.jobs[passed].blocked = round;
            next = self.jobs[passed].next;
        }
        self.jobs[key].blocked = 0;
        let here = &mut self.transports[self.jobs[key].transport];
        (here.current, here.blocked) = (here.head, true);
    }

    /// Puts a job on the list behind all that entered memory before it, and gives it all free slots.
    fn link_job(&mut self, job: JobKey) {
        let (transport, queued) = (self.jobs[job].transport, self.jobs[job].queued);
        let round = self.transports[transport].blocked_round;
        let current = self.transports[transport].current;
        let mut passed = current.is_none();
        let mut before = self.transports[transport].tail;
        let mut after = None;
        while let Some(neighbour) = before {
            let other = &self.jobs[neighbour];
            if other.parent.is_none() && other.queued.0 <= queued.0 {
                break;
            }
            (after, before) = (before, other.previous);
            if passed {
                self.jobs[neighbour].blocked = round;
            }
            passed |= current == Some(neighbour);
        }
        self.insert_job(job, before, after);
        let here = &mut self.transports[transport];
        if passed {
            (here.current, here.blocked) = (Some(job), true);
        }
        here.by_time.insert(queued, job);
        let unread = here.next_unread;
        let passed = unread.is_none_or(|unread| self.jobs[unread].queued > queued);
        if passed {
            self.transports[transport].next_unread = Some(job);
            if let Some(former) = unread {
                self.move_limits(former);
            }
        }
        let free = self.transports[transport].free_slots;
        if free > 0 {
            self.grant_slots(job, free);
        }
    }

    /// Moves recipient slots from the transport to a job.
    pub(crate) fn grant_slots(&mut self, job: JobKey, slots: i64) {
        let job = &mut self.jobs[job];
        job.recipient_limit += slots;
        self.messages[job.message].recipient_limit += slots;
        self.transports[job.transport].free_slots -= slots;
    }

    /// Takes back the slots a job does not use, for the oldest job that can use them.
    pub(crate) fn move_limits(&mut self, key: JobKey) {
        let transport = self.jobs[key].transport;
        if self.transports[transport].next_unread == Some(key) {
            let queued = self.jobs[key].queued;
            let unread = |job: &JobKey| self.messages[self.jobs[*job].message].next.is_some();
            let next =
                self.transports[transport].by_time.after(Some(queued)).map(|(_, job)| *job).find(unread);
            self.transports[transport].next_unread = next;
        }
        let job = &mut self.jobs[key];
        let message = &mut self.messages[job.message];
        let of_message = message.recipient_limit - message.recipient_count;
        let unused = (job.recipient_limit - job.recipient_count).min(of_message);
        if unused <= 0 {
            return;
        }
        job.recipient_limit -= unused;
        message.recipient_limit -= unused;
        let here = &mut self.transports[transport];
        here.free_slots += unused;
        if let (Some(next), true) = (here.next_unread, here.free_slots > 0) {
            let free = here.free_slots;
            self.grant_slots(next, free);
        }
    }

    /// Takes a job without entries off the lists. Its counters stay, in case more is read.
    pub(crate) fn retire_job(&mut self, key: JobKey) {
        if self.jobs[key].level > 0 {
            self.pop_job(key);
        }
        self.move_limits(key);
        for child in std::mem::take(&mut self.jobs[key].children) {
            self.jobs[child].parent = None;
        }
        self.unlist_job(key);
        let (transport, queued) = (self.jobs[key].transport, self.jobs[key].queued);
        self.jobs[key].listed = false;
        let here = &mut self.transports[transport];
        here.by_time.remove(&queued);
        here.stalled.retain(|other| *other != key);
        if here.candidate.is_some_and(|cache| cache.of == key || cache.best == Some(key)) {
            here.candidate = None;
        }
    }

    /// Notes a job that has nothing to do: it keeps its place, in case more is read, until another one
    /// behind it is selected.
    pub(crate) fn stall_if_idle(&mut self, key: JobKey) {
        let job = &self.jobs[key];
        let stalled = &mut self.transports[job.transport].stalled;
        if job.listed && job.todo == 0 && !stalled.contains(&key) {
            stalled.push(key);
        }
    }

    /// Retires the jobs in front of the one that is selected that still have nothing to do.
    pub(crate) fn retire_passed(&mut self, selected: JobKey) {
        let transport = self.jobs[selected].transport;
        if self.transports[transport].stalled.is_empty() {
            return;
        }
        let mut stalled = std::mem::take(&mut self.transports[transport].stalled);
        stalled.retain(|key| self.jobs[*key].todo == 0);
        let place = self.jobs[selected].place;
        let waits = |job: &Job| job.place >= place || self.messages[job.message].loading;
        let (kept, passed): (SmallVec<_>, SmallVec<[_; 1]>) =
            stalled.into_iter().partition(|key| waits(&self.jobs[*key]));
        self.transports[transport].stalled = kept;
        for job in passed {
            self.retire_job(job);
        }
    }

    /// Forgets a job together with its message: all its slots go back.
    pub(crate) fn free_job(&mut self, key: JobKey) {
        if self.jobs[key].listed {
            self.retire_job(key);
        }
        self.move_limits(key);
        debug_assert_eq!(self.jobs[key].recipient_limit, 0, "recipient slots of a job that ends");
        self.jobs.remove(key);
    }

    /// Takes a job out of the scheduler's list; the one behind it becomes current if it was.
    pub(crate) fn unlist_job(&mut self, key: JobKey) {
        let (previous, next) = (self.jobs[key].previous.take(), self.jobs[key].next.take());
        let here = &mut self.transports[self.jobs[key].transport];
        if here.current == Some(key) {
            here.current = next;
        }
        match previous {
            Some(previous) => self.jobs[previous].next = next,
            None => here.head = next,
        }
        match next {
            Some(next) => self.jobs[next].previous = previous,
            None => here.tail = previous,
        }
    }

    /// Puts a job between two neighbours of the list.
    pub(crate) fn insert_job(&mut self, key: JobKey, before: Option<JobKey>, after: Option<JobKey>) {
        let place =
            place_between(before.map(|job| self.jobs[job].place), after.map(|job| self.jobs[job].place));
        let job = &mut self.jobs[key];
        (job.previous, job.next, job.listed) = (before, after, true);
        let here = &mut self.transports[job.transport];
        match before {
            Some(before) => self.jobs[before].next = Some(key),
            None => here.head = Some(key),
        }
        match after {
            Some(after) => self.jobs[after].previous = Some(key),
            None => here.tail = Some(key),
        }
        match place {
            Some(place) => self.place_job(key, place),
            None => self.renumber(self.jobs[key].transport),
        }
    }

    /// Gives a job another place, and its waiting peers with it.
    fn place_job(&mut self, key: JobKey, place: u64) {
        let old = std::mem::replace(&mut self.jobs[key].place, place);
        if self.jobs[key].todo == 0 {
            return;
        }
        let peers: Vec<PeerKey> = self.jobs[key].peers.values().collect();
        for peer in peers.into_iter().filter(|peer| !self.peers[*peer].entries.is_empty()).collect::<Vec<_>>()
        {
            let (destination, of_peer) = (self.peers[peer].destination, self.peers[peer].place);
            self.destinations[destination].peers.remove((old, of_peer));
            self.destinations[destination].peers.insert((place, of_peer), peer);
            self.refresh_ready(destination);
        }
    }

    /// Spreads the places of all jobs of a transport evenly. Rare: after hundreds of jobs overtook the
    /// same one, or billions were appended.
    fn renumber(&mut self, transport: usize) {
        let destinations: Vec<DestinationKey> =
            self.transports[transport].destinations.values().copied().collect();
        for destination in &destinations {
            self.destinations[*destination].peers.clear();
            self.destinations[*destination].ready = None;
        }
        self.transports[transport].ready = AscendingMap::new();
        let mut place = 0;
        let mut next = self.transports[transport].head;
        while let Some(key) = next {
            place += GAP;
            self.jobs[key].place = place;
            next = self.jobs[key].next;
            for peer in self.jobs[key].peers.values().filter(|peer| !self.peers[*peer].entries.is_empty()) {
                let here = &self.peers[peer];
                self.destinations[here.destination].peers.insert((place, here.place), peer);
            }
        }
        for destination in destinations {
            self.refresh_ready(destination);
        }
    }

    /// Brings a destination's place in the set of what can be selected up to date. To be called whenever
    /// its state, its counts or its first waiting peer may have changed.
    pub(crate) fn refresh_ready(&mut self, key: DestinationKey) {
        let destination = &self.destinations[key];
        let transport = &mut self.transports[destination.transport];
        let share = self.config.global.destination_process_share;
        let open = destination.busy < destination.window() && transport.shares_with(destination, share);
        let ready = destination.peers.first().filter(|_| open);
        let before = destination.ready;
        if before == ready.map(|(at, _)| at) {
            return;
        }
        if let Some(before) = before {
            transport.ready.remove(&before);
        }
        if let Some((at, peer)) = ready {
            transport.ready.insert(at, peer);
            let passed = transport.current.is_none_or(|current| at.0 < self.jobs[current].place);
            if before.is_none() && (passed || self.blocks(key)) {
                let transport = &mut self.transports[self.destinations[key].transport];
                (transport.current, transport.candidate) = (transport.head, None);
                (transport.blocked_round, transport.blocked) = (transport.blocked_round + 1, false);
            }
        }
        self.destinations[key].ready = ready.map(|(at, _)| at);
    }

    /// Whether a job that is marked as blocked waits for the destination.
    fn blocks(&self, key: DestinationKey) -> bool {
        let destination = &self.destinations[key];
        let here = &self.transports[destination.transport];
        let marked = |peer: PeerKey| self.jobs[self.peers[peer].job].blocked == here.blocked_round;
        here.blocked && destination.peers.values().any(marked)
    }
}

impl Job {
    fn new(message: MessageKey, transport: usize, queued: Time, sequence: u64) -> Job {
        Job {
            message,
            transport,
            queued: (queued, sequence),
            listed: false,
            blocked: 0,
            previous: None,
            next: None,
            place: 0,
            parent: None,
            children: Vec::new(),
            level: 0,
            slots_used: 0,
            slots_available: 0,
            selected: 0,
            read: 0,
            todo: 0,
            recipient_count: 0,
            recipient_limit: 0,
            peers: FewMap::new(),
            newest_place: 0,
            cursor: 0,
            round_starts: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_hundreds_in_front_of_one() {
        let (mut low, high) = (place_between(None, None), Some(2 * GAP));
        for _ in 0..300 {
            let place = place_between(low, high);
            assert!(place > low && place < high);
            low = place;
        }
        assert_eq!(place_between(Some(4), Some(5)), None);
        assert_eq!(place_between(Some(4), Some(6)), Some(5));
        assert_eq!(place_between(Some(u64::MAX - 1), None), None);
    }
}
