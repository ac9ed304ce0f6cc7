//! `cargo xtask ci`: everything that must hold before a change may land.
//!
//! Promises: each step runs, even after another failed; each is printed with its time; the end is a
//! table, and success only if every step succeeded. The test command is read out of README.md, so that
//! what newcomers are told is what is run.
//!
//! Refuses: installing anything. `.ci/run` does that first.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::engine::Setup;
use testkit::plain::{Client, Sink};

use crate::program::Workplace;
use crate::{deps, e2e, fuzz, kill, program, tidy, torture};

/// Rounds in which the engine is killed here; `cargo xtask kill` takes any number. In some it is stopped
/// instead, and at least 50 kills are wanted.
const KILL_ROUNDS: u32 = 64;

/// One step.
struct Step {
    name: &'static str,
    run: fn(&Path) -> Result<()>,
}

/// What runs, in this order: what fails fastest first.
const STEPS: &[Step] = &[
    Step { name: "format", run: |root| cargo(root, &["fmt", "--all", "--check"]) },
    Step { name: "tidy", run: tidy::run },
    Step { name: "deps", run: deps::run },
    Step { name: "clippy", run: clippy },
    Step { name: "tests", run: tests_of_readme },
    Step { name: "parameters", run: |root| tidy::check_parameters(root, &program::build(root)?) },
    Step { name: "e2e", run: e2e::run },
    Step { name: "kill", run: |root| kill::run(root, KILL_ROUNDS, seed_of_today()) },
    Step { name: "torture", run: |root| torture::short(root, seed_of_today()) },
    Step { name: "fuzz targets", run: fuzz::check },
    Step { name: "first command", run: first_command_of_readme },
    Step { name: "every byte", run: every_byte_of_a_spool },
];

/// Runs every step on the repository at `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut results = Vec::new();
    for step in STEPS {
        println!("== {}", step.name);
        let began = Instant::now();
        let result = (step.run)(root);
        if let Err(error) = &result {
            eprintln!("{} failed: {error:#}", step.name);
        }
        results.push((step.name, result.is_ok(), began.elapsed()));
    }
    println!("{}", table(&results));
    let failed: Vec<&str> = results.iter().filter(|(_, ok, _)| !ok).map(|(name, ..)| *name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn table(results: &[(&str, bool, Duration)]) -> String {
    let mut text = String::from("==\n");
    for (name, ok, took) in results {
        let word = if *ok { "ok" } else { "FAILED" };
        text.push_str(&format!("{name:<14} {word:<7} {:>7.1} s\n", took.as_secs_f64()));
    }
    let all: Duration = results.iter().map(|(_, _, took)| *took).sum();
    text.push_str(&format!("{:<22} {:>7.1} s", "together", all.as_secs_f64()));
    text
}

/// Runs cargo in the repository and fails when it does.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    cargo_with(root, &[], arguments)
}

/// The same with more variables in its environment.
fn cargo_with(root: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).envs(variables.iter().copied()).current_dir(root);
    let status = command.stdin(std::process::Stdio::null()).status()?;
    let told: String = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    ensure!(status.success(), "{told}cargo {}: {status}", arguments.join(" "));
    Ok(())
}

fn clippy(root: &Path) -> Result<()> {
    cargo(root, &["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// The release build that README.md begins with starts, relays a message and stops. Only the port, the
/// folder of the spool and the next hop are not the defaults, so that nothing outside is touched.
fn first_command_of_readme(root: &Path) -> Result<()> {
    let readme = std::fs::read_to_string(root.join("README.md")).context("README.md")?;
    let first = readme.lines().find_map(|line| line.strip_prefix("cargo "));
    ensure!(first == Some("run --release -- serve"), "README.md begins with {first:?}");
    cargo(root, &["build", "--quiet", "--locked", "--release"])?;
    Workplace::run("release", |place| {
        let sink = Sink::start()?;
        let setup = Setup::new(program::built(root, "release")?, place.folder("engine", 0o755)?);
        let engine = setup.with("route.relayhost", &format!("{:?}", sink.next_hop())).start()?;
        let reply = Client::greet(engine.smtp())?.send("", &["you@x.test"], b"Subject: first\r\n\r\n")?;
        sink.wait_for(1).context("the message did not arrive")?;
        println!("the release build says {reply}, and it arrived");
        let (status, printed) = engine.stop()?;
        ensure!(status.success(), "it ended with {status}:\n{printed}");
        Ok(())
    })
}

/// What `cargo test` does for all bytes that are not zero and some that are: a debug build takes too long.
fn every_byte_of_a_spool(root: &Path) -> Result<()> {
    let test = ["test", "--quiet", "--locked", "--release", "-p", "spool", "--test", "flip", "every_byte"];
    cargo_with(root, &[("SPOOL_STEP", "1")], &[&test[..], &["--", "--nocapture"]].concat())
}

fn tests_of_readme(root: &Path) -> Result<()> {
    let readme = std::fs::read_to_string(root.join("README.md")).context("README.md")?;
    let command = test_command(&readme)?;
    println!("README.md says: cargo {command}");
    cargo(root, &command.split_whitespace().collect::<Vec<_>>())
}

/// What README.md says after `cargo` to run the tests: exactly one line of its code begins so.
fn test_command(readme: &str) -> Result<&str> {
    let mut commands =
        readme.lines().filter_map(|line| line.trim().strip_prefix("cargo ")).filter(|command| {
            let command = command.trim_start();
            command.starts_with("test")
        });
    match (commands.next(), commands.next()) {
        (Some(command), None) => Ok(command.split('#').next().unwrap_or(command).trim()),
        (None, _) => bail!("README.md has no line `cargo test …`"),
        (Some(_), Some(_)) => bail!("README.md has several lines `cargo test …`"),
    }
}

/// A new one each day, so that time adds coverage; printed with every failure.
fn seed_of_today() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / 86_400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_command_is_read_from_the_readme() {
        let readme =
            "# A\n\n```\ncargo run --release -- serve   # starts\ncargo test --workspace   # tests\n```\n";
        assert_eq!(test_command(readme).ok(), Some("test --workspace"));
        assert!(test_command("nothing").is_err());
        assert!(test_command("cargo test a\ncargo test b\n").is_err());
    }

    #[test]
    fn a_failed_step_shows_in_the_table() {
        let table = table(&[("a", true, Duration::from_secs(1)), ("b", false, Duration::from_secs(2))]);
        assert!(table.contains("a              ok") && table.contains("b              FAILED"));
        assert!(table.ends_with("3.0 s"));
    }
}
