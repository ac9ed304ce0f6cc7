//! Messages that cannot be read: one of them costs no other anything.
//!
//! Promises: what was decided before the damage was found stays decided; a corrupt message keeps its sites
//! for the day it is queued again, but waits for none of them.

use std::sync::Arc;
use std::time::Duration;

use flush::SiteId;
use mail::QueueId;

use crate::effect::Effect;
use crate::engine::Engine;
use crate::event::{LoadError, Queue};
use crate::message::MessageKey;
use crate::note::Note;

/// How long a message that could not be read is left alone.
const UNREADABLE_RETRY: Duration = Duration::from_secs(60);

impl Engine {
    /// The run of a message ends because the rest of it could not be read. Returns whether that was all;
    /// otherwise the run ends like any other, with what was read.
    pub(crate) fn end_unreadable(&mut self, key: MessageKey, error: LoadError) -> bool {
        let message = &mut self.messages[key];
        let id = message.id;
        match error {
            LoadError::Unreadable(reason) if message.attempted || !message.deferred.is_empty() => {
                // What was not read is tried with the next run.
                message.untried += 1;
                message.reason = Some(reason);
                return false;
            }
            LoadError::Unreadable(reason) => {
                self.leave_memory(key);
                let next = self.now + UNREADABLE_RETRY;
                self.stubs.enter(id, Queue::Deferred, next);
                self.note(Note::Skipped { id, reason, next });
            }
            LoadError::Corrupt(reason) => {
                self.settle_sites(key);
                if !self.messages[key].unsaved.is_empty() {
                    self.save_active(key);
                }
                self.leave_memory(key);
                self.quarantine(id, reason);
            }
            LoadError::Gone => {
                self.leave_memory(key);
                self.forget_message(id);
            }
        }
        true
    }

    /// Sets a damaged message aside.
    fn quarantine(&mut self, id: QueueId, reason: Arc<str>) {
        self.stubs.enter(id, Queue::Corrupt, self.now);
        let shared = self.reasons.share(&reason);
        if let Some(stub) = self.stubs.get_mut(id) {
            stub.reason = Some(shared);
            let sites = std::mem::replace(&mut stub.sites, std::iter::empty().collect());
            let logged = std::mem::take(&mut stub.logged);
            self.damaged_sites.insert(id, self.site_names(&sites));
            for site in sites.as_slice() {
                self.forget_in_record(*site, id, logged);
            }
        }
        self.outbox.push_back(Effect::Quarantine { id, reason: Arc::clone(&reason) });
        self.note(Note::Corrupt { id, reason });
    }

    /// The spool no longer has the message: so do we.
    fn forget_message(&mut self, id: QueueId) {
        if let Some(stub) = self.stubs.remove(id) {
            for site in stub.sites.as_slice() {
                self.forget_in_record(*site, id, stub.logged);
            }
            self.flush_later.remove(&id);
        }
        self.entered.remove(&id);
    }

    /// A corrupt message is queued again: it waits for its sites.
    pub(crate) fn restore_sites(&mut self, id: QueueId) {
        if let Some(sites) = self.damaged_sites.remove(&id) {
            self.record_sites(id, &sites);
        }
    }

    /// Notes in the stub and in the record which sites the message waits for.
    pub(crate) fn record_sites(&mut self, id: QueueId, names: &[Arc<str>]) {
        let mut sites: Vec<SiteId> = names.iter().map(|site| self.record.add(site, id)).collect();
        sites.sort_unstable();
        sites.dedup();
        if let Some(stub) = self.stubs.get_mut(id) {
            stub.sites = sites.into_iter().collect();
        }
    }
}
