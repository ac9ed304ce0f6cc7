//! Mailings that are read in pieces: whose recipient slots are whose, whose turn it is when more is read.
//! Each expected order is derived from sections 4.4 to 4.8 of the reference.

mod world;

use std::collections::BTreeMap;

use mail::QueueId;
use qmgr::{Config, Effect, Note};
use world::{World, at, postfix};

/// Mailboxes of one domain are the destinations; `t` and `u` are two transports. Little is read at first.
fn small(parameters: &[(&str, &str)]) -> Config {
    let mut all = vec![
        ("qmgr_message_active_limit", "2"),
        ("qmgr_message_recipient_limit", "2"),
        ("qmgr_message_recipient_minimum", "2"),
        ("default_process_limit", "1"),
        ("default_destination_concurrency_limit", "0"),
        ("default_destination_recipient_limit", "1"),
        ("destination_process_share", "100%"),
    ];
    all.extend(parameters);
    postfix(&all)
}

struct Jobs {
    world: World,
    names: BTreeMap<QueueId, String>,
}

impl Jobs {
    fn new(config: Config) -> Jobs {
        let mut world = World::new(config);
        (world.by_hand, world.now) = (true, at(100));
        Jobs { world, names: BTreeMap::new() }
    }

    /// Each recipient is `TRANSPORT/MAILBOX`, so many times, in this order.
    fn send(&mut self, name: &str, entered: i64, to: &[(&str, usize)]) {
        let mut mail = self.world.make(name, &[("x.test", 0)]);
        for (place, count) in to {
            let (transport, mailbox) = place.split_once('/').expect("a transport");
            let one = (format!("{mailbox}@x.test").into(), "x.test".into(), transport.into());
            mail.recipients.extend((0..*count).map(|_| one.clone()));
        }
        let count = mail.recipients.len() as u32;
        (mail.stored.recipients, mail.stored.unfinished) = (count, count);
        mail.stored.entered = Some(at(entered));
        self.names.insert(mail.stored.id, name.to_owned());
        self.world.accept(mail);
        self.world.pump();
    }

    /// Ends the delivery of a message that runs.
    fn finish(&mut self, name: &str) {
        let running = self.world.running.values().find(|delivery| self.names[&delivery.id] == name);
        let number = running.unwrap_or_else(|| panic!("{name} is not in delivery")).number;
        self.world.finish(number);
        self.world.pump();
    }

    /// `MESSAGE:MAILBOX` of everything selected for a transport.
    fn selected(&self, of: &str) -> String {
        let one = |note: &Note| match note {
            Note::Select { id, transport, destination, .. } if &**transport == of => {
                let mailbox = destination.split('@').next().unwrap_or_default();
                Some(format!("{}:{mailbox}", self.names[id]))
            }
            _ => None,
        };
        let all: Vec<String> = self.world.notes.iter().filter_map(|(_, note)| one(note)).collect();
        all.join(" ")
    }

    fn loads(&self, name: &str) -> Vec<(u32, u32)> {
        let of = self.world.loads.iter().filter(|(of, _, _)| of == name);
        of.map(|(_, from, limit)| (*from, *limit)).collect()
    }
}

/// 4.5: the peers that were walked rotate to the tail, a new one is appended. p had its turn, and the list is
/// p; q joins when more is read, and the list is p q.
#[test]
fn a_mailbox_that_joins_after_the_only_one_had_its_turn_goes_second() {
    let mut jobs = Jobs::new(small(&[("t.recipient_refill_limit", "1000000")]));
    jobs.send("M", 100, &[("t/p", 2), ("t/q", 2)]);
    assert_eq!(jobs.selected("t"), "M:p");
    jobs.world.now = at(110);
    (0..3).for_each(|_| jobs.finish("M"));
    assert_eq!(
        jobs.selected("t"),
        "M:p M:p M:q M:q",
        "recipient_refill_delay is over at the second selection"
    );
}

