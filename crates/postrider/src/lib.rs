//! Postrider, the one binary: configuration, wiring, and the command line.

mod cli;
mod config;
mod format;
mod serve;
mod sink;
mod source;

use std::path::Path;

/// The whole program: these arguments, the first of them its own name, give this exit code.
pub use cli::main;

/// The configuration that a file with this text gives, beside which nothing is said: every value that is in
/// effect, as a file. Otherwise what is wrong, one line for each problem.
pub fn configuration_in_effect(path: &Path, text: &str) -> Result<String, Vec<String>> {
    config::in_effect(path, text).map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}
