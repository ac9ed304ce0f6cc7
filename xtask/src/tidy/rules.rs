//! The rules for single files, as a table.
//!
//! Promises: a rule is a name, a reason and a function from one file to the lines that break it. A new
//! rule is one row and two examples in the test below, which fails for a rule without them.

use std::path::Path;

use super::scan::Scan;
use super::{File, Violation};

/// The longest file, in lines.
pub(crate) const FILE_LINES_MAX: usize = 800;
/// The longest function, in lines from `fn` to its closing brace.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
/// The longest line, in characters; the same as in rustfmt.toml.
pub(crate) const LINE_WIDTH_MAX: usize = 110;

/// A rule for one file.
pub(crate) struct Rule {
    /// What a violation is filed under.
    pub(crate) name: &'static str,
    check: fn(&File) -> Vec<(usize, String)>,
}

impl Rule {
    /// Every line of `file` that breaks this rule.
    pub(crate) fn violations(&self, file: &File) -> Vec<Violation> {
        let found = (self.check)(file);
        let violation = |(line, text)| Violation { path: file.path.clone(), line, rule: self.name, text };
        found.into_iter().map(violation).collect()
    }
}

/// Every rule for one file.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "file-length", check: file_length },
    Rule { name: "function-length", check: function_length },
    Rule { name: "module-head", check: module_head },
    Rule { name: "line-width", check: line_width },
    Rule { name: "names", check: names },
    Rule { name: "unfinished", check: unfinished },
    Rule { name: "white-space", check: white_space },
];

fn rust(file: &File) -> Option<&Scan> {
    file.rust.as_ref()
}

fn file_length(file: &File) -> Vec<(usize, String)> {
    let lines = file.text.lines().count();
    if rust(file).is_none() || lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![(lines, format!("{lines} lines, {FILE_LINES_MAX} at most: split it by noun"))]
}

fn function_length(file: &File) -> Vec<(usize, String)> {
    let functions = rust(file).map(Scan::functions).unwrap_or_default();
    let long = functions.into_iter().filter(|f| f.length > FUNCTION_LINES_MAX);
    long.map(|f| (f.line, format!("fn {} has {} lines, {FUNCTION_LINES_MAX} at most", f.name, f.length)))
        .collect()
}

/// Inner attributes and a script's first line may stand above the head.
fn module_head(file: &File) -> Vec<(usize, String)> {
    if rust(file).is_none() {
        return Vec::new();
    }
    let above = |line: &&str| line.starts_with("#!") || line.trim().is_empty();
    match file.text.lines().find(|line| !above(line)) {
        Some(head) if head.starts_with("//! ") => Vec::new(),
        _ => vec![(1, "no `//!` head: what it promises, what it refuses".to_owned())],
    }
}

/// Quoted data in a test may be as wide as the protocol line it stands for.
fn line_width(file: &File) -> Vec<(usize, String)> {
    let Some(scan) = rust(file) else { return Vec::new() };
    let shipped = if file.is_test() { String::new() } else { scan.shipped_code() };
    let mut shipped = shipped.lines();
    let mut found = Vec::new();
    for (at, (line, code)) in file.text.lines().zip(scan.code.lines()).enumerate() {
        let tests_only = shipped.next().is_none_or(|line| line.trim().is_empty());
        let width = line.chars().count();
        let quotes = code.trim_end() != line.trim_end() && !line.trim_start().starts_with("//");
        if width > LINE_WIDTH_MAX && !(tests_only && quotes) {
            found.push((at + 1, format!("{width} characters wide, {LINE_WIDTH_MAX} at most")));
        }
    }
    found
}

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: [&str; 6] = ["util", "utils", "utility", "manager", "helper", "helpers"];
/// Beginnings that say nothing about what a function does.
const EMPTY_PREFIXES: [&str; 2] = ["do_", "get_"];

fn names(file: &File) -> Vec<(usize, String)> {
    let Some(scan) = rust(file) else { return Vec::new() };
    let declared = scan.declared().into_iter().map(|d| (d.line, d.name));
    let all = declared.chain([(1, file.stem().to_owned())]);
    all.filter(|(_, name)| is_empty_name(name))
        .map(|(line, name)| (line, format!("`{name}` does not say what it is")))
        .collect()
}

fn is_empty_name(name: &str) -> bool {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            words.push('_');
        }
        words.extend(c.to_lowercase());
    }
    // The standard library's own pair of names for access by key.
    if name == "get_mut" {
        return false;
    }
    EMPTY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || words.split('_').any(|word| EMPTY_WORDS.contains(&word))
}

/// Marks of work that was left undone, in code and in comments.
const CODE_MARKS: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
const COMMENT_MARKS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

fn unfinished(file: &File) -> Vec<(usize, String)> {
    let Some(scan) = rust(file) else { return Vec::new() };
    let mut found = Vec::new();
    for (text, marks) in [(&scan.code, CODE_MARKS), (&scan.comments, COMMENT_MARKS)] {
        for (at, line) in text.lines().enumerate() {
            let marks = marks.iter().filter(|mark| contains_word(line, mark));
            found.extend(
                marks.map(|mark| (at + 1, format!("`{mark}`: finish it or write it down elsewhere"))),
            );
        }
    }
    found
}

/// Whether `word` stands in `line` and is not a part of a longer word.
fn contains_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joined_before = part(before) && part(word.chars().next());
        let joined_after = part(after) && part(word.chars().next_back());
        !joined_before && !joined_after
    })
}