/// 4.8: linking a job that is older than the first unread one makes it the first unread one; the former gives
/// back what it does not use. Y holds 20 slots and the minimum of 2, has read 2, and can give back 18.
#[test]
fn an_older_mailing_gets_the_slots_that_a_younger_one_does_not_use() {
    let mut jobs = Jobs::new(small(&[("t.recipient_limit", "20"), ("t.recipient_refill_limit", "1000000")]));
    jobs.send("Y", 10, &[("t/y", 100)]);
    jobs.send("X", 0, &[("t/x", 100)]);
    jobs.finish("Y");
    (0..2).for_each(|_| jobs.finish("X"));
    assert_eq!(jobs.loads("X"), [(0, 2), (2, 20)], "the minimum, and 18 slots of Y");
    assert_eq!(jobs.loads("Y"), [(0, 2)]);
}

/// A younger one gets nothing as long as an older one can use it.
#[test]
fn a_younger_mailing_leaves_the_slots_to_an_older_one() {
    let mut jobs = Jobs::new(small(&[("t.recipient_limit", "20"), ("t.recipient_refill_limit", "1000000")]));
    jobs.send("Y", 0, &[("t/y", 100)]);
    jobs.send("X", 10, &[("t/x", 100)]);
    (0..2).for_each(|_| jobs.finish("Y"));
    assert_eq!(jobs.loads("Y"), [(0, 2), (2, 22)]);
    assert_eq!(jobs.loads("X"), [(0, 2)]);
}

/// 4.6, step 6: a job that overtakes and has unread recipients gets half of what the extra slots and the free
/// ones are together, rounded up. A holds all 30; the share of B is (10 + 0 + 1) / 2.
#[test]
fn an_overtaking_mailing_gets_extra_slots() {
    let mut jobs = Jobs::new(small(&[
        ("t.recipient_limit", "30"),
        ("t.extra_recipient_limit", "10"),
        ("t.recipient_refill_limit", "1"),
        ("t.delivery_slot_cost", "2"),
        ("t.delivery_slot_discount", "100"),
    ]));
    jobs.send("A", 10, &[("t/a", 100)]);
    assert_eq!(jobs.loads("A"), [(0, 2), (2, 30)], "the minimum, then all slots");
    jobs.send("B", 20, &[("t/b", 12)]);
    jobs.finish("A");
    assert_eq!(jobs.selected("t"), "A:a B:b");
    assert_eq!(jobs.loads("B"), [(0, 2), (2, 5)]);
}

/// 4.4: obtaining a job that was passed over makes the list be looked at from its head. M is passed over in
/// t, because Z has both deliveries that `slow` may have, and C is served. Then the other job of M reads
/// recipients for t that could go at once. M is current, has earned nothing and lets nobody pass; when its
/// own are gone, C has the next turn, and only then does d overtake C.
#[test]
fn a_job_that_was_passed_over_is_looked_at_again_when_it_gets_more() {
    let mut jobs = Jobs::new(small(&[
        ("qmgr_message_active_limit", "10"),
        ("qmgr_message_recipient_limit", "10"),
        ("t.process_limit", "3"),
        ("t.destination_concurrency_limit", "2"),
        ("qmgr_message_recipient_minimum", "9"),
        ("default_recipient_refill_limit", "1000000"),
    ]));
    jobs.send("Z", 0, &[("t/slow", 2)]);
    jobs.send("M", 1, &[("u/x", 1), ("t/slow", 8), ("t/fast", 2)]);
    jobs.send("C", 2, &[("t/fast", 20)]);
    jobs.send("d", 3, &[("t/fast", 1)]);
    assert_eq!(jobs.selected("t"), "Z:slow Z:slow C:fast");
    jobs.world.now = at(110);
    jobs.finish("M");
    for name in ["C", "M", "M", "C"] {
        jobs.finish(name);
    }
    assert_eq!(jobs.selected("t"), "Z:slow Z:slow C:fast M:fast M:fast C:fast d:fast");
}

