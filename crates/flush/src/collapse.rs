//! Repeated requests for the same sites within a short time count as one.
//!
//! Promises: a client that repeats itself costs a look-up; the answer it gets is the one it got; the
//! table never holds more than [`Collapse::SITES_MAX`] entries whatever clients send.
//!
//! Known weakness: mail that is deferred between a request and its repetition waits for the next one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mail::Time;

use crate::{Released, Sites};

/// What was asked for lately.
#[derive(Debug)]
pub struct Collapse {
    window: Duration,
    lately: BTreeMap<Sites, (Time, Released)>,
    /// The keys of `lately`, the earliest first.
    order: VecDeque<Sites>,
}

impl Collapse {
    /// The window that suits ETRN: a client that reconnects and asks again is one that repeats itself.
    pub const WINDOW: Duration = Duration::from_secs(1);

    /// Most requests remembered; beyond it the earliest is forgotten, which only costs a needless look
    /// at the record.
    pub const SITES_MAX: usize = 4096;

    /// A table that takes requests for one within `window`; zero switches it off.
    pub fn new(window: Duration) -> Collapse {
        Collapse { window, lately: BTreeMap::new(), order: VecDeque::new() }
    }

    /// What the same request did, when it was made within the window before `now`. A clock that jumps
    /// back ends the window.
    pub fn repeated(&self, now: Time, sites: &Sites) -> Option<Released> {
        let (at, released) = self.lately.get(sites)?;
        (*at <= now && now.since(*at) < self.window).then_some(*released)
    }

    /// Notes what a request did.
    pub fn note(&mut self, now: Time, sites: &Sites, released: Released) {
        if self.window.is_zero() {
            return;
        }
        while self.order.front().is_some_and(|sites| self.repeated(now, sites).is_none()) {
            self.forget_earliest();
        }
        if self.lately.insert(sites.clone(), (now, released)).is_some() {
            self.order.retain(|other| other != sites);
        }
        self.order.push_back(sites.clone());
        if self.order.len() > Collapse::SITES_MAX {
            self.forget_earliest();
        }
    }

    /// How many requests are remembered.
    pub fn len(&self) -> usize {
        self.lately.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.lately.is_empty()
    }

    fn forget_earliest(&mut self) {
        if let Some(sites) = self.order.pop_front() {
            self.lately.remove(&sites);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Collapse::WINDOW;

    fn sites(name: &str) -> Sites {
        Sites::parse(name).unwrap()
    }

    fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    fn released(count: u64) -> Released {
        Released { released: count, ..Released::default() }
    }

    #[test]
    fn the_same_sites_within_the_window_are_one_request() {
        let mut collapse = Collapse::new(WINDOW);
        assert_eq!(collapse.repeated(at(0), &sites("a.test")), None);
        collapse.note(at(0), &sites("a.test"), released(7));
        assert_eq!(collapse.repeated(at(999), &sites("A.test")), Some(released(7)));
        assert_eq!(collapse.repeated(at(999), &sites("@a.test")), None, "another set of sites");
        assert_eq!(collapse.repeated(at(1000), &sites("a.test")), None);
        assert_eq!(collapse.repeated(at(-1), &sites("a.test")), None, "the clock went back");
        collapse.note(at(1000), &sites("a.test"), released(0));
        assert_eq!((collapse.repeated(at(1999), &sites("a.test")), collapse.len()), (Some(released(0)), 1));
    }

    #[test]
    fn the_table_is_bounded_and_empties_itself() {
        let mut collapse = Collapse::new(WINDOW);
        for n in 0..=Collapse::SITES_MAX {
            collapse.note(at(0), &sites(&format!("s{n}.test")), released(0));
        }
        assert_eq!(collapse.len(), Collapse::SITES_MAX);
        assert_eq!(collapse.repeated(at(0), &sites("s0.test")), None);
        assert!(collapse.repeated(at(0), &sites("s1.test")).is_some());
        collapse.note(at(5000), &sites("late.test"), released(0));
        assert_eq!(collapse.len(), 1);
        let mut off = Collapse::new(Duration::ZERO);
        off.note(at(0), &sites("a.test"), released(1));
        assert!(off.is_empty());
    }
}
