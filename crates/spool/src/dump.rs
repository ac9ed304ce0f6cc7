//! A segment explained byte by byte, for people.
//!
//! Promises: the regions it prints cover the file from the first byte to the last, without gaps and
//! without overlap, whatever the bytes are.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use mail::{Envelope, QueueId, Time};

use crate::codec;
use crate::frame::{
    BATCH_HEADER, BatchHeader, DIRECTORY_ENTRY, FLAG_BIG, FOOTER_ENTRY, FOOTER_HEADER, FooterEntry, Kind,
    LINK, RECORD_HEADER, Reader, RecordHeader, SEGMENT_HEADER, SegmentHeader, TRAILER, Trailer, record_len,
};
use crate::layout::BLOCK;
use crate::scan::{Item, Scan, ScannedBatch, scan};

/// A stretch of a segment and what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Bytes of the file.
    pub range: Range<u64>,
    /// What they are; several lines for structured ones.
    pub text: String,
}

/// Prints what every byte of a segment file is.
pub fn dump(path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    writeln!(out, "{}: {} bytes", path.display(), bytes.len())?;
    for region in explain(&bytes) {
        let mut lines = region.text.lines();
        let first = lines.next().unwrap_or_default();
        writeln!(out, "{:08x}..{:08x}  {first}", region.range.start, region.range.end)?;
        for line in lines {
            writeln!(out, "                      {line}")?;
        }
    }
    Ok(())
}

/// What every byte of a segment is, in order.
pub fn explain(bytes: &[u8]) -> Vec<Region> {
    let header = SegmentHeader::read(bytes);
    let first = bytes.get(BLOCK as usize..).and_then(BatchHeader::read);
    let seq = header.map(|header| header.seq).or(first.map(|first| first.seq)).unwrap_or(0);
    let scan = scan(bytes, u32::try_from(seq).unwrap_or(0));
    let mut regions = Regions { bytes, list: Vec::new() };
    regions.segment_header(header.as_ref());
    for batch in &scan.batches {
        regions.batch(batch, &scan);
    }
    if header.is_some() || first.is_some() {
        regions.footer(seq);
    }
    regions.filled()
}

struct Regions<'b> {
    bytes: &'b [u8],
    list: Vec<Region>,
}

