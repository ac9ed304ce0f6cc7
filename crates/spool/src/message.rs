//! What goes into the spool and comes out of it, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mail::{EnhancedStatus, Envelope, QueueId, Relay, Scope, Time, Verdict};

use crate::LargeBody;

/// The queue a message is in, as far as it outlives the process. *Active* is no queue of the spool:
/// an active message is found as incoming or deferred after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Queue {
    /// New mail, never tried.
    #[default]
    Incoming,
    /// Tried, to be tried again.
    Deferred,
    /// Kept until an operator releases it.
    Hold,
    /// Damaged, or given up as unreadable; kept for inspection.
    Corrupt,
}

/// Marks on a message that outlive the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Flags {
    /// An operator ended its life early.
    pub force_expire: bool,
    /// The sender was told of the delay.
    pub warned: bool,
    /// Deferred only because its site was dead.
    pub site_wait: bool,
    /// Bounced recipients are on record whose report is not out yet.
    pub failure_due: bool,
    /// Delivered recipients that asked for a report (NOTIFY=SUCCESS) have not got one yet.
    pub success_due: bool,
    /// An operator deleted it. It can be taken back until it is due.
    pub deleted: bool,
}

/// What the engine has to know of a message whose envelope it has not loaded. Written with every
/// record, so that a start needs the footers only.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Where it is.
    pub queue: Queue,
    /// When it is to be tried next.
    pub due: Time,
    /// Delivery attempts so far.
    pub attempts: u32,
    /// The null reverse path.
    pub null_sender: bool,
    /// Recipients in all.
    pub recipients: u32,
    /// Recipients that are neither delivered nor bounced.
    pub unfinished: u32,
    /// The distinct sites of the unfinished recipients.
    pub sites: Vec<String>,
    /// Marks.
    pub flags: Flags,
}

/// A message found when the spool was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    pub arrived: Time,
    /// Bytes of content.
    pub size: u64,
    /// The rest of what is known without loading it.
    pub summary: Summary,
}

/// Attempts that are remembered for one recipient, the last one among them.
pub const ATTEMPTS_KEPT_MAX: usize = 10;

/// Bytes that are kept of what an attempt before the last one said.
pub const ATTEMPT_TEXT_BYTES_MAX: usize = 256;

/// An attempt for one recipient that others followed: it failed for the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// When.
    pub time: Time,
    /// Its enhanced status.
    pub status: EnhancedStatus,
    /// The reason in words, at most [`ATTEMPT_TEXT_BYTES_MAX`] bytes.
    pub text: Arc<str>,
    /// Who answered, when somebody was reached.
    pub relay: Option<Arc<Relay>>,
}

/// The last word on one recipient, and what was said before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecipientRecord {
    /// Position in the envelope.
    pub position: u32,
    /// What the last attempt decided.
    pub verdict: Verdict,
    /// How far it reached.
    pub scope: Scope,
    /// Its enhanced status.
    pub status: EnhancedStatus,
    /// The reason in words; cut to [`mail::limits::REASON_BYTES_MAX`] bytes when written.
    pub text: Arc<str>,
    /// Who answered, when somebody was reached.
    pub relay: Option<Arc<Relay>>,
    /// When.
    pub time: Time,
    /// Attempts for this recipient.
    pub attempts: u32,
    /// The sender was told how this ended, or it was decided that nobody is, or the next hop took over
    /// the duty to tell.
    pub reported: bool,
    /// The attempts before the last one, oldest first, as many as are remembered. To be left empty in a
    /// [`StateChange`]: the spool knows them.
    pub earlier: Vec<Attempt>,
}

impl RecipientRecord {
    /// Takes over what an older record of the same recipient remembers. Both may know the same attempt,
    /// told by its time: a record is written again for a mark, or copied.
    pub fn follow(&mut self, older: &RecipientRecord) {
        let room = (ATTEMPTS_KEPT_MAX - 1).saturating_sub(self.earlier.len());
        let known = |attempt: &Attempt| {
            attempt.time == self.time || self.earlier.iter().any(|other| other.time == attempt.time)
        };
        let told = older.earlier.iter().cloned().chain([older.as_attempt()]);
        let before: Vec<Attempt> = told.filter(|attempt| !known(attempt)).collect();
        let forgotten = before.len().saturating_sub(room);
        self.earlier.splice(0..0, before.into_iter().skip(forgotten));
    }

