//! Damaged messages: set aside, and told of.
//!
//! Promises: the sender is told, as RFC 3461 lets him choose, when the envelope is readable; the postmaster
//! is told when `notify_classes` has `software`. Then the message is marked as told; a crash in between
//! repeats a report at most once, and what could not be told is told at the next start.
//! Refuses: sending any of the damaged content to anybody. It is kept for an operator's look.

use std::sync::Arc;

use dsn::{Notice, NotifyClass, Plan, Planned};
use mail::{Address, EnhancedStatus, QueueId, Scope, Time, Verdict};
use qmgr::ReportKind;
use spool::{RecipientRecord, Salvaged, StoredMessage};
use tracing::{info, warn};

use super::engine_task::now;
use super::reports::{About, Reports, blocking, compose, kind_words, queue};
use super::work::Happened;

/// Recipients that a notice names.
const NAMED_MAX: usize = 50;
/// What the sender is told of each recipient.
const REASON: &str = "message content damaged in the queue; what is left is kept for the postmaster";

/// Moves a message to `corrupt` and tells of it.
pub(crate) async fn set_aside(reports: Reports, id: QueueId, reason: Arc<str>) -> Happened {
    let spool = reports.spool.clone();
    let text = reason.clone();
    let moved = blocking(move || spool.quarantine(id, &text).map_err(|error| error.to_string())).await;
    match moved.and_then(|moved| moved) {
        Ok(()) => tell(&reports, id, &reason).await,
        Err(error) => warn!("{id}: cannot be moved to corrupt: {error}"),
    }
    Happened::Loaded(Vec::new())
}

/// Tells of every message in `corrupt` that nobody was told of yet.
pub(crate) async fn tell_of_all(reports: Reports) -> Happened {
    let spool = reports.spool.clone();
    let untold = blocking(move || spool.untold().map_err(|error| error.to_string())).await;
    match untold.and_then(|untold| untold) {
        Ok(untold) => {
            for message in untold {
                tell(&reports, message.id, &message.reason).await;
            }
        }
        Err(error) => warn!("cannot look for messages in corrupt: {error}"),
    }
    Happened::Loaded(Vec::new())
}

async fn tell(reports: &Reports, id: QueueId, reason: &str) {
    if let Err(error) = try_to_tell(reports, id, reason).await {
        warn!("{id}: nobody could be told of the damage, the next start tries again: {error}");
    }
}

async fn try_to_tell(reports: &Reports, id: QueueId, reason: &str) -> Result<(), String> {
    let _alone = reports.telling.lock().await;
    let spool = reports.spool.clone();
    let untold = blocking(move || -> std::io::Result<Option<Salvaged>> {
        let is_untold = spool.untold()?.iter().any(|message| message.id == id);
        is_untold.then(|| spool.salvaged(id)).transpose()
    });
    let Some(salvaged) = untold.await?.map_err(|error| error.to_string())? else { return Ok(()) };
    if let Some(message) = &salvaged.message {
        tell_sender(reports, id, message).await?;
    }
    tell_postmaster(reports, id, reason, salvaged.message.as_ref()).await?;
    let spool = reports.spool.clone();
    blocking(move || spool.mark_told(id)).await?.map_err(|error| error.to_string())
}

async fn tell_sender(reports: &Reports, id: QueueId, message: &StoredMessage) -> Result<(), String> {
    let settings = reports.settings.load_full();
    let now = now();
    let (positions, message) = failed(message, now);
    let plan = settings.notices.plan(dsn::Kind::Failure, &message.envelope, &positions);
    let planned: Vec<Planned> = match plan {
        Plan::Reports(planned) => planned,
        Plan::Silent(_) => Vec::new(),
    };
    for one in planned {
        let report_id = reports.spool.next_id(now);
        let kind = ReportKind::Failure;
        let about = About { id, kind, message: &message, is_delivery: &|_| false };
        let report = compose(&settings, &about, report_id, &one, None, now);
        info!(target: "mail", "{id}: {}: {report_id}", kind_words(kind, one.audience));
        queue(&reports.spool, &reports.accepted, report_id, report, now).await?;
    }
    Ok(())
}

