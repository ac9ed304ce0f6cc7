//! Limits that are not settings, each with its name, its unit and the reason for its value.
//! Settings live in the configuration; what is here keeps the program whole whatever they say.

/// Longest command line, CRLF included, that is taken from a client (RFC 5321 4.5.3.1.4 asks for 512;
/// extensions add to it, RFC 1869 4.1.2 and RFC 3461 4.2, so the sum is rounded up generously).
pub const COMMAND_LINE_BYTES_MAX: usize = 4096;

/// Longest mailbox, `local@domain` (RFC 5321 4.5.3.1.3: a path of 256 octets, brackets included).
pub const MAILBOX_BYTES_MAX: usize = 254;

/// Longest local part. RFC 5321 4.5.3.1.1 says 64; relays meet longer ones (bounce addresses,
/// RFC 5321 4.5.3.1 asks to avoid limits where possible), so only the mailbox as a whole is bounded.
pub const LOCAL_PART_BYTES_MAX: usize = MAILBOX_BYTES_MAX;

/// Longest domain name in A-form (RFC 1035 2.3.4 less the root label).
pub const DOMAIN_BYTES_MAX: usize = 253;

/// Longest label of a domain name (RFC 1035 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// Longest ORCPT value after decoding (RFC 3461 4.2 bounds the parameter to 500 characters).
pub const ORCPT_BYTES_MAX: usize = 500;

/// Longest ENVID value after decoding (RFC 3461 4.4).
pub const ENVID_BYTES_MAX: usize = 100;

/// Longest line of a reply that is kept; the rest of the line is read and dropped.
pub const REPLY_LINE_BYTES_MAX: usize = 2048;

/// Most lines of one reply; a next hop that sends more is cut off.
pub const REPLY_LINES_MAX: usize = 128;

/// Longest text of a reply that is kept with a recipient.
pub const REASON_BYTES_MAX: usize = 1024;

/// Most recipients of one message, whatever `recipient_limit` says: positions are 32 bits wide and
/// one envelope must fit a spool record.
pub const RECIPIENTS_MAX: u32 = 500_000;

/// Longest envelope, encoded, in one spool record.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024 * 1024;
