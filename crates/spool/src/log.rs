//! The segments: which one is written, how it is sealed, where the next comes from, which are freed.
//!
//! Promises: a block that holds acknowledged data is never written again; a segment is freed only
//! after a flushed batch that says that nothing before a later one is needed; a segment whose write or
//! flush failed is not written again.
//!
//! Known: rolling over renames a file and syncs the directory between two commits, a millisecond or two
//! for each segment.

use std::io::{self, IoSlice};
use std::sync::Arc;

use mail::Rng;

use crate::batch::{Batch, Chain, Laid, Setting, batch_len};
use crate::disk::{Access, DiskFile};
use crate::frame::{BatchHeader, FOOTER_HEADER, FOOTER_MAGIC, SegmentHeader, Trailer, Writer};
use crate::index::{Place, Segment};
use crate::job::{Job, Room};
use crate::layout::{BLOCK, LOG, padded, segment_path, spare_path};
use crate::shared::{Counters, Shared, lock};
use crate::spares::RESERVE;
use crate::{AcceptError, Options};

/// Where the log ends, as recovery found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct End {
    /// The greatest segment number ever seen.
    pub(crate) seq: u32,
    /// The greatest batch number ever seen.
    pub(crate) batch: u64,
    /// The last committed batch.
    pub(crate) committed: u64,
    pub(crate) lsn: u64,
    pub(crate) tail: u32,
    pub(crate) id_floor: u64,
}

/// The segment being written.
struct Open {
    seq: u32,
    epoch: u64,
    file: Arc<dyn DiskFile>,
    length: u64,
    /// Where the next batch goes; 0 while the header is not written.
    offset: u64,
    footer: Vec<u8>,
    entries: u32,
    first_batch: u64,
    first_previous: u64,
}

/// The log as its one writer holds it.
pub(crate) struct Log {
    shared: Arc<Shared>,
    open: Option<Open>,
    end: End,
    /// The tail that the last committed batch carried.
    flushed_tail: u32,
    rng: Rng,
    batch: Batch,
}

impl Open {
    /// Whether a batch of this much fits, with the footer that would then be needed.
    fn fits(&self, room: Room) -> bool {
        let footer = FOOTER_HEADER as u64 + self.footer.len() as u64 + room.footer;
        self.offset.max(BLOCK) + batch_len(room.batch) + padded(footer) + BLOCK <= self.length
    }
}

/// What an empty segment must have for a batch of this much.
fn segment_len(room: Room) -> u64 {
    BLOCK + batch_len(room.batch) + padded(FOOTER_HEADER as u64 + room.footer) + BLOCK
}

/// What a disk error means for who waits.
pub(crate) fn refusal(error: &io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AcceptError::DiskFull,
        _ => AcceptError::Io(error.to_string()),
    }
}

impl Log {
    pub(crate) fn new(shared: Arc<Shared>, end: End) -> Log {
        let rng = Rng::new(shared.options.seed);
        Log { shared, open: None, end, flushed_tail: end.tail, rng, batch: Batch::default() }
    }

    /// Whether one record of this size fits an ordinary segment together with what is there already.
    pub(crate) fn fits_segment(&self, room: Room) -> bool {
        segment_len(room) <= self.shared.options.segment_size
    }

    /// Whether segments wait for a batch that frees them.
    pub(crate) fn tail_waits(&self) -> bool {
        self.end.tail > self.flushed_tail
    }

    /// Whether there is room for mail, leaving the reserve alone.
    pub(crate) fn has_room(&self) -> bool {
        let Options { segment_size, free_min, .. } = &self.shared.options;
        let free = self.shared.disk.free_bytes().unwrap_or(0);
        let spare = self.shared.spares.len() > RESERVE && free > *free_min;
        spare || free >= free_min.saturating_add(*segment_size)
    }

    /// Writes the jobs as one batch and makes it durable. A failing segment is left behind and the
    /// batch goes once more, into a fresh one.
    pub(crate) fn commit(&mut self, jobs: &[Job]) -> io::Result<Vec<Place>> {
        let mut room = Room::default();
        jobs.iter().for_each(|job| room.add(job.room()));
        let accepts = jobs.iter().any(|job| job.fresh.is_some());
        for last in [false, true] {
            self.make_room(room, accepts)?;
            match self.write(jobs) {
                Ok(()) => break,
                Err(error) => {
                    Counters::add(&self.shared.counters.failures, 1);
                    let failed = self.open.take().map(|open| open.seq);
                    lock(&self.shared.index).suspects.extend(failed);
                    if last {
                        return Err(error);
                    }
                }
            }
        }
        self.committed();
        Ok(self.batch.records.iter().map(|laid| laid.place).collect())
    }

    /// The records of the last committed batch.
    pub(crate) fn laid(&self) -> &[Laid] {
        &self.batch.records
    }

