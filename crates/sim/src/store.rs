//! The simulated spool: of each message exactly what the engine had saved, so that a crash can start
//! again from it.
//!
//! Promises: a save is durable at once and whole. Checks, where a real spool could only store: that what
//! the engine says of a message agrees with the outcomes it has handed over.
//! Refuses: faults of the disk except a record that cannot be read; the spool has tests of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mail::{Outcome, QueueId, Time, Verdict};
use qmgr::{Batch, Ending, Flags, LoadError, Pending, Queue, ReportKind, Route, StateChange, Stored};

use crate::scenario::{Message, Recipient};

/// One message as it is on disk.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) message: Message,
    pub(crate) arrived: Time,
    pub(crate) queue: Queue,
    due: Time,
    attempts: u32,
    flags: Flags,
    /// By position: the last outcome.
    outcomes: Vec<Option<Outcome>>,
    pub(crate) unfinished: u32,
    /// Positions that are delivered but not yet saved so: the removal of a message stands for its last
    /// save. A crash forgets them.
    delivered: BTreeSet<u32>,
    /// Positions that were in a report of a failure.
    reported: BTreeSet<u32>,
    damaged: bool,
    /// The engine has read its recipients in pieces, so it cannot know which of its sites are finished.
    in_pieces: bool,
}

/// All messages, by id.
#[derive(Debug, Default)]
pub(crate) struct Store {
    records: BTreeMap<QueueId, Record>,
}

fn is_final(outcome: &Option<Outcome>) -> bool {
    outcome.as_ref().is_some_and(|outcome| outcome.verdict != Verdict::Deferred)
}

impl Record {
    pub(crate) fn new(message: Message, now: Time) -> Record {
        let (queue, due) = match message.appears {
            crate::scenario::Appears::Found(queue, due) => (queue, due),
            _ => (Queue::Incoming, now),
        };
        let unfinished = message.recipients.len() as u32;
        Record {
            arrived: message.arrived.unwrap_or(now),
            queue,
            due,
            attempts: 0,
            flags: Flags::default(),
            outcomes: vec![None; message.recipients.len()],
            unfinished,
            delivered: BTreeSet::new(),
            reported: BTreeSet::new(),
            damaged: message.damaged,
            in_pieces: false,
            message,
        }
    }

    fn sites(&self) -> BTreeSet<Arc<str>> {
        let open =
            self.outcomes.iter().zip(&self.message.recipients).filter(|(outcome, _)| !is_final(outcome));
        open.map(|(_, recipient)| Arc::clone(&recipient.site)).collect()
    }

    pub(crate) fn is_finished(&self, position: u32) -> bool {
        self.outcomes.get(position as usize).is_none_or(is_final)
    }

    /// What the engine is told about it.
    pub(crate) fn stored(&self, id: QueueId) -> Stored {
        let reason = self.outcomes.iter().flatten().rfind(|outcome| outcome.verdict == Verdict::Deferred);
        Stored {
            id,
            arrived: self.arrived,
            entered: self.message.entered,
            queue: self.queue,
            due: self.due,
            attempts: self.attempts,
            size: 1_000,
            null_sender: self.message.sender.is_empty(),
            recipients: self.message.recipients.len() as u32,
            unfinished: self.unfinished,
            sites: self.sites().into_iter().collect(),
            flags: self.flags,
            reason: reason.map(|outcome| Arc::clone(&outcome.text)),
        }
    }

    /// Up to `limit` unfinished recipients from position `from` on.
    pub(crate) fn read(&self, from: u32, limit: u32, route: impl Fn(&Recipient) -> Route) -> Batch {
        let mut open = (from..self.outcomes.len() as u32).filter(|position| !self.is_finished(*position));
        let recipients = open.by_ref().take(limit as usize).map(|position| {
            let recipient = &self.message.recipients[position as usize];
            Pending {
                position,
                address: Arc::clone(&recipient.address),
                site: Arc::clone(&recipient.site),
                route: route(recipient),
                recorded: self.outcomes[position as usize].is_some(),
                notify_success: false,
            }
        });
        let recipients = recipients.collect();
        Batch { recipients, next: open.next() }
    }

