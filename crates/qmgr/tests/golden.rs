//! What the reference says about timelines, windows, deaths, rates and endings, on the engine as a whole.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use mail::{DomainList, QueueId, Time};
use qmgr::{Config, DestinationState, Ending, Note, Preset, Queue, ReportKind, Why};
use world::{Answer, World, at, postfix};

const DAY: i64 = 86_400;

#[test]
fn a_message_is_tried_on_the_timeline_of_postfix() {
    for (first, expected) in
        [(1, [300, 600, 1200, 2400, 4800, 9000, 13200]), (2, [600, 1200, 2400, 4800, 9000, 13200, 17400])]
    {
        let mut world = World::new(postfix(&[]));
        world.answer("x.test", &[Answer::RecipientDeferred]);
        let mut mail = world.make("A", &[("x.test", 1)]);
        mail.stored.arrived = at(0);
        world.run_until(at(first));
        let id = world.accept(mail);
        world.run_until(at(6 * DAY));
        let attempts = world.attempts(id);
        assert_eq!(attempts[0], first);
        assert_eq!(attempts[1..=expected.len()], expected);
        assert_eq!(attempts.last(), Some(&433_200), "the first failure past five days is the last");
        assert_eq!(world.endings["A"], Ending::Expired);
        assert_eq!(world.reports.len(), 1);
    }
}

#[test]
fn by_default_each_message_wakes_at_its_own_time_and_ends_at_the_end_of_its_life() {
    let mut config = Config::new(Preset::Postrider);
    config.set("retry_jitter", "0").unwrap();
    let mut world = World::new(config);
    world.answer("x.test", &[Answer::RecipientDeferred]);
    let id = world.send("A", &[("x.test", 1)]);
    world.run_until(at(6 * DAY));
    assert_eq!(world.attempts(id)[..6], [0, 300, 600, 1200, 2400, 4800]);
    assert_eq!(world.attempts(id).last(), Some(&(5 * DAY)));
    assert_eq!(world.endings["A"], Ending::Expired);
}

#[test]
fn a_warning_is_sent_once_and_tried_again_when_refused() {
    let mut world = World::new(postfix(&[("delay_warning_time", "1h")]));
    world.answer("x.test", &[Answer::RecipientDeferred]);
    let mut mail = world.make("A", &[("x.test", 1)]);
    mail.stored.arrived = at(0);
    let mut bounce = world.make("B", &[("x.test", 1)]);
    bounce.stored.null_sender = true;
    world.run_until(at(2));
    world.accept(mail);
    world.accept(bounce);
    world.refuse_reports = true;
    world.run_until(at(5000));
    assert!(world.reports.is_empty());
    world.refuse_reports = false;
    world.run_until(at(20_000));
    assert_eq!(world.reports, [(at(9000), "A".to_owned(), ReportKind::Delay, vec![0])]);
}

#[test]
fn a_bounce_waits_for_the_whole_message_and_survives_a_refused_report() {
    let mut world = World::new(postfix(&[]));
    world.by_hand = true;
    world.refuse_reports = true;
    world.answer("a.test", &[Answer::Bounce]);
    let id = world.send("A", &[("a.test", 1), ("b.test", 1)]);
    let running: Vec<_> = world.running.keys().copied().collect();
    world.finish(running[0]);
    world.pump();
    assert_eq!(world.queue(id), Some(Queue::Active));
    world.finish(running[1]);
    world.pump();
    assert_eq!(world.queue(id), Some(Queue::Deferred), "the report was refused");
    world.refuse_reports = false;
    world.run_until(at(1000));
    assert_eq!(world.reports.len(), 1);
    assert_eq!(world.endings["A"], Ending::Delivered);
    assert_eq!(world.attempts(id).len(), 2, "nobody is tried again");
}

