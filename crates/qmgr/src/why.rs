//! Views of the engine's state, and the one thing each message waits for.
//!
//! Promises: computed from the state itself at the moment of asking, never remembered. Looking changes
//! nothing.

use std::sync::Arc;

use mail::QueueId;

use crate::destination::{Destination, DestinationKey, State};
use crate::engine::Engine;
use crate::event::Queue;
use crate::message::{MessageKey, Reason, Stub};
use crate::site_flush;
use crate::transport::{Lock, Transport};
use crate::view::{Counts, DestinationState, MessageView, SiteView, TransportView, Why};

/// Messages of a site that are looked at for what they wait for.
const SITE_MAIL_LOOKED_AT: usize = 1000;

impl Engine {
    /// One message.
    pub fn message(&self, id: QueueId) -> Option<MessageView> {
        self.stubs.get(id).map(|stub| self.view_of(id, stub))
    }

    /// Up to `limit` messages in the order of their ids, starting behind `after`.
    pub fn messages_after(&self, after: Option<QueueId>, limit: usize) -> Vec<MessageView> {
        self.stubs.after(after).take(limit).map(|(id, stub)| self.view_of(id, stub)).collect()
    }

    fn view_of(&self, id: QueueId, stub: &Stub) -> MessageView {
        let active = self.active.get(&id).map(|key| &self.messages[*key]);
        let now = active.and_then(|message| message.reason.clone());
        MessageView {
            id,
            queue: stub.queue,
            arrived: stub.arrived,
            due: (stub.queue == Queue::Deferred).then_some(stub.due),
            attempts: stub.attempts,
            size: stub.size,
            null_sender: stub.null_sender,
            recipients: stub.recipients,
            unfinished: stub.unfinished,
            sites: match self.damaged_sites.get(&id) {
                Some(sites) => sites.clone(),
                None => self.site_names(&stub.sites),
            },
            flags: stub.flags,
            reason: now.or_else(|| stub.reason.as_ref().map(Reason::text)),
            delivering: active.map_or(0, |message| message.busy),
        }
    }

    /// All destinations, by transport and name.
    pub fn sites(&self) -> Vec<SiteView> {
        let keys =
            self.transport_names.values().flat_map(|index| self.transports[*index].destinations.values());
        keys.map(|key| self.site_view(&self.destinations[*key])).collect()
    }

    fn site_view(&self, destination: &Destination) -> SiteView {
        let until = destination.timer.unwrap_or(self.now);
        let state = match &destination.state {
            State::Ready(window) => DestinationState::Ready { window: window.size },
            State::Suspended(_) => DestinationState::Suspended { until },
            State::Throttled { since, cause } => {
                DestinationState::Throttled { since: *since, until, reason: cause.line() }
            }
        };
        SiteView {
            transport: Arc::clone(&self.transports[destination.transport].name),
            destination: Arc::clone(&destination.name),
            state,
            todo: destination.todo,
            busy: destination.busy,
            waiting: destination.waiting.len() as u64,
            last_done: destination.last_done,
        }
    }

    /// All transports, by name.
    pub fn transports(&self) -> Vec<TransportView> {
        let by_name = self.transport_names.values().map(|index| &self.transports[*index]);
        by_name.map(Transport::view).collect()
    }

    /// How many messages have unfinished mail for each site: the record of flush(8), of all sites.
    pub fn recorded_sites(&self) -> Vec<(Arc<str>, u64)> {
        site_flush::recorded_sites(&self.record)
    }

    /// The messages with unfinished mail for a site, oldest first, starting behind `after`.
    pub fn recorded_messages(&self, site: &str, after: Option<QueueId>, limit: usize) -> Vec<QueueId> {
        self.record.waiting_after(site, after).take(limit).collect()
    }

    /// Messages by queue.
    pub fn counts(&self) -> Counts {
        Counts {
            incoming: self.stubs.count(Queue::Incoming),
            active: self.stubs.count(Queue::Active),
            deferred: self.stubs.count(Queue::Deferred),
            hold: self.stubs.count(Queue::Hold),
            corrupt: self.stubs.count(Queue::Corrupt),
            recipients: self.recipients,
            delivering: self.in_flight.len() as u64,
            all_stored: self.all_stored,
        }
    }

    /// What a message waits for.
    pub fn why_message(&self, id: QueueId) -> Why {
        let Some(stub) = self.stubs.get(id) else { return Why::Unknown };
        let full = Why::ActiveLimit { limit: self.config.global.qmgr_message_active_limit };
        match stub.queue {
            Queue::Hold => Why::Hold,
            Queue::Corrupt => Why::Corrupt { reason: stub.reason.as_ref().map(Reason::text) },
            Queue::Incoming => full,
            Queue::Deferred if stub.released => Why::FlushPending,
            Queue::Deferred if stub.due <= self.now && (self.is_full() || self.is_exact()) => full,
            Queue::Deferred => self.why_deferred(id, stub),
            Queue::Active => self.active.get(&id).map_or(Why::Unknown, |key| self.why_active(*key)),
        }
    }

