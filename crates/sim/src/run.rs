//! Runs a scenario: the real engine, driven by a virtual clock that jumps from event to event.
//!
//! Promises: the same scenario and seed give the same trace to the byte; the engine is the one of the
//! daemon, nothing of it is simulated. After every event the engine's own invariants are checked, and
//! what it asks for is checked against what the world knows; the first thing that does not hold ends
//! the run.
//! Refuses: real time, real files, real reports (a report to a sender is counted, not queued).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mail::{IdSource, QueueId, Time};
use qmgr::{Batch, Config, Counts, Delivery, DeliveryNumber, Effect, Engine, Note, Queue};

use crate::agenda::{Agenda, Plan};
use crate::narrate::Narrator;
use crate::scenario::{Answer, Appears, Scenario};
use crate::sites::{self, Sites};
use crate::store::{Record, Store};
use crate::trace::{Event, Left, Line, Trace};

/// Messages up to this many recipients are handed over with their envelope, as the daemon does for mail
/// it has just received.
const AT_HAND_RECIPIENTS_MAX: u32 = 100;
/// The whole state of the engine is checked after each event as long as there are no more messages than
/// this, and the rarer the more there are: a check costs what the queue is long.
const CHECKED_MESSAGES: u64 = 64;
/// Events at one instant: more means that the engine goes in circles.
const EVENTS_PER_INSTANT_MAX: u64 = 10_000_000;

/// How to run a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Instead of the seed of the scenario.
    pub seed: Option<u64>,
}

