//! The rituals of this repository, one command each.
//!
//! Promises: `cargo xtask ci` is exactly what the build machine runs; every other command is one of its
//! steps or a tool for looking closer. A step that cannot run fails and says what is missing.
//!
//! Refuses: anything a user of Postrider needs; that is in the program itself.

mod bench;
mod ci;
mod deps;
mod e2e;
mod fuzz;
mod interrupt;
mod kill;
mod program;
mod tidy;
mod torture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
cargo xtask COMMAND
  ci                         everything below, the tests and clippy: what must hold before landing
  tidy                       style, names, links: what rustfmt and clippy do not say
  deps                       layers, fenced crates, licences
  e2e                        the program between smtp-source, smtp-sink and swaks
  kill [--rounds N] [--seed S]   kill -9 at random instants under load (50 rounds)
  bench [--rounds N] [--messages N] [--only WORK,...] [--peers postfix,exim,opensmtpd] [--install yes]
        [--settings best|shipped] [--json FILE] [--svg FILE] [--program FILE]
                             the release build beside its peers, same load, same run
  bench engine | spool [SECONDS] selections a second; life cycles a second beside a file per message
  bench scale [--messages N] [--sites N] [--program FILE]   what a large queue costs
  bench flush [--messages N] [--sites N] [--program FILE]   from ETRN to the first attempt, few and many others
  torture [--minutes N] [--seed S] [--only PART] [--program FILE]
                             kills, hostile clients and next hops, new seeds; --only soak: half the load for long
  spool-dump FILE            every byte of a segment of the log, explained";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let root = root();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => tidy::run(&root),
        ["deps"] => deps::run(&root),
        ["ci"] => ci::run(&root),
        ["e2e"] => e2e::run(&root),
        ["bench", options @ ..] => bench::run(&root, options),
        ["torture", options @ ..] => torture::run(&root, options),
        ["spool-dump", file] => Ok(spool::dump(Path::new(file), &mut std::io::stdout().lock())?),
        ["kill", options @ ..] => {
            let number = |name, default| number(options, &["--rounds", "--seed"], name, default);
            kill::run(&root, u32::try_from(number("--rounds", 50)?)?, number("--seed", 1)?)
        }
        _ => bail!("what shall be done?\n{USAGE}"),
    }
}

/// The number behind `name` in `options`, which may only hold `known` names and their numbers.
fn number(options: &[&str], known: &[&str], name: &str, default: u64) -> Result<u64> {
    let mut value = default;
    for pair in options.chunks(2) {
        match pair {
            [option, number] if known.contains(option) => {
                let number = number.parse().with_context(|| format!("{option} {number}"))?;
                value = if *option == name { number } else { value };
            }
            _ => bail!("{} is not known here\n{USAGE}", pair[0]),
        }
    }
    Ok(value)
}

/// The root of the repository: where this crate's folder is.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_mistakes_refused() {
        let read = |options: &[&str]| number(options, &["--rounds", "--seed"], "--seed", 1).ok();
        assert_eq!(read(&[]), Some(1));
        assert_eq!(read(&["--rounds", "3", "--seed", "7"]), Some(7));
        for wrong in [&["--seed"][..], &["--seed", "x"], &["--sed", "7"], &["7"]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
