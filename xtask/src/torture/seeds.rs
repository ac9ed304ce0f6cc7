//! The randomised tests of the crates with seeds nobody has tried yet.
//!
//! Promises: power cuts on the disk trait at random changes of a random workload, inputs of the fuzz targets,
//! next hops and worlds at random; what fails says how to replay it by itself. Refuses: being complete.
//! `cargo test` cuts at every change and flips every byte of its fixed workloads.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use mail::Rng;

/// Power cuts of one round; each is a workload of its own.
const CUTS: usize = 5;
/// Inputs of each fuzz target that are made of its corpus.
const INPUTS: u64 = 2000;
/// One in so many of the bytes that are zero is changed in one round: as many rounds in a row change each.
const ZEROS: u64 = 24;
/// The workloads of the test make about so many changes to the disk.
const CHANGES: u64 = 300;

/// One test and the variables that hold its seed.
struct Run {
    arguments: [&'static str; 5],
    variables: Vec<(&'static str, u64)>,
}

/// Runs them all.
pub(crate) fn run(root: &Path, seed: u64) -> Result<String> {
    let mut rng = Rng::new(seed);
    let mut runs = Vec::new();
    for _ in 0..CUTS {
        runs.push(Run {
            arguments: ["-p", "spool", "--test", "crash", "replay"],
            variables: vec![("SPOOL_SEED", 1000 + rng.below(1 << 30)), ("SPOOL_CUT", 1 + rng.below(CHANGES))],
        });
    }
    runs.push(Run {
        arguments: ["-p", "spool", "--test", "flip", "every_byte"],
        variables: vec![("SPOOL_SEED", seed), ("SPOOL_STEP", ZEROS)],
    });
    // The crate that makes these cases up draws a new seed by itself and prints it.
    runs.push(Run { arguments: ["-p", "spool", "--test", "flip", "any_damage"], variables: Vec::new() });
    runs.push(Run {
        arguments: ["-p", "probe", "--test", "corpora", "made"],
        variables: vec![("PROBE_SEED", rng.below(1 << 30)), ("PROBE_INPUTS", INPUTS)],
    });
    runs.push(Run {
        arguments: ["-p", "delivery", "--test", "random", ""],
        variables: vec![("DELIVERY_SEED", rng.below(1 << 30))],
    });
    runs.push(Run {
        arguments: ["-p", "sim", "--test", "random", ""],
        variables: vec![("POSTRIDER_SEED", rng.below(1 << 30))],
    });
    for run in &runs {
        try_one(root, run)?;
    }
    Ok(format!(
        "{CUTS} power cuts, damage, {INPUTS} inputs of each fuzz target, a hostile next hop and a simulated \
         world survived"
    ))
}

fn try_one(root: &Path, run: &Run) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--quiet", "--locked"]).args(run.arguments.iter().filter(|word| !word.is_empty()));
    for (name, seed) in &run.variables {
        command.env(name, seed.to_string());
    }
    let output = command.current_dir(root).stdin(Stdio::null()).output().context("cargo test")?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let variables: Vec<String> = run.variables.iter().map(|(name, seed)| format!("{name}={seed}")).collect();
    bail!(
        "{}\n{} cargo test {} fails",
        String::from_utf8_lossy(&said),
        variables.join(" "),
        run.arguments.join(" ").trim()
    )
}
