//! Names that may only be written in one place, or not at all in the pure crates.
//!
//! Promises: cargo's view stops at crates; this one reads the source, so that one module stays the only
//! user of a fenced crate and a pure crate cannot reach for a clock through the standard library.
//!
//! Refuses: names that a macro makes up.

use std::path::Path;

use anyhow::Result;

use crate::tidy::{File, all_files};

/// A crate that only one module may name: a file, and the folder beside it that bears its name.
struct Fence {
    name: &'static str,
    file: &'static str,
    why: &'static str,
}

impl Fence {
    fn allows(&self, path: &str) -> bool {
        let module = self.file.trim_end_matches(".rs");
        path == self.file || path.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'))
    }
}

const FENCES: &[Fence] = &[
    Fence {
        name: "bincode",
        file: "crates/spool/src/codec.rs",
        why: "unmaintained: one module decodes, with a limit",
    },
    Fence { name: "priority_queue", file: "crates/qmgr/src/due.rs", why: "hidden behind the due queue" },
];

/// What a crate without I/O, clock, threads and chance must not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "Instant::now",
    "SystemTime::now",
    "RandomState",
    "tokio",
];

/// Maps whose order differs from run to run; a fixed hasher must be named where one is used.
const RANDOM_ORDER: &[&str] = &["HashMap::new", "HashSet::new", "HashMap::default", "HashSet::default"];

/// Every place in `root` that names what it must not; `is_pure` says which crates are pure.
pub(super) fn check(root: &Path, is_pure: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
    let files = all_files(root)?;
    Ok(files.iter().flat_map(|file| problems(file, is_pure)).collect())
}

fn problems(file: &File, is_pure: &dyn Fn(&str) -> bool) -> Vec<String> {
    let Some(krate) = shipped_crate(file) else { return Vec::new() };
    let code = file.rust.as_ref().map(|scan| scan.shipped_code()).unwrap_or_default();
    let mut found = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let place = format!("{}:{}", file.path, at + 1);
        for fence in FENCES.iter().filter(|f| !f.allows(&file.path) && names(line, f.name)) {
            found.push(format!("{place}: only {} may name {} ({})", fence.file, fence.name, fence.why));
        }
        if is_pure(krate) {
            let impure = IMPURE.iter().filter(|name| names(line, name));
            found.extend(impure.map(|name| format!("{place}: {krate} must not name {name}: it is pure")));
            let random =
                RANDOM_ORDER.iter().filter(|name| line.contains(*name) && !code.contains("foldhash"));
            found.extend(random.map(|name| format!("{place}: {name} iterates in random order")));
        }
    }
    found
}

/// The crate whose shipped source this is.
fn shipped_crate(file: &File) -> Option<&str> {
    let (krate, inside) = file.path.strip_prefix("crates/")?.split_once('/')?;
    (inside.starts_with("src/") && !file.is_test()).then_some(krate)
}

/// Whether `name` stands in `line` as a whole path or the beginning of one.
fn names(line: &str, name: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(name)
        .any(|(at, _)| !part(line[..at].chars().next_back()) && !part(line[at + name.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, line: &str) -> usize {
        problems(&File::new(path, line), &|krate| krate == "qmgr").len()
    }

    #[test]
    fn fences_hold() {
        assert_eq!(count("crates/spool/src/log.rs", "use bincode::Encode;"), 1);
        assert_eq!(count("crates/spool/src/codec.rs", "use bincode::Encode;"), 0);
        assert_eq!(count("crates/spool/src/codec/image.rs", "use bincode::Encode;"), 0);
        assert_eq!(count("crates/spool/src/codecs.rs", "use bincode::Encode;"), 1);
        assert_eq!(count("crates/spool/src/log.rs", "// bincode"), 0);
        assert_eq!(count("crates/qmgr/src/job.rs", "use priority_queue::PriorityQueue;"), 1);
        assert_eq!(count("crates/qmgr/src/due.rs", "use priority_queue::PriorityQueue;"), 0);
    }

    #[test]
    fn pure_crates_stay_pure() {
        for line in ["let now = Instant::now();", "use std::fs::File;", "HashMap::new()", "tokio::spawn(x)"] {
            assert_eq!(count("crates/qmgr/src/job.rs", line), 1, "{line}");
            assert_eq!(count("crates/qmgr/src/tests.rs", line), 0, "{line}");
            assert_eq!(count("crates/spool/src/log.rs", line), 0, "{line}");
        }
        assert_eq!(count("crates/qmgr/src/job.rs", "#[cfg(test)]\nmod tests { use std::fs; }"), 0);
        assert_eq!(count("crates/qmgr/src/job.rs", "BTreeMap::new()"), 0);
    }
}
