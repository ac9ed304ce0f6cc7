//! Transports: a named class of agents, its jobs, its destinations, and its turn among the others.
//!
//! Promises: a transport is selectable in constant time; transports take turns, a new one first.
//! A rate delay of a transport elapses before each delivery, and the lock is let go in every case.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail::{AscendingMap, Time};
use smallvec::SmallVec;

use crate::destination::{Cause, Destination, DestinationKey, Ready};
use crate::engine::Engine;
use crate::feedback::WindowRules;
use crate::job::JobKey;
use crate::note::{Note, Place};
use crate::params::TransportParameters;
use crate::peer::PeerKey;
use crate::timer::Timer;

/// A rate delay of a whole transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lock {
    /// None in force.
    Open,
    /// An agent is ready, and waits.
    Waiting(Time),
    /// The delay is over: the next selection may happen.
    Due,
    /// A delivery runs.
    Delivering,
}

/// The best job to overtake `of`, remembered for a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) of: JobKey,
    pub(crate) second: i64,
    pub(crate) best: Option<JobKey>,
}

/// One transport. Never destroyed.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) name: Arc<str>,
    pub(crate) params: TransportParameters,
    pub(crate) rules: WindowRules,
    pub(crate) dead: Option<(Time, Cause)>,
    pub(crate) lock: Lock,
    pub(crate) busy: u32,
    pub(crate) todo: u64,
    pub(crate) destinations: BTreeMap<Arc<str>, DestinationKey>,
    /// What can be selected, in the order of the scheduler.
    pub(crate) ready: AscendingMap<Ready, PeerKey>,
    /// The scheduler's list.
    pub(crate) head: Option<JobKey>,
    pub(crate) tail: Option<JobKey>,
    pub(crate) current: Option<JobKey>,
    pub(crate) candidate: Option<Candidate>,
    /// Counts how often a destination that jobs were blocked by opened again: none is blocked then.
    pub(crate) blocked_round: u64,
    /// Some job may be marked with that round.
    pub(crate) blocked: bool,
    /// Jobs on the list that have had nothing to do.
    pub(crate) stalled: SmallVec<[JobKey; 1]>,
    /// The jobs by when their messages entered memory.
    pub(crate) by_time: AscendingMap<(Time, u64), JobKey>,
    /// The oldest job that has recipients to read.
    pub(crate) next_unread: Option<JobKey>,
    /// Recipient slots; negative when the extra ones are lent.
    pub(crate) free_slots: i64,
}

impl Transport {
    fn new(name: Arc<str>, params: TransportParameters) -> Transport {
        Transport {
            name,
            rules: params.window_rules(),
            free_slots: i64::try_from(params.recipient_limit).unwrap_or(i64::MAX),
            params,
            dead: None,
            lock: Lock::Open,
            busy: 0,
            todo: 0,
            destinations: BTreeMap::new(),
            ready: AscendingMap::new(),
            head: None,
            tail: None,
            current: None,
            candidate: None,
            blocked_round: 1,
            blocked: false,
            stalled: SmallVec::new(),
            by_time: AscendingMap::new(),
            next_unread: None,
        }
    }

    /// Whether an agent may be given an entry now.
    pub(crate) fn selectable(&self) -> bool {
        !self.ready.is_empty()
            && self.dead.is_none()
            && matches!(self.lock, Lock::Open | Lock::Due)
            && (self.params.process_limit == 0 || u64::from(self.busy) < self.params.process_limit)
    }

    /// Whether its rate delay comes before the next selection.
    pub(crate) fn must_wait(&self) -> bool {
        self.lock == Lock::Open && !self.params.transport_rate_delay.is_zero()
    }

    /// Whether the destination may hold one more agent of a pool of which it may have `percent`. Where it
    /// is the only one it may have more, but only agents that it gives back: a site that hangs does not.
    pub(crate) fn shares_with(&self, here: &Destination, percent: u64) -> bool {
        if self.params.process_limit == 0 {
            return true;
        }
        let share = self.params.process_limit.saturating_mul(percent).div_ceil(100).max(1);
        let alone = self.destinations.len() < 2;
        u64::from(here.busy) < share || (alone && u64::from(here.unanswered) < share)
    }
}

impl Engine {
    /// Finds or creates a transport. A new one is the next to be asked.
    pub(crate) fn transport(&mut self, name: &Arc<str>) -> usize {
        if let Some(index) = self.transport_names.get(name) {
            return *index;
        }
        let index = self.transports.len();
        self.transports.push(Transport::new(Arc::clone(name), self.config.transport(name)));
        self.transport_names.insert(Arc::clone(name), index);
        self.turns.push_front(index);
        index
    }

    /// The transport whose turn it is, if any can be selected: those passed over and itself go last.
    pub(crate) fn select_transport(&mut self) -> Option<usize> {
        let place = self.turns.iter().position(|index| self.transports[*index].selectable())?;
        self.turns.rotate_left(place + 1);
        self.turns.back().copied()
    }

    /// Starts the rate delay of a transport. Returns whether there is one to wait for.
    pub(crate) fn lock_transport(&mut self, index: usize) -> bool {
        let transport = &mut self.transports[index];
        if !transport.must_wait() {
            return false;
        }
        let until = self.now + transport.params.transport_rate_delay;
        transport.lock = Lock::Waiting(until);
        let place = Place { transport: Arc::clone(&transport.name), destination: None };
        self.timers.insert((until, Timer::TransportRate(index)));
        self.note(Note::Suspended { place });
        true
    }

    /// The rate delay is over: an entry may be chosen, if there is still one.
    pub(crate) fn unlock_transport(&mut self, index: usize) {
        let transport = &mut self.transports[index];
        transport.lock = if transport.ready.is_empty() { Lock::Open } else { Lock::Due };
        let place = Place { transport: Arc::clone(&transport.name), destination: None };
        self.note(Note::Resumed { place });
    }

    /// The transport could not run: it is left alone, and all that waits for it is deferred.
    pub(crate) fn throttle_transport(&mut self, index: usize, cause: Cause) {
        let transport = &mut self.transports[index];
        if transport.dead.is_none() {
            let until = self.now + self.config.global.transport_retry_time;
            transport.dead = Some((until, cause.clone()));
            let place = Place { transport: Arc::clone(&transport.name), destination: None };
            self.timers.insert((until, Timer::TransportDead(index)));
            self.note(Note::Dead { place, reason: cause.line() });
        }
        let destinations: Vec<DestinationKey> =
            self.transports[index].destinations.values().copied().collect();
        for destination in destinations {
            self.defer_todo(destination, &cause, false);
        }
    }

    /// The transport may be tried again.
    pub(crate) fn revive_transport(&mut self, index: usize, why: &str) {
        let transport = &mut self.transports[index];
        if let Some((until, _)) = transport.dead.take() {
            let place = Place { transport: Arc::clone(&transport.name), destination: None };
            self.timers.remove(&(until, Timer::TransportDead(index)));
            self.note(Note::Alive { place, reason: why.into() });
        }
    }
}
