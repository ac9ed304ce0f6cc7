//! The engine: one owner, driven by events, asked for effects. Here is what comes in and goes out; what it
//! means is in the files next to this one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use flush::{
    Answer, Authority, Collapse, Eligibility, Logs, Record, Request, RequestError, Service, SiteId, Sites,
};
use mail::{AscendingMap, QueueId, Rng, Time};
use slotmap::SlotMap;

use crate::destination::{Destination, DestinationKey, State};
use crate::effect::Effect;
use crate::entry::{Entry, EntryKey};
use crate::event::{Batch, DeliveryNumber, LoadError, Queue, Report, ReportKind, Stored};
use crate::flush_background::Background;
use crate::job::{Job, JobKey};
use crate::message::{Message, MessageKey, Order, Reasons, Stubs};
use crate::note::{FlushOf, Note};
use crate::overtime::Overtime;
use crate::params::{Config, ParameterError};
use crate::peer::{Peer, PeerKey};
use crate::scan::{Released, Scan, Source};
use crate::site_flush::{Postponed, SiteFlush};
use crate::timer::Timer;
use crate::transport::Transport;
use crate::view::{Changed, Learned};

/// The queue manager.
///
/// Owned by one task. After any call, take effects with [`Engine::poll_effect`] until there are none,
/// then wait for an event or for [`Engine::poll_timeout`]. At start-up, hand in what was learned and all
/// stored messages before taking the first effect.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    /// The time of the latest event.
    pub(crate) now: Time,
    pub(crate) paused: bool,
    pub(crate) stopping: bool,
    /// See [`Engine::handle_all_stored`].
    pub(crate) all_stored: bool,
    pub(crate) outbox: VecDeque<Effect>,
    /// Every message, and the flush record of all unfinished ones.
    pub(crate) stubs: Stubs,
    pub(crate) record: Record,
    pub(crate) service: Service,
    pub(crate) reasons: Reasons,
    /// Recipients of new messages, as long as there may be room for them at once.
    pub(crate) fresh: BTreeMap<QueueId, Batch>,
    /// Messages that are said to have entered memory at another time than they will.
    pub(crate) entered: BTreeMap<QueueId, Time>,
    /// Mail that a predecessor left waiting for its site to recover.
    pub(crate) sleepers: BTreeMap<SiteId, BTreeSet<QueueId>>,
    /// The sites of corrupt messages, which wait for none of them.
    pub(crate) damaged_sites: BTreeMap<QueueId, Vec<Arc<str>>>,
    /// What is in memory.
    pub(crate) messages: SlotMap<MessageKey, Message>,
    pub(crate) active: AscendingMap<QueueId, MessageKey>,
    pub(crate) transports: Vec<Transport>,
    pub(crate) transport_names: BTreeMap<Arc<str>, usize>,
    /// Transports in the order of their turns.
    pub(crate) turns: VecDeque<usize>,
    /// A transport that has its turn, and waits for recipients to be asked for.
    pub(crate) turn_kept: Option<usize>,
    pub(crate) destinations: SlotMap<DestinationKey, Destination>,
    pub(crate) jobs: SlotMap<JobKey, Job>,
    pub(crate) peers: SlotMap<PeerKey, Peer>,
    pub(crate) entries: SlotMap<EntryKey, Entry>,
    pub(crate) in_flight: AscendingMap<DeliveryNumber, EntryKey>,
    pub(crate) timers: BTreeSet<(Time, Timer)>,
    /// When the sender of a message in memory is to be warned, or its life ends. Apart from the other timers
    /// because every message has one, and in the order in which they come.
    pub(crate) appointments: AscendingMap<(Time, MessageKey), ()>,
    /// Recipients in memory, and those promised to loads under way.
    pub(crate) recipients: u64,
    pub(crate) reserved: u64,
    /// Messages in memory whose recipients are being read.
    pub(crate) reading: usize,
    /// Numbers jobs, so that those of one instant have an order.
    pub(crate) sequence: u64,
    pub(crate) selections: u64,
    pub(crate) incoming: Scan,
    pub(crate) deferred: Scan,
    /// Whose turn it is to let a message in.
    pub(crate) turn: Source,
    /// The last period of `queue_run_delay` that was scanned; nothing before the first event.
    pub(crate) scan_period: Option<i64>,
    pub(crate) released: Released,
    /// Mail that waits for room and whose time has come.
    pub(crate) overtime: Overtime,
    pub(crate) flushes: BTreeMap<u64, SiteFlush>,
    pub(crate) flushes_begun: u64,
    /// Refreshes and purges under way.
    pub(crate) background: Background,
    /// How many of them each site has.
    pub(crate) flushed_sites: BTreeMap<Arc<str>, u32>,
    /// Messages on hold or in a run that began before they were asked for, with the sites asked for.
    pub(crate) flush_later: BTreeMap<QueueId, Vec<Postponed>>,
    /// Messages in the logs of their sites but for these: their mail was asked for since.
    pub(crate) unlogged: BTreeSet<(QueueId, flush::SiteId)>,
}

