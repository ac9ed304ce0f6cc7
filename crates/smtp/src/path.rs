//! Paths: the mailbox in angle brackets behind `MAIL FROM:` and `RCPT TO:` (RFC 5321 4.1.2).
//!
//! Promises: the mailbox comes out spelled as it came in; a source route is checked and dropped
//! (RFC 5321 Appendix C); `>` inside a quoted local part does not end the path.
//! Refuses: a mailbox without brackets, although some servers take it: what cannot be told apart
//! from a parameter is not guessed at. Spaces in front of `<` are let pass, because many clients
//! send them.

use mail::{Address, AddressError, SiteError, site_of_domain};

/// Why a text does not begin with a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// No `<` in front, no `>` behind, or something glued to the `>`.
    #[error("an address in angle brackets is expected")]
    Brackets,
    /// The source route is malformed.
    #[error("malformed source route")]
    Route,
    /// `<>` where a recipient is needed.
    #[error("empty address")]
    Null,
    /// The mailbox is malformed.
    #[error("{0}")]
    Mailbox(#[from] AddressError),
}

/// Reads the reverse path at the front of `text`: the sender, or nothing for `<>`, and what follows.
pub fn parse_reverse_path(text: &str) -> Result<(Option<Address>, &str), PathError> {
    let (inner, rest) = split_brackets(text)?;
    if inner.is_empty() {
        return Ok((None, rest));
    }
    Ok((Some(mailbox(inner)?), rest))
}

/// Reads the forward path at the front of `text`: the recipient and what follows.
pub fn parse_forward_path(text: &str) -> Result<(Address, &str), PathError> {
    let (inner, rest) = split_brackets(text)?;
    if inner.is_empty() {
        return Err(PathError::Null);
    }
    Ok((mailbox(inner)?, rest))
}

/// What stands between the brackets, and what stands behind the space after them.
fn split_brackets(text: &str) -> Result<(&str, &str), PathError> {
    let body = text.trim_start_matches(' ').strip_prefix('<').ok_or(PathError::Brackets)?;
    let mut quoted = false;
    let mut escaped = false;
    for (place, byte) in body.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let rest = &body[place + 1..];
                if !rest.is_empty() && !rest.starts_with(' ') {
                    return Err(PathError::Brackets);
                }
                return Ok((&body[..place], rest.trim_start_matches(' ')));
            }
            _ => {}
        }
    }
    Err(PathError::Brackets)
}

fn mailbox(inner: &str) -> Result<Address, PathError> {
    Ok(Address::parse(without_route(inner)?)?)
}

/// Drops `@one,@two:` in front of a mailbox.
fn without_route(path: &str) -> Result<&str, PathError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let mut rest = path;
    loop {
        let domain = rest.strip_prefix('@').ok_or(PathError::Route)?;
        // The colons of an IPv6 literal do not end the route.
        let literal = if domain.starts_with('[') { domain.find(']').ok_or(PathError::Route)? } else { 0 };
        let end = literal + domain[literal..].find([',', ':']).ok_or(PathError::Route)?;
        site_of_domain(&domain[..end]).map_err(|_: SiteError| PathError::Route)?;
        rest = &domain[end + 1..];
        if domain.as_bytes()[end] == b':' {
            return Ok(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_the_mailbox_and_drops_the_route() {
        for (text, mailbox, rest) in [
            ("<a@b.test>", "a@b.test", ""),
            ("  <a@b.test>  SIZE=1", "a@b.test", "SIZE=1"),
            ("<\"x>y\\\">\"@b.test> NOTIFY=NEVER", "\"x>y\\\">\"@b.test", "NOTIFY=NEVER"),
            ("<@one.test,@two.test:a@b.test>", "a@b.test", ""),
            ("<@[IPv6:2001:db8::1]:a@[192.0.2.1]>", "a@[192.0.2.1]", ""),
            ("<Postmaster>", "Postmaster", ""),
            ("<jörg@bücher.example>", "jörg@bücher.example", ""),
        ] {
            let (address, after) = parse_forward_path(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((address.as_str(), after), (mailbox, rest), "{text}");
        }
        assert_eq!(parse_reverse_path("<> BODY=7BIT"), Ok((None, "BODY=7BIT")));
    }

    #[test]
    fn refuses_what_is_no_path() {
        for (text, error) in [
            ("", PathError::Brackets),
            ("a@b.test", PathError::Brackets),
            ("<a@b.test", PathError::Brackets),
            ("<\"a>@b.test>", PathError::Brackets),
            ("<a@b.test>SIZE=1", PathError::Brackets),
            ("<@one.test>", PathError::Route),
            ("<@one.test,two.test:a@b.test>", PathError::Route),
            ("<@:a@b.test>", PathError::Route),
            ("<@[1.2.3.4:a@b.test>", PathError::Route),
            ("<>", PathError::Null),
            ("<a@>", PathError::Mailbox(SiteError::Empty.into())),
            ("<<a@b.test>>", PathError::Brackets),
        ] {
            assert_eq!(parse_forward_path(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[<>@:,\"\\\\a\\[\\] é]{0,24}") {
            let _ = (parse_forward_path(&text), parse_reverse_path(&text));
        }
    }
}
