//! The spool as its users see it.
//!
//! Promises: every method says whether it blocks; none panics on what is on the disk.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use mail::{QueueId, Time};

use crate::cache::Fresh;
use crate::codec::{self, Section};
use crate::disk::{Disk, Lock};
use crate::frame::{FLAG_BIG, Kind};
use crate::inventory::Inventory;
use crate::job::{Completion, Job};
use crate::open::Opened;
use crate::reader::{Extent, Fault, LoadFault};
use crate::shared::{Counters, Shared, lock};
use crate::spares;
use crate::writer::Writer;
use crate::{
    AcceptError, Body, CommitError, CorruptMessage, Ending, Found, Health, LargeWriter, NewBody, NewMessage,
    OpenError, Options, Progress, Queue, ReadError, Recovery, RestoreError, Salvaged, StateChange,
    StoredMessage, VerifyReport,
};

/// What is called when a record is durable, or will not be. It runs on the writer thread: it must be
/// short, must not block and must not panic.
pub type Done<E> = Box<dyn FnOnce(Result<(), E>) + Send>;

/// An open spool. Share it in an `Arc`; every method takes `&self`. Dropping it without
/// [`Spool::close`] writes what is pending and leaves no mark of a clean stop.
pub struct Spool {
    shared: Arc<Shared>,
    recovery: Recovery,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held until the threads have ended.
    lock: Mutex<Option<Lock>>,
}

impl Spool {
    /// Opens or creates the spool, recovers what a crash left, and hands every live message to
    /// `found` in the order of ids. Blocks; `progress` is called now and then.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        found: &mut dyn FnMut(Found),
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Spool, OpenError> {
        let mut opened = crate::open::open(disk, options, progress)?;
        // Before the threads run, so that the order of disk calls is always the same.
        opened.inventory.by_ref().for_each(&mut *found);
        Spool::start(opened).map(|(spool, _)| spool)
    }

    /// As [`Spool::open`], without waiting until everybody has been told of the messages there are: mail is
    /// taken at once, and whoever wants to know them goes through the inventory meanwhile.
    pub fn open_with_inventory(
        disk: Arc<dyn Disk>,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Spool, Inventory), OpenError> {
        Spool::start(crate::open::open(disk, options, progress)?)
    }

    fn start(opened: Opened) -> Result<(Spool, Inventory), OpenError> {
        let shared = opened.shared;
        let mut threads = Vec::new();
        let writer = Writer::new(shared.clone(), opened.end, opened.recovery.clean);
        threads.push(thread("spool-writer", move || writer.run())?);
        if shared.options.spare_thread {
            let shared = shared.clone();
            threads.push(thread("spool-spares", move || spares::keep_filled(&shared))?);
        }
        let recovery = opened.recovery;
        let (threads, lock) = (Mutex::new(threads), Mutex::new(Some(opened.lock)));
        Ok((Spool { shared, recovery, threads, lock }, opened.inventory))
    }

    /// What opening found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A new id, above all that were ever used. Does not block.
    pub fn next_id(&self, now: Time) -> QueueId {
        lock(&self.shared.ids).next(now)
    }

    /// Makes a message durable and calls `done` right after the commit that did it. Encoding and
    /// checksums are made by the caller's thread; does not block on the disk.
    pub fn accept(&self, message: NewMessage, done: Done<AcceptError>) {
        if let Some(reason) = self.shared.refusal() {
            return done(Err(reason));
        }
        match codec::encode_message(&message.envelope, &message.summary, &[]) {
            Ok(section) => self.push_message(message, section, done),
            Err(_) => done(Err(AcceptError::TooLarge)),
        }
    }

    fn push_message(&self, message: NewMessage, section: Section, done: Done<AcceptError>) {
        let NewMessage { id, envelope, summary, body } = message;
        let (mut job, body, large) = match body {
            NewBody::Inline(body) => {
                (Job::message(Kind::Message, id, section, body.clone()), Some(body), None)
            }
            NewBody::Large(large) => {
                let mut job = Job::message(Kind::Message, id, section, bytes::Bytes::new());
                (job.flags, job.body_len, job.body_crc) = (FLAG_BIG, large.len(), large.sum);
                lock(&self.shared.verified).insert(id);
                (job, None, Some(large))
            }
        };
        job.fresh = Some(Arc::new(Fresh { envelope, summary, body }));
        job.completion = Completion::Accept(done);
        match self.shared.push(job, true) {
            Ok(()) => {
                if let Some(large) = large {
                    large.keep();
                }
            }
            Err(job) => job.completion.closed(),
        }
    }

