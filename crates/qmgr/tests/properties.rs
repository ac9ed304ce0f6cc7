//! Random worlds: whatever sites answer and operators do, the engine keeps its promises.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use flush::Authority;
use mail::{QueueId, Rng, Time};
use qmgr::{Config, DestinationState, Note, Preset};
use world::{Answer, World};

const SITES: [&str; 6] = ["a.test", "b.test", "c.test", "lmtp/d.test", "lmtp/e.test", "slow/f.test"];
const ANSWERS: [Answer; 7] = [
    Answer::Ok,
    Answer::Ok,
    Answer::RecipientDeferred,
    Answer::SiteDown,
    Answer::Bounce,
    Answer::Die,
    Answer::NoAgent,
];

fn random_config(rng: &mut Rng) -> Config {
    let preset = if rng.chance(1, 2) { Preset::Postfix } else { Preset::Postrider };
    let mut config = Config::new(preset);
    let mut maybe = |name: &str, values: &[&str]| {
        if rng.chance(1, 3) {
            let value = values[rng.below(values.len() as u64) as usize];
            config.set_any(name, value).expect("valid");
        }
    };
    maybe("qmgr_message_active_limit", &["1", "3", "10"]);
    maybe("qmgr_message_recipient_limit", &["10", "50"]);
    maybe("qmgr_message_recipient_minimum", &["1", "3"]);
    maybe("default_process_limit", &["0", "1", "2", "5"]);
    maybe("default_recipient_limit", &["5", "20"]);
    maybe("default_extra_recipient_limit", &["0", "5"]);
    maybe("default_recipient_refill_limit", &["1", "7"]);
    maybe("default_destination_recipient_limit", &["0", "1", "3"]);
    maybe("default_destination_concurrency_limit", &["0", "1", "4"]);
    maybe("initial_destination_concurrency", &["1", "2"]);
    maybe("default_destination_concurrency_failed_cohort_limit", &["0", "3"]);
    maybe("default_delivery_slot_cost", &["0", "2", "3"]);
    maybe("default_minimum_delivery_slots", &["1"]);
    maybe("lmtp.destination_rate_delay", &["500ms", "3s"]);
    maybe("slow.transport_rate_delay", &["250ms", "2s"]);
    maybe("delay_warning_time", &["1h"]);
    maybe("maximal_queue_lifetime", &["1h", "1d"]);
    maybe("soft_bounce", &["yes"]);
    maybe("defer_transports", &["slow"]);
    maybe("queue_run_delay", &["0", "100s"]);
    maybe("keep_learned_concurrency", &["0", "1h"]);
    config
}

/// One random event.
fn act(world: &mut World, rng: &mut Rng, ids: &mut Vec<QueueId>) {
    let some = |rng: &mut Rng, ids: &[QueueId]| -> Vec<QueueId> {
        let count = rng.below(3) as usize + 1;
        (0..count).filter_map(|_| ids.get(rng.below(ids.len() as u64) as usize).copied()).collect()
    };
    let now = world.now;
    match rng.below(20) {
        0..=6 => {
            let sites: Vec<(&str, usize)> = (0..1 + rng.below(3))
                .map(|_| (SITES[rng.below(6) as usize], 1 + rng.below(8) as usize))
                .collect();
            let mut mail = world.make(&format!("m{}", ids.len()), &sites);
            mail.stored.null_sender = rng.chance(1, 5);
            ids.push(mail.stored.id);
            world.accept(mail);
        }
        7 | 8 => {
            let site = SITES[rng.below(6) as usize];
            let site = site.rsplit_once('/').map_or(site, |(_, site)| site);
            world.answer(site, &[ANSWERS[rng.below(7) as usize], ANSWERS[rng.below(7) as usize]]);
        }
        9 => world.run_for(Duration::from_millis(rng.below(4_000_000))),
        10 => {
            world.engine.hold(now, &some(rng, ids));
        }
        11 => {
            world.engine.release(now, &some(rng, ids));
        }
        12 => {
            world.engine.requeue(now, &some(rng, ids));
        }
        13 if rng.chance(1, 4) => {
            world.engine.delete(now, &some(rng, ids));
        }
        14 if rng.chance(1, 2) => {
            world.engine.expire(now, &some(rng, ids), rng.clone().chance(1, 2));
        }
        15 => {
            world.engine.flush_site(now, &SITES[rng.below(3) as usize].to_uppercase(), Authority::Operator);
        }
        16 => {
            for id in some(rng, ids) {
                world.engine.flush_message(now, id);
            }
        }
        17 => world.engine.trigger(now, &b"DIAFW"[rng.below(5) as usize..]),
        18 => {
            world.engine.release_ids(now, &some(rng, ids));
        }
        19 => world.refuse_reports = rng.chance(1, 3),
        _ => {}
    }
}

