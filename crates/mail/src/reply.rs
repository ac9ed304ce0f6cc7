//! SMTP replies as values: a code, an enhanced status code and the text (RFC 5321 4.2, RFC 3463).

use std::fmt;
use std::str::FromStr;

/// What a reply means for whoever gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Severity {
    /// 2xx and 3xx: go on.
    Positive,
    /// 4xx: try again later.
    Transient,
    /// 5xx: do not try this again.
    Permanent,
}

/// An enhanced status code such as 4.7.1 (RFC 3463). The class is always 2, 4 or 5, each other
/// number is at most three digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedStatus {
    class: u8,
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    /// A code that is known to be well formed. Panics on a class other than 2, 4, 5 or a number over
    /// 999; use [`EnhancedStatus::checked`] for what came from outside.
    pub const fn new(class: u8, subject: u16, detail: u16) -> EnhancedStatus {
        assert!(matches!(class, 2 | 4 | 5) && subject <= 999 && detail <= 999);
        EnhancedStatus { class, subject, detail }
    }

    /// The code with these numbers, or nothing when they break RFC 3463 2.
    pub const fn checked(class: u8, subject: u16, detail: u16) -> Option<EnhancedStatus> {
        if matches!(class, 2 | 4 | 5) && subject <= 999 && detail <= 999 {
            Some(EnhancedStatus { class, subject, detail })
        } else {
            None
        }
    }

    /// 2, 4 or 5.
    pub const fn class(self) -> u8 {
        self.class
    }

    /// The middle number.
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The last number.
    pub const fn detail(self) -> u16 {
        self.detail
    }

    /// The same subject and detail under another class, as soft bounces need it.
    pub const fn with_class(self, class: u8) -> EnhancedStatus {
        EnhancedStatus::new(class, self.subject, self.detail)
    }

    /// What the class says.
    pub const fn severity(self) -> Severity {
        match self.class {
            2 => Severity::Positive,
            4 => Severity::Transient,
            _ => Severity::Permanent,
        }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EnhancedStatus {
    type Err = ();

    /// Reads `class.subject.detail`; leading zeros are refused as RFC 3463 2 has none.
    fn from_str(text: &str) -> Result<EnhancedStatus, ()> {
        let mut parts = text.split('.').map(|part| {
            let digits = !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
            let padded = part.len() > 1 && part.starts_with('0');
            if digits && !padded { part.parse::<u16>().ok() } else { None }
        });
        let mut next = || parts.next().flatten().ok_or(());
        let (class, subject, detail) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(());
        }
        EnhancedStatus::checked(u8::try_from(class).map_err(|_| ())?, subject, detail).ok_or(())
    }
}

/// One reply, as sent or as received.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced status code, when there is one.
    pub status: Option<EnhancedStatus>,
    /// The text of each line without code and status; at least one, possibly empty, never with CR or LF.
    pub lines: Vec<String>,
}

impl Reply {
    /// A reply with one line.
    pub fn new(code: u16, status: Option<EnhancedStatus>, text: impl Into<String>) -> Reply {
        Reply { code, status, lines: vec![text.into()] }
    }

    /// What the code says.
    pub const fn severity(&self) -> Severity {
        match self.code {
            200..=399 => Severity::Positive,
            400..=499 => Severity::Transient,
            _ => Severity::Permanent,
        }
    }

    /// The whole reply on one line, `code status text`, lines joined by a space: for logs and reasons.
    pub fn one_line(&self) -> String {
        let mut text = self.code.to_string();
        if let Some(status) = self.status {
            text.push_str(&format!(" {status}"));
        }
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            text.push(' ');
            text.push_str(line);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_status_codes() {
        for good in ["2.0.0", "4.7.1", "5.999.999", "4.0.0"] {
            assert_eq!(good.parse::<EnhancedStatus>().unwrap().to_string(), good);
        }
        for bad in ["", "3.0.0", "2.0", "2.0.0.0", "5.1000.1", "5.01.1", "5.-1.1", "2.0.x", "+2.0.0"] {
            assert!(bad.parse::<EnhancedStatus>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_line_keeps_every_word() {
        let reply =
            Reply { code: 451, status: "4.7.1".parse().ok(), lines: vec!["try".into(), "later".into()] };
        assert_eq!(reply.one_line(), "451 4.7.1 try later");
        assert_eq!(reply.severity(), Severity::Transient);
    }
}