    fn write(&mut self, jobs: &[Job]) -> io::Result<()> {
        let open = self.open.as_ref().expect("room was made before");
        let now = (self.shared.options.clock)().as_millis();
        self.end.batch += 1;
        let head = SegmentHeader {
            uuid: self.shared.uuid,
            seq: u64::from(open.seq),
            epoch: open.epoch,
            created: now,
            first_lsn: self.end.lsn + 1,
            tail_seq: u64::from(self.end.tail),
            id_floor: self.end.id_floor,
            length: open.length,
        };
        let header = BatchHeader {
            records: 0,
            epoch: open.epoch,
            seq: u64::from(open.seq),
            number: self.end.batch,
            previous: self.end.committed,
            first_lsn: self.end.lsn + 1,
            tail_seq: u64::from(self.end.tail),
            time: now,
            bytes: 0,
            directory_crc: 0,
        };
        let first = open.offset == 0;
        let setting = Setting { segment: open.seq, offset: open.offset.max(BLOCK), header };
        let shared = self.shared.clone();
        let chain = |id| {
            let entry = lock(&shared.index).get(id);
            entry.map_or(Chain::default(), |entry| Chain { newest: entry.state, behind: entry.chain })
        };
        self.batch.lay(jobs, first.then_some(&head), setting, &chain);
        open.file.write_at(open.offset, &self.batch.slices())?;
        Counters::add(&self.shared.counters.bytes_written, self.batch.len() as u64);
        Counters::add(&self.shared.counters.syncs, 1);
        open.file.sync()?;
        let open = self.open.as_mut().expect("still the same");
        if open.entries == 0 {
            (open.first_batch, open.first_previous) = (header.number, header.previous);
        }
        open.offset += self.batch.len() as u64;
        open.entries += jobs.len() as u32;
        for (laid, job) in self.batch.records.iter().zip(jobs) {
            laid.entry.write(&mut open.footer);
            open.footer.extend_from_slice(job.summary());
        }
        Ok(())
    }

    /// The batch is durable.
    fn committed(&mut self) {
        let records = self.batch.records.len() as u64;
        self.end.committed = self.end.batch;
        self.end.lsn += records;
        self.flushed_tail = self.end.tail;
        let greatest = self.batch.records.iter().map(|laid| laid.entry.id).max();
        self.end.id_floor = self.end.id_floor.max(greatest.unwrap_or(0));
        Counters::add(&self.shared.counters.batches, 1);
        Counters::add(&self.shared.counters.records, records);
    }

