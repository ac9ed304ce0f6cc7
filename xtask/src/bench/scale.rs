//! `cargo xtask bench scale`: what a large queue costs, and how fast it is back after a kill.
//!
//! Promises: the queue is filled over SMTP, the engine is ended with SIGKILL and started again, and every
//! figure is taken from that second life, where nothing is left over from filling. Every message has one
//! recipient; `--sites` sites share them.
//!
//! Refuses: judging. docs/benchmarks.md has the bounds.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::load;
use super::peer::{Postrider, Running, RunningPostrider};
use super::usage::{memory_kib, processor_time};
use super::{Options, machine, on_a_disk, release, report::median};
use crate::program::{Workplace, poll};

/// What `cargo xtask bench scale` understands.
pub(crate) const OPTIONS: &[&str] = &["--messages", "--sites", "--program"];
/// Bytes of a body: the queue is measured, not the disk.
const BYTES: usize = 512;
/// How often each question is asked; the middle one counts.
const QUESTIONS: usize = 5;
/// How long the engine is watched doing nothing.
const IDLE: Duration = Duration::from_secs(5);
/// How long it may take to settle before that.
const SETTLE: Duration = Duration::from_secs(60);

/// Fills, kills, starts again, asks.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let messages = options.number("--messages", 100_000)?.max(1);
    let sites = options.number("--sites", 10_000)?.clamp(1, messages);
    let peer = Postrider { program: release(root, options)? };
    println!("{}", machine());
    Workplace::run("scale", |place| {
        on_a_disk(place)?;
        measure(&peer, place, messages, sites)
    })
}

fn start(peer: &Postrider, place: &Workplace) -> Result<RunningPostrider> {
    let settings = ["qmgr.defer_transports=[\"smtp\", \"relay\"]", "flush.fast_flush_domains=[\"test\"]"];
    peer.serve(place, &settings, "")
}

fn measure(peer: &Postrider, place: &Workplace, messages: usize, sites: usize) -> Result<()> {
    let mut engine = start(peer, place)?;
    let empty_kib = memory_kib(pid(&engine)?);
    let began = Instant::now();
    load::fill(engine.server(), messages, sites, BYTES)?;
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    row(&format!("{messages} messages over {sites} sites, filled at"), rate, "messages/s");
    deferred(&engine, messages)?;
    row(
        "memory after filling, fresh bodies included, a message",
        per_message(&engine, empty_kib, messages)?,
        "bytes",
    );
    engine.kill()?;
    let began = Instant::now();
    let engine = start(peer, place)?;
    row("after kill -9: listening again after", began.elapsed().as_secs_f64() * 1e3, "ms");
    known(&engine, messages)?;
    row("after kill -9: all mail known after", began.elapsed().as_secs_f64() * 1e3, "ms");
    let idle = settled(&engine)?;
    row("memory after the restart, a message", per_message(&engine, empty_kib, messages)?, "bytes");
    row("processor time of a second with nothing due", idle.processor.as_secs_f64() * 1e3, "ms");
    row("wake-ups of a second with nothing due", idle.wakeups, "");
    row("bytes written in a second with nothing due", idle.written, "");
    for question in [
        &["queue", "list", "--site", "s0.test"][..],
        &["queue", "why", "s0.test"],
        &["queue", "shape"],
        &["queue", "list"],
    ] {
        let times = (0..QUESTIONS).map(|_| ask(&engine, question)).collect::<Result<Vec<f64>>>()?;
        row(&question.join(" "), median(times), "ms");
    }
    // Another site each time: what was flushed a moment ago is being tried.
    let flushes = (0..QUESTIONS).map(|n| ask(&engine, &["flush", &format!("s{}.test", n % sites)]));
    row("flush SITE", median(flushes.collect::<Result<Vec<f64>>>()?), "ms");
    Ok(())
}

fn row(what: &str, value: f64, unit: &str) {
    println!("{what:<60} {value:>12.1} {unit}");
}

fn pid(engine: &RunningPostrider) -> Result<u32> {
    engine.process().context("a process")
}

fn per_message(engine: &RunningPostrider, empty_kib: u64, messages: usize) -> Result<f64> {
    let grown = memory_kib(pid(engine)?).saturating_sub(empty_kib);
    Ok(grown as f64 * 1024.0 / messages as f64)
}

/// The milliseconds that one command takes, the start of its process included.
fn ask(engine: &RunningPostrider, words: &[&str]) -> Result<f64> {
    let began = Instant::now();
    let output = engine.command(words).output()?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", words.join(" "), said.trim());
    Ok(took)
}

fn status(engine: &RunningPostrider) -> Result<Value> {
    let output = engine.command(&["status", "--json"]).output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Waits until the engine has tried and put off everything.
fn deferred(engine: &RunningPostrider, messages: usize) -> Result<()> {
    let all = || {
        let status = status(engine)?;
        Ok((status["queues"]["deferred"].as_u64() == Some(messages as u64)).then_some(()))
    };
    poll("everything deferred", load::PATIENCE, all)
}

/// Waits until the engine knows of every message.
fn known(engine: &RunningPostrider, messages: usize) -> Result<()> {
    let all = || {
        let status = status(engine)?;
        let queues = status["queues"].as_object().context("status has no queues")?;
        let sum: u64 = queues.values().filter_map(Value::as_u64).sum();
        Ok((sum == messages as u64).then_some(()))
    };
    poll("all mail known", load::PATIENCE, all)
}

/// A second in which nothing is due.
struct Idle {
    processor: Duration,
    wakeups: f64,
    written: f64,
}

/// Watches until two looks agree that there is nothing left to do, or it takes too long.
fn settled(engine: &RunningPostrider) -> Result<Idle> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let idle = watch(pid(engine)?)?;
        if idle.processor < Duration::from_millis(2) || Instant::now() > deadline {
            return Ok(idle);
        }
    }
}

fn watch(pid: u32) -> Result<Idle> {
    let before = (processor_time(pid), wakeups(pid)?, written(pid)?);
    // To watch is the purpose of this time.
    std::thread::sleep(IDLE);
    let seconds = IDLE.as_secs_f64();
    Ok(Idle {
        processor: (processor_time(pid).saturating_sub(before.0)).div_f64(seconds),
        wakeups: wakeups(pid)?.saturating_sub(before.1) as f64 / seconds,
        written: written(pid)?.saturating_sub(before.2) as f64 / seconds,
    })
}

/// How often any living thread of the process waited and was woken.
fn wakeups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends while it is looked at counts nothing.
        let text = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        sum += field(&text, "voluntary_ctxt_switches:");
    }
    Ok(sum)
}

fn written(pid: u32) -> Result<u64> {
    Ok(field(&fs::read_to_string(format!("/proc/{pid}/io"))?, "write_bytes:"))
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "a: 1\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), 7);
        assert_eq!(field(text, "write_bytes:"), 0);
    }
}
