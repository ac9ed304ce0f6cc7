//! `cargo xtask bench`: how fast, beside Postfix on the same machine in the same run.
//!
//! Promises: everybody gets the same load from the same tools (Debian's `smtp-source` and `smtp-sink`),
//! in rounds that take turns, each round with a fresh instance in a folder of its own; the table shows
//! medians, their range and the ratio. Every peer enters at the best of its settings, found before the first
//! round, and Postrider as it is shipped. Everybody syncs what was acknowledged: a folder in memory is
//! refused. The Postfix of the machine is neither used nor touched; a private instance is.
//!
//! What Postrider requires of itself is judged in the table. A run that is interrupted ends what it started,
//! removes its folders and prints what it has.
//!
//! Known to be wrong: the load tools take their share of the same processors, so that the fastest peer is
//! measured too slow. A run that is ended by SIGKILL leaves its instances running and their folders behind:
//! `postfix -c FOLDER/postfix/config abort` ends that of Postfix.

mod behind;
mod calls;
mod chart;
mod drain;
mod flush;
mod guest;
mod hole;
mod load;
mod measured;
mod options;
mod package;
mod peer;
mod postfix;
mod qualify;
mod report;
mod requirement;
mod scale;
mod settings;
pub(crate) mod usage;
mod works;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::ci::cargo;
use crate::interrupt;
use crate::program::Workplace;
use guest::Guest;
use measured::Measured;
pub(crate) use options::Options;
use peer::{Peer, Postrider};
use postfix::Postfix;
use report::Report;
use settings::SHIPPED;
use works::{WORKS, Work};

/// What `cargo xtask bench` understands.
const OPTIONS: &[&str] = &[
    "--rounds",
    "--messages",
    "--only",
    "--peers",
    "--settings",
    "--install",
    "--json",
    "--svg",
    "--program",
];

/// What `--peers` takes for a look at Postrider by itself.
const ALONE: &str = "none";

/// Runs what `words` ask for.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    match words {
        ["engine"] => cargo(root, &["bench", "--quiet", "-p", "qmgr", "--bench", "selections"]),
        ["spool", rest @ ..] => {
            let fixed = ["bench", "--quiet", "-p", "spool", "--bench", "life", "--"];
            cargo(root, &[&fixed[..], rest].concat())
        }
        ["flush", rest @ ..] => flush::run(root, &Options::read(flush::OPTIONS, rest)?),
        ["scale", rest @ ..] => scale::run(root, &Options::read(scale::OPTIONS, rest)?),
        rest => peers(root, &Options::read(OPTIONS, rest)?),
    }
}

/// All works, all peers, all rounds.
fn peers(root: &Path, options: &Options) -> Result<()> {
    let mut works = chosen(options.word("--only"))?;
    let best = wants_best(options.word("--settings"))?;
    let install = package::consent(options.word("--install"))?;
    package::postfix(install)?;
    let mut report = Report::new(machine());
    if !package::strace(install)? {
        for work in works.extract_if(.., |work| work.needs_strace()) {
            report.remark(format!("{} is left out: strace is not installed; --install yes", work.name));
        }
    }
    let guests = guests(options.word("--peers"), &target(root), install, &mut report)?;
    let program = release(root, options)?;
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Postrider { program })];
    if options.word("--peers") != Some(ALONE) {
        peers.push(Box::new(Postfix { setting: &SHIPPED }));
    }
    peers.extend(guests);
    peers.push(Box::new(peer::Ceiling));
    if options.word("--messages").is_some() {
        report.remark("Not of full length: --messages was given, so the verdicts are indicative.".into());
    }
    interrupt::listen()?;
    let mut failed = Vec::new();
    let measured = measure(options, &works, &peers, best, &mut report, &mut failed);
    if interrupt::happened() {
        report.remark("Interrupted; what there is comes from fewer rounds.".into());
        failed.push("interrupted".to_owned());
    } else {
        measured?;
    }
    println!("{report}");
    write(options.word("--json"), || report.json())?;
    write(options.word("--svg"), || chart::svg(&report))?;
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// The settings, then the rounds. What fails is noted and does not end the run; an interruption does.
fn measure(
    options: &Options,
    works: &[&Work],
    peers: &[Box<dyn Peer>],
    best: bool,
    report: &mut Report,
    failed: &mut Vec<String>,
) -> Result<()> {
    let length = |work: &Work| Ok::<_, anyhow::Error>(options.number("--messages", work.messages)?.max(1));
    let mut entrants = Vec::new();
    for work in works {
        for peer in peers {
            let at_best = best.then(|| qualify::best(work, &**peer, length(work)?)).transpose()?.flatten();
            let entrant = at_best.map(|qualified| {
                report.remark(qualified.told);
                qualified.peer
            });
            entrants.push((work, peer, entrant));
        }
    }
    let rounds = options.number("--rounds", 3)?;
    for round in 1..=rounds {
        for (work, peer, entrant) in &entrants {
            let peer = entrant.as_deref().unwrap_or(&***peer);
            match work.measure(peer, length(work)?) {
                Ok(measured) => note(report, peer, measured, &format!("{round}/{rounds}")),
                Err(error) if interrupt::happened() => return Err(error),
                Err(error) => {
                    let words = format!("{} failed with {}: {error:#}", work.name, peer.name());
                    eprintln!("{words}");
                    report.remark(words.clone());
                    failed.push(words);
                }
            }
        }
    }
    Ok(())
}

