//! What a flush of one site costs among much mail for others: records read, and the time to the first
//! attempt.
//!
//! `POSTRIDER_DEFERRED=1000000 cargo test --release -p qmgr --test flush_scale -- --nocapture` prints it for
//! a million deferred messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flush::{Authority, LogChange, LogTimes, Released};
use mail::{Outcome, QueueId, Time};
use qmgr::{Batch, Config, Effect, Engine, Flags, Note, Pending, Queue, Report, Route, Stored};

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
/// Most sites of one piece of a refresh or purge.
const SITES_AT_ONCE: u64 = 500;
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

/// An engine for whose sites clients may ask.
fn eligible() -> Engine {
    let mut config = Config::default();
    config.fast_flush_domains = mail::DomainList::parse(&["example.com"], true).expect("valid");
    Engine::new(config, 1)
}

/// Lets the engine go on until nothing is left; how often it was called, and the longest call.
fn go_on(engine: &mut Engine, now: Time) -> (u64, Duration) {
    let (mut pieces, mut longest) = (0, Duration::ZERO);
    while engine.flush_sites_left() > 0 {
        let before = engine.flush_sites_left();
        assert!(engine.poll_timeout().is_some_and(|at| at <= now), "it wants to go on");
        let called = Instant::now();
        engine.handle_timeout(now);
        longest = longest.max(called.elapsed());
        let done = before - engine.flush_sites_left();
        assert!((1..=SITES_AT_ONCE).contains(&done), "{done} sites in one piece");
        pieces += 1;
    }
    (pieces, longest)
}

/// Asks for the mail of so many sites at once. The engine did nothing else for a third of a second.
fn a_purge_of_many_sites_goes_in_pieces() {
    let mut engine = eligible();
    for number in 0..DEFERRED {
        engine.handle_stored(Time::ZERO, stored(number, &format!("mail{number}.example.com")));
    }
    let now = Time::from_millis(1_000);
    let answer = engine.flush_purge(now);
    assert_eq!(answer.released, Released { released: SITES_AT_ONCE, ..Released::default() });
    assert!(engine.flush_status().iter().all(|site| site.to_be_tried == 1), "progress is told by site");
    // Asked again meanwhile.
    engine.flush_purge(now);
    let (pieces, longest) = go_on(&mut engine, now);
    println!(
        "{DEFERRED} sites with one message each: {pieces} pieces, the longest {} us",
        longest.as_micros()
    );
    assert!(engine.flush_status().iter().all(|site| site.to_be_tried == 1), "each is asked for once");
    assert_eq!(
        engine.flush_logs().iter().filter(|(_, log)| log.last_sent.is_some()).count() as u64,
        DEFERRED
    );
}

/// The logs of so many sites have been empty for long.
fn many_logs_that_were_empty_long_enough_are_deleted_in_pieces() {
    let mut engine = eligible();
    let long_ago = LogTimes {
        begun: Time::ZERO,
        last_sent: None,
        last_added: Time::ZERO,
        empty_since: Some(Time::ZERO),
    };
    for number in 0..FEW {
        engine.handle_flush_log(&format!("mail{number}.example.com"), long_ago);
    }
    let now = Time::from_millis(30 * 86_400_000);
    engine.handle_timeout(now);
    assert_eq!(engine.flush_sites_left(), FEW - SITES_AT_ONCE, "by itself, when it is time");
    // One gets mail before its turn.
    engine.handle_stored(now, stored(FEW, &format!("mail{}.example.com", FEW - 1)));
    go_on(&mut engine, now);
    assert_eq!(engine.flush_logs().len(), 1);
    let mut deleted = 0;
    while let Some(effect) = engine.poll_effect() {
        let change = |note: &Note| matches!(note, Note::FlushLog { change: LogChange::Deleted, .. });
        deleted += u64::from(matches!(&effect, Effect::Note(note) if change(note)));
    }
    assert_eq!(deleted, FEW - 1);
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
    // Not tests of their own: what is measured above is the memory of the process.
    a_purge_of_many_sites_goes_in_pieces();
    many_logs_that_were_empty_long_enough_are_deleted_in_pieces();
}
