//! Postrider, the one binary: configuration, wiring, and the command line.

mod cli;
mod config;
mod format;
mod serve;
mod sink;
mod source;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::main(std::env::args_os().collect()))
}
