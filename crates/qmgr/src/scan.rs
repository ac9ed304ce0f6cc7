//! Scans: runs over the incoming and deferred queues, and where the next message comes from.
//!
//! Promises: a run always ends; a request during a run causes exactly one more, however many there were;
//! a deferred run without ALL looks at due messages only. With `queue_run_delay = 0` due messages need no
//! run at all. Messages that were named one by one (flushes, wake-ups) count as incoming.

use std::collections::VecDeque;
use std::time::Duration;

use mail::{QueueId, Time};

use crate::engine::Engine;
use crate::event::Queue;
use crate::message::Activation;
use crate::note::Note;

/// Where messages come from, in turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Incoming,
    Deferred,
}

impl Source {
    pub(crate) fn other(self) -> Source {
        match self {
            Source::Incoming => Source::Deferred,
            Source::Deferred => Source::Incoming,
        }
    }

    fn queue(self) -> Queue {
        match self {
            Source::Incoming => Queue::Incoming,
            Source::Deferred => Queue::Deferred,
        }
    }
}

/// What a run ignores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ScanFlags {
    /// Due times.
    pub(crate) all: bool,
    /// `defer_transports`.
    pub(crate) override_defer: bool,
}

impl ScanFlags {
    fn add(&mut self, other: ScanFlags) {
        self.all |= other.all;
        self.override_defer |= other.override_defer;
    }
}

/// One of the two scans.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// A run is in progress, with these flags.
    pub(crate) run: Option<Run>,
    /// For the next run.
    flags: ScanFlags,
    start: bool,
}

/// A run in progress.
#[derive(Debug, Default)]
pub(crate) struct Run {
    flags: ScanFlags,
    /// The last message a run over everything has looked at.
    cursor: Option<QueueId>,
    /// What was deferred after the run began is not taken before its time.
    began: u64,
    examined: u64,
    taken: u64,
}

/// Scans see a message a second before its time, so that it does not miss the scan at that second.
const GRACE: Duration = Duration::from_secs(1);

impl Scan {
    /// Asks for a run, or changes the one in progress and the next one.
    pub(crate) fn request(&mut self, start: bool, flags: ScanFlags, latest: u64) {
        if let Some(run) = &mut self.run {
            run.flags.add(flags);
        }
        self.flags.add(flags);
        self.start |= start;
        if self.run.is_none() {
            self.begin(latest);
        }
    }

    fn begin(&mut self, latest: u64) {
        if std::mem::take(&mut self.start) {
            let flags = std::mem::take(&mut self.flags);
            self.run = Some(Run { flags, began: latest, ..Run::default() });
        }
    }
}

/// Messages that were named one by one, and how each is to be tried.
pub(crate) type Released = VecDeque<(QueueId, Activation)>;

impl Engine {
    /// The next message of a source, with how it is to be tried.
    pub(crate) fn next_of(&mut self, source: Source) -> Option<(QueueId, Activation)> {
        if source == Source::Incoming
            && let Some(released) = self.next_released()
        {
            return Some(released);
        }
        loop {
            let found = match source {
                Source::Incoming => self.stubs.incoming.first().map(|(id, ())| id),
                Source::Deferred => self.next_deferred(),
            };
            let latest = self.stubs.due.latest();
            let scan = self.scan_mut(source);
            let Some(run) = &mut scan.run else {
                return found.map(|id| (id, Activation::default()));
            };
            if let Some(id) = found {
                run.examined += u64::from(!run.flags.all || source == Source::Incoming);
                run.taken += 1;
                let override_defer = run.flags.override_defer;
                return Some((id, Activation { override_defer, ..Activation::default() }));
            }
            let (examined, taken) = (run.examined, run.taken);
            scan.run = None;
            scan.begin(latest);
            self.note(Note::Scan { queue: source.queue(), examined, taken });
        }
    }

    fn next_released(&mut self) -> Option<(QueueId, Activation)> {
        while let Some((id, activation)) = self.released.pop_front() {
            let waiting = |stub: &crate::message::Stub| stub.queue == Queue::Deferred && stub.released;
            if self.stubs.get(id).is_some_and(waiting) {
                return Some((id, activation));
            }
            if let Some(flush) = activation.flush {
                self.flushed_one(flush, false, false);
            }
        }
        None
    }

    fn next_deferred(&mut self) -> Option<QueueId> {
        let everything = self.deferred.run.as_mut().filter(|run| run.flags.all);
        if let Some(run) = everything {
            for (id, stub) in self.stubs.after(run.cursor) {
                run.cursor = Some(id);
                if stub.queue == Queue::Deferred {
                    run.examined += 1;
                    return Some(id);
                }
            }
            return None;
        }
        let (id, due, sequence) = self.stubs.due.first()?;
        let exact = self.config.global.queue_run_delay.is_zero();
        let eligible = match &self.deferred.run {
            Some(run) => due <= self.now || (due <= self.now + GRACE && sequence <= run.began),
            None => exact && due <= self.now,
        };
        eligible.then_some(id)
    }

    pub(crate) fn scan_mut(&mut self, source: Source) -> &mut Scan {
        match source {
            Source::Incoming => &mut self.incoming,
            Source::Deferred => &mut self.deferred,
        }
    }

    /// The periodic scan: at multiples of `queue_run_delay`, and when the engine starts.
    pub(crate) fn scan_by_clock(&mut self) {
        let latest = self.stubs.due.latest();
        let period = self.scan_period(self.now);
        let before = self.scan_period.replace(period);
        if before.is_none() {
            self.incoming.request(true, ScanFlags::default(), latest);
        }
        let ticked = period > 0 && before.is_none_or(|before| before < period);
        let wanted = before.is_none() || (ticked && self.stubs.due.len() > 0);
        if wanted {
            self.deferred.request(true, ScanFlags::default(), latest);
        }
    }

    /// The scans of the start may have begun before all mail was known.
    pub(crate) fn scan_what_was_stored(&mut self) {
        if !self.config.global.queue_run_delay.is_zero() && self.stubs.due.len() > 0 {
            let latest = self.stubs.due.latest();
            self.deferred.request(true, ScanFlags::default(), latest);
        }
    }

    /// Which period of `queue_run_delay` a moment lies in; 0 when there are none.
    fn scan_period(&self, at: Time) -> i64 {
        let delay = self.config.global.queue_run_delay.as_millis() as i64;
        if delay == 0 { 0 } else { at.as_millis().div_euclid(delay) }
    }

    /// When a deferred message wants attention: its due time, or the next scan.
    pub(crate) fn next_deferred_time(&self) -> Option<Time> {
        let (_, due, _) = self.stubs.due.first()?;
        let delay = self.config.global.queue_run_delay;
        if delay.is_zero() {
            // What is due already waits for room, not for time.
            return (due > self.now).then_some(due);
        }
        let next = self.scan_period(self.now) + 1;
        Some(Time::from_millis(next.saturating_mul(delay.as_millis() as i64)))
    }
}
