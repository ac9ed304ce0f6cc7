//! See `crates/probe/src/differential.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::differential(input));
