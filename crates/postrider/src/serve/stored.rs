//! The mail that was in the spool when the engine started: the engine is told of it while new mail is taken.
//!
//! Promises: the engine hears of every message that was there, in pieces, so that new mail never waits behind
//! the old; deleted mail that can still be taken back is kept from it.
//! Refuses: answering for the engine meanwhile. Operators and clients that ask for mail wait until all is
//! known, so that every answer is true.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mail::QueueId;
use qmgr::Stored;
use spool::{Found, Inventory, Queue, Spool};
use tokio::sync::mpsc;
use tracing::warn;

use super::convert;
use super::deleted::Deleted;
use super::flush_logs::{FlushLogs, FoundLog};

/// Messages that are told in one go; new mail waits no longer than that takes.
const PIECE: usize = 1000;
/// Pieces that may wait for the engine.
const PIECES_WAITING_MAX: usize = 4;
/// Messages of a crash that are named in the log; the others are counted.
const NAMED_MAX: usize = 200;

/// What the engine is told at a start, in this order.
pub(crate) enum Piece {
    Logs(Vec<FoundLog>),
    Messages(Vec<Stored>),
}

/// Who tells it.
pub(crate) struct Teller {
    pub(crate) directory: PathBuf,
    pub(crate) spool: Arc<Spool>,
    pub(crate) inventory: Inventory,
    pub(crate) deleted: Arc<Deleted>,
    pub(crate) flush_logs: FlushLogs,
}

impl Teller {
    /// Begins, on a thread of its own. The channel ends when all is told.
    pub(crate) fn start(self) -> mpsc::Receiver<Piece> {
        let (pieces, told) = mpsc::channel(PIECES_WAITING_MAX);
        // Whoever stops listening stops the engine; the next start begins anew.
        tokio::task::spawn_blocking(move || self.tell(&pieces));
        told
    }

    fn tell(self, pieces: &mpsc::Sender<Piece>) -> Result<(), mpsc::error::SendError<Piece>> {
        let Teller { directory, spool, inventory, deleted, flush_logs } = self;
        let clean = spool.recovery().clean;
        let logs = flush_logs.restore(&directory);
        pieces.blocking_send(Piece::Logs(logs))?;
        let (mut undecided, mut corrupt, mut piece) = (Vec::new(), Vec::new(), Vec::with_capacity(PIECE));
        for Found { id, arrived, size, summary } in inventory {
            if summary.flags.deleted {
                deleted.enter(id, summary.due);
                continue;
            }
            let queue = summary.queue;
            if queue == Queue::Incoming && !clean {
                undecided.push(id);
            }
            let stored = convert::stored(id, arrived, size, summary);
            match queue {
                Queue::Corrupt => corrupt.push(stored),
                _ => piece.push(stored),
            }
            if piece.len() == PIECE {
                pieces.blocking_send(Piece::Messages(std::mem::replace(
                    &mut piece,
                    Vec::with_capacity(PIECE),
                )))?;
            }
        }
        piece.extend(with_reasons(&spool, corrupt));
        name_undecided(&undecided);
        pieces.blocking_send(Piece::Messages(piece))
    }
}

/// Only the open spool knows why a message is in `corrupt`.
fn with_reasons(spool: &Spool, corrupt: Vec<Stored>) -> impl Iterator<Item = Stored> + use<> {
    let known = if corrupt.is_empty() { Vec::new() } else { spool.corrupt() };
    let reasons: BTreeMap<QueueId, String> = known.into_iter().map(|one| (one.id, one.reason)).collect();
    corrupt.into_iter().map(move |stored| {
        let reason = reasons.get(&stored.id).map(|reason| reason.as_str().into());
        Stored { reason, ..stored }
    })
}

/// After a crash nobody knows whether these were being delivered, and the last results may not have been
/// written (at most one commit). They are delivered again, which is better than not at all.
fn name_undecided(undecided: &[QueueId]) {
    if undecided.is_empty() {
        return;
    }
    warn!(
        "{} messages may have been in delivery at the end; recipients may get a second copy: {}",
        undecided.len(),
        named(undecided)
    );
}

/// Queue ids for one line of the log.
pub(crate) fn named(ids: &[QueueId]) -> String {
    let names: Vec<String> = ids.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(" ") + &rest
}
