//! The engine's notes as log lines, as far as they need nothing but themselves.
//!
//! Promises: what an operator must know of is a warning, what has a line in Postfix's log is a line of
//! the mail log, the rest is for debugging.

use qmgr::{FlushOf, Note, Place};
use tracing::{debug, info, warn};

use super::maillog;

/// Writes one note.
pub(crate) fn log(note: &Note) {
    match note {
        Note::Held { id } => maillog::remark(*id, "held", "placed on hold"),
        Note::Released { id } => maillog::remark(*id, "released", "released from hold"),
        Note::Requeued { id } => maillog::remark(*id, "requeued", "requeued"),
        Note::Deleted { id } => maillog::remark(*id, "deleted", "deleted by an operator"),
        Note::ForceExpire { id } => maillog::remark(*id, "force_expire", "expired"),
        Note::Removed { id } => maillog::removed(*id),
        Note::Corrupt { id, reason } => warn!("{id}: saved in corrupt: {reason}"),
        Note::Skipped { id, reason, .. } => warn!("{id}: skipped, tried again later: {reason}"),
        Note::ReportFailed { id, kind, reason } => {
            warn!("{id}: status=deferred (report {kind:?} failed: {reason})");
        }
        Note::Dead { place, reason } => info!("{}: deliveries suspended: {reason}", name(place)),
        Note::Alive { place, reason } => info!("{}: deliveries resumed: {reason}", name(place)),
        Note::Flush { of, answer, released } => info!("flush {}: {answer}, {released} released", flushed(of)),
        Note::Clogged { transport, destination, entries, of } => warn!(
            "mail for {destination} is using up {entries} of {of} active queue entries; it may need its own \
             transport with other limits than {transport}, or a higher destination_concurrency_limit"
        ),
        Note::Feedback { transport, destination, text } => {
            info!("{transport}:{destination}: feedback: {text}")
        }
        other => debug!("{other:?}"),
    }
}

fn flushed(of: &FlushOf) -> String {
    match of {
        FlushOf::Site(site) => format!("site {site}"),
        FlushOf::Message(id) => format!("message {id}"),
        FlushOf::All => "everything".to_owned(),
        FlushOf::Waiting => "what has waited long".to_owned(),
    }
}

fn name(place: &Place) -> String {
    match &place.destination {
        Some(destination) => format!("{}:{destination}", place.transport),
        None => format!("transport {}", place.transport),
    }
}
