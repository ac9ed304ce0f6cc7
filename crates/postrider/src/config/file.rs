//! The strict reading of one file: every key must exist, every value must fit, and every problem has
//! its line and column.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layer::{Layer, known_key};
use super::problem::{Problem, Problems};
use super::schema::{Place, TRANSPORT};
use super::value::Value;

/// Largest configuration file that is read.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads the text of a file into a layer, or gives every problem in it.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Layer, Problems> {
    let source = Source { path, text };
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| source.problem(error.span().unwrap_or(0..0), error.message());
        return Err(Problems(errors.iter().map(problem).collect()));
    }
    let mut reader = Reader { source, layer: Layer::default(), problems: Vec::new() };
    reader.table("", root.get_ref());
    if reader.problems.is_empty() { Ok(reader.layer) } else { Err(Problems(reader.problems)) }
}

struct Reader<'t> {
    source: Source<'t>,
    layer: Layer,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let is_section = section.is_empty() || section == TRANSPORT;
            match value.get_ref() {
                DeValue::Table(inner) if is_section => {
                    let inner_name = if section.is_empty() {
                        name.get_ref().to_string()
                    } else {
                        format!("{section}.{}", name.get_ref())
                    };
                    self.section(&inner_name, name, inner);
                }
                _ => self.value(section, name, value),
            }
        }
    }

    fn section(&mut self, section: &str, name: &Spanned<toml::de::DeString<'_>>, table: &DeTable<'_>) {
        // A key of the section that exists in each of its kind tells whether the section does.
        let known = section == TRANSPORT || known_section(section);
        match known {
            true => self.table(section, table),
            false => {
                let text = known_key(&Place::new(section, "")).err().unwrap_or_default();
                self.problems.push(self.source.problem(name.span(), &text));
            }
        }
    }

    fn value(&mut self, section: &str, name: &Spanned<toml::de::DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let place = Place::new(section, name.get_ref().as_ref());
        let key = match known_key(&place) {
            Ok(key) => key,
            Err(text) => return self.problems.push(self.source.problem(name.span(), &text)),
        };
        match Value::of_toml(key, value.get_ref()) {
            Ok(read) => {
                let origin = self.source.place(name.span());
                self.layer.insert(place, read, origin);
            }
            Err(text) => {
                let text = format!("{place}: {text}");
                self.problems.push(self.source.problem(value.span(), &text));
            }
        }
    }
}

/// Whether keys can stand in the section: its own message must be about the (empty) key, not about it.
fn known_section(section: &str) -> bool {
    let place = Place::new(section, "");
    known_key(&place).err().is_none_or(|text| text.starts_with("unknown key"))
}

struct Source<'t> {
    path: &'t Path,
    text: &'t str,
}

impl Source<'_> {
    /// Line and column, counted from 1, columns in characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |place| place + 1);
        (line, before[start..].chars().count() + 1)
    }

    fn place(&self, span: Range<usize>) -> String {
        let (line, column) = self.position(span.start);
        format!("{}:{line}:{column}", self.path.display())
    }

    fn problem(&self, span: Range<usize>, text: &str) -> Problem {
        let (line, column) = self.position(span.start);
        let shown = self.text.lines().nth(line - 1).unwrap_or_default().replace('\t', " ");
        let width = self
            .text
            .get(span.clone())
            .map_or(1, |marked| marked.lines().next().unwrap_or_default().chars().count().max(1));
        let caret = format!("{}{}", " ".repeat(column - 1), "^".repeat(width));
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let excerpt = format!("{gutter} |\n{number} | {shown}\n{gutter} | {caret}");
        let one_line = text.lines().collect::<Vec<_>>().join(" ");
        Problem { place: self.place(span), text: one_line, excerpt: Some(excerpt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problems(text: &str) -> Vec<String> {
        match parse(Path::new("p.toml"), text) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn each_problem_has_its_line_and_the_way_out() {
        for (text, expected) in [
            ("[smtp]\nlsiten = []\n", "p.toml:2:1: unknown key `lsiten` in [smtp]: did you mean `listen`?"),
            ("[stmp]\n", "p.toml:1:2: unknown section [stmp]: did you mean [smtp]?"),
            (
                "[x]\n",
                "p.toml:1:2: unknown section [x]: known are spool, smtp, lmtp, route, transport, qmgr, bounce, \
                 flush, control, log",
            ),
            (
                "smtp = \"[::1]:25\"\n",
                "p.toml:1:1: unknown key `smtp` above all sections: it is a section, whose keys stand below \
                 [smtp]",
            ),
            (
                "[smtp]\n  message_size_limit = \"50mb\"",
                "p.toml:2:24: smtp.message_size_limit: bad value \"50mb\": unknown unit \"mb\": \
                 use one of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB",
            ),
            (
                "listen = []\n",
                "p.toml:1:1: unknown key `listen` above all sections: it belongs in [smtp] or [lmtp]",
            ),
            (
                "[spool]\nqueue_directory = \"/x\"\n",
                "p.toml:2:1: unknown key `queue_directory` in [spool]: queue_directory does not \
                 apply to this program: set spool.directory",
            ),
            (
                "[transport]\nkind = \"smtp\"\n",
                "p.toml:2:1: `kind` needs a transport's name: [transport.NAME]",
            ),
            ("[smtp]\nlisten = [1]\n", "p.toml:2:10: smtp.listen: each entry must be a string in quotes"),
            (
                "[route]\nmap = [{ match = \"a\", too = \"b\" }]\n",
                "p.toml:2:7: route.map: unknown key `too` in a row: only `match` and `to` are known",
            ),
        ] {
            assert_eq!(problems(text), [expected], "{text}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_with_a_caret() {
        let error = parse(Path::new("p.toml"), "[smtp]\na = 1\n[log]\nlevel = \"loud\"\n").unwrap_err();
        assert_eq!(error.0.len(), 2);
        let excerpt = error.0[1].excerpt.clone().unwrap();
        assert_eq!(excerpt, "  |\n4 | level = \"loud\"\n  |         ^^^^^^");
    }

    #[test]
    fn broken_toml_has_a_position() {
        let found = problems("[smtp]\nlisten = [\n");
        assert!(found[0].starts_with("p.toml:"), "{found:?}");
        assert!(problems("a = 1\na = 2\n")[0].starts_with("p.toml:2:1"), "{:?}", problems("a = 1\na = 2\n"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "(\\[(smtp|transport.x)\\]\n)?[a-z=\\[\\]{}\" \n.é]{0,60}") {
            let _ = parse(Path::new("p.toml"), &text);
        }
    }
}
