//! What a flush of one site costs among much mail for others: records read, and the time to the first
//! attempt.
//!
//! `POSTRIDER_DEFERRED=1000000 cargo test --release -p qmgr --test flush_scale -- --nocapture` prints it for
//! a million deferred messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flush::{Authority, Released};
use mail::{Outcome, QueueId, Time};
use qmgr::{Batch, Config, Effect, Engine, Flags, Pending, Queue, Report, Route, Stored};

/// Messages that wait for the flushed site.
const WAITING: u64 = 50;
/// Messages for each other site.
const MESSAGES_A_SITE: u64 = 10;
/// Deferred messages when nothing else is said.
const DEFERRED: u64 = 100_000;
/// Beside them.
const FEW: u64 = 10_000;
/// Bytes of memory that a deferred message may cost, its share of the site's name and of the record
/// included.
const BYTES_EACH_MAX: u64 = 400;
const SITE: &str = "back.again.test";

/// What one flush cost.
struct Cost {
    /// Envelopes that were read.
    records: u64,
    first_attempt: Duration,
    /// Nothing where the system does not say.
    bytes_each: Option<u64>,
}

/// Bytes of resident memory.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn stored(number: u64, site: &str) -> Stored {
    Stored {
        id: QueueId::from_u64(number << 20),
        arrived: Time::ZERO,
        entered: None,
        queue: Queue::Deferred,
        due: Time::from_millis(i64::MAX / 4),
        attempts: 3,
        size: 4_000,
        null_sender: false,
        recipients: 1,
        unfinished: 1,
        sites: vec![site.into()],
        flags: Flags::default(),
        reason: Some("connect to it: Connection refused".into()),
    }
}

fn envelope() -> Batch {
    let route = Route { transport: "smtp".into(), nexthop: SITE.into() };
    let address: Arc<str> = format!("u@{SITE}").into();
    let (site, recorded, notify_success) = (SITE.into(), true, false);
    Batch {
        recipients: vec![Pending { position: 0, address, site, route, recorded, notify_success }],
        next: None,
    }
}

fn flush_among(deferred: u64) -> Cost {
    let before = resident();
    let mut engine = Engine::new(Config::default(), 1);
    let every = deferred / WAITING;
    for number in 0..deferred {
        let site = format!("mail{}.example.com", number / MESSAGES_A_SITE);
        engine.handle_stored(Time::ZERO, stored(number, if number % every == 0 { SITE } else { &site }));
    }
    while engine.poll_effect().is_some() {}
    let grown = resident().zip(before).map(|(after, before)| after.saturating_sub(before));

    let now = Time::from_millis(1_000);
    let (mut records, mut attempts, mut first_attempt) = (0, 0, Duration::MAX);
    let asked = Instant::now();
    let answer = engine.flush_site(now, SITE, Authority::Operator);
    assert_eq!(answer.released, Released { released: WAITING, ..Released::default() });
    while let Some(effect) = engine.poll_effect() {
        match effect {
            Effect::Load { id, .. } => {
                records += 1;
                engine.handle_loaded(now, id, Ok(envelope()));
            }
            Effect::Deliver(delivery) => {
                first_attempt = first_attempt.min(asked.elapsed());
                attempts += 1;
                engine.handle_report(now, delivery.number, Report::All(Outcome::sent("250 ok")));
            }
            _ => {}
        }
    }
    assert_eq!(attempts, WAITING);
    assert_eq!(engine.counts().deferred, deferred - WAITING);
    Cost { records, first_attempt, bytes_each: grown.map(|grown| grown / deferred) }
}

/// Asks for the mail of so many sites at once.
fn flush_many_sites() {
    let mut config = Config::default();
    config.fast_flush_domains = mail::DomainList::parse(&["example.com"], true).expect("valid");
    let mut engine = Engine::new(config, 1);
    for number in 0..DEFERRED {
        engine.handle_stored(Time::ZERO, stored(number, &format!("mail{number}.example.com")));
    }
    let asked = Instant::now();
    let answer = engine.flush_purge(Time::from_millis(1_000));
    println!("{DEFERRED} sites with one message each: all asked for in {} ms", asked.elapsed().as_millis());
    assert_eq!(answer.released, Released { released: DEFERRED, ..Released::default() });
    assert!(engine.flush_status().iter().all(|site| site.to_be_tried == 1));
}

#[test]
fn a_flush_reads_the_records_of_its_site_and_no_others() {
    let asked = std::env::var("POSTRIDER_DEFERRED").ok().map(|text| text.parse().expect("a number"));
    // The large world first: a second one finds memory that the first gave back.
    for deferred in [asked.unwrap_or(DEFERRED), FEW] {
        let Cost { records, first_attempt, bytes_each } = flush_among(deferred);
        let micros = first_attempt.as_micros();
        println!(
            "{deferred} deferred, {WAITING} for the site: {records} read, first attempt after {micros} µs"
        );
        if let Some(bytes) = bytes_each.filter(|_| deferred > FEW) {
            println!("{bytes} bytes of memory for each deferred message");
            assert!(bytes <= BYTES_EACH_MAX, "{bytes} bytes each");
        }
        assert_eq!(records, WAITING);
    }
    flush_many_sites();
}
