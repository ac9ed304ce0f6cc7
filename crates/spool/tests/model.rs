//! The spool against a plain map: any sequence of operations, restarts and power cuts leaves both with
//! the same messages.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use mail::{QueueId, Time};
use proptest::prelude::*;
use spool::{Ending, Options, Queue, ReadError, Spool};
use testkit::disk::{FaultyDisk, Loss};

/// One step; indices are taken modulo the number of messages.
#[derive(Clone, Debug)]
enum Step {
    Accept(usize),
    Large(usize),
    Update(usize),
    Finish(usize),
    Quarantine(usize),
    Restore(usize),
    Read(usize),
    Restart(bool),
    PowerCut(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..9_000).prop_map(Step::Accept),
        1 => (0usize..50_000).prop_map(Step::Large),
        6 => any::<usize>().prop_map(Step::Update),
        6 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Quarantine),
        1 => any::<usize>().prop_map(Step::Restore),
        2 => any::<usize>().prop_map(Step::Read),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

/// What the map knows of a message.
#[derive(Clone, Debug)]
struct Message {
    number: u64,
    size: usize,
    attempts: u32,
    corrupt: bool,
    /// It has been in `corrupt` and its time of trying is anew.
    restored: bool,
}

struct World {
    disk: FaultyDisk,
    spool: Spool,
    messages: BTreeMap<QueueId, Message>,
    next: u64,
}

fn quick() -> Options {
    Options { lazy_commit: Duration::ZERO, compact_above: 3, cache_bytes: 20_000, ..options() }
}

impl World {
    fn new() -> World {
        let disk = FaultyDisk::new();
        let (spool, _) = open_with(Arc::new(disk.clone()), quick()).unwrap();
        World { disk, spool, messages: BTreeMap::new(), next: 0 }
    }

    fn pick(&self, index: usize) -> Option<QueueId> {
        let index = index.checked_rem(self.messages.len())?;
        self.messages.keys().nth(index).copied()
    }

    fn accept(&mut self, size: usize, large: bool) {
        let (id, number) = (self.spool.next_id(Time::ZERO), self.next);
        assert!(self.messages.last_key_value().is_none_or(|(&last, _)| id > last));
        self.next += 1;
        let accepted = if large { accept_large } else { accept };
        accepted(&self.spool, id, number, size).unwrap();
        let message = Message { number, size, attempts: 0, corrupt: false, restored: false };
        self.messages.insert(id, message);
    }

    fn run(&mut self, step: Step) {
        let picked = match step {
            Step::Update(index)
            | Step::Finish(index)
            | Step::Quarantine(index)
            | Step::Restore(index)
            | Step::Read(index) => match self.pick(index) {
                Some(id) => id,
                None => return,
            },
            Step::Accept(size) => return self.accept(size, false),
            Step::Large(size) => return self.accept(size, true),
            Step::Restart(clean) => return self.restart(clean, None),
            Step::PowerCut(seed) => return self.restart(false, Some(seed)),
        };
        let message = self.messages.get_mut(&picked).unwrap();
        match step {
            Step::Update(_) if !message.corrupt => {
                message.attempts += 1;
                message.restored = false;
                update(&self.spool, picked, change(message.number, message.attempts)).unwrap();
            }
            Step::Finish(_) => {
                finish(&self.spool, picked, Ending::Delivered).unwrap();
                self.messages.remove(&picked);
                assert!(matches!(self.spool.read(picked), Err(ReadError::Gone)));
            }
            Step::Quarantine(_) => {
                self.spool.quarantine(picked, "because").unwrap();
                message.corrupt = true;
            }
            Step::Restore(_) if message.corrupt => {
                self.spool.restore(picked).unwrap();
                (message.corrupt, message.restored) = (false, true);
            }
            _ => self.check(picked),
        }
    }

    fn check(&self, id: QueueId) {
        let message = &self.messages[&id];
        if message.corrupt {
            assert!(matches!(self.spool.read(id), Err(ReadError::Corrupt { reason }) if reason == "because"));
            return;
        }
        let stored = self.spool.read(id).unwrap();
        assert_eq!(*stored.envelope, *envelope(message.number, message.size as u64));
        let attempts = message.attempts;
        assert_eq!(stored.recipients, recorded(attempts));
        if !message.restored {
            assert_eq!(stored.summary, summary(message.number, attempts));
        }
        assert_eq!(content(&self.spool, id), body(message.number, message.size));
    }

    fn restart(&mut self, clean: bool, cut: Option<u64>) {
        if clean {
            self.spool.close();
        }
        if let Some(seed) = cut {
            self.disk = self.disk.after_power_cut(Loss::Torn(512), seed);
        }
        let disk = self.disk.fork();
        let (spool, found) = open_with(Arc::new(disk.clone()), quick()).unwrap();
        (self.disk, self.spool) = (disk, spool);
        assert_eq!(found.keys().collect::<Vec<_>>(), self.messages.keys().collect::<Vec<_>>());
        for (id, message) in &self.messages {
            assert_eq!(found[id].summary.queue == Queue::Corrupt, message.corrupt);
            assert_eq!(found[id].size, message.size as u64);
            self.check(*id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_spool_is_a_map(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.restart(true, None);
        world.spool.close();
        let health = world.spool.health();
        prop_assert_eq!(health.messages + health.corrupt, world.messages.len() as u64);
        for (name, _) in world.disk.files() {
            if name.ends_with(".mql") {
                let bytes = world.disk.contents(&name).unwrap();
                let end = spool::explain(&bytes).into_iter().fold(0, |at, region| {
                    assert_eq!(region.range.start, at, "{name}");
                    region.range.end
                });
                prop_assert_eq!(end, bytes.len() as u64);
            }
        }
    }
}
