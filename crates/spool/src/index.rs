//! Where every live message is: in memory, a few dozen bytes each.
//!
//! Promises: changed only after the record that changes it is durable, by the writer alone; readers
//! hold its lock for lookups, never across a read of the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Weak};

use mail::{AscendingMap, QueueId};

use crate::disk::{Access, Disk, DiskFile};
use crate::frame::{FLAG_BIG, Kind};
use crate::layout::segment_path;

/// Most segments that are kept open for readers besides the one being written.
const OPEN_MAX: usize = 256;

/// Where a record is. A length of 0 means nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl Place {
    pub(crate) fn is_some(self) -> bool {
        self.length > 0
    }
}

/// One live message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Its MSG or COPY.
    pub(crate) message: Place,
    /// Its newest STATE since then.
    pub(crate) state: Place,
    /// STATE records behind that one.
    pub(crate) chain: u16,
    /// Those of the record, and [`CHANGED`].
    flags: u8,
}

/// The message is not as it came in: it has had a state since. In memory only.
const CHANGED: u8 = 0x80;

impl Entry {
    /// Whether the message is as it came in, so that what was kept of it in memory is all there is.
    pub(crate) fn is_fresh(&self) -> bool {
        self.flags & CHANGED == 0
    }

    /// Whether its body is a file.
    pub(crate) fn is_big(&self) -> bool {
        self.flags & FLAG_BIG != 0
    }
}

/// One segment in use.
pub(crate) struct Segment {
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Live messages whose MSG or COPY is here.
    pub(crate) live: u32,
    /// Kept open for the next reader.
    open: Option<Arc<dyn DiskFile>>,
    /// The handle that was last given out, whether it is still kept open or not.
    given: Option<Weak<dyn DiskFile>>,
}

impl Segment {
    pub(crate) fn new(length: u64) -> Segment {
        Segment { length, live: 0, open: None, given: None }
    }
}

/// All live messages and the segments they are in.
#[derive(Default)]
pub(crate) struct Index {
    entries: AscendingMap<QueueId, Entry>,
    pub(crate) segments: BTreeMap<u32, Segment>,
    /// Segments whose write or flush failed. What they hold was durable before; it is moved all the same.
    pub(crate) suspects: BTreeSet<u32>,
    /// Bytes of the MSG and COPY records of live messages.
    pub(crate) live_bytes: u64,
    open: usize,
}

impl Index {
    pub(crate) fn get(&self, id: QueueId) -> Option<Entry> {
        self.entries.get(&id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Live ids, sorted.
    pub(crate) fn ids(&self) -> Vec<QueueId> {
        self.entries.after(None).map(|(id, _)| id).collect()
    }

    /// The messages whose MSG or COPY is in a segment, in the order in which they lie there. A walk over all
    /// live messages, some nanoseconds each.
    pub(crate) fn living_in(&self, segment: u32) -> Vec<QueueId> {
        let entries = self.entries.after(None).map(|(id, entry)| (entry.message, id));
        let mut here: Vec<(u32, QueueId)> = entries
            .filter(|(place, _)| place.segment == segment)
            .map(|(place, id)| (place.offset, id))
            .collect();
        here.sort_unstable();
        here.into_iter().map(|(_, id)| id).collect()
    }

    /// Applies one record. STATE and DONE of unknown messages change nothing.
    pub(crate) fn apply(&mut self, kind: Kind, id: QueueId, flags: u8, detail: u32, place: Place) {
        match kind {
            Kind::Message | Kind::Copy => {
                self.forget(id);
                let chain = 0;
                // A copy may have its state folded in.
                let flags = if kind == Kind::Copy { flags | CHANGED } else { flags & !CHANGED };
                self.entries.insert(id, Entry { message: place, state: Place::default(), chain, flags });
                self.live_bytes += u64::from(place.length);
                if let Some(segment) = self.segments.get_mut(&place.segment) {
                    segment.live += 1;
                }
            }
            Kind::State => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.state = place;
                    entry.flags |= CHANGED;
                    entry.chain = u16::try_from(detail).unwrap_or(u16::MAX);
                }
            }
            Kind::Done => {
                self.forget(id);
            }
            Kind::Note => {}
        }
    }

