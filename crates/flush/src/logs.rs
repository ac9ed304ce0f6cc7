//! When the log of each eligible site was used, and so when it is refreshed or deleted.
//!
//! Promises: the next time at which anything is due is known without a walk; a walk over what is due
//! touches only that.
//!
//! Refuses: to hold ids (the record does) and to touch files (the daemon does).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mail::{QueueId, Time};

/// What is known of one log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogTimes {
    /// When it was begun.
    pub begun: Time,
    /// When delivery was last requested or refreshed; nothing while it never was.
    pub last_sent: Option<Time>,
    /// When a message was last added.
    pub last_added: Time,
    /// Since when nothing has been in it; nothing while something is.
    pub empty_since: Option<Time>,
}

impl LogTimes {
    /// Since when the mail in it has not been asked for: what a refresh goes by.
    pub fn waiting_since(&self) -> Time {
        self.last_sent.unwrap_or(self.begun)
    }
}

/// What happens to the log of a site, for whoever keeps the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogChange {
    /// A message begins to wait: one more line.
    Added(QueueId),
    /// A message that was added waits no longer: one more line.
    Removed(QueueId),
    /// Delivery was requested or refreshed: the log is emptied.
    Sent,
    /// Nothing waits any more: the log is emptied.
    Emptied,
    /// The log was empty long enough, or its site is no longer eligible.
    Deleted,
}

/// The logs there are, by site.
#[derive(Debug)]
pub struct Logs {
    refresh_time: Duration,
    purge_time: Duration,
    by_site: BTreeMap<Arc<str>, LogTimes>,
    /// Logs that hold something, by since when they have not been asked for.
    filled: BTreeSet<(Time, Arc<str>)>,
    /// Logs that hold nothing, by since when.
    empty: BTreeSet<(Time, Arc<str>)>,
}

impl Logs {
    /// No logs yet; the times are `fast_flush_refresh_time` and `fast_flush_purge_time`.
    pub fn new(refresh_time: Duration, purge_time: Duration) -> Logs {
        Logs {
            refresh_time,
            purge_time,
            by_site: BTreeMap::new(),
            filled: BTreeSet::new(),
            empty: BTreeSet::new(),
        }
    }

    /// Other times hold from now on, also for the logs there are.
    pub fn set_times(&mut self, refresh_time: Duration, purge_time: Duration) {
        (self.refresh_time, self.purge_time) = (refresh_time, purge_time);
    }

    /// Takes over a log that was found at the start, unless mail has turned up for its site already.
    pub fn restore(&mut self, site: &str, times: LogTimes) {
        if !self.by_site.contains_key(site) {
            self.set(site, times);
        }
    }

    /// A message was added to the log of `site`, which begins with it when there was none. At the start
    /// `at` is when the message was accepted: more is not known.
    pub fn handle_added(&mut self, at: Time, site: &str) {
        let times = match self.by_site.get(site).copied() {
            Some(log) if log.empty_since.is_none() && log.last_added >= at => return,
            Some(log) => LogTimes { last_added: log.last_added.max(at), empty_since: None, ..log },
            None => LogTimes { begun: at, last_sent: None, last_added: at, empty_since: None },
        };
        self.set(site, times);
    }

    /// Delivery was requested or refreshed: the log was emptied. Nothing happens to a site without log.
    pub fn handle_sent(&mut self, now: Time, site: &str) {
        if let Some(log) = self.by_site.get(site).copied() {
            let empty_since = log.empty_since.or(Some(now));
            self.set(site, LogTimes { last_sent: Some(now), empty_since, ..log });
        }
    }

    /// The last message left the log of `site`.
    pub fn handle_emptied(&mut self, now: Time, site: &str) {
        if let Some(log) = self.by_site.get(site).copied() {
            self.set(site, LogTimes { empty_since: log.empty_since.or(Some(now)), ..log });
        }
    }

    /// The log of `site` was deleted.
    pub fn remove(&mut self, site: &str) {
        if let Some((site, log)) = self.by_site.remove_entry(site) {
            self.unlink(&site, log);
        }
    }

    /// The logs whose messages have waited for `fast_flush_refresh_time` since the last request, the
    /// longest first. The caller releases them and tells [`Logs::handle_sent`].
    pub fn due_refresh(&self, now: Time) -> impl Iterator<Item = &str> {
        due(&self.filled, now, self.refresh_time)
    }

    /// The logs that have been empty for `fast_flush_purge_time`. The caller deletes them and tells
    /// [`Logs::remove`].
    pub fn due_purge(&self, now: Time) -> impl Iterator<Item = &str> {
        due(&self.empty, now, self.purge_time)
    }