    fn as_attempt(&self) -> Attempt {
        let end = self.text.floor_char_boundary(ATTEMPT_TEXT_BYTES_MAX);
        let text = if end < self.text.len() { Arc::from(&self.text[..end]) } else { self.text.clone() };
        Attempt { time: self.time, status: self.status, text, relay: self.relay.clone() }
    }
}

/// One change of a message's state: the new summary and the recipients that changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StateChange {
    /// The message as it is from now on.
    pub summary: Summary,
    /// Changed recipients only; a later record of the same position is the last word, and what the earlier
    /// ones said is remembered behind it.
    pub recipients: Vec<RecipientRecord>,
}

/// How a message ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ending {
    /// Every recipient was delivered.
    Delivered,
    /// At least one recipient bounced; the sender has been told where it wants to be.
    Bounced,
    /// Its lifetime ended; the sender has been told where it wants to be.
    Expired,
    /// An operator removed it.
    Deleted,
    /// Its bytes were moved to `corrupt/`. Written by the spool itself.
    Corrupt,
}

/// The content of a new message.
#[derive(Debug)]
pub enum NewBody {
    /// Goes into the log, for bodies of at most [`crate::BODY_IN_LOG_MAX`] bytes.
    Inline(Bytes),
    /// Has been streamed to a file of its own by [`crate::Spool::begin_large`].
    Large(LargeBody),
}

/// A message to be made durable.
#[derive(Debug)]
pub struct NewMessage {
    /// From [`crate::Spool::next_id`].
    pub id: QueueId,
    /// Everything but the content.
    pub envelope: Arc<Envelope>,
    /// How it starts.
    pub summary: Summary,
    /// The content.
    pub body: NewBody,
}

/// A message as read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMessage {
    /// Everything but the content.
    pub envelope: Arc<Envelope>,
    /// As last written.
    pub summary: Summary,
    /// The last word on each recipient that was ever tried, by position.
    pub recipients: BTreeMap<u32, RecipientRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(attempts: u32) -> RecipientRecord {
        RecipientRecord {
            position: 0,
            verdict: Verdict::Deferred,
            scope: Scope::Site,
            status: EnhancedStatus::new(4, 4, 1),
            text: format!("attempt {attempts}").into(),
            relay: None,
            time: Time::from_millis(i64::from(attempts)),
            attempts,
            reported: false,
            earlier: Vec::new(),
        }
    }

    fn times(record: &RecipientRecord) -> Vec<i64> {
        record.earlier.iter().map(|attempt| attempt.time.as_millis()).collect()
    }

    #[test]
    fn the_last_attempts_are_remembered_in_order_whichever_way_they_come() {
        for last in [1, 2, 10, 11, 30] {
            let first_kept = (last - 9i64).max(1);
            let expected: Vec<i64> = (first_kept..last).collect();
            let newest_first = (1..last as u32).rev().fold(record(last as u32), |mut newest, n| {
                newest.follow(&record(n));
                newest
            });
            let oldest_first = (2..=last as u32).fold(record(1), |older, n| {
                let mut newer = record(n);
                newer.follow(&older);
                newer
            });
            assert_eq!(times(&newest_first), expected);
            assert_eq!(newest_first, oldest_first);
        }
    }

    #[test]
    fn a_mark_is_no_attempt() {
        let mut third = record(3);
        third.follow(&record(2));
        let mut marked = RecipientRecord { reported: true, ..record(3) };
        marked.follow(&third);
        marked.follow(&record(1));
        assert_eq!((times(&marked), marked.reported), (vec![1, 2], true));
    }

    #[test]
    fn earlier_texts_are_cut_on_a_character() {
        let mut second = record(2);
        second.follow(&RecipientRecord { text: format!("x{}", "é".repeat(1000)).into(), ..record(1) });
        assert_eq!(second.earlier[0].text.len(), ATTEMPT_TEXT_BYTES_MAX - 1);
    }
}
