//! The writer: one thread that takes what waits, writes it as one batch, makes it durable with one
//! flush, and tells whoever waited.
//!
//! Promises: nobody is told before the flush returned 0; mail never waits for company, a change of
//! state at most [`crate::Options::lazy_commit`]; a failing disk refuses mail and keeps changes of
//! state, which are written when it works again; an idle spool neither wakes up nor writes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mail::QueueId;

use crate::codec;
use crate::compaction::{Cursor, Pressure};
use crate::frame::{Kind, NOTE_CLEAN_STOP, NOTE_PROBE, NOTE_TAIL};
use crate::index::Place;
use crate::job::{Completion, Job, Room, ending_code};
use crate::layout::big_path;
use crate::log::{End, Log, refusal};
use crate::reader::Wait;
use crate::shared::{Counters, Shared, lock};
use crate::{AcceptError, Ending, quarantine, spares};

/// The longest wait between two tries of a failing disk, in multiples of the first.
const BACKOFF_MAX: u32 = 64;

/// The state of the writer thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    /// Changes that a failing disk left unwritten.
    backlog: VecDeque<Job>,
    cursor: Cursor,
    /// The wait before the next try, while the disk fails.
    retry: Option<Duration>,
    /// The log does not end with the mark of a clean stop.
    unmarked: bool,
}