fn check(world: &World, limit_of_window: u64) {
    world.engine.check_invariants().unwrap_or_else(|broken| panic!("{broken}"));
    for site in world.engine.sites() {
        match site.state {
            DestinationState::Ready { window } => {
                assert!(limit_of_window == 0 || u64::from(window) <= limit_of_window, "{site:?}");
            }
            DestinationState::Throttled { .. } => assert_eq!(site.todo, 0, "{site:?}"),
            DestinationState::Suspended { .. } => {}
        }
    }
    let counts = world.engine.counts();
    let live = counts.incoming + counts.active + counts.deferred + counts.hold;
    // The spool is behind by the effects that were not taken yet.
    assert!(live as usize <= world.mail.len(), "messages that the spool does not know");
}

/// One world from its seed: random events, then all sites well, nothing on hold, and time passes.
fn live(seed: u64) {
    let mut rng = Rng::new(seed);
    let config = random_config(&mut rng);
    let limit = config.transport("smtp").destination_concurrency_limit;
    let fifo = config.transport("smtp").delivery_slot_cost < 2;
    let mut world = World::new(config);
    world.by_hand = rng.chance(1, 2);
    let mut ids = Vec::new();
    for _ in 0..60 {
        act(&mut world, &mut rng, &mut ids);
        for _ in 0..rng.below(30) {
            world.step();
        }
        if world.by_hand && rng.chance(1, 2) {
            let running: Vec<_> = world.running.keys().copied().collect();
            if !running.is_empty() {
                world.finish(running[rng.below(running.len() as u64) as usize]);
            }
        }
        check(&world, limit);
    }
    (world.by_hand, world.refuse_reports) = (false, false);
    world.answers.clear();
    world.pump();
    world.engine.release(world.now, &ids);
    // Whether somebody asks for it or not: all mail ends by itself.
    if rng.chance(1, 2) {
        world.engine.flush_all(world.now);
    }
    world.run_for(Duration::from_secs(30 * 86_400));
    check(&world, limit);
    assert!(
        world.mail.is_empty(),
        "{:?}",
        world.mail.keys().map(|id| world.engine.why_message(*id)).collect::<Vec<_>>()
    );
    assert!(world.delivered.values().all(|count| *count == 1), "a recipient was delivered twice");
    assert!(world.engine.recorded_sites().is_empty(), "the flush record forgot to forget");
    for transport in world.engine.transports() {
        let limit = world.config.transport(&transport.transport).recipient_limit as i64;
        assert_eq!(
            transport.free_recipient_slots, limit,
            "{}: slots that did not return",
            transport.transport
        );
    }
    // Recipients that are read later come later.
    check_order(&world, fifo && !world.read_in_pieces);
    check_dead_are_left_alone(&world);
}

/// A site's own mail is first in, first out: of messages that entered memory once, none passes another.
fn check_order(world: &World, fifo: bool) {
    if !fifo {
        return;
    }
    let mut entered: BTreeMap<QueueId, Vec<usize>> = BTreeMap::new();
    let mut last: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (place, (_, note)) in world.notes.iter().enumerate() {
        match note {
            Note::Active { id, .. } => entered.entry(*id).or_default().push(place),
            Note::Select { id, transport, destination, .. } => {
                let since = entered[id].last().copied().unwrap_or(0);
                let before = last.entry((transport.to_string(), destination.to_string())).or_default();
                assert!(since >= *before, "{id} was passed by a younger message for {destination}");
                *before = since;
            }
            _ => {}
        }
    }
}

