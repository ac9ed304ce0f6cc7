//! Admission: which message enters memory next, and how many of its recipients (the leaky bucket).
//!
//! Promises: at most `qmgr_message_active_limit` messages in memory, and a few whose time has come while they
//! wait for room ([`crate::overtime`]); with room, incoming and deferred
//! take turns; after saturation new mail goes first. Recipients in memory are bounded by the recipient
//! limit and a minimum for each message, counting those that are being read right now. Of a thousand
//! messages whose time has come at once, [`READS_AT_ONCE_MAX`] are read at the same time: what ends meanwhile
//! never stands behind more than these.

use std::sync::Arc;

use mail::{Outcome, QueueId};
use smallvec::SmallVec;

use crate::effect::Effect;
use crate::engine::Engine;
use crate::entry::Assigned;
use crate::event::{Batch, LoadError, Pending, Queue, Stored};
use crate::few::FewMap;
use crate::job::JobKey;
use crate::message::{Activation, Message, MessageKey, Stub};
use crate::note::Note;
use crate::report::Via;
use crate::route::{self, Ruling};
use crate::scan::Source;

/// Most recipients that are read at once, so that reading one mailing does not keep others waiting.
const READ_MAX: u64 = 5000;
/// No message enters memory while so many are being read.
const READS_AT_ONCE_MAX: usize = 64;

impl Engine {
    /// Takes note of a message that exists. Returns whether it is new.
    pub(crate) fn add_stub(&mut self, stored: Stored) -> bool {
        let id = stored.id;
        if self.stubs.get(id).is_some() {
            return false;
        }
        let queue = if stored.queue == Queue::Active { Queue::Incoming } else { stored.queue };
        if let Some(entered) = stored.entered {
            self.entered.insert(id, entered);
        }
        let stub = Stub {
            arrived: stored.arrived,
            due: if queue == Queue::Deferred || queue == Queue::Hold { stored.due } else { stored.arrived },
            size: stored.size,
            attempts: stored.attempts,
            recipients: stored.recipients,
            unfinished: stored.unfinished,
            queue,
            flags: stored.flags,
            null_sender: stored.null_sender,
            released: false,
            logged: false,
            sites: std::iter::empty().collect(),
            reason: stored.reason.map(|reason| self.reasons.share(&reason)),
        };
        self.stubs.insert(id, stub);
        if queue == Queue::Corrupt {
            self.damaged_sites.insert(id, stored.sites);
        } else {
            self.record_sites(id, &stored.sites);
        }
        if queue == Queue::Deferred {
            // Whoever keeps the files of the logs writes them anew from the state at the start.
            self.enter_logs(id, stored.arrived);
            if stored.flags.site_wait {
                self.note_sleeper(id);
            }
        }
        true
    }

    /// Lets one message into memory. Returns whether there was one, and room for it.
    pub(crate) fn import_one(&mut self) -> bool {
        if self.stopping || self.reading >= READS_AT_ONCE_MAX {
            return false;
        }
        let limit = self.config.global.qmgr_message_active_limit;
        if self.active.len() as u64 >= limit {
            self.turn = Source::Incoming;
            return self.import_beyond_limit(limit);
        }
        let first = self.turn;
        for source in [first, first.other()] {
            let Some((id, activation)) = self.next_of(source) else { continue };
            self.activate(id, activation);
            let full = self.active.len() as u64 >= limit;
            self.turn = if full { Source::Incoming } else { source.other() };
            return true;
        }
        false
    }