impl Regions<'_> {
    fn add(&mut self, start: u64, length: u64, text: String) {
        if length > 0 {
            self.list.push(Region { range: start..start + length, text });
        }
    }

    fn segment_header(&mut self, header: Option<&SegmentHeader>) {
        let Some(header) = header else { return };
        let text = format!(
            "segment header: number {}, epoch {:016x}, spool {:032x}\n\
             created {}, first record {}, oldest segment needed {}, ids up to {} used, {} bytes long",
            header.seq,
            header.epoch,
            u128::from_be_bytes(header.uuid),
            millis(header.created),
            header.first_lsn,
            header.tail_seq,
            QueueId::from_u64(header.id_floor),
            header.length
        );
        self.add(0, SEGMENT_HEADER as u64, text);
    }

    fn batch(&mut self, batch: &ScannedBatch, scan: &Scan) {
        let header = &batch.header;
        let text = format!(
            "batch header: batch {} after {}, {} records from {}, {} bytes, {}\noldest segment needed {}, {}",
            header.number,
            header.previous,
            header.records,
            header.first_lsn,
            header.bytes,
            millis(header.time),
            header.tail_seq,
            if batch.whole { "all checksums right" } else { "DAMAGED: not all checksums are right" }
        );
        self.add(batch.offset, BATCH_HEADER as u64, text);
        let directory = batch.offset + BATCH_HEADER as u64;
        let length = u64::from(header.records) * DIRECTORY_ENTRY as u64;
        self.add(directory, length, format!("directory of {} records", header.records));
        for item in &batch.items {
            self.record(item, scan);
        }
        for range in &batch.unknown {
            self.add(range.start, range.end - range.start, "DAMAGED: no record can be told here".to_owned());
        }
    }

    fn record(&mut self, item: &Item, scan: &Scan) {
        let start = u64::from(item.entry.offset);
        let end = start + u64::from(item.entry.length);
        let id = QueueId::from_u64(item.entry.id);
        let record = &self.bytes[start as usize..end as usize];
        let Some(header) = RecordHeader::read(record) else {
            let text = format!("DAMAGED record {} of {id}: its header is unreadable", item.entry.lsn);
            return self.add(start, end - start, text);
        };
        let fault = item.fault.map(|fault| format!("\nDAMAGED: {fault}")).unwrap_or_default();
        let text = format!(
            "record header: {} {}, record {}, {}{fault}",
            kind_name(&header),
            id,
            header.lsn,
            millis(header.time)
        );
        self.add(start, RECORD_HEADER as u64, text);
        let section = start + RECORD_HEADER as u64;
        if record_len(header.env_len as usize, header.inline_len()) > end - start {
            let text = "DAMAGED: the lengths in the header are larger than the record".to_owned();
            return self.add(section, end - section, text);
        }
        let body = section + u64::from(header.env_len);
        let section_bytes = &self.bytes[section as usize..body as usize];
        let summary = &scan.summaries[item.summary.clone()];
        self.add(section, u64::from(header.env_len), section_text(&header, section_bytes, summary));
        self.add(body, header.inline_len(), body_text(&header, &self.bytes[body as usize..end as usize]));
        let padding = body + header.inline_len();
        self.add(padding, end - padding, "padding".to_owned());
    }

    fn footer(&mut self, seq: u64) {
        let length = self.bytes.len() as u64;
        let Some(place) = length.checked_sub(BLOCK) else { return };
        let Some(trailer) = Trailer::read(&self.bytes[place as usize..]).filter(|t| t.seq == seq) else {
            return;
        };
        let text = format!(
            "trailer: footer of {} entries at {:08x}, batches {} (after {}) to {}, last record {}\n\
             oldest segment needed {}, ids up to {} used",
            trailer.entries,
            trailer.footer_offset,
            trailer.first_batch,
            trailer.first_previous,
            trailer.last_batch,
            trailer.last_lsn,
            trailer.tail_seq,
            QueueId::from_u64(trailer.id_floor)
        );
        self.add(place, TRAILER as u64, text);
        let end = trailer.footer_offset.saturating_add(trailer.footer_len).min(place);
        let footer = self.bytes.get(trailer.footer_offset as usize..end as usize).unwrap_or_default();
        if crc32c::crc32c(footer) != trailer.footer_crc {
            return self.add(trailer.footer_offset, footer.len() as u64, "DAMAGED footer".to_owned());
        }
        self.add(trailer.footer_offset, FOOTER_HEADER as u64, "footer header".to_owned());
        let mut offset = FOOTER_HEADER;
        while let Some(entry) = footer.get(offset..).and_then(FooterEntry::read) {
            let entry_len = FOOTER_ENTRY + entry.summary_len as usize;
            let text = format!(
                "footer entry: {:?} {}, record {} at {:08x}, {} bytes",
                entry.kind,
                QueueId::from_u64(entry.id),
                entry.lsn,
                entry.offset,
                entry.length
            );
            self.add(trailer.footer_offset + offset as u64, entry_len as u64, text);
            offset += entry_len;
        }
    }

    /// The regions in order, with names for what lies between them.
    fn filled(mut self) -> Vec<Region> {
        self.list.sort_by_key(|region| region.range.start);
        let mut filled: Vec<Region> = Vec::with_capacity(2 * self.list.len());
        let mut at = 0;
        let end = Region { range: self.bytes.len() as u64..self.bytes.len() as u64, text: String::new() };
        for region in self.list.into_iter().chain([end]) {
            if region.range.start > at {
                let range = at..region.range.start;
                let zero = self.bytes[at as usize..region.range.start as usize].iter().all(|&byte| byte == 0);
                let text = if zero { "zeros" } else { "old bytes of an earlier use, or never acknowledged" };
                filled.push(Region { range, text: text.to_owned() });
            }
            // What claims bytes that are explained already is damage of its own; the first one counts.
            if region.range.start >= at && region.range.end > region.range.start {
                at = region.range.end;
                filled.push(region);
            }
        }
        filled
    }
}

