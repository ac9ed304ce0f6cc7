//! The spool on a real disk: accept, read, change, end, restart.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use mail::Time;
use spool::disk::RealDisk;
use spool::{AcceptError, Ending, NewBody, NewMessage, OpenError, Options, Queue, ReadError};

fn disk(directory: &tempfile::TempDir) -> Arc<RealDisk> {
    Arc::new(RealDisk::new(directory.path()))
}

/// Short envelopes are read without what follows them, long ones as far as they go.
#[test]
fn an_envelope_is_read_whole_whatever_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let mut stored = Vec::new();
    for (count, size) in [(1, 0), (1, 50_000), (20, 1), (400, 0), (400, 50_000)] {
        let id = spool.next_id(Time::ZERO);
        let mut long = mail::Envelope::clone(&envelope(7, size as u64));
        long.recipients = vec![long.recipients[0].clone(); count];
        let long = Arc::new(long);
        let body = NewBody::Inline(body(7, size));
        let message = NewMessage { id, envelope: Arc::clone(&long), summary: summary(7, 0), body };
        accept_message(&spool, message).unwrap();
        stored.push((id, long, size));
    }
    spool.close();
    drop(spool);
    let (spool, _) = open(disk(&directory));
    for (id, long, size) in stored {
        let message = spool.read(id).unwrap();
        assert_eq!(message.envelope, long);
        assert_eq!(content(&spool, id), body(7, size));
        // It has just been read, so that it is at hand where the system can tell.
        assert!(spool.read_at_hand(id).is_none_or(|at_hand| at_hand == message));
        assert!(spool.body_at_hand(id).is_none_or(|at_hand| bytes_of(&at_hand) == body(7, size)));
        finish(&spool, id, Ending::Deleted).unwrap();
        assert!(spool.read_at_hand(id).is_none() && spool.body_at_hand(id).is_none());
    }
}

#[test]
fn a_message_lives_through_restarts_and_ends_once() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, found) = open(disk(&directory));
    assert!(found.is_empty() && spool.recovery().clean);
    let ids: Vec<_> = (0..20).map(|_| spool.next_id(Time::from_millis(5_000))).collect();
    for (number, &id) in (0..).zip(&ids) {
        accept(&spool, id, number, 3000 + number as usize).unwrap();
    }
    assert_eq!(content(&spool, ids[3]), body(3, 3003));
    for attempts in 1..=8 {
        update(&spool, ids[3], change(3, attempts)).unwrap();
    }
    finish(&spool, ids[4], Ending::Delivered).unwrap();
    assert!(matches!(spool.read(ids[4]), Err(ReadError::Gone)));
    drop(spool);
    for clean in [false, true, true] {
        let (between, _) = open(disk(&directory));
        let id = between.next_id(Time::from_millis(9_000));
        accept(&between, id, 99, 10).unwrap();
        finish(&between, id, Ending::Deleted).unwrap();
        if clean {
            between.close();
            assert!(matches!(accept(&between, id, 1, 1), Err(AcceptError::Closed)));
        }
        drop(between);
        let (spool, found) = open(disk(&directory));
        assert_eq!(found.len(), 19);
        assert_eq!(found[&ids[3]].summary, summary(3, 8));
        assert_eq!((found[&ids[3]].size, found[&ids[3]].arrived), (3003, Time::from_millis(1003)));
        let stored = spool.read(ids[3]).unwrap();
        assert_eq!(*stored.envelope, *envelope(3, 3003));
        assert_eq!(stored.recipients, recorded(8), "the last words and what was said before");
        for (number, &id) in (0..).zip(&ids).filter(|(number, _)| *number != 4) {
            assert_eq!(content(&spool, id), body(number, 3000 + number as usize));
        }
        assert!(spool.next_id(Time::ZERO) > ids[19]);
        assert!(spool.verify(false, &mut |_| {}).damaged.is_empty());
    }
}

#[test]
fn a_clean_stop_is_known_and_needs_no_scan() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let id = spool.next_id(Time::ZERO);
    accept(&spool, id, 1, 100).unwrap();
    spool.close();
    let (spool, found) = open(disk(&directory));
    assert!(spool.recovery().clean);
    assert_eq!((spool.recovery().scanned, found.len()), (0, 1));
    update(&spool, id, change(1, 1)).unwrap();
    drop(spool);
    let (spool, found) = open(disk(&directory));
    assert!(!spool.recovery().clean);
    assert_eq!((spool.recovery().scanned, found[&id].summary.attempts), (1, 1));
    drop(spool);
    let (spool, _) = open(disk(&directory));
    assert_eq!(spool.recovery().scanned, 0, "the last start sealed what it had to scan");
    spool.close();
    let (spool, _) = open(disk(&directory));
    assert!(spool.recovery().clean, "a clean stop is marked although nothing else was written");
}

