//! Failing disk calls and full disks: nothing acknowledged is lost, whoever waits is told, and the
//! spool takes mail again by itself.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use mail::{QueueId, Rng, Time};
use spool::{AcceptError, Ending, Options, Spool};
use testkit::disk::{FaultyDisk, Loss};

fn quick() -> Options {
    Options { lazy_commit: Duration::ZERO, compact_above: 3, ..options() }
}

/// What was acknowledged: the message's number and size, and its last confirmed state.
type Acknowledged = BTreeMap<QueueId, (u64, usize, u32)>;

/// A workload that goes on whatever fails.
fn work(spool: &Spool, messages: u64) -> Acknowledged {
    let mut rng = Rng::new(3);
    let mut live = Acknowledged::new();
    for number in 0..messages {
        let id = spool.next_id(Time::ZERO);
        let large = number % 11 == 7;
        let size = if large { 20_000 } else { 500 + rng.below(5_000) as usize };
        let result =
            if large { accept_large(spool, id, number, size) } else { accept(spool, id, number, size) };
        if result.is_ok() {
            live.insert(id, (number, size, 0));
        } else {
            wait_until_accepting(spool);
        }
        if number % 3 == 0
            && let Some((&id, known)) = live.iter_mut().next()
        {
            update(spool, id, change(known.0, known.2 + 1)).expect("a change survives a failing disk");
            known.2 += 1;
        } else if live.len() > 4 {
            let id = *live.keys().nth(1).unwrap();
            finish(spool, id, Ending::Delivered).expect("an ending survives a failing disk");
            live.remove(&id);
        }
    }
    live
}

fn wait_until_accepting(spool: &Spool) {
    let start = Instant::now();
    while !spool.health().accepting {
        assert!(start.elapsed() < PATIENCE, "{:?}", spool.health());
        std::thread::yield_now();
    }
}

/// Everything acknowledged is there; more may be.
fn check(disk: &FaultyDisk, live: &Acknowledged) {
    let (spool, found) = open_with(Arc::new(disk.clone()), quick()).expect("the spool opens");
    for (id, (number, size, attempts)) in live {
        let message = found.get(id).unwrap_or_else(|| panic!("message {number} is lost"));
        assert!(message.summary.attempts >= *attempts, "message {number} lost its state");
        assert_eq!(content(&spool, *id), body(*number, *size));
        assert_eq!(*spool.read(*id).unwrap().envelope, *envelope(*number, *size as u64));
    }
    assert_eq!(spool.recovery().damaged, 0);
}

/// One call fails; everything goes on.
fn fail_at(call: u64, kind: io::ErrorKind) -> bool {
    let disk = FaultyDisk::new();
    disk.fail_calls(call..call + 1, kind);
    let spool = match open_with(Arc::new(disk.clone()), quick()) {
        Ok((spool, _)) => spool,
        // A failure while opening is told; the next try works.
        Err(_) => open_with(Arc::new(disk.clone()), quick()).expect("the second try works").0,
    };
    let live = work(&spool, 30);
    wait_until_accepting(&spool);
    let reached = disk.calls() > call;
    check(&disk.after_power_cut(Loss::Everything, call), &live);
    spool.close();
    check(&disk.fork(), &live);
    reached
}

fn every_call(kind: io::ErrorKind, name: &str) {
    let mut call = 0;
    while std::panic::catch_unwind(|| fail_at(call, kind)).unwrap_or_else(|_| {
        panic!(
            "call {call} failed with {name}; replay: SPOOL_CALL={call} cargo test -p spool --test fail replay"
        )
    }) {
        call += 1;
    }
    assert!(call > 100, "the workload is long enough: {call} calls");
}

#[test]
fn each_call_fails_once_with_an_input_output_error() {
    every_call(io::ErrorKind::Other, "EIO");
}

#[test]
fn each_call_fails_once_for_lack_of_room() {
    every_call(io::ErrorKind::StorageFull, "ENOSPC");
}

#[test]
fn replay() {
    if let Some(call) = std::env::var("SPOOL_CALL").ok().and_then(|text| text.parse().ok()) {
        fail_at(call, io::ErrorKind::Other);
        fail_at(call, io::ErrorKind::StorageFull);
    }
}

