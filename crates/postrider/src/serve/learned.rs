//! What the engine learned about destinations, kept across a restart in one small file.
//!
//! Promises: a missing, old or broken file costs what was learned and nothing else.
//! Refuses: being up to date after a crash; windows are learned again within seconds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail::Time;
use qmgr::{Learned, LearnedDestination};
use serde::{Deserialize, Serialize};
use tracing::warn;

const FILE: &str = "learned.json";

#[derive(Serialize, Deserialize)]
struct File {
    destinations: Vec<Destination>,
    transports: Vec<(String, i64)>,
}

/// Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Destination {
    transport: String,
    destination: String,
    nexthop: String,
    window: u32,
    seen: i64,
    suspended_until: Option<i64>,
}

/// What a predecessor left; nothing when it left nothing of use.
pub(crate) fn read(spool: &Path) -> Learned {
    let path = spool.join(FILE);
    let Ok(text) = std::fs::read(&path) else { return Learned::default() };
    match serde_json::from_slice::<File>(&text) {
        Ok(file) => file.into(),
        Err(error) => {
            warn!("{}: not understood, windows are learned anew: {error}", path.display());
            Learned::default()
        }
    }
}

/// Leaves it for a successor. Written beside and renamed, so that it is there whole or not at all.
pub(crate) fn write(spool: &Path, learned: Learned) {
    let path = spool.join(FILE);
    let staging: PathBuf = path.with_extension("new");
    let text = serde_json::to_vec(&File::from(learned)).expect("plain values");
    let written = std::fs::write(&staging, text).and_then(|()| std::fs::rename(&staging, &path));
    if let Err(error) = written {
        warn!("{}: cannot be written, windows will be learned anew: {error}", path.display());
    }
}

impl From<File> for Learned {
    fn from(file: File) -> Learned {
        let destination = |one: Destination| LearnedDestination {
            transport: one.transport.into(),
            destination: one.destination.into(),
            nexthop: one.nexthop.into(),
            window: one.window,
            seen: Time::from_millis(one.seen),
            suspended_until: one.suspended_until.map(Time::from_millis),
        };
        Learned {
            destinations: file.destinations.into_iter().map(destination).collect(),
            transports: file
                .transports
                .into_iter()
                .map(|(name, until)| (Arc::from(name), Time::from_millis(until)))
                .collect(),
        }
    }
}

impl From<Learned> for File {
    fn from(learned: Learned) -> File {
        let destination = |one: LearnedDestination| Destination {
            transport: one.transport.to_string(),
            destination: one.destination.to_string(),
            nexthop: one.nexthop.to_string(),
            window: one.window,
            seen: one.seen.as_millis(),
            suspended_until: one.suspended_until.map(Time::as_millis),
        };
        let transport = |(name, until): (Arc<str>, Time)| (name.to_string(), until.as_millis());
        File {
            destinations: learned.destinations.into_iter().map(destination).collect(),
            transports: learned.transports.into_iter().map(transport).collect(),
        }
    }
}
