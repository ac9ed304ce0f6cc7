//! What the tests of the spool share: small messages, small spools, and waiting for commits.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use mail::{BodyType, Client, EnhancedStatus, Envelope, QueueId, Recipient, Scope, Time, Verdict};
use spool::disk::Disk;
use spool::{
    ATTEMPTS_KEPT_MAX, AcceptError, Attempt, Body, CommitError, Ending, Found, NewBody, NewMessage,
    OpenError, Options, Queue, RecipientRecord, Spool, StateChange, Summary,
};

/// Longer than any commit takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn clock() -> Time {
    Time::from_millis(1_700_000_000_000)
}

/// Small segments, no threads but the writer, quick retries.
pub(crate) fn options() -> Options {
    Options {
        segment_size: 64 * 1024,
        spares_min: 0,
        compact_above: 4,
        state_chain_max: 3,
        lazy_commit: Duration::from_millis(1),
        retry_delay: Duration::from_millis(2),
        free_min: 0,
        spare_thread: false,
        clock,
        seed: 1,
        ..Options::default()
    }
}

pub(crate) fn envelope(number: u64, size: u64) -> Arc<Envelope> {
    let recipient = |who: &str| Recipient {
        address: format!("{who}{number}@site{}.test", number % 7).parse().unwrap(),
        orcpt: None,
        notify: None,
    };
    Arc::new(Envelope {
        sender: (!number.is_multiple_of(5)).then(|| format!("s{number}@src.test").parse().unwrap()),
        recipients: vec![recipient("a"), recipient("b")],
        ret: None,
        envid: Some(format!("envid-{number}")),
        body: BodyType::EightBitMime,
        smtputf8: false,
        arrived: Time::from_millis(1000 + number as i64),
        size,
        client: Client {
            address: Some([192, 0, 2, 1].into()),
            helo: "client.test".to_owned(),
            ..Client::default()
        },
    })
}

pub(crate) fn summary(number: u64, attempts: u32) -> Summary {
    Summary {
        queue: if attempts == 0 { Queue::Incoming } else { Queue::Deferred },
        due: Time::from_millis(5000 + i64::from(attempts)),
        attempts,
        null_sender: number.is_multiple_of(5),
        recipients: 2,
        unfinished: 2,
        sites: vec![format!("site{}.test", number % 7)],
        ..Summary::default()
    }
}

/// A body whose bytes follow from the number.
pub(crate) fn body(number: u64, size: usize) -> Bytes {
    let mut rng = mail::Rng::new(number);
    (0..size).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>().into()
}

pub(crate) fn record(position: u32, attempts: u32) -> RecipientRecord {
    RecipientRecord {
        position,
        verdict: Verdict::Deferred,
        scope: Scope::Site,
        status: EnhancedStatus::new(4, 4, 1),
        text: format!("attempt {attempts}: connection refused").into(),
        relay: None,
        time: Time::from_millis(i64::from(attempts)),
        attempts,
        reported: false,
        earlier: Vec::new(),
    }
}

/// What is recorded after that many changes: the last word on each recipient, and what came before.
pub(crate) fn recorded(attempts: u32) -> BTreeMap<u32, RecipientRecord> {
    let last = |n: u32| (n..=attempts).rev().find(|other| other % 2 == n % 2).unwrap_or(n);
    let attempt = |n: u32| {
        let RecipientRecord { time, status, text, relay, .. } = record(n % 2, n);
        Attempt { time, status, text, relay }
    };
    let record = |n: u32| {
        let mut earlier: Vec<_> = (1..n).rev().filter(|m| m % 2 == n % 2).map(attempt).collect();
        earlier.truncate(ATTEMPTS_KEPT_MAX - 1);
        earlier.reverse();
        (n % 2, RecipientRecord { earlier, ..record(n % 2, n) })
    };
    (1..=attempts.min(2)).map(|n| record(last(n))).collect()
}

pub(crate) fn change(number: u64, attempts: u32) -> StateChange {
    StateChange { summary: summary(number, attempts), recipients: vec![record(attempts % 2, attempts)] }
}

/// Opens and collects what is found.
pub(crate) fn open_with(
    disk: Arc<dyn Disk>,
    options: Options,
) -> Result<(Spool, BTreeMap<QueueId, Found>), OpenError> {
    let mut found = Vec::new();
    let spool = Spool::open(disk, options, &mut |message| found.push(message), &mut |_| {})?;
    assert!(found.windows(2).all(|pair| pair[0].id < pair[1].id), "found in the order of ids, each once");
    Ok((spool, found.into_iter().map(|message| (message.id, message)).collect()))
}

pub(crate) fn open(disk: Arc<dyn Disk>) -> (Spool, BTreeMap<QueueId, Found>) {
    open_with(disk, options()).unwrap()
}

pub(crate) fn accept_body(spool: &Spool, id: QueueId, number: u64, body: NewBody) -> Result<(), AcceptError> {
    let size = match &body {
        NewBody::Inline(bytes) => bytes.len() as u64,
        NewBody::Large(large) => large.len(),
    };
    accept_message(
        spool,
        NewMessage { id, envelope: envelope(number, size), summary: summary(number, 0), body },
    )
}

pub(crate) fn accept_message(spool: &Spool, message: NewMessage) -> Result<(), AcceptError> {
    let (told, answer) = mpsc::channel();
    spool.accept(
        message,
        Box::new(move |result| {
            let _ = told.send(result);
        }),
    );
    answer.recv_timeout(PATIENCE).expect("an answer")
}

pub(crate) fn accept(spool: &Spool, id: QueueId, number: u64, size: usize) -> Result<(), AcceptError> {
    accept_body(spool, id, number, NewBody::Inline(body(number, size)))
}

/// Streams a large body and accepts it.
pub(crate) fn accept_large(spool: &Spool, id: QueueId, number: u64, size: usize) -> Result<(), AcceptError> {
    let mut writer = spool.begin_large(id, Some(size as u64))?;
    for piece in body(number, size).chunks(10_000) {
        writer.write(piece)?;
    }
    accept_body(spool, id, number, NewBody::Large(writer.finish()?))
}

pub(crate) fn update(spool: &Spool, id: QueueId, change: StateChange) -> Result<(), CommitError> {
    let (told, answer) = mpsc::channel();
    spool.update(
        id,
        change,
        Some(Box::new(move |result| {
            let _ = told.send(result);
        })),
    );
    answer.recv_timeout(PATIENCE).expect("an answer")
}

pub(crate) fn finish(spool: &Spool, id: QueueId, ending: Ending) -> Result<(), CommitError> {
    let (told, answer) = mpsc::channel();
    spool.finish(
        id,
        ending,
        Some(Box::new(move |result| {
            let _ = told.send(result);
        })),
    );
    answer.recv_timeout(PATIENCE).expect("an answer")
}

/// The whole content of a message.
pub(crate) fn content(spool: &Spool, id: QueueId) -> Vec<u8> {
    bytes_of(&spool.body(id).unwrap_or_else(|error| panic!("{id}: {error}")))
}

pub(crate) fn bytes_of(body: &Body) -> Vec<u8> {
    let mut bytes = vec![0; body.len() as usize];
    assert_eq!(body.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}
