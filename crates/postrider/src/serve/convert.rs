//! Between the engine's words and the spool's: neither knows the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail::{Outcome, QueueId, Time};
use qmgr::{MessageView, Stored};
use spool::{RecipientRecord, Summary};

/// A message of the spool as the engine wants it.
pub(crate) fn stored(id: QueueId, arrived: Time, size: u64, summary: Summary) -> Stored {
    Stored {
        id,
        arrived,
        entered: None,
        queue: engine_queue(summary.queue),
        due: summary.due,
        attempts: summary.attempts,
        size,
        null_sender: summary.null_sender,
        recipients: summary.recipients,
        unfinished: summary.unfinished,
        sites: summary.sites.into_iter().map(Arc::from).collect(),
        flags: engine_flags(summary.flags),
        reason: None,
    }
}

/// A change of the engine as the spool wants it. The records of the message, when it is in memory, are
/// brought up to date on the way.
pub(crate) fn state_change(
    view: &MessageView,
    change: &qmgr::StateChange,
    mut records: Option<&mut BTreeMap<u32, RecipientRecord>>,
    now: Time,
) -> spool::StateChange {
    let recipients = change
        .recipients
        .iter()
        .map(|(position, outcome)| {
            let before = records.as_mut().and_then(|records| records.remove(position));
            let record = record(*position, outcome, now, before.as_ref().map_or(0, |before| before.attempts));
            if let Some(records) = records.as_mut() {
                let mut with_history = record.clone();
                before.iter().for_each(|before| with_history.follow(before));
                records.insert(*position, with_history);
            }
            record
        })
        .collect();
    let summary = Summary {
        queue: spool_queue(change.queue),
        due: change.due,
        attempts: change.attempts,
        null_sender: view.null_sender,
        recipients: view.recipients,
        unfinished: change.unfinished,
        sites: change.sites.iter().map(|site| site.to_string()).collect(),
        flags: spool_flags(change.flags),
    };
    spool::StateChange { summary, recipients }
}

/// How a message ended.
pub(crate) fn ending(ending: qmgr::Ending) -> spool::Ending {
    match ending {
        qmgr::Ending::Delivered => spool::Ending::Delivered,
        qmgr::Ending::Bounced => spool::Ending::Bounced,
        qmgr::Ending::Expired => spool::Ending::Expired,
        qmgr::Ending::Deleted => spool::Ending::Deleted,
    }
}

fn record(position: u32, outcome: &Outcome, time: Time, attempts_before: u32) -> RecipientRecord {
    RecipientRecord {
        position,
        verdict: outcome.verdict,
        scope: outcome.scope,
        status: outcome.status,
        text: outcome.text.clone(),
        relay: outcome.relay.clone(),
        time,
        attempts: attempts_before.saturating_add(1),
        reported: false,
        earlier: Vec::new(),
    }
}

fn engine_queue(queue: spool::Queue) -> qmgr::Queue {
    match queue {
        spool::Queue::Incoming => qmgr::Queue::Incoming,
        spool::Queue::Deferred => qmgr::Queue::Deferred,
        spool::Queue::Hold => qmgr::Queue::Hold,
        spool::Queue::Corrupt => qmgr::Queue::Corrupt,
    }
}

/// Active mail is found as incoming after a restart.
fn spool_queue(queue: qmgr::Queue) -> spool::Queue {
    match queue {
        qmgr::Queue::Incoming | qmgr::Queue::Active => spool::Queue::Incoming,
        qmgr::Queue::Deferred => spool::Queue::Deferred,
        qmgr::Queue::Hold => spool::Queue::Hold,
        qmgr::Queue::Corrupt => spool::Queue::Corrupt,
    }
}

fn engine_flags(flags: spool::Flags) -> qmgr::Flags {
    let spool::Flags { force_expire, warned, site_wait, failure_due, success_due, deleted: _ } = flags;
    qmgr::Flags { force_expire, warned, site_wait, failure_due, success_due }
}

fn spool_flags(flags: qmgr::Flags) -> spool::Flags {
    let qmgr::Flags { force_expire, warned, site_wait, failure_due, success_due } = flags;
    spool::Flags { force_expire, warned, site_wait, failure_due, success_due, deleted: false }
}
