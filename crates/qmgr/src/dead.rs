//! The destination status cache: dead destinations, rate delays, windows that outlive their mail, and what
//! happens when a destination recovers.
//!
//! Promises: a throttled destination gets no entries; what waited for it is deferred with the reason; its
//! death ends by time, by success, or by order, and then the mail that was deferred only for its sake is
//! woken: one message as a probe, more with each good delivery. The cache is bounded by twice the
//! recipient limit.

use std::sync::Arc;

use mail::{Outcome, QueueId, Scope};

use crate::destination::{Cause, Destination, DestinationKey, State};
use crate::engine::Engine;
use crate::entry::EntryKey;
use crate::feedback::Window;
use crate::note::{Note, Place};
use crate::timer::Timer;

impl Engine {
    /// Finds or creates a destination.
    pub(crate) fn destination(
        &mut self,
        transport: usize,
        name: &Arc<str>,
        nexthop: &Arc<str>,
    ) -> DestinationKey {
        if let Some(key) = self.transports[transport].destinations.get(name) {
            return *key;
        }
        let window = self.transports[transport].rules.initial;
        let fresh = Destination::new(transport, Arc::clone(name), Arc::clone(nexthop).into(), window);
        let key = self.destinations.insert(fresh);
        let destinations = &mut self.transports[transport].destinations;
        destinations.insert(Arc::clone(name), key);
        // Shares of agents begin to matter with the second destination.
        if destinations.len() == 2 {
            self.refresh_all_ready(transport);
        }
        key
    }

    pub(crate) fn refresh_all_ready(&mut self, transport: usize) {
        let all: Vec<DestinationKey> = self.transports[transport].destinations.values().copied().collect();
        for key in all {
            self.refresh_ready(key);
        }
    }

    /// A good completion: growth of the window, or the end of death.
    pub(crate) fn site_answers(&mut self, key: DestinationKey) {
        let destination = &mut self.destinations[key];
        destination.probing = false;
        let rules = self.transports[destination.transport].rules;
        let (busy, before) = (destination.busy, destination.window());
        match &mut destination.state {
            State::Ready(window) => {
                window.succeed(&rules, busy);
                self.note_window(key, before);
            }
            State::Throttled { .. } => self.revive(key, busy, "delivery succeeded"),
            State::Suspended(_) => {}
        }
        self.note_feedback(key, "success", before);
        self.wake(key);
    }

    /// A failure of the site: the window shrinks, perhaps the destination dies.
    pub(crate) fn site_fails(&mut self, key: DestinationKey, cause: &Cause) {
        let destination = &mut self.destinations[key];
        let rules = self.transports[destination.transport].rules;
        let before = destination.window();
        let State::Ready(window) = &mut destination.state else { return };
        // While it is only being probed, one failure is answer enough.
        let dead = window.fail(&rules) || (destination.probing && rules.cohort_limit > 0.0);
        self.note_feedback(key, "failure", before);
        let destination = &mut self.destinations[key];
        if dead {
            destination.state = State::Throttled { since: self.now, cause: cause.clone() };
            (destination.probing, destination.recovering) = (false, true);
            (destination.load, destination.store) = (false, false);
            self.set_timer(key, Some(self.now + self.config.global.minimal_backoff_time));
        }
        self.note_window(key, before);
        if dead {
            let place = self.place(key);
            self.note(Note::Dead { place, reason: cause.line() });
        }
        self.refresh_ready(key);
    }

    /// Ends the death of a destination, with a window of what is running, or the initial one.
    pub(crate) fn revive(&mut self, key: DestinationKey, busy: u32, why: &str) {
        let destination = &mut self.destinations[key];
        if destination.throttled().is_none() {
            return;
        }
        let initial = self.transports[destination.transport].rules.initial;
        destination.state = State::Ready(Window::new(if busy > 0 { busy } else { initial }));
        self.set_timer(key, None);
        let place = self.place(key);
        self.note(Note::Alive { place, reason: why.into() });
        self.note_window(key, 0);
        self.refresh_ready(key);
    }

    /// The timer of a destination: its death or rate delay is over, or it is forgotten.
    pub(crate) fn destination_timeout(&mut self, key: DestinationKey) {
        let Some(destination) = self.destinations.get_mut(key) else { return };
        destination.timer = None;
        match destination.state {
            State::Throttled { .. } => {
                self.revive(key, 0, "it is time to try again");
                self.probe(key);
            }
            State::Suspended(window) => self.resume(key, window),
            State::Ready(_) => self.forget(key),
        }
        self.retain(key);
    }

    /// A rate delay begins.
    pub(crate) fn suspend(&mut self, key: DestinationKey) {
        let delay = self.transports[self.destinations[key].transport].params.destination_rate_delay;
        let State::Ready(window) = self.destinations[key].state else { return };
        self.destinations[key].state = State::Suspended(window);
        self.set_timer(key, Some(self.now + delay));
        let place = self.place(key);
        self.note(Note::Suspended { place });
        self.refresh_ready(key);
    }

    fn resume(&mut self, key: DestinationKey, window: Window) {
        self.destinations[key].state = State::Ready(window.resumed());
        let place = self.place(key);
        self.note(Note::Resumed { place });
        self.refresh_ready(key);
    }