    /// Starts a body of more than [`crate::BODY_IN_LOG_MAX`] bytes; `expected` (SIZE=) is checked
    /// against the room there is. Blocks on the disk.
    pub fn begin_large(&self, id: QueueId, expected: Option<u64>) -> Result<LargeWriter, AcceptError> {
        match self.shared.refusal() {
            Some(reason) => Err(reason),
            None => LargeWriter::begin(self.shared.clone(), id, expected),
        }
    }

    /// Records a change of state. Written with the next batch, within [`Options::lazy_commit`].
    /// Does not block.
    pub fn update(&self, id: QueueId, change: StateChange, done: Option<Done<CommitError>>) {
        self.shared.unsettle(id);
        let shared = self.shared.clone();
        let completion = Completion::Change(Box::new(move |result| {
            shared.settle(id);
            if let Some(done) = done {
                done(result);
            }
        }));
        if change.summary.queue != Queue::Incoming {
            // It will not be delivered for minutes: its memory is for fresh mail.
            lock(&self.shared.cache).remove(id);
        }
        match codec::encode_state(&change.summary, &change.recipients) {
            Ok(section) => self.push(Job::state(id, section, completion)),
            // Reasons are cut, so that only an impossible number of recipients comes here.
            Err(_) => completion.gone(),
        }
    }

    /// Records the end of a message; its bytes are freed. Also ends a message in `corrupt`. Written
    /// with the next batch, within [`Options::lazy_commit`]. Does not block.
    pub fn finish(&self, id: QueueId, ending: Ending, done: Option<Done<CommitError>>) {
        self.push(Job::done(id, ending, done.map_or(Completion::Nobody, Completion::Change)));
    }

    /// Calls `done` once every change asked for before is durable. While the disk fails it is dropped
    /// uncalled; the changes themselves are kept and written later. Does not block.
    pub fn settled(&self, done: Done<CommitError>) {
        self.push(Job::settled(Completion::Change(done)));
    }

    fn push(&self, job: Job) {
        if let Err(job) = self.shared.push(job, false) {
            job.completion.closed();
        }
    }

    /// The envelope and state of a message, with every change that was asked for before: whoever acts on
    /// it must not repeat a delivery that is on its way to the log. Blocks on the disk unless the message
    /// is fresh. A damaged message is moved to `corrupt` on the way.
    pub fn read(&self, id: QueueId) -> Result<StoredMessage, ReadError> {
        self.not_corrupt(id)?;
        if !self.shared.wait_settled(id) {
            return Err(
                io::Error::new(io::ErrorKind::TimedOut, "its last changes are not written yet").into()
            );
        }
        if let Some(message) = self.untouched(id) {
            return Ok(message);
        }
        Counters::add(&self.shared.counters.envelopes_read, 1);
        self.shared
            .load(id, Extent::Envelope)
            .map(crate::reader::Loaded::stored)
            .map_err(|fault| self.fault(id, fault))
    }

    /// What [`Spool::read`] gives, if it can be had without waiting: nothing of it is still on its way to the
    /// log, and the message is fresh, or what is to be read is in the system's memory. Nothing says no more
    /// than that somebody has to wait. Does not block.
    pub fn read_at_hand(&self, id: QueueId) -> Option<StoredMessage> {
        if self.not_corrupt(id).is_err() || self.shared.is_unsettled(id) {
            return None;
        }
        self.untouched(id).or_else(|| {
            let loaded = self.shared.load_at_hand(id)?;
            Counters::add(&self.shared.counters.envelopes_read, 1);
            Some(loaded.stored())
        })
    }

