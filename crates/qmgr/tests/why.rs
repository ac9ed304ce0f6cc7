//! What the engine says a message waits for is the truth: with the named cause taken away, and nothing
//! else, the message runs; and while it is there, it does not.

mod world;

use std::time::Duration;

use mail::{QueueId, Rng, Time};
use qmgr::{Config, Note, Preset, Why};
use world::{Answer, World};

const SITES: [&str; 4] = ["a.test", "b.test", "lmtp/c.test", "slow/d.test"];
const ANSWERS: [Answer; 4] = [Answer::Ok, Answer::RecipientDeferred, Answer::SiteDown, Answer::NoAgent];
/// Causes that one message may have one after the other: as many as deliveries have to end before it.
const CAUSES_MAX: usize = 3000;
const DAY: Duration = Duration::from_secs(86_400);

fn random_config(rng: &mut Rng) -> Config {
    let preset = if rng.chance(1, 2) { Preset::Postfix } else { Preset::Postrider };
    let mut config = Config::new(preset);
    let mut maybe = |name: &str, values: &[&str]| {
        if rng.chance(1, 2) {
            let value = values[rng.below(values.len() as u64) as usize];
            config.set_any(name, value).expect("valid");
        }
    };
    maybe("qmgr_message_active_limit", &["1", "3"]);
    maybe("default_process_limit", &["1", "2", "5"]);
    maybe("default_destination_concurrency_limit", &["1", "4"]);
    maybe("initial_destination_concurrency", &["1", "2"]);
    maybe("lmtp.destination_rate_delay", &["500ms", "3s"]);
    maybe("slow.transport_rate_delay", &["250ms", "2s"]);
    maybe("site_recovery_wakeup", &["yes", "no"]);
    config
}

/// A world in the middle of its work: some mail in delivery, some deferred, some on hold.
fn busy_world(rng: &mut Rng) -> (World, Vec<QueueId>) {
    let mut world = World::new(random_config(rng));
    world.by_hand = true;
    let mut ids = Vec::new();
    for n in 0..30 {
        let site = SITES[rng.below(4) as usize];
        world.answer(
            site.trim_start_matches("lmtp/").trim_start_matches("slow/"),
            &[ANSWERS[rng.below(4) as usize]],
        );
        ids.push(world.send(&format!("m{n}"), &[(site, 1 + rng.below(3) as usize)]));
        if rng.chance(1, 2) {
            finish_one(&mut world, |_, _| true);
        }
        if rng.chance(1, 4) {
            world.run_for(Duration::from_millis(rng.below(900_000)));
        }
        if rng.chance(1, 8) {
            let id = ids[rng.below(ids.len() as u64) as usize];
            world.engine.hold(world.now, &[id]);
            world.pump();
        }
    }
    (world, ids)
}

/// Ends the oldest delivery of this kind; `false` when there is none.
fn finish_one(world: &mut World, of: impl Fn(&str, &str) -> bool) -> bool {
    let mut running = world.running.values();
    let Some(number) = running.find(|d| of(&d.transport, &d.nexthop)).map(|delivery| delivery.number) else {
        return false;
    };
    world.finish(number);
    world.pump();
    true
}

/// How often the message was given to an agent.
fn selections(world: &World, id: QueueId) -> usize {
    let of = |note: &Note| matches!(note, Note::Select { id: selected, .. } if *selected == id);
    world.notes.iter().filter(|(_, note)| of(note)).count()
}

/// Lets the next planned thing happen.
fn next_event(world: &mut World) {
    let next = world.engine.poll_timeout().expect("what waits for a moment has a timer");
    world.run_until(next.max(world.now));
}

fn wait_until(world: &mut World, until: Time) {
    match until > world.now {
        true => world.run_until(until),
        // Deferred mail that is due waits for the next scan where there are scans.
        false => next_event(world),
    }
}

