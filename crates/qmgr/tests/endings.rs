//! Every accepted recipient ends in one recorded way, and its sender hears of it once: whatever sites answer,
//! operators do, and whenever the process dies between an outcome, its record, the report and the removal.

mod world;

use std::time::Duration;

use mail::{QueueId, Rng};
use qmgr::{Config, Note, Preset, Queue};
use world::{Answer, World};

const SITES: [&str; 4] = ["a.test", "b.test", "lmtp/c.test", "lmtp/d.test"];
const ANSWERS: [Answer; 6] =
    [Answer::Ok, Answer::Bounce, Answer::RecipientDeferred, Answer::SiteDown, Answer::Die, Answer::NoAgent];

fn random_config(rng: &mut Rng) -> Config {
    let preset = if rng.chance(1, 3) { Preset::Postfix } else { Preset::Postrider };
    let mut config = Config::new(preset);
    let mut maybe = |name: &str, values: &[&str]| {
        if rng.chance(1, 2) {
            let value = values[rng.below(values.len() as u64) as usize];
            config.set_any(name, value).expect("valid");
        }
    };
    maybe("default_destination_recipient_limit", &["1", "2"]);
    maybe("default_destination_concurrency_limit", &["1", "2"]);
    maybe("initial_destination_concurrency", &["1"]);
    maybe("qmgr_message_recipient_minimum", &["1"]);
    maybe("qmgr_message_recipient_limit", &["5"]);
    maybe("delay_warning_time", &["10m"]);
    maybe("confirm_delay_cleared", &["yes"]);
    maybe("bounce_report_delay", &["0", "30s"]);
    // Nothing lives longer than a day, so that a world ends soon.
    let lifetime = ["0", "20m", "3h", "6h"][rng.below(4) as usize];
    config.set_any("maximal_queue_lifetime", lifetime).expect("valid");
    config.set_any("bounce_queue_lifetime", lifetime).expect("valid");
    config
}

fn act(world: &mut World, rng: &mut Rng, ids: &mut Vec<QueueId>) {
    let now = world.now;
    let some = |rng: &mut Rng, ids: &[QueueId]| -> Vec<QueueId> {
        ids.get(rng.below(ids.len().max(1) as u64) as usize).copied().into_iter().collect()
    };
    match rng.below(14) {
        0..=3 => {
            let sites: Vec<(&str, usize)> = (0..1 + rng.below(3))
                .map(|_| (SITES[rng.below(4) as usize], 1 + rng.below(4) as usize))
                .collect();
            let mut mail = world.make(&format!("m{}", ids.len()), &sites);
            mail.stored.null_sender = rng.chance(1, 8);
            mail.wants_success = (0..mail.recipients.len() as u32).filter(|_| rng.chance(1, 2)).collect();
            ids.push(mail.stored.id);
            world.accept(mail);
        }
        4..=6 => {
            let site = SITES[rng.below(4) as usize].trim_start_matches("lmtp/");
            world.answer(site, &[ANSWERS[rng.below(6) as usize], ANSWERS[rng.below(6) as usize]]);
        }
        7 | 8 => world.run_for(Duration::from_millis(rng.below(900_000))),
        9 => {
            world.engine.hold(now, &some(rng, ids));
        }
        10 => {
            world.engine.release(now, &some(rng, ids));
        }
        11 => {
            world.engine.requeue(now, &some(rng, ids));
        }
        12 if rng.chance(1, 3) => {
            world.engine.expire(now, &some(rng, ids), true);
        }
        13 => world.refuse_reports = rng.chance(1, 4),
        _ => {}
    }
}

