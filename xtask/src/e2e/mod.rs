//! `cargo xtask e2e`: the whole program between Debian's own mail tools.
//!
//! Promises: 2,000 messages of several sizes over 20 connections arrive once and bit-exact; so they do
//! when half of the sites refuse first and are revived later; a site that asks for its mail gets exactly
//! that; swaks tries single cases. A missing tool is a failure, not a skip.
//!
//! Refuses: speed. Load is here to find what only happens under load.

pub(crate) mod debian;
mod etrn;
mod swaks;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mail::Rng;
use testkit::engine::Setup;

use crate::program::{self, Workplace, poll, queued, wait_until_empty};
use debian::{Load, SmtpSink, closed_port};

/// How long a whole load may take from the first message to the last.
const PATIENCE: Duration = Duration::from_secs(300);

/// Messages and bytes of each; together 2,000. The largest are past what the log holds itself.
const SIZES: [(usize, usize); 5] =
    [(800, 1 << 10), (800, 4 << 10), (300, 40 << 10), (80, 300 << 10), (20, 700 << 10)];

/// Sites of the second load; every other one refuses at first.
const SITES: usize = 20;
/// Messages for each of them; together 2,000.
const MESSAGES_PER_SITE: usize = 100;

/// Runs everything.
pub(crate) fn run(root: &Path) -> Result<()> {
    debian::require(&["smtp-source", "smtp-sink", "swaks"])?;
    let program = program::build(root)?;
    Workplace::run("sizes", |place| sizes(&program, place))?;
    Workplace::run("revival", |place| revival(&program, place))?;
    Workplace::run("etrn", |place| etrn::run(&program, place))?;
    Workplace::run("swaks", |place| swaks::run(&program, place))
}

/// 2,000 messages of five sizes over 20 connections.
fn sizes(program: &Path, place: &Workplace) -> Result<()> {
    let began = Instant::now();
    let mut loads = Vec::new();
    for (index, (messages, bytes)) in SIZES.into_iter().enumerate() {
        let file = place.folder("content", 0o755)?.join(format!("{bytes}.eml"));
        fs::write(&file, content(bytes, index as u64))?;
        loads.push(Load { file, messages, connections: 4, recipient: format!("u@size{index}.test") });
    }
    let measures = measure_all(&loads, place)?;
    let address = closed_port()?;
    let sink = SmtpSink::start(address, &place.folder("sink", 0o777)?, &[])?;
    let relayhost = format!("\"[{}]:{}\"", address.ip(), address.port());
    let setup = Setup::new(program, place.folder("engine", 0o755)?).with("route.relayhost", &relayhost);
    let engine = setup.start()?;
    debian::send_all(&loads, engine.smtp())?;
    let sent = began.elapsed();
    wait_until_empty(&engine, PATIENCE)?;
    debian::compare(&loads, &measures, &sink.messages()?)?;
    engine.stop()?;
    println!(
        "sizes: 2000 messages over 20 connections arrived once, bit-exact ({:.1} s to accept, {:.1} in all)",
        sent.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Half of the sites refuse, some at RCPT and some by a closed port; then they come back.
fn revival(program: &Path, place: &Workplace) -> Result<()> {
    let file = place.folder("content", 0o755)?.join("4096.eml");
    fs::write(&file, content(4096, 7))?;
    let load = |site| Load {
        file: file.clone(),
        messages: MESSAGES_PER_SITE,
        connections: 1,
        recipient: format!("u@{}", site_name(site)),
    };
    let loads: Vec<Load> = (0..SITES).map(load).collect();
    let measures = vec![measure_all(&loads[..1], place)?.remove(0); SITES];
    let [good, refusing, closed] = [closed_port()?, closed_port()?, closed_port()?];
    let next_hop = |site: usize| match site % 4 {
        1 => refusing,
        3 => closed,
        _ => good,
    };
    let sink = SmtpSink::start(good, &place.folder("good", 0o777)?, &[])?;
    let refuser = SmtpSink::start(refusing, &place.folder("refused", 0o777)?, &["-r", "RCPT"])?;
    let setup = Setup::new(program, place.folder("engine", 0o755)?)
        .with("route.map", &route_map(&next_hop)?)
        .with("qmgr.minimal_backoff_time", "\"1s\"")
        .with("qmgr.maximal_backoff_time", "\"4s\"");
    let engine = setup.start()?;
    debian::send_all(&loads, engine.smtp())?;
    let half = SITES / 2 * MESSAGES_PER_SITE;
    let settled = || Ok((queued(&engine, None)? == half && sink.messages()?.len() == half).then_some(()));
    poll("half of the messages delivered, half of them kept", PATIENCE, settled)?;
    ensure!(queued(&engine, Some("deferred"))? > 0, "nothing is listed as deferred");
    drop(refuser);
    let revived = Instant::now();
    let second = SmtpSink::start(refusing, &place.folder("second", 0o777)?, &[])?;
    let third = SmtpSink::start(closed, &place.folder("third", 0o777)?, &[])?;
    wait_until_empty(&engine, PATIENCE)?;
    let mut arrived = sink.messages()?;
    arrived.extend(second.messages()?);
    arrived.extend(third.messages()?);
    debian::compare(&loads, &measures, &arrived)?;
    engine.stop()?;
    println!(
        "revival: {half} of 2000 messages waited for refusing sites, there {:.1} s after these came back",
        revived.elapsed().as_secs_f64()
    );
    Ok(())
}

fn site_name(site: usize) -> String {
    format!("site{site:02}.test")
}

/// `route.map` that sends each site to its next hop, as the configuration writes it.
fn route_map(next_hop: &dyn Fn(usize) -> SocketAddr) -> Result<String> {
    let mut map = "[".to_owned();
    for site in 0..SITES {
        let to = next_hop(site);
        let name = site_name(site);
        write!(map, "{{ match = \"{name}\", to = \"smtp:[{}]:{}\" }}, ", to.ip(), to.port())?;
    }
    Ok(map + "]")
}

fn measure_all(loads: &[Load], place: &Workplace) -> Result<Vec<Vec<u8>>> {
    let measure = |(number, load)| debian::measure(load, &place.folder(&format!("measure{number}"), 0o777)?);
    loads.iter().enumerate().map(measure).collect()
}

/// A message of about `bytes` bytes with what goes wrong first: lines that begin with dots, lines of
/// every length, 8-bit text, blanks at line ends, empty lines.
fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut text = b"From: sender@source.test\nSubject: exact\n\n.\n..\n. dot\n\n".to_vec();
    while text.len() < bytes {
        let length = rng.below(200) as usize;
        text.extend(std::iter::repeat_with(|| b' ' + rng.below(95) as u8).take(length));
        text.extend_from_slice("\u{e9}\u{20ac} \n".as_bytes());
    }
    text
}