/// What woke the writer up.
struct Work {
    jobs: Vec<Job>,
    closing: bool,
    clean: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, end: End, clean: bool) -> Writer {
        let log = Log::new(shared.clone(), end);
        Writer {
            shared,
            log,
            backlog: VecDeque::new(),
            cursor: Cursor::default(),
            retry: None,
            unmarked: !clean,
        }
    }

    /// Runs until the spool is closed.
    pub(crate) fn run(mut self) {
        loop {
            let work = self.wait();
            self.step(work.jobs);
            let done = || self.backlog.is_empty() && lock(&self.shared.pending).jobs.is_empty();
            if work.closing && (self.retry.is_some() || done()) {
                self.close(work.clean);
                return;
            }
        }
    }

    /// Waits for something to do.
    fn wait(&mut self) -> Work {
        let idle = self.idle_wait();
        let shared = self.shared.clone();
        let mut pending = lock(&shared.pending);
        if let Some(delay) = self.retry {
            let woken = shared.wake.wait_timeout_while(pending, delay, |pending| !pending.closing);
            pending = woken.map_or_else(|e| e.into_inner().0, |(pending, _)| pending);
        } else {
            let nothing = |pending: &mut crate::shared::Pending| pending.jobs.is_empty() && !pending.closing;
            pending = match idle {
                _ if !self.backlog.is_empty() => pending,
                Some(delay) => {
                    let woken = shared.wake.wait_timeout_while(pending, delay, nothing);
                    woken.map_or_else(|e| e.into_inner().0, |(pending, _)| pending)
                }
                None => {
                    let woken = shared.wake.wait_while(pending, nothing);
                    woken.unwrap_or_else(std::sync::PoisonError::into_inner)
                }
            };
            if !pending.jobs.is_empty() && self.backlog.is_empty() && !pending.urgent && !pending.closing {
                let lazy = |pending: &mut crate::shared::Pending| !pending.urgent && !pending.closing;
                let woken = shared.wake.wait_timeout_while(pending, shared.options.lazy_commit, lazy);
                pending = woken.map_or_else(|e| e.into_inner().0, |(pending, _)| pending);
            }
        }
        let (closing, clean) = (pending.closing, pending.clean);
        let jobs = self.take(&mut pending.jobs);
        pending.urgent = pending.jobs.iter().any(|job| job.fresh.is_some());
        Work { jobs, closing, clean }
    }

    /// How long to wait for jobs before there is work of our own; without end when there is none.
    fn idle_wait(&self) -> Option<Duration> {
        let options = &self.shared.options;
        let pressure = self.pressure();
        let index = lock(&self.shared.index);
        let compacts = self.cursor.wanted(&self.shared, &index, pressure) && index.source().is_some();
        drop(index);
        if self.log.tail_waits() || (compacts && !self.cursor.stalled) {
            return Some(options.lazy_commit);
        }
        if compacts {
            return Some(options.retry_delay * BACKOFF_MAX);
        }
        if !options.spare_thread && self.shared.spares.len() < options.spares_min && self.log.has_room() {
            return Some(options.lazy_commit);
        }
        self.shared.refusal().map(|_| options.retry_delay)
    }

    fn pressure(&self) -> Pressure {
        match self.shared.refusal() {
            Some(AcceptError::DiskFull) => Pressure::Full,
            // Before mail is refused, or after: whoever looks at the free room refuses it without asking.
            None if !self.log.has_room() => Pressure::Full,
            _ => Pressure::Normal,
        }
    }

    /// Takes jobs for one batch: the backlog first, then those that wait.
    fn take(&mut self, waiting: &mut VecDeque<Job>) -> Vec<Job> {
        let options = &self.shared.options;
        let (mut jobs, mut room) = (Vec::new(), Room::default());
        while jobs.len() < options.batch_records {
            let queue = if self.backlog.is_empty() { &mut *waiting } else { &mut self.backlog };
            let Some(next) = queue.front() else { break };
            let mut with = room;
            with.add(next.room());
            let fits = with.batch <= options.batch_bytes as u64 && self.log.fits_segment(with);
            if !jobs.is_empty() && !fits {
                break;
            }
            room = with;
            jobs.extend(queue.pop_front());
        }
        jobs
    }

    /// One round: the jobs, a share of compaction, or work of our own when there are none.
    fn step(&mut self, jobs: Vec<Job>) {
        let waiting = jobs.iter().map(Job::record_len).sum();
        let mut jobs = self.admit(jobs);
        if self.retry.is_none() {
            let mut copies = self.cursor.copies(&self.shared, waiting, self.pressure());
            let copied = copies.iter().map(Job::record_len).sum();
            Counters::add(&self.shared.counters.bytes_copied, copied);
            // Copies first: a change of state in the same batch must come after the copy.
            copies.append(&mut jobs);
            jobs = self.split(copies);
        }
        if jobs.is_empty() {
            jobs.extend(self.own_work());
        }
        if !jobs.is_empty() {
            self.commit(jobs);
        }
        self.recover_acceptance();
    }

    /// Commits all but the last batch's worth, when copies and jobs together are more than one
    /// segment takes.
    fn split(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let (mut rest, mut room) = (Vec::with_capacity(jobs.len()), Room::default());
        for job in jobs {
            let mut with = room;
            with.add(job.room());
            if !rest.is_empty() && !self.log.fits_segment(with) {
                let full = std::mem::take(&mut rest);
                self.commit(full);
                with = job.room();
            }
            room = with;
            rest.push(job);
        }
        rest
    }

    /// What to write when nobody asks for anything.
    fn own_work(&mut self) -> Option<Job> {
        if self.retry.is_some() {
            return Some(Job::note(NOTE_PROBE, "the disk is tried again"));
        }
        if self.log.tail_waits() {
            return Some(Job::note(NOTE_TAIL, "old segments are not needed any more"));
        }
        let options = &self.shared.options;
        if !options.spare_thread && self.shared.spares.len() < options.spares_min {
            // Without a spare the next segment is a new file, which is slower and nothing else.
            let _ = spares::make(&self.shared, false);
        }
        None
    }

    /// Drops changes of messages that are gone and folds chains that have become long.
    fn admit(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let mut alive: BTreeMap<QueueId, bool> = BTreeMap::new();
        let mut admitted = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            let before = alive.get(&job.id).copied();
            let known = || before.unwrap_or_else(|| lock(&self.shared.index).get(job.id).is_some());
            match job.kind {
                Kind::Message | Kind::Copy => {
                    alive.insert(job.id, true);
                }
                Kind::State if !known() => {
                    job.completion.gone();
                    continue;
                }
                Kind::State => {
                    if before.is_none() && !job.whole {
                        self.fold(&mut job);
                    }
                    alive.insert(job.id, true);
                }
                // An ending behind the one that sets the message aside in this very batch goes with it:
                // its files may go only when the log has forgotten it.
                Kind::Done if !known() && before.is_none() => {
                    self.end_corrupt(job);
                    continue;
                }
                Kind::Done => {
                    alive.insert(job.id, false);
                }
                Kind::Note => {}
            }
            admitted.push(job);
        }
        admitted
    }

    /// Ends a message that is in `corrupt/` and no longer in the log.
    fn end_corrupt(&self, job: Job) {
        let operator = job.detail != ending_code(Ending::Corrupt);
        if !operator || !lock(&self.shared.corrupt).contains_key(&job.id) {
            return job.completion.gone();
        }
        match quarantine::remove(&*self.shared.disk, job.id) {
            Ok(()) => {
                lock(&self.shared.corrupt).remove(&job.id);
                Counters::add(&self.shared.counters.ended, 1);
                job.completion.good();
            }
            Err(_) => {
                Counters::add(&self.shared.counters.failures, 1);
                job.completion.undeletable();
            }
        }
    }

    /// Replaces a change of state by the whole state when the chain has become long. A chain that
    /// cannot be read is left as it is: reading the message will find out.
    fn fold(&self, job: &mut Job) {
        let Some(entry) = lock(&self.shared.index).get(job.id) else { return };
        if !entry.state.is_some() || u32::from(entry.chain) + 1 < self.shared.options.state_chain_max {
            return;
        }
        let Ok(newest) = codec::decode_state(&job.section) else { return };
        let mut recipients: BTreeMap<_, _> =
            newest.recipients.into_iter().map(|recipient| (recipient.position, recipient)).collect();
        if self.shared.fold(job.id, entry.state, &mut recipients, Wait::AsLong).is_err() {
            return;
        }
        let recipients: Vec<_> = recipients.into_values().collect();
        if let Ok(section) = codec::encode_state(&newest.summary, &recipients) {
            let completion = std::mem::replace(&mut job.completion, Completion::Nobody);
            *job = Job { whole: true, ..Job::state(job.id, section, completion) };
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        match self.log.commit(&jobs) {
            Ok(places) => self.complete(jobs, &places),
            Err(error) => self.give_up(jobs, &error),
        }
    }

    /// The batch is durable: the index follows, then everybody is told.
    fn complete(&mut self, jobs: Vec<Job>, places: &[Place]) {
        self.unmarked = true;
        self.retry = None;
        let mut large = Vec::new();
        let mut index = lock(&self.shared.index);
        for ((job, &place), laid) in jobs.iter().zip(places).zip(self.log.laid()) {
            if job.kind == Kind::Done && index.get(job.id).is_some_and(|entry| entry.is_big()) {
                large.push((job.id, job.detail));
            }
            index.apply(job.kind, job.id, job.flags, laid.entry.detail, place);
        }
        drop(index);
        let mut cache = lock(&self.shared.cache);
        for job in &jobs {
            match (&job.fresh, job.kind) {
                (Some(fresh), Kind::Message) => cache.insert(job.id, fresh.clone()),
                (_, Kind::Done) => cache.remove(job.id),
                _ => {}
            }
        }
        drop(cache);
        for job in jobs {
            let ended = job.kind == Kind::Done && job.detail != ending_code(Ending::Corrupt);
            if ended && lock(&self.shared.corrupt).contains_key(&job.id) {
                self.end_corrupt(job);
                continue;
            }
            let counters = &self.shared.counters;
            Counters::add(&counters.ended, u64::from(ended));
            Counters::add(&counters.accepted, u64::from(job.kind == Kind::Message));
            job.completion.good();
        }
        for (id, ending) in large {
            lock(&self.shared.verified).remove(&id);
            // A file that stays is removed by the next start.
            if ending != ending_code(Ending::Corrupt) && self.shared.disk.remove(&big_path(id)).is_err() {
                Counters::add(&self.shared.counters.failures, 1);
            }
        }
        self.log.release();
    }

    /// The batch could not be written anywhere. Mail is refused; changes of state wait.
    fn give_up(&mut self, jobs: Vec<Job>, error: &io::Error) {
        let reason = refusal(error);
        self.cursor.restart();
        let mail = jobs.iter().any(|job| job.fresh.is_some());
        let full = matches!(reason, AcceptError::DiskFull);
        // Before anybody is told, so that whoever is told finds it so.
        *lock(&self.shared.refusal) = Some(reason.clone());
        // A full disk may refuse mail alone: changes have the reserve, so they are tried at once.
        if !(full && mail) {
            let first = self.shared.options.retry_delay;
            self.retry = Some(self.retry.map_or(first, |delay| (delay * 2).min(first * BACKOFF_MAX)));
        }
        let mut kept = VecDeque::new();
        for job in jobs {
            match (job.completion, job.kind) {
                (Completion::Accept(done), _) => done(Err(reason.clone())),
                // Copies are made again, notes are not worth keeping.
                (_, Kind::Copy | Kind::Note) => {}
                (completion, _) => kept.push_back(Job { completion, ..job }),
            }
        }
        kept.append(&mut self.backlog);
        self.backlog = kept;
    }

    /// Takes mail again when the reason not to is gone.
    fn recover_acceptance(&mut self) {
        let again = match self.shared.refusal() {
            None => return,
            Some(AcceptError::DiskFull) => self.retry.is_none() && self.log.has_room(),
            Some(_) => self.retry.is_none(),
        };
        if again {
            *lock(&self.shared.refusal) = None;
        }
    }

    fn close(mut self, clean: bool) {
        if clean && self.unmarked && self.retry.is_none() {
            self.commit(vec![Job::note(NOTE_CLEAN_STOP, "clean stop")]);
            self.log.seal();
        }
        self.shared.spares.stop();
        let mut pending = lock(&self.shared.pending);
        let left: Vec<Job> = self.backlog.drain(..).chain(pending.jobs.drain(..)).collect();
        drop(pending);
        left.into_iter().for_each(|job| job.completion.closed());
    }
}
