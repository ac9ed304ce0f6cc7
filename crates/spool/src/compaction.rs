//! Compaction: live messages at the tail are copied forward, so that their segments can be freed.
//!
//! Promises: first in, first out, which makes it simple to be right: a STATE or DONE always lies behind
//! its message and is never freed before it. Only messages in a segment whose flush failed go first.
//! Bounded: at most [`COPY_MAX`] bytes and at most a quarter of a batch that others wait for. Large
//! bodies are never copied. A full disk is gone round once, until so much has changed that the next
//! round frees something.

use std::collections::VecDeque;

use mail::QueueId;

use crate::codec;
use crate::frame::{FLAG_BIG, Kind};
use crate::index::Index;
use crate::job::{Job, Room};
use crate::layout::{BLOCK, padded};
use crate::reader::{Extent, LoadFault, Record};
use crate::shared::{Shared, lock};

/// Most bytes copied with one batch.
const COPY_MAX: u64 = 1 << 20;
/// Least bytes copied with one batch, so that it comes to an end under any load.
const COPY_MIN: u64 = 64 << 10;

/// What a message of one recipient takes in a segment besides its record: its entries in the directory of the
/// batch and in the footer, with a summary. Without it a log of small messages could never be small enough.
const AROUND: u64 = 128;
/// Least bytes of a segment that no record can have: its header, footer and trailer, and a batch's end.
const UNUSED: u64 = 4 * BLOCK;

/// Where compaction is in the segment that it copies from.
#[derive(Default)]
struct Position {
    segment: u32,
    /// Messages that lived there when it began, in the order in which they lie there.
    ids: VecDeque<QueueId>,
}

/// Once around the log, when the disk is full.
#[derive(Clone, Copy)]
struct Round {
    /// The newest segment at its start: those up to here are copied from.
    last: u32,
    /// Bytes of live messages, and of whatever was written behind them, once it is over.
    left: Option<u64>,
}

/// What compaction knows between two batches.
#[derive(Default)]
pub(crate) struct Cursor {
    position: Position,
    round: Option<Round>,
    /// The last try found nothing to copy although there should be something.
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

/// Segments that live messages would fill, were they this many times as large.
fn filled(index: &Index, segment_size: u64, times: u64) -> u64 {
    let around = AROUND * index.len() as u64;
    (times * (index.live_bytes + around)).div_ceil(segment_size - UNUSED)
}

/// Whether copying everything once may free a segment. Those at the tail that only wait to be freed do not
/// count.
fn may_shrink(index: &Index, segment_size: u64) -> bool {
    let needed = index.oldest_live().map_or(0, |oldest| index.segments.range(oldest..).count());
    needed as u64 > filled(index, segment_size, 1)
}

impl Round {
    fn is_under_way(&self, index: &Index) -> bool {
        self.left.is_none() && index.source().is_some_and(|source| source <= self.last)
    }
}

impl Cursor {
    /// Whether the log is larger than it should be, or holds messages where they are not safe.
    pub(crate) fn wanted(&self, shared: &Shared, index: &Index, pressure: Pressure) -> bool {
        let larger = match pressure {
            Pressure::Normal => {
                let by_ratio = filled(index, shared.options.segment_size, shared.options.compact_ratio);
                index.segments.len() as u64 > by_ratio.max(shared.options.compact_above as u64)
            }
            Pressure::Full => {
                self.round.is_some_and(|round| round.is_under_way(index)) || self.next_round(shared, index)
            }
        };
        larger || index.suspect().is_some()
    }

    /// Whether it is time for a round: the log may shrink, and enough of what the last one left has ended
    /// to make it worth another. The fixed part keeps a small log from going round for every message, the
    /// other one a large log.
    fn next_round(&self, shared: &Shared, index: &Index) -> bool {
        let segment_size = shared.options.segment_size;
        let enough = (segment_size / 4).max(index.live_bytes / 8);
        let before = self.round.and_then(|round| round.left);
        index.source().is_some()
            && may_shrink(index, segment_size)
            && before.is_none_or(|left| left.saturating_sub(index.live_bytes) >= enough)
    }

    /// Ends a round that has come around, and begins one when it is time.
    fn turn(&mut self, shared: &Shared) {
        let index = lock(&shared.index);
        if self.round.is_some_and(|round| round.is_under_way(&index)) {
            return;
        }
        if let Some(round) = &mut self.round {
            round.left.get_or_insert(index.live_bytes);
        }
        if self.next_round(shared, &index) {
            let last = index.segments.last_key_value().map_or(0, |(&newest, _)| newest);
            self.round = Some(Round { last, left: None });
        }
    }

    /// Copies of the next live messages at the tail, about as many bytes as a quarter of what waits.
    pub(crate) fn copies(&mut self, shared: &Shared, waiting: u64, pressure: Pressure) -> Vec<Job> {
        let budget = if waiting == 0 { COPY_MAX } else { (waiting / 3).clamp(COPY_MIN, COPY_MAX) };
        let capacity = shared.options.segment_size / 2;
        if self.stalled && waiting == 0 {
            self.restart();
        }
        if let Some(Round { left: Some(left), .. }) = &mut self.round {
            *left += padded(waiting);
        }
        if pressure == Pressure::Full {
            self.turn(shared);
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
        self.stalled = copies.is_empty() && self.wanted(shared, &lock(&shared.index), pressure);
        copies
    }

    /// The next live message to copy.
    fn next(&mut self, shared: &Shared, pressure: Pressure) -> Option<QueueId> {
        let index = lock(&shared.index);
        if !self.wanted(shared, &index, pressure) {
            return None;
        }
        let source = index.source()?;
        if source != self.position.segment {
            // Once a segment: to remember who is where would cost every message memory.
            self.position = Position { segment: source, ids: index.living_in(source).into() };
        }
        let corrupt = lock(&shared.corrupt);
        while let Some(id) = self.position.ids.pop_front() {
            let here = index.get(id).is_some_and(|entry| entry.message.segment == source);
            if here && !corrupt.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// Starts again at the beginning of the tail, after copies that were not written.
    pub(crate) fn restart(&mut self) {
        self.position = Position::default();
        self.stalled = false;
    }
}

/// The message as a COPY with its state so far; a damaged one is set aside instead. A disk that fails
/// is asked again with the next round.
fn copy(shared: &Shared, id: QueueId) -> Option<Job> {
    let loaded = match shared.load(id, Extent::Record) {
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
