//! The logs of eligible sites: what is written into them, when they are refreshed and deleted.
//!
//! Promises: each change is told once, as a note, in the order in which it happened; a message has at most
//! one line in the log of a site between two requests for it; looking after the logs touches only those
//! that are due.
//!
//! Refuses: to decide anything by a log. The record does.

use std::collections::BTreeMap;
use std::sync::Arc;

use flush::{Authority, LogChange, LogTimes, Request, SiteId};
use mail::{QueueId, Time};

use crate::engine::Engine;
use crate::note::Note;
use crate::view::FlushView;

impl Engine {
    /// At start-up, before the stored mail is handed in: a log that was found. It counts as empty until mail
    /// for its site turns up. That of a site that is not eligible is ignored.
    pub fn handle_flush_log(&mut self, site: &str, times: LogTimes) {
        if self.flush_eligible(site) {
            let empty_since = times.empty_since.or(Some(times.last_added));
            self.service.logs.restore(site, LogTimes { empty_since, ..times });
        }
    }

    /// The logs there are and their times, in the order of names.
    pub fn flush_logs(&self) -> Vec<(Arc<str>, LogTimes)> {
        self.service.logs.iter().map(|(site, times)| (site.into(), times)).collect()
    }

    /// The times of the log of a site; nothing when it has none.
    pub fn flush_log(&self, site: &str) -> Option<LogTimes> {
        self.service.logs.times(site)
    }

    /// The messages in the log of a site, oldest first.
    pub fn logged_messages(&self, site: &str) -> Vec<QueueId> {
        if !self.service.eligibility.covers(site) {
            return Vec::new();
        }
        let Some(place) = self.record.site(site) else { return Vec::new() };
        let logged = |id: &QueueId| {
            self.stubs.get(*id).is_some_and(|stub| stub.logged) && !self.unlogged.contains(&(*id, place))
        };
        self.record.waiting(site).filter(logged).collect()
    }

    /// Whether clients may ask for the mail of this site (`fast_flush_domains`).
    pub fn flush_eligible(&self, site: &str) -> bool {
        self.service.eligibility.covers(site)
    }

    /// All sites that mail waits for, and how far their flushes are.
    pub fn flush_status(&self) -> Vec<FlushView> {
        let mut left: BTreeMap<&str, u64> = BTreeMap::new();
        self.flushes.values().for_each(|flush| *left.entry(&flush.site).or_default() += flush.left());
        self.background
            .sites()
            .for_each(|site| *left.entry(site).or_default() += self.record.count(site) as u64);
        let view = |(site, waiting): (&str, usize)| FlushView {
            site: site.into(),
            waiting: waiting as u64,
            eligible: self.flush_eligible(site),
            last_sent: self.service.logs.times(site).and_then(|times| times.last_sent),
            to_be_tried: left.get(site).copied().unwrap_or(0),
        };
        self.record.sites().map(view).collect()
    }

    /// A message is deferred, or released from hold: it appears in the logs of its eligible sites.
    pub(crate) fn log_waiting(&mut self, id: QueueId) {
        for site in self.enter_logs(id, self.now) {
            self.note(Note::FlushLog { site, change: LogChange::Added(id) });
        }
    }

    /// The sites in whose logs a message is now and was not before, having begun to wait at `at`.
    pub(crate) fn enter_logs(&mut self, id: QueueId, at: Time) -> Vec<Arc<str>> {
        let Some(stub) = self.stubs.get_mut(id) else { return Vec::new() };
        let before = std::mem::replace(&mut stub.logged, true);
        let sites = stub.sites.as_slice().iter();
        let missing = sites.filter(|site| self.unlogged.remove(&(id, **site)) || !before);
        let names: Vec<&str> = missing.filter_map(|site| self.record.name(*site)).collect();
        let eligible = &self.service.eligibility;
        let names: Vec<Arc<str>> =
            names.into_iter().filter(|name| eligible.covers(name)).map(Arc::from).collect();
        names.iter().for_each(|name| self.service.logs.handle_added(at, name));
        names
    }

    /// A message waits for a site no longer. `logged`: the message is in the logs.
    pub(crate) fn forget_in_record(&mut self, site: SiteId, id: QueueId, logged: bool) {
        self.forget_sleeper(site, id);
        let Some(name) = self.record.name(site) else { return };
        let Some(times) = self.service.logs.times(name) else {
            self.record.remove_at(site, id);
            return;
        };
        let name = Arc::<str>::from(name);
        let removed = self.record.remove_at(site, id);
        let logged = logged && !self.unlogged.remove(&(id, site));
        if self.record.count(&name) == 0 && times.empty_since.is_none() {
            self.service.logs.handle_emptied(self.now, &name);
            self.note(Note::FlushLog { site: name, change: LogChange::Emptied });
        } else if removed && logged && times.empty_since.is_none() {
            self.note(Note::FlushLog { site: name, change: LogChange::Removed(id) });
        }
    }

    /// Delivery was requested for a site: its log is empty, and whatever waits will be in it anew.
    pub(crate) fn empty_log(&mut self, site: &str) {
        let Some(place) = self.record.site(site) else { return };
        for id in self.record.waiting(site) {
            let Some(stub) = self.stubs.get_mut(id).filter(|stub| stub.logged) else { continue };
            match stub.sites.as_slice() {
                [_] => stub.logged = false,
                _ => drop(self.unlogged.insert((id, place))),
            }
        }
        self.service.logs.handle_sent(self.now, site);
        if self.service.logs.times(site).is_some() {
            self.note(Note::FlushLog { site: site.into(), change: LogChange::Sent });
        }
    }

    /// A log has been empty long enough.
    pub(crate) fn delete_log(&mut self, site: &str) {
        self.service.logs.remove(site);
        self.note(Note::FlushLog { site: site.into(), change: LogChange::Deleted });
    }

    /// Goes on with a refresh, or does one when a log is due for it, or for its end.
    pub(crate) fn refresh_when_due(&mut self) {
        if !self.background.is_over() {
            self.go_on_in_background();
        } else if self.service.logs.next_due().is_some_and(|at| at <= self.now) {
            self.answer_flush(Authority::Operator, Request::Refresh);
        }
    }

    /// When a log is due next.
    pub(crate) fn next_refresh(&self) -> Option<Time> {
        if self.background.is_over() { self.service.logs.next_due() } else { Some(self.now) }
    }

    /// Other sites are eligible than before: logs begin and end. Looks at each site once.
    pub(crate) fn adopt_eligibility(&mut self, new: flush::Eligibility) {
        let old = std::mem::replace(&mut self.service.eligibility, new);
        if old.domains == self.service.eligibility.domains {
            return;
        }
        for (site, _) in self.flush_logs() {
            if !self.flush_eligible(&site) {
                self.delete_log(&site);
            }
        }
        let begun = |site: &&str| self.flush_eligible(site) && !old.covers(site);
        let begun: Vec<Arc<str>> =
            self.record.sites().map(|(site, _)| site).filter(begun).map(Arc::from).collect();
        for site in begun {
            for id in self.logged_messages(&site) {
                self.service.logs.handle_added(self.now, &site);
                self.note(Note::FlushLog { site: Arc::clone(&site), change: LogChange::Added(id) });
            }
        }
    }
}
