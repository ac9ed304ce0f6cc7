//! The end of `backlog` and `black-hole`: everything that is deferred is let go, and the clock runs.
//!
//! Promises, to every peer alike: the clock starts when the whole backlog is deferred, and stops when
//! smtp-sink has counted the last message. Whoever has delivered nothing for [`STALL`] is asked again, the
//! clock running on; one who stalls more than [`ASKED_AGAIN_MAX`] times has not come to an end.
//!
//! Why not from the last acknowledgement: Postfix was still deferring the last of what it had taken, and what
//! was on its way there then missed the flush and waited for its retry, 177 of 24,000 in one run. That is
//! how a drain of 50,000 came to have no end.
//!
//! Known to be wrong: a retry that falls due by itself during the drain counts as the flush's doing.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::load::Sink;
use super::peer::{Running, SINKS};
use super::usage::{Cost, charged};
use crate::interrupt;
use crate::program::{Workplace, poll};

/// How long the backlog may take to be deferred.
const SETTLE: Duration = Duration::from_secs(120);
/// So long without an arrival is a stall.
const STALL: Duration = Duration::from_secs(10);
/// So often a stall is answered with another flush.
const ASKED_AGAIN_MAX: usize = 3;
/// Between two looks at the counter.
const LOOK: Duration = Duration::from_millis(2);

/// A port that nobody listens on for each sink.
pub(crate) fn closed_ports() -> Result<[u16; SINKS]> {
    // All at a time, so that none comes twice.
    let bind = |_| TcpListener::bind(("127.0.0.1", 0));
    let listeners = (0..SINKS).map(bind).collect::<std::io::Result<Vec<_>>>()?;
    let mut ports = [0; SINKS];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// The sinks of all sites.
pub(crate) struct Sinks(Vec<Sink>);

impl Sinks {
    /// To be started when the queue is full and not before, so that what left early would be noticed by its
    /// absence.
    pub(crate) fn start(place: &Workplace, ports: [u16; SINKS]) -> Result<Sinks> {
        let start = |port: u16| {
            let folder = place.folder(&format!("sink-{port}"), 0o755)?;
            Sink::start(SocketAddr::from(([0, 0, 0, 0], port)), &folder)
        };
        Ok(Sinks(ports.into_iter().map(start).collect::<Result<_>>()?))
    }

    /// How many messages arrived, at all of them.
    pub(crate) fn messages(&self) -> Result<usize> {
        self.0.iter().map(Sink::messages).sum()
    }
}

/// What a wait for arrivals has seen so far.
struct Watch {
    arrived: usize,
    /// The last arrival, or the last flush.
    moved: Instant,
    asked_again: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Done,
    Wait,
    AskAgain,
    GiveUp,
}

impl Watch {
    fn new(now: Instant) -> Watch {
        Watch { arrived: 0, moved: now, asked_again: 0 }
    }

    /// What to do when `arrived` of `wanted` have been counted.
    fn look(&mut self, arrived: usize, wanted: usize, now: Instant) -> Next {
        if arrived >= wanted {
            return Next::Done;
        }
        if arrived > self.arrived {
            (self.arrived, self.moved) = (arrived, now);
        }
        if now - self.moved < STALL {
            return Next::Wait;
        }
        if self.asked_again == ASKED_AGAIN_MAX {
            return Next::GiveUp;
        }
        self.asked_again += 1;
        self.moved = now;
        Next::AskAgain
    }
}

/// Waits until the whole backlog is deferred. Not measured.
pub(crate) fn settle(running: &dyn Running) -> Result<()> {
    poll("the backlog deferred", SETTLE, || Ok((running.restless()? == 0).then_some(())))
}

/// Flushes everything; the time until `messages` have arrived, and its cost.
pub(crate) fn drain(running: &dyn Running, sinks: &Sinks, messages: usize) -> Result<(Duration, Cost)> {
    let (took, cost) = charged(running.process(), || -> Result<Duration> {
        let began = Instant::now();
        running.flush()?;
        let mut watch = Watch::new(Instant::now());
        loop {
            let arrived = sinks.messages()?;
            match watch.look(arrived, messages, Instant::now()) {
                Next::Done => return Ok(began.elapsed()),
                // smtp-sink tells nobody; asking is the only way to find out.
                Next::Wait => std::thread::sleep(LOOK),
                Next::AskAgain => running.flush()?,
                Next::GiveUp => bail!("{arrived} of {messages} messages arrived, then none, flush or not"),
            }
            interrupt::check()?;
        }
    });
    Ok((took?, cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_answered_with_a_flush_a_few_times() {
        let began = Instant::now();
        let at = |stalls: u32| began + STALL * stalls;
        let mut watch = Watch::new(began);
        assert_eq!(watch.look(0, 9, began), Next::Wait);
        assert_eq!(watch.look(5, 9, at(1)), Next::Wait, "something has arrived");
        for again in 2..2 + u32::try_from(ASKED_AGAIN_MAX).expect("few") {
            assert_eq!(watch.look(5, 9, at(again)), Next::AskAgain);
            assert_eq!(watch.look(5, 9, at(again)), Next::Wait, "a flush has its time too");
        }
        assert_eq!(watch.look(5, 9, at(20)), Next::GiveUp);
        assert_eq!(watch.look(9, 9, at(20)), Next::Done);
    }
}
