//! `list-behind`: small mail behind a long list at the same slow site.
//!
//! Promises: the site is smtp-sink that answers DATA after a second; a list of 5,000 recipients goes there
//! five at a time; a second after its first delivery has begun, small messages of one recipient each come
//! in. The clock runs from the first of them being sent until smtp-sink has written the last one down; the
//! instant is the one at which its file was changed last.
//!
//! Refuses: waiting for the end of the list.

use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::load::{PATIENCE, Source};
use super::measured::{Measured, Unit};
use super::peer::{Peer, Plan};
use super::usage::charged;
use super::works::BYTES;
use crate::e2e::debian::{SmtpSink, closed_port};
use crate::program::{Workplace, poll};

/// Recipients of the list.
const RECIPIENTS: usize = 5_000;
/// Seconds until the site answers DATA.
const ANSWER: &str = "1";
/// How long the list has been going out when the small ones come.
const AHEAD: Duration = Duration::from_secs(1);
/// To whom the small ones go.
const SMALL: &str = "small@dst.test";

/// Measures how long `messages` small ones take.
pub(crate) fn measure(peer: &dyn Peer, place: &Workplace, messages: usize) -> Result<Vec<Measured>> {
    let next_hop = closed_port()?;
    let sink = SmtpSink::start(next_hop, &place.folder("sink", 0o777)?, &["-w", ANSWER])?;
    let Some(running) = peer.start(place, Plan::List(next_hop))? else { return Ok(Vec::new()) };
    let list =
        Source { to: "list@dst.test", connections: 1, messages: 1, recipients: RECIPIENTS, bytes: BYTES };
    let small = Source { to: SMALL, connections: 10, messages, recipients: 1, bytes: BYTES };
    list.send(running.server())?;
    let first = poll("the first delivery of the list", PATIENCE, || sink.first_transaction())?;
    // What has to pass is time itself. Deliveries go in steps of a second: the same offset for everybody.
    thread::sleep((first + AHEAD).duration_since(SystemTime::now()).unwrap_or_default());
    let began = SystemTime::now();
    let (arrivals, cost) = charged(running.process(), || -> Result<Vec<SystemTime>> {
        small.send(running.server())?;
        let all = || {
            let arrivals = sink.arrivals(SMALL)?;
            Ok((arrivals.len() >= messages).then_some(arrivals))
        };
        poll("the last small message", PATIENCE, all)
    });
    let mut waits = Vec::new();
    for arrival in arrivals? {
        waits.push(arrival.duration_since(began).context("an arrival before its departure")?);
    }
    waits.sort();
    let last = waits.last().context("nothing arrived")?.as_secs_f64();
    let middle = waits[waits.len() / 2].as_secs_f64();
    let peak_kib = running.process().map(|_| cost.peak_kib);
    Ok(vec![
        Measured::plain("small mail behind a list, median", middle, Unit::Seconds),
        Measured { peak_kib, ..Measured::plain("small mail behind a list, last", last, Unit::Seconds) },
    ])
}
