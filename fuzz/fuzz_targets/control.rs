//! See `crates/probe/src/control.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::control(input));