    fn save(&mut self, change: StateChange) -> Result<(), String> {
        for (position, outcome) in change.recipients {
            let slot = self.outcomes.get_mut(position as usize).ok_or("no such recipient")?;
            if is_final(slot) {
                return Err(format!("recipient {position} was decided before"));
            }
            *slot = Some(outcome);
            self.delivered.remove(&position);
        }
        self.unfinished = self.outcomes.iter().filter(|outcome| !is_final(outcome)).count() as u32;
        if self.unfinished != change.unfinished {
            return Err(format!("{} recipients are open, not {}", self.unfinished, change.unfinished));
        }
        let sites = change.sites.iter().cloned().collect::<BTreeSet<_>>();
        let agrees = match change.queue {
            Queue::Active => sites.is_superset(&self.sites()),
            Queue::Incoming | Queue::Deferred | Queue::Hold if self.in_pieces => {
                sites.is_superset(&self.sites())
            }
            // What is damaged waits for nobody.
            Queue::Corrupt => true,
            Queue::Incoming | Queue::Deferred | Queue::Hold => sites == self.sites(),
        };
        if !agrees {
            return Err(format!("open mail is for {:?}, not {sites:?}", self.sites()));
        }
        (self.queue, self.due, self.attempts) = (change.queue, change.due, change.attempts);
        self.flags = change.flags;
        Ok(())
    }

    /// The sender was told. A failure may be told once, except by a report that names nobody: it is about
    /// all that are refused, and made when a restart came between refusal and report.
    fn reported(&mut self, kind: ReportKind, positions: &[u32]) -> Result<(), String> {
        if matches!(kind, ReportKind::Delay | ReportKind::DelayCleared | ReportKind::Success) {
            return Ok(());
        }
        if positions.is_empty() {
            self.reported.extend(self.bounced());
        }
        match positions.iter().find(|position| !self.reported.insert(**position)) {
            Some(twice) => Err(format!("the failure of recipient {twice} was reported twice")),
            None => Ok(()),
        }
    }

    /// The recipients that are refused for good.
    pub(crate) fn bounced(&self) -> Vec<u32> {
        let bounced = |outcome: &Option<Outcome>| {
            outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Bounced)
        };
        (0..self.outcomes.len() as u32)
            .filter(|position| bounced(&self.outcomes[*position as usize]))
            .collect()
    }

    /// Whether the message may end so: nobody is forgotten.
    fn may_end(&self, ending: Ending) -> Result<(), String> {
        if ending == Ending::Deleted {
            return Ok(());
        }
        let sent = |outcome: &Option<Outcome>| {
            outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Sent)
        };
        let forgotten = self.outcomes.iter().zip(0..).find(|(outcome, position)| {
            !sent(outcome) && !self.delivered.contains(position) && !self.reported.contains(position)
        });
        match forgotten {
            Some((outcome, position)) => {
                let last = outcome.as_ref().map_or("not tried", |outcome| &*outcome.text);
                Err(format!("recipient {position} ({last}) is neither delivered nor reported"))
            }
            None => Ok(()),
        }
    }
}

impl Store {
    pub(crate) fn insert(&mut self, id: QueueId, record: Record) {
        self.records.insert(id, record);
    }

    pub(crate) fn get(&self, id: QueueId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueId, &Record)> {
        self.records.iter().map(|(id, record)| (*id, record))
    }

    /// From now on the record cannot be read.
    pub(crate) fn damage(&mut self, id: QueueId) {
        if let Some(record) = self.records.get_mut(&id) {
            record.damaged = true;
        }
    }

    /// The engine says what became of a recipient; it is durable only with the next save.
    pub(crate) fn decided(&mut self, id: QueueId, position: u32, outcome: &Outcome) {
        if let Some(record) = self.records.get_mut(&id)
            && outcome.verdict == Verdict::Sent
        {
            record.delivered.insert(position);
        }
    }

    /// What was not saved is gone.
    pub(crate) fn crash(&mut self) {
        self.records.values_mut().for_each(|record| record.delivered.clear());
    }

    pub(crate) fn load(
        &mut self,
        id: QueueId,
        from: u32,
        limit: u32,
        route: impl Fn(&Recipient) -> Route,
    ) -> Result<Batch, LoadError> {
        let record = self.records.get_mut(&id).ok_or(LoadError::Gone)?;
        if record.damaged {
            return Err(LoadError::Corrupt("bad checksum".into()));
        }
        let batch = record.read(from, limit, route);
        record.in_pieces |= batch.next.is_some();
        Ok(batch)
    }

    pub(crate) fn save(&mut self, id: QueueId, change: StateChange) -> Result<(), String> {
        self.records.get_mut(&id).ok_or("saved, but it is gone")?.save(change)
    }

