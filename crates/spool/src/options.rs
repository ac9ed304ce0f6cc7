//! Settings of a spool, and what it tells about itself.

use std::time::Duration;

use mail::{QueueId, Time};

/// Largest body that goes into the log; larger ones get a file of their own (measured: a lower limit
/// costs throughput, a higher one delays small messages behind large ones).
pub const BODY_IN_LOG_MAX: usize = 512 * 1024;

/// Least segments that a disk has room for, and the part of it that stays free, where nobody says otherwise.
const SEGMENTS_PER_DISK: u64 = 32;
const FREE_PER_DISK: u64 = 16;
/// Sizes that are worked out are multiples of this, and no less than that.
const SEGMENT_STEP: u64 = 64 << 10;
const SEGMENT_SIZE_LEAST: u64 = 1 << 20;

/// Settings of a spool. The defaults are right for production.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of one segment; a multiple of 4 KiB, 64 KiB to 1 GiB.
    pub segment_size: u64,
    /// Spare segments to keep ready, at least.
    pub spares_min: usize,
    /// Spare segments to keep, at most; more are deleted.
    pub spares_max: usize,
    /// Most bytes of one batch; a single larger record makes a batch of its own.
    pub batch_bytes: usize,
    /// Most records of one batch.
    pub batch_records: usize,
    /// How long a state change may wait for company before it is written.
    pub lazy_commit: Duration,
    /// Compaction keeps the log below this multiple of its live bytes ...
    pub compact_ratio: u64,
    /// ... but never works below this many segments.
    pub compact_above: usize,
    /// A chain of state records of this length is folded into one.
    pub state_chain_max: u32,
    /// Bytes of fresh messages kept in memory for their first delivery.
    pub cache_bytes: usize,
    /// First wait after a failed commit; doubles up to 64 times this.
    pub retry_delay: Duration,
    /// Free bytes of the file system below which no mail is accepted.
    pub free_min: u64,
    /// Whether spares are made by a thread of their own. Without it they are made between commits,
    /// which makes the order of disk calls repeatable.
    pub spare_thread: bool,
    /// The clock, for times in records.
    pub clock: fn() -> Time,
    /// Seed of the epochs that tell a recycled segment's old bytes from its new ones. Different for
    /// each start.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_size: 64 << 20,
            spares_min: 4,
            spares_max: 16,
            batch_bytes: 8 << 20,
            batch_records: 1024,
            lazy_commit: Duration::from_millis(10),
            compact_ratio: 2,
            compact_above: 8,
            state_chain_max: 16,
            cache_bytes: 256 << 20,
            retry_delay: Duration::from_secs(1),
            free_min: 64 << 20,
            spare_thread: true,
            clock: system_clock,
            seed: system_seed(),
        }
    }
}

impl Options {
    /// The size of segments for a disk of this many bytes: the usual one, unless a few of them would fill it.
    pub fn segment_size_for(disk: u64) -> u64 {
        let share = (disk / SEGMENTS_PER_DISK) & !(SEGMENT_STEP - 1);
        Options::default().segment_size.min(share.max(SEGMENT_SIZE_LEAST))
    }

    /// The room to keep free on a disk of this many bytes: the usual one, unless that is most of it.
    pub fn free_min_for(disk: u64) -> u64 {
        Options::default().free_min.min(disk / FREE_PER_DISK)
    }
}

/// The machine's clock.
fn system_clock() -> Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// Differs from start to start; nothing secret hangs on it.
fn system_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64) ^ (u64::from(std::process::id()) << 32)
}

/// How far opening or verifying has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What is being done, in words.
    pub stage: &'static str,
    /// Bytes or messages done.
    pub done: u64,
    /// Bytes or messages in all.
    pub total: u64,
}

/// What opening the spool found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Live messages, those in `corrupt` included.
    pub messages: u64,
    /// Messages in `corrupt`.
    pub corrupt: u64,
    /// Whether the last engine stopped cleanly (true for a new spool).
    pub clean: bool,
    /// Segments in use.
    pub segments: u64,
    /// Segments without a footer, read in full.
    pub scanned: u64,
    /// Bytes at the end of the log that were never acknowledged and were dropped.
    pub torn_bytes: u64,
    /// Damaged regions that were set aside in `corrupt/`.
    pub damaged: u64,
    /// Files in `big/` without a message that were removed.
    pub orphans: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// A message in `corrupt/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorruptMessage {
    /// Its name.
    pub id: QueueId,
    /// What is wrong with it.
    pub reason: String,
    /// Bytes kept.
    pub size: u64,
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// Messages read.
    pub messages: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Messages that are damaged, with the reason. With repair they have been moved to `corrupt`.
    pub damaged: Vec<CorruptMessage>,
    /// Messages that could not be read because the disk failed.
    pub unreadable: Vec<(QueueId, String)>,
    /// Messages that were in `corrupt` before.
    pub corrupt: u64,
}

/// How the spool is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Whether new mail is taken.
    pub accepting: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Mail is not taken because the disk fails, and not for want of room.
    pub failing: bool,
    /// Free bytes of the file system, when known.
    pub free_bytes: Option<u64>,
    /// Live messages.
    pub messages: u64,
    /// Segments in use.
    pub segments: u64,
    /// Spare segments.
    pub spares: u64,
    /// Bytes of the log that belong to live messages.
    pub live_bytes: u64,
    /// Messages found at the start, damaged ones included.
    pub found: u64,
    /// Messages accepted since the start. What was found and what was accepted has ended, is live or is in
    /// `corrupt`.
    pub accepted: u64,
    /// Messages that ended since the start.
    pub ended: u64,
    /// Batches committed since the start.
    pub batches: u64,
    /// Records committed since the start.
    pub records: u64,
    /// fdatasync calls on the log since the start.
    pub syncs: u64,
    /// Bytes written to the log since the start.
    pub bytes_written: u64,
    /// Bytes copied forward by compaction since the start.
    pub bytes_copied: u64,
    /// Failed disk calls of the writer since the start.
    pub failures: u64,
    /// Envelopes and states read from the disk for whoever asked since the start.
    pub envelopes_read: u64,
    /// Contents read from the disk since the start.
    pub contents_read: u64,
    /// Changes waiting to be written.
    pub pending: u64,
    /// Messages in `corrupt`.
    pub corrupt: u64,
}

#[cfg(test)]
mod tests {
    use super::Options;

    /// With the usual sizes a disk of 100 MiB took no mail at all.
    #[test]
    fn a_small_disk_gets_smaller_segments_and_less_free_room() {
        for (disk, segment_size, free_min) in [
            (20 << 20, 1 << 20, 1_310_720),
            (100 << 20, 3_276_800, 6_553_600),
            (1 << 30, 32 << 20, 64 << 20),
            (2 << 30, 64 << 20, 64 << 20),
            (1 << 40, 64 << 20, 64 << 20),
        ] {
            assert_eq!(
                (Options::segment_size_for(disk), Options::free_min_for(disk)),
                (segment_size, free_min),
                "{disk}"
            );
        }
    }
}
