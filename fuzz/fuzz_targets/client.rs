//! See `crates/probe/src/client.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::client(input));