/// The recipients whose sender does not know yet what became of them, and the message with their failure on
/// record. What was bounced before keeps its own reason.
fn failed(message: &StoredMessage, now: Time) -> (Vec<u32>, StoredMessage) {
    let mut message = message.clone();
    let mut positions = Vec::new();
    for (position, _) in (0..).zip(&message.envelope.recipients) {
        let before = message.recipients.get(&position);
        match before.map(|record| (record.verdict, record.reported)) {
            Some((Verdict::Sent, _) | (Verdict::Bounced, true)) => continue,
            Some((Verdict::Bounced, false)) => {}
            Some((Verdict::Deferred, _)) | None => {
                let record = RecipientRecord {
                    position,
                    verdict: Verdict::Bounced,
                    scope: Scope::Message,
                    status: EnhancedStatus::new(5, 3, 0),
                    text: REASON.into(),
                    relay: None,
                    time: now,
                    attempts: before.map_or(0, |record| record.attempts),
                    reported: false,
                    earlier: Vec::new(),
                };
                message.recipients.insert(position, record);
            }
        }
        positions.push(position);
    }
    (positions, message)
}

async fn tell_postmaster(
    reports: &Reports,
    id: QueueId,
    reason: &str,
    message: Option<&StoredMessage>,
) -> Result<(), String> {
    let settings = reports.settings.load_full();
    let Some(to) = settings.notices.recipient(NotifyClass::Software) else { return Ok(()) };
    let (now, host) = (now(), &settings.hostname);
    let report_id = reports.spool.next_id(now);
    let lines = words(id, reason, message);
    let report = dsn::compose_notice(&Notice {
        from: &settings.notices.double_bounce_sender,
        to,
        report_id,
        host,
        now,
        subject: &format!("Postrider: message {id} is damaged"),
        lines: &lines,
    });
    info!(target: "mail", "{id}: postmaster notification: {report_id}");
    queue(&reports.spool, &reports.accepted, report_id, report, now).await
}

fn words(id: QueueId, reason: &str, message: Option<&StoredMessage>) -> Vec<String> {
    let mut lines = vec![
        "A message was found damaged in the queue. It is not delivered, and kept for a look:".to_owned(),
        String::new(),
        format!("  queue id: {id}"),
        format!("  reason: {reason}"),
        format!("  bytes: corrupt/{id}.raw in the spool's directory"),
    ];
    match message {
        Some(message) => {
            let envelope = &message.envelope;
            lines.push(format!("  from: <{}>", envelope.sender.as_ref().map_or("", Address::as_str)));
            let recipients = envelope.recipients.iter().take(NAMED_MAX);
            lines.extend(recipients.map(|recipient| format!("  to: <{}>", recipient.address)));
            if let Some(more @ 1..) = envelope.recipients.len().checked_sub(NAMED_MAX) {
                lines.push(format!("  and {more} more"));
            }
            lines.push(String::new());
            lines.push(
                "Its sender is told of the recipients that have not got it, if he wants to be.".to_owned(),
            );
        }
        None => {
            lines.push(String::new());
            lines.push(
                "Its envelope cannot be read: its sender is not known, and has not been told.".to_owned(),
            );
        }
    }
    lines.extend([
        String::new(),
        format!("  postrider queue show {id}      shows what is left of it"),
        format!("  postrider queue requeue {id}   delivers it as it is now, repaired or not"),
        format!("  postrider queue delete {id}    removes it for good"),
    ]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_what_and_how() {
        let lines = words(QueueId::from_u64(1 << 60), "its sum is wrong", None).join("\n");
        for part in ["its sum is wrong", "queue requeue", "cannot be read"] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
    }
}
