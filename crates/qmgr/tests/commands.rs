//! What operators do: orders, flushes, triggers, limits; and what damage costs.

mod world;

use flush::Authority;
use mail::{DomainList, QueueId};
use qmgr::{Config, Ending, Note, Preset, Queue, ReportKind, Why};
use world::{Answer, World, at, postfix};

const DAY: i64 = 86_400;

#[test]
fn triggers_fold_and_are_remembered() {
    for letters in ["DIFA", "AFDI", "xADIFz"] {
        let mut world = World::new(postfix(&[("smtp.initial_destination_concurrency", "1")]));
        world.answer("x.test", &[Answer::SiteDown]);
        let id = world.send("A", &[("x.test", 1)]);
        assert_eq!(world.window("x.test"), 0);
        world.now = at(7);
        world.engine.trigger(at(7), letters.as_bytes());
        world.pump();
        assert_eq!(world.attempts(id), [0, 7], "{letters}");
    }
    let mut world = World::new(postfix(&[]));
    world.answer("x.test", &[Answer::RecipientDeferred]);
    let id = world.send("A", &[("x.test", 1)]);
    world.now = at(5);
    world.engine.trigger(at(5), b"A");
    world.pump();
    assert_eq!(world.attempts(id), [0]);
    world.now = at(15);
    world.engine.trigger(at(15), b"D");
    world.pump();
    assert_eq!(world.attempts(id), [0, 15]);
}

#[test]
fn transports_that_are_switched_off_wait_for_a_flush() {
    let mut world = World::new(postfix(&[("defer_transports", "smtp")]));
    let id = world.send("A", &[("x.test", 1)]);
    assert_eq!(world.engine.message(id).unwrap().reason.as_deref(), Some("deferred transport"));
    assert!(world.attempts(id).is_empty());
    world.engine.flush_all(at(0));
    world.pump();
    assert_eq!(world.endings["A"], Ending::Delivered);
}

#[test]
fn hold_takes_effect_after_the_attempt_in_flight() {
    let mut world = World::new(postfix(&[]));
    world.by_hand = true;
    world.answer("x.test", &[Answer::RecipientDeferred]);
    let id = world.send("A", &[("x.test", 120)]);
    let changed = world.engine.hold(at(0), &[id, QueueId::from_u64(999)]);
    assert_eq!((changed.done, changed.after_attempt, changed.unmatched), (0, 1, 1));
    world.by_hand = false;
    world.pump();
    assert_eq!(world.queue(id), Some(Queue::Hold));
    assert_eq!(world.engine.why_message(id), Why::Hold);
    world.run_until(at(10 * DAY));
    assert_eq!(world.attempts(id).len(), 3);
    world.answer("x.test", &[Answer::Ok]);
    assert_eq!(world.engine.release(at(10 * DAY), &[id]).done, 1);
    world.run_until(at(10 * DAY + 300));
    assert_eq!(world.endings["A"], Ending::Delivered);
}

#[test]
fn delete_and_requeue_and_expire_tell_the_truth() {
    let mut world = World::new(postfix(&[]));
    world.answer("x.test", &[Answer::RecipientDeferred]);
    let (a, b, c) = (
        world.send("A", &[("x.test", 1)]),
        world.send("B", &[("x.test", 1)]),
        world.send("C", &[("x.test", 1)]),
    );
    assert_eq!(world.engine.delete(at(0), &[a, a]).done, 1);
    assert_eq!(world.engine.expire(at(0), &[c, c], false).done, 1);
    world.answer("x.test", &[Answer::Ok]);
    assert_eq!(world.engine.requeue(at(0), &[b]).done, 1);
    world.pump();
    assert_eq!((world.endings["A"], world.endings["B"]), (Ending::Deleted, Ending::Delivered));
    assert_eq!(world.queue(c), Some(Queue::Deferred), "told at the next attempt");
    world.run_until(at(600));
    assert_eq!(world.endings["C"], Ending::Expired);
    assert_eq!(world.reports, [(at(300), "C".to_owned(), ReportKind::ForceExpired, vec![0])]);
    assert!(world.engine.recorded_sites().is_empty());
}

