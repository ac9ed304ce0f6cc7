//! `cargo xtask torture --only soak --minutes N`: half of what it can do, for long, with failures.
//!
//! Promises: the maximum rate is measured first, with everything that goes wrong going wrong: a next hop that
//! defers, refuses, hangs up and goes down, clients that tear off their transactions and send garbage, an
//! operator who holds, releases, flushes, requeues and deletes. Then half of it, until the time is over. Each
//! minute the load stops for as long as it takes to count: what was found and accepted must have ended or be
//! queued, to the message. A line a minute; the verdict is about memory, descriptors and the counts.
//!
//! Refuses: kills and restarts. What leaks must not be cured by them; they are a part of their own.

mod clients;
mod look;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mail::Rng;
use testkit::engine::{Engine, Setup};

use crate::program::{Workplace, poll};
use clients::Load;
use look::{Look, NextHop};

/// How long the maximum is measured.
const MEASURED: Duration = Duration::from_secs(20);
/// Between two of them the load stops and everything is counted.
const MINUTE: Duration = Duration::from_secs(60);
/// The time within which the counts must come out even once nobody sends any more.
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// How long the queue may take to be empty at the end.
const DRAINED_MAX: Duration = Duration::from_secs(300);
/// What memory may be above that of the first minutes, in KiB: caches that are still filling.
const MEMORY_KIB_MORE: u64 = 16 << 10;
/// As many descriptors may come and go with connections.
const DESCRIPTORS_MORE: usize = 32;
/// The minutes in which caches fill and the heap finds its size.
const WARM_UP: usize = 2;

/// Soaks for so many minutes, at least one.
pub(crate) fn run(program: &Path, seed: u64, minutes: usize) -> Result<()> {
    Workplace::run("soak", |place| soak(program, place, seed, minutes.max(1)))
}

fn soak(program: &Path, place: &Workplace, seed: u64, minutes: usize) -> Result<()> {
    let hop = NextHop::start(program, seed)?;
    let engine = Setup::new(program, place.folder("engine", 0o755)?)
        .with("route.relayhost", &format!("{:?}", hop.next_hop()))
        .with("qmgr.minimal_backoff_time", "\"2s\"")
        .with("qmgr.maximal_backoff_time", "\"10s\"")
        .with("control.delete_grace", "\"5s\"")
        .with("spool.segment_size", "\"8MiB\"")
        .start()?;
    let load = Load::start(engine.smtp(), seed);
    let most = maximum(&engine, &load)?;
    load.pace(most / 2.0);
    println!("soak: {most:.0} messages/s at most, {:.0} from now on; seed {seed}", most / 2.0);
    let mut looks = Vec::new();
    let mut rng = Rng::new(seed);
    for minute in 1..=minutes {
        let acknowledged = load.acknowledged();
        load.resume();
        let began = Instant::now();
        while began.elapsed() < MINUTE {
            // The rhythm of the operator, who waits for nothing.
            thread::sleep(Duration::from_secs(1));
            operate(&engine, &mut rng)?;
        }
        let rate = (load.acknowledged() - acknowledged) as f64 / began.elapsed().as_secs_f64();
        load.pause();
        let look = settled(&engine).with_context(|| format!("minute {minute}"))?;
        ensure!(look.accepted >= load.acknowledged(), "fewer messages accepted than acknowledged: {look}");
        println!("minute {minute:>3}  {rate:>6.0}/s  {look}");
        looks.push(look);
    }
    let acknowledged = load.stop()?;
    let last = drained(&engine)?;
    let (status, printed) = engine.stop()?;
    ensure!(status.success(), "the engine ended with {status}:\n{printed}");
    judge(&looks)?;
    println!(
        "soak: {minutes} minutes, {acknowledged} messages acknowledged; {last}; memory flat, no descriptor \
         lost, the counts even at every minute"
    );
    Ok(())
}

/// Messages a second from the first to the last that is not waiting for its next attempt.
fn maximum(engine: &Engine, load: &Load) -> Result<f64> {
    let began = Instant::now();
    load.resume();
    thread::sleep(MEASURED);
    load.pause();
    poll("the queue to be worked off", DRAINED_MAX, || Ok(Look::at(engine)?.is_idle().then_some(())))?;
    let rate = load.acknowledged() as f64 / began.elapsed().as_secs_f64();
    ensure!(rate >= 1.0, "no load to speak of: {rate} messages a second");
    Ok(rate)
}

/// What an operator does: something else each time, or nothing.
fn operate(engine: &Engine, rng: &mut Rng) -> Result<()> {
    const COMMANDS: [&[&str]; 7] = [
        &["queue", "hold", "--all", "--limit", "20"],
        &["queue", "release", "--queue", "hold"],
        &["queue", "requeue", "--all", "--limit", "20"],
        &["queue", "delete", "--sender", clients::DOOMED],
        &["queue", "list", "--limit", "100", "--json"],
        &["flush", "--all"],
        &["trigger", "FADI"],
    ];
    let output = engine.ask(COMMANDS[rng.below(COMMANDS.len() as u64) as usize])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(matches!(output.status.code(), Some(0 | 1)), "the operator was told {:?}: {said}", output.status);
    Ok(())
}

/// Looks until the counts are even: what is on its way at one look has arrived at a later one.
fn settled(engine: &Engine) -> Result<Look> {
    let began = Instant::now();
    let mut last = None;
    let even = poll("even counts", SETTLED_MAX, || {
        let look = Look::at(engine)?;
        let even = look.is_even();
        last = Some(look.clone());
        Ok(even.then_some(look))
    });
    let look = even.with_context(|| last.map_or_else(String::new, |look| look.to_string()))?;
    Ok(Look { settled: began.elapsed(), ..look })
}

/// Everything that is queued goes out: nothing was forgotten.
fn drained(engine: &Engine) -> Result<Look> {
    poll("everything to end", DRAINED_MAX, || {
        for command in [&["queue", "release", "--queue", "hold"][..], &["flush", "--all"]] {
            engine.ask(command)?;
        }
        let look = Look::at(engine)?;
        Ok((look.stored == 0 && look.is_even()).then_some(look))
    })
}

/// The first minutes are the measure for all others.
fn judge(looks: &[Look]) -> Result<()> {
    let (early, late) = looks.split_at(WARM_UP.min(looks.len()));
    let most = |looks: &[Look]| looks.iter().map(|look| (look.memory_kib, look.descriptors)).max();
    let (Some((memory, _)), Some((later, _))) = (most(early), most(late)) else { return Ok(()) };
    ensure!(
        later <= memory + memory / 4 + MEMORY_KIB_MORE,
        "memory is not flat: {memory} KiB in the first minutes, {later} KiB later"
    );
    let descriptors = |looks: &[Look]| looks.iter().map(|look| look.descriptors).max().unwrap_or(0);
    ensure!(
        descriptors(late) <= descriptors(early) + DESCRIPTORS_MORE,
        "descriptors leak: {} in the first minutes, {} later",
        descriptors(early),
        descriptors(late)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_found_and_noise_is_not() {
        let look = |memory_kib, descriptors| Look { memory_kib, descriptors, ..Look::default() };
        let flat = [look(40_000, 50), look(60_000, 60), look(61_000, 70), look(50_000, 40)];
        assert!(judge(&flat).is_ok());
        assert!(judge(&[flat[0].clone(), flat[1].clone(), look(100_000, 60)]).is_err());
        assert!(judge(&[flat[0].clone(), flat[1].clone(), look(60_000, 600)]).is_err());
        assert!(judge(&flat[..1]).is_ok(), "nothing can be said of one minute");
    }
}
