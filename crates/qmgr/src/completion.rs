//! The end of a message's run: more recipients to read, reports to its sender, and then removed,
//! deferred, or wherever an operator wants it.
//!
//! Promises: one failure report for all recipients that failed in a run; nothing that depends on a report
//! is saved or removed before the report is durable; a report that cannot be made keeps the message.
//! Time over is checked after a failed run, and when messages wake at their own due time, the end of life
//! and the time of the warning are such times. In memory they are timers ([`crate::appointment`]).

use std::sync::Arc;

use flush::SiteId;
use mail::Time;

use crate::backoff;
use crate::effect::{Effect, Ending, StateChange};
use crate::engine::Engine;
use crate::event::{Queue, ReportKind};
use crate::few::FewMap;
use crate::message::{MessageKey, Order, Reporting, Sites};
use crate::note::Note;

/// Messages with more sites than this are shortened in the record at the end of a run only, and their
/// names are listed once a run.
const SITES_LISTED_MAX: usize = 64;

impl Engine {
    /// The last entry of a message is done: goes on reading, or ends the run.
    pub(crate) fn complete(&mut self, key: MessageKey) {
        let message = &self.messages[key];
        let reports = message.reporting.is_some() || message.early.is_some();
        if message.entries > 0 || message.loading || reports {
            return;
        }
        if message.order == Some(Order::Delete) {
            return self.end(key, Ending::Deleted);
        }
        if let Some(error) = self.messages[key].unreadable.clone() {
            if self.end_unreadable(key, error) {
                return;
            }
        } else if self.messages[key].next.is_some() && self.messages[key].order.is_none() {
            return self.load_more(key);
        }
        self.forget_early_report(key);
        let (expired, mut queue) = self.reports_of(key);
        let Some(first) = queue.pop() else { return self.finish_run(key, expired) };
        // The outcomes must be readable by whoever writes the report.
        self.save_active(key);
        self.messages[key].reporting = Some(Reporting { queue, pending: first, expired });
        self.ask_report(key);
    }

    /// Whether time is over, and the reports to make, the last one first.
    fn reports_of(&self, key: MessageKey) -> (bool, Vec<(ReportKind, Vec<u32>)>) {
        let message = &self.messages[key];
        let (global, now) = (&self.config.global, self.now);
        let flags = self.stubs.get(message.id).map(|stub| stub.flags).unwrap_or_default();
        let end = backoff::end_of_life(global, message.arrived, message.null_sender);
        let failed = !message.deferred.is_empty();
        let expired =
            failed && message.untried == 0 && message.order.is_none() && (flags.force_expire || now >= end);
        let mut queue = Vec::new();
        let late = failed && !expired && message.order.is_none() && !flags.warned;
        if late && backoff::warning_due(global, now, message.arrived, message.null_sender) {
            queue.push((ReportKind::Delay, message.deferred.clone()));
        }
        let bounced = message.told || !message.bounced.is_empty();
        let arrived_late = !failed && message.untried == 0 && !bounced && flags.warned;
        if arrived_late && global.confirm_delay_cleared {
            queue.push((ReportKind::DelayCleared, Vec::new()));
        }
        if expired {
            let kind = if flags.force_expire { ReportKind::ForceExpired } else { ReportKind::Expired };
            let bounced = if message.failure_before { &[][..] } else { &message.bounced };
            let mut positions = [bounced, message.deferred.as_slice()].concat();
            positions.sort_unstable();
            queue.push((kind, positions));
        }
        if flags.failure_due && message.failure_before {
            // The positions of an earlier run are not known here: all on record are meant.
            queue.push((ReportKind::Failure, Vec::new()));
        } else if flags.failure_due && !expired {
            queue.push((ReportKind::Failure, message.bounced.clone()));
        }
        if flags.success_due {
            let known = if message.success_before { &[][..] } else { &message.delivered };
            queue.push((ReportKind::Success, known.to_vec()));
        }
        (expired, queue)
    }

