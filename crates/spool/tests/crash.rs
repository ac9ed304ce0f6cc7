//! Power cuts at every change of the disk: after recovery every acknowledged message is there, whole,
//! once, with its state, and nothing comes back whose end was durable.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::*;
use mail::{QueueId, Rng, Time};
use spool::{Ending, Options, Queue, ReadError, Spool};
use testkit::disk::{FaultyDisk, Loss};

/// Messages of one workload.
const MESSAGES: u64 = 60;

/// The workload with this seed runs into the end of its disk.
const FULL: u64 = 3;
/// Bytes of that disk.
const SMALL: u64 = 6 * 64 * 1024;

/// Bytes of a large body.
const LARGE: usize = 20_000;

/// What the workload was told about one message.
#[derive(Default)]
struct Fate {
    number: u64,
    size: usize,
    accepted: bool,
    /// The last change that was asked for, and the last that was confirmed.
    asked: u32,
    confirmed: Arc<AtomicU32>,
    ending: bool,
    /// It was to be set aside, and that was confirmed.
    quarantined: bool,
    aside: bool,
    ended: Arc<AtomicU32>,
}

fn settings(seed: u64) -> Options {
    let full = Options { spares_min: 2, free_min: 64 * 1024, ..quick() };
    if seed == FULL { full } else { quick() }
}

fn quick() -> Options {
    Options { lazy_commit: Duration::ZERO, compact_above: 3, ..options() }
}

/// Accepts, changes and ends messages in an order that follows from the seed; stops caring when the
/// power is off.
fn work(disk: &FaultyDisk, spool: &Spool, seed: u64, fates: &mut BTreeMap<QueueId, Fate>) {
    let mut rng = Rng::new(seed);
    for number in 0..MESSAGES {
        let id = spool.next_id(Time::ZERO);
        let large = rng.chance(1, 12);
        let size = if large { LARGE } else { 500 + rng.below(5_000) as usize };
        let fate = fates.entry(id).or_insert_with(|| Fate { number, size, ..Fate::default() });
        let result =
            if large { accept_large(spool, id, number, size) } else { accept(spool, id, number, size) };
        fate.accepted = result.is_ok();
        if result.is_err() {
            make_room(disk, spool, fates);
        }
        let ids: Vec<QueueId> = fates.keys().copied().collect();
        for _ in 0..3 {
            let id = ids[rng.below(ids.len() as u64) as usize];
            let Some(fate) = fates.get_mut(&id).filter(|fate| fate.accepted && !fate.ending) else {
                continue;
            };
            if rng.chance(1, 25) {
                fate.quarantined = true;
                fate.aside |= spool.quarantine(id, "looks odd").is_ok();
            }
            if !fate.quarantined && (rng.chance(1, 2) || stays(id)) {
                fate.asked += 1;
                let (asked, confirmed) = (fate.asked, fate.confirmed.clone());
                let told = move |result: Result<(), _>| {
                    if result.is_ok() {
                        confirmed.store(asked, Ordering::SeqCst);
                    }
                };
                spool.update(id, change(fate.number, asked), Some(Box::new(told)));
            } else {
                end(spool, id, fate);
            }
        }
    }
}

/// Whether the message is only changed, over and over.
fn stays(id: QueueId) -> bool {
    id.as_u64().is_multiple_of(5)
}

fn end(spool: &Spool, id: QueueId, fate: &mut Fate) {
    fate.ending = true;
    let ended = fate.ended.clone();
    let told = move |result: Result<(), _>| ended.store(u32::from(result.is_ok()), Ordering::SeqCst);
    spool.finish(id, Ending::Delivered, Some(Box::new(told)));
}

/// A full disk takes mail again when enough of what is on it has ended: one message after the other does,
/// until then, or until the power is off. Those that stay go last: they have to be moved.
fn make_room(disk: &FaultyDisk, spool: &Spool, fates: &mut BTreeMap<QueueId, Fate>) {
    let waits = |until: &dyn Fn() -> bool, patience: Duration| {
        let start = Instant::now();
        while !until() && !disk.is_off() && start.elapsed() < patience {
            std::thread::yield_now();
        }
    };
    let accepts = || spool.health().accepting;
    let live = fates.iter_mut().filter(|(_, fate)| fate.accepted && !fate.ending);
    let (staying, going): (Vec<_>, Vec<_>) = live.partition(|(id, _)| stays(**id));
    for (id, fate) in going.into_iter().chain(staying) {
        if accepts() || disk.is_off() {
            return;
        }
        end(spool, *id, fate);
        let ended = fate.ended.clone();
        waits(&|| ended.load(Ordering::SeqCst) == 1, PATIENCE);
        // Whether this was enough shows when the log has been tidied up, which nobody is told.
        waits(&accepts, Duration::from_millis(5));
    }
    waits(&accepts, PATIENCE);
    assert!(accepts() || disk.is_off(), "nothing is left, and it takes no mail: {:?}", spool.health());
}

