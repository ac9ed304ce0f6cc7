//! Opening the spool: what was found is said, and a long recovery shows how far it is.
//!
//! Promises: nothing is printed for a start that takes less than a second, beyond one line in the log.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spool::disk::RealDisk;
use spool::{Inventory, OpenError, Options, Progress, Recovery, Spool};
use tracing::{info, warn};

use crate::config::SpoolSettings;

/// How long the start may be silent, and how often it speaks then.
const SILENT_MAX: Duration = Duration::from_secs(1);

/// The options of the spool, with sizes that fit its disk where nobody set them.
pub(crate) fn options(settings: &SpoolSettings) -> Options {
    let mut options = settings.options.clone();
    // A file system that does not say how large it is gets what is right for most.
    let Ok(disk) = RealDisk::new(&settings.directory).size() else { return options };
    if settings.fit_segment_size {
        options.segment_size = Options::segment_size_for(disk);
    }
    if settings.fit_free_min {
        options.free_min = Options::free_min_for(disk);
    }
    let Options { segment_size, free_min, .. } = &options;
    if (segment_size, free_min) != (&settings.options.segment_size, &settings.options.free_min) {
        info!(
            "the spool's disk has {} MiB: segments of {} KiB, {} KiB are kept free",
            disk >> 20,
            segment_size >> 10,
            free_min >> 10
        );
    }
    options
}

/// Opens the spool. Who has to know every message in it goes through the inventory.
pub(crate) fn open(directory: &Path, options: Options) -> Result<(Arc<Spool>, Inventory), OpenError> {
    let mut spoken = Instant::now();
    let mut shown = false;
    let mut progress = |progress: Progress| {
        if spoken.elapsed() >= SILENT_MAX {
            spoken = Instant::now();
            shown = true;
            show(progress);
        }
    };
    let disk = Arc::new(RealDisk::new(directory));
    let (spool, inventory) = Spool::open_with_inventory(disk, options, &mut progress)?;
    if shown && std::io::stderr().is_terminal() {
        eprintln!();
    }
    say(spool.recovery());
    Ok((Arc::new(spool), inventory))
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
