//! Compaction: live messages at the tail are copied forward, so that their segments can be freed.
//!
//! Promises: first in, first out, which makes it simple to be right: a STATE or DONE always lies behind
//! its message and is never freed before it. Only messages in a segment whose flush failed go first.
//! Bounded: at most [`COPY_MAX`] bytes and at most a quarter of a batch that others wait for. Large
//! bodies are never copied.

use mail::QueueId;

use crate::codec;
use crate::frame::{FLAG_BIG, Kind};
use crate::index::Index;
use crate::job::{Job, Room};
use crate::reader::{LoadFault, Record};
use crate::shared::{Shared, lock};

/// Most bytes copied with one batch.
const COPY_MAX: u64 = 1 << 20;
/// Least bytes copied with one batch, so that it comes to an end under any load.
const COPY_MIN: u64 = 64 << 10;

/// Where compaction is in the segment that it copies from.
#[derive(Default)]
pub(crate) struct Cursor {
    segment: u32,
    next: usize,
    /// The last round found nothing to copy although there should be something.
    pub(crate) stalled: bool,
}

/// How hard to press for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pressure {
    /// The bound of the options.
    Normal,
    /// The disk is full: free whatever can be freed.
    Full,
}

/// Whether the log is larger than it should be, or holds messages where they are not safe.
pub(crate) fn wanted(shared: &Shared, index: &Index, pressure: Pressure) -> bool {
    let used = index.segments.len() as u64;
    let size = shared.options.segment_size;
    let bound = match pressure {
        Pressure::Normal => {
            let by_ratio = (shared.options.compact_ratio * index.live_bytes).div_ceil(size);
            by_ratio.max(shared.options.compact_above as u64)
        }
        Pressure::Full => (index.live_bytes + index.live_bytes / 8).div_ceil(size) + 2,
    };
    used > bound || index.suspect().is_some()
}

impl Cursor {
    /// Copies of the next live messages at the tail, about as many bytes as a quarter of what waits.
    pub(crate) fn copies(&mut self, shared: &Shared, waiting: u64, pressure: Pressure) -> Vec<Job> {
        let budget = if waiting == 0 { COPY_MAX } else { (waiting / 3).clamp(COPY_MIN, COPY_MAX) };
        let capacity = shared.options.segment_size / 2;
        if self.stalled && waiting == 0 {
            self.restart();
        }
        let mut copies = Vec::new();
        let mut room = Room::default();
        while room.batch < budget.min(capacity) {
            let Some(id) = self.next(shared, pressure) else { break };
            if let Some(copy) = copy(shared, id) {
                room.add(copy.room());
                copies.push(copy);
            }
        }
        self.stalled = copies.is_empty() && wanted(shared, &lock(&shared.index), pressure);
        copies
    }

    /// The next live message to copy.
    fn next(&mut self, shared: &Shared, pressure: Pressure) -> Option<QueueId> {
        let index = lock(&shared.index);
        if !wanted(shared, &index, pressure) {
            return None;
        }
        let source = index.source()?;
        if source != self.segment {
            *self = Cursor { segment: source, ..Cursor::default() };
        }
        let ids = &index.segments.get(&source)?.ids;
        let corrupt = lock(&shared.corrupt);
        while let Some(&id) = ids.get(self.next) {
            self.next += 1;
            let here = index.get(id).is_some_and(|entry| entry.message.segment == source);
            if here && !corrupt.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// Starts again at the beginning of the tail, after copies that were not written.
    pub(crate) fn restart(&mut self) {
        *self = Cursor::default();
    }
}

/// The message as a COPY with its state so far; a damaged one is set aside instead. A disk that fails
/// is asked again with the next round.
fn copy(shared: &Shared, id: QueueId) -> Option<Job> {
    let loaded = match shared.load(id) {
        Ok(loaded) => loaded,
        Err(LoadFault::Damaged(reason)) => {
            let _ = shared.quarantine(id, &reason);
            return None;
        }
        Err(LoadFault::Gone | LoadFault::Io(_)) => return None,
    };
    if let Err(crate::reader::Fault::Damaged(reason)) = loaded.record.body() {
        let _ = shared.quarantine(id, &reason);
        return None;
    }
    let recipients: Vec<_> = loaded.recipients.values().cloned().collect();
    let section = codec::encode_message(&loaded.message.envelope, &loaded.summary, &recipients).ok()?;
    let Record { header, .. } = loaded.record;
    let mut job = Job::message(Kind::Copy, id, section, loaded.record.body().unwrap_or_default());
    job.flags = header.flags & FLAG_BIG;
    (job.body_len, job.body_crc) = (header.body_len, header.body_crc);
    Some(job)
}