fn millis(time: i64) -> String {
    format!("{time} ms after 1970")
}

fn kind_name(header: &RecordHeader) -> String {
    match header.kind {
        Kind::Message => "MSG".to_owned(),
        Kind::Copy => "COPY".to_owned(),
        Kind::State => format!("STATE with {} behind it,", header.detail),
        Kind::Done => format!("DONE (ending {})", header.detail),
        Kind::Note => format!("NOTE (reason {})", header.detail),
    }
}

fn section_text(header: &RecordHeader, section: &[u8], summary: &[u8]) -> String {
    let known = codec::decode_summary(summary);
    let summary = known.map_or_else(
        |error| format!("summary unreadable: {error}"),
        |known| {
            let due = if known.summary.due == Time::NEVER {
                "never".to_owned()
            } else {
                millis(known.summary.due.as_millis())
            };
            format!(
                "{:?}, {} attempts, due {due}, {} of {} recipients unfinished at {:?}",
                known.summary.queue,
                known.summary.attempts,
                known.summary.unfinished,
                known.summary.recipients,
                known.summary.sites
            )
        },
    );
    match header.kind {
        Kind::Message | Kind::Copy => match codec::decode_message(section) {
            Ok(message) => {
                format!(
                    "envelope: {}\n{summary}{}",
                    envelope_text(&message.envelope),
                    states(&message.recipients)
                )
            }
            Err(error) => format!("DAMAGED envelope: {error}\n{summary}"),
        },
        Kind::State => match codec::decode_state(section) {
            Ok(state) => format!("state: {summary}{}", states(&state.recipients)),
            Err(error) => format!("DAMAGED state: {error}\n{summary}"),
        },
        Kind::Done | Kind::Note => format!("text: {:?}", String::from_utf8_lossy(section)),
    }
}

fn envelope_text(envelope: &Envelope) -> String {
    let sender = envelope.sender.as_ref().map_or("", mail::Address::as_str);
    let to: Vec<&str> = envelope.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    format!("from <{sender}> to <{}>, {} bytes of content", to.join(">, <"), envelope.size)
}

fn states(recipients: &[crate::RecipientRecord]) -> String {
    let line = |r: &crate::RecipientRecord| {
        let told = if r.reported { ", sender told" } else { "" };
        let mut text = format!(
            "\nrecipient {}: {:?} {} ({:?}{told}) {}",
            r.position, r.verdict, r.status, r.scope, r.text
        );
        for earlier in &r.earlier {
            text.push_str(&format!("\n  before: {} {}", earlier.status, earlier.text));
        }
        text
    };
    recipients.iter().map(line).collect()
}

fn body_text(header: &RecordHeader, body: &[u8]) -> String {
    if header.kind == Kind::State && body.len() >= LINK {
        let mut reader = Reader(body);
        return format!(
            "link to segment {}, offset {:08x}, {} bytes",
            reader.u64(),
            reader.u32(),
            reader.u32()
        );
    }
    let place = if header.flags & FLAG_BIG == 0 { "content" } else { "content in big/" };
    format!("{place}, {} bytes", header.body_len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(bytes: &[u8]) {
        let mut at = 0;
        for region in explain(bytes) {
            assert_eq!(region.range.start, at, "{}", region.text);
            assert!(region.range.end > at);
            at = region.range.end;
        }
        assert_eq!(at, bytes.len() as u64);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_covered(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..20_000),
            real: bool,
        ) {
            if real && bytes.len() >= SEGMENT_HEADER {
                bytes[..8].copy_from_slice(b"MQSEG001");
            }
            covers(&bytes);
        }
    }
}
