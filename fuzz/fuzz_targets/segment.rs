//! See `crates/probe/src/segment.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::segment(input));