#[test]
fn a_site_dies_after_three_failures_and_the_rest_is_not_tried() {
    let mut world = World::new(postfix(&[]));
    world.by_hand = true;
    world.answer("x.test", &[Answer::SiteDown]);
    let ids: Vec<QueueId> = (0..6).map(|n| world.send(&n.to_string(), &[("x.test", 1)])).collect();
    assert_eq!(world.running.len(), 5);
    for expected in [3, 2, 0] {
        let number = *world.running.keys().next().unwrap();
        world.finish(number);
        world.pump();
        assert_eq!(world.window("x.test"), expected);
    }
    let last = world.engine.message(ids[5]).unwrap();
    assert_eq!(last.queue, Queue::Deferred);
    assert!(last.reason.unwrap().starts_with("delivery temporarily suspended: "));
    assert!(world.attempts(ids[5]).is_empty());
    // A delivery that still runs succeeds: alive, with a window of what is running.
    world.answer("x.test", &[Answer::Ok]);
    let number = *world.running.keys().next().unwrap();
    world.finish(number);
    world.pump();
    assert_eq!(world.window("x.test"), 2);
}

#[test]
fn the_dead_timer_ends_in_the_initial_window_and_starts_nothing() {
    let mut world = World::new(postfix(&[
        ("smtp.destination_concurrency_failed_cohort_limit", "1"),
        ("smtp.initial_destination_concurrency", "1"),
    ]));
    world.answer("x.test", &[Answer::SiteDown]);
    world.run_until(at(100));
    world.send("A", &[("x.test", 1)]);
    assert!(matches!(world.engine.why_site("x.test"), Why::SiteDead { until, .. } if until == at(400)));
    world.run_until(at(399));
    let b = world.send("B", &[("x.test", 1)]);
    assert_eq!(world.queue(b), Some(Queue::Deferred));
    assert!(world.attempts(b).is_empty());
    world.run_until(at(401));
    assert!(world.attempts(b).is_empty());
    assert!(!matches!(world.engine.why_site("x.test"), Why::SiteDead { .. }));
}

#[test]
fn mail_that_waits_for_a_dead_site_wakes_with_it_behind_a_probe() {
    let mut config = Config::new(Preset::Postrider);
    config.set_any("smtp_destination_concurrency_limit", "2").unwrap();
    let mut world = World::new(config);
    world.answer("x.test", &[Answer::SiteDown]);
    world.by_hand = true;
    let ids: Vec<QueueId> = (0..40).map(|n| world.send(&n.to_string(), &[("x.test", 1)])).collect();
    world.by_hand = false;
    world.pump();
    let waiting = ids.iter().filter(|id| world.engine.message(**id).unwrap().attempts == 0).count();
    assert!(waiting >= 35, "{waiting} did not spend an attempt");
    world.answer("x.test", &[Answer::Ok]);
    world.run_until(at(299));
    let before = world.notes.len();
    world.run_until(at(300));
    let selected = |note: &Note| if let Note::Select { id, .. } = note { Some(*id) } else { None };
    let woken: Vec<QueueId> = world.notes[before..].iter().filter_map(|(_, note)| selected(note)).collect();
    let first_waiting = ids.iter().find(|id| !woken.is_empty() && **id == woken[0]);
    assert!(first_waiting.is_some() && woken.len() >= waiting, "{} of {waiting} woke", woken.len());
}

#[test]
fn a_failed_probe_kills_the_site_again_at_once() {
    let mut world = World::new(Config::new(Preset::Postrider));
    world.answer("x.test", &[Answer::SiteDown]);
    let mails: Vec<_> = (0..20).map(|n| world.make(&n.to_string(), &[("x.test", 1)])).collect();
    for mail in mails {
        world.accept(mail);
    }
    world.pump();
    let before = world.engine.counts();
    assert_eq!(before.deferred, 20);
    let selections =
        |world: &World| world.notes.iter().filter(|(_, note)| matches!(note, Note::Select { .. })).count();
    let already = selections(&world);
    world.run_until(at(300));
    assert!(selections(&world) <= already + 4, "one probe, and mail that is due by itself");
    assert_eq!(world.window("x.test"), 0);
}