#[test]
fn a_second_engine_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let error = open_with(disk(&directory), options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { pid: Some(pid) } if pid == std::process::id()), "{error}");
    drop(spool);
    open(disk(&directory));
}

#[test]
fn large_bodies_have_files_of_their_own_for_as_long_as_they_live() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let (kept, dropped) = (spool.next_id(Time::ZERO), spool.next_id(Time::ZERO));
    accept_large(&spool, kept, 7, 700_000).unwrap();
    let mut unfinished = spool.begin_large(dropped, None).unwrap();
    unfinished.write(b"half").unwrap();
    drop(unfinished);
    drop(spool.begin_large(dropped, None).unwrap().finish().unwrap());
    let files = || {
        let directories = std::fs::read_dir(directory.path().join("big")).unwrap();
        directories.flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap()).count()
    };
    assert_eq!(files(), 1);
    drop(spool);
    let (spool, _) = open(disk(&directory));
    assert_eq!(content(&spool, kept), body(7, 700_000));
    assert!(spool.body(kept).unwrap().as_memory().is_none());
    finish(&spool, kept, Ending::Delivered).unwrap();
    spool.close();
    assert_eq!(files(), 0);
}

#[test]
fn a_record_larger_than_a_segment_gets_a_segment_of_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let id = spool.next_id(Time::ZERO);
    accept(&spool, id, 1, 300_000).unwrap();
    drop(spool);
    let (spool, found) = open(disk(&directory));
    assert_eq!(found[&id].summary.queue, Queue::Incoming);
    assert_eq!(content(&spool, id), body(1, 300_000));
}

#[test]
fn compaction_keeps_the_log_small_and_every_message_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let mut kept = Vec::new();
    for number in 0..400 {
        let id = spool.next_id(Time::ZERO);
        accept(&spool, id, number, 3000).unwrap();
        if number % 40 == 0 {
            update(&spool, id, change(number, 1)).unwrap();
            kept.push((number, id));
        } else {
            finish(&spool, id, Ending::Delivered).unwrap();
        }
    }
    // Copied and still in memory as it came in: its state must come from the log.
    for (number, id) in &kept {
        let stored = spool.read(*id).unwrap();
        assert_eq!((stored.summary, &stored.recipients[&1]), (summary(*number, 1), &record(1, 1)));
    }
    let health = spool.health();
    assert!(health.bytes_copied > 0);
    assert!(health.segments <= 6, "{health:?}");
    spool.close();
    let (spool, found) = open(disk(&directory));
    assert_eq!(found.len(), kept.len());
    for (number, id) in kept {
        assert_eq!(found[&id].summary, summary(number, 1));
        assert_eq!(spool.read(id).unwrap().recipients[&1], record(1, 1));
        assert_eq!(content(&spool, id), body(number, 3000));
    }
}

#[test]
fn a_quarantined_message_stays_listed_and_can_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let (small, large, gone) =
        (spool.next_id(Time::ZERO), spool.next_id(Time::ZERO), spool.next_id(Time::ZERO));
    accept(&spool, small, 1, 1000).unwrap();
    accept(&spool, gone, 3, 1000).unwrap();
    accept_large(&spool, large, 2, 600_000).unwrap();
    update(&spool, small, change(1, 1)).unwrap();
    for id in [small, large, gone] {
        spool.quarantine(id, "an operator\nwants to look").unwrap();
        spool.quarantine(id, "twice is once").unwrap();
    }
    assert!(matches!(spool.read(small), Err(ReadError::Corrupt { reason }) if reason.contains("operator")));
    spool.mark_told(gone).unwrap();
    finish(&spool, gone, Ending::Deleted).unwrap();
    assert_eq!(spool.untold().unwrap().len(), 2);
    spool.mark_told(small).unwrap();
    spool.mark_told(gone).unwrap();
    drop(spool);
    let (spool, found) = open(disk(&directory));
    assert_eq!(spool.untold().unwrap().iter().map(|one| one.id).collect::<Vec<_>>(), [large]);
    for (id, number, length) in [(small, 1, 1000), (large, 2, 600_000)] {
        let salvaged = spool.salvaged(id).unwrap();
        assert_eq!(salvaged.message.unwrap().envelope.sender, envelope(number, 0).sender);
        let mut bytes = vec![0; length];
        assert_eq!(salvaged.body.read_at(0, &mut bytes).unwrap(), length);
        assert_eq!((salvaged.body.len(), bytes), (length as u64, body(number, length).to_vec()));
    }
    assert_eq!(found.len(), 2);
    assert!(found.values().all(|message| message.summary.queue == Queue::Corrupt));
    assert_eq!(spool.corrupt().len(), 2);
    assert_eq!(spool.corrupt()[0].reason, "an operator wants to look");
    for id in [small, large] {
        assert_eq!(spool.restore(id).unwrap().id, id);
    }
    assert_eq!(content(&spool, small), body(1, 1000));
    assert_eq!(spool.read(small).unwrap().recipients[&1], record(1, 1));
    let health = spool.health();
    assert_eq!(health.found + health.accepted - health.ended, health.messages + health.corrupt);
    drop(spool);
    let (spool, found) = open(disk(&directory));
    assert_eq!((found.len(), spool.corrupt().len()), (2, 0));
    assert_eq!(std::fs::read_dir(directory.path().join("corrupt")).unwrap().count(), 0);
    assert_eq!(found[&small].summary.queue, Queue::Deferred);
    assert_eq!(content(&spool, large), body(2, 600_000));
}

