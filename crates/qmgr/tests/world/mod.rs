//! A tiny world around the engine: storage that keeps what was saved, agents that answer as told, and a
//! clock that jumps. Deliveries and loads take no time unless a test holds them back.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mail::{EnhancedStatus, Outcome, QueueId, Scope, Time, Verdict};
use qmgr::{
    Batch, Config, Delivery, DeliveryNumber, Effect, Ending, Engine, Flags, Note, Pending, Preset, Queue,
    Report, ReportKind, Route, StateChange, Stored,
};

/// What a site answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Ok,
    RecipientDeferred,
    SiteDown,
    Bounce,
    Die,
    NoAgent,
    Hang,
}

/// One stored message.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) name: String,
    pub(crate) stored: Stored,
    /// Address, site, transport.
    pub(crate) recipients: Vec<(Arc<str>, Arc<str>, Arc<str>)>,
    pub(crate) finished: BTreeMap<u32, Verdict>,
    pub(crate) recorded: BTreeSet<u32>,
    /// Recipients with NOTIFY=SUCCESS.
    pub(crate) wants_success: BTreeSet<u32>,
    /// Recipients of whose end the sender was told: as the spool knows it, and what the next save brings.
    pub(crate) told: BTreeSet<u32>,
    pub(crate) told_unsaved: BTreeSet<u32>,
}

impl Mail {
    /// The recipients of a report; none named stands for all of that kind that nobody was told of.
    fn concerned(&self, kind: ReportKind, positions: &[u32]) -> Vec<u32> {
        if !positions.is_empty() {
            return positions.to_vec();
        }
        let verdict = match kind {
            ReportKind::Success => Verdict::Sent,
            ReportKind::Failure => Verdict::Bounced,
            _ => return Vec::new(),
        };
        let ended = self.finished.iter().filter(|(_, ended)| **ended == verdict).map(|(at, _)| *at);
        let wanted = |at: &u32| kind != ReportKind::Success || self.wants_success.contains(at);
        ended.filter(wanted).filter(|at| !self.told.contains(at)).collect()
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) mail: BTreeMap<QueueId, Mail>,
    pub(crate) endings: BTreeMap<String, Ending>,
    pub(crate) notes: Vec<(Time, Note)>,
    /// Deliveries that an agent has.
    pub(crate) running: BTreeMap<DeliveryNumber, Delivery>,
    pub(crate) answers: BTreeMap<String, Vec<Answer>>,
    pub(crate) reports: Vec<(Time, String, ReportKind, Vec<u32>)>,
    pub(crate) refuse_reports: bool,
    /// Takes the mail of all sites.
    pub(crate) relayhost: Option<Arc<str>>,
    /// Deliveries wait until the test answers them.
    pub(crate) by_hand: bool,
    pub(crate) most_recipients: u64,
    /// What was read: of which message, from where, and how many at most.
    pub(crate) loads: Vec<(String, u32, u32)>,
    /// A message was read in more than one piece.
    pub(crate) read_in_pieces: bool,
    /// Recipients that were delivered, or decided to be.
    sent: BTreeSet<(QueueId, u32)>,
    /// How often the sender was told of each recipient's failure, and of its success.
    pub(crate) failures_told: BTreeMap<(String, u32), u32>,
    pub(crate) successes_told: BTreeMap<(String, u32), u32>,
    /// How often a crash came between the report of a recipient's end and the mark of it.
    pub(crate) marks_lost: BTreeMap<(String, u32), u32>,
    /// How often each recipient was delivered.
    pub(crate) delivered: BTreeMap<(String, u32), u32>,
    next_id: u64,
}

