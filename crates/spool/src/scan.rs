//! One segment read record by record, for when it has no footer that can be trusted.
//!
//! Promises: nothing outside a verified checksum is believed; a damaged record is reported with the
//! name that the directory of its batch gives it; whatever verifies behind it is found.
//! Known: a record whose header and directory are both damaged is known by its place only.

use std::ops::Range;

use crate::codec::summary_of;
use crate::frame::{
    BATCH_HEADER, BatchHeader, DIRECTORY_ENTRY, DirectoryEntry, FooterEntry, Kind, RECORD_HEADER,
    RecordHeader, SegmentHeader,
};
use crate::layout::{BLOCK, padded};

/// One record, good or damaged.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) entry: FooterEntry,
    /// Where its summary is in [`Scan::summaries`].
    pub(crate) summary: Range<usize>,
    /// What is wrong with it.
    pub(crate) fault: Option<&'static str>,
}

/// One batch whose header verifies.
#[derive(Debug)]
pub(crate) struct ScannedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) offset: u64,
    /// Where the next one may start.
    pub(crate) end: u64,
    pub(crate) items: Vec<Item>,
    /// Bytes that nothing is known of.
    pub(crate) unknown: Vec<Range<u64>>,
    /// Every checksum is right.
    pub(crate) whole: bool,
}

/// What is in a segment.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) header: Option<SegmentHeader>,
    pub(crate) epoch: u64,
    pub(crate) batches: Vec<ScannedBatch>,
    /// Blocks between and behind the batches.
    pub(crate) gaps: Vec<Range<u64>>,
    pub(crate) summaries: Vec<u8>,
}

/// Which records belong to a stretch of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) epoch_lo: u32,
    /// Sequence numbers lie in `from..below`.
    pub(crate) from: u64,
    pub(crate) below: u64,
}

/// Reads a whole segment.
pub(crate) fn scan(bytes: &[u8], seq: u32) -> Scan {
    let header = SegmentHeader::read(bytes).filter(|header| header.seq == u64::from(seq));
    let first = bytes.get(BLOCK as usize..).and_then(BatchHeader::read);
    // Without the segment's header its first batch says which incarnation this is; the number of the
    // segment is in both, so that old bytes of a recycled file do not pass.
    let epoch = header.map(|header| header.epoch).or(first.map(|batch| batch.epoch)).unwrap_or(0);
    let mut scan = Scan { header, epoch, ..Scan::default() };
    let mut position = BLOCK;
    let mut gap = None;
    let mut number = 0;
    while position + BLOCK <= bytes.len() as u64 {
        let here = &bytes[position as usize..];
        let batch = BatchHeader::read(here).filter(|batch| {
            batch.seq == u64::from(seq)
                && batch.epoch == epoch
                && batch.number > number
                && (batch.bytes as usize) <= here.len()
                && batch.bytes as usize >= BATCH_HEADER + batch.records as usize * DIRECTORY_ENTRY
        });
        let Some(batch) = batch else {
            gap.get_or_insert(position);
            position += BLOCK;
            continue;
        };
        scan.gaps.extend(gap.take().map(|start| start..position));
        number = batch.number;
        let end = position + padded(u64::from(batch.bytes));
        let scanned = scan.batch(bytes, position, end, batch);
        scan.batches.push(scanned);
        position = end;
    }
    scan.gaps.extend(gap.map(|start| start..position));
    scan
}