    fn why_deferred(&self, id: QueueId, stub: &Stub) -> Why {
        let waits_for = |destination: &&Destination| destination.waiting.contains(&id);
        let dead = self.destinations.values().filter(|_| stub.flags.site_wait).find(waits_for);
        let dead = dead.and_then(|destination| self.why_dead(destination));
        // What is due waits for the next scan, where there are scans.
        let scan = self.next_deferred_time().filter(|_| stub.due <= self.now);
        dead.unwrap_or_else(|| Why::Due {
            at: scan.unwrap_or(stub.due),
            reason: stub.reason.as_ref().map(Reason::text),
        })
    }

    fn is_full(&self) -> bool {
        self.active.len() as u64 >= self.config.global.qmgr_message_active_limit
    }

    /// Whether deferred mail is taken at its due time and not by a scan.
    fn is_exact(&self) -> bool {
        self.config.global.queue_run_delay.is_zero()
    }

    fn why_active(&self, key: MessageKey) -> Why {
        let message = &self.messages[key];
        if message.busy > 0 {
            return Why::BeingDelivered { deliveries: message.busy };
        }
        let early = message.entries == 0 && message.early.is_some();
        if early || message.reporting.is_some() {
            return Why::Reporting;
        }
        if message.entries == 0 {
            return Why::Loading;
        }
        if self.paused {
            return Why::Paused;
        }
        let peers = message.jobs.iter().flat_map(|job| self.jobs[*job].peers.values());
        let mut waiting = peers.filter(|peer| !self.peers[*peer].entries.is_empty());
        waiting.next().map_or(Why::Unknown, |peer| self.why_waiting(self.peers[peer].destination))
    }

    /// What an entry for this destination waits for.
    fn why_waiting(&self, key: DestinationKey) -> Why {
        let here = &self.destinations[key];
        let transport = &self.transports[here.transport];
        let name = Arc::clone(&transport.name);
        let shares = transport.shares_with(here, self.config.global.destination_process_share);
        let limit = transport.params.process_limit;
        let agents = limit != 0 && u64::from(transport.busy) >= limit;
        let until = here.timer.unwrap_or(self.now);
        match (&here.state, transport.lock) {
            (State::Suspended(_), _) => Why::RateDelay { transport: name, until },
            (_, Lock::Waiting(until)) => Why::RateDelay { transport: name, until },
            (State::Ready(window), _) if here.busy >= window.size => {
                let destination = Arc::clone(&here.name);
                Why::WindowFull { transport: name, destination, window: window.size }
            }
            (_, Lock::Delivering) => Why::AgentsBusy { transport: name, busy: transport.busy },
            _ if agents || !shares => Why::AgentsBusy { transport: name, busy: transport.busy },
            _ => Why::Turn { transport: name },
        }
    }

    fn why_dead(&self, destination: &Destination) -> Option<Why> {
        let State::Throttled { since, cause } = &destination.state else { return None };
        Some(Why::SiteDead {
            transport: Arc::clone(&self.transports[destination.transport].name),
            destination: Arc::clone(&destination.name),
            since: *since,
            until: destination.timer.unwrap_or(self.now),
            reason: cause.line(),
        })
    }

    /// What the mail of a site waits for: a destination of that name, or the oldest message with mail for
    /// the site.
    pub fn why_site(&self, site: &str) -> Why {
        let by_name = self.transport_names.values().map(|index| &self.transports[*index]);
        let known: Vec<DestinationKey> =
            by_name.filter_map(|transport| transport.destinations.get(site).copied()).collect();
        let dead = known.iter().find_map(|key| self.why_dead(&self.destinations[*key]));
        let waiting = known.iter().find(|key| self.destinations[**key].todo > 0);
        let busy = known.iter().map(|key| self.destinations[*key].busy).sum();
        match (dead, waiting) {
            (Some(dead), _) => dead,
            (None, Some(key)) => self.why_waiting(*key),
            (None, None) if busy > 0 => Why::BeingDelivered { deliveries: busy },
            (None, None) => match self.why_waiting_mail(site) {
                Some(why) => why,
                None if known.is_empty() => Why::Unknown,
                None => Why::Idle,
            },
        }
    }

    /// What the mail of a site waits for whose destination has another name (a relay host): its oldest
    /// message that waits in memory or is to get there, else that some is being delivered, else what its
    /// oldest message waits for.
    fn why_waiting_mail(&self, site: &str) -> Option<Why> {
        let causes = self.record.waiting(site).take(SITE_MAIL_LOOKED_AT).map(|id| self.why_message(id));
        let (mut first, mut delivering) = (None, None);
        for why in causes {
            match why {
                Why::BeingDelivered { .. } => delivering = delivering.or(Some(why)),
                Why::Due { .. } | Why::Hold | Why::Corrupt { .. } => first = first.or(Some(why)),
                _ => return Some(why),
            }
        }
        delivering.or(first)
    }
}

impl Transport {
    fn view(&self) -> TransportView {
        TransportView {
            transport: Arc::clone(&self.name),
            busy: self.busy,
            process_limit: self.params.process_limit,
            todo: self.todo,
            jobs: self.by_time.len() as u64,
            destinations: self.destinations.len() as u64,
            free_recipient_slots: self.free_slots,
            dead: self.dead.as_ref().map(|(until, cause)| (*until, cause.line())),
            locked_until: if let Lock::Waiting(until) = self.lock { Some(until) } else { None },
        }
    }
}
