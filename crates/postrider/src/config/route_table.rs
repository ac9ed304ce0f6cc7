//! `route.map_file`: rows of `route.map` in a text file of their own.
//!
//! ```text
//! # pattern        where to
//! boss@here.test   hold:on holiday
//! here.test        maildir:/var/mail/${domain}/${user}
//! .lists.test      lmtp:[127.0.0.1]:2424
//! ```
//!
//! Promises: as strict as the configuration; every problem has its file and line, and one bad row refuses the
//! whole table. Refuses: lines that begin with a blank (in Postfix's tables they continue the line before),
//! and files of more than 64 MiB.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use delivery::TransportConfig;

use super::build::map_rule;
use super::problem::{Problem, Problems};
use super::settings::MapRule;

/// Largest table that is read.
const TABLE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Problems of one table that are told.
const PROBLEMS_MAX: usize = 20;

/// Reads a table whose rows name these transports. Blocks on the disk.
pub(crate) fn read_table(
    path: &Path,
    transports: &BTreeMap<String, TransportConfig>,
) -> Result<Vec<MapRule>, Problems> {
    let failed = |text: String| Problems::from(Problem::new(path.display().to_string(), text));
    let unreadable = |error: io::Error| failed(format!("cannot be read: {error}"));
    let status = fs::metadata(path).map_err(unreadable)?;
    if !status.is_file() {
        return Err(failed("this is no file".to_owned()));
    }
    if status.len() > TABLE_BYTES_MAX {
        return Err(failed(format!("the table is larger than {TABLE_BYTES_MAX} bytes")));
    }
    parse(path, &fs::read_to_string(path).map_err(unreadable)?, transports)
}

fn parse(
    path: &Path,
    text: &str,
    transports: &BTreeMap<String, TransportConfig>,
) -> Result<Vec<MapRule>, Problems> {
    let mut rules: Vec<MapRule> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let rule = match row(line, transports) {
            Ok(None) => continue,
            Ok(Some(rule)) if !seen.insert(rule.subject()) => {
                Err(format!("\"{}\" stands in two rows", rule.matches))
            }
            Ok(Some(rule)) => Ok(rule),
            Err(text) => Err(text),
        };
        match rule {
            Ok(rule) => rules.push(rule),
            Err(text) => problems.push(Problem::new(format!("{}:{number}", path.display()), text)),
        }
        if problems.len() >= PROBLEMS_MAX {
            break;
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(Problems(problems)) }
}

fn row(line: &str, transports: &BTreeMap<String, TransportConfig>) -> Result<Option<MapRule>, String> {
    let trimmed = line.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(None);
    }
    if line.starts_with(char::is_whitespace) {
        return Err("a row begins at the start of its line: rows cannot be continued".to_owned());
    }
    let (matches, to) = trimmed.split_once(char::is_whitespace).ok_or_else(|| {
        format!("\"{trimmed}\": a pattern and where to are expected, as in example.com smtp:[192.0.2.1]")
    })?;
    map_rule(matches, to.trim_start(), transports).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Action, Target};
    use delivery::Kind;

    fn read(text: &str) -> Result<Vec<MapRule>, Vec<String>> {
        let transports = ["smtp", "maildir", "discard", "error"]
            .map(|name| (name.to_owned(), TransportConfig::new(name, Kind::of(name))));
        parse(Path::new("t"), text, &transports.into())
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rows_are_patterns_and_targets() {
        let table = "# head\n\nBoss@Here.test\thold:on holiday \nhere.test maildir:/m/${user}\n\
                     .gone.test   error:5.1.2 no longer here\n* discard:\n* hold\r\n";
        let rules = read(table).unwrap();
        let to = |transport: &str, nexthop: &str| {
            Action::To(Target { transport: transport.to_owned(), nexthop: nexthop.to_owned() })
        };
        let expected = [
            ("Boss@here.test", Action::Hold("on holiday".to_owned())),
            ("here.test", to("maildir", "/m/${user}")),
            (".gone.test", to("error", "5.1.2 no longer here")),
            ("*", to("discard", "")),
            ("*", Action::Hold(String::new())),
        ];
        let expected = expected.map(|(matches, action)| MapRule { matches: matches.to_owned(), action });
        assert_eq!(rules, expected);
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn every_bad_row_is_named_with_its_line() {
        let problems = read(
            "a.test\n# fine\n b.test smtp:\nb.test stmp:x\nc.test smtp:\nC.test smtp:[x]\n-.test smtp:\n\
             d.test maildir:m\n",
        )
        .unwrap_err();
        for (problem, expected) in problems.iter().zip([
            "t:1: \"a.test\": a pattern and where to are expected",
            "t:3: a row begins at the start of its line",
            "t:4: no transport is called \"stmp\": did you mean \"smtp\"?",
            "t:6: \"c.test\" stands in two rows",
            "t:7: \"-.test\": malformed domain name",
            "t:8: \"m\": a folder with its whole path is expected",
        ]) {
            assert!(problem.starts_with(expected), "{problem}");
        }
        assert_eq!(problems.len(), 6);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let reason = |path: &Path| read_table(path, &BTreeMap::new()).unwrap_err().0[0].to_string();
        assert!(reason(folder.path()).ends_with("this is no file"));
        assert!(reason(&folder.path().join("missing")).contains("missing: cannot be read: "));
        let binary = folder.path().join("binary");
        fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(reason(&binary).contains("UTF-8"));
    }
}
