//! The EHLO table: what a server says it can do, written by our server and read by our client.
//!
//! Promises: reading what was written gives the same table; unknown keywords are passed over, broken
//! values of known ones count as absent, so that a careless next hop never stops a delivery.
//! Holds no opinion on which extension to use.

use std::fmt;

/// The service extensions of one server (RFC 5321 4.1.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): the largest message in bytes; 0 when the server names no limit.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// ETRN (RFC 1985).
    pub etrn: bool,
}

impl Extensions {
    /// Adds what one line of a reply to EHLO says. The first line of that reply is a greeting and is
    /// not to be given here.
    pub fn read_line(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        let parameter = words.next();
        match keyword.as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => self.size = parameter.map_or(Some(0), |number| number.parse().ok()),
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "ETRN" => self.etrn = true,
            _ => {}
        }
    }

    /// Reads the lines of a reply to EHLO or LHLO, its first line left out.
    pub fn read<'l>(lines: impl IntoIterator<Item = &'l str>) -> Extensions {
        let mut extensions = Extensions::default();
        lines.into_iter().for_each(|line| extensions.read_line(line));
        extensions
    }

    /// The lines of the reply to EHLO, without codes, in a fixed order.
    pub fn lines(&self) -> impl Iterator<Item = Keyword> {
        [
            (self.pipelining, Keyword::Plain("PIPELINING")),
            (self.size.is_some(), Keyword::Size(self.size.unwrap_or(0))),
            (self.etrn, Keyword::Plain("ETRN")),
            (self.starttls, Keyword::Plain("STARTTLS")),
            (self.enhanced_status_codes, Keyword::Plain("ENHANCEDSTATUSCODES")),
            (self.eight_bit_mime, Keyword::Plain("8BITMIME")),
            (self.dsn, Keyword::Plain("DSN")),
            (self.smtputf8, Keyword::Plain("SMTPUTF8")),
            (self.chunking, Keyword::Plain("CHUNKING")),
        ]
        .into_iter()
        .filter_map(|(offered, keyword)| offered.then_some(keyword))
    }
}

/// One line of the table, ready to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keyword {
    /// A keyword alone.
    Plain(&'static str),
    /// SIZE with its number.
    Size(u64),
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keyword::Plain(word) => f.write_str(word),
            Keyword::Size(limit) => write!(f, "SIZE {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(bits: u16, size: Option<u64>) {
            let on = |bit: u16| bits & (1 << bit) != 0;
            let table = Extensions {
                pipelining: on(0), size, eight_bit_mime: on(1), smtputf8: on(2),
                enhanced_status_codes: on(3), chunking: on(4), dsn: on(5), starttls: on(6), etrn: on(7),
            };
            let lines: Vec<String> = table.lines().map(|line| line.to_string()).collect();
            prop_assert_eq!(Extensions::read(lines.iter().map(String::as_str)), table);
        }
    }

    #[test]
    fn careless_servers_are_read_too() {
        let table = Extensions::read(["size", "8bitmime  ", "X-UNKNOWN a b", "", "SIZE=5", "dsn extra"]);
        assert_eq!(
            table,
            Extensions { size: Some(0), eight_bit_mime: true, dsn: true, ..Default::default() }
        );
        assert_eq!(Extensions::read(["SIZE many"]).size, None);
    }
}