#[test]
fn a_message_that_only_reports_a_dead_transport_leaves_other_transports_alone() {
    let mut world = World::new(postfix(&[]));
    world.answer("x.test", &[Answer::NoAgent]);
    let a = world.send("A", &[("x.test", 1)]);
    let b = world.send("B", &[("y.test", 1)]);
    let c = world.send("C", &[("lmtp/z.test", 1)]);
    assert_eq!(
        (world.queue(a), world.queue(b), world.queue(c)),
        (Some(Queue::Deferred), Some(Queue::Deferred), None)
    );
    assert_eq!(world.attempts(b), Vec::<i64>::new());
    world.run_until(at(61));
    world.send("D", &[("y.test", 1)]);
    assert_eq!(world.endings["D"], Ending::Delivered);
}

#[test]
fn a_dead_agent_is_blamed_on_its_own_site_and_leaves_a_record() {
    let mut world = World::new(postfix(&[]));
    world.answer("x.test", &[Answer::SiteDown]);
    world.answer("y.test", &[Answer::Die]);
    world.send("A", &[("x.test", 1)]);
    let b = world.send("B", &[("y.test", 1)]);
    let reason = world.engine.message(b).unwrap().reason;
    assert_eq!(reason.as_deref(), Some("unknown mail transport error"));
}

#[test]
fn destination_rate_delay_counts_from_completion_and_survives_an_empty_queue() {
    let mut world = World::new(postfix(&[("smtp.destination_rate_delay", "10s")]));
    world.by_hand = true;
    let mut starts = Vec::new();
    let a = world.send("A", &[("x.test", 1)]);
    world.run_until(at(2));
    let number = *world.running.keys().next().unwrap();
    world.finish(number);
    world.run_until(at(5));
    let b = world.send("B", &[("x.test", 1)]);
    let c = world.send("C", &[("y.test", 1)]);
    assert!(matches!(world.engine.why_message(b), Why::RateDelay { until, .. } if until == at(12)));
    world.run_until(at(30));
    for id in [a, b, c] {
        starts.extend(world.attempts(id));
    }
    assert_eq!(starts, [0, 12, 5]);
    let learned = world.engine.learned(at(30));
    assert!(learned.destinations.is_empty(), "nothing is kept without keep_learned_concurrency");
}

#[test]
fn a_rate_delay_survives_a_restart() {
    let config = postfix(&[("smtp.destination_rate_delay", "10s")]);
    let mut world = World::new(config.clone());
    world.send("A", &[("x.test", 1)]);
    let learned = world.engine.learned(at(0));
    let mut next = World::new(config);
    next.engine.handle_learned(at(1), learned);
    next.now = at(1);
    let b = next.send("B", &[("x.test", 1)]);
    next.run_until(at(20));
    assert_eq!(next.attempts(b), [10]);
}

/// What kills a site is the end of a delivery too: its rate delay decides when it is tried again, not the
/// time that dead sites are left alone.
#[test]
fn a_site_with_a_rate_delay_is_tried_after_it_even_when_it_failed() {
    let mut world = World::new(postfix(&[
        ("smtp.destination_rate_delay", "10s"),
        ("initial_destination_concurrency", "1"),
    ]));
    world.answers.insert("x.test".into(), vec![Answer::SiteDown, Answer::Ok]);
    world.send("A", &[("x.test", 1)]);
    world.run_until(at(1));
    let b = world.send("B", &[("x.test", 1)]);
    world.run_until(at(30));
    assert_eq!(world.attempts(b), [10]);
}

/// The delay of a transport began at 0 s: its successor neither cuts it short nor begins it anew.
#[test]
fn a_rate_delay_of_a_transport_survives_a_restart() {
    let config = postfix(&[("smtp.transport_rate_delay", "10s")]);
    let mut world = World::new(config.clone());
    let mail = world.make("A", &[("x.test", 1)]);
    world.accept(mail.clone());
    world.pump();
    let learned = world.engine.learned(at(5));
    let mut next = World::new(config);
    next.now = at(5);
    next.engine.handle_learned(at(5), learned);
    let id = next.store(mail);
    next.run_until(at(30));
    assert_eq!(next.attempts(id), [10]);
}