/// Debug builds check all invariants after each event up to this many messages.
const CHECKED_MESSAGES_MAX: usize = 64;

impl Engine {
    /// An empty engine. `seed` fixes all chance (jitter).
    pub fn new(config: Config, seed: u64) -> Engine {
        let config = config.repaired();
        let global = &config.global;
        let logs = Logs::new(global.fast_flush_refresh_time, global.fast_flush_purge_time);
        let service = Service::new(eligibility(&config), logs, Collapse::new(Collapse::WINDOW));
        Engine {
            rng: Rng::new(seed),
            now: Time::ZERO,
            paused: false,
            stopping: false,
            all_stored: false,
            outbox: VecDeque::new(),
            stubs: Stubs::new(),
            record: Record::new(),
            service,
            reasons: Reasons::default(),
            fresh: BTreeMap::new(),
            entered: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            damaged_sites: BTreeMap::new(),
            messages: SlotMap::with_key(),
            active: AscendingMap::new(),
            transports: Vec::new(),
            transport_names: BTreeMap::new(),
            turns: VecDeque::new(),
            turn_kept: None,
            destinations: SlotMap::with_key(),
            jobs: SlotMap::with_key(),
            peers: SlotMap::with_key(),
            entries: SlotMap::with_key(),
            in_flight: AscendingMap::new(),
            timers: BTreeSet::new(),
            appointments: AscendingMap::new(),
            recipients: 0,
            reserved: 0,
            reading: 0,
            sequence: 0,
            selections: 0,
            incoming: Scan::default(),
            deferred: Scan::default(),
            turn: Source::Incoming,
            scan_period: None,
            released: VecDeque::new(),
            overtime: Overtime::default(),
            flushes: BTreeMap::new(),
            flushes_begun: 0,
            background: Background::default(),
            flushed_sites: BTreeMap::new(),
            flush_later: BTreeMap::new(),
            unlogged: BTreeSet::new(),
            config,
        }
    }

    /// Takes over a changed configuration; what is in flight goes on.
    pub fn reconfigure(&mut self, now: Time, config: Config) {
        self.begin(now);
        self.config = config.repaired();
        self.adopt_eligibility(eligibility(&self.config));
        let global = &self.config.global;
        self.service.logs.set_times(global.fast_flush_refresh_time, global.fast_flush_purge_time);
        for index in 0..self.transports.len() {
            self.reconfigure_transport(index);
        }
        let in_memory: Vec<MessageKey> = self.messages.keys().collect();
        in_memory.into_iter().for_each(|key| self.make_appointment(key));
        self.check();
    }

    fn reconfigure_transport(&mut self, index: usize) {
        let transport = &mut self.transports[index];
        let params = self.config.transport(&transport.name);
        let slots = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        transport.free_slots += slots(params.recipient_limit) - slots(transport.params.recipient_limit);
        transport.rules = params.window_rules();
        transport.params = params;
        transport.candidate = None;
        let limit = transport.rules.limit;
        for key in transport.destinations.values() {
            if let State::Ready(window) = &mut self.destinations[*key].state
                && limit != 0
            {
                window.size = window.size.min(limit);
            }
        }
        self.refresh_all_ready(index);
    }

    /// Sets one parameter by any of its names (see [`Config::set_any`]), until the next reconfiguration.
    pub fn set_parameter(&mut self, now: Time, name: &str, value: &str) -> Result<(), ParameterError> {
        let mut config = self.config.clone();
        config.set_any(name, value)?;
        self.reconfigure(now, config);
        Ok(())
    }

    /// At start-up, while new mail may be coming in already: a message found in the spool. Mail that was
    /// active is incoming again. After the last one comes [`Engine::handle_all_stored`].
    pub fn handle_stored(&mut self, now: Time, stored: Stored) {
        self.begin(now);
        self.add_stub(stored);
        self.check();
    }

    /// At start-up: every message of the spool has been handed in. Where mail is found by scans, they look at
    /// all of it once.
    pub fn handle_all_stored(&mut self, now: Time) {
        self.begin(now);
        self.all_stored = true;
        self.scan_what_was_stored();
        self.check();
    }

