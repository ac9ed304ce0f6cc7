//! Spare segments: files written once with zeros and recycled for ever, because overwriting written
//! blocks needs no metadata and so half the time of anything else.
//!
//! Promises: a spare has the length of a segment and its blocks are written and durable; the names
//! are never used twice at a time.
//! Known: recycled files keep old mail until it is overwritten.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::disk::{Access, Disk};
use crate::layout::{LOG, spare_path, unfinished_path};
use crate::shared::{Shared, lock};

/// Spares that are kept for state, endings and compaction, so that a full disk can always drain.
pub(crate) const RESERVE: usize = 2;

/// Zeros are written in pieces of this size, with a pause between them.
const PIECE: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(2);

/// The spares there are.
#[derive(Default)]
pub(crate) struct Spares {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<u64>,
    next: u64,
    stopped: bool,
}

impl Spares {
    /// The pool that recovery found; names from `next` on are free.
    pub(crate) fn new(ready: VecDeque<u64>, next: u64) -> Spares {
        Spares { state: Mutex::new(State { ready, next, stopped: false }), wake: Condvar::new() }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).ready.len()
    }

    /// Takes a spare unless only `keep` are left.
    pub(crate) fn take(&self, keep: usize) -> Option<u64> {
        let mut state = lock(&self.state);
        let number = if state.ready.len() > keep { state.ready.pop_front() } else { None };
        drop(state);
        self.wake.notify_one();
        number
    }

    /// Adds one that is durable, or was a segment.
    pub(crate) fn put(&self, number: u64) {
        lock(&self.state).ready.push_back(number);
    }

    /// A name for a new file.
    pub(crate) fn name(&self) -> u64 {
        let mut state = lock(&self.state);
        state.next += 1;
        state.next - 1
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.wake.notify_all();
    }

    fn stopped(&self) -> bool {
        lock(&self.state).stopped
    }

    /// Waits for a moment, or less when the pool is stopped.
    fn pause(&self, time: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.wake.wait_timeout_while(state, time, |state| !state.stopped);
        !waited.map_or(true, |(state, _)| state.stopped)
    }

    /// Waits until there are too few; false when the pool is stopped.
    fn wait_for_want(&self, minimum: usize) -> bool {
        let state = lock(&self.state);
        let enough = |state: &mut State| !state.stopped && state.ready.len() >= minimum;
        let waited = self.wake.wait_while(state, enough);
        !waited.map_or(true, |state| state.stopped)
    }
}

/// Makes one spare, unless that would eat into the room kept free.
pub(crate) fn make(shared: &Shared, pause: bool) -> io::Result<()> {
    let segment_size = shared.options.segment_size;
    if shared.disk.free_bytes()? < shared.options.free_min.saturating_add(segment_size) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let number = shared.spares.name();
    match write(shared, number, segment_size, pause) {
        Ok(()) => {
            shared.spares.put(number);
            Ok(())
        }
        Err(error) => {
            let _ = shared.disk.remove(&unfinished_path(number));
            Err(error)
        }
    }
}

fn write(shared: &Shared, number: u64, length: u64, pause: bool) -> io::Result<()> {
    let disk: &dyn Disk = &*shared.disk;
    let file = disk.open(&unfinished_path(number), Access::Create)?;
    file.allocate(length)?;
    let zeros = vec![0; PIECE.min(length as usize)];
    let mut offset = 0;
    while offset < length {
        let piece = (length - offset).min(PIECE as u64);
        file.write_at(offset, &[IoSlice::new(&zeros[..piece as usize])])?;
        offset += piece;
        if shared.spares.stopped() || (pause && !shared.spares.pause(PAUSE)) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    file.sync()?;
    disk.rename(&unfinished_path(number), &spare_path(number))?;
    disk.sync_directory(LOG)
}

/// The body of the thread that keeps the pool filled.
pub(crate) fn keep_filled(shared: &Shared) {
    while shared.spares.wait_for_want(shared.options.spares_min) {
        // A full or failing disk is asked again after a while; the writer copes without spares.
        if make(shared, true).is_err() && !shared.spares.pause(shared.options.retry_delay) {
            return;
        }
    }
}
