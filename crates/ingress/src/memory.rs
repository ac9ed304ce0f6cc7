//! One budget of memory for all message bodies that are arriving. A session that gets no more of it
//! writes its body to disk instead of waiting, so that nobody can starve the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that bodies may still take. Shared by all listeners.
#[derive(Debug)]
pub struct Memory {
    left: AtomicUsize,
}

impl Memory {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Arc<Memory> {
        Arc::new(Memory { left: AtomicUsize::new(bytes) })
    }

    /// Bytes that nobody has.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

/// A share of the budget; dropped, it goes back.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Share {
    pub(crate) fn none_of(memory: &Arc<Memory>) -> Share {
        Share { memory: memory.clone(), bytes: 0 }
    }

    /// Makes the share at least so large. False when the budget does not have it.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes) else { return true };
        let taken = self
            .memory
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more))
            .is_ok();
        if taken {
            self.bytes = bytes;
        }
        taken
    }

    /// Gives everything back.
    pub(crate) fn release(&mut self) {
        self.memory.left.fetch_add(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back() {
        let memory = Memory::new(100);
        let mut one = Share::none_of(&memory);
        let mut two = Share::none_of(&memory);
        assert!(one.grow(60) && one.grow(10) && !two.grow(41) && two.grow(40));
        assert_eq!(memory.left(), 0);
        drop(one);
        assert!(two.grow(100));
        two.release();
        assert_eq!(memory.left(), 100);
    }
}