    /// Brings a message into memory and asks for its recipients.
    pub(crate) fn activate(&mut self, id: QueueId, activation: Activation) {
        let Some(stub) = self.stubs.get(id) else { return };
        let (from, due) = (stub.queue, stub.due);
        let minimum = signed(self.config.global.qmgr_message_recipient_minimum);
        let message = Message {
            id,
            arrived: stub.arrived,
            null_sender: stub.null_sender,
            queued: self.entered.get(&id).copied().unwrap_or(self.now),
            activated: self.now,
            activation,
            entries: 0,
            busy: 0,
            loading: false,
            reserved: 0,
            next: Some(0),
            unread: stub.unfinished,
            last_read: self.now,
            recipient_limit: minimum,
            recipient_count: 0,
            jobs: SmallVec::new(),
            left: FewMap::new(),
            unsaved: Vec::new(),
            deferred: Vec::new(),
            bounced: Vec::new(),
            delivered: Vec::new(),
            attempted: false,
            deferred_itself: false,
            site_failed: false,
            waits_for: SmallVec::new(),
            untried: 0,
            reason: None,
            order: None,
            unreadable: None,
            failure_before: stub.flags.failure_due,
            success_before: stub.flags.success_due,
            reporting: None,
            report_due: None,
            early: None,
            appointment: None,
            time_over: false,
            told: false,
            site_names: None,
        };
        self.stubs.enter(id, Queue::Active, due);
        let key = self.messages.insert(message);
        self.active.insert(id, key);
        self.note(Note::Active { id, from });
        self.make_appointment(key);
        let global = &self.config.global;
        let room = global.qmgr_message_recipient_limit.saturating_sub(self.recipients + self.reserved);
        let most = room.max(global.qmgr_message_recipient_minimum);
        match self.fresh.remove(&id) {
            Some(batch) if batch.recipients.len() as u64 <= most => self.assign(key, batch),
            _ => self.load(key, most),
        }
    }

    fn load(&mut self, key: MessageKey, most: u64) {
        let message = &mut self.messages[key];
        let limit = most.clamp(1, READ_MAX);
        message.loading = true;
        self.reading += 1;
        message.reserved = limit.min(u64::from(message.unread));
        self.reserved += message.reserved;
        let from = message.next.unwrap_or(0);
        self.outbox.push_back(Effect::Load { id: message.id, from, limit: limit as u32 });
    }

    /// All that was read is done: the next piece.
    pub(crate) fn load_more(&mut self, key: MessageKey) {
        let message = &self.messages[key];
        let free = (message.recipient_limit - message.recipient_count).max(1);
        self.load(key, free as u64);
    }

    /// Reads more recipients while others are still to be delivered, when it is worth it. Returns whether
    /// it was. `has_turn`: the scheduler is looking for an entry of this job right now.
    pub(crate) fn read_ahead(&mut self, key: MessageKey, job: JobKey, has_turn: bool) -> bool {
        let message = &self.messages[key];
        if message.next.is_none() || message.loading || message.entries == 0 {
            return false;
        }
        if message.order.is_some() || message.unreadable.is_some() {
            return false;
        }
        let params = &self.transports[self.jobs[job].transport].params;
        let free = message.recipient_limit - message.recipient_count;
        let waited = message.last_read + params.recipient_refill_delay <= self.now;
        // Others may be for a destination that is open.
        let blocked = || has_turn && !self.has_ready(job);
        let worth_it = free >= signed(params.recipient_refill_limit) || waited || blocked();
        if free > 0 && worth_it {
            self.load(key, free as u64);
        }
        free > 0 && worth_it
    }

    /// Recipients were read, or not.
    pub(crate) fn loaded(&mut self, key: MessageKey, loaded: Result<Batch, LoadError>) {
        let message = &mut self.messages[key];
        if !message.loading {
            return;
        }
        message.loading = false;
        self.reading -= 1;
        self.reserved -= std::mem::take(&mut message.reserved);
        match loaded {
            Ok(batch) => self.assign(key, batch),
            Err(error) => {
                message.unreadable = Some(error);
                self.complete(key);
            }
        }
    }

