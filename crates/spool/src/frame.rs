//! The frame around all that is written: segment header, batch header, directory, record header,
//! footer and trailer, each with its own CRC32C. Exact layouts are in `docs/spool-format.md`.
//!
//! Promises: what is written here is read back; reading checks magic and checksum first and answers
//! nothing for anything else, whatever the bytes.
//! Refuses: to know what envelopes and states look like inside.

use crate::layout::BLOCK;

/// Format version; in the segment header, and in words in `FORMAT`.
pub const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"MQSEG001";
const TRAILER_MAGIC: [u8; 8] = *b"MQTRAIL1";
const BATCH_MAGIC: [u8; 4] = *b"MQB1";
pub(crate) const RECORD_MAGIC: [u8; 4] = *b"MQRC";
pub(crate) const FOOTER_MAGIC: [u8; 4] = *b"MQFT";

/// Bytes of each part.
pub(crate) const SEGMENT_HEADER: usize = 92;
pub(crate) const BATCH_HEADER: usize = 80;
pub(crate) const DIRECTORY_ENTRY: usize = 16;
pub(crate) const RECORD_HEADER: usize = 64;
pub(crate) const FOOTER_HEADER: usize = 8;
pub(crate) const FOOTER_ENTRY: usize = 40;
pub(crate) const TRAILER: usize = 104;
/// A link of a STATE record to the one before it.
pub(crate) const LINK: usize = 16;

/// Record flag: the body is a file in `big/`.
pub(crate) const FLAG_BIG: u8 = 1;

/// `detail` of a NOTE: why it was written.
pub(crate) const NOTE_CLEAN_STOP: u32 = 1;
/// The oldest segment needed has moved while nothing else was to be written.
pub(crate) const NOTE_TAIL: u32 = 2;
/// The disk works again.
pub(crate) const NOTE_PROBE: u32 = 3;
/// Somebody wants to know when everything before it is durable.
pub(crate) const NOTE_SETTLED: u32 = 4;

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Message,
    Copy,
    State,
    Done,
    Note,
}

impl Kind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Kind::Message => 1,
            Kind::Copy => 2,
            Kind::State => 3,
            Kind::Done => 4,
            Kind::Note => 6,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            1 => Kind::Message,
            2 => Kind::Copy,
            3 => Kind::State,
            4 => Kind::Done,
            6 => Kind::Note,
            _ => return None,
        })
    }

    /// Whether the record holds a whole message.
    pub(crate) fn is_message(self) -> bool {
        matches!(self, Kind::Message | Kind::Copy)
    }
}

/// Writes fields one behind the other, little-endian.
pub(crate) struct Writer<'b>(pub(crate) &'b mut Vec<u8>);

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }
    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    /// The checksum of everything since `start`.
    fn sum(&mut self, start: usize) {
        let sum = crc32c::crc32c(&self.0[start..]);
        self.u32(sum);
    }
}

/// Reads fields one behind the other; the caller has checked the length.
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) =
            self.0.split_first_chunk::<N>().expect("the length of a frame part is checked first");
        self.0 = rest;
        *head
    }
    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }
}

/// The bytes of a part of `length` bytes whose last four are the checksum of the rest.
fn summed<const N: usize>(bytes: &[u8], length: usize, magic: [u8; N]) -> Option<Reader<'_>> {
    let part = bytes.get(..length)?;
    let (content, sum) = part.split_at(length - 4);
    let good = content.starts_with(&magic) && crc32c::crc32c(content).to_le_bytes() == sum;
    good.then(|| Reader(&content[N..]))
}

/// The first block of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) uuid: [u8; 16],
    pub(crate) seq: u64,
    /// Random for each incarnation of the file.
    pub(crate) epoch: u64,
    pub(crate) created: i64,
    pub(crate) first_lsn: u64,
    pub(crate) tail_seq: u64,
    /// No id up to this one may be given out again.
    pub(crate) id_floor: u64,
    /// Bytes of the file.
    pub(crate) length: u64,
}

impl SegmentHeader {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut writer = Writer(out);
        writer.bytes(&SEGMENT_MAGIC).u32(VERSION).u32(BLOCK as u32).bytes(&self.uuid).u64(self.seq);
        writer.u64(self.epoch).i64(self.created).u64(self.first_lsn).u64(self.tail_seq).u64(self.id_floor);
        writer.u64(self.length).sum(start);
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<SegmentHeader> {
        let mut reader = summed(bytes, SEGMENT_HEADER, SEGMENT_MAGIC)?;
        if reader.u32() != VERSION || u64::from(reader.u32()) != BLOCK {
            return None;
        }
        Some(SegmentHeader {
            uuid: reader.take(),
            seq: reader.u64(),
            epoch: reader.u64(),
            created: reader.i64(),
            first_lsn: reader.u64(),
            tail_seq: reader.u64(),
            id_floor: reader.u64(),
            length: reader.u64(),
        })
    }
}