    fn forget(&mut self, id: QueueId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.live_bytes -= u64::from(entry.message.length);
            if let Some(segment) = self.segments.get_mut(&entry.message.segment) {
                segment.live -= 1;
            }
        }
    }

    /// The oldest segment that holds a live message; nothing when none does.
    pub(crate) fn oldest_live(&self) -> Option<u32> {
        self.segments.iter().find(|(_, segment)| segment.live > 0).map(|(&seq, _)| seq)
    }

    /// A segment that failed and still holds live messages.
    pub(crate) fn suspect(&self) -> Option<u32> {
        let live = |seq: &&u32| self.segments.get(seq).is_some_and(|segment| segment.live > 0);
        self.suspects.iter().find(live).copied()
    }

    /// The segment that compaction copies from: a suspect one, else the oldest. There is nothing to
    /// gain from copying the segment that is being written into itself.
    pub(crate) fn source(&self) -> Option<u32> {
        let newest = self.segments.last_key_value().map(|(&newest, _)| newest);
        self.suspect().or_else(|| self.oldest_live().filter(|&oldest| Some(oldest) != newest))
    }

    /// An open handle of a segment. The handle keeps the file's bytes from being recycled.
    pub(crate) fn file(&mut self, disk: &dyn Disk, seq: u32) -> io::Result<Arc<dyn DiskFile>> {
        let Some(segment) = self.segments.get(&seq) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the segment is not in use"));
        };
        if let Some(file) = &segment.open {
            return Ok(file.clone());
        }
        let file = match segment.given.as_ref().and_then(Weak::upgrade) {
            Some(file) => file,
            None => disk.open(&segment_path(seq), Access::Read)?,
        };
        if self.open >= OPEN_MAX {
            self.segments.values_mut().for_each(|segment| segment.open = None);
            self.open = 0;
        }
        if let Some(segment) = self.segments.get_mut(&seq) {
            segment.given = Some(Arc::downgrade(&file));
            segment.open = Some(file.clone());
            self.open += 1;
        }
        Ok(file)
    }

    /// Takes a segment out of use and says whether its file may be written again: not when somebody
    /// still reads it, and not when it has failed.
    pub(crate) fn retire(&mut self, seq: u32) -> bool {
        let Some(segment) = self.segments.remove(&seq) else { return false };
        let suspect = self.suspects.remove(&seq);
        if segment.open.is_some() {
            self.open -= 1;
        }
        drop(segment.open);
        !suspect && segment.given.is_none_or(|given| given.strong_count() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<(QueueId, Entry)>() <= 40);
    }

    #[test]
    fn liveness_follows_copies_and_endings() {
        let mut index = Index::default();
        for seq in [1, 2] {
            index.segments.insert(seq, Segment::new(0));
        }
        let id = QueueId::from_u64(5);
        let place = |segment| Place { segment, offset: 8, length: 100 };
        index.apply(Kind::Message, id, 0, 0, place(1));
        assert!(index.get(id).unwrap().is_fresh());
        index.apply(Kind::State, id, 0, 3, place(1));
        assert!(!index.get(id).unwrap().is_fresh());
        assert_eq!((index.oldest_live(), index.live_bytes, index.get(id).unwrap().chain), (Some(1), 100, 3));
        index.apply(Kind::Copy, id, 0, 0, place(2));
        assert_eq!((index.oldest_live(), index.live_bytes), (Some(2), 100));
        let entry = index.get(id).unwrap();
        assert!(!entry.state.is_some() && !entry.is_fresh(), "the copy has the state in it");
        index.apply(Kind::Done, id, 0, 0, place(2));
        index.apply(Kind::State, id, 0, 0, place(2));
        assert_eq!((index.oldest_live(), index.live_bytes, index.len()), (None, 0, 0));
    }
}
