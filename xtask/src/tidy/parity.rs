//! What docs/parity.md gives as proof is there.
//!
//! Promises: in every table with a last column "shown by", each name between backquotes there is a test
//! in the source, a scenario (`*` stands for any ending), a file of tests, or a command of ours; and no
//! such cell is empty, unless the row says that it is moot. Refuses: judging whether the test shows it.

use std::collections::BTreeSet;

use super::links::prose;
use super::{File, Violation};

const PAGE: &str = "docs/parity.md";
/// The heading of the column that is checked.
const PROOF: &str = "shown by";
/// Where scenarios are.
const SCENARIOS: &str = "testdata/scenarios/";
/// What the names of files of tests leave out in front.
const FOLDERS: [&str; 3] = ["", "crates/", "crates/postrider/tests/"];
/// Programs that a command may begin with.
const PROGRAMS: [&str; 7] = ["postrider", "queue", "flush", "cargo", "sendmail", "postqueue", "postcat"];

/// Every proof that does not exist.
pub(crate) fn check(files: &[File]) -> Vec<Violation> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let known = Known::of(files);
    let mut found = Vec::new();
    let mut in_table = false;
    for (line, text) in prose(&page.text) {
        let Some(row) = text.strip_prefix('|').and_then(|text| text.trim_end().strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let last = row.rsplit('|').next().unwrap_or_default().trim();
        let is_rule = row.chars().all(|c| "|- ".contains(c));
        if last == PROOF {
            in_table = true;
        } else if in_table && !is_rule {
            let texts = known.problems(row, last);
            found.extend(texts.into_iter().map(|text| Violation {
                path: PAGE.to_owned(),
                line,
                rule: "parity",
                text,
            }));
        }
    }
    found
}

/// What can be named.
struct Known<'f> {
    functions: BTreeSet<String>,
    scenarios: BTreeSet<&'f str>,
    paths: BTreeSet<&'f str>,
}

impl Known<'_> {
    fn of(files: &[File]) -> Known<'_> {
        let sources = files.iter().filter_map(|file| file.rust.as_ref());
        let scenario = |file: &'_ &File| file.path.starts_with(SCENARIOS) && file.path.ends_with(".toml");
        Known {
            functions: sources.flat_map(|scan| scan.declared()).map(|one| one.name).collect(),
            scenarios: files.iter().filter(scenario).map(File::stem).collect(),
            paths: files.iter().map(|file| file.path.as_str()).collect(),
        }
    }

    /// What is wrong with the proof of a row.
    fn problems(&self, row: &str, proof: &str) -> Vec<String> {
        if proof.is_empty() && !row.contains("moot") {
            return vec!["names no test and no command that shows it".to_owned()];
        }
        let names = proof.split('`').skip(1).step_by(2);
        let unknown = names.filter(|name| !self.has(name));
        unknown.map(|name| format!("names `{name}`, which is no test, scenario, file or command")).collect()
    }

    fn has(&self, name: &str) -> bool {
        let first = name.split(' ').next().unwrap_or_default();
        if name.contains(' ') && PROGRAMS.contains(&first) {
            return true;
        }
        if name.ends_with(".rs") {
            return FOLDERS.iter().any(|folder| self.paths.contains(format!("{folder}{name}").as_str()));
        }
        match name.strip_suffix('*') {
            Some(start) => self.scenarios.iter().any(|scenario| scenario.starts_with(start)),
            None => self.scenarios.contains(name) || self.functions.contains(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_there() {
        let problems = |cell: &str| {
            let page =
                format!("| named there | here | shown by |\n| --- | --- | --- |\n| x | y | {cell} |\n");
            let files = [
                File::new(PAGE, &page),
                File::new("crates/qmgr/tests/golden.rs", "fn it_holds() {}\n"),
                File::new("testdata/scenarios/s01-new-mail.toml", ""),
            ];
            check(&files).len()
        };
        for good in [
            "`it_holds`",
            "`s01-new-mail`, `s01-*`",
            "`qmgr/tests/golden.rs`: all",
            "`queue why ID`",
            "[a](a.md)",
        ] {
            assert_eq!(problems(good), 0, "{good}");
        }
        for bad in ["", "`it_held`", "`s02-*`", "`qmgr/tests/gone.rs`", "`s01-new`, `it_holds`", "`rm x`"] {
            assert_eq!(problems(bad), 1, "{bad}");
        }
    }
}