#[test]
fn one_flush_carries_everything_that_waits() {
    const CLIENTS: u64 = 16;
    const MESSAGES: u64 = 25;
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(disk(&directory));
    let spool = &spool;
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let number = client * MESSAGES + number;
                    let id = spool.next_id(Time::ZERO);
                    accept(spool, id, number, 2000).unwrap();
                    assert_eq!(content(spool, id), body(number, 2000));
                    spool.update(id, change(number, 1), None);
                    if number.is_multiple_of(2) {
                        finish(spool, id, Ending::Delivered).unwrap();
                    }
                }
            });
        }
    });
    spool.close();
    let health = spool.health();
    assert!(health.batches * 2 < health.records, "{health:?}");
    assert_eq!(health.messages, CLIENTS * MESSAGES / 2);
    assert_eq!((health.found, health.accepted), (0, CLIENTS * MESSAGES));
    assert_eq!(health.ended, CLIENTS * MESSAGES / 2);
    let (spool, found) = open(disk(&directory));
    assert_eq!(found.len() as u64, CLIENTS * MESSAGES / 2);
    assert_eq!(spool.health().found, CLIENTS * MESSAGES / 2);
    assert!(found.values().all(|message| message.summary.attempts == 1));
}

#[test]
fn spares_are_made_in_the_background_used_and_recycled() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { spares_min: 3, spare_thread: true, ..options() };
    let (spool, _) = open_with(disk(&directory), options.clone()).unwrap();
    let wait_for_spares = || {
        let start = std::time::Instant::now();
        while spool.health().spares < 3 {
            assert!(start.elapsed() < PATIENCE, "{:?}", spool.health());
            std::thread::yield_now();
        }
    };
    wait_for_spares();
    for number in 0..60 {
        let id = spool.next_id(Time::ZERO);
        accept(&spool, id, number, 5000).unwrap();
        finish(&spool, id, Ending::Delivered).unwrap();
    }
    wait_for_spares();
    spool.close();
    let lengths: Vec<u64> = std::fs::read_dir(directory.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert!(lengths.iter().all(|&length| length == options.segment_size));
    assert!(lengths.len() <= 12, "{lengths:?}");
}

#[test]
fn offline_verification_makes_no_spool_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = Arc::new(RealDisk::new(directory.path().join("nowhere")));
    assert!(matches!(spool::verify_offline(nowhere, &mut |_| {}), Err(OpenError::Io { .. })));
    assert!(!directory.path().join("nowhere").exists());
}

/// A message was deferred with one recipient delivered, and an operator had it tried in the same
/// millisecond: the record of the delivery was still on its way to the log, was not seen, and the recipient
/// got a second copy.
#[test]
fn a_reader_sees_what_was_recorded_just_before() {
    let directory = tempfile::tempdir().unwrap();
    let lazy = Options { lazy_commit: Duration::from_millis(50), ..options() };
    let (spool, _) = open_with(disk(&directory), lazy).unwrap();
    let id = spool.next_id(Time::from_millis(5_000));
    accept(&spool, id, 1, 3000).unwrap();
    for attempts in 1..=3 {
        spool.update(id, change(1, attempts), None);
        let stored = spool.read(id).unwrap();
        assert_eq!(stored.summary, summary(1, attempts));
        assert_eq!(stored.recipients, recorded(attempts));
    }
}
