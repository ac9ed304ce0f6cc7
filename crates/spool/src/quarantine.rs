//! Damaged messages: cut out of the log into `corrupt/`, with the reason in words.
//!
//! Promises: `corrupt/ID.raw` holds the message's record (as COPY with the state folded in where the
//! envelope is whole, else the bytes as found), `corrupt/ID.eml` a large body, `corrupt/ID.txt` the
//! reason. Both are durable before the log forgets the message, so that a crash in between only makes
//! it forget again. A region without a known message is kept as `corrupt/SEGMENT-OFFSET.raw`.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};

use bytes::Bytes;
use mail::QueueId;

use crate::codec::{self, Known};
use crate::disk::{Access, Disk};
use crate::frame::{FLAG_BIG, Kind, RecordHeader};
use crate::job::{Completion, Job};
use crate::layout::{CORRUPT, big_directory, big_path};
use crate::reader::{Extent, LoadFault, Loaded, Record, Wait};
use crate::shared::{Shared, lock};
use crate::{CorruptMessage, Ending, ReadError};

/// Longest description that is read back.
const TEXT_MAX: u64 = 64 * 1024;
/// What the line with the reason starts with.
const REASON: &str = "reason: ";

pub(crate) fn path(stem: &str, kind: &str) -> String {
    format!("{CORRUPT}/{stem}.{kind}")
}

/// Bytes set aside, and why.
pub(crate) struct Cut<'a> {
    /// An id, or segment and offset.
    pub(crate) stem: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) reason: &'a str,
    /// Where the bytes were.
    pub(crate) origin: &'a str,
    pub(crate) time: i64,
}

/// Writes what was cut out and makes it durable, the text last: without it the rest does not count.
pub(crate) fn write(disk: &dyn Disk, cut: &Cut<'_>) -> io::Result<()> {
    disk.create_directory(CORRUPT)?;
    disk.sync_directory("")?;
    let reason: String = cut.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = format!(
        "Set aside {} ms after 1970-01-01.\n{REASON}{reason}\nfrom: {}\nbytes: {}\n",
        cut.time,
        cut.origin,
        cut.bytes.len()
    );
    let unfinished = path(cut.stem, "tmp");
    for (name, bytes) in [(path(cut.stem, "raw"), cut.bytes), (unfinished.clone(), text.as_bytes())] {
        let file = disk.open(&name, Access::Create)?;
        file.write_at(0, &[IoSlice::new(bytes)])?;
        file.sync()?;
    }
    disk.sync_directory(CORRUPT)?;
    disk.rename(&unfinished, &path(cut.stem, "txt"))?;
    disk.sync_directory(CORRUPT)
}

/// Reads a whole small file.
fn contents(disk: &dyn Disk, path: &str, limit: u64) -> io::Result<Bytes> {
    let file = disk.open(path, Access::Read)?;
    let length = file.status()?.length.min(limit);
    let mut bytes = vec![0; length as usize];
    let count = file.read_at(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes.into())
}

/// A message found in `corrupt/`, and what is still known of it.
pub(crate) struct Kept {
    pub(crate) message: CorruptMessage,
    pub(crate) known: Option<Known>,
}

/// The messages in `corrupt/`.
pub(crate) fn list(disk: &dyn Disk) -> io::Result<BTreeMap<QueueId, Kept>> {
    let mut found = BTreeMap::new();
    for entry in disk.list(CORRUPT)? {
        let Some(stem) = entry.name.strip_suffix(".txt") else { continue };
        let Ok(id) = stem.parse::<QueueId>() else { continue };
        let text = contents(disk, &path(stem, "txt"), TEXT_MAX)?;
        let text = String::from_utf8_lossy(&text);
        let reason = text.lines().find_map(|line| line.strip_prefix(REASON)).unwrap_or("unknown").to_owned();
        let raw = match contents(disk, &path(stem, "raw"), u64::MAX) {
            Ok(raw) => raw,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Bytes::new(),
            Err(error) => return Err(error),
        };
        let size = raw.len() as u64;
        let known = Record::parse(raw).ok().filter(|record| record.header.kind.is_message());
        let known = known.and_then(|record| codec::decode_summary(codec::summary_of(&record.section)?).ok());
        found.insert(id, Kept { message: CorruptMessage { id, reason, size }, known });
    }
    Ok(found)
}

