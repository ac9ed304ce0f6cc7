//! The works that are measured.
//!
//! Promises: the clock of *accept* runs until the last acknowledgement, the clock of everything that is
//! delivered until smtp-sink has counted the last message; starting and stopping is not measured.
//! Refuses: loads that only a trick of the load tool makes fast.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::load::{self, Sink, Source};
use super::peer::{Peer, Plan, Running};
use super::usage::{Cost, charged};
use crate::e2e::debian::closed_port;
use crate::program::Workplace;

/// What `cargo xtask bench` understands.
pub(crate) const OPTIONS: &[&str] = &["--rounds", "--messages", "--only", "--json", "--svg", "--program"];
/// Bytes of a body.
const BYTES: usize = 4096;
/// Recipients of the one message that has many.
const RECIPIENTS: usize = 50;
/// Sites of the backlog, unless there are fewer messages.
const SITES: usize = 1000;

/// One figure of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// What was measured, in words.
    pub(crate) figure: &'static str,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: Unit,
    /// Processor time for each message, in microseconds; none where nobody was charged.
    pub(crate) processor_us: Option<f64>,
    /// Memory at its highest, in KiB.
    pub(crate) peak_kib: Option<u64>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Milliseconds,
}

impl Unit {
    /// As in the table.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Milliseconds => "ms",
        }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<40} {:>9.1} {}", self.figure, self.value, self.unit.symbol())
    }
}

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
    Work {
        name: "relay-10",
        messages: 5_000,
        kind: Kind::Relay { figure: "accept and deliver, 10 connections", connections: 10, recipients: 1 },
    },
    Work {
        name: "relay-50",
        messages: 5_000,
        kind: Kind::Relay { figure: "accept and deliver, 50 connections", connections: 50, recipients: 1 },
    },
    Work {
        name: "recipients",
        messages: 1_000,
        kind: Kind::Relay {
            figure: "50 recipients each, recipients",
            connections: 10,
            recipients: RECIPIENTS,
        },
    },
    Work { name: "backlog", messages: 50_000, kind: Kind::Backlog },
];

impl Work {
    /// Measures `peer` in a fresh instance; nothing when the peer does no such work.
    pub(crate) fn measure(
        &self,
        peer: &dyn Peer,
        place: &Workplace,
        messages: usize,
    ) -> Result<Vec<Measured>> {
        match self.kind {
            Kind::Accept { figure, connections } => accept(peer, place, figure, connections, messages),
            Kind::Relay { figure, connections, recipients } => {
                let source = Source { connections, messages, recipients, bytes: BYTES };
                relay(peer, place, figure, source)
            }
            Kind::Backlog => backlog(peer, place, messages),
        }
    }
}

fn accept(
    peer: &dyn Peer,
    place: &Workplace,
    figure: &'static str,
    connections: usize,
    messages: usize,
) -> Result<Vec<Measured>> {
    let Some(running) = peer.start(place, Plan::Keep)? else { return Ok(Vec::new()) };
    let source = Source { connections, messages, recipients: 1, bytes: BYTES };
    let (took, cost) = charged(running.process(), || source.send(running.server()));
    Ok(vec![rate(figure, messages, messages, took?, running.process().map(|_| cost))])
}

fn relay(peer: &dyn Peer, place: &Workplace, figure: &'static str, source: Source) -> Result<Vec<Measured>> {
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
    let all = source.messages * source.recipients;
    Ok(vec![rate(figure, all, source.messages, took, running.process().map(|_| cost))])
}

/// Fills a queue that delivers nothing, lists it, lets it go.
fn backlog(peer: &dyn Peer, place: &Workplace, messages: usize) -> Result<Vec<Measured>> {
    let next_hop = SocketAddr::from(([0, 0, 0, 0], closed_port()?.port()));
    let sites = SITES.min(messages);
    let plan = Plan::Backlog { sites, port: next_hop.port() };
    let Some(running) = peer.start(place, plan)? else { return Ok(Vec::new()) };
    load::fill(running.server(), messages, sites, BYTES)?;
    // Nobody listens until now, so that what leaves early would be noticed by its absence.
    let sink = Sink::start(next_hop, &place.folder("sink", 0o755)?)?;
    let (first, whole) = list(&*running, messages)?;
    let (took, cost) = charged(running.process(), || -> Result<Duration> {
        let began = Instant::now();
        running.flush()?;
        Ok(sink.wait_for(messages)? - began)
    });
    let figure = "drain a backlog over 1000 sites";
    Ok(vec![
        milliseconds("listing of the backlog, first line", first),
        milliseconds("listing of the backlog, whole", whole),
        rate(figure, messages, messages, took?, running.process().map(|_| cost)),
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

fn rate(figure: &'static str, count: usize, messages: usize, took: Duration, cost: Option<Cost>) -> Measured {
    Measured {
        figure,
        value: count as f64 / took.as_secs_f64(),
        unit: Unit::PerSecond,
        processor_us: cost.map(|cost| cost.processor.as_secs_f64() * 1e6 / messages as f64),
        peak_kib: cost.map(|cost| cost.peak_kib),
    }
}

fn milliseconds(figure: &'static str, took: Duration) -> Measured {
    let value = took.as_secs_f64() * 1e3;
    Measured { figure, value, unit: Unit::Milliseconds, processor_us: None, peak_kib: None }
}
