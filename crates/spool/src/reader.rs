//! Records read back from the log.
//!
//! Promises: nothing is believed before its checksum; what is wrong is said in words. A record that
//! seems damaged because it was moved while it was read is looked up again.

use std::collections::{BTreeMap, btree_map};
use std::io;

use bytes::Bytes;
use mail::QueueId;

use crate::codec::{self, Message};
use crate::disk::{Access, DiskFile};
use crate::frame::{FLAG_BIG, Kind, LINK, RECORD_HEADER, Reader, RecordHeader};
use crate::index::{Entry, Place};
use crate::layout::big_path;
use crate::shared::{Shared, lock};
use crate::{Body, RecipientRecord, StoredMessage, Summary};

/// How much of a large body is read at a time.
const PIECE: usize = 256 * 1024;

/// Where only the envelope is wanted, so much of a record is read at first. Nearly all envelopes fit.
const HEAD_BYTES: u32 = 1024;

/// The records that hold an envelope.
const MESSAGES: &[Kind] = &[Kind::Message, Kind::Copy];

/// How much of a message is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Its envelope and what became of it: contents may be thousands of times as large.
    Envelope,
    /// The record with all that is in it.
    Record,
}

/// Why a record could not be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The bytes are wrong.
    Damaged(String),
    /// The disk failed.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl From<codec::CodecError> for Fault {
    fn from(error: codec::CodecError) -> Fault {
        Fault::Damaged(format!("its envelope or state is unreadable: {error}"))
    }
}

fn damaged<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::Damaged(what.to_owned()))
}

/// Whether a reader may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    AsLong,
    /// [`io::ErrorKind::WouldBlock`] says that it would have to.
    Never,
}

/// Contents up to this size are taken from the system's memory by whoever may not wait: copying and summing
/// up a larger one takes too long as well.
const AT_HAND_BYTES_MAX: u32 = 64 * 1024;

/// A record whose header and envelope section have been verified.
pub(crate) struct Record {
    pub(crate) header: RecordHeader,
    pub(crate) section: Vec<u8>,
    /// The bytes behind the section; not yet verified, perhaps not all there.
    pub(crate) rest: Bytes,
}

impl Record {
    /// The record in these bytes.
    pub(crate) fn parse(bytes: Bytes) -> Result<Record, Fault> {
        let Some(header) = RecordHeader::read(&bytes) else { return damaged("its record header is damaged") };
        let end = RECORD_HEADER + header.env_len as usize;
        let Some(section) = bytes.get(RECORD_HEADER..end) else { return damaged("its record is cut short") };
        if crc32c::crc32c(section) != header.env_crc {
            return damaged("the checksum of its envelope or state is wrong");
        }
        Ok(Record { header, section: section.to_vec(), rest: bytes.slice(end..) })
    }

    /// The verified body of a record that holds one.
    pub(crate) fn body(&self) -> Result<Bytes, Fault> {
        let length = usize::try_from(self.header.inline_len()).unwrap_or(usize::MAX);
        if self.rest.len() < length {
            return damaged("its content is cut short");
        }
        let body = self.rest.slice(..length);
        if self.header.flags & FLAG_BIG == 0 && crc32c::crc32c(&body) != self.header.body_crc {
            return damaged("the checksum of its content is wrong");
        }
        Ok(body)
    }

    /// Where the STATE before this one is.
    fn link(&self) -> Result<Place, Fault> {
        let body = self.body()?;
        if body.len() != LINK {
            return damaged("a state record has no link");
        }
        let mut reader = Reader(&body);
        let segment = u32::try_from(reader.u64());
        let Ok(segment) = segment else { return damaged("a state record has an impossible link") };
        Ok(Place { segment, offset: reader.u32(), length: reader.u32() })
    }
}

/// What the log says about one message.
pub(crate) struct Loaded {
    pub(crate) entry: Entry,
    pub(crate) record: Record,
    pub(crate) message: Message,
    pub(crate) summary: Summary,
    pub(crate) recipients: BTreeMap<u32, RecipientRecord>,
}

/// Why a message could not be loaded.
pub(crate) enum LoadFault {
    Gone,
    Damaged(String),
    Io(io::Error),
}

impl Shared {
    /// The bytes of a record, as many as there are.
    pub(crate) fn raw(&self, place: Place, wait: Wait) -> io::Result<Bytes> {
        let file = lock(&self.index).file(&*self.disk, place.segment)?;
        let mut bytes = vec![0; place.length as usize];
        let offset = u64::from(place.offset);
        match wait {
            Wait::AsLong => {
                let count = file.read_at(offset, &mut bytes)?;
                bytes.truncate(count);
            }
            Wait::Never if file.read_at_hand(offset, &mut bytes) => {}
            Wait::Never => return Err(io::ErrorKind::WouldBlock.into()),
        }
        Ok(bytes.into())
    }

    /// The bytes of a record up to the end of its envelope, at least.
    fn head(&self, place: Place, wait: Wait) -> io::Result<Bytes> {
        let start = self.raw(Place { length: place.length.min(HEAD_BYTES), ..place }, wait)?;
        let header = RecordHeader::read(&start);
        let wanted = header.map_or(0, |header| header.env_len.saturating_add(RECORD_HEADER as u32));
        if wanted as usize <= start.len() || place.length <= HEAD_BYTES {
            return Ok(start);
        }
        self.raw(Place { length: place.length.min(wanted), ..place }, wait)
    }

    fn record(&self, place: Place, id: QueueId, kinds: &[Kind], wait: Wait) -> Result<Record, Fault> {
        self.checked(self.raw(place, wait)?, id, kinds)
    }