/// Moves a large body beside its message, when it is still where it was.
pub(crate) fn move_large(disk: &dyn Disk, id: QueueId) -> io::Result<()> {
    match disk.rename(&big_path(id), &path(&id.to_string(), "eml")) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    disk.sync_directory(CORRUPT)?;
    disk.sync_directory(&big_directory(id))
}

/// Removes a message from `corrupt/`, the text first.
pub(crate) fn remove(disk: &dyn Disk, id: QueueId) -> io::Result<()> {
    for kind in ["txt", "tmp", "raw", "eml", "told"] {
        match disk.remove(&path(&id.to_string(), kind)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_directory(CORRUPT)
}

/// What of a message can be given back.
pub(crate) fn salvage(disk: &dyn Disk, id: QueueId) -> io::Result<Record> {
    let raw = contents(disk, &path(&id.to_string(), "raw"), u64::MAX)?;
    Record::parse(raw).map_err(|fault| match fault {
        crate::reader::Fault::Damaged(reason) => io::Error::new(io::ErrorKind::InvalidData, reason),
        crate::reader::Fault::Io(error) => error,
    })
}

impl Shared {
    /// Moves a live message to `corrupt/` and tells the writer to forget it.
    pub(crate) fn quarantine(&self, id: QueueId, reason: &str) -> Result<(), ReadError> {
        let _alone = lock(&self.setting_aside);
        if lock(&self.corrupt).contains_key(&id) {
            return Ok(());
        }
        let entry = lock(&self.index).get(id).ok_or(ReadError::Gone)?;
        let bytes = match self.load(id, Extent::Record) {
            Ok(loaded) => copy_image(&loaded).unwrap_or_default(),
            Err(LoadFault::Gone) => return Err(ReadError::Gone),
            Err(LoadFault::Damaged(_)) => self.raw(entry.message, Wait::AsLong)?,
            Err(LoadFault::Io(error)) => return Err(error.into()),
        };
        let place = entry.message;
        let origin = format!("segment {}, offset {}, {} bytes", place.segment, place.offset, place.length);
        let time = (self.options.clock)().as_millis();
        let stem = id.to_string();
        write(&*self.disk, &Cut { stem: &stem, bytes: &bytes, reason, origin: &origin, time })?;
        if entry.is_big() {
            move_large(&*self.disk, id)?;
        }
        let message = CorruptMessage { id, reason: reason.to_owned(), size: bytes.len() as u64 };
        lock(&self.corrupt).insert(id, message);
        lock(&self.cache).remove(id);
        // A spool that is being closed finds the files at its next start.
        let _ = self.push(Job::done(id, Ending::Corrupt, Completion::Nobody), false);
        Ok(())
    }
}

/// The message as a COPY record with its state folded in and its body as found.
fn copy_image(loaded: &Loaded) -> Option<Bytes> {
    let recipients: Vec<_> = loaded.recipients.values().cloned().collect();
    let section = codec::encode_message(&loaded.message.envelope, &loaded.summary, &recipients).ok()?.bytes;
    let header = RecordHeader {
        kind: Kind::Copy,
        env_len: u32::try_from(section.len()).ok()?,
        env_crc: crc32c::crc32c(&section),
        flags: loaded.record.header.flags & FLAG_BIG,
        ..loaded.record.header
    };
    let mut bytes = Vec::with_capacity(header.record_len() as usize);
    header.write(&mut bytes);
    bytes.extend_from_slice(&section);
    bytes.extend_from_slice(&loaded.record.rest);
    Some(bytes.into())
}