    /// New mail is durable. With its recipients at hand an [`Effect::Load`] is saved when there is room.
    pub fn handle_accepted(&mut self, now: Time, stored: Stored, batch: Option<Batch>) {
        self.begin(now);
        let (id, recipients, queue) = (stored.id, stored.recipients, stored.queue);
        if !self.add_stub(stored) {
            return;
        }
        self.note(Note::Accepted { id, recipients });
        let room = (self.active.len() + self.fresh.len()) as u64;
        let soon = queue == Queue::Incoming && room < self.config.global.qmgr_message_active_limit;
        if let Some(batch) = batch.filter(|_| soon) {
            self.fresh.insert(id, batch);
        }
        self.check();
    }

    /// The answer to [`Effect::Load`]. One that nobody waits for is ignored.
    pub fn handle_loaded(&mut self, now: Time, id: QueueId, loaded: Result<Batch, LoadError>) {
        self.begin(now);
        if let Some(key) = self.active.get(&id).copied() {
            self.loaded(key, loaded);
        }
        self.check();
    }

    /// The answer to [`Effect::Deliver`]. A number that is not in flight is ignored.
    pub fn handle_report(&mut self, now: Time, number: DeliveryNumber, report: Report) {
        self.begin(now);
        self.report(number, report);
        self.check();
    }

    /// The answer to [`Effect::Report`]: the report is durable (or nobody was to be told), or why not.
    pub fn handle_reported(
        &mut self,
        now: Time,
        id: QueueId,
        kind: ReportKind,
        result: Result<(), Arc<str>>,
    ) {
        self.begin(now);
        if let Some(key) = self.active.get(&id).copied() {
            self.reported(key, kind, result);
        }
        self.check();
    }

