//! What agents report: outcomes go on record, the site gets its feedback.
//!
//! Promises: whatever a report says, each recipient of the delivery gets exactly one outcome. A failure
//! of a recipient or message is a success of the site; a vanished agent is a failure of the site it was
//! delivering to, and of no other.

use std::sync::Arc;

use mail::{EnhancedStatus, Outcome, Scope, Time, Verdict};

use crate::destination::{Cause, DestinationKey};
use crate::engine::Engine;
use crate::entry::Assigned;
use crate::event::{DeliveryNumber, Report};
use crate::message::MessageKey;
use crate::note::{Delays, Note};

/// Under which circumstances a recipient was decided.
#[derive(Clone, Debug)]
pub(crate) struct Via {
    pub(crate) transport: Arc<str>,
    pub(crate) destination: Arc<str>,
    pub(crate) number: Option<DeliveryNumber>,
    pub(crate) selected: Option<Time>,
    /// The destination to blame for an outcome of scope `Site`.
    pub(crate) site: Option<DestinationKey>,
}

const UNKNOWN_ERROR: EnhancedStatus = EnhancedStatus::new(4, 3, 0);

/// Outcomes that no save has carried are saved when there are this many, so that a mailing does not pile
/// them up.
const UNSAVED_MAX: usize = 1000;

impl Engine {
    /// Deals with a report: record, feedback, mass deferral, end of the entry.
    pub(crate) fn report(&mut self, number: DeliveryNumber, report: Report) {
        let Some(key) = self.in_flight.remove(&number) else { return };
        let entry = &self.entries[key];
        let (message, destination) = (entry.message, entry.destination);
        let recipients = entry.recipients.clone();
        let via = Via { number: Some(number), selected: entry.selected, ..self.via(destination) };
        let outcomes = outcomes_of(report, recipients.len());
        for (recipient, outcome) in recipients.iter().zip(&outcomes) {
            self.record_outcome(message, recipient, outcome.clone(), &via);
        }
        let worst =
            outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Deferred).max_by_key(|o| o.scope);
        let cause = worst.map(|outcome| Cause { status: outcome.status, text: Arc::clone(&outcome.text) });
        let scope = worst.map_or(Scope::Recipient, |outcome| outcome.scope);
        match &cause {
            Some(cause) if scope == Scope::Site => self.site_fails(destination, cause),
            Some(_) if scope == Scope::Transport => {}
            _ => {
                self.rouse_sleepers(destination, &recipients);
                self.site_answers(destination);
            }
        }
        let Via { transport, destination: name, .. } = via;
        let window = self.destinations[destination].window();
        let id = self.messages[message].id;
        self.note(Note::Done { number, id, transport, destination: name, window });
        if let Some(cause) = cause {
            if scope == Scope::Transport {
                self.throttle_transport(self.destinations[destination].transport, cause);
            } else if self.destinations[destination].throttled().is_some() {
                self.defer_todo(destination, &cause, true);
            }
        }
        let decided = outcomes.iter().any(|outcome| outcome.verdict != Verdict::Deferred);
        self.finish_entry(key);
        // Decided recipients are never repeated because of a crash later than the next commit.
        if decided && self.messages.get(message).is_some_and(|message| !message.unsaved.is_empty()) {
            self.save_active(message);
        }
    }

    /// Puts one recipient's outcome on record.
    pub(crate) fn record_outcome(
        &mut self,
        key: MessageKey,
        recipient: &Assigned,
        outcome: Outcome,
        via: &Via,
    ) {
        let soft_bounce = outcome.verdict == Verdict::Bounced && self.config.global.soft_bounce;
        let outcome = if soft_bounce { softened(outcome) } else { outcome };
        let message = &mut self.messages[key];
        let selected = via.selected.unwrap_or(self.now);
        let note = Note::Recipient {
            id: message.id,
            position: recipient.position,
            address: Arc::clone(&recipient.address),
            outcome: outcome.clone(),
            transport: Arc::clone(&via.transport),
            destination: Arc::clone(&via.destination),
            number: via.number,
            soft_bounce,
            delays: Delays {
                total: self.now.since(message.arrived),
                before_active: message.activated.since(message.arrived),
                in_active: selected.since(message.activated),
            },
        };
        self.outbox.push_back(crate::Effect::Note(note));
        if outcome.verdict == Verdict::Deferred {
            message.deferred.push(recipient.position);
            message.reason = Some(self.reasons.share(&outcome.text).text());
            message.site_failed |= outcome.scope >= Scope::Site;
            match via.site.filter(|_| outcome.scope == Scope::Site) {
                Some(site) if message.waits_for.contains(&site) => {}
                Some(site) => message.waits_for.push(site),
                None => message.deferred_itself = true,
            }
        } else {
            self.finish_recipient(key, recipient, outcome.verdict);
        }
        let message = &mut self.messages[key];
        message.unsaved.push((recipient.position, outcome));
        if message.unsaved.len() >= UNSAVED_MAX {
            self.save_active(key);
        }
    }

    /// A recipient is delivered or bounced.
    fn finish_recipient(&mut self, key: MessageKey, recipient: &Assigned, verdict: Verdict) {
        let message = &mut self.messages[key];
        let left = message.left.entry(recipient.site, 0);
        *left = left.saturating_sub(1);
        let site_done = *left == 0 && message.next.is_none() && !message.loading;
        let Some(stub) = self.stubs.get_mut(message.id) else { return };
        stub.unfinished = stub.unfinished.saturating_sub(1);
        match verdict {
            Verdict::Bounced => {
                message.bounced.push(recipient.position);
                stub.flags.failure_due = true;
                self.expect_early_report(key);
            }
            Verdict::Sent if recipient.notify_success => {
                message.delivered.push(recipient.position);
                stub.flags.success_due = true;
            }
            Verdict::Sent | Verdict::Deferred => {}
        }
        if site_done {
            self.forget_site(key, recipient.site);
        }
    }

    /// The circumstances of a destination, without a delivery.
    pub(crate) fn via(&self, key: DestinationKey) -> Via {
        let destination = &self.destinations[key];
        Via {
            transport: Arc::clone(&self.transports[destination.transport].name),
            destination: Arc::clone(&destination.name),
            number: None,
            selected: None,
            site: Some(key),
        }
    }
}

/// One outcome for each of `count` recipients, whatever the report holds.
fn outcomes_of(report: Report, count: usize) -> Vec<Outcome> {
    let died = |reason: &str| {
        let text = match reason {
            "" => "unknown mail transport error".to_owned(),
            reason => format!("unknown mail transport error: {reason}"),
        };
        Outcome::deferred(Scope::Site, UNKNOWN_ERROR, text)
    };
    match report {
        Report::All(outcome) => vec![outcome; count],
        Report::Died(reason) => vec![died(&reason); count],
        Report::Each(mut outcomes) => {
            outcomes.truncate(count);
            outcomes.resize_with(count, || died("incomplete report"));
            outcomes
        }
    }
}

/// A failure turned into a deferral (`soft_bounce`).
fn softened(outcome: Outcome) -> Outcome {
    Outcome {
        verdict: Verdict::Deferred,
        scope: outcome.scope.min(Scope::Message),
        status: outcome.status.with_class(4),
        ..outcome
    }
}
