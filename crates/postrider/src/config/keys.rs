//! The keys that are not parameters of the engine: name, default, meaning.

use std::time::Duration;

use super::schema::{Key, Kind, Reload, TRANSPORT};

const SECOND: Duration = Duration::from_secs(1);
/// Larger counts are typing mistakes.
const COUNT_MAX: u64 = 1_000_000_000;
/// One address cannot have more connections than there are ports.
const CONNECTIONS_MAX: u64 = 65_535;
/// Levels of TLS towards a next hop, weakest first.
pub(crate) const TLS_LEVELS: &[&str] = &["none", "may", "encrypt", "verify"];
/// What a transport can be.
pub(crate) const TRANSPORT_KINDS: &[&str] = &["smtp", "lmtp", "maildir", "pipe", "discard", "error", "retry"];
/// Levels of the log, least chatty first.
pub(crate) const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

const fn live(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { section, name, kind, default, reload: Reload::Live, meaning }
}

const fn at_start(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { section, name, kind, default, reload: Reload::Restart, meaning }
}

/// The keys of one of the two front-ends, which differ in where they listen only.
macro_rules! front_end {
    ($section:literal, $listen:literal) => {
        [
            at_start(
                $section,
                "listen",
                Kind::Words,
                $listen,
                "addresses with ports to listen on; [] switches it off",
            ),
            live(
                $section,
                "hostname",
                Kind::Text,
                "",
                "the name in greetings and Received: lines; empty: the machine's name",
            ),
            live(
                $section,
                "relay_from",
                Kind::Words,
                "127.0.0.0/8 ::1",
                "networks whose clients may send to any destination",
            ),
            live(
                $section,
                "etrn_from",
                Kind::Words,
                "127.0.0.0/8 ::1",
                "networks whose clients may ask for delivery with ETRN",
            ),
            live($section, "message_size_limit", Kind::Size, "50MiB", "largest message taken"),
            live($section, "recipient_limit", Kind::Count(1, 500_000), "1000", "recipients of one message"),
            live(
                $section,
                "hopcount_limit",
                Kind::Count(1, 1000),
                "50",
                "most Received: lines of a message; one with more is taken to loop",
            ),
            live(
                $section,
                "connection_limit",
                Kind::Count(1, CONNECTIONS_MAX),
                "1000",
                "connections at a time",
            ),
            live(
                $section,
                "client_connection_limit",
                Kind::Count(1, CONNECTIONS_MAX),
                "50",
                "connections of one client address at a time; relay_from is exempt",
            ),
            live(
                $section,
                "error_limit",
                Kind::Count(1, 1000),
                "20",
                "errors of a client after which it is dropped",
            ),
            live(
                $section,
                "junk_command_limit",
                Kind::Count(1, 10_000),
                "100",
                "commands without mail after which each one counts as an error",
            ),
            live(
                $section,
                "command_timeout",
                Kind::Duration(SECOND),
                "5m",
                "longest wait for a client's next command or next piece of data",
            ),
            live(
                $section,
                "session_timeout",
                Kind::Duration(SECOND),
                "1h",
                "longest session; beyond it the client is dropped after its message",
            ),
            live(
                $section,
                "tls_certificate",
                Kind::Text,
                "",
                "file with the certificate chain in PEM; empty: no STARTTLS",
            ),
            live($section, "tls_key", Kind::Text, "", "file with the private key in PEM"),
        ]
    };
}

static TOP: [Key; 1] = [live(
    "",
    "preset",
    Kind::Choice(&["postrider", "postfix"]),
    "postrider",
    "which defaults to start from: postrider, or postfix for the timing of Postfix",
)];

static SPOOL: [Key; 6] = [
    at_start(
        "spool",
        "directory",
        Kind::Text,
        "",
        "where mail is kept; empty: $STATE_DIRECTORY, else ./postrider-data",
    ),
    at_start(
        "spool",
        "segment_size",
        Kind::Size,
        "64MiB",
        "size of one file of the log, 64KiB to 1GiB in steps of 4KiB; unless set, at most a 32nd of the disk",
    ),
    at_start(
        "spool",
        "spare_segments",
        Kind::Count(2, 1024),
        "4",
        "files kept ready for the log to grow into",
    ),
    at_start(
        "spool",
        "body_memory",
        Kind::Size,
        "256MiB",
        "memory for bodies between acceptance and first delivery",
    ),
    at_start(
        "spool",
        "free_min",
        Kind::Size,
        "64MiB",
        "free space below which no mail is taken; unless set, at most a 16th of the disk",
    ),
    at_start(
        "spool",
        "commit_delay",
        Kind::Duration(Duration::from_millis(1)),
        "10ms",
        "longest wait of a delivery's result for being written",
    ),
];

