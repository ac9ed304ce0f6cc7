//! What happens to a message in memory at a time of its own: the warning of its sender and the end of its
//! life come when they come, also while it waits for its turn behind a busy site.
//!
//! Promises: deliveries in flight are never interrupted; recipients that wait are given up at the end of
//! life, and then the message is over as soon as those in flight are. A message that enters memory later than
//! that gets its attempt first.
//!
//! Refuses: times where mail is tried by scans only (`queue_run_delay`): there an attempt comes first, as in
//! Postfix. Mail that waits for room in memory has no appointments, but see [`crate::overtime`].

use mail::{EnhancedStatus, Outcome, Scope};

use crate::backoff;
use crate::effect::Effect;
use crate::engine::Engine;
use crate::entry::{Assigned, EntryKey};
use crate::event::ReportKind;
use crate::message::{Early, MessageKey};
use crate::report::Via;

/// Delivery time expired (RFC 3463 3.5).
const TIME_OVER: EnhancedStatus = EnhancedStatus::new(4, 4, 7);

impl Engine {
    /// Sets the timer for the next of the message's appointments, if there is one.
    pub(crate) fn make_appointment(&mut self, key: MessageKey) {
        self.forget_appointment(key);
        let Some(message) = self.messages.get(key) else { return };
        let global = &self.config.global;
        if !global.queue_run_delay.is_zero() || message.time_over {
            return;
        }
        let warned = self.stubs.get(message.id).is_none_or(|stub| stub.flags.warned);
        let end = backoff::end_of_life(global, message.arrived, message.null_sender);
        let warning = backoff::warning_time(global, message.arrived, message.null_sender);
        let times = [Some(end), warning.filter(|_| !warned)];
        let Some(at) = times.into_iter().flatten().filter(|at| *at > self.now).min() else { return };
        self.messages[key].appointment = Some(at);
        self.appointments.insert((at, key), ());
    }

    /// The message leaves memory, or gets another appointment.
    pub(crate) fn forget_appointment(&mut self, key: MessageKey) {
        if let Some(at) = self.messages.get_mut(key).and_then(|message| message.appointment.take()) {
            self.appointments.remove(&(at, key));
        }
    }

    /// The time has come.
    pub(crate) fn keep_appointment(&mut self, key: MessageKey) {
        let Some(message) = self.messages.get_mut(key) else { return };
        message.appointment = None;
        if message.order.is_some() || message.reporting.is_some() {
            // The run is as good as over; its end looks at the clock.
            return;
        }
        let global = &self.config.global;
        if self.now >= backoff::end_of_life(global, message.arrived, message.null_sender) {
            return self.give_up_waiting(key);
        }
        if backoff::warning_due(global, self.now, message.arrived, message.null_sender) {
            self.warn_early(key);
        }
        self.make_appointment(key);
    }

    /// The end of life: what waits for its turn has none any more.
    fn give_up_waiting(&mut self, key: MessageKey) {
        self.messages[key].time_over = true;
        for entry in self.waiting_entries(key) {
            let via = self.via(self.entries[entry].destination);
            for recipient in self.entries[entry].recipients.clone() {
                self.give_up(key, &recipient, &via);
            }
            self.finish_entry(entry);
        }
    }

    /// A recipient's time is over. What the last attempt said stays its last word.
    pub(crate) fn give_up(&mut self, key: MessageKey, recipient: &Assigned, via: &Via) {
        if recipient.recorded {
            let message = &mut self.messages[key];
            message.deferred.push(recipient.position);
            message.deferred_itself = true;
            return;
        }
        let text = "delivery time expired while it waited for its turn";
        self.record_outcome(key, recipient, Outcome::deferred(Scope::Message, TIME_OVER, text), via);
    }

    /// The entries of a message that no agent has.
    pub(crate) fn waiting_entries(&self, key: MessageKey) -> Vec<EntryKey> {
        let peers = self.messages[key].jobs.iter().flat_map(|job| self.jobs[*job].peers.values());
        peers.flat_map(|peer| self.peers[peer].entries.iter().copied()).collect()
    }

    /// The sender is told of the delay in the middle of the run: of all recipients in memory that are not
    /// finished, those in delivery among them.
    fn warn_early(&mut self, key: MessageKey) {
        let message = &self.messages[key];
        let warned = self.stubs.get(message.id).is_none_or(|stub| stub.flags.warned);
        if warned || message.early.is_some() {
            return;
        }
        let mut positions = message.deferred.clone();
        let in_delivery = self
            .in_flight
            .after(None)
            .map(|(_, entry)| *entry)
            .filter(|entry| self.entries[*entry].message == key);
        let entries = self.waiting_entries(key).into_iter().chain(in_delivery);
        positions
            .extend(entries.flat_map(|entry| self.entries[entry].recipients.iter().map(|one| one.position)));
        if positions.is_empty() {
            return;
        }
        positions.sort_unstable();
        let id = message.id;
        self.messages[key].early = Some(Early { kind: ReportKind::Delay, positions: positions.clone() });
        // The outcomes must be readable by whoever writes the report.
        self.save_active(key);
        self.outbox.push_back(Effect::Report { id, kind: ReportKind::Delay, positions });
    }
}
