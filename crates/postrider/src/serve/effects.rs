//! Carries out what the engine asks for.
//!
//! Promises: effects are carried out in the order in which they come; each one that wants an answer gets
//! one. Keeps for each message in memory its envelope and the last word on each recipient, so that a
//! delivery, a report and a log line need no disk.
//! Refuses: waiting. What takes time becomes [`Work`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dsn::NotifyClass;
use ingress::Accepted;
use mail::{EnhancedStatus, Envelope, Outcome, QueueId, Scope, Time, Verdict};
use qmgr::{
    Delivery, DeliveryNumber, Effect, Engine, LoadError, Note, Queue, Report, ReportKind, StateChange,
};
use spool::{ReadError, RecipientRecord, Spool, StoredMessage, Summary};

use super::convert;
use super::damage;
use super::deleted::Deleted;
use super::deliveries::Deliveries;
use super::flush_logs::FlushLogs;
use super::maillog::{self, Delays, RecipientLine};
use super::notices::{self, Rarely};
use super::reports::Reports;
use super::routes::Routes;
use super::stored::Piece;
use super::work::{Happened, LoadRequest, LoadResult, Undertaking, Work};

/// Recipients up to which a new message is handed to the engine with its envelope; the engine reads
/// larger ones in pieces, as its limits allow.
const RECIPIENTS_AT_ONCE: usize = 1000;
/// Envelopes read by one task.
const LOADS_AT_ONCE: usize = 16;
/// Recipients that are marked by one change of state.
const RECORDS_AT_ONCE: usize = 1000;

/// A message that the engine has in memory.
struct Active {
    envelope: Arc<Envelope>,
    records: BTreeMap<u32, RecipientRecord>,
    /// Recipients whose next hop took over the duty to report success (RFC 3461 5.2.2).
    reported_by_next_hop: BTreeSet<u32>,
    /// Recipients whose sender has been told, which no save has said yet.
    told: BTreeSet<u32>,
}

impl Active {
    fn new(envelope: Arc<Envelope>, records: BTreeMap<u32, RecipientRecord>) -> Active {
        Active { envelope, records, reported_by_next_hop: BTreeSet::new(), told: BTreeSet::new() }
    }

    /// A report on these recipients is out: a crash after the next save does not repeat it.
    fn told(&mut self, kind: ReportKind, positions: &[u32]) {
        if matches!(kind, ReportKind::Delay | ReportKind::DelayCleared) {
            return;
        }
        for position in positions {
            if let Some(record) = self.records.get_mut(position) {
                record.reported = true;
                self.told.insert(*position);
            }
        }
    }

    /// Marks what the next hop tells in the records that are about to be saved, and gives the others that
    /// are to be saved because their sender has been told.
    fn mark_told(&mut self, saved: &mut [RecipientRecord]) -> Vec<RecipientRecord> {
        let of_next_hop = |record: &RecipientRecord| {
            record.verdict == Verdict::Sent && self.reported_by_next_hop.contains(&record.position)
        };
        for record in saved.iter_mut().filter(|record| of_next_hop(record)) {
            record.reported = true;
            self.records.entry(record.position).and_modify(|known| known.reported = true);
        }
        let told = std::mem::take(&mut self.told);
        let record = |position: &u32| self.records.get(position);
        let marked = |record: &RecipientRecord| RecipientRecord { earlier: Vec::new(), ..record.clone() };
        told.iter().filter_map(record).map(marked).collect()
    }
}

/// See the module.
pub(crate) struct Effects {
    spool: Arc<Spool>,
    routes: Arc<Routes>,
    deliveries: Deliveries,
    reports: Reports,
    flush_logs: FlushLogs,
    logs_behind: Option<Duration>,
    deleted: Arc<Deleted>,
    work: Work,
    active: HashMap<QueueId, Active>,
    /// The message being handed to the engine; it becomes active if the engine says so.
    arriving: Option<(QueueId, Arc<Envelope>)>,
    loads: Vec<LoadRequest>,
    timings: HashMap<DeliveryNumber, Timing>,
    faults: Rarely,
}

/// What the log says about a delivery beside its outcome.
#[derive(Clone, Copy, Default)]
struct Timing {
    setup: Duration,
    transfer: Duration,
    uses: u32,
}