/// 4.8: a message that is read to its end gives back what it does not use, though its entries wait: of 20
/// slots A needs 4, and B gets the other 16 at once.
#[test]
fn a_message_that_is_read_to_its_end_gives_slots_back() {
    let mut jobs = Jobs::new(small(&[
        ("t.process_limit", "2"),
        ("t.destination_concurrency_limit", "1"),
        ("t.recipient_limit", "20"),
        ("t.recipient_refill_limit", "1"),
    ]));
    jobs.send("A", 0, &[("t/slow", 4)]);
    jobs.send("B", 1, &[("t/fast", 100)]);
    assert_eq!(jobs.loads("A"), [(0, 2), (2, 20)]);
    assert_eq!(jobs.loads("B"), [(0, 2), (2, 16)]);
}

/// 4.5: a job that has nothing left but recipients to read is read for when it has its turn, however few
/// places are free, before one behind it is served.
#[test]
fn a_dry_mailing_reads_on_before_others_pass() {
    let mut jobs =
        Jobs::new(small(&[("t.process_limit", "3"), ("default_recipient_refill_limit", "1000000")]));
    jobs.send("M", 0, &[("t/p", 2), ("t/q", 2)]);
    assert_eq!(jobs.selected("t"), "M:p M:p");
    jobs.send("N", 1, &[("t/r", 1)]);
    (0..2).for_each(|_| jobs.finish("M"));
    assert_eq!(jobs.selected("t"), "M:p M:p M:q M:q N:r");
}

/// 1.9 and 1.11: the first piece is what the limit leaves, and what is being read for others counts.
#[test]
fn recipients_that_are_being_read_count_already() {
    let config = postfix(&[
        ("qmgr_message_active_limit", "100"),
        ("qmgr_message_recipient_limit", "100"),
        ("qmgr_message_recipient_minimum", "7"),
    ]);
    let mut world = World::new(config);
    let mails: Vec<_> = (0..3).map(|n| world.make(&n.to_string(), &[("x.test", 80)])).collect();
    mails.into_iter().for_each(|mail| world.engine.handle_accepted(world.now, mail.stored, None));
    let mut limits = Vec::new();
    while let Some(effect) = world.engine.poll_effect() {
        if let Effect::Load { limit, .. } = effect {
            limits.push(limit);
        }
    }
    assert_eq!(limits, [100, 20, 7], "80 of the first are on their way, then 20 of the second");
}

/// 1.11: however long a mailing is, what is in memory is bounded by its minimum and the slots of its
/// transport.
#[test]
fn a_mailing_of_200_000_recipients_is_in_memory_only_in_part() {
    let mut world = World::new(Config::default());
    world.send("mailing", &[("x.test", 200_000)]);
    assert!(world.mail.is_empty(), "all are delivered");
    assert_eq!(world.delivered.len(), 200_000);
    let global = world.config.global();
    let slots = world.config.transport("smtp").recipient_limit;
    let bound = (global.qmgr_message_recipient_minimum + slots).max(global.qmgr_message_recipient_limit);
    assert!(world.most_recipients <= bound, "{} of {bound}", world.most_recipients);
    assert!(world.loads.iter().all(|(_, _, limit)| *limit <= 5000), "pieces of at most 5000");
}

/// Reports of deliveries come back through the same task as what was read. When everything was read at once,
/// a report stood behind thousands of envelopes, and a crash meanwhile made a second copy of its message.
#[test]
fn a_backlog_is_read_a_part_at_a_time() {
    let mut world = World::new(Config::default());
    let mails: Vec<_> = (0..1000).map(|n| world.make(&n.to_string(), &[("x.test", 1)])).collect();
    for mail in mails {
        world.engine.handle_accepted(world.now, mail.stored.clone(), None);
        world.mail.insert(mail.stored.id, mail);
    }
    let mut reading = Vec::new();
    let asked = |world: &mut World, reading: &mut Vec<QueueId>| {
        while let Some(effect) = world.engine.poll_effect() {
            if let Effect::Load { id, .. } = effect {
                reading.push(id);
            }
        }
    };
    asked(&mut world, &mut reading);
    assert_eq!(reading.len(), 64);
    world.engine.handle_loaded(world.now, reading[0], Err(qmgr::LoadError::Gone));
    asked(&mut world, &mut reading);
    assert_eq!(reading.len(), 65, "one is read, another one may be");
    assert!(world.engine.poll_timeout().is_none_or(|at| at > world.now), "it waits for them, not for a time");
}
