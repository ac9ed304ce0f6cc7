//! See `crates/probe/src/command.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::command(input));