/// Opens what the power cut left and compares it with what was promised.
fn check(disk: &FaultyDisk, fates: &BTreeMap<QueueId, Fate>) {
    let (spool, found) = open_with(Arc::new(disk.clone()), quick()).expect("the spool opens");
    assert_eq!(spool.recovery().damaged, 0, "a power cut damages nothing");
    for (id, fate) in fates {
        let ended = fate.ended.load(Ordering::SeqCst) == 1;
        let Some(message) = found.get(id) else {
            assert!(!fate.accepted || fate.ending, "message {} is lost", fate.number);
            continue;
        };
        assert!(!ended, "message {} came back", fate.number);
        if fate.quarantined && message.summary.queue == Queue::Corrupt {
            assert!(matches!(spool.read(*id), Err(ReadError::Corrupt { reason }) if reason == "looks odd"));
            continue;
        }
        assert!(!fate.aside || fate.ending, "message {} was set aside", fate.number);
        let confirmed = fate.confirmed.load(Ordering::SeqCst);
        let attempts = message.summary.attempts;
        assert!(
            (confirmed..=fate.asked).contains(&attempts),
            "state {attempts} of {confirmed}..={}",
            fate.asked
        );
        assert_eq!(content(&spool, *id), body(fate.number, fate.size));
        let stored = spool.read(*id).expect("a found message can be read");
        assert_eq!(*stored.envelope, *envelope(fate.number, fate.size as u64));
        assert_eq!(stored.summary, summary(fate.number, attempts));
        assert_eq!(stored.recipients, recorded(attempts));
    }
    assert!(found.keys().all(|id| fates.contains_key(id)));
    let next = spool.next_id(Time::ZERO);
    let highest = fates.iter().filter(|(_, fate)| fate.accepted).map(|(id, _)| *id).max();
    assert!(highest.is_none_or(|highest| next > highest), "an id is used again");
}

/// One workload with the power going off at `cut`, then every kind of loss. False when the workload
/// ended before that.
fn cut_at(seed: u64, cut: u64) -> bool {
    let disk = FaultyDisk::new();
    disk.power_off_at(cut);
    disk.set_capacity((seed == FULL).then_some(SMALL));
    let mut fates = BTreeMap::new();
    if let Ok((spool, _)) = open_with(Arc::new(disk.clone()), settings(seed)) {
        work(&disk, &spool, seed, &mut fates);
        spool.close();
    }
    let reached = disk.is_off();
    let losses = [Loss::Nothing, Loss::Everything, Loss::Torn(512), Loss::Torn(4096)];
    for (number, loss) in (0..).zip(losses) {
        let left = disk.after_power_cut(loss, seed ^ (cut << 8) ^ number);
        check(&left, &fates);
        // What recovery itself wrote may be lost too, and what it found must be found again.
        check(&left.after_power_cut(loss, cut), &fates);
    }
    reached
}

fn every_cut(seed: u64) {
    let mut cut = 1;
    loop {
        let going = std::panic::catch_unwind(|| cut_at(seed, cut)).unwrap_or_else(|_| {
            panic!(
                "seed {seed}, power cut at change {cut}; replay: SPOOL_SEED={seed} SPOOL_CUT={cut} cargo test -p spool --test crash replay"
            )
        });
        if !going {
            break;
        }
        cut += 1;
    }
    assert!(cut > 100, "the workload is long enough: {cut} changes");
}

#[test]
fn power_cut_at_every_change() {
    every_cut(1);
}

#[test]
fn power_cut_at_every_change_of_another_workload() {
    every_cut(2);
}

#[test]
fn power_cut_at_every_change_of_a_full_disk() {
    every_cut(FULL);
}

/// Everything at once: large bodies and small ones, segments that are sealed, recycled and compacted, and a
/// disk that is full, has room again, and is full again. How far compaction gets before the messages have
/// ended anyway is a matter of luck; it does get somewhere now and then.
#[test]
fn the_third_workload_is_mixed() {
    const RUNS: usize = 50;
    assert!((0..RUNS).any(|_| mixed() > 0), "none of {RUNS} runs compacts");
}

/// One run, and how many bytes were moved in it.
fn mixed() -> u64 {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(SMALL));
    let (spool, _) = open_with(Arc::new(disk.clone()), settings(FULL)).unwrap();
    let mut fates = BTreeMap::new();
    work(&disk, &spool, FULL, &mut fates);
    let accepted: Vec<bool> = fates.values().map(|fate| fate.accepted).collect();
    let refused = accepted.iter().filter(|accepted| !**accepted).count();
    assert!(refused > 0 && fates.len() - refused > 5, "{refused} of {} refused", fates.len());
    let first_refused = accepted.iter().position(|accepted| !accepted).unwrap();
    assert!(accepted[first_refused..].contains(&true), "it takes mail again");
    assert!(fates.values().any(|fate| fate.accepted && fate.size == LARGE), "a large body is taken");
    spool.close();
    let health = spool.health();
    assert!(health.bytes_written > SMALL, "it rolls over: {health:?}");
    check(&disk.fork(), &fates);
    health.bytes_copied
}

#[test]
fn the_workload_does_what_it_is_meant_to_do() {
    for seed in [1, 2] {
        let disk = FaultyDisk::new();
        let (spool, _) = open_with(Arc::new(disk.clone()), quick()).unwrap();
        let mut fates = BTreeMap::new();
        work(&disk, &spool, seed, &mut fates);
        spool.close();
        let health = spool.health();
        assert!(health.bytes_copied > 0 && health.spares > 0, "it compacts and recycles: {health:?}");
        check(&disk.fork(), &fates);
    }
}

#[test]
fn replay() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let (Some(seed), Some(cut)) = (number("SPOOL_SEED"), number("SPOOL_CUT")) {
        cut_at(seed, cut);
    }
}
