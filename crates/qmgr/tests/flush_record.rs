//! The flush record after any random history equals what a walk over the queue gives, also after a crash;
//! and the logs that are written from the notes say what the engine says.
//!
//! `POSTRIDER_SEED=7 cargo test -p qmgr --test flush_record` tries that one history.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flush::{Authority, LogChange};
use mail::{DomainList, QueueId, Rng};
use qmgr::{Config, Engine, Note, Preset, Queue, Shape, ShapePage};
use world::{Answer, World};

const SITES: [&str; 5] = ["a.test", "sub.a.test", "b.test", "lmtp/c.test", "slow/d.test"];
const ANSWERS: [Answer; 6] =
    [Answer::Ok, Answer::RecipientDeferred, Answer::SiteDown, Answer::SiteDown, Answer::Bounce, Answer::Die];
/// Events of one history.
const EVENTS: u32 = 80;

fn config(rng: &mut Rng) -> Config {
    let preset = if rng.chance(1, 2) { Preset::Postfix } else { Preset::Postrider };
    let mut config = Config::new(preset);
    for (name, values) in [
        ("qmgr_message_active_limit", ["3", "20000"]),
        ("default_destination_concurrency_limit", ["1", "20"]),
        ("default_destination_recipient_limit", ["1", "50"]),
        ("fast_flush_refresh_time", ["1h", "12h"]),
        ("fast_flush_purge_time", ["2h", "7d"]),
        ("maximal_queue_lifetime", ["3h", "5d"]),
        ("defer_transports", ["slow", ""]),
    ] {
        config.set_any(name, values[rng.below(2) as usize]).expect("valid");
    }
    config.fast_flush_domains = eligible(rng);
    config
}

fn eligible(rng: &mut Rng) -> DomainList {
    let lists: [&[&str]; 4] = [&["a.test"], &["!sub.a.test", "a.test", "b.test"], &["a.test", "d.test"], &[]];
    DomainList::parse(lists[rng.below(4) as usize], true).expect("valid")
}

/// The logs as the notes have them written.
#[derive(Default)]
struct Logs {
    files: BTreeMap<Arc<str>, BTreeSet<QueueId>>,
    /// Notes that were looked at.
    seen: usize,
}

impl Logs {
    /// Follows the notes of the world, and checks that each line means something.
    fn follow(&mut self, world: &World) {
        for (_, note) in &world.notes[self.seen..] {
            let Note::FlushLog { site, change } = note else { continue };
            match change {
                LogChange::Added(id) => {
                    let new = self.files.entry(Arc::clone(site)).or_default().insert(*id);
                    assert!(new, "{id} was in the log of {site} already");
                }
                LogChange::Removed(id) => {
                    let known = self.files.get_mut(site).is_some_and(|log| log.remove(id));
                    assert!(known, "{id} was not in the log of {site}");
                }
                LogChange::Sent | LogChange::Emptied => {
                    self.files.entry(Arc::clone(site)).or_default().clear();
                }
                LogChange::Deleted => {
                    let log = self.files.remove(site);
                    assert!(log.is_some(), "the log of {site} was deleted and was not there");
                }
            }
        }
        self.seen = world.notes.len();
    }

    fn check(&self, engine: &Engine) {
        let known: Vec<Arc<str>> = engine.flush_logs().into_iter().map(|(site, _)| site).collect();
        assert!(self.files.keys().eq(&known), "logs: {:?}, not {known:?}", self.files.keys());
        for (site, log) in &self.files {
            let logged: BTreeSet<QueueId> = engine.logged_messages(site).into_iter().collect();
            assert_eq!(*log, logged, "the log of {site}");
        }
    }
}

/// Who waits for which site, told by walking over every message in the spool.
fn walk(world: &World) -> BTreeMap<Arc<str>, BTreeSet<QueueId>> {
    let mut waiting: BTreeMap<Arc<str>, BTreeSet<QueueId>> = BTreeMap::new();
    for (id, mail) in &world.mail {
        for (position, (_, site, _)) in (0..).zip(&mail.recipients) {
            if !mail.finished.contains_key(&position) {
                waiting.entry(Arc::clone(site)).or_default().insert(*id);
            }
        }
    }
    waiting
}

fn record(engine: &Engine) -> BTreeMap<Arc<str>, BTreeSet<QueueId>> {
    let sites = engine.recorded_sites().into_iter();
    sites
        .map(|(site, count)| {
            let ids: BTreeSet<QueueId> =
                engine.recorded_messages(&site, None, usize::MAX).into_iter().collect();
            assert_eq!(ids.len() as u64, count);
            (site, ids)
        })
        .collect()
}

/// What is being tried just now has outcomes that the spool does not know of yet.
fn check(world: &World, logs: &mut Logs) {
    let resting = |waiting: BTreeMap<Arc<str>, BTreeSet<QueueId>>| -> BTreeMap<_, _> {
        let mut waiting = waiting;
        waiting.values_mut().for_each(|ids| ids.retain(|id| world.queue(*id) != Some(Queue::Active)));
        waiting.retain(|_, ids| !ids.is_empty());
        waiting
    };
    assert_eq!(resting(record(&world.engine)), resting(walk(world)));
    logs.follow(world);
    logs.check(&world.engine);
}

