//! Everything that must always hold, in one place.
//!
//! Promises: looks at the whole state and names the first thing that is wrong. Refuses: to be fast.

use mail::Time;

use crate::destination::State;
use crate::engine::Engine;
use crate::event::Queue;
use crate::timer::Timer;
use crate::transport::{Lock, Transport};

/// Fails with a message unless the condition holds.
macro_rules! holds {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

impl Engine {
    /// Checks everything that must always hold; the message names what does not. Walks the whole state:
    /// for tests and the simulator.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_stubs()?;
        self.check_messages()?;
        self.check_destinations()?;
        self.check_timers()?;
        self.transports.iter().enumerate().try_for_each(|(index, here)| self.check_transport(index, here))
    }

    /// Every message is in exactly one place that something looks at.
    fn check_stubs(&self) -> Result<(), String> {
        let mut counts = [0; Queue::ALL.len()];
        let mut pairs = 0;
        for (id, stub) in self.stubs.after(None) {
            counts[stub.queue as usize] += 1;
            pairs += stub.sites.as_slice().len();
            holds!((stub.queue == Queue::Active) == self.active.contains_key(&id), "{id} is half active");
            for site in stub.sites.as_slice() {
                let name = self.record.name(*site).unwrap_or("?");
                holds!(self.record.contains(name, id), "{id} is not on record for {name}");
            }
        }
        for queue in Queue::ALL {
            holds!(counts[queue as usize] == self.stubs.count(queue), "count of {queue}");
        }
        holds!(
            self.stubs.due.len() as u64 == self.stubs.count(Queue::Deferred),
            "deferred mail without due time"
        );
        holds!(
            self.stubs.incoming.len() as u64 == self.stubs.count(Queue::Incoming),
            "incoming mail that is lost"
        );
        holds!(pairs <= self.record.len(), "pairs of site and message: {pairs} > {}", self.record.len());
        let exact = pairs == self.record.len() || !self.active.is_empty();
        holds!(exact, "the flush record has {} pairs, the queue {pairs}", self.record.len());
        Ok(())
    }

    /// Every message in memory waits for something that will come.
    fn check_messages(&self) -> Result<(), String> {
        let mut recipients = 0;
        let (mut reserved, mut reading) = (0, 0);
        for message in self.messages.values() {
            let reports = message.reporting.is_some() || message.early.is_some();
            let waits = message.entries > 0 || message.loading || reports;
            holds!(waits, "{} waits for nothing", message.id);
            let of_jobs: i64 = message.jobs.iter().map(|job| self.jobs[*job].recipient_count).sum();
            holds!(of_jobs == message.recipient_count, "{}: recipients of its jobs", message.id);
            recipients += message.recipient_count;
            reserved += message.reserved;
            reading += usize::from(message.loading);
        }
        holds!(
            recipients as u64 == self.recipients,
            "recipients in memory: {recipients}, {}",
            self.recipients
        );
        holds!(reserved == self.reserved, "recipients promised: {reserved}, {}", self.reserved);
        holds!(reading == self.reading, "messages being read: {reading}, {}", self.reading);
        let in_entries: usize = self.entries.values().map(|entry| entry.recipients.len()).sum();
        holds!(in_entries as u64 == self.recipients, "recipients in entries: {in_entries}");
        let selected = self.entries.values().filter(|entry| entry.selected.is_some()).count();
        holds!(
            selected == self.in_flight.len(),
            "deliveries in flight: {selected}, {}",
            self.in_flight.len()
        );
        Ok(())
    }

    /// What waits for a time has a timer, and there is no other timer.
    fn check_timers(&self) -> Result<(), String> {
        let mut timers = 0;
        let mut set = |at: Option<Time>, timer: Timer| {
            timers += usize::from(at.is_some());
            at.is_none_or(|at| self.timers.contains(&(at, timer)))
        };
        for (key, here) in &self.destinations {
            holds!(set(here.timer, Timer::Destination(key)), "{}: no timer", here.name);
        }
        for (index, here) in self.transports.iter().enumerate() {
            let dead = here.dead.as_ref().map(|(until, _)| *until);
            let waits = if let Lock::Waiting(until) = here.lock { Some(until) } else { None };
            holds!(set(dead, Timer::TransportDead(index)), "{}: dead for ever", here.name);
            holds!(set(waits, Timer::TransportRate(index)), "{}: locked for ever", here.name);
        }
        holds!(set(self.overtime.next, Timer::Overtime), "nobody looks at the mail that waits for room");
        let mut appointments = 0;
        for (key, message) in &self.messages {
            let id = message.id;
            holds!(set(message.report_due, Timer::BounceReport(key)), "{id}: no report is coming");
            let made = message.appointment.is_none_or(|at| self.appointments.contains_key(&(at, key)));
            holds!(made, "{id}: nobody keeps its appointment");
            appointments += usize::from(message.appointment.is_some());
        }
        holds!(timers == self.timers.len(), "{} timers for {timers} that wait", self.timers.len());
        let known = self.appointments.len();
        holds!(appointments == known, "{known} appointments of {appointments} messages");
        Ok(())
    }

    fn check_destinations(&self) -> Result<(), String> {
        for (key, here) in &self.destinations {
            let transport = &self.transports[here.transport];
            let name = &here.name;
            holds!(transport.destinations.get(name) == Some(&key), "{name} is not known to its transport");
            let of_here = || self.entries.values().filter(|entry| entry.destination == key);
            let busy = of_here().filter(|entry| entry.selected.is_some()).count();
            holds!(busy == here.busy as usize, "{name}: busy {} but {busy} deliveries", here.busy);
            holds!(of_here().count() == (here.busy + here.todo) as usize, "{name}: todo {}", here.todo);
            let limit = transport.rules.limit;
            holds!(limit == 0 || here.window() <= limit, "{name}: window {} over {limit}", here.window());
            match here.state {
                State::Ready(window) => holds!(window.size > 0, "{name}: ready without window"),
                State::Throttled { .. } => {
                    holds!(here.todo == 0, "{name}: dead with {} waiting", here.todo);
                    holds!(here.timer.is_some(), "{name}: dead for ever");
                }
                State::Suspended(_) => holds!(here.timer.is_some(), "{name}: suspended for ever"),
            }
            let shares = transport.shares_with(here, self.config.global.destination_process_share);
            let open = here.busy < here.window() && shares && here.todo > 0;
            holds!(open == here.ready.is_some(), "{name}: open {open} but ready {:?}", here.ready);
            for (at, peer) in here.peers.iter() {
                let peer = &self.peers[peer];
                holds!((self.jobs[peer.job].place, peer.place) == at, "{name}: a peer in the wrong place");
                holds!(!peer.entries.is_empty(), "{name}: a peer waits with nothing");
            }
        }
        Ok(())
    }

    fn check_transport(&self, index: usize, here: &Transport) -> Result<(), String> {
        let name = &here.name;
        let jobs = || self.jobs.iter().filter(|(_, job)| job.transport == index);
        let slots: i64 = jobs().map(|(_, job)| job.recipient_limit).sum::<i64>() + here.free_slots;
        let limit = i64::try_from(here.params.recipient_limit).unwrap_or(i64::MAX);
        holds!(slots == limit, "{name}: {slots} recipient slots of {limit}");
        let mut listed = 0;
        let (mut place, mut next) = (0, here.head);
        while let Some(key) = next {
            let job = &self.jobs[key];
            holds!(job.listed && job.place > place, "{name}: the list of jobs is out of order");
            (place, next) = (job.place, job.next);
            listed += 1;
        }
        holds!(listed == here.by_time.len(), "{name}: {listed} jobs listed, {} by time", here.by_time.len());
        for (key, job) in jobs() {
            holds!(job.listed || job.todo == 0, "{name}: a job with entries is not listed");
            for child in &job.children {
                holds!(self.jobs[*child].parent == Some(key), "{name}: a child without its parent");
            }
        }
        let ready =
            self.destinations.values().filter(|to| to.transport == index && to.ready.is_some()).count();
        holds!(
            ready == here.ready.len(),
            "{name}: {ready} destinations ready, {} on the list",
            here.ready.len()
        );
        let busy: u32 = self.destinations.values().filter(|to| to.transport == index).map(|to| to.busy).sum();
        holds!(busy == here.busy, "{name}: busy {} but {busy} deliveries", here.busy);
        Ok(())
    }
}
