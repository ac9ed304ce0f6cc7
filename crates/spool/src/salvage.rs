//! What is left of a message in `corrupt/`, for whoever looks at it or tells others about it.
//!
//! Promises: it changes nothing but the mark that somebody was told, `corrupt/ID.told`, which goes when the
//! message does. Refuses: believing any of it; the content is given as found, whatever its sum says.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use mail::QueueId;

use crate::disk::Access;
use crate::frame::FLAG_BIG;
use crate::layout::CORRUPT;
use crate::quarantine::path;
use crate::reader::Record;
use crate::shared::{Shared, lock};
use crate::{Body, CorruptMessage, StoredMessage, codec};

/// What is left of a damaged message.
#[derive(Debug)]
pub struct Salvaged {
    /// The envelope and the last word on each recipient, when they are whole.
    pub message: Option<StoredMessage>,
    /// The content as found, when its place in the record is known; else all bytes of the record.
    pub body: Body,
}

impl Shared {
    pub(crate) fn salvaged(&self, id: QueueId) -> io::Result<Salvaged> {
        let file = self.disk.open(&path(&id.to_string(), "raw"), Access::Read)?;
        let mut raw = vec![0; file.status()?.length as usize];
        let count = file.read_at(0, &mut raw)?;
        raw.truncate(count);
        let raw = Bytes::from(raw);
        let parsed = Record::parse(raw.clone()).ok().filter(|record| record.header.kind.is_message());
        let Some(record) = parsed else { return Ok(Salvaged { message: None, body: Body::from_bytes(raw) }) };
        let message = codec::decode_message(&record.section).ok().map(|message| StoredMessage {
            envelope: message.envelope,
            summary: message.summary,
            recipients: message.recipients.into_iter().map(|record| (record.position, record)).collect(),
        });
        let body = if record.header.flags & FLAG_BIG == 0 {
            let length = usize::try_from(record.header.body_len).unwrap_or(usize::MAX);
            Body::from_bytes(record.rest.slice(..record.rest.len().min(length)))
        } else {
            self.salvaged_file(id)?
        };
        Ok(Salvaged { message, body })
    }

    fn salvaged_file(&self, id: QueueId) -> io::Result<Body> {
        match self.disk.open(&path(&id.to_string(), "eml"), Access::Read) {
            Ok(file) => {
                let length = file.status()?.length;
                Ok(Body::from_file(file, length))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Body::from_bytes(Bytes::new())),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn untold(&self) -> io::Result<Vec<CorruptMessage>> {
        let names = self.disk.list(CORRUPT)?;
        let told: BTreeSet<&str> =
            names.iter().filter_map(|entry| entry.name.strip_suffix(".told")).collect();
        let corrupt = lock(&self.corrupt);
        Ok(corrupt.values().filter(|one| !told.contains(&*one.id.to_string())).cloned().collect())
    }

    pub(crate) fn mark_told(&self, id: QueueId) -> io::Result<()> {
        if !lock(&self.corrupt).contains_key(&id) {
            return Ok(());
        }
        self.disk.open(&path(&id.to_string(), "told"), Access::Create)?.sync()?;
        self.disk.sync_directory(CORRUPT)
    }
}
