//! The operator protocol: typed requests and answers as lines of JSON over a Unix socket, and the
//! client side of it.
//!
//! Promises: every type here is a mirror that the protocol owns, so neither the engine nor the spool
//! has to keep the shape of its structs; the codec is free of I/O; each line has a limit with a name;
//! field order in the JSON is the order of declaration and does not change.
//!
//! One connection carries requests one after the other. The answer to each is a stream of items that
//! are written as they are found, closed by exactly one `done` or `failed`. A connection whose first
//! byte is one of `D I A F W` is no request but a trigger buffer, see [`classify`].

mod answer;
mod client;
mod codec;
mod item;
mod request;
mod selector;
pub mod shape;

pub use answer::{Answer, Done, Failed};
pub use client::{Answers, Client, ClientError, Deadlines, send_trigger};
pub use codec::{
    ANSWER_LINE_BYTES_MAX, DecodeError, LineBuffer, LineTooLong, Opening, REQUEST_LINE_BYTES_MAX,
    TRIGGER_BYTES_MAX, classify, decode_answer, decode_request, encode,
};
pub use item::{
    AttemptItem, ChangedItem, ContentItem, DamageItem, EnvelopeItem, FlushItem, FlushResult, HelloItem, Item,
    MessageItem, ProgressItem, QueueCounts, RecipientItem, RecipientStatus, RecordItem, ShapeItem, SiteItem,
    StatusItem, Totals, TransportItem, VerifyItem, WhyItem,
};
pub use request::{
    Action, CONTENT_BYTES_MAX, FlushTarget, IDS_PER_REQUEST_MAX, Parts, Request, SHAPE_BUCKETS_MAX, VERSION,
};
pub use selector::{QueueName, Selector, SelectorError};