/// Whether every peer is to be measured at its best setting.
fn wants_best(word: Option<&str>) -> Result<bool> {
    match word {
        None | Some("best") => Ok(true),
        Some("shipped") => Ok(false),
        Some(other) => bail!("--settings {other}: it takes best or shipped"),
    }
}

/// Prints and keeps what one round of one peer gave.
fn note(report: &mut Report, peer: &dyn Peer, measured: Vec<Measured>, round: &str) {
    if let Some(words) = peer.remark().filter(|_| !measured.is_empty()) {
        report.remark(words.to_owned());
    }
    for one in measured {
        eprintln!("round {round}  {:<10} {one}", peer.name());
        report.add(peer.name(), peer.setting(), one);
    }
}

/// The works that `--only` names, all without it.
fn chosen(only: Option<&str>) -> Result<Vec<&'static Work>> {
    let Some(only) = only else { return Ok(WORKS.iter().collect()) };
    let find = |name: &str| {
        let names = || WORKS.iter().map(|work| work.name).collect::<Vec<_>>().join(", ");
        let found = WORKS.iter().find(|work| work.name == name);
        found.with_context(|| format!("--only {name}: it takes some of {}, with commas", names()))
    };
    only.split(',').map(find).collect()
}

/// The peers that `--peers` names beside Postfix, which only [`ALONE`] leaves out. What is not unpacked and
/// may not be downloaded is remarked in the report.
fn guests(
    names: Option<&str>,
    target: &Path,
    install: bool,
    report: &mut Report,
) -> Result<Vec<Box<dyn Peer>>> {
    let wanted: Vec<&str> = names.map_or_else(Vec::new, |names| names.split(',').collect());
    let known = |name: &str| {
        name == "postfix" || name == ALONE || guest::KINDS.iter().any(|kind| kind.unpacked().name == name)
    };
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        bail!("--peers {unknown}: it takes some of postfix, exim, opensmtpd, with commas, or {ALONE}");
    }
    let mut found: Vec<Box<dyn Peer>> = Vec::new();
    for kind in guest::KINDS {
        let source = kind.unpacked();
        match source.find(target, install && wanted.contains(&source.name))? {
            Some(unpacked) if names.is_none() || wanted.contains(&source.name) => {
                found.push(Box::new(Guest { kind, unpacked, setting: &SHIPPED }));
            }
            None if names.is_none() || wanted.contains(&source.name) => report.remark(source.left_out()),
            _ => {}
        }
    }
    Ok(found)
}

/// The program built for speed, or the one that `--program` names.
fn release(root: &Path, options: &Options) -> Result<PathBuf> {
    if let Some(program) = options.word("--program") {
        return fs::canonicalize(program).with_context(|| program.to_owned());
    }
    cargo(root, &["build", "--quiet", "--locked", "--release", "-p", "postrider"])?;
    Ok(target(root).join("release").join("postrider"))
}

/// Where cargo builds.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
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