    /// Time has come: runs everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.begin(now);
        while let Some(at) = self.next_timer().filter(|at| *at <= now) {
            match self.timers.first().copied() {
                Some((first, timer)) if first == at => {
                    self.timers.pop_first();
                    self.run_timer(timer);
                }
                _ => {
                    let Some(((_, key), ())) = self.appointments.pop_first() else { break };
                    self.keep_appointment(key);
                }
            }
        }
        self.refresh_when_due();
        self.check();
    }

    fn run_timer(&mut self, timer: Timer) {
        match timer {
            Timer::TransportDead(index) => self.revive_transport(index, "it is time to try again"),
            Timer::TransportRate(index) => self.unlock_transport(index),
            Timer::Destination(key) => self.destination_timeout(key),
            Timer::Overtime => self.look_for_overtime(),
            Timer::BounceReport(key) => self.report_early(key),
        }
    }

    /// When the next timer or appointment is due.
    fn next_timer(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let appointment = self.appointments.first().map(|((at, _), ())| at);
        timer.into_iter().chain(appointment).min()
    }

    /// No agent is free until [`Engine::resume_deliveries`]: messages enter memory, nothing is selected.
    pub fn pause_deliveries(&mut self, now: Time) {
        self.begin(now);
        self.paused = true;
    }

    /// Agents are free again.
    pub fn resume_deliveries(&mut self, now: Time) {
        self.begin(now);
        self.paused = false;
    }

    /// Begins nothing any more: no message enters memory, nothing is selected. What is in flight may end.
    pub fn stop(&mut self, now: Time) {
        self.pause_deliveries(now);
        self.stopping = true;
    }

    /// Puts messages on hold.
    pub fn hold(&mut self, now: Time, ids: &[QueueId]) -> Changed {
        self.command(now, |engine| engine.order(ids, Order::Hold))
    }

    /// Releases held messages into the deferred queue with the due time they had.
    pub fn release(&mut self, now: Time, ids: &[QueueId]) -> Changed {
        self.command(now, |engine| engine.release_held(ids))
    }

    /// Has messages resolved anew and tried at once, also held and corrupt ones.
    pub fn requeue(&mut self, now: Time, ids: &[QueueId]) -> Changed {
        self.command(now, |engine| engine.order(ids, Order::Requeue))
    }

    /// Deletes messages.
    pub fn delete(&mut self, now: Time, ids: &[QueueId]) -> Changed {
        self.command(now, |engine| engine.order(ids, Order::Delete))
    }

    /// Marks messages to be returned to their senders at the next attempt (postsuper -e); with
    /// `also_release`, held ones are released as well (postsuper -f).
    pub fn expire(&mut self, now: Time, ids: &[QueueId], also_release: bool) -> Changed {
        self.command(now, |engine| engine.force_expire(ids, also_release))
    }

    /// A targeted scan: tries these deferred messages now, as one operation, due or not. `done` counts
    /// those released.
    pub fn release_ids(&mut self, now: Time, ids: &[QueueId]) -> Changed {
        self.command(now, |engine| engine.release_all_of(ids))
    }

    /// Answers a request of the flush service, and does what it asks for.
    pub fn flush(&mut self, now: Time, authority: Authority, request: Request) -> Answer {
        self.command(now, |engine| engine.answer_flush(authority, request))
    }

    /// Flushes a site, written as an operator or client writes it (send_site of flush(8)): its recipients
    /// only, reviving it and nothing else.
    pub fn flush_site(&mut self, now: Time, site: &str, authority: Authority) -> Answer {
        match Sites::parse(site).map_err(RequestError::from) {
            Ok(sites) => self.flush(now, authority, Request::SendSite(sites)),
            Err(_) => {
                let answer = Answer::refused(flush::Status::Bad);
                let of = FlushOf::Site(site.into());
                self.note(Note::Flush { of, answer: answer.status, released: 0 });
                answer
            }
        }
    }

    /// Flushes one message (send_file): it is tried now, and what it needs is revived.
    pub fn flush_message(&mut self, now: Time, id: QueueId) -> Answer {
        self.flush(now, Authority::Operator, Request::SendFile(id))
    }

    /// Tries mail of every site whose log was not sent for `fast_flush_refresh_time`.
    pub fn flush_refresh(&mut self, now: Time) -> Answer {
        self.flush(now, Authority::Operator, Request::Refresh)
    }

    /// Tries mail of every site that has a log, whenever it was last sent.
    pub fn flush_purge(&mut self, now: Time) -> Answer {
        self.flush(now, Authority::Operator, Request::Purge)
    }

    /// Flushes everything: the trigger `FADI`.
    pub fn flush_all(&mut self, now: Time) -> Answer {
        self.command(now, |engine| {
            let answer = Answer::ok(engine.flush_everything());
            let released = answer.released.released;
            engine.note(Note::Flush { of: FlushOf::All, answer: answer.status, released });
            answer
        })
    }

    /// A trigger buffer: the letters `D I A F W` in any order, others are ignored.
    pub fn trigger(&mut self, now: Time, letters: &[u8]) {
        self.command(now, |engine| engine.pull_trigger(letters));
    }

    /// What was learned about destinations and is worth keeping across a restart.
    pub fn learned(&self, now: Time) -> Learned {
        self.collect_learned(now)
    }

    /// Takes over what a predecessor learned. To be called before any mail is handed in.
    pub fn handle_learned(&mut self, now: Time, learned: Learned) {
        self.command(now, |engine| engine.adopt_learned(learned));
    }

    /// The next thing to do; nothing when an event or the timeout must come first. What is selected and
    /// what enters memory is decided here, as late as possible.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        loop {
            if let Some(effect) = self.outbox.pop_front() {
                return Some(effect);
            }
            let kept = self.turn_kept.take().filter(|index| self.transports[*index].selectable());
            if !self.paused
                && let Some(transport) = kept.or_else(|| self.select_transport())
            {
                if !self.lock_transport(transport) {
                    self.select_entry(transport, kept.is_some());
                }
            } else if !self.import_one() && self.outbox.is_empty() {
                return None;
            }
            self.check();
        }
    }

    /// Whether the next effect gives an entry to an agent: all others have been taken.
    pub fn about_to_select(&self) -> bool {
        let selectable = |index: &&usize| self.transports[**index].selectable();
        let next = self.turn_kept.iter().chain(&self.turns).find(selectable);
        let next = next.map(|index| &self.transports[*index]);
        self.outbox.is_empty() && !self.paused && next.is_some_and(|transport| !transport.must_wait())
    }

    /// When [`Engine::handle_timeout`] wants to be called; nothing when only an event can go on.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.next_timer().into_iter().chain(self.next_deferred_time()).chain(self.next_refresh()).min()
    }

    /// Everything begins with the time.
    fn begin(&mut self, now: Time) {
        self.now = now;
        self.scan_by_clock();
    }

    fn command<T>(&mut self, now: Time, command: impl FnOnce(&mut Engine) -> T) -> T {
        self.begin(now);
        let answer = command(self);
        self.check();
        answer
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.outbox.push_back(Effect::Note(note));
    }

    /// In debug builds, and for as long as it is cheap.
    fn check(&self) {
        if cfg!(debug_assertions)
            && self.stubs.len() <= CHECKED_MESSAGES_MAX
            && let Err(broken) = self.check_invariants()
        {
            panic!("invariant broken: {broken}");
        }
    }
}

fn eligibility(config: &Config) -> Eligibility {
    Eligibility {
        domains: config.fast_flush_domains.clone(),
        ineligible_site: config.global.flush_ineligible_site,
    }
}
