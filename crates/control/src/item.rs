//! The results that answers carry: mirror structs, written as JSON in the order of their fields.
//!
//! Times are whole seconds since 1970, durations milliseconds, sizes bytes, unless a field says
//! otherwise. Fields that do not apply are left out, except where `null` is promised.

use serde::{Deserialize, Serialize};

use crate::QueueName;

/// One result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// To `hello`.
    Hello(HelloItem),
    /// One message.
    Message(MessageItem),
    /// The envelope of one message.
    Envelope(EnvelopeItem),
    /// A piece of a message's content.
    Content(ContentItem),
    /// One site.
    Site(SiteItem),
    /// One transport.
    Transport(TransportItem),
    /// The result of one flush.
    Flush(FlushItem),
    /// What binds a message or a site.
    Why(WhyItem),
    /// Work goes on; also sent when nothing was found for a while, so that the client can tell a busy
    /// engine from a dead one.
    Progress(ProgressItem),
    /// A damaged place in the spool.
    Damage(DamageItem),
    /// The sums of a verification.
    Verify(VerifyItem),
    /// The state of the engine.
    Status(StatusItem),
    /// A message that was changed. Only where messages were selected by their ids.
    Changed(ChangedItem),
    /// Some of the sites that recipients wait for.
    Shape(ShapeItem),
}

/// Who answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HelloItem {
    /// Protocol version of the engine.
    pub version: u32,
    /// Program and version, as in `postrider 0.1.0`.
    pub program: String,
}

/// A message that was changed, or will be when the attempt in flight is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangedItem {
    /// Queue id.
    pub queue_id: String,
}

/// How old the mail of some sites is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ShapeItem {
    /// Site, and for each bucket of age that is not empty its number from 0 and the unfinished recipients.
    pub sites: Vec<(String, Vec<(u32, u64)>)>,
}

/// One message in a listing: the fields of `postqueue -j`, then Postrider's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageItem {
    /// Queue.
    pub queue_name: QueueName,
    /// Queue id.
    pub queue_id: String,
    /// When it was accepted.
    pub arrival_time: i64,
    /// Bytes of content.
    pub message_size: u64,
    /// An operator asked to return it.
    pub forced_expire: bool,
    /// Sender; empty for the null sender.
    pub sender: String,
    /// Its recipients, finished ones included.
    pub recipients: Vec<RecipientItem>,
    /// When it is tried next; `null` when nothing is planned (active, on hold, corrupt).
    pub next_attempt: Option<i64>,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Why the whole message is where it is (what is damaged, who put it on hold).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One recipient of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecipientItem {
    /// The address.
    pub address: String,
    /// Why it was not delivered by the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_reason: Option<String>,
    /// The site it waits for.
    pub site: String,
    /// The transport it goes by.
    pub transport: String,
    /// How far it is.
    pub status: RecipientStatus,
    /// Where the transport takes it, when that differs from the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexthop: Option<String>,
}

/// How far a recipient is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientStatus {
    /// Not tried yet.
    Pending,
    /// Delivered.
    Sent,
    /// Refused for good.
    Bounced,
    /// Tried, to be tried again.
    Deferred,
}

impl RecipientStatus {
    /// Whether nothing is left to do for the recipient.
    pub fn is_final(self) -> bool {
        matches!(self, RecipientStatus::Sent | RecipientStatus::Bounced)
    }

    /// The word in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RecipientStatus::Pending => "pending",
            RecipientStatus::Sent => "sent",
            RecipientStatus::Bounced => "bounced",
            RecipientStatus::Deferred => "deferred",
        }
    }
}

/// The envelope as `queue show` prints it: named fields in order, then the recipients.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EnvelopeItem {
    /// Queue id.
    pub queue_id: String,
    /// Where it came from: `host[address]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The name given with HELO, EHLO or LHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// The protocol word of the `Received:` line, as `ESMTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// `7BIT` or `8BITMIME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The message needs SMTPUTF8.
    #[serde(default)]
    pub smtputf8: bool,
    /// ENVID, decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// RET: `FULL` or `HDRS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// One for each recipient, in envelope order.
    pub recipients: Vec<RecordItem>,
}

/// What is recorded for one recipient of an envelope.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RecordItem {
    /// The address.
    pub address: String,
    /// ORCPT as `type;value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
    /// NOTIFY as in the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// The last enhanced status, as `4.4.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsn: Option<String>,
    /// The last answer or reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Who answered: `host[address]:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// Attempts for this recipient.
    #[serde(default)]
    pub attempts: u32,
    /// The sender was told that it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
    /// The attempts before the last one, oldest first, as many as are remembered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<AttemptItem>,
}

/// An attempt that others followed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AttemptItem {
    /// When.
    pub at: i64,
    /// The enhanced status, as `4.4.1`.
    pub dsn: String,
    /// The answer or reason.
    pub text: String,
    /// Who answered: `host[address]:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

/// A piece of a message's content, at most [`crate::CONTENT_BYTES_MAX`] bytes, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ContentItem {
    /// Part of the header section; part of the body otherwise.
    pub headers: bool,
    /// The bytes. In JSON a text in which each character U+0000 to U+00FF stands for one byte:
    /// nothing is lost, and mail in ASCII stays readable.
    #[serde(with = "latin1")]
    pub bytes: Vec<u8>,
}

