//! `cargo xtask bench`: how fast, beside Postfix on the same machine in the same run.
//!
//! Promises: everybody gets the same load from the same tools (Debian's `smtp-source` and `smtp-sink`),
//! in rounds that take turns, each round with a fresh instance in a folder of its own; the table shows
//! medians, their range and the ratio. Everybody syncs what was acknowledged: a folder in memory is
//! refused. The Postfix of the machine is neither used nor touched; a private instance is.
//!
//! Refuses: passing judgement. The machine decides the figures; docs/benchmarks.md says what they mean.
//!
//! Known to be wrong: the load tools take their share of the same processors, so that the fastest peer is
//! measured too slow. A run that is ended by a signal leaves the private Postfix running and its folder
//! behind: `postfix -c FOLDER/postfix/config abort` ends it.

mod chart;
mod load;
mod options;
mod peer;
mod postfix;
mod report;
mod scale;
pub(crate) mod usage;
mod works;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::ci::cargo;
use crate::e2e::debian;
use crate::program::Workplace;
pub(crate) use options::Options;
use peer::{Peer, Postrider};
use postfix::Postfix;
use report::Report;

/// Runs what `words` ask for.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    match words {
        ["engine"] => cargo(root, &["bench", "--quiet", "-p", "qmgr", "--bench", "selections"]),
        ["spool", rest @ ..] => {
            let fixed = ["bench", "--quiet", "-p", "spool", "--bench", "life", "--"];
            cargo(root, &[&fixed[..], rest].concat())
        }
        ["scale", rest @ ..] => scale::run(root, &Options::read(scale::OPTIONS, rest)?),
        rest => peers(root, &Options::read(works::OPTIONS, rest)?),
    }
}

/// All works, all peers, all rounds.
fn peers(root: &Path, options: &Options) -> Result<()> {
    debian::require(&["smtp-source", "smtp-sink", "postfix", "postqueue"])?;
    let program = release(root, options)?;
    let only = options.word("--only");
    let works: Vec<_> =
        works::WORKS.iter().filter(|work| only.is_none_or(|only| only == work.name)).collect();
    if works.is_empty() {
        let names: Vec<&str> = works::WORKS.iter().map(|work| work.name).collect();
        bail!("--only takes one of {}", names.join(", "));
    }
    let peers: [Box<dyn Peer>; 3] =
        [Box::new(Postrider { program }), Box::new(Postfix), Box::new(peer::Ceiling)];
    let mut report = Report::new(machine());
    let rounds = options.number("--rounds", 3)?;
    for round in 1..=rounds {
        for work in &works {
            let messages = options.number("--messages", work.messages)?.max(1);
            for peer in &peers {
                let mut measured = Vec::new();
                Workplace::run("bench", |place| {
                    on_a_disk(place)?;
                    measured = work.measure(&**peer, place, messages)?;
                    Ok(())
                })
                .with_context(|| format!("{} with {}", work.name, peer.name()))?;
                for one in measured {
                    eprintln!("round {round}/{rounds}  {:<10} {one}", peer.name());
                    report.add(peer.name(), one);
                }
            }
        }
    }
    println!("{report}");
    write(options.word("--json"), || report.json())?;
    write(options.word("--svg"), || chart::svg(&report))
}

/// The program built for speed, or the one that `--program` names.
fn release(root: &Path, options: &Options) -> Result<PathBuf> {
    if let Some(program) = options.word("--program") {
        return fs::canonicalize(program).with_context(|| program.to_owned());
    }
    cargo(root, &["build", "--quiet", "--locked", "--release", "-p", "postrider"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release").join("postrider"))
}

/// Fails where a sync costs nothing.
fn on_a_disk(place: &Workplace) -> Result<()> {
    let folder = place.folder("disk", 0o755)?;
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(&folder).output().context("stat")?;
    let kind = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(kind != "tmpfs" && kind != "ramfs", "{} is in memory; set TMPDIR to a disk", folder.display());
    Ok(())
}

fn write(file: Option<&str>, text: impl FnOnce() -> String) -> Result<()> {
    match file {
        Some(file) => fs::write(file, text()).with_context(|| file.to_owned()),
        None => Ok(()),
    }
}

/// The machine, in one line: processors, memory, load before the first round.
fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    format!(
        "{processors} processors, {} GiB, Linux {}, load {load} before the first round",
        kib >> 20,
        kernel.trim()
    )
}
