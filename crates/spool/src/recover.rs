//! What a start reads: footers of sealed segments, all of the others, and out of them the index.
//!
//! Promises: nothing is written here, so that a stopped spool can be looked at; every acknowledged
//! message is found, whole or named as damaged; nothing that ended comes back.
//! Known: damage in the very last batch of a log that was not stopped cleanly cannot be told from a
//! torn write, and is taken for one.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use mail::QueueId;

use crate::Progress;
use crate::chain::{Ruling, Unit, judge};
use crate::disk::{Access, Disk, DiskFile};
use crate::frame::{FOOTER_ENTRY, FOOTER_HEADER, FOOTER_MAGIC, FooterEntry, Kind, NOTE_CLEAN_STOP, Trailer};
use crate::index::{Index, Place, Segment};
use crate::inventory::Summaries;
use crate::layout::{BLOCK, LOG, LogName, log_name, segment_path};
use crate::log::{End, Footer};
use crate::scan::{Expected, Scan, scan};

/// A damaged stretch that belongs to no known message.
pub(crate) struct Region {
    pub(crate) segment: u32,
    pub(crate) range: Range<u64>,
    pub(crate) bytes: Bytes,
}

/// A segment that gets a footer now.
pub(crate) struct Unsealed {
    pub(crate) footer: Footer,
    pub(crate) entries: Vec<u8>,
    /// Something in it is damaged, so that it stays as it is until that has been set aside.
    pub(crate) faulty: bool,
}

/// All that reading found.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) index: Index,
    pub(crate) end: End,
    /// Live messages and what is wrong with them.
    pub(crate) faults: Vec<(QueueId, String)>,
    /// The same while the log is read.
    faulty: BTreeMap<QueueId, &'static str>,
    pub(crate) regions: Vec<Region>,
    pub(crate) unsealed: Vec<Unsealed>,
    /// Segments without anything that counts, with the length of their files.
    pub(crate) free: Vec<(u32, u64)>,
    pub(crate) spares: Vec<(u64, u64)>,
    pub(crate) unfinished: Vec<String>,
    pub(crate) torn_bytes: u64,
    pub(crate) clean: bool,
    pub(crate) summaries: Summaries,
}

/// A segment as read.
struct Piece {
    seq: u32,
    length: u64,
    content: Content,
}

enum Content {
    /// The footer lies there in the bytes of the summaries.
    Sealed {
        trailer: Trailer,
        footer: Range<usize>,
    },
    Scanned(Scan),
}

/// Reads the log.
pub(crate) fn read(disk: &dyn Disk, progress: &mut dyn FnMut(Progress)) -> io::Result<Read> {
    let mut read = Read::default();
    let mut segments = Vec::new();
    for entry in disk.list(LOG)? {
        match log_name(&entry.name) {
            Some(LogName::Segment(seq)) => segments.push((seq, entry.length)),
            Some(LogName::Spare(number)) => read.spares.push((number, entry.length)),
            Some(LogName::Unfinished) => read.unfinished.push(format!("{LOG}/{}", entry.name)),
            None => {}
        }
    }
    segments.sort_unstable();
    read.spares.sort_unstable();
    let total = segments.iter().map(|(_, length)| length).sum();
    let mut done = 0;
    let mut pieces = Vec::with_capacity(segments.len());
    for (seq, length) in segments {
        let file = disk.open(&segment_path(seq), Access::Read)?;
        let content = match sealed(&*file, seq, length, &mut read.summaries.bytes)? {
            Some((trailer, footer)) => Content::Sealed { trailer, footer },
            None => Content::Scanned(scan(&whole(&*file, length)?, seq)),
        };
        pieces.push(Piece { seq, length, content });
        done += length;
        progress(Progress { stage: "reading the log", done, total });
    }
    read.assemble(disk, pieces)?;
    Ok(read)
}

