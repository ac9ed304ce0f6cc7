//! Whether the spool takes mail, asked at MAIL so that a client need not send content in vain. The
//! spool is asked once in a while only; what it says at the end of a message is what counts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use spool::Spool;
use tokio::time::Instant;

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
    free: Option<u64>,
}

impl Gate {
    /// Whether a message of so many bytes has a chance.
    pub(crate) fn admits(&self, spool: &Spool, bytes: u64) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match *last {
            Some(answer) if now.duration_since(answer.at) < FRESH => answer,
            _ => {
                let health = spool.health();
                Answer { at: now, accepting: health.accepting, free: health.free_bytes }
            }
        };
        *last = Some(answer);
        answer.accepting && answer.free.is_none_or(|free| free >= bytes)
    }
}