/// What the engine knows of one site.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SiteItem {
    /// Name.
    pub site: String,
    /// The transport that serves it.
    pub transport: String,
    /// `ready`, `throttled`, `suspended` or `idle`.
    pub state: String,
    /// Deliveries allowed at once.
    pub window: u32,
    /// Deliveries in flight.
    pub busy: u32,
    /// Entries selected next.
    pub todo: u32,
    /// Messages that wait for it, deferred ones included.
    pub messages: u64,
    /// Why it is throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// When it is tried again, or a rate delay ends.
    pub next_attempt: Option<i64>,
}

/// What the engine knows of one transport.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TransportItem {
    /// Name.
    pub transport: String,
    /// `ready`, `throttled` or `suspended`.
    pub state: String,
    /// Agents it may use; 0 means no limit.
    pub process_limit: u32,
    /// Deliveries in flight.
    pub busy: u32,
    /// Sites with work in memory.
    pub sites: u32,
    /// Recipients in memory.
    pub recipients: u64,
    /// Why it is throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// When it is tried again.
    pub next_attempt: Option<i64>,
}

/// The result of a flush, or one row of its status.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlushItem {
    /// The site or message; empty for a flush of everything.
    pub target: String,
    /// What became of the request.
    pub result: FlushResult,
    /// Messages made due by it.
    pub released: u64,
    /// Messages that were being delivered anyway.
    pub already_active: u64,
    /// Messages on hold, left there.
    pub on_hold: u64,
    /// Sites that a refresh or purge has still to look after, in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites_left: Option<u64>,
    /// Messages that wait for the target (in a status row).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Whether clients may ask for it (in a status row).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eligible: Option<bool>,
    /// When it was flushed last (in a status row); known of eligible sites only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_flushed: Option<i64>,
    /// Why it did not happen, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The four answers of the flush service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlushResult {
    /// Done; the counts say what it did.
    Ok,
    /// The site is not in `fast_flush_domains`.
    Deny,
    /// Not a site, not an id.
    Bad,
    /// It broke; see the text.
    Fail,
}

/// What binds a message or a site now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WhyItem {
    /// The message or site.
    pub what: String,
    /// One word: `due`, `throttled`, `window`, `agents`, `rate`, `hold`, `admission`, `flush`, `corrupt`,
    /// `delivering`, `nothing`.
    pub cause: String,
    /// One sentence for people.
    pub text: String,
    /// Since when.
    pub since: Option<i64>,
    /// When it ends by itself.
    pub until: Option<i64>,
    /// What would end it earlier, as one sentence or command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How far a long request is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProgressItem {
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    pub total: Option<u64>,
}

/// A damaged place in the spool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DamageItem {
    /// The message, when it could be told.
    pub queue_id: Option<String>,
    /// File and offset.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
    /// Whether it was moved to `corrupt`.
    pub repaired: bool,
}

/// The sums of a verification.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VerifyItem {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Live messages.
    pub messages: u64,
    /// Damaged places.
    pub damaged: u64,
    /// Of these, moved to `corrupt`.
    pub repaired: u64,
}

/// Messages by queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueCounts {
    /// Accepted, not yet in the active queue.
    pub incoming: u64,
    /// In memory, being delivered or about to be.
    pub active: u64,
    /// Waiting for their next attempt.
    pub deferred: u64,
    /// Waiting for an operator.
    pub hold: u64,
    /// Damaged.
    pub corrupt: u64,
}

/// The state of the engine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StatusItem {
    /// Program and version.
    pub program: String,
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started: i64,
    /// The spool directory.
    pub spool: String,
    /// Where it listens: `smtp 127.0.0.1:2525`.
    pub listen: Vec<String>,
    /// Messages by queue.
    pub queues: QueueCounts,
    /// Deliveries in flight.
    pub deliveries: u64,
    /// Envelopes read from the disk since the start.
    #[serde(default)]
    pub envelopes_read: u64,
    /// Contents read from the disk since the start.
    #[serde(default)]
    pub contents_read: u64,
    /// The engine is still learning what was in its spool, and the queues show what it knows so far. Mail is
    /// taken; everything else that is asked waits until it knows all.
    #[serde(default)]
    pub starting: bool,
    /// Whether mail is taken.
    pub accepting: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The next instant at which something is planned.
    pub next_event: Option<i64>,
    /// What became of messages; with the sums it must come out even.
    #[serde(default)]
    pub totals: Totals,
}

/// Messages since the start, as the log counts them: `found + accepted = ended + stored`, and what is stored
/// is in one of the queues or `deleted`, except for what is on its way at the very instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// There at the start.
    pub found: u64,
    /// Made durable since, reports of the engine's own included.
    pub accepted: u64,
    /// Delivered, returned, expired or deleted for good since.
    pub ended: u64,
    /// In the log or in `corrupt` now.
    pub stored: u64,
    /// Of these, deleted within `delete_grace`: they can be taken back.
    pub deleted: u64,
}

/// Bytes as text, one character each.
mod latin1 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.iter().map(|&byte| char::from(byte)).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.chars()
            .map(|c| u8::try_from(c).map_err(|_| D::Error::custom("a character above U+00FF is no byte")))
            .collect()
    }
}
