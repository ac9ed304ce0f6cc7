//! The log of one site as an operator sees it: the name of its file and the lines in it.
//!
//! Promises: two sites never share a file; every site that exists has a name of at most 255 bytes; no
//! name is `.`, `..`, hidden, one character long, or able to leave its directory; the site can be read
//! back from the name. A log that was cut short or damaged still reads as far as it is whole.
//!
//! A log is lines of queue ids, a `-` in front when a message no longer waits, so that
//! it is only ever appended to until it is emptied.

use std::collections::BTreeSet;
use std::fmt::Write;

use mail::QueueId;

/// In front of every file name, so that no name is special.
const PREFIX: char = '@';
/// Longest file name of the usual file systems (NAME_MAX), in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// The name has no file. Cannot happen to a name that [`mail::site_of_domain`] let pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the name is too long for a file")]
pub struct FileNameTooLong;

/// The name of the file for a site: `@` and the site, with everything but lower-case letters, digits,
/// `.`, `-` and `_` written as `%` and two hex digits. Letters in upper case are
/// escaped too, so that a file system that ignores case cannot mix two names up.
pub fn file_name(site: &str) -> Result<String, FileNameTooLong> {
    let mut name = String::with_capacity(site.len() + 1);
    name.push(PREFIX);
    for byte in site.bytes() {
        if is_plain(byte) {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("a string takes everything");
        }
        if name.len() > FILE_NAME_BYTES_MAX {
            return Err(FileNameTooLong);
        }
    }
    Ok(name)
}

/// The site whose log has this file name; nothing for a name that [`file_name`] never gives.
pub fn site_of_file(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix(PREFIX)?.bytes();
    let mut site = Vec::with_capacity(name.len());
    while let Some(byte) = rest.next() {
        site.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    let site = String::from_utf8(site).ok()?;
    (file_name(&site).as_deref() == Ok(name)).then_some(site)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
}

/// The line to append when a message begins to wait.
pub fn added_line(id: QueueId) -> String {
    format!("{id}\n")
}

/// The line to append when a message waits no longer.
pub fn removed_line(id: QueueId) -> String {
    format!("-{id}\n")
}

/// What a log says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogText {
    /// The messages that wait.
    pub waiting: BTreeSet<QueueId>,
    /// Lines in all; many more than waiting messages mean that it is time to write the log anew.
    pub lines: usize,
    /// The first line, counted from 1, that is neither kind; such lines are passed over.
    pub damaged_at: Option<usize>,
}

/// Reads a log. A last line without its end is the trace of an append that was cut short; it is passed
/// over in silence, because the record is rebuilt from the spool and never from here.
pub fn read_log(text: &str) -> LogText {
    let mut log = LogText::default();
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        log.lines += 1;
        let (removed, id) = match line.strip_prefix('-') {
            Some(id) => (true, id),
            None => (false, line),
        };
        match id.parse::<QueueId>() {
            Ok(id) if removed => drop(log.waiting.remove(&id)),
            Ok(id) => drop(log.waiting.insert(id)),
            Err(_) => log.damaged_at = log.damaged_at.or(Some(log.lines)),
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use mail::site_of_domain;
    use proptest::prelude::*;

    #[test]
    fn nasty_names_have_files_of_their_own() {
        let names = [
            "x",
            "a-b",
            "a_b",
            "a.b",
            "..",
            ".",
            "",
            "con",
            "@x",
            "%",
            "%25",
            "a%2eb",
            "[192.0.2.1]",
            "X",
            "x.",
            "[ipv6:2001:db8::1]",
            "../../etc/passwd",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            "ü",
            "xn--bcher-kva.example",
            " ",
            "~",
            "-",
            "-rf",
            "*",
            "$HOME",
        ];
        let mut seen = BTreeMap::new();
        for site in names {
            let name = file_name(site).unwrap();
            assert!(name.starts_with('@') && !name.contains('/') && name.is_ascii(), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()), "{name}");
            assert_eq!(site_of_file(&name).as_deref(), Some(site));
            assert_eq!(seen.insert(name, site), None, "{site:?}");
        }
        assert_eq!(file_name("[192.0.2.1]").unwrap(), "@%5b192.0.2.1%5d");
        assert_eq!(file_name("mail-1.example.com").unwrap(), "@mail-1.example.com");
    }

    #[test]
    fn the_longest_site_has_a_file() {
        let label = "a".repeat(63);
        let longest = site_of_domain(&format!("{label}.{label}.{label}.{}", "b".repeat(61))).unwrap();
        assert_eq!((longest.len(), file_name(&longest).unwrap().len()), (253, 254));
        assert_eq!(file_name(&"a".repeat(254)).map(|name| name.len()), Ok(255));
        assert_eq!(file_name(&"a".repeat(255)), Err(FileNameTooLong));
        assert_eq!(file_name(&"A".repeat(85)), Err(FileNameTooLong));
        let literal = site_of_domain("[IPv6:2001:db8:1111:2222:3333:4444:5555:6666]").unwrap();
        assert!(file_name(&literal).is_ok());
    }

    #[test]
    fn foreign_names_are_nobodys() {
        for name in ["", "x", "@X", "@%4", "@%zz", "@%61", "@%FF", "@%ff", "@a/b", "@%5B", "@%+1", "@ü"] {
            assert_eq!(site_of_file(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_log_reads_as_far_as_it_is_whole() {
        let [a, b] = [1, 2].map(QueueId::from_u64);
        let mut text = added_line(a) + &added_line(b) + &added_line(a) + &removed_line(b) + "rubbish\n\n";
        text.push_str(&added_line(b).as_str()[..5]);
        let log = read_log(&text);
        assert_eq!(log, LogText { waiting: BTreeSet::from([a]), lines: 6, damaged_at: Some(5) });
        assert_eq!(read_log(""), LogText::default());
    }

    proptest! {
        #[test]
        fn names_are_injective(a in "\\PC{0,40}|[a-z.%@_-]{0,60}", b in "[a-z.%@0-9A-F]{0,5}") {
            for site in [&a, &b] {
                let Ok(name) = file_name(site) else { continue };
                prop_assert_eq!(site_of_file(&name), Some(site.clone()));
            }
            if a != b {
                prop_assert!(file_name(&a) != file_name(&b) || file_name(&a).is_err());
            }
        }

        #[test]
        fn foreign_bytes_never_panic(text in "\\PC{0,60}") {
            let _ = (site_of_file(&text), read_log(&text), read_log(&format!("@{text}\n")));
        }

        #[test]
        fn every_site_fits(domain in "[a-z0-9_]{1,63}(\\.[a-zA-Z0-9_]{1,63}){0,5}") {
            if let Ok(site) = site_of_domain(&domain) {
                prop_assert!(file_name(&site).is_ok());
            }
        }

        #[test]
        fn logs_equal_a_set(changes in proptest::collection::vec((any::<bool>(), 0u64..10), 0..60)) {
            let (mut text, mut model) = (String::new(), BTreeSet::new());
            for (add, n) in changes {
                let id = QueueId::from_u64(n);
                text.push_str(&if add { added_line(id) } else { removed_line(id) });
                if add { model.insert(id); } else { model.remove(&id); }
            }
            let log = read_log(&text);
            prop_assert_eq!((log.waiting, log.damaged_at), (model, None));
        }
    }
}
