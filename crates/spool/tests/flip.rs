//! Every byte of a small spool changed in turn: it opens, at most one message is affected, and that
//! one is in `corrupt` with its reason.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use mail::{QueueId, Rng, Time};
use proptest::prelude::*;
use spool::disk::RealDisk;
use spool::{Ending, Queue, ReadError, Spool};
use testkit::disk::FaultyDisk;

/// What is in the spool: number, size and attempts by id.
type Contents = BTreeMap<QueueId, (u64, usize, u32)>;

/// A few messages in all the states there are.
fn fill(spool: &Spool) -> Contents {
    let mut live = Contents::new();
    for number in 0..6 {
        let id = spool.next_id(Time::ZERO);
        let size = 100 + number as usize * 40;
        if number == 2 {
            accept_large(spool, id, number, size).unwrap();
        } else {
            accept(spool, id, number, size).unwrap();
        }
        let attempts = [0, 1, 2, 4, 0, 0][number as usize];
        for attempt in 1..=attempts {
            update(spool, id, change(number, attempt)).unwrap();
        }
        if number == 4 {
            finish(spool, id, Ending::Delivered).unwrap();
        } else {
            live.insert(id, (number, size, attempts));
        }
    }
    live
}

/// Opens the spool and says which messages are not as they were. Each must be in `corrupt`.
fn affected(disk: FaultyDisk, live: &Contents, last: QueueId) -> Vec<u64> {
    let (spool, found) = open(Arc::new(disk));
    assert!(spool.verify(true, &mut |_| {}).unreadable.is_empty());
    let corrupt: BTreeMap<QueueId, String> =
        spool.corrupt().into_iter().map(|message| (message.id, message.reason)).collect();
    let mut affected = Vec::new();
    for (&id, &(number, size, attempts)) in live {
        let message = found.get(&id).unwrap_or_else(|| panic!("message {number} is gone"));
        let Some(reason) = corrupt.get(&id) else {
            assert_eq!(message.summary, summary(number, attempts));
            assert_eq!(spool.read(id).unwrap().summary, summary(number, attempts));
            assert_eq!(*spool.read(id).unwrap().envelope, *envelope(number, size as u64));
            assert_eq!(content(&spool, id), body(number, size));
            continue;
        };
        assert!(!reason.is_empty());
        assert!(matches!(spool.body(id), Err(ReadError::Corrupt { .. })));
        affected.push(number);
    }
    for (id, message) in &found {
        if !live.contains_key(id) && *id != last {
            // A message whose end became unreadable must not be sent again.
            assert_eq!(message.summary.queue, Queue::Corrupt, "an ended message came back");
            affected.push(u64::MAX);
        }
    }
    affected
}

/// A number from outside, or what everybody gets.
fn told(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |number| number.parse().unwrap())
}

/// The bytes to change: all that are not zero, and one in 97 of those that are. These fill up blocks and
/// stretch behind the end of the log, thirty times as many as all others: changing each takes many minutes
/// in a debug build. `SPOOL_STEP=1` does, as CI with a release build; with another step, so many values of
/// `SPOOL_SEED` in a row come past each.
fn places(disk: &FaultyDisk) -> Vec<(String, u64)> {
    let step = told("SPOOL_STEP", 97);
    let turn = told("SPOOL_SEED", 0) % step;
    let mut places = Vec::new();
    for (name, _) in disk.files() {
        let bytes = disk.contents(&name).unwrap();
        let wanted = (0..).zip(&bytes).filter(|(place, byte)| **byte != 0 || place % step == turn);
        places.extend(wanted.map(|(place, _)| (name.clone(), place)));
    }
    places
}

fn every_byte(clean: bool) {
    let disk = FaultyDisk::new();
    let (spool, _) = open(Arc::new(disk.clone()));
    let live = fill(&spool);
    // The last batch of a log that was not stopped cleanly cannot be told from a torn write: it is
    // about a message of its own, which may be there or not.
    let last = spool.next_id(Time::ZERO);
    if clean {
        spool.close();
    } else {
        accept(&spool, last, 9, 10).unwrap();
        drop(spool);
    }
    let mut hit = 0;
    let places = places(&disk);
    for (name, place) in &places {
        for bits in [0x01, 0x80] {
            let changed = disk.fork();
            changed.rot(name, *place, bits);
            let affected = std::panic::catch_unwind(|| affected(changed, &live, last))
                .unwrap_or_else(|_| panic!("{name} byte {place} changed by {bits:#x}, clean {clean}"));
            assert!(affected.len() <= 1, "{name} byte {place}: messages {affected:?}");
            hit += affected.len();
        }
    }
    println!(
        "{} bytes changed in two ways each, clean {clean}; a message affected {hit} times",
        places.len()
    );
    assert!(places.len() > 2000 && hit > 1000, "{hit} of {}", places.len());
}

#[test]
fn every_byte_of_a_cleanly_stopped_spool() {
    every_byte(true);
}

#[test]
fn every_byte_of_a_killed_spool() {
    every_byte(false);
}

#[test]
fn verify_finds_rot_offline_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(directory.path()));
    let (spool, _) = open(disk.clone());
    let live = fill(&spool);
    spool.close();
    drop(spool);
    let wanted = body(3, live.values().find(|known| known.0 == 3).unwrap().1);
    let holds_it = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let place = bytes.windows(wanted.len()).position(|window| window == wanted)?;
        Some((path, bytes, place))
    };
    let (segment, mut bytes, place) =
        std::fs::read_dir(directory.path().join("log")).unwrap().find_map(holds_it).unwrap();
    bytes[place] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let report = spool::verify_offline(disk.clone(), &mut |_| {}).unwrap();
    assert_eq!((report.messages, report.damaged.len()), (5, 1));
    assert!(report.damaged[0].reason.contains("content"), "{report:?}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
    let (spool, _) = open(disk);
    assert_eq!(spool.verify(true, &mut |_| {}).damaged, report.damaged);
    assert_eq!(spool.corrupt().len(), 1);
    assert!(spool.verify(true, &mut |_| {}).damaged.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However much is damaged: it opens, says what is wrong, and goes on.
    #[test]
    fn any_damage_is_survived(seed: u64, stretches in 1usize..12) {
        let disk = FaultyDisk::new();
        let (spool, _) = open(Arc::new(disk.clone()));
        fill(&spool);
        if seed.is_multiple_of(2) {
            spool.close();
        }
        drop(spool);
        let mut rng = Rng::new(seed);
        let places = places(&disk);
        for _ in 0..stretches {
            let (name, start) = &places[rng.below(places.len() as u64) as usize];
            for place in *start..start + 1 + rng.below(300) {
                disk.rot(name, place, rng.next_u64() as u8);
            }
        }
        for _ in 0..2 {
            let (spool, found) = open(Arc::new(disk.clone()));
            spool.verify(true, &mut |_| {});
            for id in found.into_keys() {
                let _ = (spool.read(id).is_ok(), spool.body(id).is_ok());
            }
            let id = spool.next_id(Time::ZERO);
            accept(&spool, id, 1, 100).unwrap();
            spool.close();
        }
    }
}