/// The head of a batch: what one flush made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchHeader {
    pub(crate) records: u32,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// Grows by at least one from batch to batch.
    pub(crate) number: u64,
    /// The number of the committed batch before this one; those between were given up.
    pub(crate) previous: u64,
    pub(crate) first_lsn: u64,
    /// The oldest segment still needed.
    pub(crate) tail_seq: u64,
    pub(crate) time: i64,
    /// Bytes of the whole batch, without padding.
    pub(crate) bytes: u32,
    /// Checksum of the directory.
    pub(crate) directory_crc: u32,
}

impl BatchHeader {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut writer = Writer(out);
        writer.bytes(&BATCH_MAGIC).u32(self.records).u64(self.epoch).u64(self.seq).u64(self.number);
        writer.u64(self.previous).u64(self.first_lsn).u64(self.tail_seq).i64(self.time).u32(self.bytes);
        writer.u32(self.directory_crc).u32(0).sum(start);
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<BatchHeader> {
        let mut reader = summed(bytes, BATCH_HEADER, BATCH_MAGIC)?;
        Some(BatchHeader {
            records: reader.u32(),
            epoch: reader.u64(),
            seq: reader.u64(),
            number: reader.u64(),
            previous: reader.u64(),
            first_lsn: reader.u64(),
            tail_seq: reader.u64(),
            time: reader.i64(),
            bytes: reader.u32(),
            directory_crc: reader.u32(),
        })
    }
}

/// What the directory of a batch says about one record, so that a record with a damaged header is
/// still known by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DirectoryEntry {
    pub(crate) id: u64,
    /// Bytes of the record, padding included.
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
}

impl DirectoryEntry {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        Writer(out).u64(self.id).u32(self.length).u8(self.kind).u8(self.flags).u16(0);
    }

    /// The caller gives exactly [`DIRECTORY_ENTRY`] bytes whose checksum has been verified.
    pub(crate) fn read(bytes: &[u8]) -> DirectoryEntry {
        let mut reader = Reader(bytes);
        DirectoryEntry { id: reader.u64(), length: reader.u32(), kind: reader.u8(), flags: reader.u8() }
    }
}

/// The head of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// The lower half of the segment's epoch.
    pub(crate) epoch_lo: u32,
    /// STATE: records behind it in the chain. DONE: the ending. NOTE: why.
    pub(crate) detail: u32,
    pub(crate) lsn: u64,
    pub(crate) id: u64,
    pub(crate) time: i64,
    pub(crate) body_len: u64,
    pub(crate) env_len: u32,
    pub(crate) env_crc: u32,
    pub(crate) body_crc: u32,
}

impl RecordHeader {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut writer = Writer(out);
        writer.bytes(&RECORD_MAGIC).u8(self.kind.code()).u8(self.flags).u16(RECORD_HEADER as u16);
        writer.u32(self.epoch_lo).u32(self.detail).u64(self.lsn).u64(self.id).i64(self.time);
        writer.u64(self.body_len).u32(self.env_len).u32(self.env_crc).u32(self.body_crc).sum(start);
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<RecordHeader> {
        let mut reader = summed(bytes, RECORD_HEADER, RECORD_MAGIC)?;
        let kind = Kind::from_code(reader.u8())?;
        let flags = reader.u8();
        if usize::from(reader.u16()) != RECORD_HEADER {
            return None;
        }
        Some(RecordHeader {
            kind,
            flags,
            epoch_lo: reader.u32(),
            detail: reader.u32(),
            lsn: reader.u64(),
            id: reader.u64(),
            time: reader.i64(),
            body_len: reader.u64(),
            env_len: reader.u32(),
            env_crc: reader.u32(),
            body_crc: reader.u32(),
        })
    }

    /// Bytes of body inside the record.
    pub(crate) fn inline_len(&self) -> u64 {
        if self.flags & FLAG_BIG == 0 { self.body_len } else { 0 }
    }

    /// Bytes of the whole record, padding included.
    pub(crate) fn record_len(&self) -> u64 {
        record_len(self.env_len as usize, self.inline_len())
    }
}

/// Bytes of a record with these sections, padding included.
pub(crate) fn record_len(env_len: usize, inline_len: u64) -> u64 {
    let bytes = (RECORD_HEADER as u64).saturating_add(env_len as u64).saturating_add(inline_len);
    // A damaged length may be as large as a number gets.
    bytes.saturating_add(7) & !7
}

/// One record in the footer of a sealed segment; its summary follows it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FooterEntry {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) length: u32,
    pub(crate) id: u64,
    pub(crate) lsn: u64,
    /// Where the record is in the segment.
    pub(crate) offset: u32,
    pub(crate) detail: u32,
    /// Bytes of the summary behind the entry.
    pub(crate) summary_len: u32,
}

