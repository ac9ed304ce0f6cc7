//! Flushes and targeted scans: mail that was named is tried now.
//!
//! Promises: a site flush tries the site's recipients only, revives only what they need, and says
//! truthfully how many messages it released. Large releases go out ramped: one message as a probe, then
//! twice as many at a time with each that finds the site well. When the probe fails for the site, or the
//! site turns out dead, the rest keeps its own schedule.

use std::collections::VecDeque;
use std::sync::Arc;

use flush::{Answer, Authority, Record, Request, Step};
use mail::QueueId;

use crate::engine::Engine;
use crate::entry::EntryKey;
use crate::event::Queue;
use crate::message::Activation;
use crate::note::{FlushOf, Note};
use crate::view::{Change, Changed};

/// A site flush under way.
#[derive(Debug)]
pub(crate) struct SiteFlush {
    pub(crate) site: Arc<str>,
    ids: VecDeque<QueueId>,
    /// Messages that may be in memory for it at a time.
    allowed: u32,
    in_flight: u32,
    /// Whether anything was tried yet: the first one revives the site.
    probed: bool,
    /// Whether a message found the site well.
    answered: bool,
    revive: bool,
}

impl SiteFlush {
    /// Messages that are still to be tried.
    pub(crate) fn left(&self) -> u64 {
        self.ids.len() as u64 + u64::from(self.in_flight)
    }
}

/// A site whose mail in a message was asked for while it could not be tried.
#[derive(Debug)]
pub(crate) struct Postponed {
    site: Arc<str>,
    until: Until,
}

/// How long mail that was asked for may have to wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Until {
    /// Until an attempt begins, which it soon does unless something prevents it.
    Attempt,
    /// Until the run is over, or the message is released from hold.
    Run,
}

/// Most messages in memory for one site flush.
const ALLOWED_MAX: u32 = 1000;

impl Engine {
    /// Answers a flush request, and does what it asks for.
    pub(crate) fn answer_flush(&mut self, authority: Authority, request: Request) -> Answer {
        let of = match &request {
            Request::SendSite(sites) => FlushOf::Site(sites.name.as_str().into()),
            Request::Add { site, .. } => FlushOf::Site(site.as_str().into()),
            Request::SendFile(id) => FlushOf::Message(*id),
            Request::Refresh | Request::Purge => FlushOf::Waiting,
        };
        let step = self.service.handle_request(self.now, authority, request, &self.record);
        // An answer that was given before is given again; nothing is released again.
        let repeated = matches!(step, Step::Answered(_));
        let answer = match step {
            Step::Answered(answer) => answer,
            // Everything unfinished is on record anyway.
            Step::Note { site, id } if self.record.contains(&site, id) => {
                Answer::ok(flush::Released::default())
            }
            Step::Note { .. } => Answer::refused(flush::Status::Fail),
            Step::ReleaseMessage(id) => Answer::ok(self.release_message(id)),
            Step::Release { asked, reached } => {
                let mut released = flush::Released::default();
                for site in &reached {
                    released += self.release_site(site, true);
                    self.empty_log(site);
                }
                self.service.handle_released(self.now, &asked, &reached, released)
            }
            Step::ReleaseAll { asked } => {
                let released = self.flush_everything();
                self.service.handle_released(self.now, &asked, &[], released)
            }
            Step::Background { refresh, purge } => self.begin_background(refresh, purge),
        };
        let released = if repeated { 0 } else { answer.released.released };
        self.note(Note::Flush { of, answer: answer.status, released });
        answer
    }

    /// The trigger `FADI`. Returns how many deferred messages it reaches, and how many others there are.
    pub(crate) fn flush_everything(&mut self) -> flush::Released {
        let count = |queue| self.stubs.count(queue);
        let counts = flush::Released {
            released: count(Queue::Deferred),
            already_active: count(Queue::Incoming) + count(Queue::Active),
            on_hold: count(Queue::Hold),
        };
        self.pull_trigger(b"FADI");
        counts
    }