/// A window that was learned holds for `keep_learned_concurrency`, and within the limit of today.
#[test]
fn what_was_learned_is_adopted_as_far_as_it_still_holds() {
    let window = |limit: &str, seen: i64| {
        let mut config = Config::new(Preset::Postrider);
        config.set_any("smtp_destination_concurrency_limit", limit).unwrap();
        let mut world = World::new(config);
        let site: std::sync::Arc<str> = "x.test".into();
        let known = qmgr::LearnedDestination {
            transport: "smtp".into(),
            destination: site.clone(),
            nexthop: site,
            window: 12,
            seen: at(seen),
            suspended_until: None,
        };
        let learned = qmgr::Learned { destinations: vec![known], transports: Vec::new() };
        world.engine.handle_learned(at(1000), learned);
        world.engine.sites().first().map(|_| world.window("x.test"))
    };
    assert_eq!(window("20", 900), Some(12));
    assert_eq!(window("0", 900), Some(12), "no limit");
    assert_eq!(window("7", 900), Some(7));
    assert_eq!(window("20", 401), Some(12), "599 seconds ago");
    assert_eq!(window("20", 400), None, "ten minutes ago");
}

/// Reports have a lifetime of their own.
#[test]
fn bounce_queue_lifetime_ends_reports_and_nothing_else() {
    let mut world = World::new(postfix(&[("bounce_queue_lifetime", "1h")]));
    world.answer("x.test", &[Answer::RecipientDeferred]);
    world.send("mail", &[("x.test", 1)]);
    let mut report = world.make("report", &[("x.test", 1)]);
    report.stored.null_sender = true;
    world.accept(report);
    world.run_until(at(DAY));
    let ended: Vec<&str> = world.endings.keys().map(String::as_str).collect();
    assert_eq!(ended, ["report"]);
}

#[test]
fn windows_outlive_an_empty_queue_and_a_restart() {
    let mut world = World::new(Config::new(Preset::Postrider));
    world.by_hand = true;
    for n in 0..20 {
        world.send(&n.to_string(), &[("x.test", 1)]);
    }
    world.by_hand = false;
    world.pump();
    let grown = world.window("x.test");
    assert!(grown > 5, "{grown}");
    let learned = world.engine.learned(world.now);
    let mut next = World::new(Config::new(Preset::Postrider));
    next.engine.handle_learned(at(60), learned);
    next.now = at(60);
    assert_eq!(next.window("x.test"), grown);
    next.run_until(at(700));
    assert!(next.engine.sites().is_empty(), "forgotten after ten minutes");
}

#[test]
fn transport_rate_delay_spaces_all_deliveries_and_never_sticks() {
    let mut world = World::new(postfix(&[("smtp.transport_rate_delay", "1s")]));
    world.by_hand = true;
    let mut done = Vec::new();
    for (name, site) in [("A", "x.test"), ("B", "y.test"), ("C", "x.test")] {
        world.send(name, &[(site, 1)]);
    }
    for second in 1..12 {
        world.run_until(at(second));
        let started = |world: &World, number| {
            world.notes.iter().find_map(|(at, note)| match note {
                Note::Select { number: selected, .. } if *selected == number => Some(*at),
                _ => None,
            })
        };
        if let Some(number) = world.running.keys().next().copied()
            && started(&world, number) == Some(at(second - 2))
        {
            world.finish(number);
            world.pump();
            done.push(second);
        }
    }
    assert_eq!(done, [3, 6, 9]);
    // The mail is gone before the delay is over: the lock opens all the same.
    let d = world.send("D", &[("x.test", 1)]);
    world.engine.delete(world.now, &[d]);
    world.run_for(Duration::from_secs(5));
    // E waits for a delay of its own.
    let e = world.send("E", &[("x.test", 1)]);
    let sent = world.now.as_secs();
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.attempts(e), [sent + 1]);
}

