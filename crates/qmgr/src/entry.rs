//! Entries: one delivery request each, for one message, one destination and a few recipients.

use std::sync::Arc;
use std::time::Duration;

use flush::SiteId;
use mail::Time;
use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::destination::{DestinationKey, State};
use crate::effect::{Delivery, Effect, Reuse};
use crate::engine::Engine;
use crate::event::DeliveryNumber;
use crate::job::{Job, JobKey};
use crate::message::MessageKey;
use crate::note::Note;
use crate::peer::PeerKey;
use crate::transport::Lock;

new_key_type! {
    /// Names an entry.
    pub(crate) struct EntryKey;
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message: MessageKey,
    pub(crate) job: JobKey,
    pub(crate) peer: PeerKey,
    pub(crate) destination: DestinationKey,
    pub(crate) recipients: SmallVec<[Assigned; 1]>,
    /// When an agent took it.
    pub(crate) selected: Option<Time>,
}

/// A recipient on its way.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) position: u32,
    pub(crate) address: Arc<str>,
    pub(crate) site: SiteId,
    pub(crate) notify_success: bool,
    /// An earlier attempt is on record.
    pub(crate) recorded: bool,
}

/// Deliveries that follow each other within this time are back to back: their connection is kept.
const BACK_TO_BACK: Duration = Duration::from_secs(1);

/// A destination with more than this part of the active limit in entries is worth a warning.
const CLOG_SHARE: u64 = 5;

impl Engine {
    /// Gives a recipient to the last open entry of the job for this destination, or to a new one.
    pub(crate) fn assign_recipient(&mut self, job: JobKey, destination: DestinationKey, recipient: Assigned) {
        let message = self.jobs[job].message;
        let peer = self.obtain_peer(job, destination);
        let transport = &self.transports[self.jobs[job].transport];
        let most = usize::try_from(transport.params.destination_recipient_limit).unwrap_or(usize::MAX);
        let last = self.peers[peer].entries.back();
        let open = last.filter(|entry| most == 0 || self.entries[*entry].recipients.len() < most);
        match open {
            Some(entry) => self.entries[entry].recipients.push(recipient),
            None => {
                let recipients = SmallVec::from_iter([recipient]);
                let selected = None;
                let entry =
                    self.entries.insert(Entry { message, job, peer, destination, recipients, selected });
                self.append_entry(entry);
            }
        }
        self.jobs[job].recipient_count += 1;
        self.messages[message].recipient_count += 1;
        self.recipients += 1;
    }

    fn append_entry(&mut self, key: EntryKey) {
        let Entry { message, job, peer, destination, .. } = self.entries[key];
        self.peers[peer].entries.push_back(key);
        self.peers[peer].references += 1;
        self.jobs[job].todo += 1;
        self.jobs[job].read += 1;
        self.messages[message].entries += 1;
        self.transports[self.jobs[job].transport].todo += 1;
        let here = &mut self.destinations[destination];
        debug_assert!(here.throttled().is_none(), "a throttled destination gets no entries");
        here.todo += 1;
        if self.peers[peer].entries.len() == 1 {
            here.peers.insert((self.jobs[job].place, self.peers[peer].place), peer);
        }
        if matches!(here.state, State::Ready(_)) && here.timer.is_some() {
            self.set_timer(destination, None);
        }
        self.refresh_ready(destination);
        self.warn_of_clog(destination);
    }

