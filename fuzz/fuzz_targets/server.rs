//! See `crates/probe/src/server.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::server(input));
