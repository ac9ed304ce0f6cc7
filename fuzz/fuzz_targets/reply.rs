//! See `crates/probe/src/reply.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::reply(input));