impl Effects {
    /// Nothing is in memory yet.
    pub(crate) fn new(
        spool: Arc<Spool>,
        routes: Arc<Routes>,
        deliveries: Deliveries,
        reports: Reports,
        flush_logs: FlushLogs,
        deleted: Arc<Deleted>,
    ) -> Effects {
        Effects {
            spool,
            routes,
            deliveries,
            reports,
            flush_logs,
            logs_behind: None,
            deleted,
            work: Work::default(),
            active: HashMap::new(),
            arriving: None,
            loads: Vec::new(),
            timings: HashMap::new(),
            faults: Rarely::default(),
        }
    }

    /// Hands a new message to the engine.
    pub(crate) fn arrive(&mut self, engine: &mut Engine, now: Time, accepted: Accepted) {
        let Accepted { id, envelope, summary } = accepted;
        let batch = (envelope.recipients.len() <= RECIPIENTS_AT_ONCE)
            .then(|| self.routes.batch(&envelope, &BTreeMap::new(), 0, u32::MAX));
        let stored = convert::stored(id, envelope.arrived, envelope.size, summary);
        self.arriving = Some((id, envelope));
        engine.handle_accepted(now, stored, batch);
        self.carry_out(engine, now);
        self.arriving = None;
    }

    /// Tells the engine what came of a piece of work.
    pub(crate) fn note_happened(&mut self, engine: &mut Engine, now: Time, happened: Happened) {
        match happened {
            Happened::Delivered { number, id, positions, report } => {
                if let (true, Some(active)) = (report.dsn, self.active.get_mut(&id)) {
                    active.reported_by_next_hop.extend(positions);
                }
                let timing = Timing {
                    setup: report.timing.setup,
                    transfer: report.timing.transmission,
                    uses: report.reused,
                };
                self.timings.insert(number, timing);
                engine.handle_report(now, number, Report::Each(report.outcomes));
            }
            Happened::Damaged { number, id, reason } => {
                let status = EnhancedStatus::new(4, 3, 0);
                let outcome = Outcome::deferred(Scope::Message, status, format!("content damaged: {reason}"));
                engine.handle_report(now, number, Report::All(outcome));
                // Reading it once more is how the engine finds it in corrupt.
                engine.requeue(now, &[id]);
            }
            Happened::Loaded(results) => {
                results.into_iter().for_each(|load| self.loaded(engine, now, load));
            }
            Happened::Reported { id, kind, result } => {
                if let (Ok(positions), Some(active)) = (&result, self.active.get_mut(&id)) {
                    active.told(kind, positions);
                }
                engine.handle_reported(now, id, kind, result.map(|_| ()));
            }
            Happened::Failed(about) => {
                self.tell_of_fault(&about);
                failed(engine, now, about);
            }
        }
        self.carry_out(engine, now);
    }

    /// Carries out everything the engine wants at the moment.
    pub(crate) fn carry_out(&mut self, engine: &mut Engine, now: Time) {
        while let Some(effect) = engine.poll_effect() {
            match effect {
                Effect::Load { id, from, limit } => self.loads.push(LoadRequest { id, from, limit }),
                Effect::Deliver(delivery) => self.deliver(delivery),
                Effect::Save { id, change } => self.save(engine, now, id, change),
                Effect::Report { id, kind, positions } => self.report(id, kind, positions),
                Effect::Remove { id, ending } => {
                    self.active.remove(&id);
                    match ending {
                        qmgr::Ending::Deleted => self.deleted.keep(id),
                        ending => self.spool.finish(id, convert::ending(ending), None),
                    }
                }
                Effect::Quarantine { id, reason } => self.quarantine(id, reason),
                Effect::Note(note) => self.log(note),
            }
        }
        self.begin_loads();
        self.logs_behind = self.flush_logs.catch_up(engine);
    }

    /// At the start: what was in the spool. Nothing at the end, when all of it is known.
    pub(crate) fn note_stored(&mut self, engine: &mut Engine, now: Time, piece: Option<Piece>) {
        match piece {
            Some(Piece::Logs(logs)) => {
                logs.iter().for_each(|(site, times)| engine.handle_flush_log(site, *times));
            }
            Some(Piece::Messages(messages)) => {
                messages.into_iter().for_each(|stored| engine.handle_stored(now, stored));
            }
            None => {
                engine.handle_all_stored(now);
                self.flush_logs.begin(engine);
                self.tell_of_damage();
            }
        }
        self.carry_out(engine, now);
    }

    /// When to come back though nothing happens: the logs of sites are not what they should be.
    pub(crate) fn comes_back_in(&self) -> Option<Duration> {
        self.logs_behind
    }

