//! `cargo xtask torture`: everything that can go wrong, at random, for as long as told.
//!
//! Promises: rounds until the time is over, at least one; each part of a round prints one line, the end one
//! verdict. Everything random follows from the seed of the round, which is printed; a failure ends the run
//! and its last line is the command that replays that round. `--minutes 0`, the default, is one round: about
//! a minute, once everything is built.
//!
//! Refuses: a power cut of the machine. What the disk loses is tested where the disk is a trait, and those
//! tests are part of each round with new seeds.

mod clients;
mod hops;
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

/// One part of a round: its name and what it does with a program and a seed. The answer is its line.
type Part = (&'static str, fn(&Path, &Path, u64) -> Result<String>);

/// In this order.
const PARTS: [Part; 4] = [
    ("kill", |root, _, seed| {
        kill::run(root, KILLS, seed)?;
        Ok(format!("{KILLS} kills survived"))
    }),
    ("clients", |_, program, seed| clients::run(program, seed)),
    ("hops", |_, program, seed| hops::run(program, seed)),
    ("seeds", |root, _, seed| seeds::run(root, seed)),
];

/// What every landing must survive: hostile clients and next hops once. Kills are a step of their own there,
/// and the seeds of the crates' tests are fixed where everybody must get the same answer.
pub(crate) fn short(root: &Path, seed: u64) -> Result<()> {
    let program = program::build(root)?;
    for part in PARTS.iter().filter(|(name, _)| ["clients", "hops"].contains(name)) {
        one(part, root, &program, seed)?;
    }
    Ok(())
}

fn one((name, part): &Part, root: &Path, program: &Path, seed: u64) -> Result<()> {
    let started = Instant::now();
    let line = part(root, program, seed)
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
        only.is_none_or(|only| only == SOAK || PARTS.iter().any(|(name, _)| *name == only)),
        "--only takes one of {}, {SOAK}",
        PARTS.map(|(name, _)| name).join(", ")
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
    let began = Instant::now();
    let mut rounds = 0;
    loop {
        let seed = first + rounds;
        for part in PARTS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
            one(part, root, &program, seed)?;
        }
        rounds += 1;
        if began.elapsed() >= time {
            break;
        }
    }
    println!(
        "torture: {rounds} rounds in {:.0} s, nothing lost, nobody stuck",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