static SMTP: [Key; 15] = front_end!("smtp", "127.0.0.1:2525");
static LMTP: [Key; 15] = front_end!("lmtp", "");

static ROUTE: [Key; 9] = [
    live(
        "route",
        "relayhost",
        Kind::Text,
        "",
        "next hop of mail that nothing else routes; [host] without MX lookup; empty: MX of the domain",
    ),
    live(
        "route",
        "relay_domains",
        Kind::Words,
        "",
        "domains that anybody may send to, delivered by MX, map or relayhost",
    ),
    live(
        "route",
        "local_domains",
        Kind::Words,
        "",
        "domains that anybody may send to, delivered by local_transport when it is set",
    ),
    live(
        "route",
        "parent_domain_matches_subdomains",
        Kind::Flag,
        "true",
        "example.com in a list covers its subdomains too",
    ),
    live(
        "route",
        "map",
        Kind::Rules,
        "[]",
        "rows { match, to }: user@domain, domain, .domain or * to transport:nexthop or hold:reason; \
         the most specific wins",
    ),
    live(
        "route",
        "map_file",
        Kind::Text,
        "",
        "file with more rows, `pattern transport:nexthop` on each line, read again when it changes; rows of \
         map win over the same pattern here",
    ),
    live("route", "default_transport", Kind::Text, "smtp", "transport of mail that nothing else routes"),
    live("route", "relay_transport", Kind::Text, "relay", "transport of mail for relay_domains"),
    live(
        "route",
        "local_transport",
        Kind::Text,
        "",
        "transport:nexthop of mail for local_domains; empty: as any other mail",
    ),
];

static TRANSPORTS: [Key; 25] = [
    live(
        TRANSPORT,
        "kind",
        Kind::Choice(TRANSPORT_KINDS),
        "smtp",
        "what delivers: smtp, lmtp, maildir, pipe (a program), discard, error (bounce) or retry (defer)",
    ),
    live(
        TRANSPORT,
        "tls",
        Kind::Choice(TLS_LEVELS),
        "may",
        "none; may: when offered; encrypt: always; verify: with a valid certificate",
    ),
    live(
        TRANSPORT,
        "connection_cache_time_limit",
        Kind::Duration(SECOND),
        "2s",
        "how long a connection stays open without work; 0s: no reuse",
    ),
    live(
        TRANSPORT,
        "connection_reuse_time_limit",
        Kind::Duration(SECOND),
        "300s",
        "how long after it was opened a connection may start a message",
    ),
    live(
        TRANSPORT,
        "connection_reuse_count_limit",
        Kind::Count(0, COUNT_MAX),
        "0",
        "messages that a connection may carry; 0: no limit",
    ),
    live(
        TRANSPORT,
        "mx_address_limit",
        Kind::Count(0, 1000),
        "5",
        "addresses of a next hop that are tried; 0: no limit",
    ),
    live(
        TRANSPORT,
        "mx_session_limit",
        Kind::Count(0, 1000),
        "2",
        "connections made for one delivery; 0: no limit",
    ),
    live(TRANSPORT, "lookup_timeout", Kind::Duration(SECOND), "30s", "for one DNS question with its retries"),
    live(TRANSPORT, "connect_timeout", Kind::Duration(SECOND), "30s", "for a connection"),
    live(
        TRANSPORT,
        "helo_timeout",
        Kind::Duration(SECOND),
        "5m",
        "for the greeting and the answer to EHLO or LHLO",
    ),
    live(TRANSPORT, "starttls_timeout", Kind::Duration(SECOND), "5m", "for STARTTLS and the handshake"),
    live(TRANSPORT, "mail_timeout", Kind::Duration(SECOND), "5m", "for the answer to MAIL"),
    live(TRANSPORT, "rcpt_timeout", Kind::Duration(SECOND), "5m", "for the answer to RCPT"),
    live(TRANSPORT, "data_init_timeout", Kind::Duration(SECOND), "2m", "for the answer to DATA"),
    live(
        TRANSPORT,
        "data_xfer_timeout",
        Kind::Duration(SECOND),
        "3m",
        "for each piece of content to be taken",
    ),
    live(TRANSPORT, "data_done_timeout", Kind::Duration(SECOND), "10m", "for the answer to the final dot"),
    live(TRANSPORT, "rset_timeout", Kind::Duration(SECOND), "20s", "for the answer to RSET"),
    live(TRANSPORT, "quit_timeout", Kind::Duration(SECOND), "5s", "for the answer to QUIT"),
    live(
        TRANSPORT,
        "delivery_timeout",
        Kind::Duration(SECOND),
        "5h",
        "for one delivery in all, every host included",
    ),
    live(
        TRANSPORT,
        "time_limit",
        Kind::Duration(SECOND),
        "1000s",
        "for a program, or for the disk of a Maildir, to take one delivery",
    ),
    live(
        TRANSPORT,
        "maildir_create",
        Kind::Flag,
        "false",
        "maildir: make mailboxes that are missing; false: mail for them is returned (5.1.1)",
    ),
    live(
        TRANSPORT,
        "argv",
        Kind::Words,
        "",
        "pipe: the program and its arguments, in which ${sender}, ${recipient}, ${user}, ${extension}, \
         ${domain}, ${nexthop}, ${queue_id}, ${size} and others of pipe(8) stand for their values",
    ),
    live(
        TRANSPORT,
        "user",
        Kind::Text,
        "",
        "pipe: user, or user:group, that the program runs as; empty: the engine's own, unless that is root",
    ),
    live(TRANSPORT, "directory", Kind::Text, "/", "pipe: where the program runs"),
    live(
        TRANSPORT,
        "flags",
        Kind::Text,
        "",
        "pipe: any of R (Return-Path:), D (Delivered-To:), O (X-Original-To:), F (From line), > (quote \
         From lines), B (empty line at the end)",
    ),
];