    /// Sees to it that the open segment has room, rolling over when it has not.
    fn make_room(&mut self, room: Room, accepts: bool) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.fits(room)) {
            return Ok(());
        }
        let length = segment_len(room).max(self.shared.options.segment_size);
        // The old segment stays open until there is a new one: when there is none, smaller records
        // can still go into it.
        let next = self.roll(length, accepts)?;
        self.seal();
        lock(&self.shared.index).segments.insert(next.seq, Segment::new(length));
        self.open = Some(next);
        Ok(())
    }

    /// Makes a fresh segment out of a spare or a new file.
    fn roll(&mut self, length: u64, accepts: bool) -> io::Result<Open> {
        let disk = self.shared.disk.clone();
        let ordinary = length == self.shared.options.segment_size;
        let spare = if ordinary { self.shared.spares.take(if accepts { RESERVE } else { 0 }) } else { None };
        let path = match spare {
            Some(number) => spare_path(number),
            None => self.create(length, accepts)?,
        };
        self.end.seq = self.end.seq.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
        let seq = self.end.seq;
        let opened = disk
            .rename(&path, &segment_path(seq))
            .and_then(|()| disk.sync_directory(LOG))
            .and_then(|()| disk.open(&segment_path(seq), Access::Write));
        let file = opened.inspect_err(|_| {
            Counters::add(&self.shared.counters.failures, 1);
            let _ = disk.remove(&segment_path(seq));
        })?;
        Ok(Open {
            seq,
            epoch: self.rng.next_u64(),
            file,
            length,
            offset: 0,
            footer: Vec::new(),
            entries: 0,
            first_batch: 0,
            first_previous: 0,
        })
    }

    fn create(&self, length: u64, accepts: bool) -> io::Result<String> {
        let disk = &self.shared.disk;
        if accepts && disk.free_bytes()? < self.shared.options.free_min.saturating_add(length) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = spare_path(self.shared.spares.name());
        let created = disk.open(&path, Access::Create).and_then(|file| file.allocate(length));
        created.inspect_err(|_| {
            Counters::add(&self.shared.counters.failures, 1);
            let _ = disk.remove(&path);
        })?;
        Ok(path)
    }

    /// Gives the open segment its footer. A footer only makes the next start faster, so that a failure
    /// is counted and nothing else.
    pub(crate) fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.entries == 0 {
            return;
        }
        let footer = Footer {
            seq: open.seq,
            epoch: open.epoch,
            offset: open.offset,
            length: open.length,
            entries: open.entries,
            first_batch: open.first_batch,
            first_previous: open.first_previous,
            last_batch: self.end.committed,
            last_lsn: self.end.lsn,
            tail: self.flushed_tail,
            id_floor: self.end.id_floor,
        };
        if write_footer(&*open.file, &footer, &open.footer).is_err() {
            Counters::add(&self.shared.counters.failures, 1);
        }
    }

    /// Frees what the last batch allows to free, and finds the new tail.
    pub(crate) fn release(&mut self) {
        let index = lock(&self.shared.index);
        let dead: Vec<u32> = index.segments.range(..self.flushed_tail).map(|(&seq, _)| seq).collect();
        let current = self.open.as_ref().map(|open| open.seq);
        let needed = index.oldest_live().into_iter().chain(current).min();
        drop(index);
        for seq in dead {
            self.recycle(seq);
        }
        if let Some(needed) = needed {
            self.end.tail = self.end.tail.max(needed);
        }
    }

    /// How many spares to keep. The room that is to be free is not kept in spares: while it is missing no
    /// mail is taken, and those that are kept then are for what was taken before.
    fn spares_max(&self) -> usize {
        let Options { spares_max, free_min, .. } = self.shared.options;
        let short = self.shared.disk.free_bytes().is_ok_and(|free| free <= free_min);
        if short { RESERVE } else { spares_max.max(RESERVE) }
    }

    /// Makes a spare of a segment that is not needed any more, or removes it.
    fn recycle(&mut self, seq: u32) {
        let disk = self.shared.disk.clone();
        let options = &self.shared.options;
        let path = segment_path(seq);
        let mut index = lock(&self.shared.index);
        let length = index.segments.get(&seq).map_or(0, |segment| segment.length);
        let reusable = index.retire(seq);
        drop(index);
        let linked =
            || disk.open(&path, Access::Read).and_then(|file| file.status()).is_ok_and(|s| s.links > 1);
        let usable = reusable
            && length == options.segment_size
            && self.shared.spares.len() < self.spares_max()
            && !linked();
        if usable {
            let number = self.shared.spares.name();
            if disk.rename(&path, &spare_path(number)).is_ok() {
                self.shared.spares.put(number);
                return;
            }
        }
        // A file that cannot be removed lies below the tail: the next start removes it.
        if disk.remove(&path).is_err() {
            Counters::add(&self.shared.counters.failures, 1);
        }
    }
}

/// What a footer says besides its entries.
pub(crate) struct Footer {
    pub(crate) seq: u32,
    pub(crate) epoch: u64,
    /// Where the last batch ends.
    pub(crate) offset: u64,
    /// Bytes of the file.
    pub(crate) length: u64,
    pub(crate) entries: u32,
    pub(crate) first_batch: u64,
    pub(crate) first_previous: u64,
    pub(crate) last_batch: u64,
    pub(crate) last_lsn: u64,
    pub(crate) tail: u32,
    pub(crate) id_floor: u64,
}

impl Footer {
    /// Whether the file is long enough for a footer with these entries. A crash may have left it
    /// shorter than it was to become.
    pub(crate) fn fits(&self, entries: &[u8]) -> bool {
        self.offset + padded((FOOTER_HEADER + entries.len()) as u64) + BLOCK <= self.length
    }
}

/// Writes the footer behind the last batch and the trailer into the last block.
pub(crate) fn write_footer(file: &dyn DiskFile, footer: &Footer, entries: &[u8]) -> io::Result<()> {
    let mut head = Vec::with_capacity(FOOTER_HEADER);
    head.extend_from_slice(&FOOTER_MAGIC);
    Writer(&mut head).u32(footer.entries);
    let trailer = Trailer {
        seq: u64::from(footer.seq),
        epoch: footer.epoch,
        footer_offset: footer.offset,
        footer_len: (FOOTER_HEADER + entries.len()) as u64,
        entries: footer.entries,
        footer_crc: crc32c::crc32c_append(crc32c::crc32c(&head), entries),
        first_batch: footer.first_batch,
        first_previous: footer.first_previous,
        last_batch: footer.last_batch,
        last_lsn: footer.last_lsn,
        tail_seq: u64::from(footer.tail),
        id_floor: footer.id_floor,
    };
    let padding = vec![0; (padded(trailer.footer_len) - trailer.footer_len) as usize];
    file.write_at(footer.offset, &[IoSlice::new(&head), IoSlice::new(entries), IoSlice::new(&padding)])?;
    let mut block = Vec::with_capacity(BLOCK as usize);
    trailer.write(&mut block);
    block.resize(BLOCK as usize, 0);
    file.write_at(footer.length - BLOCK, &[IoSlice::new(&block)])?;
    file.sync()
}
