//! See `crates/probe/src/scenario.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::scenario(input));
