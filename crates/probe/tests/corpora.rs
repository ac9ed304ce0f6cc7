//! What the fuzzer found interesting, run again, and inputs made of it by chance.
//!
//! The second test looks where the fuzzer has not: `PROBE_SEED` says at which inputs, `PROBE_INPUTS` at how
//! many of each target. A failure says which input it was and how to run it again.

use std::panic::catch_unwind;

use mail::Rng;
use probe::{TARGETS, Target, corpus, corpus_file};

/// Inputs of each target that are made by chance.
const INPUTS: u64 = 200;
/// The longest of them.
const INPUT_BYTES_MAX: usize = 4096;

fn corpus_of(target: &str) -> Vec<Vec<u8>> {
    let path = corpus_file(target);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    corpus::parse(&text).unwrap_or_else(|line| panic!("{}:{line} is no input", path.display()))
}

#[test]
fn every_target_survives_its_corpus() {
    for (name, target) in TARGETS {
        let corpus = corpus_of(name);
        assert!(corpus.len() >= 10, "{name} has {} inputs", corpus.len());
        for (number, input) in (1..).zip(corpus) {
            let survived = catch_unwind(|| target(&input)).is_ok();
            assert!(survived, "{name} fails with the input in line {number} of its corpus");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_target_survives_what_is_made_of_its_corpus() {
    let seed = number("PROBE_SEED").unwrap_or(1);
    let inputs = number("PROBE_INPUTS").unwrap_or(INPUTS);
    for (name, target) in TARGETS {
        survive(name, target, &corpus_of(name), seed, inputs);
    }
}

fn survive(name: &str, target: Target, corpus: &[Vec<u8>], seed: u64, inputs: u64) {
    let mut rng = Rng::new(seed);
    for count in 0..inputs {
        let input = changed(corpus, &mut rng);
        if catch_unwind(|| target(&input)).is_err() {
            panic!(
                "{name} fails with input {count} of seed {seed}, {:?}; again: \
                 PROBE_SEED={seed} PROBE_INPUTS={inputs} cargo test -p probe --test corpora made",
                input.escape_ascii().to_string()
            );
        }
    }
}

/// One input with a few changes: bytes replaced, removed, doubled, and pieces of other inputs put in.
fn changed(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = any(corpus, rng).clone();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(input.len() as u64 + 1) as usize;
        let end = (at + 1 + rng.below(16) as usize).min(input.len());
        match rng.below(5) {
            0 if at < input.len() => input[at] = rng.next_u64() as u8,
            1 if at < input.len() => input[at] ^= 1 << rng.below(8),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = any(corpus, rng);
                let from = rng.below(other.len() as u64 + 1) as usize;
                let to = (from + rng.below(64) as usize).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn any<'c>(corpus: &'c [Vec<u8>], rng: &mut Rng) -> &'c Vec<u8> {
    &corpus[rng.below(corpus.len() as u64) as usize]
}
