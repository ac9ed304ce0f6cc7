//! One record that waits to be written, and how it is laid out in a batch.
//!
//! Promises: encoding and checksums of bodies are made by whoever makes the job, so that the writer
//! copies bytes and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use mail::QueueId;

use crate::cache::Fresh;
use crate::codec::{Section, summary_of};
use crate::frame::{DIRECTORY_ENTRY, FOOTER_ENTRY, Kind, LINK, NOTE_SETTLED, record_len};
use crate::spool::Done;
use crate::{AcceptError, CommitError, Ending};

/// Who is told when the record is durable, or will not be.
pub(crate) enum Completion {
    Nobody,
    Accept(Done<AcceptError>),
    Change(Done<CommitError>),
}

impl Completion {
    /// The record is durable.
    pub(crate) fn good(self) {
        match self {
            Completion::Nobody => {}
            Completion::Accept(done) => done(Ok(())),
            Completion::Change(done) => done(Ok(())),
        }
    }

    /// The record will not be written: the message is gone.
    pub(crate) fn gone(self) {
        match self {
            Completion::Nobody | Completion::Accept(_) => {}
            Completion::Change(done) => done(Err(CommitError::Gone)),
        }
    }

    /// The message is in `corrupt/` and stays there.
    pub(crate) fn undeletable(self) {
        if let Completion::Change(done) = self {
            done(Err(CommitError::Undeletable));
        }
    }

    /// The record will not be written: there is no spool any more.
    pub(crate) fn closed(self) {
        match self {
            Completion::Nobody => {}
            Completion::Accept(done) => done(Err(AcceptError::Closed)),
            Completion::Change(done) => done(Err(CommitError::Closed)),
        }
    }
}

/// A record before it has a place.
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) id: QueueId,
    pub(crate) flags: u8,
    /// DONE: the ending. NOTE: why. STATE: computed when it is written.
    pub(crate) detail: u32,
    pub(crate) section: Vec<u8>,
    pub(crate) section_crc: u32,
    /// The body inside the record; for a large body nothing.
    pub(crate) body: Bytes,
    /// Bytes of the body, wherever it is.
    pub(crate) body_len: u64,
    pub(crate) body_crc: u32,
    /// STATE: the whole state, not only what changed, so that it needs no link.
    pub(crate) whole: bool,
    /// What the first delivery will ask for.
    pub(crate) fresh: Option<Arc<Fresh>>,
    pub(crate) completion: Completion,
}

impl Job {
    fn bare(kind: Kind, id: QueueId, detail: u32, section: Vec<u8>, completion: Completion) -> Job {
        let section_crc = crc32c::crc32c(&section);
        Job {
            kind,
            id,
            flags: 0,
            detail,
            section,
            section_crc,
            body: Bytes::new(),
            body_len: 0,
            body_crc: 0,
            whole: false,
            fresh: None,
            completion,
        }
    }

    /// A message with its body in the record.
    pub(crate) fn message(kind: Kind, id: QueueId, section: Section, body: Bytes) -> Job {
        let (body_len, body_crc) = (body.len() as u64, crc32c::crc32c(&body));
        let job = Job::bare(kind, id, 0, section.bytes, Completion::Nobody);
        Job { body, body_len, body_crc, ..job }
    }

    pub(crate) fn state(id: QueueId, section: Section, completion: Completion) -> Job {
        Job::bare(Kind::State, id, 0, section.bytes, completion)
    }

    pub(crate) fn done(id: QueueId, ending: Ending, completion: Completion) -> Job {
        Job::bare(Kind::Done, id, ending_code(ending), Vec::new(), completion)
    }

    pub(crate) fn note(why: u32, text: &str) -> Job {
        Job::bare(Kind::Note, QueueId::from_u64(0), why, text.as_bytes().to_vec(), Completion::Nobody)
    }

    /// A note for somebody who waits for everything before it.
    pub(crate) fn settled(completion: Completion) -> Job {
        Job { completion, ..Job::note(NOTE_SETTLED, "asked whether all is written") }
    }

    /// Bytes of body inside the record.
    pub(crate) fn inline_len(&self) -> u64 {
        if self.kind == Kind::State { LINK as u64 } else { self.body.len() as u64 }
    }

    /// Bytes of the record, padding included.
    pub(crate) fn record_len(&self) -> u64 {
        record_len(self.section.len(), self.inline_len())
    }

    /// The summary, for the footer.
    pub(crate) fn summary(&self) -> &[u8] {
        match self.kind {
            Kind::Message | Kind::Copy | Kind::State => summary_of(&self.section).unwrap_or_default(),
            Kind::Done | Kind::Note => &[],
        }
    }

    /// Bytes it takes in a batch, and in the footer.
    pub(crate) fn room(&self) -> Room {
        Room {
            batch: DIRECTORY_ENTRY as u64 + self.record_len(),
            footer: (FOOTER_ENTRY + self.summary().len()) as u64,
        }
    }
}

/// Bytes that records take in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Room {
    pub(crate) batch: u64,
    pub(crate) footer: u64,
}

impl Room {
    pub(crate) fn add(&mut self, other: Room) {
        self.batch += other.batch;
        self.footer += other.footer;
    }
}

/// The number of an ending on disk.
pub(crate) fn ending_code(ending: Ending) -> u32 {
    match ending {
        Ending::Delivered => 1,
        Ending::Bounced => 2,
        Ending::Expired => 3,
        Ending::Deleted => 4,
        Ending::Corrupt => 5,
    }
}