    /// Resolves recipients and gives them to jobs, clustered by transport, destination and domain.
    fn assign(&mut self, key: MessageKey, batch: Batch) {
        let message = &mut self.messages[key];
        message.last_read = self.now;
        message.next = batch.next;
        let read = u32::try_from(batch.recipients.len()).unwrap_or(u32::MAX);
        message.unread = if batch.next.is_some() { message.unread.saturating_sub(read).max(1) } else { 0 };
        let mut named: Vec<(Arc<str>, Pending)> = Vec::with_capacity(batch.recipients.len());
        for pending in batch.recipients {
            let transport = self.transport(&pending.route.transport);
            let params = &self.transports[transport].params;
            named.push((route::destination_name(&self.config, params, &pending), pending));
        }
        named.sort_by(|(a_name, a), (b_name, b)| {
            let order = (&a.route.transport, a_name, &a.site, &a.address, a.position);
            order.cmp(&(&b.route.transport, b_name, &b.site, &b.address, b.position))
        });
        for (name, pending) in named {
            self.assign_one(key, &name, pending);
        }
        let message = &self.messages[key];
        let (jobs, fully_read) = (message.jobs.clone(), message.next.is_none());
        for job in jobs {
            if fully_read {
                self.move_limits(job);
            }
            self.stall_if_idle(job);
        }
        if self.messages[key].activation.over_time {
            self.serve_overtime(key);
        } else if self.messages[key].entries == 0 {
            self.complete(key);
        }
    }

    /// The number of a site that the message waits for, on record.
    fn site_of(&mut self, id: QueueId, name: &str) -> flush::SiteId {
        // Nearly always the one site of the message, which needs no look-up by name.
        let known = self.stubs.get(id).and_then(|stub| stub.sites.as_slice().first().copied());
        match known.filter(|site| self.record.name(*site) == Some(name)) {
            Some(site) => site,
            None => self.record.add(name, id),
        }
    }

    fn assign_one(&mut self, key: MessageKey, name: &Arc<str>, pending: Pending) {
        let message = &self.messages[key];
        let (id, activation) = (message.id, message.activation);
        let flags = self.stubs.get(id).map(|stub| stub.flags).unwrap_or_default();
        let site = self.site_of(id, &pending.site);
        let message = &mut self.messages[key];
        *message.left.entry(site, 0) += 1;
        if message.order.is_some() || activation.scope.is_some_and(|scope| scope != site) {
            message.untried += 1;
            return;
        }
        if flags.force_expire && pending.recorded {
            message.deferred.push(pending.position);
            message.deferred_itself = true;
            return;
        }
        let recipient = Assigned {
            position: pending.position,
            address: Arc::clone(&pending.address),
            site,
            notify_success: pending.notify_success,
            recorded: pending.recorded,
        };
        let transport = &pending.route.transport;
        let via = Via {
            transport: Arc::clone(transport),
            destination: Arc::clone(name),
            number: None,
            selected: None,
            site: None,
        };
        if self.messages[key].time_over {
            return self.give_up(key, &recipient, &via);
        }
        let ruling = route::rule(&self.config, &pending, flags.force_expire, activation.override_defer);
        if let Ruling::Decided(outcome) = ruling {
            return self.record_outcome(key, &recipient, outcome, &via);
        }
        let transport = self.transport(transport);
        if activation.revive {
            self.revive_transport(transport, "its mail was flushed");
        }
        if let Some((_, cause)) = &self.transports[transport].dead {
            let outcome = Outcome::deferred(mail::Scope::Transport, cause.status, Arc::clone(&cause.text));
            return self.record_outcome(key, &recipient, outcome, &via);
        }
        let destination = self.destination(transport, name, &pending.route.nexthop);
        if activation.revive {
            self.revive(destination, 0, "its mail was flushed");
        }
        if let Some(cause) = self.destinations[destination].throttled() {
            let outcome = Outcome::deferred(mail::Scope::Site, cause.status, cause.suspended_text());
            let via = Via { site: Some(destination), ..via };
            return self.record_outcome(key, &recipient, outcome, &via);
        }
        let job = self.obtain_job(key, transport);
        self.assign_recipient(job, destination, recipient);
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