static BOUNCE: [Key; 7] = [
    live(
        "bounce",
        "notify_classes",
        Kind::Words,
        "resource software",
        "what postmasters hear of: bounce, 2bounce, delay (copies of reports), resource, software (trouble)",
    ),
    live(
        "bounce",
        "bounce_notice_recipient",
        Kind::Text,
        "postmaster",
        "who gets the copies of class bounce; without a domain: here",
    ),
    live(
        "bounce",
        "2bounce_notice_recipient",
        Kind::Text,
        "postmaster",
        "who gets reports that cannot be delivered, class 2bounce",
    ),
    live("bounce", "delay_notice_recipient", Kind::Text, "postmaster", "who gets the copies of class delay"),
    live(
        "bounce",
        "error_notice_recipient",
        Kind::Text,
        "postmaster",
        "who is told of what is about no single message",
    ),
    live(
        "bounce",
        "bounce_size_limit",
        Kind::Size,
        "50000",
        "largest message that is returned whole; of larger ones the header",
    ),
    live(
        "bounce",
        "bounce_template_file",
        Kind::Text,
        "",
        "file with the texts of reports in the form of bounce(5); empty: the built-in ones",
    ),
];

static FLUSH: [Key; 1] = [live(
    "flush",
    "fast_flush_domains",
    Kind::Words,
    "$relay_domains",
    "sites that clients may ask to flush; $relay_domains stands for that list",
)];

static CONTROL: [Key; 4] = [
    at_start(
        "control",
        "socket",
        Kind::Text,
        "",
        "the operator's socket; empty: control.sock in the spool directory",
    ),
    at_start("control", "mode", Kind::Text, "0600", "the socket's access mode in octal"),
    live(
        "control",
        "stop_timeout",
        Kind::Duration(SECOND),
        "30s",
        "how long a stop waits for deliveries in flight",
    ),
    at_start(
        "control",
        "delete_grace",
        Kind::Duration(SECOND),
        "1h",
        "how long deleted mail can be taken back (queue undelete); 0s: not at all",
    ),
];

static LOG: [Key; 2] = [
    at_start(
        "log",
        "format",
        Kind::Choice(&["text", "json"]),
        "text",
        "text as Postfix writes it, or one JSON object a line",
    ),
    live("log", "level", Kind::Choice(LOG_LEVELS), "info", "least level that is written"),
];

/// All of them, section by section.
pub(super) fn own_keys() -> impl Iterator<Item = &'static Key> {
    [&TOP[..], &SPOOL, &SMTP, &LMTP, &ROUTE, &TRANSPORTS, &BOUNCE, &FLUSH, &CONTROL, &LOG]
        .into_iter()
        .flatten()
}
