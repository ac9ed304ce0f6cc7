//! The five requests of flush(8) and how they are written on a line.
//!
//! Promises: what is printed reads back as the same request; names are checked before anything else
//! happens with them.
//!
//! Refuses: the named queues of RFC 1985 (`#name`): there are none.

use std::fmt;

use mail::{ParseIdError, QueueId, SiteError, site_of_domain};

/// The sites that a request names: one, or with `@` in front one and everything below it
/// (RFC 1985 5.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sites {
    /// The site, as [`mail::site_of_domain`] spells it.
    pub name: String,
    /// Its subdomains too.
    pub subdomains: bool,
}

impl Sites {
    /// Reads `example.com`, `@example.com` or an address literal such as `[192.0.2.1]`, in any letter
    /// case, IDN in either form.
    pub fn parse(text: &str) -> Result<Sites, SiteError> {
        let (name, subdomains) = match text.strip_prefix('@') {
            Some(name) => (name, true),
            None => (text, false),
        };
        if subdomains && name.starts_with('[') {
            return Err(SiteError::Literal);
        }
        Ok(Sites { name: site_of_domain(name)?, subdomains })
    }

    /// Whether the request is about this site.
    pub fn covers(&self, site: &str) -> bool {
        let below = || site.strip_suffix(self.name.as_str()).is_some_and(|rest| rest.ends_with('.'));
        site == self.name || (self.subdomains && below())
    }
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.subdomains { "@" } else { "" }, self.name)
    }
}

/// One request of flush(8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Note that a message waits for a site.
    Add {
        /// The site, as [`mail::site_of_domain`] spells it.
        site: String,
        /// The message.
        id: QueueId,
    },
    /// Try everything that waits for the sites now.
    SendSite(Sites),
    /// Try this message now.
    SendFile(QueueId),
    /// Try what has waited in a log longer than `fast_flush_refresh_time`; delete logs that have been
    /// empty for `fast_flush_purge_time`.
    Refresh,
    /// As [`Request::Refresh`], for every log that holds something.
    Purge,
}

/// Why a line is no request. All of them are answered `bad`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// No such request.
    #[error("unknown request: add, send_site, send_file, refresh or purge is expected")]
    Unknown,
    /// Too few or too many words.
    #[error("wrong number of arguments")]
    Arguments,
    /// The site is none.
    #[error("bad site: {0}")]
    Site(#[from] SiteError),
    /// The queue id is none.
    #[error("bad queue id: {0}")]
    Id(#[from] ParseIdError),
}

impl Request {
    /// Reads a request from one line, words separated by blanks. `rfrsh`, the name on Postfix's wire,
    /// is taken for `refresh`.
    pub fn parse(line: &str) -> Result<Request, RequestError> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().ok_or(RequestError::Unknown)?;
        let mut argument = || words.next().ok_or(RequestError::Arguments);
        let request = match name {
            "add" => Request::Add { site: site_of_domain(argument()?)?, id: argument()?.parse()? },
            "send_site" => Request::SendSite(Sites::parse(argument()?)?),
            "send_file" => Request::SendFile(argument()?.parse()?),
            "refresh" | "rfrsh" => Request::Refresh,
            "purge" => Request::Purge,
            _ => return Err(RequestError::Unknown),
        };
        if words.next().is_some() { Err(RequestError::Arguments) } else { Ok(request) }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Add { site, id } => write!(f, "add {site} {id}"),
            Request::SendSite(sites) => write!(f, "send_site {sites}"),
            Request::SendFile(id) => write!(f, "send_file {id}"),
            Request::Refresh => f.write_str("refresh"),
            Request::Purge => f.write_str("purge"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_read_back() {
        let id = QueueId::from_u64(77).to_string();
        for (line, printed) in [
            ("send_site Example.COM.", "send_site example.com".to_owned()),
            ("send_site @Example.com", "send_site @example.com".to_owned()),
            ("send_site x", "send_site x".to_owned()),
            ("send_site [IPv6:2001:DB8::1]", "send_site [ipv6:2001:db8::1]".to_owned()),
            ("  rfrsh ", "refresh".to_owned()),
            ("purge", "purge".to_owned()),
            (&format!("add BÜCHER.test {}", id.to_lowercase()), format!("add xn--bcher-kva.test {id}")),
            (&format!("send_file {id}"), format!("send_file {id}")),
        ] {
            let request = Request::parse(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
            assert_eq!(request.to_string(), printed);
            assert_eq!(Request::parse(&printed), Ok(request));
        }
    }

    #[test]
    fn malformed_lines_say_why() {
        let long = format!("send_site {}", "a.".repeat(127) + "aa");
        for (line, error) in [
            ("", RequestError::Unknown),
            ("send", RequestError::Unknown),
            ("ADD x", RequestError::Unknown),
            ("add x", RequestError::Arguments),
            ("refresh now", RequestError::Arguments),
            ("send_site a b", RequestError::Arguments),
            ("send_site ..", SiteError::Malformed.into()),
            ("send_site -x", SiteError::Malformed.into()),
            ("send_site #queue", SiteError::Malformed.into()),
            ("send_site ../../etc/passwd", SiteError::Malformed.into()),
            ("send_site @", SiteError::Empty.into()),
            ("send_site @[192.0.2.1]", SiteError::Literal.into()),
            (&long, SiteError::TooLong.into()),
            ("send_file 123", ParseIdError.into()),
        ] {
            assert_eq!(Request::parse(line), Err(error), "{line:?}");
        }
    }

    #[test]
    fn a_parent_covers_only_what_is_below_it() {
        let sites = Sites::parse("@example.com").unwrap();
        let covered: Vec<&str> = ["example.com", "a.b.example.com", "badexample.com", "com", ".example.com"]
            .into_iter()
            .filter(|site| sites.covers(site))
            .collect();
        assert_eq!(covered, ["example.com", "a.b.example.com", ".example.com"]);
        assert!(!Sites::parse("example.com").unwrap().covers("a.example.com"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(line in "(add|send_site|send_file|purge)? \\PC{0,30}") {
            if let Ok(request) = Request::parse(&line) {
                prop_assert_eq!(Request::parse(&request.to_string()), Ok(request));
            }
        }
    }
}