    /// The next result of work in flight; nothing when there is none.
    pub(crate) async fn next_happened(&mut self) -> Option<Happened> {
        self.work.next().await
    }

    /// A delivery that has ended already.
    pub(crate) fn try_next_delivery(&mut self) -> Option<Happened> {
        self.work.try_next_delivery()
    }

    /// Whether anything is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.work.is_busy()
    }

    /// Gives up what is in flight and says how many deliveries were among it.
    pub(crate) fn abandon(&mut self) -> Vec<QueueId> {
        self.work.abandon()
    }

    fn deliver(&mut self, delivery: Delivery) {
        let envelope = self.active.get(&delivery.id).map(|active| active.envelope.clone());
        let about = Undertaking::Delivery { number: delivery.number, id: delivery.id };
        let work = self.deliveries.carry_out(delivery, envelope);
        self.work.begin(about, work);
    }

    fn report(&mut self, id: QueueId, kind: ReportKind, positions: Vec<u32>) {
        let known = self.active.get(&id).map(|active| StoredMessage {
            envelope: active.envelope.clone(),
            summary: Summary::default(),
            recipients: active.records.clone(),
        });
        let work = self.reports.make(id, kind, positions, known);
        self.work.begin(Undertaking::Report { id, kind }, work);
    }

    fn save(&mut self, engine: &Engine, now: Time, id: QueueId, change: StateChange) {
        // Without a view the message has ended since; its Remove follows.
        let Some(view) = engine.message(id) else { return };
        let mut active = self.active.get_mut(&id);
        let records = active.as_mut().map(|active| &mut active.records);
        let mut change_of_spool = convert::state_change(&view, &change, records, now);
        let told = active.map(|active| active.mark_told(&mut change_of_spool.recipients)).unwrap_or_default();
        let mut pieces = told.chunks(RECORDS_AT_ONCE);
        change_of_spool.recipients.extend_from_slice(pieces.next().unwrap_or_default());
        let summary = change_of_spool.summary.clone();
        self.spool.update(id, change_of_spool, None);
        for piece in pieces {
            let change = spool::StateChange { summary: summary.clone(), recipients: piece.to_vec() };
            self.spool.update(id, change, None);
        }
        if change.queue != Queue::Active {
            self.active.remove(&id);
        }
    }

    fn quarantine(&mut self, id: QueueId, reason: Arc<str>) {
        self.active.remove(&id);
        let work = damage::set_aside(self.reports.clone(), id, reason);
        self.work.begin(Undertaking::Load(Vec::new()), work);
    }

    /// The postmaster is told of a fault of the program.
    fn tell_of_fault(&mut self, about: &Undertaking) {
        if !self.faults.allows(Instant::now()) {
            return;
        }
        let lines = vec![
            "A part of the program failed and was given up; the mail concerned is tried again:".to_owned(),
            String::new(),
            format!("  {about:?}"),
            String::new(),
            "The log says more. Please report this.".to_owned(),
        ];
        let reports = self.reports.clone();
        self.work.begin(Undertaking::Load(Vec::new()), async move {
            notices::tell(reports, NotifyClass::Software, "Postrider: internal error", lines).await;
            Happened::Loaded(Vec::new())
        });
    }

    /// Tells of the damage that nobody was told of when it was found: at a start, or before a crash.
    fn tell_of_damage(&mut self) {
        self.work.begin(Undertaking::Load(Vec::new()), damage::tell_of_all(self.reports.clone()));
    }

    fn begin_loads(&mut self) {
        while !self.loads.is_empty() {
            let piece: Vec<LoadRequest> = self.loads.drain(..self.loads.len().min(LOADS_AT_ONCE)).collect();
            let (spool, requests) = (self.spool.clone(), piece.clone());
            self.work.begin(Undertaking::Load(piece), load_all(spool, requests));
        }
    }

    fn loaded(&mut self, engine: &mut Engine, now: Time, load: LoadResult) {
        let LoadRequest { id, from, limit } = load.request;
        let batch = load.result.map(|message| {
            let batch = self.routes.batch(&message.envelope, &message.recipients, from, limit);
            let StoredMessage { envelope, recipients: records, .. } = message;
            // A later piece of the same envelope finds the message here, with newer records.
            self.active.entry(id).or_insert_with(|| {
                log_active(id, &envelope);
                Active::new(envelope, records)
            });
            batch
        });
        if batch.is_err() {
            self.active.remove(&id);
        }
        engine.handle_loaded(now, id, batch);
    }

    fn log(&mut self, note: Note) {
        match note {
            Note::Active { id, .. } => {
                if let Some((_, envelope)) = self.arriving.take_if(|(arriving, _)| *arriving == id) {
                    log_active(id, &envelope);
                    self.active.insert(id, Active::new(envelope, BTreeMap::new()));
                }
            }
            Note::Recipient {
                id,
                position,
                address,
                outcome,
                number,
                soft_bounce,
                delays,
                transport,
                ..
            } => {
                let agent = number.is_some() && self.deliveries.are_local(&transport);
                let timing = number.and_then(|number| self.timings.get(&number)).copied().unwrap_or_default();
                let envelope = self.active.get(&id).map(|active| active.envelope.clone());
                let recipient = envelope.as_ref().and_then(|e| e.recipients.get(position as usize));
                let original = recipient.and_then(|r| r.orcpt.as_ref()).map(|orcpt| orcpt.address.as_str());
                maillog::recipient(&RecipientLine {
                    id,
                    to: &address,
                    original: original.filter(|original| *original != &*address),
                    agent: agent.then_some(&*transport),
                    word: status_word(&outcome, soft_bounce),
                    outcome: &outcome,
                    uses: timing.uses,
                    delay: delays.total,
                    delays: Delays {
                        before_active: delays.before_active,
                        active: delays.in_active,
                        setup: timing.setup,
                        transfer: timing.transfer,
                    },
                });
            }
            Note::FlushLog { site, change } => self.flush_logs.note(site, change),
            Note::Done { number, .. } => {
                self.timings.remove(&number);
            }
            Note::Expired { id, forced, .. } => {
                let envelope = self.active.get(&id).map(|active| active.envelope.clone());
                maillog::expired(id, envelope.as_ref().and_then(|e| e.sender.as_ref()), forced);
            }
            // Nobody asked for that: it is read once more so that the engine finds out.
            Note::Requeued { id } if self.spool.is_corrupt(id) => {}
            other => super::notes::log(&other),
        }
    }
}