/// Reference 2 and 4.1: a transport is put in front of the others when it is first used, and those that were
/// walked go to the end.
#[test]
fn transports_take_turns_and_a_new_one_is_first() {
    let mut world = World::new(postfix(&[]));
    world.by_hand = true;
    let mut names = BTreeMap::new();
    world.engine.pause_deliveries(at(0));
    for (name, site) in [("A", "t/x.test"), ("B", "u/x.test"), ("C", "v/x.test")] {
        let mails = (0..2).map(|_| world.make(name, &[(site, 1)])).collect::<Vec<_>>();
        for mail in mails {
            names.insert(world.accept(mail), name.to_owned());
            world.pump();
        }
    }
    world.engine.resume_deliveries(at(0));
    world.pump();
    assert_eq!(world.order(&names), "C B A C B A");
}

#[test]
fn recipients_are_batched_and_destinations_fold_case() {
    let mut world = World::new(postfix(&[]));
    world.by_hand = true;
    world.send("A", &[("x.test", 120)]);
    let sizes: Vec<usize> = world.running.values().map(|delivery| delivery.recipients.len()).collect();
    assert_eq!(sizes, [50, 50, 20]);
}

#[test]
fn blocked_jobs_are_skipped_and_sites_take_turns() {
    let mut world = World::new(postfix(&[
        ("smtp.destination_recipient_limit", "0"),
        ("slow.initial_destination_concurrency", "2"),
        ("slow.destination_concurrency_limit", "2"),
    ]));
    world.by_hand = true;
    let mut names = BTreeMap::new();
    for (name, site) in
        [("A", "slow/s.test"), ("B", "slow/s.test"), ("C", "slow/s.test"), ("D", "slow/f.test")]
    {
        names.insert(world.send(name, &[(site, 1)]), name.to_owned());
    }
    assert_eq!(world.order(&names), "A B D");
    let first = *world.running.keys().next().unwrap();
    world.finish(first);
    world.pump();
    assert_eq!(world.order(&names), "A B D C");
}

