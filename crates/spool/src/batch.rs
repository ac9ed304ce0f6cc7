//! Jobs laid out as one batch: header, directory, records, padding.
//!
//! Promises: small bodies are copied once, into a buffer that is used again; large ones are handed to
//! the disk where they are.

use std::collections::BTreeMap;
use std::io::IoSlice;

use bytes::Bytes;
use mail::QueueId;

use crate::frame::{
    BATCH_HEADER, BatchHeader, DIRECTORY_ENTRY, DirectoryEntry, FooterEntry, Kind, LINK, RecordHeader,
    SEGMENT_HEADER, SegmentHeader, Writer,
};
use crate::index::Place;
use crate::job::Job;
use crate::layout::{BLOCK, padded};

/// Bodies above this are not copied into the buffer.
const COPY_MAX: usize = 32 * 1024;

/// Where a batch goes, and what is only known when it goes there.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) segment: u32,
    /// Where the batch header will be.
    pub(crate) offset: u64,
    pub(crate) header: BatchHeader,
}

/// The newest STATE of a message, and how many are behind it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Chain {
    pub(crate) newest: Place,
    pub(crate) behind: u16,
}

/// One record as laid out.
pub(crate) struct Laid {
    pub(crate) entry: FooterEntry,
    pub(crate) place: Place,
}

/// The bytes of one batch.
#[derive(Default)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    /// Bodies that belong at these places of the buffer.
    bodies: Vec<(usize, Bytes)>,
    bodies_len: usize,
    pub(crate) records: Vec<Laid>,
}

impl Batch {
    /// Lays the jobs out. `chain` knows the chains of messages as of before this batch.
    pub(crate) fn lay(
        &mut self,
        jobs: &[Job],
        head: Option<&SegmentHeader>,
        setting: Setting,
        chain: &dyn Fn(QueueId) -> Chain,
    ) {
        self.buffer.clear();
        self.bodies.clear();
        self.bodies_len = 0;
        self.records.clear();
        if let Some(head) = head {
            head.write(&mut self.buffer);
            debug_assert_eq!(self.buffer.len(), SEGMENT_HEADER);
            self.buffer.resize(BLOCK as usize, 0);
        }
        let start = self.buffer.len();
        let directory = start + BATCH_HEADER;
        self.buffer.resize(directory, 0);
        for job in jobs {
            let length =
                u32::try_from(job.record_len()).expect("records are bounded by the largest envelope");
            let entry =
                DirectoryEntry { id: job.id.as_u64(), length, kind: job.kind.code(), flags: job.flags };
            entry.write(&mut self.buffer);
        }
        let directory_crc = crc32c::crc32c(&self.buffer[directory..]);
        let mut chains: BTreeMap<QueueId, Chain> = BTreeMap::new();
        for (lsn, job) in (setting.header.first_lsn..).zip(jobs) {
            let offset = setting.offset + (self.len() - start) as u64;
            let place = Place {
                segment: setting.segment,
                offset: u32::try_from(offset).expect("segments are at most 1 GiB, or hold one record"),
                length: job.record_len() as u32,
            };
            let before = match (job.kind, chains.get(&job.id)) {
                (Kind::State, _) if job.whole => Chain::default(),
                (Kind::State, None) => chain(job.id),
                (_, known) => known.copied().unwrap_or_default(),
            };
            let detail = self.record(job, lsn, &setting, before);
            let next = match job.kind {
                Kind::State => Chain { newest: place, behind: detail as u16 },
                _ => Chain::default(),
            };
            chains.insert(job.id, next);
            self.laid(job, lsn, detail, place);
        }
        let bytes = u32::try_from(self.len() - start).expect("a batch fits its segment");
        let header = BatchHeader { bytes, directory_crc, records: jobs.len() as u32, ..setting.header };
        let mut head = Vec::with_capacity(BATCH_HEADER);
        header.write(&mut head);
        self.buffer[start..directory].copy_from_slice(&head);
        let pad = padded(self.len() as u64) as usize - self.len();
        self.buffer.resize(self.buffer.len() + pad, 0);
    }

    /// Appends one record and says its `detail`.
    fn record(&mut self, job: &Job, lsn: u64, setting: &Setting, chain: Chain) -> u32 {
        let mut link = Vec::with_capacity(LINK);
        let (mut detail, mut body_len, mut body_crc) = (job.detail, job.body_len, job.body_crc);
        if job.kind == Kind::State {
            let Place { segment, offset, length } = chain.newest;
            Writer(&mut link).u64(u64::from(segment)).u32(offset).u32(length);
            detail = if chain.newest.is_some() { u32::from(chain.behind.saturating_add(1)) } else { 0 };
            body_len = LINK as u64;
            body_crc = crc32c::crc32c(&link);
        }
        let header = RecordHeader {
            kind: job.kind,
            flags: job.flags,
            epoch_lo: setting.header.epoch as u32,
            detail,
            lsn,
            id: job.id.as_u64(),
            time: setting.header.time,
            body_len,
            env_len: job.section.len() as u32,
            env_crc: job.section_crc,
            body_crc,
        };
        header.write(&mut self.buffer);
        self.buffer.extend_from_slice(&job.section);
        self.buffer.extend_from_slice(&link);
        if job.body.len() <= COPY_MAX {
            self.buffer.extend_from_slice(&job.body);
        } else {
            self.bodies.push((self.buffer.len(), job.body.clone()));
            self.bodies_len += job.body.len();
        }
        let pad = header.record_len() - (header_and_sections(job) as u64);
        self.buffer.resize(self.buffer.len() + pad as usize, 0);
        detail
    }

    fn laid(&mut self, job: &Job, lsn: u64, detail: u32, place: Place) {
        let entry = FooterEntry {
            kind: job.kind,
            flags: job.flags,
            length: place.length,
            id: job.id.as_u64(),
            lsn,
            offset: place.offset,
            detail,
            summary_len: job.summary().len() as u32,
        };
        self.records.push(Laid { entry, place });
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() + self.bodies_len
    }

    /// The bytes in order.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.bodies.len() + 1);
        let mut from = 0;
        for (place, body) in &self.bodies {
            slices.push(IoSlice::new(&self.buffer[from..*place]));
            slices.push(IoSlice::new(body));
            from = *place;
        }
        slices.push(IoSlice::new(&self.buffer[from..]));
        slices
    }
}

fn header_and_sections(job: &Job) -> usize {
    crate::frame::RECORD_HEADER + job.section.len() + job.inline_len() as usize
}

/// Bytes of a batch whose records and directory take `bytes`, padding included.
pub(crate) fn batch_len(bytes: u64) -> u64 {
    padded(BATCH_HEADER as u64 + bytes)
}

const _: () = assert!(BATCH_HEADER.is_multiple_of(8) && DIRECTORY_ENTRY.is_multiple_of(8));
