//! See `crates/probe/src/address.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| probe::address(input));