/// One world from its seed.
fn live(seed: u64, may_crash: bool) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(random_config(&mut rng));
    world.by_hand = rng.chance(1, 2);
    let (mut ids, mut crashes) = (Vec::new(), 0);
    for _ in 0..40 {
        act(&mut world, &mut rng, &mut ids);
        for _ in 0..rng.below(12) {
            world.step();
        }
        let running: Vec<_> = world.running.keys().copied().collect();
        if let (true, Some(number)) = (world.by_hand, running.first()) {
            world.finish(*number);
            for _ in 0..rng.below(4) {
                world.step();
            }
        }
        if may_crash && rng.chance(1, 6) {
            world.crash();
            crashes += 1;
        }
        world.engine.check_invariants().unwrap_or_else(|broken| panic!("{broken}"));
    }
    (world.by_hand, world.refuse_reports) = (false, false);
    world.pump();
    world.engine.release(world.now, &ids);
    for _ in 0..24 {
        if !world.mail.is_empty() {
            world.run_for(Duration::from_secs(3600));
        }
    }
    assert!(
        world.mail.is_empty(),
        "{:?}",
        world.mail.keys().map(|id| world.engine.why_message(*id)).collect::<Vec<_>>()
    );
    // Only a crash between this very recipient's report and the mark of it may repeat the report.
    let lost = |who| world.marks_lost.get(who).copied().unwrap_or(0);
    for (what, told) in [("failure", &world.failures_told), ("success", &world.successes_told)] {
        let often = told.iter().find(|(who, count)| **count > 1 + lost(who));
        assert!(often.is_none(), "a {what} was told too often: {often:?} with {crashes} crashes");
    }
    if crashes == 0 {
        let both = world.failures_told.keys().find(|who| world.delivered.contains_key(*who));
        assert!(both.is_none(), "delivered and reported as failed: {both:?}");
        assert!(world.delivered.values().all(|count| *count == 1), "a recipient was delivered twice");
    }
}

fn every_seed(name: &str, property: fn(u64)) {
    let given: Option<u64> = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in given.map_or(1..=150, |seed| seed..=seed) {
        if let Err(panic) = std::panic::catch_unwind(|| property(seed)) {
            eprintln!("POSTRIDER_SEED={seed} cargo test -p qmgr --test endings {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Memory is full of mail that hangs; what waits for room behind it has its times all the same.
#[test]
fn mail_that_waits_for_room_is_warned_and_ends_in_time() {
    let mut config = Config::default();
    for (name, value) in
        [("qmgr_message_active_limit", "2"), ("delay_warning_time", "1h"), ("maximal_queue_lifetime", "3h")]
    {
        config.set_any(name, value).expect("valid");
    }
    let mut world = World::new(config);
    world.by_hand = true;
    for name in ["hangs", "hangs, too"] {
        world.send(name, &[("a.test", 1)]);
    }
    let waiting: Vec<QueueId> = (0..5).map(|n| world.send(&format!("w{n}"), &[("b.test", 2)])).collect();
    let told = |world: &World, id: QueueId| -> Vec<&'static str> {
        let words = world.notes.iter().filter_map(|(_, note)| match note {
            Note::Warned { id: of, positions } if *of == id && positions.len() == 2 => Some("warned"),
            Note::Expired { id: of, positions, .. } if *of == id && positions.len() == 2 => Some("expired"),
            _ => None,
        });
        words.collect()
    };
    world.run_for(Duration::from_secs(3590));
    assert!(waiting.iter().all(|id| told(&world, *id).is_empty()));
    world.run_for(Duration::from_secs(80));
    for id in &waiting {
        assert_eq!(told(&world, *id), ["warned"]);
        assert_eq!(world.queue(*id), Some(Queue::Incoming), "it waits on");
        assert_eq!(world.engine.message(*id).map(|message| message.attempts), Some(0));
    }
    world.run_for(Duration::from_secs(2 * 3600));
    for id in &waiting {
        assert_eq!(told(&world, *id), ["warned", "expired"]);
        assert_eq!(world.queue(*id), None);
    }
    assert_eq!(world.engine.counts().active, 2);
    world.engine.check_invariants().expect("all is well");
}

#[test]
fn each_recipient_ends_once_and_is_told_of_once() {
    every_seed("each_recipient_ends_once", |seed| live(seed, false));
}

#[test]
fn a_crash_repeats_a_report_at_most_once_and_loses_none() {
    every_seed("a_crash_repeats", |seed| live(seed, true));
}