    /// A fresh message whose state has not changed yet.
    fn untouched(&self, id: QueueId) -> Option<StoredMessage> {
        let entry = lock(&self.shared.index).get(id)?;
        let fresh = if entry.is_fresh() { lock(&self.shared.cache).get(id) } else { None }?;
        Some(StoredMessage {
            envelope: fresh.envelope.clone(),
            summary: fresh.summary.clone(),
            recipients: Default::default(),
        })
    }

    /// The content of a message, checked against its sum. Blocks on the disk unless the message is
    /// fresh. A damaged message is moved to `corrupt` on the way.
    pub fn body(&self, id: QueueId) -> Result<Body, ReadError> {
        self.not_corrupt(id)?;
        let cached = lock(&self.shared.cache).get(id);
        if let Some(body) = cached.and_then(|fresh| fresh.body.clone()) {
            return Ok(Body::from_bytes(body));
        }
        Counters::add(&self.shared.counters.contents_read, 1);
        let (entry, record) = self.shared.load_record(id).map_err(|fault| self.fault(id, fault))?;
        let body = if entry.is_big() {
            self.shared.large(id, &record.header)
        } else {
            record.body().map(Body::from_bytes)
        };
        body.map_err(|fault| {
            self.fault(
                id,
                match fault {
                    // It ended while its file was opened.
                    _ if lock(&self.shared.index).get(id).is_none() => LoadFault::Gone,
                    Fault::Damaged(reason) => LoadFault::Damaged(reason),
                    Fault::Io(error) => LoadFault::Io(error),
                },
            )
        })
    }

    /// What [`Spool::body`] gives, if it can be had without waiting: the message is fresh, or it is short and
    /// in the system's memory. Does not block.
    pub fn body_at_hand(&self, id: QueueId) -> Option<Body> {
        let fresh = lock(&self.shared.cache).get(id).and_then(|fresh| fresh.body.clone());
        let content = fresh.or_else(|| {
            self.not_corrupt(id).ok()?;
            let content = self.shared.content_at_hand(id)?;
            Counters::add(&self.shared.counters.contents_read, 1);
            Some(content)
        });
        content.map(Body::from_bytes)
    }

    fn not_corrupt(&self, id: QueueId) -> Result<(), ReadError> {
        match lock(&self.shared.corrupt).get(&id) {
            Some(message) => Err(ReadError::Corrupt { reason: message.reason.clone() }),
            None => Ok(()),
        }
    }

    /// What a reader is told; a damaged message is moved to `corrupt`.
    fn fault(&self, id: QueueId, fault: LoadFault) -> ReadError {
        match fault {
            LoadFault::Gone => ReadError::Gone,
            LoadFault::Io(error) => ReadError::Io(error),
            LoadFault::Damaged(reason) => match self.shared.quarantine(id, &reason) {
                Ok(()) => ReadError::Corrupt { reason },
                Err(error) => error,
            },
        }
    }

    /// Moves a message to `corrupt`: its bytes and the reason as files, and out of the log. Nothing
    /// happens when it is there already. Blocks on the disk.
    pub fn quarantine(&self, id: QueueId, reason: &str) -> Result<(), ReadError> {
        self.shared.quarantine(id, reason)
    }

    /// Takes a message back from `corrupt` with the content as it is, and says how it starts again:
    /// due at once in the queue it was in. Blocks until it is durable.
    pub fn restore(&self, id: QueueId) -> Result<Found, RestoreError> {
        if !lock(&self.shared.corrupt).contains_key(&id) {
            return Err(RestoreError::Gone);
        }
        let (wait, answer) = mpsc::channel();
        let done: Done<AcceptError> = Box::new(move |result| {
            // Whoever waited may have gone; then nobody needs to know.
            let _ = wait.send(result);
        });
        let found = crate::restore::restore(&self.shared, id, done)?;
        answer.recv().unwrap_or(Err(AcceptError::Closed))?;
        lock(&self.shared.corrupt).remove(&id);
        crate::quarantine::remove(&*self.shared.disk, id)?;
        Ok(found)
    }

    /// The messages in `corrupt`, by id.
    pub fn corrupt(&self) -> Vec<CorruptMessage> {
        lock(&self.shared.corrupt).values().cloned().collect()
    }