impl Scan {
    fn batch(&mut self, bytes: &[u8], offset: u64, end: u64, header: BatchHeader) -> ScannedBatch {
        let start = offset as usize + BATCH_HEADER;
        let records = start + header.records as usize * DIRECTORY_ENTRY;
        let limit = offset as usize + header.bytes as usize;
        let directory = &bytes[start..records];
        let mut batch =
            ScannedBatch { header, offset, end, items: Vec::new(), unknown: Vec::new(), whole: true };
        let lengths = || {
            directory.chunks_exact(DIRECTORY_ENTRY).map(|chunk| DirectoryEntry::read(chunk).length as usize)
        };
        let fits = || lengths().try_fold(records, usize::checked_add) == Some(limit);
        if crc32c::crc32c(directory) != header.directory_crc || !fits() {
            let expected = Expected {
                epoch_lo: header.epoch as u32,
                from: header.first_lsn,
                below: header.first_lsn.saturating_add(u64::from(header.records)),
            };
            let (items, unknown) = self.walk(bytes, records as u64..limit as u64, expected);
            return ScannedBatch { items, unknown, whole: false, ..batch };
        }
        let mut place = records;
        for (lsn, chunk) in (header.first_lsn..).zip(directory.chunks_exact(DIRECTORY_ENTRY)) {
            let named = DirectoryEntry::read(chunk);
            let record = &bytes[place..place + named.length as usize];
            let known = RecordHeader::read(record).filter(|header| {
                header.id == named.id && header.lsn == lsn && header.record_len() == u64::from(named.length)
            });
            match (known, Kind::from_code(named.kind)) {
                (Some(known), _) => batch.items.push(self.item(record, place, &known)),
                (None, Some(kind)) => {
                    let entry = FooterEntry {
                        kind,
                        flags: named.flags,
                        length: named.length,
                        id: named.id,
                        lsn,
                        offset: place as u32,
                        detail: 0,
                        summary_len: 0,
                    };
                    let fault = Some("its record header is damaged");
                    batch.items.push(Item { entry, summary: 0..0, fault });
                }
                (None, None) => batch.unknown.push(place as u64..place as u64 + u64::from(named.length)),
            }
            place += named.length as usize;
        }
        batch.whole = batch.unknown.is_empty() && batch.items.iter().all(|item| item.fault.is_none());
        batch
    }

    /// A record whose header verifies; the bytes are all there.
    fn item(&mut self, record: &[u8], place: usize, header: &RecordHeader) -> Item {
        let section_end = RECORD_HEADER + header.env_len as usize;
        let section = &record[RECORD_HEADER..section_end];
        let body = &record[section_end..section_end + header.inline_len() as usize];
        let holds_summary = header.kind.is_message() || header.kind == Kind::State;
        let summary = if holds_summary { summary_of(section) } else { Some(&[][..]) };
        let fault = if crc32c::crc32c(section) != header.env_crc || summary.is_none() {
            Some("the checksum of its envelope or state is wrong")
        } else if header.inline_len() > 0 && crc32c::crc32c(body) != header.body_crc {
            Some("the checksum of its content is wrong")
        } else {
            None
        };
        let summary = summary.unwrap_or_default();
        let from = self.summaries.len();
        self.summaries.extend_from_slice(summary);
        let entry = FooterEntry {
            kind: header.kind,
            flags: header.flags,
            length: record.len() as u32,
            id: header.id,
            lsn: header.lsn,
            offset: place as u32,
            detail: header.detail,
            summary_len: summary.len() as u32,
        };
        Item { entry, summary: from..self.summaries.len(), fault }
    }

    /// Finds records by their headers where nothing else says where they are, and what lies between.
    pub(crate) fn walk(
        &mut self,
        bytes: &[u8],
        range: Range<u64>,
        expected: Expected,
    ) -> (Vec<Item>, Vec<Range<u64>>) {
        let (mut items, mut unknown) = (Vec::new(), Vec::new());
        let end = (range.end as usize).min(bytes.len());
        let mut from = expected.from;
        let mut place = range.start as usize;
        let mut lost = None;
        while place + RECORD_HEADER <= end {
            let known = RecordHeader::read(&bytes[place..end]).filter(|header| {
                header.epoch_lo == expected.epoch_lo
                    && (from..expected.below).contains(&header.lsn)
                    && header.record_len() <= (end - place) as u64
            });
            let Some(header) = known else {
                lost.get_or_insert(place as u64);
                place += 8;
                continue;
            };
            unknown.extend(lost.take().map(|start| start..place as u64));
            let length = header.record_len() as usize;
            items.push(self.item(&bytes[place..place + length], place, &header));
            from = header.lsn + 1;
            place += length;
        }
        if from < expected.below {
            unknown.extend(lost.map(|start| start..end as u64));
        }
        (items, unknown)
    }
}
