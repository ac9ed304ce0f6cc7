//! Triggers: the one-letter requests D, I, A, F and W of qmgr(8).
//!
//! Promises: a buffer is folded before it is obeyed, so the order of its letters does not matter; F acts on
//! what is dead at once, A and the override of `defer_transports` hold for the run in progress and the
//! next one.

use crate::destination::DestinationKey;
use crate::engine::Engine;
use crate::scan::ScanFlags;

impl Engine {
    /// Obeys a trigger buffer.
    pub(crate) fn pull_trigger(&mut self, letters: &[u8]) {
        let has = |letter: u8| letters.contains(&letter);
        let flush = has(b'F');
        let flags = ScanFlags { all: has(b'A'), override_defer: flush };
        if flush {
            self.revive_all();
        }
        let latest = self.stubs.due.latest();
        let start_incoming = has(b'I') || has(b'W');
        if start_incoming || flags != ScanFlags::default() {
            self.incoming.request(start_incoming, flags, latest);
        }
        if has(b'W') {
            self.refresh_when_due();
        }
        if has(b'D') || flags != ScanFlags::default() {
            self.deferred.request(has(b'D'), flags, latest);
        }
    }

    /// Ends every death; rate delays and windows stay.
    fn revive_all(&mut self) {
        for transport in 0..self.transports.len() {
            self.revive_transport(transport, "flushed");
            let all: Vec<DestinationKey> =
                self.transports[transport].destinations.values().copied().collect();
            for destination in all {
                if self.destinations[destination].throttled().is_some() {
                    self.revive(destination, 0, "flushed");
                    self.retain(destination);
                }
            }
        }
    }
}