impl FooterEntry {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(self.kind.code()).u8(self.flags).u16(0).u32(self.length).u64(self.id).u64(self.lsn);
        writer.u32(self.offset).u32(self.detail).u32(self.summary_len).u32(0);
    }

    /// The entry at the start of the bytes, which have passed their checksum; nothing when they are
    /// too short all the same.
    pub(crate) fn read(bytes: &[u8]) -> Option<FooterEntry> {
        let mut reader = Reader(bytes.get(..FOOTER_ENTRY)?);
        let kind = Kind::from_code(reader.u8())?;
        let flags = reader.u8();
        reader.u16();
        Some(FooterEntry {
            kind,
            flags,
            length: reader.u32(),
            id: reader.u64(),
            lsn: reader.u64(),
            offset: reader.u32(),
            detail: reader.u32(),
            summary_len: reader.u32(),
        })
    }
}

/// The last block of a sealed segment: where its footer is and what the segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trailer {
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    pub(crate) footer_offset: u64,
    pub(crate) footer_len: u64,
    pub(crate) entries: u32,
    pub(crate) footer_crc: u32,
    pub(crate) first_batch: u64,
    /// The batch before the first one.
    pub(crate) first_previous: u64,
    pub(crate) last_batch: u64,
    pub(crate) last_lsn: u64,
    pub(crate) tail_seq: u64,
    pub(crate) id_floor: u64,
}

impl Trailer {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut writer = Writer(out);
        writer.bytes(&TRAILER_MAGIC).u64(self.seq).u64(self.epoch).u64(self.footer_offset);
        writer.u64(self.footer_len).u32(self.entries).u32(self.footer_crc).u64(self.first_batch);
        writer.u64(self.first_previous).u64(self.last_batch).u64(self.last_lsn).u64(self.tail_seq);
        writer.u64(self.id_floor).u32(0).sum(start);
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Trailer> {
        let mut reader = summed(bytes, TRAILER, TRAILER_MAGIC)?;
        Some(Trailer {
            seq: reader.u64(),
            epoch: reader.u64(),
            footer_offset: reader.u64(),
            footer_len: reader.u64(),
            entries: reader.u32(),
            footer_crc: reader.u32(),
            first_batch: reader.u64(),
            first_previous: reader.u64(),
            last_batch: reader.u64(),
            last_lsn: reader.u64(),
            tail_seq: reader.u64(),
            id_floor: reader.u64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written, it has its length; with any byte changed, it is refused.
    fn holds(length: usize, write: &dyn Fn(&mut Vec<u8>), good: fn(&[u8]) -> bool) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        assert_eq!(bytes.len(), length);
        assert!(good(&bytes) && !good(&bytes[..length - 1]));
        for place in 0..length {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            assert!(!good(&changed), "byte {place}");
        }
    }

    #[test]
    fn segment_and_batch_headers_hold() {
        let segment = SegmentHeader {
            uuid: [7; 16],
            seq: 1,
            epoch: 2,
            created: 3,
            first_lsn: 4,
            tail_seq: 5,
            id_floor: 6,
            length: 7,
        };
        holds(SEGMENT_HEADER, &|out| segment.write(out), |bytes| SegmentHeader::read(bytes).is_some());
        let batch = BatchHeader {
            records: 1,
            epoch: 2,
            seq: 3,
            number: 4,
            previous: 5,
            first_lsn: 6,
            tail_seq: 7,
            time: 8,
            bytes: 9,
            directory_crc: 10,
        };
        holds(BATCH_HEADER, &|out| batch.write(out), |bytes| BatchHeader::read(bytes).is_some());
    }

    #[test]
    fn record_header_and_trailer_hold() {
        let record = RecordHeader {
            kind: Kind::State,
            flags: 1,
            epoch_lo: 2,
            detail: 3,
            lsn: 4,
            id: 5,
            time: 6,
            body_len: 7,
            env_len: 8,
            env_crc: 9,
            body_crc: 10,
        };
        holds(RECORD_HEADER, &|out| record.write(out), |bytes| RecordHeader::read(bytes).is_some());
        let trailer = Trailer {
            seq: 1,
            epoch: 2,
            footer_offset: 3,
            footer_len: 4,
            entries: 5,
            footer_crc: 6,
            first_batch: 7,
            first_previous: 8,
            last_batch: 9,
            last_lsn: 10,
            tail_seq: 11,
            id_floor: 12,
        };
        holds(TRAILER, &|out| trailer.write(out), |bytes| Trailer::read(bytes).is_some());
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        assert_eq!(RecordHeader::read(&bytes), Some(record));
    }

    /// The lengths of a damaged header can be anything, also when its sum is right by chance: the fuzzer
    /// found one that was longer than its record, and the dump of its segment read on behind the end.
    #[test]
    fn no_length_is_too_large_to_be_added_up() {
        assert_eq!(record_len(1, 0), RECORD_HEADER as u64 + 8);
        assert_eq!(record_len(u32::MAX as usize, u64::MAX), !7);
    }
}