/// Takes the cause away, and nothing else.
fn remove(world: &mut World, id: QueueId, cause: &Why) {
    match cause {
        Why::Hold => assert_eq!(world.engine.release(world.now, &[id]).done, 1),
        Why::Due { at, .. } => wait_until(world, *at),
        Why::RateDelay { until, .. } => wait_until(world, *until),
        Why::SiteDead { destination, until, .. } => {
            world.answer(destination, &[Answer::Ok]);
            wait_until(world, *until);
        }
        Why::WindowFull { transport, destination, .. } => {
            assert!(
                finish_one(world, |t, d| *t == **transport && *d == **destination),
                "a window without use"
            );
        }
        Why::AgentsBusy { transport, .. } => {
            assert!(finish_one(world, |t, _| *t == **transport), "agents that do nothing");
        }
        Why::Turn { transport } => {
            // Whoever goes first waits for something itself when no delivery runs.
            if !finish_one(world, |t, _| *t == **transport) {
                next_event(world);
            }
        }
        Why::ActiveLimit { .. } | Why::FlushPending => {
            if !finish_one(world, |_, _| true) {
                next_event(world);
            }
        }
        other => panic!("{id} waits for {other:?} although nothing is left to do"),
    }
    world.pump();
}

fn removing_causes_makes_it_run(seed: u64) {
    let mut rng = Rng::new(seed);
    let (mut world, ids) = busy_world(&mut rng);
    let live: Vec<QueueId> = ids.into_iter().filter(|id| world.mail.contains_key(id)).collect();
    if live.is_empty() {
        return;
    }
    let id = live[rng.below(live.len() as u64) as usize];
    let before = selections(&world, id);
    let mut causes = Vec::new();
    while world.mail.contains_key(&id) && selections(&world, id) == before {
        let cause = world.engine.why_message(id);
        if matches!(cause, Why::BeingDelivered { .. }) {
            return;
        }
        remove(&mut world, id, &cause);
        causes.push(cause);
        assert!(causes.len() < CAUSES_MAX, "{id} never ran: {:?}", &causes[causes.len() - 10..]);
    }
}

/// Until its due time, and for ever while it is on hold, a message that waits for that alone stays.
fn while_the_cause_is_there_it_stays(seed: u64) {
    let mut rng = Rng::new(seed);
    let (mut world, ids) = busy_world(&mut rng);
    for id in ids {
        let before = selections(&world, id);
        match world.engine.why_message(id) {
            Why::Hold => world.run_for(DAY),
            Why::Due { at, .. } if at > world.now => {
                world.run_until(Time::from_millis(at.as_millis() - 1));
            }
            _ => continue,
        }
        assert_eq!(selections(&world, id), before, "{id} ran although its cause was there");
    }
}

fn every_seed(name: &str, property: fn(u64)) {
    let given: Option<u64> = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in given.map_or(1..=80, |seed| seed..=seed) {
        if let Err(panic) = std::panic::catch_unwind(|| property(seed)) {
            eprintln!("POSTRIDER_SEED={seed} cargo test -p qmgr --test why {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_message_runs_when_its_cause_is_removed() {
    every_seed("a_message_runs", removing_causes_makes_it_run);
}

#[test]
fn a_message_stays_while_its_cause_is_there() {
    every_seed("a_message_stays", while_the_cause_is_there_it_stays);
}

#[test]
fn each_cause_is_named() {
    let mut named = std::collections::BTreeSet::new();
    for seed in 1..=40 {
        let (world, ids) = busy_world(&mut Rng::new(seed));
        for id in ids {
            let why = format!("{:?}", world.engine.why_message(id));
            named.insert(why.split([' ', '{']).next().unwrap_or_default().to_owned());
        }
    }
    for cause in ["Hold", "Due", "SiteDead", "WindowFull", "AgentsBusy", "RateDelay", "ActiveLimit"] {
        assert!(named.contains(cause), "{cause} is never met: {named:?}");
    }
    assert_eq!(
        World::new(Config::new(Preset::Postrider)).engine.why_message(QueueId::from_u64(1)),
        Why::Unknown
    );
}

/// A relay host takes the mail of all sites: what a site waits for is told by its own messages, those that
/// wait before those that are being delivered.
#[test]
fn a_site_behind_a_relay_host_waits_for_what_its_mail_waits_for() {
    let mut config = Config::new(Preset::Postrider);
    config.set_any("smtp.initial_destination_concurrency", "1").expect("valid");
    let mut world = World::new(config);
    (world.by_hand, world.relayhost) = (true, Some("relay.test".into()));
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        ids.push(world.send(name, &[("x.test", 1)]));
    }
    assert!(matches!(world.engine.why_message(ids[0]), Why::BeingDelivered { .. }));
    assert!(
        matches!(world.engine.why_site("x.test"), Why::WindowFull { .. }),
        "{:?}",
        world.engine.why_site("x.test")
    );
    world.engine.delete(world.now, &[ids[1]]);
    world.pump();
    assert!(matches!(world.engine.why_site("x.test"), Why::BeingDelivered { .. }));
}
