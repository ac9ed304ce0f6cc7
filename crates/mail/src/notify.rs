//! The parameters of RFC 3461: NOTIFY, ORCPT, RET and the xtext they are written in.

use std::fmt;

use crate::limits;

/// NOTIFY (RFC 3461 4.1). `never` excludes the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Notify {
    /// Report success.
    pub success: bool,
    /// Report failure.
    pub failure: bool,
    /// Report delay.
    pub delay: bool,
}

/// RET (RFC 3461 4.3): what of the message a failure report returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ret {
    /// RET=FULL.
    Full,
    /// RET=HDRS.
    Headers,
}

/// ORCPT (RFC 3461 4.2): the recipient as first named, with the type of its address. Type and
/// address are kept as decoded text, so that any address type passes through unharmed.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Orcpt {
    /// Usually `rfc822` or `utf-8` (RFC 6533 3).
    pub kind: String,
    /// The address, xtext decoded; for `utf-8` the encoded form as received.
    pub address: String,
}

/// A parameter of RFC 3461 that does not follow its grammar.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParameterError {
    /// Not xtext: bytes outside `!` to `~`, a bare `=`, or a `+` without two upper-case hex digits.
    #[error("malformed xtext")]
    Xtext,
    /// NOTIFY is not NEVER alone or a list of SUCCESS, FAILURE, DELAY without repetition.
    #[error("malformed NOTIFY value")]
    Notify,
    /// ORCPT is not `type;xtext`.
    #[error("malformed ORCPT value")]
    Orcpt,
    /// RET is neither FULL nor HDRS.
    #[error("malformed RET value")]
    Ret,
    /// Longer than its limit.
    #[error("parameter value too long")]
    TooLong,
}

impl Notify {
    /// NOTIFY=NEVER.
    pub const NEVER: Notify = Notify { success: false, failure: false, delay: false };

    /// Reads the value of the parameter.
    pub fn parse(value: &str) -> Result<Notify, ParameterError> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Ok(Notify::NEVER);
        }
        let mut notify = Notify::NEVER;
        for word in value.split(',') {
            let flag = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut notify.success,
                "FAILURE" => &mut notify.failure,
                "DELAY" => &mut notify.delay,
                _ => return Err(ParameterError::Notify),
            };
            if std::mem::replace(flag, true) {
                return Err(ParameterError::Notify);
            }
        }
        Ok(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let given: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(if given.is_empty() { "NEVER" } else { "" })?;
        f.write_str(&given.join(","))
    }
}

impl Ret {
    /// Reads the value of the parameter.
    pub fn parse(value: &str) -> Result<Ret, ParameterError> {
        match value.to_ascii_uppercase().as_str() {
            "FULL" => Ok(Ret::Full),
            "HDRS" => Ok(Ret::Headers),
            _ => Err(ParameterError::Ret),
        }
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        })
    }
}

impl Orcpt {
    /// Reads `type;xtext`. The value of a `utf-8` address may hold UTF-8 (RFC 6533 3) and is kept as
    /// it came.
    pub fn parse(value: &str) -> Result<Orcpt, ParameterError> {
        let (kind, address) = value.split_once(';').ok_or(ParameterError::Orcpt)?;
        let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
        if kind.is_empty() || !kind.bytes().all(atom) || address.is_empty() {
            return Err(ParameterError::Orcpt);
        }
        let address = if kind.eq_ignore_ascii_case("utf-8") {
            if address.chars().any(|c| c.is_control() || c == ' ') {
                return Err(ParameterError::Orcpt);
            }
            address.to_owned()
        } else {
            decode_xtext(address)?
        };
        if address.len() > limits::ORCPT_BYTES_MAX {
            return Err(ParameterError::TooLong);
        }
        Ok(Orcpt { kind: kind.to_owned(), address })
    }
}

impl fmt::Display for Orcpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.eq_ignore_ascii_case("utf-8") {
            write!(f, "{};{}", self.kind, self.address)
        } else {
            write!(f, "{};{}", self.kind, encode_xtext(&self.address))
        }
    }
}

/// Writes text as xtext (RFC 3461 4).
pub fn encode_xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' | 0..=b' ' | 0x7f..=0xff => encoded.push_str(&format!("+{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

/// Reads xtext (RFC 3461 4). What it encodes must be UTF-8 without control characters.
pub fn decode_xtext(text: &str) -> Result<String, ParameterError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let mut digit = || match bytes.next() {
                    Some(d @ b'0'..=b'9') => Ok(d - b'0'),
                    Some(d @ b'A'..=b'F') => Ok(d - b'A' + 10),
                    _ => Err(ParameterError::Xtext),
                };
                decoded.push(digit()? << 4 | digit()?);
            }
            b'=' | 0..=b' ' | 0x7f..=0xff => return Err(ParameterError::Xtext),
            _ => decoded.push(byte),
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| ParameterError::Xtext)?;
    // A control character would break out of the log line or report header it ends up in.
    if decoded.chars().any(char::is_control) { Err(ParameterError::Xtext) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn xtext_reads_back(text in "[^\\p{Cc}]{0,40}") {
            prop_assert_eq!(decode_xtext(&encode_xtext(&text)).unwrap(), text);
        }

        #[test]
        fn decoding_never_panics(text in ".{0,40}") {
            let _ = decode_xtext(&text);
            let _ = Orcpt::parse(&text);
            let _ = Notify::parse(&text);
        }
    }

    #[test]
    fn notify_follows_its_grammar() {
        assert_eq!(Notify::parse("never"), Ok(Notify::NEVER));
        assert_eq!(Notify::parse("SUCCESS,delay").unwrap().to_string(), "SUCCESS,DELAY");
        for bad in ["", "NEVER,FAILURE", "SUCCESS,SUCCESS", "SUCCESS,", "ALWAYS"] {
            assert_eq!(Notify::parse(bad), Err(ParameterError::Notify), "{bad:?}");
        }
    }

    #[test]
    fn orcpt_keeps_type_and_address() {
        let orcpt = Orcpt::parse("rfc822;a+2Bb@x.test").unwrap();
        assert_eq!((orcpt.kind.as_str(), orcpt.address.as_str()), ("rfc822", "a+b@x.test"));
        assert_eq!(orcpt.to_string(), "rfc822;a+2Bb@x.test");
        for bad in ["", "rfc822", ";x", "rfc822;", "rfc 822;x", "rfc822;a b", "rfc822;+0A"] {
            assert!(Orcpt::parse(bad).is_err(), "{bad:?}");
        }
    }
}