    fn ask_report(&mut self, key: MessageKey) {
        let message = &self.messages[key];
        let Some(reporting) = &message.reporting else { return };
        let (kind, positions) = reporting.pending.clone();
        self.outbox.push_back(Effect::Report { id: message.id, kind, positions });
    }

    /// A report is durable, or was refused.
    pub(crate) fn reported(&mut self, key: MessageKey, kind: ReportKind, result: Result<(), Arc<str>>) {
        let message = &mut self.messages[key];
        if let Some(early) = message.early.take_if(|early| early.kind == kind) {
            return self.reported_early(key, early, result);
        }
        let Some(mut reporting) = message.reporting.take_if(|reporting| reporting.pending.0 == kind) else {
            return;
        };
        let (id, positions) = (message.id, std::mem::take(&mut reporting.pending.1));
        match result {
            Ok(()) => self.note_reported(key, kind, positions),
            Err(reason) => {
                // The deferral names the report, unless the mail itself has something to say.
                if message.deferred.is_empty() {
                    message.reason = Some(Arc::clone(&reason));
                }
                self.note(Note::ReportFailed { id, kind, reason });
                // A message that is owed a report must live, so its time is not over yet.
                if !matches!(kind, ReportKind::Delay | ReportKind::DelayCleared) {
                    reporting.expired = false;
                    let time_over = |kind| matches!(kind, ReportKind::Expired | ReportKind::ForceExpired);
                    reporting.queue.retain(|(kind, _)| !time_over(*kind));
                }
            }
        }
        match reporting.queue.pop() {
            Some(next) => {
                reporting.pending = next;
                self.messages[key].reporting = Some(reporting);
                self.ask_report(key);
            }
            None => self.finish_run(key, reporting.expired),
        }
    }

    fn note_reported(&mut self, key: MessageKey, kind: ReportKind, positions: Vec<u32>) {
        let message = &self.messages[key];
        let (id, bounced, deferred) = (message.id, message.bounced.clone(), message.deferred.clone());
        let Some(stub) = self.stubs.get_mut(id) else { return };
        match kind {
            ReportKind::Failure => {
                stub.flags.failure_due = false;
                self.note(Note::Bounced { id, positions });
            }
            ReportKind::Expired | ReportKind::ForceExpired => {
                let together = std::mem::take(&mut stub.flags.failure_due);
                if together && !bounced.is_empty() {
                    self.note(Note::Bounced { id, positions: bounced });
                }
                let forced = kind == ReportKind::ForceExpired;
                self.note(Note::Expired { id, forced, positions: deferred });
            }
            ReportKind::Delay => {
                stub.flags.warned = true;
                self.note(Note::Warned { id, positions });
            }
            ReportKind::Success => stub.flags.success_due = false,
            ReportKind::DelayCleared => {}
        }
    }

    /// All reports are answered: the message goes where it belongs.
    fn finish_run(&mut self, key: MessageKey, expired: bool) {
        let message = &self.messages[key];
        let deleted = message.order == Some(Order::Delete);
        let bounced = message.told || !message.bounced.is_empty();
        let ending = match (deleted, expired, !bounced) {
            (true, _, _) => Ending::Deleted,
            (false, true, _) => Ending::Expired,
            (false, false, false) => Ending::Bounced,
            (false, false, true) => Ending::Delivered,
        };
        let stub = self.stubs.get(message.id);
        let unread = stub.is_some_and(|stub| stub.unfinished > 0);
        let unfinished = unread || !message.deferred.is_empty() || message.untried > 0;
        let flags = stub.map(|stub| stub.flags).unwrap_or_default();
        let owed = flags.failure_due || flags.success_due;
        if deleted || expired || !(unfinished || owed) {
            self.end(key, ending);
        } else {
            self.put_back(key);
        }
    }