    /// Tries one message now, and revives what it needs.
    fn release_message(&mut self, id: QueueId) -> flush::Released {
        let activation = Activation { override_defer: true, revive: true, ..Activation::default() };
        let mut counts = flush::Released::default();
        match self.stubs.get(id).map(|stub| stub.queue) {
            Some(Queue::Deferred) => counts.released += u64::from(self.release_one(id, activation)),
            Some(Queue::Incoming | Queue::Active) => counts.already_active += 1,
            Some(Queue::Hold) => counts.on_hold += 1,
            Some(Queue::Corrupt) | None => {}
        }
        counts
    }

    /// Tries the mail of one site now. What cannot be tried now is tried when it can be.
    pub(crate) fn release_site(&mut self, site: &str, revive: bool) -> flush::Released {
        let mut counts = flush::Released::default();
        let mut ids = VecDeque::new();
        let under_way = self.flushed_sites.contains_key(site);
        for id in self.record.waiting(site).collect::<Vec<_>>() {
            let Some(stub) = self.stubs.get_mut(id) else { continue };
            match stub.queue {
                Queue::Deferred if !stub.released => {
                    stub.released = true;
                    ids.push_back(id);
                    counts.released += 1;
                }
                // Named, for this site or another one.
                Queue::Deferred => {
                    counts.already_active += 1;
                    if !under_way {
                        self.postpone_flush(id, site, Until::Run);
                    }
                }
                Queue::Incoming | Queue::Active => {
                    counts.already_active += 1;
                    if let Some(until) = self.may_be_left(id, site) {
                        self.postpone_flush(id, site, until);
                    }
                }
                Queue::Hold => {
                    counts.on_hold += 1;
                    self.postpone_flush(id, site, Until::Run);
                }
                Queue::Corrupt => {}
            }
        }
        self.begin_flush(site, ids, revive);
        counts
    }

    fn begin_flush(&mut self, site: &str, ids: VecDeque<QueueId>, revive: bool) {
        if ids.is_empty() {
            return;
        }
        let flush = SiteFlush {
            site: site.into(),
            ids,
            allowed: 1,
            in_flight: 0,
            probed: false,
            answered: false,
            revive,
        };
        *self.flushed_sites.entry(Arc::clone(&flush.site)).or_default() += 1;
        self.flushes_begun += 1;
        self.flushes.insert(self.flushes_begun, flush);
        self.feed_flush(self.flushes_begun);
    }

    /// How long the run that a message is in, or will be in, may leave its mail for the site without an
    /// attempt that begins from now on; nothing when it is in memory for just that.
    fn may_be_left(&self, id: QueueId, site: &str) -> Option<Until> {
        // Mail that is incoming is tried in full, unless its site is dead or its transport deferred then.
        let Some(message) = self.active.get(&id).map(|key| &self.messages[*key]) else {
            return Some(Until::Attempt);
        };
        let begun = message.busy > 0 || message.attempted || !message.deferred.is_empty();
        match message.activation.scope {
            Some(scope) if self.record.name(scope) == Some(site) => None,
            None if !begun => Some(Until::Attempt),
            _ => Some(Until::Run),
        }
    }

    /// Remembers that a message on hold, or one in a run that may leave the site's mail, was asked for.
    fn postpone_flush(&mut self, id: QueueId, site: &str, until: Until) {
        let sites = self.flush_later.entry(id).or_default();
        match sites.iter_mut().find(|other| *other.site == *site) {
            Some(known) => known.until = known.until.max(until),
            None => sites.push(Postponed { site: site.into(), until }),
        }
    }

    /// An attempt begins: mail that was asked for before any did has what it was asked for.
    pub(crate) fn attempt_begins(&mut self, entry: EntryKey) {
        if self.flush_later.is_empty() {
            return;
        }
        let entry = &self.entries[entry];
        let id = self.messages[entry.message].id;
        let Some(sites) = self.flush_later.get_mut(&id) else { return };
        let record = &self.record;
        let tried =
            |site: &str| entry.recipients.iter().any(|recipient| record.name(recipient.site) == Some(site));
        sites.retain(|one| one.until == Until::Run || !tried(&one.site));
        if sites.is_empty() {
            self.flush_later.remove(&id);
        }
    }

