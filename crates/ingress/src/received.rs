//! The `Received:` line that goes in front of every message (RFC 5321 4.4).

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use mail::{Address, Protocol, QueueId};

/// What the line says.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the client called itself.
    pub helo: &'a str,
    /// Where it came from.
    pub client: IpAddr,
    /// Our name.
    pub hostname: &'a str,
    /// How it spoke.
    pub protocol: Protocol,
    /// The message.
    pub id: QueueId,
    /// The recipient, when there is only one: several would tell each of the others.
    pub recipient: Option<&'a Address>,
    /// Date and time as RFC 5322 3.3 writes them.
    pub date: &'a str,
}

/// The line, folded, with its line ends.
impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received: from {} (", Neutered(self.helo))?;
        match self.client.to_canonical() {
            IpAddr::V4(v4) => write!(f, "[{v4}])")?,
            IpAddr::V6(v6) => write!(f, "[IPv6:{v6}])")?,
        }
        let word = self.protocol.word();
        write!(f, "\r\n\tby {} (Postrider) with {word} id {}", self.hostname, self.id)?;
        if let Some(recipient) = self.recipient {
            write!(f, "\r\n\tfor <{recipient}>")?;
        }
        write!(f, "; {}\r\n", self.date)
    }
}

/// A client may call itself anything; what would read as a comment, an address or the end of the line's
/// data becomes a question mark.
struct Neutered<'a>(&'a str);

impl fmt::Display for Neutered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            let harmless = c.is_ascii_graphic() && !"()<>\\\";@,".contains(c);
            f.write_char(if harmless { c } else { '?' })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_how_and_when() {
        let recipient = Address::parse("u@dst.test").unwrap();
        let received = Received {
            helo: "client(.test);",
            client: "2001:db8::1".parse().unwrap(),
            hostname: "mx.test",
            protocol: Protocol { extended: true, tls: true, ..Protocol::default() },
            id: QueueId::from_u64(1 << 60),
            recipient: Some(&recipient),
            date: "Sun, 22 Nov 2026 03:00:00 +0000",
        };
        let id = QueueId::from_u64(1 << 60);
        assert_eq!(
            received.to_string(),
            format!(
                "Received: from client?.test?? ([IPv6:2001:db8::1])\r\n\tby mx.test (Postrider) with ESMTPS id \
                 {id}\r\n\tfor <u@dst.test>; Sun, 22 Nov 2026 03:00:00 +0000\r\n"
            )
        );
        let several = Received { recipient: None, client: "192.0.2.1".parse().unwrap(), ..received };
        assert!(several.to_string().contains("([192.0.2.1])") && !several.to_string().contains("for <"));
    }
}
