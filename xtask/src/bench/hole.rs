//! `black-hole`: one site of ten takes no connection, and nobody says so.
//!
//! Promises: the same backlog over the same ten sites is drained twice by fresh instances, once with all
//! ten healthy and once with one of them a hole. The hole is a listening socket whose queue is full: Linux
//! drops what asks for a connection, so that a sender sees what it would see of a firewall that drops, or of
//! a machine that is gone, without rules of a packet filter and without a network of its own. That it is
//! black is tried before anybody is measured.
//!
//! The share is strict: messages a second to the nine, with the hole, over messages a second to all ten,
//! without. Refuses: waiting until the hole's own mail is put off.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::drain::{Sinks, closed_ports, drain, settle};
use super::load;
use super::measured::{Measured, Unit};
use super::peer::{Peer, Plan, SINKS, Sites};
use super::works::{BYTES, fresh};

/// How many sites there are.
const SITES: usize = 10;
/// How long the hole is asked before it counts as black; on this side of the loopback a healthy one answers
/// in microseconds.
const BLACK: Duration = Duration::from_millis(500);
/// The most connections that a queue of length 0 could hold.
const QUEUED_MAX: usize = 4;

/// A listener that lets nobody in.
struct Hole {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
    port: u16,
}

impl Hole {
    /// Listens at the address of the first site and fills its own queue.
    fn dig() -> Result<Hole> {
        let ip = Sites { number: 1, ports: [0; SINKS], hole: None }.address(0).ip();
        let listener = TcpListener::bind((ip, 0))?;
        // To listen once more changes the length of the queue.
        rustix::net::listen(&listener, 0).context("listen")?;
        let address = listener.local_addr()?;
        let mut queue = Vec::new();
        while queue.len() <= QUEUED_MAX {
            match TcpStream::connect_timeout(&address, BLACK) {
                Ok(stream) => queue.push(stream),
                Err(error) => {
                    ensure!(error.kind() == std::io::ErrorKind::TimedOut, "the black hole says: {error}");
                    return Ok(Hole { _listener: listener, _queue: queue, port: address.port() });
                }
            }
        }
        anyhow::bail!("the queue of the black hole has no end; this system makes no hole this way")
    }
}

/// Measures both drains and their share.
pub(crate) fn measure(peer: &dyn Peer, messages: usize) -> Result<Vec<Measured>> {
    let healthy = one(peer, messages, None, "ten sites, all healthy")?;
    let hole = Hole::dig()?;
    let hit = one(peer, messages, Some(hole.port), "ten sites, one a black hole, the nine")?;
    let (Some(healthy), Some(hit)) = (healthy, hit) else { return Ok(Vec::new()) };
    let share =
        Measured::plain("share of the nine beside a black hole", hit.value / healthy.value, Unit::Share);
    Ok(vec![healthy, hit, share])
}

fn one(
    peer: &dyn Peer,
    messages: usize,
    hole: Option<u16>,
    figure: &'static str,
) -> Result<Option<Measured>> {
    fresh(|place| {
        let sites = Sites { number: SITES, ports: closed_ports()?, hole };
        let Some(running) = peer.start(place, Plan::Backlog(sites))? else { return Ok(None) };
        load::fill(running.server(), messages, SITES, BYTES)?;
        settle(&*running)?;
        let sink = Sinks::start(place, sites.ports)?;
        let reached = reachable(messages, hole);
        let (took, cost) = drain(&*running, &sink, reached)?;
        let arrived = sink.messages()?;
        ensure!(arrived == reached, "{arrived} messages arrived, {reached} could");
        Ok(Some(Measured::rate(figure, (reached, reached), took, running.process().map(|_| cost))))
    })
}

/// How many of `messages` go to a site that takes them; the sites take turns, the hole first.
fn reachable(messages: usize, hole: Option<u16>) -> usize {
    messages - hole.map_or(0, |_| messages.div_ceil(SITES))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_hole_lets_nobody_in_and_says_nothing() {
        let hole = Hole::dig().expect("a hole");
        let address = SocketAddr::from(([127, 1, 0, 1], hole.port));
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(100)).expect_err("black");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_goes_into_the_hole_is_not_waited_for() {
        assert_eq!(
            (reachable(5_000, None), reachable(5_000, Some(1)), reachable(11, Some(1))),
            (5_000, 4_500, 9)
        );
    }
}
