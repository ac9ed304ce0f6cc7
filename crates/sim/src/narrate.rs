//! From the notes of the engine to the events of a trace: ids become labels, positions addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail::QueueId;
use qmgr::{DeliveryNumber, FlushOf, Note, ReportKind};

use crate::scenario::{Answer, Message};
use crate::trace::{Event, Flushed, Place};

/// What is needed to speak of messages by their labels. Keeps what has ended: late notes need it.
#[derive(Debug, Default)]
pub(crate) struct Narrator {
    messages: BTreeMap<QueueId, Message>,
    ids: BTreeMap<Arc<str>, QueueId>,
    /// How deliveries ended whose end the engine has not noted yet.
    results: BTreeMap<DeliveryNumber, Answer>,
}

impl Narrator {
    pub(crate) fn know(&mut self, id: QueueId, message: &Message) {
        self.messages.insert(id, message.clone());
        self.ids.insert(Arc::clone(&message.name), id);
    }

    pub(crate) fn ended(&mut self, number: DeliveryNumber, answer: Answer) {
        self.results.insert(number, answer);
    }

    /// The id of a label; nothing when the message has not appeared yet.
    pub(crate) fn id(&self, label: &str) -> Option<QueueId> {
        self.ids.get(label).copied()
    }

    pub(crate) fn label(&self, id: QueueId) -> Arc<str> {
        self.messages.get(&id).map_or_else(|| id.to_string().into(), |message| Arc::clone(&message.name))
    }

    /// In the order of the envelope, however they were decided.
    fn addresses(&self, id: QueueId, positions: &[u32]) -> Vec<Arc<str>> {
        let recipients = self.messages.get(&id).map_or(&[][..], |message| &message.recipients);
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions
            .iter()
            .filter_map(|position| recipients.get(*position as usize))
            .map(|recipient| Arc::clone(&recipient.address))
            .collect()
    }

    /// The event of a note; nothing for what a trace leaves out (recipients that an agent decided: they
    /// are in `done` and `deferred`).
    pub(crate) fn event(&mut self, note: Note) -> Option<Event> {
        Some(match note {
            Note::Accepted { id, recipients } => Event::Accepted { message: self.label(id), recipients },
            Note::Active { id, from } => Event::Active { message: self.label(id), from: from.name() },
            Note::Select { n, id, transport, destination: site, recipients, .. } => {
                Event::Select { n, message: self.label(id), site, transport, recipients }
            }
            Note::Done { number, id, destination: site, window, .. } => {
                let result = self.results.remove(&number).unwrap_or(Answer::Die);
                Event::Done { message: self.label(id), site, result, window }
            }
            Note::Recipient { id, address, outcome, number: None, .. } => Event::Decided {
                message: self.label(id),
                recipient: address,
                status: outcome.status.to_string(),
                text: outcome.text,
            },
            Note::Recipient { .. } => return None,
            Note::Window { .. }
            | Note::Dead { .. }
            | Note::Alive { .. }
            | Note::Suspended { .. }
            | Note::Resumed { .. }
            | Note::Clogged { .. }
            | Note::Feedback { .. } => of_place(note)?,
            Note::Scan { queue, examined, taken } => Event::Scan { queue: queue.name(), examined, taken },
            Note::Flush { of, answer, released } => {
                Event::Flush { what: self.flushed(of), result: answer.as_str(), released }
            }
            other => self.of_message(other)?,
        })
    }

    fn of_message(&self, note: Note) -> Option<Event> {
        Some(match note {
            Note::Deferred { id, next, reason, positions } => {
                let recipients = self.addresses(id, &positions);
                Event::Deferred { message: self.label(id), next, reason, recipients }
            }
            Note::Warned { id, positions } => {
                Event::Warned { message: self.label(id), recipients: self.addresses(id, &positions) }
            }
            Note::Bounced { id, positions } => {
                Event::Bounced { message: self.label(id), recipients: self.addresses(id, &positions) }
            }
            Note::Expired { id, positions, .. } => {
                Event::Expired { message: self.label(id), recipients: self.addresses(id, &positions) }
            }
            Note::ReportFailed { id, kind, .. } => {
                Event::Unreported { message: self.label(id), report: report_name(kind) }
            }
            Note::Held { id } => Event::Held { message: self.label(id) },
            Note::Released { id } => Event::Released { message: self.label(id) },
            Note::Requeued { id } => Event::Requeued { message: self.label(id) },
            Note::Deleted { id } => Event::Deleted { message: self.label(id) },
            Note::ForceExpire { id } => Event::Expiring { message: self.label(id) },
            Note::Corrupt { id, .. } => Event::Corrupt { message: self.label(id) },
            Note::Skipped { id, next, .. } => Event::Skipped { message: self.label(id), next },
            Note::Removed { id } => Event::Removed { message: self.label(id) },
            _ => return None,
        })
    }

    fn flushed(&self, of: FlushOf) -> Flushed {
        match of {
            FlushOf::Site(site) => Flushed::Site(site),
            FlushOf::Message(id) => Flushed::Message(self.label(id)),
            FlushOf::All => Flushed::All(true),
            FlushOf::Waiting => Flushed::Waiting(true),
        }
    }
}

fn of_place(note: Note) -> Option<Event> {
    Some(match note {
        Note::Window { transport, destination: site, from, to } => {
            Event::Window { site, transport, from, to }
        }
        Note::Dead { place, reason } => Event::Dead { place: named(place), reason },
        Note::Alive { place, reason } => Event::Alive { place: named(place), reason },
        Note::Suspended { place } => Event::Suspended { place: named(place) },
        Note::Resumed { place } => Event::Resumed { place: named(place) },
        Note::Clogged { transport, destination: site, entries, .. } => {
            Event::Clogged { site, transport, entries }
        }
        Note::Feedback { transport, destination: site, text } => Event::Feedback { site, transport, text },
        _ => return None,
    })
}

fn named(place: qmgr::Place) -> Place {
    match place.destination {
        Some(site) => Place::Site(site),
        None => Place::Transport(place.transport),
    }
}

const fn report_name(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Failure => "failure",
        ReportKind::Expired => "expired",
        ReportKind::ForceExpired => "force-expired",
        ReportKind::Delay => "delay",
        ReportKind::DelayCleared => "delay-cleared",
        ReportKind::Success => "success",
    }
}