    /// Lets a free agent of the transport take the entry whose turn it is. To be called when the transport
    /// is selectable; the choice is made here and not earlier. Where more recipients should be read first,
    /// so that entries are full, the turn is kept until that was asked for.
    pub(crate) fn select_entry(&mut self, transport: usize, turn_kept: bool) {
        if self.transports[transport].params.delivery_slot_cost >= 2 && !turn_kept {
            self.preempt(transport);
        }
        let ready = &self.transports[transport].ready;
        let Some((first, peer)) = ready.first() else { return };
        let job = self.peers[*peer].job;
        let Job { cursor, ref peers, .. } = self.jobs[job];
        let behind_cursor = if peers.has_several() { ready.at_least((first.0, cursor + 1)) } else { None };
        let peer = behind_cursor.filter(|(at, _)| at.0 == first.0).map_or(*peer, |(_, peer)| *peer);
        if self.read_before(job) {
            self.turn_kept = Some(transport);
            return;
        }
        let entry = self.peers[peer].entries.front().expect("a ready peer has entries");
        (self.jobs[job].cursor, self.jobs[job].round_starts) = (self.peers[peer].place, None);
        self.begin_entry(entry);
        self.retire_passed(job);
        let here = &mut self.transports[transport];
        if here.candidate.is_some_and(|cache| cache.of != job) {
            here.candidate = None;
        }
        here.current = Some(job);
        let slots = &mut self.jobs[job];
        slots.slots_available += 1;
        slots.slots_used += 1;
        self.deliver(entry);
        let message = self.jobs[job].message;
        self.read_when_dry(message, job);
        match self.messages[message].next {
            None if self.jobs[job].todo == 0 => self.retire_job(job),
            _ => self.stall_if_idle(job),
        }
    }

    /// Reads ahead for the job that is about to be selected, and for those in front of it that have nothing
    /// to do. Returns whether that was worth it for one of them.
    fn read_before(&mut self, job: JobKey) -> bool {
        let Job { transport, place, message, .. } = self.jobs[job];
        for index in 0..self.transports[transport].stalled.len() {
            let other = self.transports[transport].stalled[index];
            let Job { todo, place: before, message, .. } = self.jobs[other];
            if todo == 0 && before < place && self.read_ahead(message, other, true) {
                return true;
            }
        }
        self.read_ahead(message, job, true)
    }

    /// Reads on for a job that has nothing left to do: an agent may be free for it.
    fn read_when_dry(&mut self, message: MessageKey, job: JobKey) {
        if self.jobs[job].todo == 0 {
            self.read_ahead(message, job, false);
        }
    }

    /// Whether the job has an entry that could be selected.
    pub(crate) fn has_ready(&self, job: JobKey) -> bool {
        let Job { transport, place, todo, .. } = self.jobs[job];
        todo > 0 && self.transports[transport].ready.at_least((place, 0)).is_some_and(|(at, _)| at.0 == place)
    }

    /// Moves an entry from the front of its peer to the busy ones.
    fn begin_entry(&mut self, key: EntryKey) {
        self.take_from_todo(key);
        let Entry { message, destination, .. } = self.entries[key];
        self.entries[key].selected = Some(self.now);
        let now = self.now;
        let here = &mut self.destinations[destination];
        here.busy += 1;
        here.unanswered = here.unanswered.saturating_add(1);
        let back_to_back = here.last_done.is_some_and(|done| done + BACK_TO_BACK >= now);
        if !here.store && back_to_back {
            (here.load, here.store) = (true, true);
        } else if here.store && here.busy < 2 && !back_to_back {
            here.store = false;
        }
        let transport = &mut self.transports[here.transport];
        transport.busy += 1;
        if transport.lock == Lock::Due {
            transport.lock = Lock::Delivering;
        }
        self.messages[message].busy += 1;
        self.messages[message].attempted = true;
        self.attempt_begins(key);
        self.refresh_ready(destination);
    }

    /// Takes an entry off all to-do lists and counts it as selected.
    fn take_from_todo(&mut self, key: EntryKey) {
        let Entry { job, peer, destination, .. } = self.entries[key];
        let entries = &mut self.peers[peer].entries;
        entries.remove(key);
        let last = entries.is_empty();
        self.jobs[job].todo -= 1;
        self.jobs[job].selected += 1;
        self.transports[self.jobs[job].transport].todo -= 1;
        self.destinations[destination].todo -= 1;
        if last {
            let at = (self.jobs[job].place, self.peers[peer].place);
            self.destinations[destination].peers.remove(at);
        }
    }

    fn deliver(&mut self, key: EntryKey) {
        self.selections += 1;
        let number = DeliveryNumber(self.selections);
        self.in_flight.insert(number, key);
        let entry = &self.entries[key];
        let here = &self.destinations[entry.destination];
        self.outbox.push_back(Effect::Deliver(Delivery {
            number,
            id: self.messages[entry.message].id,
            transport: Arc::clone(&self.transports[here.transport].name),
            nexthop: here.nexthop.clone(),
            recipients: entry.recipients.iter().map(|recipient| recipient.position).collect(),
            reuse: Reuse { load: here.load, store: here.store },
        }));
    }