    /// The logs that hold something, the one that was not sent for the longest time first.
    pub fn filled(&self) -> impl Iterator<Item = &str> {
        self.filled.iter().map(|(_, site)| &**site)
    }

    /// When the next log is due for refresh or deletion.
    pub fn next_due(&self) -> Option<Time> {
        let refresh = self.filled.first().map(|(at, _)| *at + self.refresh_time);
        let purge = self.empty.first().map(|(at, _)| *at + self.purge_time);
        refresh.into_iter().chain(purge).min()
    }

    /// What is known of the log of `site`.
    pub fn times(&self, site: &str) -> Option<LogTimes> {
        self.by_site.get(site).copied()
    }

    /// All logs, by name of their site.
    pub fn iter(&self) -> impl Iterator<Item = (&str, LogTimes)> {
        self.by_site.iter().map(|(site, log)| (&**site, *log))
    }

    fn set(&mut self, site: &str, log: LogTimes) {
        let site = match self.by_site.remove_entry(site) {
            Some((site, before)) => {
                self.unlink(&site, before);
                site
            }
            None => site.into(),
        };
        match log.empty_since {
            Some(since) => self.empty.insert((since, Arc::clone(&site))),
            None => self.filled.insert((log.waiting_since(), Arc::clone(&site))),
        };
        self.by_site.insert(site, log);
    }

    fn unlink(&mut self, site: &Arc<str>, log: LogTimes) {
        let linked = match log.empty_since {
            Some(since) => self.empty.remove(&(since, Arc::clone(site))),
            None => self.filled.remove(&(log.waiting_since(), Arc::clone(site))),
        };
        debug_assert!(linked, "every log stands in one of the two orders");
    }
}

fn due(order: &BTreeSet<(Time, Arc<str>)>, now: Time, age: Duration) -> impl Iterator<Item = &str> {
    order.iter().take_while(move |(at, _)| *at + age <= now).map(|(_, site)| &**site)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn logs() -> Logs {
        Logs::new(Duration::from_secs(100), Duration::from_secs(1000))
    }

    #[test]
    fn a_log_is_refreshed_emptied_and_deleted_in_time() {
        let mut logs = logs();
        logs.handle_added(at(0), "a.test");
        logs.handle_added(at(90), "a.test");
        assert_eq!(logs.next_due(), Some(at(100)));
        assert_eq!(logs.due_refresh(at(99)).count(), 0);
        assert_eq!(logs.due_refresh(at(100)).collect::<Vec<_>>(), ["a.test"]);
        logs.handle_sent(at(100), "a.test");
        assert_eq!((logs.due_refresh(at(999)).count(), logs.next_due()), (0, Some(at(1100))));
        logs.handle_sent(at(500), "a.test");
        assert_eq!(logs.next_due(), Some(at(1100)), "asking for an empty log does not keep it");
        assert_eq!(logs.due_purge(at(1100)).collect::<Vec<_>>(), ["a.test"]);
        logs.handle_added(at(1100), "a.test");
        assert_eq!(logs.due_purge(at(9999)).count(), 0);
        assert_eq!(logs.next_due(), Some(at(600)), "waits since the request at 500");
        logs.handle_emptied(at(1200), "a.test");
        logs.remove("a.test");
        assert_eq!((logs.times("a.test"), logs.next_due(), logs.filled().count()), (None, None, 0));
    }

    #[test]
    fn a_site_without_log_gets_none_by_being_asked_for() {
        let mut logs = logs();
        logs.handle_sent(at(1), "a.test");
        logs.handle_emptied(at(1), "a.test");
        logs.remove("a.test");
        assert_eq!(logs.iter().count(), 0);
    }

    proptest! {
        #[test]
        fn every_log_is_in_one_order(steps in proptest::collection::vec((0u8..4, 0u8..4), 0..200)) {
            let mut logs = logs();
            for (n, (step, site)) in steps.into_iter().enumerate() {
                let (now, site) = (at(n as i64), format!("{site}.test"));
                match step {
                    0 => logs.handle_added(now, &site),
                    1 => logs.handle_sent(now, &site),
                    2 => logs.handle_emptied(now, &site),
                    _ => logs.remove(&site),
                }
                prop_assert_eq!(logs.filled.len() + logs.empty.len(), logs.by_site.len());
                let filled: BTreeSet<&str> = logs.filled().collect();
                let agree = |(site, log): (_, LogTimes)| log.empty_since.is_none() == filled.contains(site);
                prop_assert!(logs.iter().all(agree));
            }
        }
    }
}
