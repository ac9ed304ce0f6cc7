//! Random worlds: messages, sites, answers, operators, restarts and crashes, made from a seed; and what
//! must hold in all of them.
//!
//! A world that breaks a rule is written to a file; the last line of the failure replays it.
//! `POSTRIDER_SEED=7 cargo test -p sim --test random` tries that one world, `POSTRIDER_WORLDS=10000 …` that
//! many.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod rules;
mod worlds;

use std::path::PathBuf;

use sim::{Options, Scenario, Trace};

/// Worlds tried when nothing else is said.
const WORLDS: u64 = 25;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Everything that is wrong with one world; nothing when all rules hold.
fn verdict(text: &str, rule: fn(&Scenario, &Trace) -> Result<(), String>) -> Result<(), String> {
    let scenario = sim::parse("random", text).map_err(|error| error.to_string())?;
    let trace = sim::run(&scenario, Options::default()).map_err(|broken| broken.to_string())?;
    let again = sim::run(&scenario, Options::default()).map_err(|broken| broken.to_string())?;
    if trace != again {
        return Err("two runs differ".to_owned());
    }
    rule(&scenario, &trace)
}

fn written(seed: u64, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("world-{seed}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

/// Tries every seed that is asked for, and says how to replay the first that fails.
fn try_worlds(test: &str, world: fn(u64) -> String, rule: fn(&Scenario, &Trace) -> Result<(), String>) {
    let seeds = match number("POSTRIDER_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("POSTRIDER_WORLDS").unwrap_or(WORLDS),
    };
    for seed in seeds {
        let text = world(seed);
        if let Err(what) = verdict(&text, rule) {
            let path = written(seed, &text);
            panic!(
                "seed {seed}: {what}\nsee it with: postrider sim {}\nreplay with: \
                 POSTRIDER_SEED={seed} cargo test -p sim --test random {test}",
                path.display()
            );
        }
    }
}

#[test]
fn every_world_obeys_the_rules() {
    try_worlds("every_world_obeys_the_rules", worlds::world, rules::check);
}

#[test]
fn a_site_gets_its_mail_in_order() {
    try_worlds("a_site_gets_its_mail_in_order", worlds::orderly, rules::first_in_first_out);
}
