//! What outlives an engine: windows, running rate delays, and which mail waits for its site to recover.
//!
//! Promises: a successor starts with the windows its predecessor had, for as long as
//! `keep_learned_concurrency` says, and does not cut a rate delay short. Mail that was deferred only for
//! its site wakes with the first good delivery there. Refuses: deaths; they are cheap to learn and
//! expensive to believe.

use std::sync::Arc;

use flush::SiteId;
use mail::{QueueId, Time};

use crate::destination::{DestinationKey, State};
use crate::engine::Engine;
use crate::entry::Assigned;
use crate::feedback::Window;
use crate::timer::Timer;
use crate::transport::{Lock, Transport};
use crate::view::{Learned, LearnedDestination};

impl Engine {
    /// What is worth keeping.
    pub(crate) fn collect_learned(&self, now: Time) -> Learned {
        let mut transports: Vec<&Transport> = self.transports.iter().collect();
        transports.sort_by(|a, b| a.name.cmp(&b.name));
        let keep = !self.config.global.keep_learned_concurrency.is_zero();
        let destinations = transports.iter().flat_map(|transport| transport.destinations.values());
        let of_destination = |key: &DestinationKey| self.learned_of(*key, now, keep);
        let locked = |transport: &&Transport| match transport.lock {
            Lock::Waiting(until) if until > now => Some((Arc::clone(&transport.name), until)),
            _ => None,
        };
        Learned {
            destinations: destinations.filter_map(of_destination).collect(),
            transports: transports.iter().filter_map(locked).collect(),
        }
    }

    fn learned_of(&self, key: DestinationKey, now: Time, keep: bool) -> Option<LearnedDestination> {
        let destination = &self.destinations[key];
        let transport = &self.transports[destination.transport];
        let suspended = matches!(destination.state, State::Suspended(_));
        let window = match &destination.state {
            State::Ready(window) => window.size,
            State::Throttled { .. } | State::Suspended(_) => transport.rules.initial,
        };
        (keep || suspended).then(|| LearnedDestination {
            transport: Arc::clone(&transport.name),
            destination: Arc::clone(&destination.name),
            nexthop: destination.nexthop.clone().into(),
            window,
            seen: destination.last_done.unwrap_or(now),
            suspended_until: destination.timer.filter(|_| suspended),
        })
    }

    /// A message was found that waits for its sites.
    pub(crate) fn note_sleeper(&mut self, id: QueueId) {
        if !self.config.global.site_recovery_wakeup {
            return;
        }
        let sites = self.stubs.get(id).map(|stub| stub.sites.clone());
        for site in sites.iter().flat_map(|sites| sites.as_slice()) {
            self.sleepers.entry(*site).or_default().insert(id);
        }
    }

    /// It waits for one of them no longer.
    pub(crate) fn forget_sleeper(&mut self, site: SiteId, id: QueueId) {
        if let Some(ids) = self.sleepers.get_mut(&site)
            && ids.remove(&id)
            && ids.is_empty()
        {
            self.sleepers.remove(&site);
        }
    }

    /// The sites of these recipients answer through this destination: what slept for them wakes with it.
    pub(crate) fn rouse_sleepers(&mut self, key: DestinationKey, recipients: &[Assigned]) {
        if self.sleepers.is_empty() {
            return;
        }
        for recipient in recipients {
            if let Some(ids) = self.sleepers.remove(&recipient.site) {
                let destination = &mut self.destinations[key];
                match destination.waiting.is_empty() {
                    true => destination.waiting = ids,
                    false => destination.waiting.extend(ids),
                }
                destination.recovering = true;
            }
        }
    }

    /// Starts with what a predecessor learned, as far as it still holds.
    pub(crate) fn adopt_learned(&mut self, learned: Learned) {
        let keep = self.config.global.keep_learned_concurrency;
        for known in learned.destinations {
            let forgotten = known.seen + keep;
            let suspended = known.suspended_until.filter(|until| *until > self.now);
            if forgotten <= self.now && suspended.is_none() {
                continue;
            }
            let transport = self.transport(&known.transport);
            let limit = self.transports[transport].rules.limit;
            let window = if limit == 0 { known.window } else { known.window.min(limit) };
            let key = self.destination(transport, &known.destination, &known.nexthop);
            self.destinations[key].state = match suspended {
                Some(_) => State::Suspended(Window::new(1)),
                None => State::Ready(Window::new(window)),
            };
            self.set_timer(key, Some(suspended.unwrap_or(forgotten)));
        }
        for (name, until) in learned.transports {
            if until > self.now {
                let transport = self.transport(&name);
                self.transports[transport].lock = Lock::Waiting(until);
                self.timers.insert((until, Timer::TransportRate(transport)));
            }
        }
    }
}