    /// Whether a message is in `corrupt`.
    pub fn is_corrupt(&self, id: QueueId) -> bool {
        lock(&self.shared.corrupt).contains_key(&id)
    }

    /// What is left of a message in `corrupt`. Blocks on the disk.
    pub fn salvaged(&self, id: QueueId) -> io::Result<Salvaged> {
        self.shared.salvaged(id)
    }

    /// The messages in `corrupt` that nobody was told of yet. Blocks on the disk.
    pub fn untold(&self) -> io::Result<Vec<CorruptMessage>> {
        self.shared.untold()
    }

    /// Notes durably that whom it may concern was told of a message in `corrupt`. Blocks on the disk.
    pub fn mark_told(&self, id: QueueId) -> io::Result<()> {
        self.shared.mark_told(id)
    }

    /// Reads every live message and checks every sum; with `repair` the damaged ones are moved to
    /// `corrupt`. Blocks for as long as that takes; `progress` may sleep to go easy on the disk.
    pub fn verify(&self, repair: bool, progress: &mut dyn FnMut(Progress)) -> VerifyReport {
        crate::verify::verify(&self.shared, repair, progress)
    }

    /// How the spool is. Asks the file system for its free room and nothing else of the disk.
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        let free_bytes = shared.disk.free_bytes().ok();
        let refusal = shared.refusal();
        let failing = refusal.as_ref().is_some_and(|reason| !matches!(reason, AcceptError::DiskFull));
        let refusal = refusal.map(|reason| reason.to_string());
        let reason = refusal.or_else(|| too_little_room(free_bytes, shared.options.free_min));
        let counters = &shared.counters;
        let index = lock(&shared.index);
        let (messages, segments, live_bytes) = (index.len(), index.segments.len(), index.live_bytes);
        drop(index);
        Health {
            accepting: reason.is_none(),
            reason,
            failing,
            free_bytes,
            messages: messages as u64,
            segments: segments as u64,
            spares: shared.spares.len() as u64,
            live_bytes,
            found: Counters::value(&counters.found),
            accepted: Counters::value(&counters.accepted),
            ended: Counters::value(&counters.ended),
            batches: Counters::value(&counters.batches),
            records: Counters::value(&counters.records),
            syncs: Counters::value(&counters.syncs),
            bytes_written: Counters::value(&counters.bytes_written),
            bytes_copied: Counters::value(&counters.bytes_copied),
            failures: Counters::value(&counters.failures),
            envelopes_read: Counters::value(&counters.envelopes_read),
            contents_read: Counters::value(&counters.contents_read),
            pending: lock(&shared.pending).jobs.len() as u64,
            corrupt: lock(&shared.corrupt).len() as u64,
        }
    }

    /// Writes what is pending, marks the clean stop and closes. Blocks. Later calls are refused.
    pub fn close(&self) {
        self.end(true);
    }

    fn end(&self, clean: bool) {
        let mut pending = lock(&self.shared.pending);
        if !pending.closing {
            (pending.closing, pending.clean) = (true, clean);
        }
        drop(pending);
        self.shared.wake.notify_all();
        self.shared.spares.stop();
        for thread in lock(&self.threads).drain(..) {
            // A thread that panicked has said so; there is nothing left to do for it.
            let _ = thread.join();
        }
        lock(&self.lock).take();
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("health", &self.health()).finish_non_exhaustive()
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|source| OpenError::Io { path: format!("thread {name}"), source })
}

/// Reads and checks a stopped spool without changing anything.
pub fn verify_offline(
    disk: Arc<dyn Disk>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, OpenError> {
    crate::verify::offline(disk, progress)
}

/// Why no mail is to be taken while so little is free, although the spare segments would hold some more: what
/// is there has to last for the state of the mail that was taken.
fn too_little_room(free_bytes: Option<u64>, free_min: u64) -> Option<String> {
    let free = free_bytes.filter(|free| *free <= free_min)?;
    Some(format!(
        "{}: {} MiB are free, spool.free_min is {} MiB",
        AcceptError::DiskFull,
        free >> 20,
        free_min >> 20
    ))
}
