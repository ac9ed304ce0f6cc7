//! Links in the documentation lead somewhere.
//!
//! Promises: every relative link of every Markdown file names a file or folder of the repository, and
//! a `#heading` that exists there; so does every path between backquotes, and what ARCHITECTURE.md names in
//! the source; every decision is listed on the page of contents. Refuses: links to the web, which nobody
//! can check without a network.

use std::collections::BTreeSet;

use super::{File, Violation};

/// The page that lists the decisions.
const DECISIONS: &str = "docs/decisions/README.md";

/// Every link that leads nowhere, and every decision nobody finds.
pub(crate) fn check(files: &[File]) -> Vec<Violation> {
    let known = known_paths(files);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(&file.text) {
            if let Some(text) = problem(file, &target, files, &known) {
                found.push(Violation { path: file.path.clone(), line, rule: "links", text });
            }
        }
    }
    found.extend(unlisted(files));
    found.extend(files.iter().filter(|file| file.path.ends_with(".md")).flat_map(|file| gone(file, &known)));
    found.extend(unknown_names(files));
    found
}

/// The page that names types and functions as breakpoints.
const MAP: &str = "ARCHITECTURE.md";

/// Names like `Type::function` on the map that nothing in the source declares.
fn unknown_names(files: &[File]) -> Vec<Violation> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else { return Vec::new() };
    let sources = files.iter().filter_map(|file| file.rust.as_ref());
    let declared: BTreeSet<String> = sources.flat_map(|scan| scan.declared()).map(|one| one.name).collect();
    let mut found = Vec::new();
    for (line, text) in prose(&map.text) {
        for name in text.split('`').skip(1).step_by(2) {
            let Some((owner, member)) = name.split_once("::") else { continue };
            let is_type = owner.starts_with(char::is_uppercase) && owner.chars().all(char::is_alphanumeric);
            let is_function = member.starts_with(char::is_lowercase);
            if is_type && !(declared.contains(owner) && (!is_function || declared.contains(member))) {
                let text = format!("names `{name}`, which nothing declares");
                found.push(Violation { path: MAP.to_owned(), line, rule: "links", text });
            }
        }
    }
    found
}

/// Where paths begin that documentation names between backquotes.
const ROOTS: [&str; 6] = ["crates/", "docs/", "fuzz/", "testdata/", "xtask/", ".ci/"];

/// Paths of the repository that the page names and that are not there.
fn gone(page: &File, known: &BTreeSet<String>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, text) in prose(&page.text) {
        for path in text.split('`').skip(1).step_by(2) {
            let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
            let named = ROOTS.iter().any(|root| path.starts_with(root)) && plain;
            if named && !known.contains(path.trim_end_matches('/')) {
                let text = format!("names `{path}`, which is not there");
                found.push(Violation { path: page.path.clone(), line, rule: "links", text });
            }
        }
    }
    found
}

/// Pages beside the list of decisions that it does not link to.
fn unlisted(files: &[File]) -> Vec<Violation> {
    let Some(contents) = files.iter().find(|file| file.path == DECISIONS) else { return Vec::new() };
    let listed: Vec<String> = links(&contents.text).into_iter().map(|(_, target)| target).collect();
    let folder = DECISIONS.trim_end_matches("README.md");
    let pages = files.iter().filter_map(|file| file.path.strip_prefix(folder));
    let missing = pages.filter(|page| *page != "README.md" && !listed.iter().any(|link| link == page));
    missing
        .map(|page| Violation {
            path: DECISIONS.to_owned(),
            line: 1,
            rule: "links",
            text: format!("does not list {page}"),
        })
        .collect()
}

/// Files and all folders above them.
fn known_paths(files: &[File]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for file in files {
        let mut path = file.path.as_str();
        known.insert(path.to_owned());
        while let Some((folder, _)) = path.rsplit_once('/') {
            known.insert(folder.to_owned());
            path = folder;
        }
    }
    known
}

fn problem(file: &File, target: &str, files: &[File], known: &BTreeSet<String>) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = match target.split_once('#') {
        Some((path, heading)) => (path, Some(heading)),
        None => (target, None),
    };
    let resolved = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path)? };
    if !known.contains(&resolved) {
        return Some(format!("link to {target}: there is no {resolved}"));
    }
    let heading = heading?;
    let page = files.iter().find(|page| page.path == resolved)?;
    let known = headings(&page.text).any(|known| known == heading);
    (!known).then(|| format!("link to {target}: {resolved} has no heading #{heading}"))
}

/// Follows `link` from the folder of `page`; `None` when it leaves the repository.
fn resolve(page: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The targets of `[text](target)`, with their lines; code is skipped.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let unquoted: String = line.split('`').step_by(2).collect();
        for piece in unquoted.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                found.push((number, target.split(' ').next().unwrap_or(target).to_owned()));
            }
        }
    }
    found
}

/// The anchors a reader of the rendered page can jump to.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Numbered lines outside fenced code.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_paths_are_there() {
        let page =
            |text: &str| check(&[File::new("docs/a.md", text), File::new("crates/b/src/c.rs", "")]).len();
        assert_eq!(page("`crates/b/src/c.rs` `crates/b/` `crates/*/src` `b/src/d.rs` crates/gone\n"), 0);
        assert_eq!(page("`crates/b/src/d.rs`\n"), 1);
    }

    #[test]
    fn names_on_the_map_are_declared() {
        let source = File::new("crates/b/src/c.rs", "struct Log; impl Log { fn commit() {} }");
        let page =
            |text: &str| check(&[File::new(MAP, text), File::new("crates/b/src/c.rs", &source.text)]).len();
        assert_eq!(page("`Log::commit` `Log::Variant` `serve::effects` `Log`\n"), 0);
        assert_eq!(page("`Log::gone`\n"), 1);
        assert_eq!(page("`Gone::commit`\n"), 1);
    }

    #[test]
    fn every_decision_is_listed() {
        let contents = File::new(DECISIONS, "[a](0001-a.md)\n");
        let page = |name: &str| File::new(&format!("docs/decisions/{name}"), "# A page\n");
        assert_eq!(check(&[contents, page("0001-a.md"), page("0002-b.md")]).len(), 1);
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let page = |target: &str| {
            let text = format!("# The first, one\n```\n[no](gone.md)\n```\n`[no](gone.md)` [a]({target})\n");
            let files = [File::new("docs/a.md", &text), File::new("src/b.rs", "//! B.\n")];
            check(&files).len()
        };
        for good in
            ["a.md", "../src/b.rs", "../src", "#the-first-one", "a.md#the-first-one", "https://e.test/x"]
        {
            assert_eq!(page(good), 0, "{good}");
        }
        for bad in ["b.md", "#gone", "a.md#gone", "src/b.rs"] {
            assert_eq!(page(bad), 1, "{bad}");
        }
    }
}
