//! The works that are measured.
//!
//! Promises: the clock of *accept* runs until the last acknowledgement, the clock of everything that is
//! delivered until smtp-sink has counted the last message; starting and stopping is not measured; every
//! figure is of a fresh instance in a fresh folder. Refuses: loads that only a trick of the load tool makes
//! fast.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::drain::{Sinks, closed_ports, drain, settle};
use super::load::{self, Sink, Source};
use super::measured::Measured;
use super::peer::{Peer, Plan, Running, Sites};
use super::settings::Task;
use super::usage::charged;
use super::{behind, calls, hole, on_a_disk};
use crate::e2e::debian::closed_port;
use crate::interrupt;
use crate::program::Workplace;

/// Bytes of a body.
pub(crate) const BYTES: usize = 4096;
/// Recipients of the one message that has many.
const RECIPIENTS: usize = 50;
/// Sites of the backlog, unless there are fewer messages.
const SITES: usize = 1000;

/// One piece of work.
pub(crate) struct Work {
    /// As `--only` takes it.
    pub(crate) name: &'static str,
    /// Unless `--messages` says otherwise.
    pub(crate) messages: usize,
    kind: Kind,
}

enum Kind {
    Accept { figure: &'static str, connections: usize },
    Relay { figure: &'static str, connections: usize, recipients: usize },
    Backlog,
    Calls,
    Behind,
    Hole,
}

const fn relay(
    name: &'static str,
    figure: &'static str,
    messages: usize,
    connections: usize,
    recipients: usize,
) -> Work {
    Work { name, messages, kind: Kind::Relay { figure, connections, recipients } }
}

/// All of them, in the order of the table.
pub(crate) const WORKS: &[Work] = &[
    Work {
        name: "accept-50",
        messages: 10_000,
        kind: Kind::Accept { figure: "accept, 50 connections", connections: 50 },
    },
    Work {
        name: "accept-1",
        messages: 2_000,
        kind: Kind::Accept { figure: "accept, 1 connection", connections: 1 },
    },
    relay("relay-10", "accept and deliver, 10 connections", 5_000, 10, 1),
    relay("relay-50", "accept and deliver, 50 connections", 5_000, 50, 1),
    relay("recipients", "50 recipients each, recipients", 1_000, 10, RECIPIENTS),
    Work { name: "calls", messages: 1_000, kind: Kind::Calls },
    Work { name: "backlog", messages: 50_000, kind: Kind::Backlog },
    Work { name: "list-behind", messages: 50, kind: Kind::Behind },
    Work { name: "black-hole", messages: 5_000, kind: Kind::Hole },
];

impl Work {
    /// Whether it cannot be done without strace.
    pub(crate) fn needs_strace(&self) -> bool {
        matches!(self.kind, Kind::Calls)
    }

    /// What it asks of a peer.
    pub(crate) fn task(&self) -> Task {
        match self.kind {
            Kind::Accept { .. } => Task::Keep,
            Kind::Relay { .. } | Kind::Calls => Task::Relay,
            Kind::Behind => Task::List,
            Kind::Backlog | Kind::Hole => Task::Backlog,
        }
    }

    /// Measures `peer`; nothing when the peer does no such work.
    pub(crate) fn measure(&self, peer: &dyn Peer, messages: usize) -> Result<Vec<Measured>> {
        match self.kind {
            Kind::Accept { figure, connections } => {
                let source = source(connections, messages, 1);
                fresh(|place| accept(peer, place, figure, source))
            }
            Kind::Relay { figure, connections, recipients } => {
                let source = source(connections, messages, recipients);
                fresh(|place| deliver(peer, place, figure, source))
            }
            Kind::Backlog => fresh(|place| backlog(peer, place, messages)),
            Kind::Calls => fresh(|place| calls::measure(peer, place, messages)),
            Kind::Behind => fresh(|place| behind::measure(peer, place, messages)),
            Kind::Hole => hole::measure(peer, messages),
        }
    }
}

/// What smtp-source sends where nothing else is said.
pub(crate) fn source(connections: usize, messages: usize, recipients: usize) -> Source {
    Source { to: "user@dst.test", connections, messages, recipients, bytes: BYTES }
}

/// Does `work` in a folder of its own.
pub(crate) fn fresh<T>(work: impl FnOnce(&Workplace) -> Result<T>) -> Result<T> {
    interrupt::check()?;
    let mut done = None;
    Workplace::run("bench", |place| {
        on_a_disk(place)?;
        done = Some(work(place)?);
        Ok(())
    })?;
    done.context("nothing was done")
}

fn accept(peer: &dyn Peer, place: &Workplace, figure: &'static str, source: Source) -> Result<Vec<Measured>> {
    let Some(running) = peer.start(place, Plan::Keep)? else { return Ok(Vec::new()) };
    let (took, cost) = charged(running.process(), || source.send(running.server()));
    let count = (source.messages, source.messages);
    Ok(vec![Measured::rate(figure, count, took?, running.process().map(|_| cost))])
}

fn deliver(
    peer: &dyn Peer,
    place: &Workplace,
    figure: &'static str,
    source: Source,
) -> Result<Vec<Measured>> {
    let next_hop = closed_port()?;
    let sink = Sink::start(next_hop, &place.folder("sink", 0o755)?)?;
    let Some(running) = peer.start(place, Plan::Relay(next_hop))? else { return Ok(Vec::new()) };
    let (took, cost) = charged(running.process(), || -> Result<Duration> {
        let began = Instant::now();
        source.send(running.server())?;
        Ok(sink.wait_for(source.messages)? - began)
    });
    let took = took?;
    let arrived = sink.messages()?;
    ensure!(arrived == source.messages, "{arrived} messages arrived, {} were sent", source.messages);
    let count = (source.messages * source.recipients, source.messages);
    Ok(vec![Measured::rate(figure, count, took, running.process().map(|_| cost))])
}

/// Fills a queue that delivers nothing, lists it, lets it go.
fn backlog(peer: &dyn Peer, place: &Workplace, messages: usize) -> Result<Vec<Measured>> {
    let sites = Sites { number: SITES.min(messages), ports: closed_ports()?, hole: None };
    let Some(running) = peer.start(place, Plan::Backlog(sites))? else { return Ok(Vec::new()) };
    load::fill(running.server(), messages, sites.number, BYTES)?;
    settle(&*running)?;
    let sink = Sinks::start(place, sites.ports)?;
    let (first, whole) = list(&*running, messages)?;
    let (took, cost) = drain(&*running, &sink, messages)?;
    let figure = "drain a backlog over 1000 sites";
    Ok(vec![
        Measured::milliseconds("listing of the backlog, first line", first),
        Measured::milliseconds("listing of the backlog, whole", whole),
        Measured::rate(figure, (messages, messages), took, running.process().map(|_| cost)),
    ])
}

/// How long the first line and the last one of a listing take.
fn list(running: &dyn Running, messages: usize) -> Result<(Duration, Duration)> {
    let began = Instant::now();
    let mut child = running.listing().stdout(Stdio::piped()).spawn().context("listing")?;
    let mut output = BufReader::new(child.stdout.take().context("a pipe")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let first = began.elapsed();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest)?;
    let whole = began.elapsed();
    child.wait()?;
    let lines = rest.iter().filter(|byte| **byte == b'\n').count() + 1;
    ensure!(lines >= messages, "the listing of {messages} messages has {lines} lines");
    Ok((first, whole))
}
