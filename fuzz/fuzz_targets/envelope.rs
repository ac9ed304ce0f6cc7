//! See `crates/probe/src/envelope.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::envelope(input));