#[test]
fn a_dead_disk_refuses_mail_keeps_changes_and_comes_back() {
    let disk = FaultyDisk::new();
    let (spool, _) = open_with(Arc::new(disk.clone()), quick()).unwrap();
    let ids: Vec<_> = (0..3).map(|_| spool.next_id(Time::ZERO)).collect();
    accept(&spool, ids[0], 0, 1000).unwrap();
    accept(&spool, ids[1], 1, 1000).unwrap();
    disk.fail_calls(0..u64::MAX, io::ErrorKind::Other);
    assert!(matches!(accept(&spool, ids[2], 2, 1000), Err(AcceptError::Io(_))));
    assert!(!spool.health().accepting);
    assert!(spool.health().reason.is_some());
    assert!(matches!(spool.begin_large(ids[2], None), Err(AcceptError::Io(_))));
    assert_eq!(content(&spool, ids[0]), body(0, 1000), "what is fresh is still delivered");
    let (told, answer) = std::sync::mpsc::channel();
    let told = move |result| {
        let _ = told.send(result);
    };
    spool.finish(ids[0], Ending::Delivered, Some(Box::new(told)));
    disk.fail_calls(0..0, io::ErrorKind::Other);
    answer.recv_timeout(PATIENCE).unwrap().unwrap();
    wait_until_accepting(&spool);
    accept(&spool, ids[2], 2, 1000).unwrap();
    drop(spool);
    let (_, found) = open_with(Arc::new(disk.after_power_cut(Loss::Everything, 0)), quick()).unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ids[1..]);
}

#[test]
fn a_full_disk_drains_and_then_takes_mail_again() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(12 * 64 * 1024));
    let options = Options { free_min: 64 * 1024, spares_min: 2, ..quick() };
    let (spool, _) = open_with(Arc::new(disk.clone()), options.clone()).unwrap();
    let mut live = BTreeMap::new();
    let full = (0..1000).find_map(|number| {
        let id = spool.next_id(Time::ZERO);
        match accept(&spool, id, number, 3000) {
            Ok(()) => {
                live.insert(id, number);
                None
            }
            Err(error) => Some(error),
        }
    });
    assert!(matches!(full, Some(AcceptError::DiskFull)), "{full:?}");
    assert!(live.len() > 50, "{}", live.len());
    let large = spool.next_id(Time::ZERO);
    assert!(matches!(spool.begin_large(large, Some(1 << 20)), Err(AcceptError::DiskFull)));
    // Full as it is: every message can still be changed, read and ended.
    for (&id, &number) in &live {
        update(&spool, id, change(number, 1)).unwrap();
    }
    for (&id, &number) in &live {
        assert_eq!(content(&spool, id), body(number, 3000));
        finish(&spool, id, Ending::Delivered).unwrap();
    }
    wait_until_accepting(&spool);
    let id = spool.next_id(Time::ZERO);
    accept(&spool, id, 5, 3000).unwrap();
    drop(spool);
    let (_, found) = open_with(Arc::new(disk.after_power_cut(Loss::Everything, 0)), options).unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [id]);
}

/// A disk with room for six segments took no more mail for good, though nearly everything in them had been
/// delivered: a few messages that waited kept the segments, and those were too few to be compacted.
#[test]
fn a_few_waiting_messages_do_not_keep_a_small_disk_full() {
    const SEGMENT: u64 = 64 * 1024;
    for (segments, spares_min, compact_above) in [(5, 0, 8), (6, 2, 8), (6, 2, 3), (8, 4, 8), (12, 4, 8)] {
        let disk = FaultyDisk::new();
        let free_min = SEGMENT;
        disk.set_capacity(Some(segments * SEGMENT + free_min + 4096));
        let options = Options { free_min, spares_min, compact_above, ..quick() };
        let (spool, _) = open_with(Arc::new(disk.clone()), options.clone()).unwrap();
        let mut waiting = BTreeMap::new();
        for number in 0..600 {
            // As the front-end does: it asks first, and says 452 while there is no room.
            wait_until_accepting(&spool);
            let id = spool.next_id(Time::ZERO);
            if accept(&spool, id, number, 3000).is_err() {
                continue;
            }
            if number % 100 == 0 {
                waiting.insert(id, number);
            } else {
                finish(&spool, id, Ending::Delivered).unwrap();
            }
        }
        let health = spool.health();
        assert!(health.accepted > 550, "{segments} segments: {health:?}");
        // Once around is enough: what cannot be freed is not copied again and again.
        spool.close();
        let written = spool.health().bytes_written;
        assert!(written < 4 * 600 * 3500, "{segments} segments: {health:?}");
        let disk = disk.after_power_cut(Loss::Everything, 0);
        let (spool, found) = open_with(Arc::new(disk), options).unwrap();
        assert_eq!(found.len(), waiting.len());
        waiting.iter().for_each(|(&id, &number)| assert_eq!(content(&spool, id), body(number, 3000)));
    }
}

