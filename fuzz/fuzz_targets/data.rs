//! See `crates/probe/src/data.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::data(input));