    /// What there is to log of a delivery that runs. Not sent like other notes: the request to deliver says
    /// nearly as much, and every selection would be said twice.
    pub fn selection(&self, number: DeliveryNumber) -> Option<Note> {
        let entry = &self.entries[*self.in_flight.get(&number)?];
        let here = &self.destinations[entry.destination];
        Some(Note::Select {
            n: number.0,
            number,
            id: self.messages[entry.message].id,
            transport: Arc::clone(&self.transports[here.transport].name),
            destination: Arc::clone(&here.name),
            recipients: u32::try_from(entry.recipients.len()).unwrap_or(u32::MAX),
        })
    }

    /// The end of an entry, delivered or not. What was decided about its recipients is on record already.
    /// May end the run of its message.
    pub(crate) fn finish_entry(&mut self, key: EntryKey) {
        let delivered = self.entries[key].selected.is_some();
        if !delivered {
            self.take_from_todo(key);
        }
        let Some(entry) = self.entries.remove(key) else { return };
        let Entry { message, job, peer, destination, recipients, .. } = entry;
        self.jobs[job].recipient_count -= recipients.len() as i64;
        self.messages[message].recipient_count -= recipients.len() as i64;
        self.recipients -= recipients.len() as u64;
        self.messages[message].entries -= 1;
        self.return_slots(message, job);
        self.drop_peer_reference(peer);
        if delivered {
            self.messages[message].busy -= 1;
            self.free_agent(destination);
        }
        self.refresh_ready(destination);
        self.retain(destination);
        self.stall_if_idle(job);
        if self.messages[message].entries == 0 {
            self.complete(message);
        } else {
            self.read_when_dry(message, job);
        }
    }

    /// Jobs that read no more give their recipient slots back.
    fn return_slots(&mut self, message: MessageKey, finished: JobKey) {
        let fully_read = self.messages[message].next.is_none();
        for job in self.messages[message].jobs.clone() {
            let spare = self.jobs[job].recipient_count < self.jobs[job].recipient_limit;
            if spare && (fully_read || (job != finished && !self.jobs[job].listed)) {
                self.move_limits(job);
            }
        }
    }

    fn drop_peer_reference(&mut self, key: PeerKey) {
        let peer = &mut self.peers[key];
        peer.references -= 1;
        if peer.references == 0 {
            let (job, destination) = (peer.job, peer.destination);
            self.jobs[job].peers.remove(destination);
            self.peers.remove(key);
        }
    }

    /// A delivery is over: the agent is free, and a rate delay begins.
    fn free_agent(&mut self, key: DestinationKey) {
        let here = &mut self.destinations[key];
        here.busy -= 1;
        here.unanswered = 0;
        here.last_done = Some(self.now);
        let throttled = here.throttled().is_some();
        let ready = matches!(here.state, State::Ready(_));
        let transport = &mut self.transports[here.transport];
        transport.busy -= 1;
        if transport.lock == Lock::Delivering {
            transport.lock = Lock::Open;
        }
        if transport.params.destination_rate_delay.is_zero() {
            return;
        }
        if throttled {
            self.revive(key, 0, "its rate delay decides when it is tried");
        }
        if ready || throttled {
            self.suspend(key);
        }
    }

    /// Says once in a while that one destination fills the active queue.
    fn warn_of_clog(&mut self, key: DestinationKey) {
        let here = &mut self.destinations[key];
        let limit = self.config.global.qmgr_message_active_limit;
        let interval = self.config.global.qmgr_clog_warn_time;
        let entries = u64::from(here.todo + here.busy);
        let recently = here.clog_warned.is_some_and(|at| at + interval > self.now);
        if interval.is_zero() || entries <= limit / CLOG_SHARE || recently {
            return;
        }
        here.clog_warned = Some(self.now);
        let (transport, destination) = (here.transport, Arc::clone(&here.name));
        let transport = Arc::clone(&self.transports[transport].name);
        self.note(Note::Clogged { transport, destination, entries, of: limit });
    }
}