    /// Decides what becomes of a destination without entries: forgotten at once, or kept for a while for
    /// what was learned about it.
    pub(crate) fn retain(&mut self, key: DestinationKey) {
        let Some(destination) = self.destinations.get(key) else { return };
        if !destination.is_empty() {
            return;
        }
        let crowded = self.destinations.len() as u64 > 2 * self.config.global.qmgr_message_recipient_limit;
        match destination.state {
            State::Throttled { .. } if crowded => {
                self.revive(key, 0, "too many dead destinations to remember");
                self.forget(key);
            }
            State::Ready(_) => {
                let keep = self.config.global.keep_learned_concurrency;
                let waited_for = !destination.waiting.is_empty();
                if crowded || (keep.is_zero() && !waited_for) {
                    self.forget(key);
                } else if destination.timer.is_none() {
                    self.set_timer(key, Some(self.now + keep));
                }
            }
            State::Throttled { .. } | State::Suspended(_) => {}
        }
    }

    /// Forgets a ready destination, if it has no entries.
    fn forget(&mut self, key: DestinationKey) {
        if !self.destinations[key].is_empty() {
            return;
        }
        self.set_timer(key, None);
        let Some(destination) = self.destinations.remove(key) else { return };
        let destinations = &mut self.transports[destination.transport].destinations;
        destinations.remove(&destination.name);
        if destinations.len() == 1 {
            self.refresh_all_ready(destination.transport);
        }
    }

    /// Sets or ends the one timer of a destination.
    pub(crate) fn set_timer(&mut self, key: DestinationKey, at: Option<mail::Time>) {
        let destination = &mut self.destinations[key];
        if let Some(before) = std::mem::replace(&mut destination.timer, at) {
            self.timers.remove(&(before, Timer::Destination(key)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Timer::Destination(key)));
        }
    }

    /// Defers all that waits for a destination, without asking an agent. `for_site` says that the
    /// destination is dead, and not its whole transport.
    pub(crate) fn defer_todo(&mut self, key: DestinationKey, cause: &Cause, for_site: bool) {
        let peers = self.destinations[key].peers.values();
        let entries: Vec<EntryKey> =
            peers.flat_map(|peer| self.peers[peer].entries.iter().copied()).collect();
        let text = if for_site { cause.suspended_text() } else { Arc::clone(&cause.text) };
        let scope = if for_site { Scope::Site } else { Scope::Transport };
        let outcome = Outcome::deferred(scope, cause.status, text);
        let via = self.via(key);
        for entry in entries {
            let message = self.entries[entry].message;
            for recipient in self.entries[entry].recipients.clone() {
                self.record_outcome(message, &recipient, outcome.clone(), &via);
            }
            self.finish_entry(entry);
        }
    }

    /// The dead timer is over: one message that waits is tried, not always the same.
    fn probe(&mut self, key: DestinationKey) {
        use std::ops::Bound::{Excluded, Unbounded};
        loop {
            let destination = &mut self.destinations[key];
            let behind = (destination.prober.map_or(Unbounded, Excluded), Unbounded);
            let next = destination.waiting.range(behind).next().or(destination.waiting.first()).copied();
            let Some(id) = next else { break };
            destination.waiting.remove(&id);
            destination.prober = Some(id);
            if self.wake_message(id) {
                self.destinations[key].probing = true;
                break;
            }
        }
    }

    /// A delivery went well after a death: as many messages as the window has room for are woken, one at
    /// least, oldest first.
    fn wake(&mut self, key: DestinationKey) {
        let destination = &mut self.destinations[key];
        if !destination.recovering {
            // It never died: what failed there waits for its own time.
            destination.waiting.clear();
            return;
        }
        let mut room = destination.window().saturating_sub(destination.busy + destination.todo).max(1);
        while room > 0 {
            let Some(id) = self.destinations[key].waiting.pop_first() else {
                self.destinations[key].recovering = false;
                break;
            };
            room -= u32::from(self.wake_message(id));
        }
    }

    /// Notes what a message that goes to deferred waits for.
    pub(crate) fn register_waiting(&mut self, id: QueueId, waits_for: &[DestinationKey]) {
        for key in waits_for {
            if let Some(destination) = self.destinations.get_mut(*key) {
                destination.waiting.insert(id);
            }
        }
    }

    pub(crate) fn place(&self, key: DestinationKey) -> Place {
        let destination = &self.destinations[key];
        Place {
            transport: Arc::clone(&self.transports[destination.transport].name),
            destination: Some(Arc::clone(&destination.name)),
        }
    }

    /// All numbers of a step of feedback, for `destination_concurrency_feedback_debug`. The pseudo
    /// transports have no site whose concurrency means anything.
    fn note_feedback(&mut self, key: DestinationKey, event: &str, from: u32) {
        if !self.config.global.destination_concurrency_feedback_debug {
            return;
        }
        let here = &self.destinations[key];
        let transport = &self.transports[here.transport];
        if matches!(&*transport.name, "error" | "retry") {
            return;
        }
        let State::Ready(window) = &here.state else { return };
        let limit = transport.rules.limit;
        let text = format!("{event}: window {from}, now {window}, limit {limit}, busy {}", here.busy);
        let (transport, destination) = (Arc::clone(&transport.name), Arc::clone(&here.name));
        self.note(Note::Feedback { transport, destination, text: text.into() });
    }

    fn note_window(&mut self, key: DestinationKey, from: u32) {
        let destination = &self.destinations[key];
        let to = destination.window();
        if from != to {
            let transport = Arc::clone(&self.transports[destination.transport].name);
            let destination = Arc::clone(&destination.name);
            self.note(Note::Window { transport, destination, from, to });
        }
    }
}
