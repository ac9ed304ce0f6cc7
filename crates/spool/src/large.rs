//! Bodies too large for the log: streamed into a file of their own while they arrive.
//!
//! Promises: the session that brings the body pays for it, nobody waits behind it; the file and its name are
//! durable before the record that refers to it is written. It has its name from the beginning: a file that no
//! record refers to is nobody's, and the next start removes it. To give it the name at the end would cost one
//! more change of the file system that has to become durable.

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use mail::QueueId;

use crate::AcceptError;
use crate::disk::{Access, DiskFile};
use crate::layout::{BIG, big_directory, big_path};
use crate::log::refusal;
use crate::shared::{Shared, lock};

/// Writeback is started each time this much has been written, so that the final sync is short.
const WRITEBACK: u64 = 4 << 20;

/// Makes the directory of a large body, durably. It is never removed, so that once in a process is enough.
fn make_directory(shared: &Shared, id: QueueId) -> std::io::Result<()> {
    let directory = big_directory(id);
    if lock(&shared.directories).contains(&directory) {
        return Ok(());
    }
    shared.disk.create_directory(&directory)?;
    shared.disk.sync_directory(BIG)?;
    lock(&shared.directories).insert(directory);
    Ok(())
}

/// A large body under way. Dropped without [`LargeWriter::finish`], its file is removed.
pub struct LargeWriter {
    shared: Arc<Shared>,
    id: QueueId,
    file: Arc<dyn DiskFile>,
    length: u64,
    /// How much has been handed to writeback.
    started: u64,
    sum: u32,
    finished: bool,
}

impl LargeWriter {
    pub(crate) fn begin(
        shared: Arc<Shared>,
        id: QueueId,
        expected: Option<u64>,
    ) -> Result<LargeWriter, AcceptError> {
        let refused = |error: std::io::Error| refusal(&error);
        let disk = &shared.disk;
        let free = disk.free_bytes().map_err(refused)?;
        if free < shared.options.free_min.saturating_add(expected.unwrap_or(0)) {
            return Err(AcceptError::DiskFull);
        }
        make_directory(&shared, id).map_err(refused)?;
        let file = disk.open(&big_path(id), Access::Create).map_err(refused)?;
        Ok(LargeWriter { shared, id, file, length: 0, started: 0, sum: 0, finished: false })
    }

    /// Appends to the body. Blocks on the disk. After an error the body is lost.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), AcceptError> {
        self.file.write_at(self.length, &[IoSlice::new(bytes)]).map_err(|error| refusal(&error))?;
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.length += bytes.len() as u64;
        if self.length - self.started >= WRITEBACK {
            self.file.start_writeback(self.started, self.length - self.started);
            self.started = self.length;
        }
        Ok(())
    }

    /// Makes the body durable under its final name. Blocks on the disk.
    pub fn finish(mut self) -> Result<LargeBody, AcceptError> {
        let disk = &self.shared.disk;
        let durable = self.file.sync().and_then(|()| disk.sync_directory(&big_directory(self.id)));
        durable.map_err(|error| refusal(&error))?;
        self.finished = true;
        Ok(LargeBody {
            shared: self.shared.clone(),
            id: self.id,
            length: self.length,
            sum: self.sum,
            kept: false,
        })
    }
}

impl Drop for LargeWriter {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed by the next start.
            let _ = self.shared.disk.remove(&big_path(self.id));
        }
    }
}

impl fmt::Debug for LargeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LargeWriter({}, {} bytes)", self.id, self.length)
    }
}

/// A large body that is durable but not yet part of a message. Dropped before it is accepted, its
/// file is removed.
pub struct LargeBody {
    shared: Arc<Shared>,
    pub(crate) id: QueueId,
    length: u64,
    pub(crate) sum: u32,
    kept: bool,
}

impl LargeBody {
    /// Bytes of content.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is no content at all.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The file now belongs to a message, or to a record that may turn out to be durable.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for LargeBody {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.shared.disk.remove(&big_path(self.id));
        }
    }
}

impl fmt::Debug for LargeBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LargeBody({}, {} bytes)", self.id, self.length)
    }
}
