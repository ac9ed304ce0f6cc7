//! The way back from `corrupt/`: an operator has looked at the message and wants it sent as it is.
//!
//! Promises: the message keeps its id and what was recorded of its recipients; its checksums are made
//! anew from the bytes that are there. Its files stay until it is durable again.

use std::io;
use std::sync::Arc;

use mail::QueueId;

use crate::cache::Fresh;
use crate::codec;
use crate::disk::Access;
use crate::frame::{FLAG_BIG, Kind};
use crate::job::{Completion, Job};
use crate::layout::{big_directory, big_path};
use crate::quarantine::{path, salvage};
use crate::reader::sum;
use crate::shared::{Shared, lock};
use crate::spool::Done;
use crate::{AcceptError, Found, Queue, RestoreError};

/// Makes the message durable again and tells `done`.
pub(crate) fn restore(
    shared: &Arc<Shared>,
    id: QueueId,
    done: Done<AcceptError>,
) -> Result<Found, RestoreError> {
    let record = salvage(&*shared.disk, id).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RestoreError::Gone,
        io::ErrorKind::InvalidData => RestoreError::Damaged(error.to_string()),
        _ => RestoreError::Io(error),
    })?;
    let unreadable = |error: codec::CodecError| RestoreError::Damaged(error.to_string());
    let message = codec::decode_message(&record.section).map_err(unreadable)?;
    let mut summary = message.summary;
    if summary.queue == Queue::Corrupt {
        summary.queue = Queue::Deferred;
    }
    summary.due = (shared.options.clock)();
    let section =
        codec::encode_message(&message.envelope, &summary, &message.recipients).map_err(unreadable)?;
    let large = record.header.flags & FLAG_BIG != 0;
    let mut job = if large {
        let (length, crc) = bring_back(shared, id)?;
        let mut job = Job::message(Kind::Copy, id, section, bytes::Bytes::new());
        (job.flags, job.body_len, job.body_crc) = (FLAG_BIG, length, crc);
        job
    } else {
        let length = record.rest.len().min(record.header.body_len as usize);
        Job::message(Kind::Copy, id, section, record.rest.slice(..length))
    };
    let (arrived, size) = (message.envelope.arrived, job.body_len);
    // Marks it as mail, which must leave the reserve of a full disk alone; a COPY is never cached.
    let body = None;
    job.fresh = Some(Arc::new(Fresh { envelope: message.envelope, summary: summary.clone(), body }));
    job.completion = Completion::Accept(done);
    if let Err(job) = shared.push(job, true) {
        job.completion.closed();
    }
    Ok(Found { id, arrived, size, summary })
}

/// Moves a large body back, and measures it.
fn bring_back(shared: &Shared, id: QueueId) -> io::Result<(u64, u32)> {
    let (from, to) = (path(&id.to_string(), "eml"), big_path(id));
    match shared.disk.rename(&from, &to) {
        // An earlier try may have moved it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    shared.disk.sync_directory(&big_directory(id))?;
    let file = shared.disk.open(&to, Access::Read)?;
    let length = file.status()?.length;
    lock(&shared.verified).remove(&id);
    Ok((length, sum(&*file, length)?))
}
