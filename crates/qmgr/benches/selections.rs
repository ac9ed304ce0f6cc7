//! How many entries the engine selects in a second, by messages and sites in memory.
//!
//! Two rows of figures for each world, because "a selection" means two things:
//!
//! - *selection*: what the scheduler does when an agent is free: transport, overtaking, job, site, entry,
//!   the request to deliver. All of it begins and nothing ends: no limit of agents, windows
//!   that hold nothing back. Every message is selected.
//! - *life*: the same, and what it takes to end it: the report that comes back, the record of the outcome,
//!   feedback, the end of the message in every index there is. Defaults for the windows, 100 agents.
//!
//! A figure is the median over pieces of a hundred: whatever else runs on the machine hits some pieces,
//! and so do the rare steps that are paid for by many (a table that grows). Prints a table; asserts nothing,
//! because the machine decides. `cargo xtask bench engine` runs it.
//!
//! `cargo bench -p qmgr --bench selections -- MESSAGES SITES` measures one world, for a profiler; with `life`
//! or `selection` behind it, one figure of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::{Outcome, QueueId, Time};
use qmgr::{Batch, Config, Effect, Engine, Flags, Pending, Queue, Report, Route, Stored};

/// Selections that are measured in one world, at most.
const MEASURED_MAX: u64 = 300_000;
/// Selections that are timed together: so few that on a busy machine most pieces pass without being
/// interrupted. A piece of a thousand can take longer than the time a process gets at once, and then the
/// median is that of waiting for the processor.
const PIECE: u64 = 100;
/// Small worlds are built anew until there are so many pieces.
const PIECES: usize = 500;

/// What is measured.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Selection,
    Life,
}

impl Mode {
    fn wanted(self) -> bool {
        let name = if self == Mode::Life { "life" } else { "selection" };
        std::env::args().any(|argument| argument == name)
            || std::env::args().all(|argument| !matches!(&*argument, "life" | "selection"))
    }
}

fn main() {
    println!("{:>10} {:>9}   {:>22}   {:>22}", "messages", "sites", "selection", "life");
    println!(
        "{:>10} {:>9}   {:>13} {:>8}   {:>13} {:>8}",
        "", "", "a second", "ns each", "a second", "ns each"
    );
    for (messages, sites) in worlds() {
        let figures = [Mode::Selection, Mode::Life].map(|mode| match mode.wanted() {
            true => {
                let each = median(mode, messages, sites).max(1);
                format!("{:>13} {each:>8}", 1_000_000_000 / each)
            }
            false => format!("{:>22}", "-"),
        });
        println!("{messages:>10} {sites:>9}   {}", figures.join("   "));
    }
}

fn worlds() -> Vec<(u64, u64)> {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if let [messages, sites] = numbers[..] {
        return vec![(messages, sites)];
    }
    let all = [1_000, 100_000, 1_000_000].map(|messages| [10, 1_000, 100_000].map(|sites| (messages, sites)));
    all.concat().into_iter().filter(|(messages, sites)| sites <= messages).collect()
}

/// Nanoseconds of one selection in a world of so many messages.
fn median(mode: Mode, messages: u64, sites: u64) -> u128 {
    let mut pieces = Vec::new();
    while pieces.len() < PIECES {
        measure(mode, messages, sites, &mut pieces);
    }
    pieces.sort_unstable();
    pieces[pieces.len() / 2].as_nanos() / u128::from(PIECE)
}

/// Fills a world, empties it, and notes how long each piece took.
fn measure(mode: Mode, messages: u64, sites: u64, pieces: &mut Vec<Duration>) {
    let mut engine = Engine::new(config(mode, messages), 1);
    engine.pause_deliveries(Time::ZERO);
    fill(&mut engine, messages, sites);
    engine.resume_deliveries(Time::ZERO);
    for _ in 0..messages.min(MEASURED_MAX) / PIECE {
        let begun = Instant::now();
        for _ in 0..PIECE {
            select(&mut engine, mode);
        }
        pieces.push(begun.elapsed());
    }
}

/// One selection, and its end if that is measured.
#[inline(never)] // A profiler that counts only what happens in here finds it by its name.
fn select(engine: &mut Engine, mode: Mode) {
    loop {
        match engine.poll_effect() {
            Some(Effect::Deliver(delivery)) => {
                if mode == Mode::Life {
                    engine.handle_report(Time::ZERO, delivery.number, Report::All(Outcome::sent("ok")));
                }
                return;
            }
            Some(_) => {}
            None => panic!("every message can be selected"),
        }
    }
}

fn config(mode: Mode, messages: u64) -> Config {
    let mut config = Config::default();
    let mut set = |name, value: &str| config.set(name, value).expect("a good value");
    set("qmgr_message_active_limit", &messages.to_string());
    set("qmgr_message_recipient_limit", &messages.to_string());
    if mode == Mode::Selection {
        set("default_process_limit", "0");
        set("default_destination_concurrency_limit", "0");
        set("initial_destination_concurrency", "1000000");
    }
    config
}

fn fill(engine: &mut Engine, messages: u64, sites: u64) {
    let names: Vec<Arc<str>> = (0..sites).map(|n| format!("site{n}.test").into()).collect();
    let transport: Arc<str> = "smtp".into();
    for number in 0..messages {
        // A stride that shares no factor with the sites visits them in no simple order.
        let site = names[(number * 7919 % sites) as usize].clone();
        let route = Route { transport: transport.clone(), nexthop: site.clone() };
        let pending = Pending {
            position: 0,
            address: format!("u@{site}").into(),
            site: site.clone(),
            route,
            recorded: false,
            notify_success: false,
        };
        let stored = Stored {
            id: QueueId::from_u64(number + 1),
            arrived: Time::ZERO,
            entered: None,
            queue: Queue::Incoming,
            due: Time::ZERO,
            attempts: 0,
            size: 4096,
            null_sender: false,
            recipients: 1,
            unfinished: 1,
            sites: vec![site],
            flags: Flags::default(),
            reason: None,
        };
        engine.handle_accepted(Time::ZERO, stored, Some(Batch { recipients: vec![pending], next: None }));
        while engine.poll_effect().is_some() {}
    }
}