/// A disk full of mail that waits is gone round once and then left alone.
#[test]
fn a_disk_full_of_waiting_mail_is_not_copied_for_ever() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(13 * 64 * 1024));
    let options = Options { free_min: 64 * 1024, spares_min: 2, ..quick() };
    let (spool, _) = open_with(Arc::new(disk), options).unwrap();
    // Small records, so that what stands around them in a segment counts.
    let mut live = Vec::new();
    loop {
        let id = spool.next_id(Time::ZERO);
        match accept(&spool, id, 1, 10) {
            Ok(()) => live.push(id),
            Err(error) => break assert!(matches!(error, AcceptError::DiskFull), "{error}"),
        }
    }
    for &id in live.iter().take(live.len() / 4) {
        finish(&spool, id, Ending::Delivered).unwrap();
    }
    for &id in live.iter().rev().take(20) {
        update(&spool, id, change(1, 1)).unwrap();
    }
    // Each of these is a batch, with which a writer that goes round and round would copy more.
    let before = spool.health();
    for attempts in 2..400 {
        update(&spool, live[live.len() - 1], change(1, attempts)).unwrap();
    }
    let after = spool.health();
    let (copied, batches) = (after.bytes_copied - before.bytes_copied, after.batches - before.batches);
    assert!(copied < 10 * batches * 4096, "{copied} in {batches} batches: {after:?}");
    // Left alone, it comes to rest.
    let start = Instant::now();
    let mut written = 0;
    while std::mem::replace(&mut written, spool.health().bytes_written) != written {
        assert!(start.elapsed() < PATIENCE, "{:?}", spool.health());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_spool_opens_on_a_full_disk() {
    let disk = FaultyDisk::new();
    let (spool, _) = open_with(Arc::new(disk.clone()), quick()).unwrap();
    let id = spool.next_id(Time::ZERO);
    accept(&spool, id, 1, 1000).unwrap();
    drop(spool);
    disk.set_capacity(Some(disk.used()));
    let (spool, found) = open_with(Arc::new(disk.clone()), Options { free_min: 1 << 20, ..quick() }).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(content(&spool, id), body(1, 1000));
    let refused = accept(&spool, spool.next_id(Time::ZERO), 2, 1000);
    assert!(matches!(refused, Err(AcceptError::DiskFull)), "{refused:?}");
    disk.set_capacity(None);
    wait_until_accepting(&spool);
}

#[test]
fn messages_of_a_segment_that_failed_are_moved_away_from_it() {
    let disk = FaultyDisk::new();
    let (spool, _) = open_with(Arc::new(disk.clone()), quick()).unwrap();
    let ids: Vec<_> = (0..4).map(|_| spool.next_id(Time::ZERO)).collect();
    accept(&spool, ids[0], 0, 1000).unwrap();
    accept(&spool, ids[1], 1, 1000).unwrap();
    // The thread that makes spare segments has come to rest: the call that fails must not be one of its.
    let mut calls = 0;
    while std::mem::replace(&mut calls, disk.calls()) != calls {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    // A commit is a write and a sync.
    disk.fail_calls(disk.calls() + 1..disk.calls() + 2, io::ErrorKind::Other);
    accept(&spool, ids[2], 2, 1000).expect("a fresh segment takes the same batch");
    assert!(spool.health().failures > 0);
    let start = Instant::now();
    while spool.health().segments > 1 {
        assert!(start.elapsed() < PATIENCE, "{:?}", spool.health());
        std::thread::yield_now();
    }
    drop(spool);
    let disk = disk.after_power_cut(Loss::Everything, 0);
    let (spool, found) = open_with(Arc::new(disk), quick()).unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ids[..3]);
    assert_eq!(content(&spool, ids[0]), body(0, 1000));
}