    pub(crate) fn reported(
        &mut self,
        id: QueueId,
        kind: ReportKind,
        positions: &[u32],
    ) -> Result<(), String> {
        self.records.get_mut(&id).ok_or("reported, but it is gone")?.reported(kind, positions)
    }

    pub(crate) fn quarantine(&mut self, id: QueueId) -> Result<(), String> {
        self.records.get_mut(&id).ok_or("set aside, but it is gone")?.queue = Queue::Corrupt;
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: QueueId, ending: Ending) -> Result<(), String> {
        self.records.remove(&id).ok_or("removed twice")?.may_end(ending)
    }
}

#[cfg(test)]
mod tests {
    use mail::{EnhancedStatus, Scope};

    use super::*;
    use crate::scenario::Appears;

    fn store() -> (Store, QueueId) {
        let recipient = |site: &str| Recipient { address: format!("u@{site}").into(), site: site.into() };
        let message = Message {
            name: "A".into(),
            appears: Appears::At(Time::ZERO),
            entered: None,
            arrived: None,
            sender: "".into(),
            recipients: vec![recipient("a.test"), recipient("b.test")],
            damaged: false,
        };
        let mut store = Store::default();
        let id = QueueId::from_u64(1);
        store.insert(id, Record::new(message, Time::ZERO));
        (store, id)
    }

    fn change(unfinished: u32, recipients: Vec<(u32, Outcome)>, sites: &[&str]) -> StateChange {
        let sites: Vec<Arc<str>> = sites.iter().map(|site| Arc::from(*site)).collect();
        StateChange {
            queue: Queue::Deferred,
            due: Time::from_millis(300_000),
            attempts: 1,
            unfinished,
            flags: Flags::default(),
            recipients,
            sites: sites.into(),
        }
    }

    #[test]
    fn what_was_saved_is_what_is_found() {
        let (mut store, id) = store();
        store.save(id, change(1, vec![(0, Outcome::sent("ok"))], &["b.test"])).expect("agrees");
        let stored = store.get(id).expect("there").stored(id);
        assert_eq!((stored.queue, stored.attempts, stored.unfinished), (Queue::Deferred, 1, 1));
        assert_eq!(stored.sites, [Arc::from("b.test")]);
        let route = |_: &Recipient| Route { transport: "smtp".into(), nexthop: "b.test".into() };
        let batch = store.load(id, 0, 5, route).expect("readable");
        assert_eq!(batch.recipients.iter().map(|pending| pending.position).collect::<Vec<_>>(), [1]);
        store.damage(id);
        assert!(matches!(store.load(id, 0, 5, route), Err(LoadError::Corrupt(_))));
    }

    #[test]
    fn a_batch_says_where_to_go_on_only_when_there_is_more() {
        let (mut store, id) = store();
        let route = |_: &Recipient| Route { transport: "smtp".into(), nexthop: "x".into() };
        assert_eq!(store.load(id, 0, 1, route).expect("readable").next, Some(1));
        assert_eq!(store.load(id, 1, 1, route).expect("readable").next, None);
        assert_eq!(store.load(id, 0, 2, route).expect("readable").next, None);
    }

    #[test]
    fn disagreement_is_noticed() {
        let (mut store, id) = store();
        assert!(store.save(id, change(2, vec![(0, Outcome::sent("ok"))], &["b.test"])).is_err());
        let (mut store, id) = self::store();
        assert!(store.save(id, change(2, Vec::new(), &["a.test"])).is_err());
        assert!(store.save(id, change(2, vec![(7, Outcome::sent("ok"))], &[])).is_err());
        let (mut store, id) = self::store();
        let sent = || change(1, vec![(0, Outcome::sent("ok"))], &["b.test"]);
        store.save(id, sent()).expect("agrees");
        assert!(store.save(id, sent()).is_err(), "decided twice");
    }

    #[test]
    fn nobody_is_forgotten_and_nobody_told_twice() {
        let (mut store, id) = store();
        let no = || Outcome::bounced(Scope::Recipient, EnhancedStatus::new(5, 1, 1), "no");
        store.save(id, change(0, vec![(0, no()), (1, Outcome::sent("ok"))], &[])).expect("agrees");
        store.reported(id, ReportKind::Failure, &[]).expect("every bounced recipient on record");
        assert!(store.reported(id, ReportKind::Failure, &[0]).is_err());
        store.remove(id, Ending::Bounced).expect("everybody is delivered or reported");
        let (mut store, id) = self::store();
        assert!(store.remove(id, Ending::Delivered).is_err());
    }
}