#[test]
fn a_site_flush_tries_its_recipients_and_no_others() {
    let mut config = postfix(&[]);
    config.fast_flush_domains = DomainList::parse(&["example.com"], true).unwrap();
    let mut world = World::new(config);
    for site in ["example.com", "sub.example.com", "other.net"] {
        world.answer(site, &[Answer::SiteDown]);
    }
    let m1 = world.send("M1", &[("example.com", 1), ("other.net", 1)]);
    let m2 = world.send("M2", &[("sub.example.com", 1)]);
    let m4 = world.send("M4", &[("example.com", 1)]);
    world.engine.hold(at(0), &[m4]);
    world.pump();
    world.now = at(50);
    let due = world.engine.message(m1).unwrap().due;
    let answer = world.engine.flush_site(at(50), "EXAMPLE.com", Authority::Client);
    assert_eq!((answer.status, answer.released.released, answer.released.on_hold), (flush::Status::Ok, 1, 1));
    world.pump();
    let tried = |world: &World, of: QueueId| -> Vec<String> {
        let of_message = |note: &Note| match note {
            Note::Select { id, destination, .. } if *id == of => Some(destination.to_string()),
            _ => None,
        };
        world.notes.iter().filter_map(|(_, note)| of_message(note)).collect()
    };
    assert_eq!(tried(&world, m1), ["example.com", "other.net", "example.com"]);
    assert_eq!(tried(&world, m2).len(), 1);
    assert_eq!(world.engine.message(m1).unwrap().due, due, "the other recipient keeps its schedule");
    assert_eq!(world.engine.recorded_messages("example.com", None, 9), [m1, m4]);
    let denied = world.engine.flush_site(at(50), "other.net", Authority::Client);
    assert_eq!(denied.status, flush::Status::Deny);
    assert_eq!(world.engine.flush_site(at(50), "-x", Authority::Client).status, flush::Status::Bad);
}

#[test]
fn a_large_flush_of_a_dead_site_stops_at_the_probe() {
    let mut world = World::new(postfix(&[("smtp.initial_destination_concurrency", "1")]));
    world.answer("x.test", &[Answer::SiteDown]);
    for n in 0..100 {
        world.send(&n.to_string(), &[("x.test", 1)]);
    }
    let selected =
        |world: &World| world.notes.iter().filter(|(_, note)| matches!(note, Note::Select { .. })).count();
    let before = selected(&world);
    let answer = world.engine.flush_site(at(10), "x.test", Authority::Operator);
    assert_eq!(answer.released.released, 100);
    world.pump();
    assert_eq!(selected(&world), before + 1);
    world.answer("x.test", &[Answer::Ok]);
    let answer = world.engine.flush_site(at(20), "x.test", Authority::Operator);
    assert_eq!(answer.released.released, 100, "what the first one did not reach can be flushed again");
    world.pump();
    assert!(world.mail.is_empty());
}

#[test]
fn a_limit_that_is_lowered_holds_at_once() {
    let mut world = World::new(postfix(&[]));
    world.by_hand = true;
    for n in 0..30 {
        world.send(&n.to_string(), &[("x.test", 1)]);
    }
    world.engine.set_parameter(at(0), "smtp_destination_concurrency_limit", "2").unwrap();
    assert_eq!(world.window("x.test"), 2);
    assert!(world.engine.set_parameter(at(0), "smtp_nonsense", "2").is_err());
    world.by_hand = false;
    world.pump();
    assert!(world.mail.is_empty());
}

#[test]
fn damage_costs_one_message_and_is_undone_by_requeue() {
    let mut world = World::new(postfix(&[]));
    world.engine.pause_deliveries(at(0));
    let mail = world.make("A", &[("x.test", 1)]);
    let id = mail.stored.id;
    world.engine.handle_accepted(at(0), mail.stored.clone(), None);
    world.mail.insert(id, mail);
    while let Some(effect) = world.engine.poll_effect() {
        if matches!(effect, qmgr::Effect::Load { .. }) {
            world.engine.handle_loaded(at(0), id, Err(qmgr::LoadError::Corrupt("bad sum".into())));
        }
    }
    assert_eq!(world.queue(id), Some(Queue::Corrupt));
    assert_eq!(world.engine.why_message(id), Why::Corrupt { reason: Some("bad sum".into()) });
    assert!(world.engine.recorded_sites().is_empty());
    world.engine.resume_deliveries(at(0));
    assert_eq!(world.engine.requeue(at(0), &[id]).done, 1);
    world.pump();
    assert_eq!(world.endings["A"], Ending::Delivered);
}

#[test]
fn unreadable_mail_is_tried_again_after_a_minute() {
    let mut world = World::new(Config::new(Preset::Postrider));
    let mail = world.make("A", &[("x.test", 1)]);
    let id = mail.stored.id;
    world.engine.handle_accepted(at(0), mail.stored.clone(), None);
    world.mail.insert(id, mail);
    while let Some(effect) = world.engine.poll_effect() {
        if matches!(effect, qmgr::Effect::Load { .. }) {
            world.engine.handle_loaded(at(0), id, Err(qmgr::LoadError::Unreadable("EIO".into())));
        }
    }
    assert_eq!(world.engine.poll_timeout(), Some(at(60)));
    world.run_until(at(60));
    assert_eq!(world.endings["A"], Ending::Delivered);
}
