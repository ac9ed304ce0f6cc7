//! Front-ends driven through real sockets, over a real spool.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod accept;
mod common;
mod disk;
mod limits;
mod log;