    /// The run is over and the message lives on: deferred, held, or queued anew.
    fn put_back(&mut self, key: MessageKey) {
        self.settle_sites(key);
        let message = &self.messages[key];
        let id = message.id;
        let wakeup = self.config.global.site_recovery_wakeup;
        let passed_over = message.order == Some(Order::Return) && !message.attempted;
        let spent = !passed_over && (message.attempted || message.deferred_itself || !wakeup);
        let site_wait = wakeup && !message.deferred_itself && !message.waits_for.is_empty();
        let due = self.due_after(key);
        let message = &self.messages[key];
        let queue = match message.order {
            Some(Order::Hold) => Queue::Hold,
            Some(Order::Requeue | Order::Return) => Queue::Incoming,
            Some(Order::Delete) | None => Queue::Deferred,
        };
        let reason = message.reason.clone();
        let kept = reason.as_ref().map(|reason| self.reasons.share(reason));
        let Some(stub) = self.stubs.get_mut(id) else { return };
        stub.attempts += u32::from(spent);
        stub.flags.site_wait = site_wait;
        stub.reason = kept.or_else(|| stub.reason.take());
        self.stubs.enter(id, queue, due);
        let unsaved = std::mem::take(&mut self.messages[key].unsaved);
        self.save(id, unsaved, None);
        let deferred = std::mem::take(&mut self.messages[key].deferred);
        if !deferred.is_empty() || queue == Queue::Deferred {
            let reason = reason.unwrap_or_else(|| "".into());
            self.note(Note::Deferred { id, next: due, reason, positions: deferred });
        }
        match queue {
            Queue::Hold => self.note(Note::Held { id }),
            Queue::Incoming if self.messages[key].order == Some(Order::Requeue) => {
                self.note(Note::Requeued { id });
            }
            _ => {}
        }
        if site_wait && queue == Queue::Deferred {
            let waits_for = self.messages[key].waits_for.clone();
            self.register_waiting(id, &waits_for);
        }
        self.log_waiting(id);
        self.leave_memory(key);
        self.flush_postponed(id);
    }

    /// When a message that was tried now is tried again. Mail that was passed over keeps its time.
    fn due_after(&mut self, key: MessageKey) -> Time {
        let message = &self.messages[key];
        let kept = self.stubs.get(message.id).map_or(Time::ZERO, |stub| stub.due);
        if message.untried > 0 && kept > self.now {
            return kept;
        }
        let global = &self.config.global;
        let due = self.now + backoff::delay(global, &mut self.rng, self.now, message.arrived);
        if !global.queue_run_delay.is_zero() {
            return due;
        }
        let warned = self.stubs.get(message.id).is_some_and(|stub| stub.flags.warned);
        let end = backoff::end_of_life(global, message.arrived, message.null_sender);
        let warning = backoff::warning_time(global, message.arrived, message.null_sender);
        let appointments = [Some(end), warning.filter(|_| !warned)];
        appointments.into_iter().flatten().filter(|at| *at > self.now).fold(due, Time::min)
    }

    /// The message has ended.
    fn end(&mut self, key: MessageKey, ending: Ending) {
        let id = self.messages[key].id;
        self.leave_memory(key);
        self.remove_message(id, ending);
    }

    /// Forgets a message that is not in memory, everywhere.
    pub(crate) fn remove_message(&mut self, id: mail::QueueId, ending: Ending) {
        let Some(stub) = self.stubs.remove(id) else { return };
        for site in stub.sites.as_slice() {
            self.forget_in_record(*site, id, stub.logged);
        }
        self.flush_later.remove(&id);
        self.fresh.remove(&id);
        self.damaged_sites.remove(&id);
        self.entered.remove(&id);
        self.outbox.push_back(Effect::Remove { id, ending });
        if ending == Ending::Deleted {
            self.note(Note::Deleted { id });
        }
        self.note(Note::Removed { id });
    }

