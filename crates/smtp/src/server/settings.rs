//! What a receiving session is told once: names, limits, and what it may offer.

use crate::data::ContentLimits;
use crate::extension::Extensions;

/// Shared by all sessions of a listener. The names are those of postconf(5) without `smtpd_`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Our name in greetings and replies.
    pub hostname: String,
    /// LMTP (RFC 2033), not SMTP.
    pub lmtp: bool,
    /// Most bytes of content; 0 means no limit.
    pub message_size_limit: u64,
    /// Content over the limit is read and dropped until it is twice as long, and for at least so many bytes;
    /// then the session ends. Most clients look for an answer only when they have sent everything, so that
    /// whoever is cut off earlier never hears its 552.
    pub endless_bytes_min: u64,
    /// Most recipients of one message.
    pub recipient_limit: usize,
    /// So many recipients over the limit are refused without counting as errors.
    pub recipient_overshoot_limit: usize,
    /// Most `Received:` lines in a message.
    pub hopcount_limit: u32,
    /// So many errors since the last message end the session.
    pub hard_error_limit: u32,
    /// So many commands that lead nowhere (HELO, NOOP, RSET, VRFY, HELP, ETRN) are free between two messages;
    /// each further one counts as an error.
    pub junk_command_limit: u32,
    /// Offer STARTTLS.
    pub starttls: bool,
    /// Offer ETRN.
    pub etrn: bool,
    /// When so many bytes of content have piled up, the driver is asked to take them.
    pub body_part: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hostname: "localhost".into(),
            lmtp: false,
            message_size_limit: 50 << 20,
            endless_bytes_min: 256 << 20,
            recipient_limit: 1000,
            recipient_overshoot_limit: 1000,
            hopcount_limit: 50,
            hard_error_limit: 20,
            junk_command_limit: 100,
            starttls: false,
            etrn: false,
            body_part: 512 << 10,
        }
    }
}

impl Settings {
    /// The table that EHLO or LHLO gets, under TLS or not.
    pub fn extensions(&self, tls: bool) -> Extensions {
        Extensions {
            pipelining: true,
            size: Some(self.message_size_limit),
            eight_bit_mime: true,
            smtputf8: true,
            enhanced_status_codes: true,
            chunking: true,
            dsn: true,
            starttls: self.starttls && !tls,
            etrn: self.etrn && !self.lmtp,
        }
    }

    /// Content that goes on for so long, refused or not, ends the session.
    pub(super) fn endless_bytes(&self) -> u64 {
        match self.message_size_limit {
            0 => u64::MAX,
            limit => limit.saturating_mul(2).max(self.endless_bytes_min),
        }
    }

    pub(super) fn content_limits(&self) -> ContentLimits {
        let bytes = if self.message_size_limit == 0 { u64::MAX } else { self.message_size_limit };
        ContentLimits { bytes, hops: self.hopcount_limit }
    }
}
