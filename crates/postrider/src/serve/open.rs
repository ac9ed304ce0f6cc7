//! Opening the spool: what was found is said, and a long recovery shows how far it is.
//!
//! Promises: deleted mail that can still be taken back is kept from the engine; nothing is printed for a
//! start that takes less than a second, beyond one line in the log.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::{QueueId, Time};
use qmgr::{Engine, Stored};
use spool::disk::RealDisk;
use spool::{OpenError, Options, Progress, Recovery, Spool};
use tracing::{info, warn};

use super::convert;
use super::engine_task::now;

/// How long the start may be silent, and how often it speaks then.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// Messages of a crash that are named in the log; the others are counted.
const NAMED_MAX: usize = 200;

/// An open spool.
pub(crate) struct Opened {
    pub(crate) spool: Arc<Spool>,
    /// Deleted messages, and when each is gone for good.
    pub(crate) deleted: BTreeMap<QueueId, Time>,
}

/// Opens the spool and hands every message in it to the engine.
pub(crate) fn open(directory: &Path, options: Options, engine: &mut Engine) -> Result<Opened, OpenError> {
    let mut spoken = Instant::now();
    let mut shown = false;
    let started = now();
    let mut progress = |progress: Progress| {
        if spoken.elapsed() >= SILENT_MAX {
            spoken = Instant::now();
            shown = true;
            show(progress);
        }
    };
    let mut undecided = Vec::new();
    let mut deleted = BTreeMap::new();
    let mut corrupt = Vec::new();
    let mut found = |found: spool::Found| {
        let spool::Found { id, arrived, size, summary } = found;
        if summary.flags.deleted {
            deleted.insert(id, summary.due);
            return;
        }
        if summary.queue == spool::Queue::Incoming {
            undecided.push(id);
        }
        let is_corrupt = summary.queue == spool::Queue::Corrupt;
        let stored = convert::stored(id, arrived, size, summary);
        if is_corrupt {
            corrupt.push(stored);
        } else {
            engine.handle_stored(started, stored);
        }
    };
    let spool = Spool::open(Arc::new(RealDisk::new(directory)), options, &mut found, &mut progress)?;
    // Only the open spool knows why.
    let reasons: BTreeMap<QueueId, String> =
        spool.corrupt().into_iter().map(|one| (one.id, one.reason)).collect();
    for stored in corrupt {
        let reason = reasons.get(&stored.id).map(|reason| reason.as_str().into());
        engine.handle_stored(started, Stored { reason, ..stored });
    }
    if shown && std::io::stderr().is_terminal() {
        eprintln!();
    }
    say(spool.recovery());
    if !spool.recovery().clean {
        name_undecided(&undecided);
    }
    Ok(Opened { spool: Arc::new(spool), deleted })
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

fn show(progress: Progress) {
    let Progress { stage, done, total } = progress;
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
    if std::io::stderr().is_terminal() {
        eprint!("\r{stage}: {percent} %   ");
        // A terminal that went away is no reason not to start.
        let _ = std::io::stderr().flush();
    } else {
        info!("{stage}: {done} of {total} ({percent} %)");
    }
}

fn say(recovery: &Recovery) {
    let Recovery { messages, segments, scanned, clean, elapsed, .. } = recovery;
    let how = if *clean { "after a clean stop" } else { "after a stop that was not clean" };
    info!(
        "spool opened {how}: {messages} messages in {segments} segments ({scanned} read in full), {} ms",
        elapsed.as_millis()
    );
    if recovery.torn_bytes > 0 {
        info!(
            "{} bytes at the end of the log had not been acknowledged and were dropped",
            recovery.torn_bytes
        );
    }
    if recovery.damaged > 0 {
        warn!("{} damaged regions were set aside in corrupt/", recovery.damaged);
    }
    if recovery.orphans > 0 {
        info!("{} bodies without a message were removed", recovery.orphans);
    }
}