    fn checked(&self, bytes: Bytes, id: QueueId, kinds: &[Kind]) -> Result<Record, Fault> {
        let record = Record::parse(bytes)?;
        if record.header.id != id.as_u64() || !kinds.contains(&record.header.kind) {
            return damaged("another record is where it should be");
        }
        Ok(record)
    }

    /// Reads what is known of a live message.
    pub(crate) fn load(&self, id: QueueId, extent: Extent) -> Result<Loaded, LoadFault> {
        self.settled(id, |entry| self.load_at(id, entry, extent, Wait::AsLong))
    }

    /// The envelope of a live message and what became of it, if all of that is in memory and in order.
    pub(crate) fn load_at_hand(&self, id: QueueId) -> Option<Loaded> {
        let entry = lock(&self.index).get(id)?;
        self.load_at(id, entry, Extent::Envelope, Wait::Never).ok()
    }

    /// The verified content of a live message, if it is short, in memory and in order.
    pub(crate) fn content_at_hand(&self, id: QueueId) -> Option<Bytes> {
        let entry = lock(&self.index).get(id)?;
        if entry.is_big() || entry.message.length > AT_HAND_BYTES_MAX {
            return None;
        }
        self.record(entry.message, id, MESSAGES, Wait::Never).ok()?.body().ok()
    }

    /// Reads the record of a live message, its state left out.
    pub(crate) fn load_record(&self, id: QueueId) -> Result<(Entry, Record), LoadFault> {
        self.settled(id, |entry| Ok((entry, self.record(entry.message, id, MESSAGES, Wait::AsLong)?)))
    }

    /// Repeats `read` until the message did not move meanwhile.
    fn settled<T>(&self, id: QueueId, read: impl Fn(Entry) -> Result<T, Fault>) -> Result<T, LoadFault> {
        loop {
            let entry = lock(&self.index).get(id).ok_or(LoadFault::Gone)?;
            let fault = match read(entry) {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            if lock(&self.index).get(id) == Some(entry) {
                return Err(match fault {
                    Fault::Damaged(reason) => LoadFault::Damaged(reason),
                    Fault::Io(error) => LoadFault::Io(error),
                });
            }
        }
    }

    fn load_at(&self, id: QueueId, entry: Entry, extent: Extent, wait: Wait) -> Result<Loaded, Fault> {
        let bytes = match extent {
            Extent::Envelope => self.head(entry.message, wait)?,
            Extent::Record => self.raw(entry.message, wait)?,
        };
        let record = self.checked(bytes, id, MESSAGES)?;
        let message = codec::decode_message(&record.section)?;
        let mut recipients = BTreeMap::new();
        let newest = self.fold(id, entry.state, &mut recipients, wait)?;
        message.recipients.iter().for_each(|old| remember(&mut recipients, old.clone()));
        let summary = newest.unwrap_or_else(|| message.summary.clone());
        Ok(Loaded { entry, record, message, summary, recipients })
    }

    /// Follows the chain of STATE records from the newest to the oldest, keeping the newest word on
    /// each recipient and its last attempts, and gives the newest summary.
    pub(crate) fn fold(
        &self,
        id: QueueId,
        newest: Place,
        recipients: &mut BTreeMap<u32, RecipientRecord>,
        wait: Wait,
    ) -> Result<Option<Summary>, Fault> {
        let mut summary = None;
        let mut place = newest;
        while place.is_some() {
            let record = self.record(place, id, &[Kind::State], wait)?;
            let state = codec::decode_state(&record.section)?;
            state.recipients.into_iter().for_each(|older| remember(recipients, older));
            summary.get_or_insert(state.summary);
            let link = record.link()?;
            if link.is_some() && (link.segment, link.offset) >= (place.segment, place.offset) {
                return damaged("its state records point in a circle");
            }
            place = link;
        }
        Ok(summary)
    }

    /// Opens a large body and checks it; the sum only the first time.
    pub(crate) fn large(&self, id: QueueId, header: &RecordHeader) -> Result<Body, Fault> {
        let file = match self.disk.open(&big_path(id), Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return damaged("the file of its content is missing");
            }
            Err(error) => return Err(Fault::Io(error)),
        };
        if file.status()?.length != header.body_len {
            return damaged("the file of its content has the wrong length");
        }
        if !lock(&self.verified).contains(&id) {
            if sum(&*file, header.body_len)? != header.body_crc {
                return damaged("the checksum of its content is wrong");
            }
            lock(&self.verified).insert(id);
        }
        Ok(Body::from_file(file, header.body_len))
    }
}

/// Adds an older record to what newer ones said.
fn remember(recipients: &mut BTreeMap<u32, RecipientRecord>, older: RecipientRecord) {
    match recipients.entry(older.position) {
        btree_map::Entry::Occupied(mut newer) => newer.get_mut().follow(&older),
        btree_map::Entry::Vacant(place) => {
            place.insert(older);
        }
    }
}

/// The checksum of a file's first `length` bytes.
pub(crate) fn sum(file: &dyn DiskFile, length: u64) -> io::Result<u32> {
    let mut buffer = vec![0; PIECE];
    let (mut offset, mut sum) = (0, 0);
    while offset < length {
        let wanted = (length - offset).min(PIECE as u64) as usize;
        let count = file.read_at(offset, &mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sum = crc32c::crc32c_append(sum, &buffer[..count]);
        offset += count as u64;
    }
    Ok(sum)
}

impl Loaded {
    /// The message as its readers know it.
    pub(crate) fn stored(self) -> StoredMessage {
        StoredMessage { envelope: self.message.envelope, summary: self.summary, recipients: self.recipients }
    }
}