    /// Takes a message out of memory; its stub stays.
    pub(crate) fn leave_memory(&mut self, key: MessageKey) {
        self.forget_early_report(key);
        self.forget_appointment(key);
        let jobs = std::mem::take(&mut self.messages[key].jobs);
        for job in jobs {
            self.free_job(job);
        }
        let Some(message) = self.messages.remove(key) else { return };
        self.reserved -= message.reserved;
        self.reading -= usize::from(message.loading);
        self.active.remove(&message.id);
        if let Some(flush) = message.activation.flush {
            let is_dead = |key| self.destinations.get(key).is_some_and(|site| site.throttled().is_some());
            let dead = message.waits_for.iter().any(|key| is_dead(*key));
            self.flushed_one(flush, message.site_failed, dead);
        }
    }

    /// The run is over: the stub and the record name exactly the sites that are unfinished.
    pub(crate) fn settle_sites(&mut self, key: MessageKey) {
        let message = &mut self.messages[key];
        let (id, left) = (message.id, std::mem::replace(&mut message.left, FewMap::new()));
        let fully_read = message.next.is_none();
        let Some(stub) = self.stubs.get_mut(id) else { return };
        let known = stub.sites.clone();
        // Unread recipients may be for any site that was known.
        let unread = known.as_slice().iter().copied().filter(|_| !fully_read);
        let open = left.iter().filter(|(_, count)| *count > 0).map(|(site, _)| site);
        let mut sites: Vec<SiteId> = open.chain(unread).collect();
        sites.sort_unstable();
        sites.dedup();
        stub.sites = Sites::from_iter(sites.iter().copied());
        let logged = stub.logged;
        let read = left.iter().map(|(site, _)| site);
        let all = known.as_slice().iter().copied().chain(read);
        for site in all.filter(|site| sites.binary_search(site).is_err()) {
            self.forget_in_record(site, id, logged);
        }
    }

    /// A site of an active message is finished. Cheap for few sites; mailings wait for the end of the run.
    pub(crate) fn forget_site(&mut self, key: MessageKey, site: SiteId) {
        let message = &mut self.messages[key];
        let id = message.id;
        let Some(stub) = self.stubs.get_mut(id) else { return };
        let sites = stub.sites.as_slice();
        if sites.len() <= SITES_LISTED_MAX {
            stub.sites = sites.iter().copied().filter(|other| *other != site).collect();
            message.left.remove(site);
            let logged = stub.logged;
            self.forget_in_record(site, id, logged);
        }
    }

    /// Stores the state of an active message with what was decided since the last time.
    pub(crate) fn save_active(&mut self, key: MessageKey) {
        let message = &mut self.messages[key];
        let (id, unsaved) = (message.id, std::mem::take(&mut message.unsaved));
        let names = message.site_names.clone();
        let names = self.save(id, unsaved, names);
        if names.len() > SITES_LISTED_MAX {
            self.messages[key].site_names = Some(names);
        }
    }

    /// Stores the state of a message. The names of its sites are listed unless they are given.
    pub(crate) fn save(
        &mut self,
        id: mail::QueueId,
        recipients: Vec<(u32, mail::Outcome)>,
        names: Option<Arc<[Arc<str>]>>,
    ) -> Arc<[Arc<str>]> {
        let Some(stub) = self.stubs.get(id) else { return Arc::from([]) };
        let sites = names.unwrap_or_else(|| self.site_names(&stub.sites).into());
        let change = StateChange {
            queue: stub.queue,
            due: stub.due,
            attempts: stub.attempts,
            unfinished: stub.unfinished,
            flags: stub.flags,
            recipients,
            sites: Arc::clone(&sites),
        };
        self.outbox.push_back(Effect::Save { id, change });
        sites
    }

    pub(crate) fn site_names(&self, sites: &Sites) -> Vec<Arc<str>> {
        sites.as_slice().iter().filter_map(|site| self.record.name(*site).map(Arc::from)).collect()
    }
}
