//! `cargo xtask bench flush`: a site that was offline asks for its mail, among much mail for others.
//!
//! Promises: the same with few messages for others and with many, one after the other; the queue is filled
//! over SMTP, the engine is ended with SIGKILL and started again, so that nothing is in memory that was
//! not read for the flush; the site asks with ETRN and receives over SMTP. What was read is counted by the
//! spool. Fails unless exactly the mail of the site was read and delivered.
//!
//! Refuses: judging the times. docs/benchmarks.md says what is expected of them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::plain::{Client, Sink};

use super::load;
use super::peer::{Postrider, Running, RunningPostrider};
use super::{Options, machine, on_a_disk, release};
use crate::program::{Workplace, poll};

/// What `cargo xtask bench flush` understands.
pub(crate) const OPTIONS: &[&str] = &["--messages", "--sites", "--program"];
/// Messages that wait for the site.
const WAITING: usize = 50;
/// Messages for others, the first time.
const FEW: usize = 10_000;
/// Bytes of a body.
const BYTES: usize = 512;
const SITE: &str = "back.example.com";
/// All mail waits: neither time nor a success of one site sets any other mail going.
const SETTINGS: &[&str] = &["qmgr.defer_transports=[\"smtp\", \"relay\"]"];

/// What one flush cost.
struct Cost {
    first_attempt: Duration,
    last_delivery: Duration,
    envelopes: u64,
    contents: u64,
}

/// Measures among few and among many.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let messages = options.number("--messages", 100_000)?.max(FEW);
    let sites = options.number("--sites", 10_000)?.clamp(1, messages);
    let peer = Postrider { program: release(root, options)? };
    println!("{}", machine());
    for others in [FEW, messages] {
        Workplace::run("flush", |place| {
            on_a_disk(place)?;
            let cost = measure(&peer, place, others, sites.min(others))?;
            println!(
                "{WAITING} of {others} deferred messages asked for: first attempt after {:.1} ms, all \
                 delivered after {:.1} ms; {} envelopes and {} contents read",
                cost.first_attempt.as_secs_f64() * 1e3,
                cost.last_delivery.as_secs_f64() * 1e3,
                cost.envelopes,
                cost.contents,
            );
            ensure!((cost.envelopes, cost.contents) == (WAITING as u64, WAITING as u64), "too much was read");
            Ok(())
        })?;
    }
    Ok(())
}

fn measure(peer: &Postrider, place: &Workplace, messages: usize, sites: usize) -> Result<Cost> {
    let site = Sink::start()?;
    let config = format!(
        "[route]\nrelay_domains = [\"example.com\"]\nmap = [{{ match = \"{SITE}\", to = \"smtp:{}\" }}]\n",
        site.next_hop()
    );
    let mut engine = peer.serve(place, SETTINGS, &config)?;
    load::fill(engine.server(), messages - WAITING, sites, BYTES)?;
    let mut client = Client::greet(engine.server())?;
    for number in 0..WAITING {
        client.send("a@src.test", &[&format!("u{number}@{SITE}")], b"Subject: hello\r\n\r\nhello\r\n")?;
    }
    poll("everything deferred", load::PATIENCE, || all_deferred(&engine, messages))?;
    engine.kill()?;
    let engine = peer.serve(place, SETTINGS, &config)?;
    poll("all mail known again", load::PATIENCE, || all_deferred(&engine, messages))?;

    let before = status(&engine)?;
    let mut client = Client::greet(engine.server())?;
    let asked = Instant::now();
    let reply = client.command(&format!("ETRN {SITE}"))?.to_string();
    ensure!(reply.starts_with(&format!("253 2.0.0 OK, {WAITING} ")), "{reply}");
    let received = site.wait_for(WAITING).context("not everything arrived")?;
    poll("the rest still waits", load::PATIENCE, || all_deferred(&engine, messages - WAITING))?;
    let after = status(&engine)?;
    let grown = |name| number(&after, name).saturating_sub(number(&before, name));
    let since = |instant: Option<Instant>| instant.unwrap_or(asked).saturating_duration_since(asked);
    ensure!(site.count() == WAITING, "{} messages arrived", site.count());
    Ok(Cost {
        first_attempt: since(received.iter().map(|one| one.started).min()),
        last_delivery: since(received.iter().map(|one| one.ended).max()),
        envelopes: grown("/envelopes_read"),
        contents: grown("/contents_read"),
    })
}

fn all_deferred(engine: &RunningPostrider, messages: usize) -> Result<Option<()>> {
    Ok((number(&status(engine)?, "/queues/deferred") == messages as u64).then_some(()))
}

fn status(engine: &RunningPostrider) -> Result<Value> {
    let output = engine.command(&["status", "--json"]).output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(status: &Value, name: &str) -> u64 {
    status.pointer(name).and_then(Value::as_u64).unwrap_or(0)
}
