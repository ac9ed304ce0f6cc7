//! What the fuzz targets do with their input: one function for each parser and each state machine that reads
//! what strangers send, or what a disk gives back.
//!
//! Promises: whatever the input, a function returns, or panics with what does not hold; it keeps nothing and
//! touches nothing outside. The fuzzer (`fuzz/`) and `cargo test` run the very same functions.
//!
//! Refuses: to look for inputs. libFuzzer does, guided by coverage; what it found is in `fuzz/corpora/`.

use std::path::{Path, PathBuf};

mod address;
mod client;
mod command;
mod configuration;
mod control;
pub mod corpus;
mod data;
mod differential;
mod envelope;
mod reply;
mod scenario;
mod segment;
mod server;

pub use address::address;
pub use client::client;
pub use command::command;
pub use configuration::configuration;
pub use control::control;
pub use data::data;
pub use differential::differential;
pub use envelope::envelope;
pub use reply::reply;
pub use scenario::scenario;
pub use segment::segment;
pub use server::server;

/// Where the inputs of a target are kept, in this source.
pub fn corpus_file(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpora").join(format!("{target}.txt"))
}

/// What is done with one input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its program in `fuzz/fuzz_targets/` and of its corpus in
/// `fuzz/corpora/`.
pub const TARGETS: [(&str, Target); 12] = [
    ("address", address),
    ("client", client),
    ("command", command),
    ("configuration", configuration),
    ("control", control),
    ("data", data),
    ("differential", differential),
    ("envelope", envelope),
    ("reply", reply),
    ("scenario", scenario),
    ("segment", segment),
    ("server", server),
];