fn whole(file: &dyn DiskFile, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?];
    let count = file.read_at(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Puts the footer of a sealed segment behind `bytes` and says where; nothing when it has none that verifies.
fn sealed(
    file: &dyn DiskFile,
    seq: u32,
    length: u64,
    bytes: &mut Vec<u8>,
) -> io::Result<Option<(Trailer, Range<usize>)>> {
    if length < 3 * BLOCK {
        return Ok(None);
    }
    let mut block = vec![0; BLOCK as usize];
    let count = file.read_at(length - BLOCK, &mut block)?;
    let Some(trailer) = Trailer::read(&block[..count]) else { return Ok(None) };
    let end = trailer.footer_offset.checked_add(trailer.footer_len);
    let fits = end.is_some_and(|end| end <= length) && trailer.footer_len >= FOOTER_HEADER as u64;
    if trailer.seq != u64::from(seq) || !fits {
        return Ok(None);
    }
    let start = bytes.len();
    bytes.resize(start + trailer.footer_len as usize, 0);
    let footer = &mut bytes[start..];
    let count = file.read_at(trailer.footer_offset, footer)?;
    let good = count == footer.len()
        && footer.starts_with(&FOOTER_MAGIC)
        && crc32c::crc32c(footer) == trailer.footer_crc;
    if !good {
        bytes.truncate(start);
    }
    Ok(good.then_some((trailer, start..bytes.len())))
}

fn units(pieces: &[Piece]) -> Vec<Unit> {
    let mut units = Vec::new();
    for piece in pieces {
        match &piece.content {
            Content::Sealed { trailer, .. } => {
                units.push(Unit { previous: trailer.first_previous, last: trailer.last_batch, whole: true });
            }
            Content::Scanned(scan) => units.extend(scan.batches.iter().map(|batch| Unit {
                previous: batch.header.previous,
                last: batch.header.number,
                whole: batch.whole,
            })),
        }
    }
    units
}

impl Read {
    fn assemble(&mut self, disk: &dyn Disk, pieces: Vec<Piece>) -> io::Result<()> {
        let units = units(&pieces);
        let rulings = judge(&units);
        self.end.batch = units.iter().map(|unit| unit.last).max().unwrap_or(0);
        let committed = units.iter().zip(&rulings).rev().find(|(_, ruling)| ruling.committed);
        self.end.committed = committed.map_or(0, |(unit, _)| unit.last);
        self.end.seq = pieces.last().map_or(0, |piece| piece.seq);
        self.end.tail = tail(&pieces, &rulings);
        self.clean = true;
        let mut next = 0;
        // Gaps of earlier segments, until it is known whether a batch is missing in them.
        let mut gaps: Vec<(u32, u64, Range<u64>, u64)> = Vec::new();
        for piece in pieces {
            let count = match &piece.content {
                Content::Sealed { .. } => 1,
                Content::Scanned(scan) => scan.batches.len(),
            };
            let rulings = &rulings[next..next + count];
            next += count;
            let Piece { seq, length, content } = piece;
            self.note_floor(&content);
            if seq < self.end.tail {
                self.free.push((seq, length));
                continue;
            }
            self.index.segments.insert(seq, Segment::new(length));
            let used = match content {
                Content::Sealed { trailer, footer } => {
                    if rulings[0].gap_before {
                        self.missing(disk, &gaps, u64::MAX)?;
                    }
                    gaps.clear();
                    self.apply_footer(seq, &trailer, footer);
                    true
                }
                Content::Scanned(scan) => self.apply_scan(disk, seq, length, scan, rulings, &mut gaps)?,
            };
            if !used && !self.regions.iter().any(|region| region.segment == seq) {
                self.index.segments.remove(&seq);
                self.free.push((seq, length));
            }
        }
        let faulty = std::mem::take(&mut self.faulty).into_iter();
        self.faults.extend(faulty.map(|(id, fault)| (id, fault.to_owned())));
        // A segment in which missing records were found later is in use after all.
        let index = &self.index;
        self.free.retain(|(seq, _)| !index.segments.contains_key(seq));
        Ok(())
    }

    /// The greatest numbers seen, whether they count or not.
    fn note_floor(&mut self, content: &Content) {
        let (floor, lsn) = match content {
            Content::Sealed { trailer, .. } => (trailer.id_floor, trailer.last_lsn),
            Content::Scanned(scan) => {
                let items = || scan.batches.iter().flat_map(|batch| &batch.items);
                let ids = items().map(|item| item.entry.id).max().unwrap_or(0);
                let floor = scan.header.map_or(0, |header| header.id_floor.max(ids)).max(ids);
                let last = scan.batches.last();
                (floor, last.map_or(0, |batch| batch.header.first_lsn + u64::from(batch.header.records)))
            }
        };
        self.end.id_floor = self.end.id_floor.max(floor);
        self.end.lsn = self.end.lsn.max(lsn);
    }

    fn apply_footer(&mut self, seq: u32, trailer: &Trailer, footer: Range<usize>) {
        let bytes = std::mem::take(&mut self.summaries.bytes);
        let mut place = footer.start + FOOTER_HEADER;
        for _ in 0..trailer.entries {
            let Some(entry) = bytes.get(place..footer.end).and_then(FooterEntry::read) else { break };
            let start = place + FOOTER_ENTRY;
            place = start + entry.summary_len as usize;
            self.apply(seq, &entry, start..place, None);
        }
        self.summaries.bytes = bytes;
    }

    /// Keeps what a scan found; the answer is where it begins.
    fn keep(&mut self, summaries: &[u8]) -> usize {
        let base = self.summaries.bytes.len();
        self.summaries.bytes.extend_from_slice(summaries);
        base
    }

    fn apply_scan(
        &mut self,
        disk: &dyn Disk,
        seq: u32,
        length: u64,
        scan: Scan,
        rulings: &[Ruling],
        gaps: &mut Vec<(u32, u64, Range<u64>, u64)>,
    ) -> io::Result<bool> {
        let base = self.keep(&scan.summaries);
        let mut footer: Option<Footer> = None;
        let mut entries = Vec::new();
        let mut faulty = false;
        let mut found = scan.gaps.iter().peekable();
        let mut last_lsn = gaps.last().map_or(0, |gap| gap.3);
        // A segment is left behind at its first failure, so that nothing may be missing before a batch
        // that counts.
        let mut missing = false;
        for (batch, ruling) in scan.batches.iter().zip(rulings) {
            while let Some(gap) = found.next_if(|gap| gap.start < batch.offset) {
                gaps.push((seq, scan.epoch, gap.clone(), last_lsn));
                missing = true;
            }
            if !ruling.committed {
                self.torn_bytes += batch.end - batch.offset;
                continue;
            }
            if ruling.gap_before || std::mem::take(&mut missing) {
                faulty = true;
                self.missing(disk, gaps, batch.header.first_lsn)?;
            }
            gaps.clear();
            last_lsn = batch.header.first_lsn + u64::from(batch.header.records);
            for item in &batch.items {
                let summary = base + item.summary.start..base + item.summary.end;
                self.apply(seq, &item.entry, summary, item.fault);
                faulty |= item.fault.is_some();
                if item.fault.is_none() {
                    item.entry.write(&mut entries);
                    entries.extend_from_slice(&scan.summaries[item.summary.clone()]);
                }
            }
            faulty |= !batch.unknown.is_empty();
            self.set_aside(disk, seq, &batch.unknown)?;
            let header = batch.header;
            let footer = footer.get_or_insert(Footer {
                seq,
                epoch: header.epoch,
                offset: 0,
                length,
                entries: 0,
                first_batch: header.number,
                first_previous: header.previous,
                last_batch: 0,
                last_lsn: 0,
                tail: self.end.tail,
                id_floor: 0,
            });
            footer.offset = batch.end;
            footer.last_batch = header.number;
            footer.last_lsn = last_lsn;
            footer.entries += batch.items.iter().filter(|item| item.fault.is_none()).count() as u32;
        }
        gaps.extend(found.map(|gap| (seq, scan.epoch, gap.clone(), last_lsn)));
        let Some(mut footer) = footer else { return Ok(false) };
        footer.id_floor = self.end.id_floor;
        self.unsealed.push(Unsealed { footer, entries, faulty });
        Ok(true)
    }

    /// A committed batch is missing somewhere in the gaps: finds its records, sets the rest aside.
    fn missing(
        &mut self,
        disk: &dyn Disk,
        gaps: &[(u32, u64, Range<u64>, u64)],
        below: u64,
    ) -> io::Result<()> {
        for (seq, epoch, range, from) in gaps {
            let Some(length) = self
                .index
                .segments
                .get(seq)
                .map(|segment| segment.length)
                .or_else(|| self.free.iter().find(|(free, _)| free == seq).map(|&(_, length)| length))
            else {
                continue;
            };
            let file = disk.open(&segment_path(*seq), Access::Read)?;
            let bytes = whole(&*file, length)?;
            let mut scan = Scan::default();
            let expected = Expected { epoch_lo: *epoch as u32, from: *from, below };
            let (items, mut unknown) = scan.walk(&bytes, range.clone(), expected);
            if items.is_empty() && unknown.iter().all(|gap| blank(&bytes, gap)) {
                continue;
            }
            // Behind the last record that verifies, old bytes of the recycled file may follow.
            let end = items.iter().map(|item| u64::from(item.entry.offset + item.entry.length)).max();
            unknown.retain(|gap| gap.start < end.unwrap_or(range.start + BLOCK));
            self.index.segments.entry(*seq).or_insert_with(|| Segment::new(length));
            let base = self.keep(&scan.summaries);
            for item in items {
                let summary = base + item.summary.start..base + item.summary.end;
                self.apply(*seq, &item.entry, summary, item.fault);
            }
            self.set_aside(disk, *seq, &unknown)?;
        }
        Ok(())
    }

    fn set_aside(&mut self, disk: &dyn Disk, segment: u32, unknown: &[Range<u64>]) -> io::Result<()> {
        for range in unknown {
            let file = disk.open(&segment_path(segment), Access::Read)?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            let count = file.read_at(range.start, &mut bytes)?;
            bytes.truncate(count);
            self.regions.push(Region { segment, range: range.clone(), bytes: bytes.into() });
        }
        Ok(())
    }

    /// Applies one record to the index and to what is known of messages.
    fn apply(&mut self, seq: u32, entry: &FooterEntry, summary: Range<usize>, fault: Option<&'static str>) {
        let id = QueueId::from_u64(entry.id);
        let place = Place { segment: seq, offset: entry.offset, length: entry.length };
        self.end.id_floor = self.end.id_floor.max(entry.id);
        self.clean = entry.kind == Kind::Note && entry.detail == NOTE_CLEAN_STOP;
        match (entry.kind, self.index.get(id).is_some(), fault) {
            // The message is still where it was copied from.
            (Kind::Copy, true, Some(_)) => return,
            (Kind::Message | Kind::Copy, _, Some(fault)) => {
                self.summaries.note(entry.kind, id, summary);
                self.faulty.insert(id, fault);
            }
            (Kind::State, true, Some(_)) => {
                self.faulty.insert(id, "a record of its state is damaged");
            }
            (Kind::Done, true, Some(_)) => {
                self.faulty.insert(id, "the record of its end is damaged");
                return;
            }
            (Kind::Message | Kind::Copy, _, None) | (Kind::Done, true, None) => {
                self.summaries.note(entry.kind, id, summary);
                self.faulty.remove(&id);
            }
            (Kind::State, true, None) => self.summaries.note(entry.kind, id, summary),
            (Kind::State | Kind::Done, false, _) | (Kind::Note, _, _) => return,
        }
        self.index.apply(entry.kind, id, entry.flags, entry.detail, place);
    }
}

fn blank(bytes: &[u8], range: &Range<u64>) -> bool {
    bytes
        .get(range.start as usize..range.end as usize)
        .is_none_or(|bytes| bytes.iter().all(|&byte| byte == 0))
}

/// The oldest segment that was still needed when the last committed batch was written.
fn tail(pieces: &[Piece], rulings: &[Ruling]) -> u32 {
    let mut rulings = rulings.iter();
    let mut tail = 0;
    for piece in pieces {
        match &piece.content {
            Content::Sealed { trailer, .. } => {
                if rulings.next().is_some_and(|ruling| ruling.committed) {
                    tail = tail.max(trailer.tail_seq);
                }
            }
            Content::Scanned(scan) => {
                for (batch, ruling) in scan.batches.iter().zip(&mut rulings) {
                    if ruling.committed {
                        tail = tail.max(batch.header.tail_seq);
                    }
                }
            }
        }
    }
    u32::try_from(tail).unwrap_or(u32::MAX)
}