fn white_space(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            found.push((at + 1, "white space at the end of the line".to_owned()));
        }
        if line.contains('\t') && rust(file).is_some() {
            found.push((at + 1, "a tab".to_owned()));
        }
    }
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        found.push((file.text.lines().count(), "the file must end with exactly one line end".to_owned()));
    }
    found
}

/// Folders every machine has; a checkout right below one of them says nothing about the machine.
const COMMON_FOLDERS: [&str; 8] = ["/", "/tmp", "/var/tmp", "/home", "/root", "/src", "/usr/src", "/opt"];

/// The folders of this machine that must not be named in the repository: where it is checked out, and
/// where cargo builds.
pub(crate) fn machine_paths(root: &Path) -> Vec<String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(std::path::PathBuf::from);
    let candidates = [Some(root.to_path_buf()), root.parent().map(Path::to_path_buf), target];
    let telling = |path: &String| path.starts_with('/') && !COMMON_FOLDERS.contains(&path.as_str());
    candidates.into_iter().flatten().map(|path| path.display().to_string()).filter(telling).collect()
}

/// Every line of `file` that names a folder of this machine.
pub(crate) fn machine_path_violations(file: &File, machine: &[String]) -> Vec<Violation> {
    let names = |line: &str| machine.iter().any(|path| names_path(line, path));
    let lines = file.text.lines().enumerate().filter(|(_, line)| names(line));
    lines
        .map(|(at, _)| Violation {
            path: file.path.clone(),
            line: at + 1,
            rule: "machine-path",
            text: "names a folder of this machine".to_owned(),
        })
        .collect()
}

fn names_path(line: &str, path: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || "._-".contains(c);
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(|c| part(c) || c == '/') && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each rule: what it must reject, and what it must accept.
    fn examples() -> Vec<(&'static str, String, String)> {
        let head = "//! Head.\n";
        let function = |lines: usize| format!("{head}fn long() {{\n{}}}\n", "a();\n".repeat(lines - 2));
        let line = |width: usize| format!("{head}// {}\n", "x".repeat(width - 3));
        let file = |lines: usize| format!("{head}{}", "fn a() {}\n".repeat(lines - 1));
        vec![
            ("file-length", file(FILE_LINES_MAX + 1), file(FILE_LINES_MAX)),
            ("function-length", function(FUNCTION_LINES_MAX + 1), function(FUNCTION_LINES_MAX)),
            ("module-head", "fn a() {}\n".into(), format!("#![no_main]\n{head}fn a() {{}}\n")),
            ("line-width", line(LINE_WIDTH_MAX + 1), line(LINE_WIDTH_MAX)),
            (
                "names",
                format!("{head}struct QueueManager;\n"),
                format!("{head}// a manager\nfn get() {{}}\n"),
            ),
            ("unfinished", format!("{head}// {}: later\n", "TODO"), format!("{head}// XXXX \"todo!\"\n")),
            ("white-space", format!("{head}fn a() {{}} \n"), format!("{head}fn a() {{}}\n")),
        ]
    }

    #[test]
    fn every_rule_rejects_and_accepts() {
        for rule in RULES {
            let (_, bad, good) = examples()
                .into_iter()
                .find(|(name, ..)| *name == rule.name)
                .unwrap_or_else(|| panic!("no example for {}", rule.name));
            assert!(!rule.violations(&File::new("a.rs", &bad)).is_empty(), "{} accepts {bad:?}", rule.name);
            assert_eq!(rule.violations(&File::new("a.rs", &good)), [], "{} rejects {good:?}", rule.name);
        }
    }

    #[test]
    fn empty_names() {
        for name in ["util", "string_utils", "JobManager", "TestHelper", "do_it", "get_id"] {
            assert!(is_empty_name(name), "{name}");
        }
        for name in ["get", "get_mut", "target", "utilise", "managed", "dot", "get2"] {
            assert!(!is_empty_name(name), "{name}");
        }
    }

    #[test]
    fn marks_of_unfinished_work() {
        let check = |line: &str| unfinished(&File::new("a.rs", line)).len();
        for line in ["todo!()", "dbg!(x)", "#[ignore = \"slow\"]", "// FIXME", "/* HACK */"] {
            assert_eq!(check(line), 1, "{line}");
        }
        for line in ["my_todo!()", "\"TODO\"", "// TODOS", "let todo = 1;"] {
            assert_eq!(check(line), 0, "{line}");
        }
    }

    #[test]
    fn quoted_data_of_a_test_may_be_wide() {
        let line = format!("const A: &str = \"{}\";\n", "x".repeat(LINE_WIDTH_MAX));
        assert_eq!(line_width(&File::new("src/a.rs", &line)).len(), 1);
        assert_eq!(line_width(&File::new("crates/a/tests/a.rs", &line)).len(), 0);
        assert_eq!(
            line_width(&File::new("src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{line}}}\n"))).len(),
            0
        );
    }

    #[test]
    fn machine_paths_are_whole_folders() {
        let machine = machine_paths(Path::new("/srv/build/repo"));
        assert!(machine.contains(&"/srv/build".to_owned()));
        let check = |line: &str| machine_path_violations(&File::new("a.md", line), &machine).len();
        assert_eq!(check("see /srv/build/repo/x"), 1);
        assert_eq!(check("see /srv/build"), 1);
        assert_eq!(check("see /srv/builds and x/srv/build"), 0);
        assert!(!machine_paths(Path::new("/tmp/repo")).contains(&"/tmp".to_owned()));
    }
}