/// The count by site equals what a walk over the mail at rest gives, whatever the size of the pages.
fn check_shape(world: &World, page: usize) {
    let mut expected: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    let mut more_than_sites = BTreeSet::new();
    for (id, mail) in world.mail.iter().filter(|(id, _)| world.queue(**id) == Some(Queue::Deferred)) {
        let open = (0..).zip(&mail.recipients).filter(|(position, _)| !mail.finished.contains_key(position));
        let sites: Vec<Arc<str>> = open.map(|(_, (_, site, _))| Arc::clone(site)).collect();
        if sites.iter().collect::<BTreeSet<_>>().len() == sites.len() {
            sites.into_iter().for_each(|site| *expected.entry(site).or_default() += 1);
        } else {
            more_than_sites.insert(*id);
        }
    }
    let mut shape = Shape::new(vec![Queue::Deferred]);
    while world.engine.shape_page(&mut shape, page) == ShapePage::More {}
    let names: BTreeMap<u32, Arc<str>> = world.engine.shape_names().into_iter().collect();
    let mut counted: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for waiting in &shape.waiting {
        *counted.entry(Arc::clone(&names[&waiting.site])).or_default() += 1;
    }
    assert_eq!(counted, expected);
    assert_eq!(shape.unclear.into_iter().collect::<BTreeSet<_>>(), more_than_sites);
}

fn act(world: &mut World, rng: &mut Rng, ids: &mut Vec<QueueId>) {
    let now = world.now;
    let one = ids.get(rng.below(ids.len().max(1) as u64) as usize).copied();
    let one = one.as_slice();
    let site = SITES[rng.below(5) as usize];
    let site = site.rsplit_once('/').map_or(site, |(_, site)| site);
    match rng.below(16) {
        0..=4 => {
            let to: Vec<(&str, usize)> = (0..1 + rng.below(3))
                .map(|_| (SITES[rng.below(5) as usize], 1 + rng.below(3) as usize))
                .collect();
            let mail = world.make(&format!("m{}", ids.len()), &to);
            ids.push(mail.stored.id);
            world.accept(mail);
        }
        5 | 6 => world.answer(site, &[ANSWERS[rng.below(6) as usize], ANSWERS[rng.below(6) as usize]]),
        7 => world.run_for(Duration::from_millis(rng.below(6_000_000))),
        8 => drop(world.engine.flush_site(now, site, Authority::Client)),
        9 => drop(world.engine.flush_site(now, &format!("@{site}"), Authority::Operator)),
        10 => drop(world.engine.hold(now, one)),
        11 => drop(world.engine.release(now, one)),
        12 if rng.chance(1, 3) => drop(world.engine.delete(now, one)),
        13 => drop(world.engine.flush_purge(now)),
        14 => drop(one.iter().map(|id| world.engine.flush_message(now, *id)).count()),
        15 if rng.chance(1, 2) => {
            world.config.fast_flush_domains = eligible(rng);
            world.engine.reconfigure(now, world.config.clone());
        }
        _ => world.engine.trigger(now, b"W"),
    }
}

/// The engine is gone; the next one starts from the spool, and the logs are written anew.
fn crash(world: &mut World, logs: &mut Logs) {
    world.running.clear();
    world.engine = Engine::new(world.config.clone(), 1);
    for mail in world.mail.values() {
        world.engine.handle_stored(world.now, mail.stored.clone());
    }
    assert_eq!(record(&world.engine), walk(world), "after a crash");
    let files = world.engine.flush_logs().into_iter();
    let files = files.map(|(site, _)| {
        let ids = world.engine.logged_messages(&site).into_iter().collect();
        (site, ids)
    });
    *logs = Logs { files: files.collect(), seen: world.notes.len() };
}

fn live(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(config(&mut rng));
    world.by_hand = rng.chance(1, 2);
    let (mut ids, mut logs) = (Vec::new(), Logs::default());
    for _ in 0..EVENTS {
        act(&mut world, &mut rng, &mut ids);
        world.pump();
        if world.by_hand && rng.chance(1, 2) {
            let running: Vec<_> = world.running.keys().copied().collect();
            if let Some(number) = running.get(rng.below(running.len().max(1) as u64) as usize) {
                world.finish(*number);
                world.pump();
            }
        }
        check(&world, &mut logs);
        check_shape(&world, 1 + rng.below(5) as usize);
        if rng.chance(1, 15) {
            crash(&mut world, &mut logs);
            world.pump();
            check(&world, &mut logs);
        }
    }
}

#[test]
fn the_record_is_what_a_walk_over_the_queue_gives() {
    let given: Option<u64> = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in given.map_or(1..=200, |seed| seed..=seed) {
        if let Err(panic) = std::panic::catch_unwind(|| live(seed)) {
            eprintln!("replay with: POSTRIDER_SEED={seed} cargo test -p qmgr --test flush_record");
            std::panic::resume_unwind(panic);
        }
    }
}
