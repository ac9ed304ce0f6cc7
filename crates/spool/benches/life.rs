//! The whole life of a message in the spool (accepted, read, ended), beside a file for each message.
//!
//! Promises: both sides make every message durable before it counts, on the same disk, with the same
//! writers, one right after the other. A file's life is create, write, fsync, read, unlink; its directory is
//! not synced, as mail systems that use files do not either. Prints lives a second and how long an
//! acknowledgement takes; asserts nothing, because the machine decides. `cargo xtask bench spool` runs it;
//! a number behind it is the seconds for each side of each row.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mail::{BodyType, Client, Envelope, Recipient, Time};
use spool::disk::RealDisk;
use spool::{BODY_IN_LOG_MAX, Ending, NewBody, NewMessage, Options, Queue, Spool, Summary};

const KIB: usize = 1024;

/// What is written: the writers, the sizes they take in turn, and the name of the row.
const ROWS: &[(usize, &[usize], &str)] = &[
    (1, &[4 * KIB], "4 KiB"),
    (16, &[4 * KIB], "4 KiB"),
    (64, &[4 * KIB], "4 KiB"),
    (256, &[4 * KIB], "4 KiB"),
    (16, &[KIB], "1 KiB"),
    (16, &[64 * KIB], "64 KiB"),
    (4, &[1024 * KIB], "1 MiB"),
    (16, &[4 * KIB, 64 * KIB], "4 and 64 KiB"),
];

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1.0f64);
    let time = Duration::from_secs_f64(seconds.clamp(0.05, 600.0));
    println!(
        "{:>7} {:<13} {:>9} {:>9} {:>6} {:>19} {:>19}",
        "writers", "bodies", "spool/s", "files/s", "ratio", "spool ack p50/p99", "file ack p50/p99"
    );
    for (writers, sizes, name) in ROWS {
        let folder = tempfile::tempdir().unwrap();
        let ours = measure(*writers, time, spool_lives(folder.path(), sizes));
        let files = measure(*writers, time, file_lives(folder.path(), sizes));
        println!(
            "{writers:>7} {name:<13} {:>9.0} {:>9.0} {:>6.1} {:>19} {:>19}",
            ours.rate,
            files.rate,
            ours.rate / files.rate,
            ours.acknowledged(),
            files.acknowledged(),
        );
    }
}

/// What came of one side of one row.
struct Lives {
    rate: f64,
    /// Sorted.
    waits: Vec<Duration>,
}

impl Lives {
    fn acknowledged(&self) -> String {
        let at = |share: usize| {
            let place = (self.waits.len() * share / 100).min(self.waits.len().saturating_sub(1));
            self.waits.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        format!("{:.2}/{:.2} ms", at(50), at(99))
    }
}

/// Lets so many writers live messages for `time`; `life` gets the number of the message and says how long
/// its acknowledgement took.
fn measure(writers: usize, time: Duration, life: impl Fn(usize) -> Duration + Sync) -> Lives {
    let waits = Mutex::new(Vec::new());
    let began = Instant::now();
    thread::scope(|scope| {
        for writer in 0..writers {
            let (waits, life) = (&waits, &life);
            scope.spawn(move || {
                let mut own = Vec::new();
                while began.elapsed() < time {
                    own.push(life(own.len() * writers + writer));
                }
                waits.lock().unwrap().extend(own);
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    let mut waits = waits.into_inner().unwrap();
    waits.sort();
    Lives { rate: waits.len() as f64 / took, waits }
}

/// Sizes differ by message and not by writer, as the writers' number may be a multiple of the sizes'.
fn size_of(number: usize, sizes: usize) -> usize {
    (number ^ (number >> 4)) % sizes
}

fn spool_lives(folder: &Path, sizes: &'static [usize]) -> impl Fn(usize) -> Duration + Sync + use<> {
    let disk = Arc::new(RealDisk::new(folder.join("spool")));
    let spool = Spool::open(disk, Options::default(), &mut |_| {}, &mut |_| {}).unwrap();
    let bodies: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect();
    move |number| {
        let body = bodies[size_of(number, bodies.len())].clone();
        let id = spool.next_id(Time::from_millis(0));
        let began = Instant::now();
        let size = body.len() as u64;
        let body = if body.len() <= BODY_IN_LOG_MAX {
            NewBody::Inline(body)
        } else {
            let mut large = spool.begin_large(id, Some(size)).unwrap();
            large.write(&body).unwrap();
            NewBody::Large(large.finish().unwrap())
        };
        let (told, answer) = mpsc::channel();
        let message = NewMessage { id, envelope: envelope(size), summary: summary(), body };
        spool.accept(message, Box::new(move |result| told.send(result).unwrap()));
        answer.recv().unwrap().unwrap();
        let waited = began.elapsed();
        spool.body(id).unwrap();
        spool.finish(id, Ending::Delivered, None);
        waited
    }
}

fn file_lives(folder: &Path, sizes: &'static [usize]) -> impl Fn(usize) -> Duration + Sync + use<> {
    let folder = folder.join("files");
    fs::create_dir(&folder).unwrap();
    let bodies: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'x'; *size]).collect();
    move |number| {
        let path = folder.join(number.to_string());
        let began = Instant::now();
        let mut file = File::create(&path).unwrap();
        file.write_all(&bodies[size_of(number, bodies.len())]).unwrap();
        file.sync_all().unwrap();
        let waited = began.elapsed();
        fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        waited
    }
}

fn envelope(size: u64) -> Arc<Envelope> {
    let to = Recipient { address: "user@dst.test".parse().unwrap(), orcpt: None, notify: None };
    Arc::new(Envelope {
        sender: Some("a@src.test".parse().unwrap()),
        recipients: vec![to],
        ret: None,
        envid: None,
        body: BodyType::EightBitMime,
        smtputf8: false,
        arrived: Time::from_millis(0),
        size,
        client: Client { helo: "client.test".to_owned(), ..Client::default() },
    })
}

fn summary() -> Summary {
    Summary {
        queue: Queue::Incoming,
        recipients: 1,
        unfinished: 1,
        sites: vec!["dst.test".to_owned()],
        ..Summary::default()
    }
}
