//! `cargo xtask torture`: everything that can go wrong, at random, for as long as told.
//!
//! Promises: rounds until the time is over, at least one; each part of a round prints one line, the end one
//! verdict. A part that this machine does not allow is named before the first round and behind the verdict;
//! asked for by name it is a failure. Everything random follows from the seed of the round, which is printed;
//! a failure ends the run and its last line is the command that replays that round. `--minutes 0`, the
//! default, is one round: two or three minutes, once everything is built.

mod clients;
mod hops;
mod names;
mod seeds;
mod soak;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::Options;
use crate::{kill, program};

/// What `cargo xtask torture` understands.
const OPTIONS: &[&str] = &["--minutes", "--seed", "--only", "--program"];
/// What is no part of a round: it takes as long as all of them.
const SOAK: &str = "soak";
/// Kills of one round.
const KILLS: u32 = 15;

/// One part of a round.
struct Part {
    name: &'static str,
    /// Whether the machine allows it.
    allowed: fn() -> Result<()>,
    /// What it does with the source, a program and a seed. The answer is its line.
    run: fn(&Path, &Path, u64) -> Result<String>,
}

/// In this order.
const PARTS: [Part; 6] = [
    Part {
        name: "kill",
        allowed: || Ok(()),
        run: |_, program, seed| {
            kill::run_program(program, KILLS, seed)?;
            Ok(format!("{KILLS} rounds survived"))
        },
    },
    Part {
        name: "blocks",
        allowed: kill::power_can_be_cut,
        run: |_, program, seed| {
            kill::run_without_power(program, KILLS, seed)?;
            Ok(format!("{KILLS} rounds survived on a disk that loses power with the engine"))
        },
    },
    Part { name: "clients", allowed: || Ok(()), run: |_, program, seed| clients::run(program, seed) },
    Part { name: "hops", allowed: || Ok(()), run: |_, program, seed| hops::run(program, seed) },
    Part { name: "names", allowed: names::tried, run: |_, program, _| names::run(program) },
    Part { name: "seeds", allowed: || Ok(()), run: |root, _, seed| seeds::run(root, seed) },
];

/// What every landing must survive: hostile clients and next hops once. Kills are a step of their own there,
/// and the seeds of the crates' tests are fixed where everybody must get the same answer.
pub(crate) fn short(root: &Path, seed: u64) -> Result<()> {
    let program = program::build(root)?;
    for part in PARTS.iter().filter(|part| ["clients", "hops"].contains(&part.name)) {
        one(part, root, &program, seed)?;
    }
    Ok(())
}

fn one(Part { name, run, .. }: &Part, root: &Path, program: &Path, seed: u64) -> Result<()> {
    let started = Instant::now();
    let line = run(root, program, seed)
        .with_context(|| format!("replay it with: cargo xtask torture --only {name} --seed {seed}"))?;
    println!("round {seed} {name:<8} {:>6.1} s  {line}", started.elapsed().as_secs_f64());
    Ok(())
}

/// Runs rounds until the time is over.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    let options = Options::read(OPTIONS, words)?;
    let time = Duration::from_secs(60 * options.number("--minutes", 0)? as u64);
    let first = options.number("--seed", 1)? as u64;
    let only = options.word("--only");
    anyhow::ensure!(
        only.is_none_or(|only| only == SOAK || PARTS.iter().any(|part| part.name == only)),
        "--only takes one of {}, {SOAK}",
        PARTS.map(|part| part.name).join(", ")
    );
    let program = match options.word("--program") {
        Some(file) => std::path::absolute(file)?,
        None => program::build(root)?,
    };
    if only == Some(SOAK) {
        let minutes = options.number("--minutes", 1)?;
        return soak::run(&program, first, minutes).with_context(|| {
            format!("replay it with: cargo xtask torture --only {SOAK} --seed {first} --minutes {minutes}")
        });
    }
    let (parts, left_out) = allowed(only)?;
    let began = Instant::now();
    let mut rounds = 0;
    loop {
        let seed = first + rounds;
        for part in &parts {
            one(part, root, &program, seed)?;
        }
        rounds += 1;
        if began.elapsed() >= time {
            break;
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!("torture: {rounds} rounds in {took:.0} s, nothing lost, nobody stuck");
    left_out.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// The parts that are asked for and possible here, and a line for each that is not possible.
fn allowed(only: Option<&str>) -> Result<(Vec<&'static Part>, Vec<String>)> {
    let (mut parts, mut left_out) = (Vec::new(), Vec::new());
    for part in PARTS.iter().filter(|part| only.is_none_or(|only| only == part.name)) {
        match (part.allowed)() {
            Ok(()) => parts.push(part),
            Err(why) if only.is_some() => {
                return Err(why.context(format!("{} is not possible here", part.name)));
            }
            Err(why) => {
                left_out.push(format!("NOT TRIED: {}, which is not possible here: {why:#}", part.name))
            }
        }
    }
    left_out.iter().for_each(|line| println!("{line}"));
    Ok((parts, left_out))
}