    /// A message can be tried again that was asked for while it could not.
    pub(crate) fn flush_postponed(&mut self, id: QueueId) {
        let Some(mut sites) = self.flush_later.remove(&id) else { return };
        sites.retain(|one| self.record.contains(&one.site, id));
        let waiting = self.stubs.get_mut(id).filter(|stub| stub.queue == Queue::Deferred);
        if let (Some(stub), Some(one)) = (waiting.filter(|stub| !stub.released), sites.pop()) {
            stub.released = true;
            self.begin_flush(&one.site, VecDeque::from([id]), true);
        }
        if !sites.is_empty() {
            self.flush_later.insert(id, sites);
        }
    }

    /// Lets as many messages of a site flush go as it may have in memory.
    fn feed_flush(&mut self, number: u64) {
        let Some(flush) = self.flushes.get_mut(&number) else { return };
        while flush.in_flight < flush.allowed {
            let Some(id) = flush.ids.pop_front() else { break };
            // Held, deleted, or finished meanwhile.
            let waiting =
                self.stubs.get(id).is_some_and(|stub| stub.queue == Queue::Deferred && stub.released);
            let Some(scope) = self.record.site(&flush.site).filter(|_| waiting) else { continue };
            let activation = Activation {
                override_defer: true,
                revive: flush.revive && !flush.probed,
                scope: Some(scope),
                flush: Some(number),
                over_time: false,
            };
            flush.probed = true;
            flush.in_flight += 1;
            self.released.push_back((id, activation));
        }
        if flush.in_flight == 0 && flush.ids.is_empty() {
            self.end_flush(number);
        }
    }

    fn end_flush(&mut self, number: u64) {
        let Some(SiteFlush { site, .. }) = self.flushes.remove(&number) else { return };
        if let Some(count) = self.flushed_sites.get_mut(&site) {
            *count -= 1;
            if *count == 0 {
                self.flushed_sites.remove(&site);
            }
        }
    }

    /// A message of a site flush has left memory. `dead`: it was not tried because the site is.
    pub(crate) fn flushed_one(&mut self, number: u64, site_failed: bool, dead: bool) {
        let Some(flush) = self.flushes.get_mut(&number) else { return };
        flush.in_flight -= 1;
        flush.answered |= !site_failed;
        flush.allowed = if site_failed { 1 } else { (flush.allowed * 2).min(ALLOWED_MAX) };
        if dead || !flush.answered {
            for id in std::mem::take(&mut flush.ids) {
                if let Some(stub) = self.stubs.get_mut(id).filter(|stub| stub.queue == Queue::Deferred) {
                    stub.released = false;
                    self.log_waiting(id);
                }
            }
        }
        self.feed_flush(number);
    }

    /// Names a deferred message to be tried next. Returns whether it was not named already.
    pub(crate) fn release_one(&mut self, id: QueueId, activation: Activation) -> bool {
        let Some(stub) = self.stubs.get_mut(id) else { return false };
        if stub.queue != Queue::Deferred || std::mem::replace(&mut stub.released, true) {
            return false;
        }
        self.released.push_back((id, activation));
        true
    }

    /// Wakes a message that was deferred only because its destination was dead.
    pub(crate) fn wake_message(&mut self, id: QueueId) -> bool {
        let waits = self.stubs.get(id).is_some_and(|stub| stub.flags.site_wait);
        waits && self.release_one(id, Activation::default())
    }

    /// Tries these deferred messages now, as one operation.
    pub(crate) fn release_all_of(&mut self, ids: &[QueueId]) -> Changed {
        let mut changed = Changed::default();
        for id in ids {
            let change = match self.stubs.get(*id).map(|stub| stub.queue) {
                Some(Queue::Deferred) if self.release_one(*id, Activation::default()) => Change::Done,
                _ => Change::None,
            };
            changed.count(*id, change);
        }
        changed
    }
}

/// The record by site, for views.
pub(crate) fn recorded_sites(record: &Record) -> Vec<(Arc<str>, u64)> {
    record.sites().map(|(site, count)| (site.into(), count as u64)).collect()
}
