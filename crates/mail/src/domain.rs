//! Domains: the *site* of an address (what the engine schedules and flushes by) and lists of domains.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{DOMAIN_BYTES_MAX, LABEL_BYTES_MAX};

/// Why a name cannot be a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SiteError {
    /// Nothing there.
    #[error("empty domain name")]
    Empty,
    /// Over 253 bytes in A-form, or a label over 63.
    #[error("domain name too long")]
    TooLong,
    /// A label that is empty, starts or ends with a hyphen, or holds anything but letters, digits,
    /// hyphens and underscores; or a name that IDNA (UTS 46) refuses.
    #[error("malformed domain name")]
    Malformed,
    /// Brackets around something that is no address (RFC 5321 4.1.3).
    #[error("malformed address literal")]
    Literal,
}

/// The site of a domain as written in an address or typed by an operator: lower case, IDN in A-form,
/// one trailing dot dropped; address literals in their canonical spelling. Two spellings of one
/// destination give the same site, two destinations never do. Underscores are tolerated because hosts
/// with them exist.
pub fn site_of_domain(domain: &str) -> Result<String, SiteError> {
    if domain.is_empty() {
        return Err(SiteError::Empty);
    }
    if let Some(inner) = domain.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(SiteError::Literal)?;
        return canonical_literal(inner).map(|text| format!("[{text}]"));
    }
    let ascii = if domain.is_ascii() {
        domain.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(domain).map_err(|_| SiteError::Malformed)?
    };
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    if name.is_empty() {
        return Err(SiteError::Empty);
    }
    if name.len() > DOMAIN_BYTES_MAX || name.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
        return Err(SiteError::TooLong);
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.split('.').all(label_ok) { Ok(name.to_owned()) } else { Err(SiteError::Malformed) }
}

/// `1.2.3.4`, `ipv6:…`, or `tag:content` of a registered tag, without the brackets.
fn canonical_literal(inner: &str) -> Result<String, SiteError> {
    if let Ok(v4) = inner.parse::<Ipv4Addr>() {
        return Ok(v4.to_string());
    }
    if inner.len() > 5 && inner.is_char_boundary(5) && inner[..5].eq_ignore_ascii_case("IPv6:") {
        return inner[5..].parse::<Ipv6Addr>().map(|v6| format!("ipv6:{v6}")).map_err(|_| SiteError::Literal);
    }
    Err(SiteError::Literal)
}

/// The network address inside a site that is an address literal.
pub(crate) fn literal_address(site: &str) -> Option<IpAddr> {
    let inner = site.strip_prefix('[')?.strip_suffix(']')?;
    match inner.strip_prefix("ipv6:") {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => inner.parse().ok().map(IpAddr::V4),
    }
}

/// An entry that is no domain pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{pattern:?} is not a domain, .domain or !domain")]
pub struct DomainListError {
    /// The entry as written.
    pub pattern: String,
}

/// A list of domains as Postfix reads it: the first entry that matches wins, `!` in front negates,
/// `.example.com` names the subdomains only, `*` names everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DomainList {
    entries: Vec<Entry>,
    parent_matches_subdomains: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    negated: bool,
    pattern: Pattern,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Pattern {
    All,
    Site(String),
    Subdomains(String),
}

impl DomainList {
    /// Reads the entries. With `parent_matches_subdomains`, `example.com` covers `a.example.com` too
    /// (`parent_domain_matches_subdomains` of postconf(5)).
    pub fn parse<S: AsRef<str>>(
        entries: &[S],
        parent_matches_subdomains: bool,
    ) -> Result<DomainList, DomainListError> {
        let entries = entries.iter().map(|entry| Entry::parse(entry.as_ref())).collect::<Result<_, _>>()?;
        Ok(DomainList { entries, parent_matches_subdomains })
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the list covers the site (as [`site_of_domain`] spells it).
    pub fn matches(&self, site: &str) -> bool {
        let hit = self.entries.iter().find(|entry| match &entry.pattern {
            Pattern::All => true,
            Pattern::Site(name) => {
                name == site || (self.parent_matches_subdomains && is_subdomain(site, name))
            }
            Pattern::Subdomains(name) => is_subdomain(site, name),
        });
        hit.is_some_and(|entry| !entry.negated)
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Entry, DomainListError> {
        let (negated, body) = match text.strip_prefix('!') {
            Some(body) => (true, body.trim_start()),
            None => (false, text),
        };
        let broken = |_| DomainListError { pattern: text.to_owned() };
        let pattern = match body.strip_prefix('.') {
            _ if body == "*" => Pattern::All,
            Some(parent) => Pattern::Subdomains(site_of_domain(parent).map_err(broken)?),
            None => Pattern::Site(site_of_domain(body).map_err(broken)?),
        };
        Ok(Entry { negated, pattern })
    }
}

fn is_subdomain(site: &str, parent: &str) -> bool {
    site.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_site_agree() {
        for (written, site) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("a_b.test", "a_b.test"),
            ("x", "x"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:DB8:0::1]", "[ipv6:2001:db8::1]"),
        ] {
            assert_eq!(site_of_domain(written).as_deref(), Ok(site), "{written:?}");
        }
    }

    #[test]
    fn refuses_what_no_host_is_called() {
        let long = format!("{}.test", "a".repeat(64));
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            "-a.test",
            "a-.test",
            "a b",
            "a/b",
            "[]",
            "[1.2.3]",
            "[x",
            "[IPv6:::g]",
            &long,
        ] {
            assert!(site_of_domain(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_match_as_postfix_does() {
        let list = DomainList::parse(&["!secret.example.com", "example.com", ".sub.test"], true).unwrap();
        for (site, expected) in [
            ("example.com", true),
            ("a.example.com", true),
            ("secret.example.com", false),
            ("badexample.com", false),
            ("sub.test", false),
            ("a.sub.test", true),
        ] {
            assert_eq!(list.matches(site), expected, "{site}");
        }
        let exact = DomainList::parse(&["example.com"], false).unwrap();
        assert!(exact.matches("example.com") && !exact.matches("a.example.com"));
        assert!(DomainList::parse(&["*"], false).unwrap().matches("anything.test"));
        assert!(DomainList::parse(&["a b"], false).is_err());
    }

    proptest! {
        #[test]
        fn a_site_is_its_own_site(name in "\\PC{0,30}") {
            if let Ok(site) = site_of_domain(&name) {
                let again = site_of_domain(&site);
                prop_assert_eq!(again.as_deref(), Ok(site.as_str()));
            }
        }
    }
}
