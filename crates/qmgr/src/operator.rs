//! What operators do to messages: hold, release, requeue, delete, expire.
//!
//! Promises: each command says how many messages it changed now, and how many it will change when the
//! delivery in flight is over; it never interrupts a delivery, and withdraws what has not begun.

use mail::QueueId;

use crate::engine::Engine;
use crate::event::Queue;
use crate::message::{MessageKey, Order};
use crate::note::Note;
use crate::view::{Change, Changed};

impl Engine {
    /// Gives an order about each message: carried out at once outside memory, after the run inside.
    pub(crate) fn order(&mut self, ids: &[QueueId], order: Order) -> Changed {
        let mut changed = Changed::default();
        for id in ids {
            let change = match self.active.get(id).copied() {
                Some(key) => {
                    self.messages[key].order = Some(order);
                    self.withdraw(key);
                    if self.active.contains_key(id) { Change::AfterAttempt } else { Change::Done }
                }
                None if self.carry_out(*id, order) => Change::Done,
                None => Change::None,
            };
            changed.count(*id, change);
        }
        changed
    }

    fn carry_out(&mut self, id: QueueId, order: Order) -> bool {
        let Some(stub) = self.stubs.get(id) else { return false };
        let (queue, due) = (stub.queue, stub.due);
        match order {
            Order::Delete => {
                self.remove_message(id, crate::Ending::Deleted);
                return true;
            }
            Order::Hold if matches!(queue, Queue::Hold | Queue::Corrupt) => return false,
            Order::Return => return false,
            Order::Hold => {
                self.stubs.enter(id, Queue::Hold, due);
                self.save(id, Vec::new(), None);
                self.note(Note::Held { id });
            }
            Order::Requeue => {
                self.restore_sites(id);
                self.stubs.enter(id, Queue::Incoming, due);
                self.save(id, Vec::new(), None);
                self.note(Note::Requeued { id });
            }
        }
        self.fresh.remove(&id);
        true
    }

    /// Takes back all entries of a message that no agent has. Its run may end with that.
    pub(crate) fn withdraw(&mut self, key: MessageKey) {
        for entry in self.waiting_entries(key) {
            let recipients = self.entries[entry].recipients.len();
            self.messages[key].untried += u32::try_from(recipients).unwrap_or(u32::MAX);
            self.finish_entry(entry);
        }
    }

    /// Releases held messages into deferred, with the due time they had.
    pub(crate) fn release_held(&mut self, ids: &[QueueId]) -> Changed {
        let mut changed = Changed::default();
        for id in ids {
            let change =
                if self.active.get(id).is_some_and(|key| self.messages[*key].order == Some(Order::Hold)) {
                    // Not on hold yet: the order is taken back.
                    let key = self.active[id];
                    self.messages[key].order = None;
                    Change::Done
                } else if self.release_from_hold(*id) {
                    Change::Done
                } else {
                    Change::None
                };
            changed.count(*id, change);
        }
        changed
    }

    fn release_from_hold(&mut self, id: QueueId) -> bool {
        let Some(stub) = self.stubs.get(id).filter(|stub| stub.queue == Queue::Hold) else { return false };
        self.stubs.enter(id, Queue::Deferred, stub.due);
        self.save(id, Vec::new(), None);
        self.note(Note::Released { id });
        self.log_waiting(id);
        self.flush_postponed(id);
        true
    }

    /// Marks messages to be returned at their next attempt.
    pub(crate) fn force_expire(&mut self, ids: &[QueueId], also_release: bool) -> Changed {
        let mut changed = Changed::default();
        for id in ids {
            let marked = match self.stubs.get_mut(*id) {
                Some(stub) if stub.queue != Queue::Corrupt => {
                    !std::mem::replace(&mut stub.flags.force_expire, true)
                }
                _ => {
                    changed.count(*id, Change::None);
                    continue;
                }
            };
            if marked {
                self.save(*id, Vec::new(), None);
                self.note(Note::ForceExpire { id: *id });
            }
            let released = also_release && self.release_from_hold(*id);
            let change = match marked || released {
                false => Change::None,
                true if self.active.contains_key(id) => Change::AfterAttempt,
                true => Change::Done,
            };
            changed.count(*id, change);
        }
        changed
    }
}
