//! Whether the spool takes mail, asked at MAIL so that a client need not send content in vain. The
//! spool is asked once in a while only; what it says at the end of a message is what counts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mail::Reply;
use spool::Spool;
use tokio::time::Instant;

use crate::replies;

/// How old an answer may be.
const FRESH: Duration = Duration::from_millis(500);

/// The last answer.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    last: Mutex<Option<Answer>>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Instant,
    accepting: bool,
    failing: bool,
    free: Option<u64>,
}

impl Gate {
    /// Why a message of so many bytes has no chance; nothing when it has one.
    pub(crate) fn refusal(&self, spool: &Spool, bytes: u64) -> Option<Reply> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match *last {
            Some(answer) if now.duration_since(answer.at) < FRESH => answer,
            _ => {
                let health = spool.health();
                let spool::Health { accepting, failing, free_bytes: free, .. } = health;
                Answer { at: now, accepting, failing, free }
            }
        };
        *last = Some(answer);
        match answer {
            Answer { failing: true, .. } => Some(replies::disk_fails()),
            Answer { accepting: true, free, .. } if free.is_none_or(|free| free >= bytes) => None,
            _ => Some(replies::not_accepting()),
        }
    }
}