pub(crate) fn at(seconds: i64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// Postfix's behaviour with these parameters over it.
pub(crate) fn postfix(parameters: &[(&str, &str)]) -> Config {
    let mut config = Config::new(Preset::Postfix);
    for (name, value) in parameters {
        config.set_any(name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    config
}

impl World {
    pub(crate) fn new(config: Config) -> World {
        World {
            engine: Engine::new(config.clone(), 1),
            config,
            now: Time::ZERO,
            mail: BTreeMap::new(),
            endings: BTreeMap::new(),
            notes: Vec::new(),
            running: BTreeMap::new(),
            answers: BTreeMap::new(),
            reports: Vec::new(),
            refuse_reports: false,
            relayhost: None,
            by_hand: false,
            most_recipients: 0,
            loads: Vec::new(),
            read_in_pieces: false,
            sent: BTreeSet::new(),
            failures_told: BTreeMap::new(),
            successes_told: BTreeMap::new(),
            marks_lost: BTreeMap::new(),
            delivered: BTreeMap::new(),
            next_id: 1,
        }
    }

    /// The last answer repeats.
    pub(crate) fn answer(&mut self, site: &str, answers: &[Answer]) {
        self.answers.insert(site.to_owned(), answers.to_vec());
    }

    pub(crate) fn make(&mut self, name: &str, to: &[(&str, usize)]) -> Mail {
        let id = QueueId::from_u64(self.next_id);
        self.next_id += 1;
        let mut recipients = Vec::new();
        for (site, count) in to {
            let (transport, site) = site.split_once('/').unwrap_or(("smtp", site));
            for n in 0..*count {
                recipients.push((format!("u{n}@{site}").into(), Arc::from(site), Arc::from(transport)));
            }
        }
        let stored = Stored {
            id,
            arrived: self.now,
            entered: None,
            queue: Queue::Incoming,
            due: Time::ZERO,
            attempts: 0,
            size: 1000,
            null_sender: false,
            recipients: recipients.len() as u32,
            unfinished: recipients.len() as u32,
            sites: to.iter().map(|(site, _)| site.split_once('/').map_or(*site, |(_, s)| s).into()).collect(),
            flags: Flags::default(),
            reason: None,
        };
        Mail {
            name: name.into(),
            stored,
            recipients,
            finished: BTreeMap::new(),
            recorded: BTreeSet::new(),
            wants_success: BTreeSet::new(),
            told: BTreeSet::new(),
            told_unsaved: BTreeSet::new(),
        }
    }

    pub(crate) fn accept(&mut self, mail: Mail) -> QueueId {
        let id = mail.stored.id;
        self.engine.handle_accepted(self.now, mail.stored.clone(), None);
        self.mail.insert(id, mail);
        id
    }

    pub(crate) fn send(&mut self, name: &str, to: &[(&str, usize)]) -> QueueId {
        let mail = self.make(name, to);
        let id = self.accept(mail);
        self.pump();
        id
    }

    pub(crate) fn store(&mut self, mail: Mail) -> QueueId {
        let id = mail.stored.id;
        self.engine.handle_stored(self.now, mail.stored.clone());
        self.mail.insert(id, mail);
        id
    }

    /// Carries out effects until there are none.
    pub(crate) fn pump(&mut self) {
        while self.step() {}
    }

    /// Carries out one effect, or answers one delivery. Returns whether there was any.
    pub(crate) fn step(&mut self) -> bool {
        let counts = self.engine.counts();
        self.most_recipients = self.most_recipients.max(counts.recipients);
        let Some(effect) = self.engine.poll_effect() else { return self.answer_one() };
        match effect {
            Effect::Load { id, from, limit } => self.load(id, from, limit),
            Effect::Deliver(delivery) => {
                self.notes.extend(self.engine.selection(delivery.number).map(|note| (self.now, note)));
                self.running.insert(delivery.number, delivery);
            }
            Effect::Save { id, change } => self.save(id, change),
            Effect::Report { id, kind, positions } => {
                let name = self.mail[&id].name.clone();
                let result = if self.refuse_reports { Err("no".into()) } else { Ok(()) };
                if result.is_ok() {
                    self.tell(id, kind, &positions);
                    self.reports.push((self.now, name, kind, positions));
                }
                self.engine.handle_reported(self.now, id, kind, result);
            }
            Effect::Remove { id, ending } => {
                let mail = self.mail.remove(&id).expect("removed once");
                self.check_end(&mail, ending);
                self.endings.insert(mail.name, ending);
            }
            Effect::Quarantine { .. } => {}
            Effect::Note(note) => {
                if let Note::Recipient { id, position, outcome, .. } = &note
                    && outcome.verdict == Verdict::Sent
                {
                    self.sent.insert((*id, *position));
                }
                self.notes.push((self.now, note));
            }
        }
        true
    }

    /// A report is on its way to the sender.
    fn tell(&mut self, id: QueueId, kind: ReportKind, positions: &[u32]) {
        let mail = self.mail.get_mut(&id).expect("it lives");
        let count = match kind {
            ReportKind::Delay | ReportKind::DelayCleared => return,
            ReportKind::Success => &mut self.successes_told,
            _ => &mut self.failures_told,
        };
        for position in mail.concerned(kind, positions) {
            *count.entry((mail.name.clone(), position)).or_default() += 1;
            mail.told_unsaved.insert(position);
        }
    }

    /// Nobody is forgotten by a message that ends.
    fn check_end(&self, mail: &Mail, ending: Ending) {
        if ending == Ending::Deleted {
            return;
        }
        for position in 0..mail.recipients.len() as u32 {
            let who = (mail.name.clone(), position);
            let saved = mail.finished.get(&position) == Some(&Verdict::Sent);
            let sent = saved || self.sent.contains(&(mail.stored.id, position));
            assert!(
                sent || self.failures_told.contains_key(&who),
                "{who:?} is neither delivered nor reported"
            );
            let unasked = !sent || !mail.wants_success.contains(&position);
            let told = self.successes_told.contains_key(&who) || self.failures_told.contains_key(&who);
            assert!(unasked || told, "the success of {who:?} is not reported");
        }
    }

    /// The process is gone, and another one begins with what was saved.
    pub(crate) fn crash(&mut self) {
        self.running.clear();
        self.engine = Engine::new(self.config.clone(), 1);
        for mail in self.mail.values_mut() {
            for position in std::mem::take(&mut mail.told_unsaved) {
                *self.marks_lost.entry((mail.name.clone(), position)).or_default() += 1;
            }
            self.engine.handle_stored(self.now, mail.stored.clone());
        }
    }

    fn load(&mut self, id: QueueId, from: u32, limit: u32) {
        let mail = &self.mail[&id];
        self.loads.push((mail.name.clone(), from, limit));
        let open = |position: &u32| !mail.finished.contains_key(position);
        let behind = (from..mail.recipients.len() as u32).filter(open);
        let mut positions: Vec<u32> = behind.take(limit as usize + 1).collect();
        let next = positions.get(limit as usize).copied();
        positions.truncate(limit as usize);
        self.read_in_pieces |= next.is_some();
        let pending = |position: u32| {
            let (address, site, transport) = mail.recipients[position as usize].clone();
            let nexthop = self.relayhost.clone().unwrap_or_else(|| site.clone());
            let route = Route { transport, nexthop };
            let recorded = mail.recorded.contains(&position);
            let notify_success = mail.wants_success.contains(&position);
            Pending { position, address, site, route, recorded, notify_success }
        };
        let batch = Batch { recipients: positions.into_iter().map(pending).collect(), next };
        self.engine.handle_loaded(self.now, id, Ok(batch));
    }

    fn save(&mut self, id: QueueId, change: StateChange) {
        let mail = self.mail.get_mut(&id).expect("saved while it lives");
        for (position, outcome) in change.recipients {
            mail.recorded.insert(position);
            if outcome.verdict != Verdict::Deferred {
                let before = mail.finished.insert(position, outcome.verdict);
                assert_eq!(before, None, "{} {position} decided twice", mail.name);
            }
        }
        let told = std::mem::take(&mut mail.told_unsaved);
        mail.told.extend(told);
        let stored = &mut mail.stored;
        (stored.queue, stored.due, stored.attempts) = (change.queue, change.due, change.attempts);
        (stored.unfinished, stored.flags) = (change.unfinished, change.flags);
        stored.sites = change.sites.to_vec();
        let open = mail.recipients.len() - mail.finished.len();
        assert_eq!(stored.unfinished as usize, open, "{}", mail.name);
    }

    fn answer_one(&mut self) -> bool {
        if self.by_hand {
            return false;
        }
        let now = self.running.keys().copied().find(|number| self.next_answer(*number) != Answer::Hang);
        let Some(number) = now else { return false };
        self.finish(number);
        true
    }

    fn next_answer(&self, number: DeliveryNumber) -> Answer {
        let site = self.running[&number].nexthop.to_string();
        self.answers.get(&site).and_then(|answers| answers.first()).copied().unwrap_or(Answer::Ok)
    }

    /// The destination of a delivery that runs.
    pub(crate) fn destination_of(&self, number: DeliveryNumber) -> Arc<str> {
        match self.engine.selection(number) {
            Some(Note::Select { destination, .. }) => destination,
            other => panic!("{number:?} runs: {other:?}"),
        }
    }

    /// Ends a delivery with the site's next answer.
    pub(crate) fn finish(&mut self, number: DeliveryNumber) {
        let answer = self.next_answer(number);
        let delivery = self.running.remove(&number).expect("it runs");
        if let Some(answers) = self.answers.get_mut(&*delivery.nexthop)
            && answers.len() > 1
        {
            answers.remove(0);
        }
        if answer == Answer::Ok {
            for position in &delivery.recipients {
                let name = self.mail[&delivery.id].name.clone();
                *self.delivered.entry((name, *position)).or_default() += 1;
            }
        }
        self.engine.handle_report(self.now, number, report(answer));
    }

    /// Lets time pass until this moment, running everything in between.
    pub(crate) fn run_until(&mut self, until: Time) {
        self.pump();
        while let Some(next) = self.engine.poll_timeout().filter(|next| *next <= until) {
            self.now = next.max(self.now);
            self.engine.handle_timeout(self.now);
            self.pump();
        }
        self.now = until;
        self.engine.handle_timeout(self.now);
        self.pump();
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// The names of messages in the order of selection, runs compressed.
    pub(crate) fn order(&self, names: &BTreeMap<QueueId, String>) -> String {
        let selected = self.notes.iter().filter_map(|(_, note)| match note {
            Note::Select { id, .. } => Some(names[id].as_str()),
            _ => None,
        });
        compress(selected)
    }

    /// Seconds at which a message was selected.
    pub(crate) fn attempts(&self, of: QueueId) -> Vec<i64> {
        let selected = |(at, note): &(Time, Note)| match note {
            Note::Select { id, .. } if *id == of => Some(at.as_millis() / 1000),
            _ => None,
        };
        self.notes.iter().filter_map(selected).collect()
    }

    pub(crate) fn window(&self, site: &str) -> u32 {
        let sites = self.engine.sites();
        let view = sites.iter().find(|view| &*view.destination == site);
        match view.map(|view| &view.state) {
            Some(qmgr::DestinationState::Ready { window }) => *window,
            _ => 0,
        }
    }

    pub(crate) fn queue(&self, id: QueueId) -> Option<Queue> {
        self.engine.message(id).map(|view| view.queue)
    }
}

pub(crate) fn compress<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut runs: Vec<(&str, u32)> = Vec::new();
    for name in names {
        match runs.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => runs.push((name, 1)),
        }
    }
    let written = |(name, count): &(&str, u32)| match count {
        1 => (*name).to_owned(),
        _ => format!("{name}×{count}"),
    };
    runs.iter().map(written).collect::<Vec<_>>().join(" ")
}

pub(crate) fn report(answer: Answer) -> Report {
    let status = EnhancedStatus::new(4, 4, 1);
    match answer {
        Answer::Ok | Answer::Hang => Report::All(Outcome::sent("250 ok")),
        Answer::RecipientDeferred => Report::All(Outcome::deferred(Scope::Recipient, status, "450 not now")),
        Answer::SiteDown => Report::All(Outcome::deferred(Scope::Site, status, "connection refused")),
        Answer::Bounce => {
            Report::All(Outcome::bounced(Scope::Recipient, status.with_class(5), "550 no such user"))
        }
        Answer::Die => Report::Died("".into()),
        Answer::NoAgent => {
            let status = EnhancedStatus::new(4, 3, 0);
            Report::All(Outcome::deferred(Scope::Transport, status, "mail transport unavailable"))
        }
    }
}
