//! What tests need: the program as a process, plain clients and servers, scripted ones, a faulty disk.
//!
//! Promises: nothing that ships depends on this crate. Refuses: judging; a test does.

pub mod disk;
pub mod engine;
pub mod plain;
pub mod scripted;
