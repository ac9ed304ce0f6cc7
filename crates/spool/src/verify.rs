//! Verification: every live message read, every checksum made again.
//!
//! Promises: it reads through the same code as delivery does; without `repair` it changes nothing.

use std::sync::Arc;

use mail::QueueId;

use crate::disk::{Access, Disk, LockError};
use crate::layout::FORMAT;
use crate::reader::{Extent, Fault, LoadFault};
use crate::shared::{Shared, lock};
use crate::{CorruptMessage, OpenError, Options, Progress, VerifyReport};

/// What is wrong with one message.
enum Finding {
    Good(u64),
    Damaged(String, u64),
    Unreadable(String),
    Gone,
}

/// Checks all live messages.
pub(crate) fn verify(shared: &Shared, repair: bool, progress: &mut dyn FnMut(Progress)) -> VerifyReport {
    let ids = lock(&shared.index).ids();
    let total = ids.len() as u64;
    let mut report = VerifyReport { corrupt: lock(&shared.corrupt).len() as u64, ..VerifyReport::default() };
    for (done, id) in (1..).zip(ids) {
        if lock(&shared.corrupt).contains_key(&id) {
            continue;
        }
        match check(shared, id) {
            Finding::Good(bytes) => {
                report.messages += 1;
                report.bytes += bytes;
            }
            Finding::Damaged(reason, size) => {
                report.messages += 1;
                if repair && let Err(error) = shared.quarantine(id, &reason) {
                    report.unreadable.push((id, error.to_string()));
                }
                report.damaged.push(CorruptMessage { id, reason, size });
            }
            Finding::Unreadable(reason) => report.unreadable.push((id, reason)),
            Finding::Gone => {}
        }
        progress(Progress { stage: "checking messages", done, total });
    }
    report
}

fn check(shared: &Shared, id: QueueId) -> Finding {
    let loaded = match shared.load(id, Extent::Record) {
        Ok(loaded) => loaded,
        Err(LoadFault::Gone) => return Finding::Gone,
        Err(LoadFault::Damaged(reason)) => {
            let size = lock(&shared.index).get(id).map_or(0, |entry| u64::from(entry.message.length));
            return Finding::Damaged(reason, size);
        }
        Err(LoadFault::Io(error)) => return Finding::Unreadable(error.to_string()),
    };
    let size = loaded.record.header.body_len;
    let body = if loaded.entry.is_big() {
        lock(&shared.verified).remove(&id);
        shared.large(id, &loaded.record.header).map(drop)
    } else {
        loaded.record.body().map(drop)
    };
    match body {
        Ok(()) => Finding::Good(size),
        // It may have ended or moved meanwhile.
        Err(_) if lock(&shared.index).get(id) != Some(loaded.entry) => Finding::Gone,
        Err(Fault::Damaged(reason)) => Finding::Damaged(reason, size),
        Err(Fault::Io(error)) => Finding::Unreadable(error.to_string()),
    }
}

/// Checks a stopped spool without changing anything.
pub(crate) fn offline(
    disk: Arc<dyn Disk>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, OpenError> {
    // Taking the lock would create a spool where there is none.
    let missing = |source| OpenError::Io { path: FORMAT.to_owned(), source };
    disk.open(FORMAT, Access::Read).map_err(missing)?;
    let _lock = disk.lock().map_err(|error| match error {
        LockError::Held(pid) => OpenError::InUse { pid },
        LockError::Io(source) => OpenError::Io { path: "LOCK".to_owned(), source },
    })?;
    let (shared, faults) = crate::open::look(disk, Options::default(), progress)?;
    let mut report = verify(&shared, false, progress);
    for (id, reason) in faults {
        if !report.damaged.iter().any(|message| message.id == id) {
            report.damaged.push(CorruptMessage { id, reason, size: 0 });
        }
    }
    report.damaged.sort_unstable_by_key(|message| message.id);
    Ok(report)
}
