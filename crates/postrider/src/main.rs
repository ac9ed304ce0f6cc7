//! Postrider: the program, all of which is in its library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(postrider::main(std::env::args_os().collect()))
}
