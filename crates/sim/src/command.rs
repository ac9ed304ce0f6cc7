//! `postrider sim FILE`: reads, runs and prints a scenario.

use std::io::{self, Write};
use std::path::Path;

use crate::run::{Options, run};
use crate::trace::Trace;

/// The scenario ran.
const DONE: u8 = 0;
/// The scenario cannot be read.
const USAGE: u8 = 2;
/// An invariant of the engine does not hold (EX_SOFTWARE of sysexits.h).
const SOFTWARE: u8 = 70;
/// The output cannot be written (EX_IOERR).
const IO: u8 = 74;

/// What to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// One JSON object a line for all that happened.
    #[default]
    Trace,
    /// The selection order on one line.
    Order,
}

/// Runs the scenario in a file. Prints to `out`, complains to `err` in one line, and returns the exit
/// code: 0; 2 for a file that cannot be read or does not parse; 70 when an invariant breaks, after the
/// trace up to that point; 74 when `out` fails.
pub fn command(path: &Path, mode: Mode, seed: Option<u64>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let shown = path.display().to_string();
    let scenario = std::fs::read_to_string(path)
        .map_err(|error| format!("{shown}: {error}"))
        .and_then(|text| crate::parse(&shown, &text).map_err(|error| error.to_string()));
    let scenario = match scenario {
        Ok(scenario) => scenario,
        Err(error) => return complain(err, &error, USAGE),
    };
    let (trace, code) = match run(&scenario, Options { seed }) {
        Ok(trace) => (trace, DONE),
        Err(broken) => {
            let replay = format!("replay with: postrider sim {shown} --seed {}", broken.seed);
            let code = complain(err, &format!("{shown}: {broken}; {replay}"), SOFTWARE);
            (broken.trace, code)
        }
    };
    match print(&trace, mode, out) {
        Ok(()) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => complain(err, &format!("standard output: {error}"), IO),
    }
}

fn print(trace: &Trace, mode: Mode, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    match mode {
        Mode::Trace => trace.write_json(&mut out)?,
        Mode::Order => writeln!(out, "{}", trace.order())?,
    }
    out.flush()
}

/// A complaint that cannot be printed leaves only the exit code.
fn complain(err: &mut dyn Write, what: &str, code: u8) -> u8 {
    let _ = writeln!(err, "postrider sim: {what}");
    code
}