/// Reads messages. Only those that the disk is to be waited for cost the way to another thread and back.
async fn load_all(spool: Arc<Spool>, requests: Vec<LoadRequest>) -> Happened {
    let mut loaded = Vec::with_capacity(requests.len());
    let mut waiting = Vec::new();
    for request in requests {
        match spool.read_at_hand(request.id) {
            Some(message) => loaded.push(LoadResult { request, result: Ok(message) }),
            None => waiting.push(request),
        }
        // A backlog is many of these; sessions must not wait until all of it is read.
        tokio::task::yield_now().await;
    }
    if !waiting.is_empty() {
        let read = move |request: LoadRequest| LoadResult { request, result: load(&spool, request.id) };
        let rest = tokio::task::spawn_blocking(|| waiting.into_iter().map(read).collect::<Vec<_>>()).await;
        // Whoever joins this task deals with what went wrong in it.
        loaded.extend(rest.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    Happened::Loaded(loaded)
}

/// Reads an envelope. Blocks on the disk.
fn load(spool: &Spool, id: QueueId) -> Result<StoredMessage, LoadError> {
    spool.read(id).map_err(|error| match error {
        ReadError::Gone => LoadError::Gone,
        ReadError::Corrupt { reason } => LoadError::Corrupt(reason.into()),
        ReadError::Io(error) => LoadError::Unreadable(error.to_string().into()),
    })
}

/// Answers for code that failed, so that no message waits for it.
fn failed(engine: &mut Engine, now: Time, about: Undertaking) {
    let reason: Arc<str> = "internal error, see the log".into();
    match about {
        Undertaking::Delivery { number, .. } => engine.handle_report(now, number, Report::Died(reason)),
        Undertaking::Load(requests) => requests
            .into_iter()
            .for_each(|load| engine.handle_loaded(now, load.id, Err(LoadError::Unreadable(reason.clone())))),
        Undertaking::Report { id, kind } => engine.handle_reported(now, id, kind, Err(reason)),
    }
}

fn log_active(id: QueueId, envelope: &Envelope) {
    maillog::active(id, envelope.sender.as_ref(), envelope.size, envelope.recipients.len());
}

fn status_word(outcome: &Outcome, soft_bounce: bool) -> &'static str {
    match outcome.verdict {
        _ if soft_bounce => "SOFTBOUNCE",
        Verdict::Sent => "sent",
        Verdict::Deferred => "deferred",
        Verdict::Bounced => "bounced",
    }
}