#[test]
fn a_message_shares_an_agent_between_its_sites() {
    let mut world =
        World::new(postfix(&[("smtp.process_limit", "1"), ("smtp.destination_recipient_limit", "1")]));
    let mail = world.make("M", &[]);
    let mut mail = mail;
    for (user, count) in [("p", 3), ("q", 2), ("r", 1)] {
        for n in 0..count {
            // One mailbox is one destination: three entries for the first, one for the last.
            let address = format!("{user}@x.test");
            mail.recipients.push((address.into(), "x.test".into(), "smtp".into()));
            let _ = n;
        }
    }
    (mail.stored.recipients, mail.stored.unfinished) = (6, 6);
    mail.stored.sites = vec!["x.test".into()];
    world.accept(mail);
    world.pump();
    let order: Vec<String> = world
        .notes
        .iter()
        .filter_map(|(_, note)| match note {
            Note::Select { destination, .. } => Some(destination[..1].to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(order.join(""), "pqrpqp");
}

#[test]
fn scans_take_turns_and_see_a_second_ahead() {
    let mut world = World::new(postfix(&[]));
    world.engine.pause_deliveries(at(0));
    for (name, queue) in
        [("I1", Queue::Incoming), ("D1", Queue::Deferred), ("I2", Queue::Incoming), ("D2", Queue::Deferred)]
    {
        let mut mail = world.make(name, &[("x.test", 1)]);
        mail.stored.queue = queue;
        world.store(mail);
    }
    for (name, due) in [("near", 301), ("far", 302)] {
        let mut mail = world.make(name, &[("x.test", 1)]);
        (mail.stored.queue, mail.stored.due) = (Queue::Deferred, at(due));
        world.store(mail);
    }
    world.pump();
    let active = |world: &World| -> Vec<String> {
        let entered = |note: &Note| if let Note::Active { id, .. } = note { Some(*id) } else { None };
        world
            .notes
            .iter()
            .filter_map(|(_, note)| entered(note))
            .map(|id| world.mail[&id].name.clone())
            .collect()
    };
    assert_eq!(active(&world), ["I1", "D1", "I2", "D2"]);
    world.run_until(at(300));
    assert_eq!(active(&world)[4..], ["near"]);
}

#[test]
fn the_active_limit_holds_and_new_mail_goes_first_after_saturation() {
    let mut world = World::new(postfix(&[("qmgr_message_active_limit", "4")]));
    world.by_hand = true;
    for n in 0..4 {
        world.send(&n.to_string(), &[("x.test", 1)]);
    }
    for (name, queue) in
        [("D1", Queue::Deferred), ("D2", Queue::Deferred), ("I1", Queue::Incoming), ("I2", Queue::Incoming)]
    {
        let mut mail = world.make(name, &[("y.test", 1)]);
        mail.stored.queue = queue;
        world.store(mail);
    }
    world.engine.trigger(at(0), b"DI");
    world.pump();
    assert_eq!(world.engine.counts().active, 4);
    for _ in 0..2 {
        let number = *world.running.keys().next().unwrap();
        world.finish(number);
        world.pump();
        assert_eq!(world.engine.counts().active, 4);
    }
    assert_eq!(world.engine.counts().incoming, 0, "both new messages went first");
    assert_eq!(world.engine.counts().deferred, 2);
}

#[test]
fn a_mailing_is_read_in_pieces_and_others_pass() {
    let mut world = World::new(postfix(&[
        ("qmgr_message_recipient_limit", "100"),
        ("qmgr_message_active_limit", "100"),
        ("smtp.recipient_limit", "200"),
    ]));
    let big = world.make("big", &[("x.test", 6000), ("y.test", 6000)]);
    world.accept(big);
    for _ in 0..200 {
        world.step();
    }
    let small = world.make("small", &[("z.test", 1)]);
    let id = world.accept(small);
    let mut steps = 0;
    while world.queue(id) == Some(Queue::Incoming) {
        world.step();
        steps += 1;
    }
    assert!(steps < 50, "{steps}");
    world.pump();
    assert_eq!((world.endings["big"], world.endings["small"]), (Ending::Delivered, Ending::Delivered));
    assert!(world.most_recipients <= 10 * 100 + 200 + 1000, "{}", world.most_recipients);
    assert_eq!(world.delivered.len(), 12_001);
    assert!(world.delivered.values().all(|count| *count == 1));
}

#[test]
fn the_sink_takes_reports_about_reports() {
    let mut config = postfix(&[]);
    config.local_domains = DomainList::parse(&["local.host"], false).unwrap();
    let mut world = World::new(config);
    let mut mail = world.make("A", &[("local.host", 1)]);
    mail.recipients[0].0 = "double-bounce@local.host".into();
    let id = world.accept(mail);
    world.pump();
    assert_eq!(world.endings["A"], Ending::Delivered);
    assert!(world.attempts(id).is_empty());
}

#[test]
fn lifetime_zero_returns_mail_after_the_first_failure() {
    let mut world = World::new(postfix(&[("maximal_queue_lifetime", "0")]));
    world.answer("x.test", &[Answer::RecipientDeferred]);
    world.send("A", &[("x.test", 2)]);
    assert_eq!(world.reports, [(Time::ZERO, "A".to_owned(), ReportKind::Expired, vec![0, 1])]);
    assert_eq!(world.endings["A"], Ending::Expired);
}

#[test]
fn a_slow_site_leaves_agents_to_others() {
    let mut world =
        World::new(postfix(&[("smtp.process_limit", "8"), ("smtp.destination_concurrency_limit", "0")]));
    world.answer("slow.test", &[Answer::Hang]);
    world.by_hand = true;
    world.send("warm", &[("fast.test", 1)]);
    for n in 0..30 {
        world.send(&format!("s{n}"), &[("slow.test", 1)]);
    }
    let fast = world.send("fast", &[("fast.test", 1)]);
    assert_eq!(world.attempts(fast).len(), 1);
}

#[test]
fn a_site_that_hangs_stops_at_its_share_and_one_that_answers_does_not() {
    let limits = [("smtp.process_limit", "8"), ("smtp.initial_destination_concurrency", "20")];
    for (answer, expected) in [(Answer::Hang, 6), (Answer::Ok, 8)] {
        let mut world = World::new(postfix(&limits));
        world.by_hand = true;
        world.answer("x.test", &[answer]);
        for n in 0..40 {
            world.send(&n.to_string(), &[("x.test", 1)]);
        }
        assert_eq!(world.running.len(), 6, "nothing is known of the site yet");
        if answer == Answer::Ok {
            let number = *world.running.keys().next().unwrap();
            world.finish(number);
            world.pump();
        }
        assert_eq!(world.running.len(), expected, "{answer:?}");
    }
}

#[test]
fn mail_that_was_tried_and_failed_for_the_site_wakes_with_it_too() {
    let mut world = World::new(Config::new(Preset::Postrider));
    world.answer("x.test", &[Answer::SiteDown]);
    world.run_until(at(0));
    let ids: Vec<QueueId> = (0..12).map(|n| world.send(&n.to_string(), &[("x.test", 1)])).collect();
    let tried = ids.iter().filter(|id| !world.attempts(**id).is_empty()).count();
    assert!((3..12).contains(&tried), "{tried}");
    world.answer("x.test", &[Answer::Ok]);
    world.run_until(at(300));
    assert!(world.mail.is_empty(), "{} sleep on", world.mail.len());
}

#[test]
fn a_site_that_never_died_wakes_nothing_before_its_time() {
    let mut world = World::new(Config::new(Preset::Postrider));
    world.answer("x.test", &[Answer::SiteDown, Answer::Ok]);
    let a = world.send("A", &[("x.test", 1)]);
    world.send("B", &[("x.test", 1)]);
    assert_eq!(world.endings.get("B"), Some(&Ending::Delivered));
    world.run_until(at(299));
    assert_eq!(world.attempts(a), [0]);
    world.run_until(at(400));
    assert_eq!(world.endings["A"], Ending::Delivered);
}

/// Reference 4.6: jobs with the current blocker tag are no candidates. Z has the only delivery that `slow`
/// may have, so b is passed over when C is served. X is older than all: it becomes current in front of b.
/// Its first entry earns it a slot. Were b let in front of it, its price would leave X in debt, and d would
/// wait for five more entries of X.
#[test]
fn a_blocked_job_overtakes_nobody_that_comes_to_stand_in_front_of_it() {
    let mut world = World::new(postfix(&[
        ("t.process_limit", "2"),
        ("t.initial_destination_concurrency", "1"),
        ("t.destination_concurrency_limit", "1"),
        ("t.destination_recipient_limit", "1"),
        ("destination_process_share", "100%"),
    ]));
    world.by_hand = true;
    world.now = at(100);
    let mut names = BTreeMap::new();
    let mut send = |world: &mut World, name: &str, mailbox: &str, count: usize, entered: i64| {
        let mut mail = world.make(name, &[]);
        let address = format!("{mailbox}@x.test");
        mail.recipients = vec![(address.into(), "x.test".into(), "t".into()); count];
        (mail.stored.recipients, mail.stored.unfinished) = (count as u32, count as u32);
        (mail.stored.sites, mail.stored.entered) = (vec!["x.test".into()], Some(at(entered)));
        names.insert(mail.stored.id, name.to_owned());
        world.accept(mail);
        world.pump();
    };
    let next = |world: &mut World| {
        let number = *world.running.keys().next_back().unwrap();
        world.finish(number);
        world.pump();
    };
    send(&mut world, "Z", "slow", 1, 1);
    send(&mut world, "b", "slow", 1, 2);
    send(&mut world, "C", "fast", 20, 3);
    send(&mut world, "X", "fast", 20, 0);
    next(&mut world);
    next(&mut world);
    send(&mut world, "d", "fast", 1, 4);
    next(&mut world);
    next(&mut world);
    assert_eq!(world.order(&names), "Z C X×2 d X");
}

/// After a probe that went well a failure is like any other: the first takes two off the window, and no more.
#[test]
fn a_site_that_answered_its_probe_is_not_on_probation() {
    let mut config = Config::new(Preset::Postrider);
    config.set("retry_jitter", "0").unwrap();
    let mut world = World::new(config);
    world.by_hand = true;
    world.answer("x.test", &[Answer::SiteDown]);
    (0..3).for_each(|n| _ = world.send(&n.to_string(), &[("x.test", 1)]));
    let finish = |world: &mut World| {
        let number = *world.running.keys().next().unwrap();
        world.finish(number);
        world.pump();
        world.window("x.test")
    };
    assert_eq!([(); 3].map(|()| finish(&mut world)), [3, 2, 0]);
    world.answer("x.test", &[Answer::Ok]);
    world.run_until(at(300));
    assert_eq!(finish(&mut world), 6, "the probe goes well");
    world.answer("x.test", &[Answer::SiteDown]);
    assert_eq!(finish(&mut world), 4, "one failure is one failure");
}

/// The first good delivery after a death lets out as many as the window has room for: it is 6 then, and the
/// delivery that ends still counts. What is due by itself is due at 6000 s.
#[test]
fn mail_wakes_behind_the_probe_as_the_window_has_room() {
    let mut config = Config::new(Preset::Postrider);
    config.set("retry_jitter", "0").unwrap();
    let mut world = World::new(config);
    world.by_hand = true;
    world.answer("x.test", &[Answer::SiteDown]);
    let mails: Vec<_> = (0..30).map(|n| world.make(&n.to_string(), &[("x.test", 1)])).collect();
    world.run_until(at(3000));
    mails.into_iter().for_each(|mail| _ = world.accept(mail));
    world.pump();
    while let Some(number) = world.running.keys().next().copied() {
        world.finish(number);
        world.pump();
    }
    assert_eq!(world.engine.counts().deferred, 30);
    world.answer("x.test", &[Answer::Ok]);
    world.run_until(at(3300));
    let probe = *world.running.keys().next().unwrap();
    assert_eq!(world.engine.counts().active, 1, "one probes");
    world.finish(probe);
    world.pump();
    assert_eq!(world.engine.counts().active, 5);
    let next = *world.running.keys().next().unwrap();
    world.finish(next);
    world.pump();
    assert_eq!(world.engine.counts().active, 6, "the window is 7 now, and one has just ended");
}

/// A scan sees a second ahead, but not what was put back while it ran: A fails at 9.5 s and is due at 10.5 s.
/// The scan at 10 s tries it, cannot end because the active queue is full, and it is due at 11 s, within that
/// second.
#[test]
fn a_scan_tries_nothing_twice() {
    let mut world = World::new(postfix(&[
        ("minimal_backoff_time", "1s"),
        ("queue_run_delay", "10s"),
        ("qmgr_message_active_limit", "1"),
    ]));
    world.answer("x.test", &[Answer::RecipientDeferred, Answer::RecipientDeferred, Answer::Ok]);
    world.run_until(Time::from_millis(9500));
    let id = world.send("A", &[("x.test", 1)]);
    world.run_until(at(25));
    assert_eq!(world.attempts(id), [9, 10, 20]);
}

/// Reference 4.10, step 8: with more than twice `qmgr_message_recipient_limit` destinations a dead one that
/// has no mail in memory is forgotten.
#[test]
fn no_more_dead_sites_are_remembered_than_the_limit_says() {
    let mut world = World::new(postfix(&[
        ("qmgr_message_active_limit", "2"),
        ("qmgr_message_recipient_limit", "2"),
        ("smtp.initial_destination_concurrency", "1"),
    ]));
    for n in 0..10 {
        let site = format!("s{n}.test");
        world.answer(&site, &[Answer::SiteDown]);
        world.send(&n.to_string(), &[(&site, 1)]);
        let dead = |site: &&qmgr::SiteView| matches!(site.state, DestinationState::Throttled { .. });
        assert_eq!(world.engine.sites().iter().filter(dead).count(), (n + 1).min(4), "after {site}");
    }
}
