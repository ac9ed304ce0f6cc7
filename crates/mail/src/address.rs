//! Mailboxes, kept exactly as they were written (RFC 5321 4.1.2, RFC 6531 3.3).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::domain::literal_address;
use crate::limits::{LOCAL_PART_BYTES_MAX, MAILBOX_BYTES_MAX};
use crate::{SiteError, site_of_domain};

/// A mailbox: `local@domain`, `"quoted local"@domain`, `local@[literal]`, or `postmaster` alone
/// (RFC 5321 4.1.1.3). Never empty; the null reverse path is the absence of an address.
///
/// Equality is of the spelling. Use [`Address::site`] to ask where it goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: Box<str>,
    /// Where the `@` in front of the domain is; the length of the text when there is none.
    at: usize,
}

/// Why a text is no mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// No local part, or no domain and not `postmaster`.
    #[error("mailbox without local part or domain")]
    Incomplete,
    /// The local part is neither a dot-string nor a quoted string.
    #[error("malformed local part")]
    LocalPart,
    /// The domain is malformed.
    #[error("{0}")]
    Domain(#[from] SiteError),
    /// Over 254 bytes.
    #[error("mailbox too long")]
    TooLong,
}

impl Address {
    /// Reads a mailbox without angle brackets or source route.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        if text.len() > MAILBOX_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let local_length = match text.strip_prefix('"') {
            Some(rest) => 1 + quoted_length(rest).ok_or(AddressError::LocalPart)?,
            None => text.find('@').unwrap_or(text.len()),
        };
        let local = &text[..local_length];
        if local.is_empty() {
            return Err(AddressError::Incomplete);
        }
        if local.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if !local.starts_with('"') && !is_dot_string(local) {
            return Err(AddressError::LocalPart);
        }
        match text[local_length..].strip_prefix('@') {
            Some(domain) => {
                if domain.ends_with('.') {
                    return Err(SiteError::Malformed.into());
                }
                site_of_domain(domain)?;
            }
            None if local_length < text.len() => return Err(AddressError::LocalPart),
            None if local.eq_ignore_ascii_case("postmaster") => {}
            None => return Err(AddressError::Incomplete),
        }
        Ok(Address { text: text.into(), at: local_length })
    }

    /// The whole mailbox as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part as written, quotes included.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The local part without quotes and backslashes, for comparing with names.
    pub fn unquoted_local_part(&self) -> String {
        let local = self.local_part();
        let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return local.to_owned();
        };
        let mut plain = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            plain.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
        }
        plain
    }

    /// The domain as written; nothing for `postmaster` alone.
    pub fn domain(&self) -> Option<&str> {
        self.text.get(self.at + 1..)
    }

    /// The site: the domain in lower case and A-form; nothing for `postmaster` alone.
    pub fn site(&self) -> Option<String> {
        self.domain().map(|domain| site_of_domain(domain).expect("checked when the address was read"))
    }

    /// The network address of a domain that is an address literal.
    pub fn literal(&self) -> Option<IpAddr> {
        literal_address(&self.site()?)
    }

    /// Whether the mailbox can only travel with SMTPUTF8 (RFC 6531 3.3).
    pub fn needs_utf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text)
    }
}

/// The length of `content"` in a quoted string whose opening quote is already taken
/// (RFC 5321 4.1.2 Quoted-string; RFC 6531 3.3 adds UTF-8).
fn quoted_length(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices();
    while let Some((place, c)) = chars.next() {
        match c {
            '"' => return Some(place + 1),
            '\\' => {
                chars.next().filter(|(_, quoted)| matches!(quoted, ' '..='~'))?;
            }
            ' '..='~' => {}
            _ if !c.is_ascii() && !c.is_control() => {}
            _ => return None,
        }
    }
    None
}

/// RFC 5321 4.1.2 Dot-string with the atoms of RFC 5322 3.2.3; RFC 6531 3.3 adds UTF-8.
fn is_dot_string(local: &str) -> bool {
    let atom_char = |c: char| {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
    };
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atom_char))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_every_spelling() {
        for text in [
            "a@b.test",
            "\"a@b\"@x.test",
            "\"a\\\"b c\"@x.test",
            "A.b+c@[192.0.2.1]",
            "u@[IPv6:2001:db8::1]",
            "PostMaster",
            "jörg@bücher.example",
            "\"\"@x.test",
        ] {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_mailbox() {
        let long = format!("{}@x.test", "a".repeat(260));
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@x.test",
            "a b@x.test",
            "a..b@x.test",
            ".a@x.test",
            "a@x..test",
            "a@x.test.",
            "\"a@x.test",
            "\"a\"b@x.test",
            "a@-x.test",
            "a@[1.2.3.4",
            "a@b@c.test",
            "a\u{0}@x.test",
            "a\u{85}@x.test",
            "<a@x.test>",
            &long,
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn parts_are_found_behind_the_last_at_outside_quotes() {
        let address = Address::parse("\"a@b \\\"c\"@Example.COM").unwrap();
        assert_eq!(address.local_part(), "\"a@b \\\"c\"");
        assert_eq!(address.unquoted_local_part(), "a@b \"c");
        assert_eq!(address.site().as_deref(), Some("example.com"));
        assert_eq!(Address::parse("postmaster").unwrap().site(), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_round_trips(text in "\\PC{0,40}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(address.as_str(), text.as_str());
                let _ = (address.site(), address.literal(), address.unquoted_local_part());
            }
        }

        #[test]
        fn dot_strings_are_taken(local in "[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,10}", domain in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}") {
            let text = format!("{local}@{domain}");
            let address = Address::parse(&text).unwrap();
            prop_assert_eq!(address.domain(), Some(domain.as_str()));
        }
    }
}