/// Between the death of a destination and its recovery nothing is selected for it.
fn check_dead_are_left_alone(world: &World) {
    let mut dead: BTreeMap<(String, Option<String>), Time> = BTreeMap::new();
    let key = |place: &qmgr::Place| {
        (place.transport.to_string(), place.destination.as_ref().map(|d| d.to_string()))
    };
    for (at, note) in &world.notes {
        match note {
            Note::Dead { place, .. } => drop(dead.insert(key(place), *at)),
            Note::Alive { place, .. } => drop(dead.remove(&key(place))),
            Note::Select { transport, destination, .. } => {
                let transport = transport.to_string();
                assert!(
                    !dead.contains_key(&(transport.clone(), Some(destination.to_string()))),
                    "{destination}"
                );
                assert!(!dead.contains_key(&(transport, None)), "{destination}");
            }
            _ => {}
        }
    }
}

#[test]
fn random_worlds_keep_every_promise() {
    let given: Option<u64> = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse().ok());
    let worlds = std::env::var("POSTRIDER_WORLDS").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    let seeds = given.map_or(1..=worlds, |seed| seed..=seed);
    for seed in seeds {
        let result = std::panic::catch_unwind(|| live(seed));
        if let Err(panic) = result {
            eprintln!("POSTRIDER_SEED={seed} cargo test -p qmgr --test properties random_worlds");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed: u64| {
        let mut rng = Rng::new(seed);
        let mut world = World::new(random_config(&mut rng));
        let mut ids = Vec::new();
        for _ in 0..40 {
            act(&mut world, &mut rng, &mut ids);
            world.pump();
        }
        format!("{:?}", world.notes)
    };
    assert_eq!(run(5), run(5));
    assert!(run(5).len() > 1000);
}

/// A pool of agents that several sites share: an agent begins at a site that holds its share already only
/// when no other site has anything that could take it.
fn share_agents(seed: u64) {
    let mut rng = Rng::new(seed);
    let limit = 1 + rng.below(12);
    let share = 10 + rng.below(91);
    let mut config = Config::new(Preset::Postrider);
    for (name, value) in [
        ("smtp.process_limit", limit.to_string()),
        ("destination_process_share", format!("{share}%")),
        ("smtp.initial_destination_concurrency", "100".to_owned()),
        ("smtp.destination_concurrency_limit", "0".to_owned()),
    ] {
        config.set_any(name, &value).expect("valid");
    }
    let most = (limit * share).div_ceil(100).max(1) as u32;
    let mut world = World::new(config);
    world.by_hand = true;
    for n in 0..200 {
        if rng.chance(2, 3) || world.running.is_empty() {
            let site = SITES[rng.below(3) as usize];
            let mail = world.make(&n.to_string(), &[(site, 1)]);
            world.accept(mail);
        } else {
            let place = rng.below(world.running.len() as u64) as usize;
            let number = *world.running.keys().nth(place).expect("in range");
            world.finish(number);
        }
        loop {
            let before = world.engine.sites();
            let newest = world.running.keys().next_back().copied();
            if !world.step() {
                break;
            }
            let now = world.running.keys().next_back().copied();
            let begun = now.filter(|_| now > newest).map(|number| world.destination_of(number));
            for site in world.engine.sites() {
                let grew = begun.as_deref() == Some(&*site.destination);
                let others_wait =
                    before.iter().any(|other| other.destination != site.destination && other.todo > 0);
                assert!(
                    !(grew && others_wait && site.busy > most),
                    "{} of {limit} at {}",
                    site.busy,
                    site.destination
                );
            }
            let busy: u32 = world.engine.sites().iter().map(|site| site.busy).sum();
            assert!(u64::from(busy) <= limit, "{busy} agents of {limit}");
        }
    }
}

#[test]
fn random_pools_are_shared() {
    let given: Option<u64> = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in given.map_or(1..=50, |seed| seed..=seed) {
        if let Err(panic) = std::panic::catch_unwind(|| share_agents(seed)) {
            eprintln!("POSTRIDER_SEED={seed} cargo test -p qmgr --test properties random_pools");
            std::panic::resume_unwind(panic);
        }
    }
}
