//! What comes back: items as they are found, then exactly one end.

use serde::{Deserialize, Serialize};

use crate::Item;

/// One line of an answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One result; more may follow.
    Item(Box<Item>),
    /// The end of a request that was carried out.
    Done(Done),
    /// The end of a request that was not, or not wholly.
    Failed(Failed),
}

/// The end of a request that was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// How many messages (for a flush: released messages) it was about.
    pub count: u64,
}

/// The end of a request that was refused or broke off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// The exit code that fits (sysexits.h): 64 not understood, 69 unavailable, 70 internal,
    /// 74 I/O error, 77 not permitted; 1 no such message or site.
    pub code: u8,
    /// One line: what was wrong, where, what to do.
    pub text: String,
}

impl Answer {
    /// An item.
    pub fn item(item: Item) -> Answer {
        Answer::Item(Box::new(item))
    }

    /// The good end.
    pub fn done(count: u64) -> Answer {
        Answer::Done(Done { count })
    }

    /// The bad end; line breaks in the text become spaces.
    pub fn failed(code: u8, text: impl Into<String>) -> Answer {
        Answer::Failed(Failed { code, text: text.into().replace(['\r', '\n'], " ") })
    }
}