/// An invariant does not hold.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("broken at {at:?} with seed {seed}: {what}")]
pub struct Broken {
    /// What this run was started with.
    pub seed: u64,
    /// When.
    pub at: Time,
    /// What does not hold.
    pub what: String,
    /// What had happened until then.
    pub trace: Trace,
}

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario, options: Options) -> Result<Trace, Box<Broken>> {
    let seed = options.seed.unwrap_or(scenario.world.seed);
    let mut run = Run::new(scenario, seed);
    // A broken assertion inside the engine is a finding like any other. What it leaves behind is only read.
    let result = catch_unwind(AssertUnwindSafe(|| run.play()))
        .unwrap_or_else(|panic| Err(format!("the engine panicked: {}", panic_text(&*panic))));
    match result {
        Ok(()) => Ok(run.trace),
        Err(what) => Err(Box::new(Broken { seed, at: run.now, what, trace: run.trace })),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

pub(crate) struct InFlight {
    delivery: Delivery,
    answer: Answer,
}

pub(crate) struct Run<'s> {
    pub(crate) scenario: &'s Scenario,
    pub(crate) seed: u64,
    pub(crate) now: Time,
    /// Survives restarts, as a configuration file does.
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) sites: Sites,
    pub(crate) agenda: Agenda,
    ids: IdSource,
    pub(crate) narrator: Narrator,
    pub(crate) in_flight: BTreeMap<DeliveryNumber, InFlight>,
    /// Recipients whose site has taken the message. They may not get it again, whatever happens: a save
    /// is durable here before anything else can happen.
    taken: BTreeSet<(QueueId, u32)>,
    /// Recipients read and not yet decided, by message: what the engine holds in memory.
    pub(crate) in_memory: BTreeMap<QueueId, usize>,
    /// Selections of engines before the last restart, and of this one.
    pub(crate) selections: (u64, u64),
    /// Messages that wait for a selection: its number and their index, in order.
    before_selection: Vec<(u64, usize)>,
    agents_free: bool,
    pub(crate) reports_possible: bool,
    events: u64,
    trace: Trace,
}

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario, seed: u64) -> Run<'s> {
        let mut agenda = Agenda::default();
        let mut before_selection = Vec::new();
        for (index, message) in scenario.messages.iter().enumerate() {
            match message.appears {
                Appears::At(at) => agenda.plan(at, Plan::Accept(index)),
                Appears::BeforeSelection(n) => before_selection.push((n, index)),
                Appears::Found(..) => {}
            }
        }
        before_selection.sort();
        for (index, action) in scenario.actions.iter().enumerate() {
            agenda.plan(action.at, Plan::Act(index));
        }
        agenda.plan(scenario.world.agents_from.max(Time::ZERO), Plan::AgentsFree);
        Run {
            scenario,
            seed,
            now: Time::ZERO,
            config: scenario.config.clone(),
            engine: Engine::new(scenario.config.clone(), seed),
            store: Store::default(),
            sites: Sites::new(scenario.sites.clone()),
            agenda,
            ids: IdSource::above(None),
            narrator: Narrator::default(),
            in_flight: BTreeMap::new(),
            taken: BTreeSet::new(),
            in_memory: BTreeMap::new(),
            selections: (0, 0),
            before_selection,
            agents_free: false,
            reports_possible: true,
            events: 0,
            trace: Trace::default(),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for message in &self.scenario.messages {
            if matches!(message.appears, Appears::Found(..)) {
                let id = self.ids.next(self.now);
                self.narrator.know(id, message);
                self.store.insert(id, Record::new(message.clone(), self.now));
            }
        }
        self.start_engine();
        self.settle()?;
        let mut at_this_instant = 0;
        while let Some(next) = self.next_instant() {
            at_this_instant = if next > self.now { 0 } else { at_this_instant + 1 };
            if at_this_instant > EVENTS_PER_INSTANT_MAX {
                return Err("time stands still".into());
            }
            self.now = self.now.max(next);
            if self.agenda.next_at().is_some_and(|at| at <= self.now) {
                self.carry_out();
            } else {
                self.engine.handle_timeout(self.now);
            }
            self.settle()?;
            self.check()?;
        }
        self.engine.check_invariants()?;
        let messages = self.left();
        self.tell(Event::End { messages });
        Ok(())
    }

    /// When something happens next; nothing when nothing can happen any more, or not in time.
    fn next_instant(&self) -> Option<Time> {
        let timeout = self.engine.poll_timeout().filter(|_| !self.is_over());
        let next = [self.agenda.next_at(), timeout].into_iter().flatten().min()?;
        (next <= self.scenario.world.until).then_some(next)
    }

    /// Whether only the engine's timers are left, and no message for them to move: each has ended, is
    /// frozen, or hangs with all its open recipients.
    fn is_over(&self) -> bool {
        let mut hanging: BTreeMap<QueueId, u32> = BTreeMap::new();
        for InFlight { delivery, .. } in self.in_flight.values() {
            *hanging.entry(delivery.id).or_default() += delivery.recipients.len() as u32;
        }
        self.agenda.is_empty()
            && self.store.iter().all(|(id, record)| match record.queue {
                Queue::Hold | Queue::Corrupt => true,
                _ => hanging.get(&id) == Some(&record.unfinished),
            })
    }

    /// Does the next thing on the agenda.
    fn carry_out(&mut self) {
        match self.agenda.take() {
            Some(Plan::Accept(index)) => self.accept(index),
            Some(Plan::Act(index)) => self.act(index),
            Some(Plan::AgentsFree) => {
                self.agents_free = true;
                self.engine.resume_deliveries(self.now);
            }
            Some(Plan::Ends(number)) => self.end_delivery(number),
            None => {}
        }
    }

    pub(crate) fn start_engine(&mut self) {
        if !self.agents_free {
            self.engine.pause_deliveries(self.now);
        }
        for (id, record) in self.store.iter() {
            self.engine.handle_stored(self.now, record.stored(id));
        }
    }

    fn accept(&mut self, index: usize) {
        let message = &self.scenario.messages[index];
        let id = self.ids.next(self.now);
        self.narrator.know(id, message);
        let record = Record::new(message.clone(), self.now);
        let stored = record.stored(id);
        let at_hand = stored.recipients <= AT_HAND_RECIPIENTS_MAX && !message.damaged;
        let batch =
            at_hand.then(|| record.read(0, stored.recipients, |recipient| self.sites.route(recipient)));
        if let Some(Batch { recipients, .. }) = &batch {
            self.in_memory.insert(id, recipients.len());
        }
        self.store.insert(id, record);
        self.engine.handle_accepted(self.now, stored, batch);
    }

    fn end_delivery(&mut self, number: DeliveryNumber) {
        let Some(InFlight { delivery, answer }) = self.in_flight.remove(&number) else { return };
        if let Some(report) = sites::report(answer, &delivery) {
            self.narrator.ended(number, answer);
            if answer == Answer::Ok {
                self.taken.extend(delivery.recipients.iter().map(|position| (delivery.id, *position)));
            }
            self.engine.handle_report(self.now, number, report);
        }
    }

    /// Does what the engine asks for, until it asks for nothing more. Mail that waits for a selection is
    /// accepted when that selection is the next thing to happen, or when nothing else is under way.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            if self.engine.about_to_select() && self.accept_before_selection()? {
                continue;
            }
            match self.engine.poll_effect() {
                Some(effect) => self.perform(effect)?,
                None if self.agents_free && self.in_flight.is_empty() => {
                    if !self.accept_before_selection()? {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
        }
    }

    /// Accepts the mail that waits for the next selection, if any, and lets it enter memory first.
    fn accept_before_selection(&mut self) -> Result<bool, String> {
        let made = self.selections.0 + self.selections.1;
        let Some(&(_, index)) = self.before_selection.first().filter(|(n, _)| *n <= made + 1) else {
            return Ok(false);
        };
        self.before_selection.remove(0);
        self.engine.pause_deliveries(self.now);
        self.accept(index);
        while let Some(effect) = self.engine.poll_effect() {
            self.perform(effect)?;
        }
        self.engine.resume_deliveries(self.now);
        Ok(true)
    }

    fn perform(&mut self, effect: Effect) -> Result<(), String> {
        let blame =
            |narrator: &Narrator, id: QueueId, what: String| format!("{}: {what}", narrator.label(id));
        match effect {
            Effect::Load { id, from, limit } => self.load(id, from, limit),
            Effect::Deliver(delivery) => {
                self.engine.selection(delivery.number).into_iter().for_each(|note| self.narrate(note));
                self.begin_delivery(delivery)?;
            }
            Effect::Save { id, change } => {
                match change.queue {
                    Queue::Active => {
                        let held = self.in_memory.entry(id).or_default();
                        *held = held.saturating_sub(change.recipients.len());
                    }
                    _ => drop(self.in_memory.remove(&id)),
                }
                self.store.save(id, change).map_err(|what| blame(&self.narrator, id, what))?;
            }
            Effect::Report { id, kind, positions } => {
                let result = if self.reports_possible {
                    let told = self.store.reported(id, kind, &positions);
                    told.map_err(|what| blame(&self.narrator, id, what))?;
                    Ok(())
                } else {
                    Err(Arc::from("the spool is full"))
                };
                self.engine.handle_reported(self.now, id, kind, result);
            }
            Effect::Remove { id, ending } => {
                self.in_memory.remove(&id);
                self.store.remove(id, ending).map_err(|what| blame(&self.narrator, id, what))?;
            }
            Effect::Quarantine { id, .. } => {
                self.in_memory.remove(&id);
                self.store.quarantine(id).map_err(|what| blame(&self.narrator, id, what))?;
            }
            Effect::Note(note) => self.narrate(note),
        }
        Ok(())
    }

    fn narrate(&mut self, mut note: Note) {
        match &mut note {
            Note::Recipient { id, position, outcome, .. } => self.store.decided(*id, *position, outcome),
            // A report that was put off names nobody: it is about all that are refused.
            Note::Bounced { id, positions } if positions.is_empty() => {
                *positions = self.store.get(*id).map(Record::bounced).unwrap_or_default();
            }
            _ => {}
        }
        if let Some(mut event) = self.narrator.event(note) {
            if let Event::Select { n, .. } = &mut event {
                self.selections.1 = *n;
                *n += self.selections.0;
            }
            self.tell(event);
        }
    }

    fn load(&mut self, id: QueueId, from: u32, limit: u32) {
        let loaded = self.store.load(id, from, limit, |recipient| self.sites.route(recipient));
        if let Ok(batch) = &loaded {
            *self.in_memory.entry(id).or_default() += batch.recipients.len();
            if from > 0 || batch.next.is_some() {
                let message = self.narrator.label(id);
                let in_memory = self.in_memory.values().sum();
                self.tell(Event::Read { message, recipients: batch.recipients.len(), in_memory });
            }
        }
        self.engine.handle_loaded(self.now, id, loaded);
    }

    fn begin_delivery(&mut self, delivery: Delivery) -> Result<(), String> {
        let record = self.store.get(delivery.id);
        for position in &delivery.recipients {
            let twice = |other: &InFlight| {
                other.delivery.id == delivery.id && other.delivery.recipients.contains(position)
            };
            let wrong = if record.is_none_or(|record| record.is_finished(*position)) {
                "was decided before, and is delivered again"
            } else if self.taken.contains(&(delivery.id, *position)) {
                "has the message, and is delivered again"
            } else if self.in_flight.values().any(twice) {
                "is in two deliveries at once"
            } else {
                continue;
            };
            let message = self.narrator.label(delivery.id);
            return Err(format!("recipient {position} of {message} {wrong}"));
        }
        let (answer, takes) = self.sites.begin(&delivery);
        if answer != Answer::Hang {
            self.agenda.plan(self.now + takes, Plan::Ends(delivery.number));
        }
        self.in_flight.insert(delivery.number, InFlight { delivery, answer });
        Ok(())
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.trace.lines.push(Line { t: self.now, event });
    }

    fn check(&mut self) -> Result<(), String> {
        self.events += 1;
        if self.events.is_multiple_of(1 + self.store.len() as u64 / CHECKED_MESSAGES) {
            self.engine.check_invariants()?;
        }
        Ok(())
    }

    fn left(&self) -> Left {
        let Counts { incoming, active, deferred, hold, corrupt, .. } = self.engine.counts();
        Left { incoming, active, deferred, hold, corrupt }
    }
}
