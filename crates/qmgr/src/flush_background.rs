//! Refresh and purge concern any number of sites: they are done in pieces, and other events come in between.
//!
//! Promises: a piece is at most [`SITES_AT_ONCE`] sites, or one site more than [`MESSAGES_AT_ONCE`] messages
//! have; the first one is done when it is asked for, the others each time the engine is called because time
//! has come, which is at once. What happens to a site in between counts: mail that was delivered is not
//! looked for, a log that got a line is not deleted.
//!
//! Refuses: to go on after a restart; what was not reached is due then as before.

use std::collections::{BTreeSet, VecDeque};

use flush::{Answer, Released};

use crate::engine::Engine;
use crate::note::{FlushOf, Note};

/// Most sites of one piece.
const SITES_AT_ONCE: usize = 500;
/// No further site in this piece after so many messages.
const MESSAGES_AT_ONCE: u64 = 1000;

/// What is still to be done.
#[derive(Debug, Default)]
pub(crate) struct Background {
    /// Sites whose mail is to be tried.
    refresh: VecDeque<String>,
    /// Sites whose logs are to be deleted.
    purge: VecDeque<String>,
}

impl Background {
    pub(crate) fn is_over(&self) -> bool {
        self.refresh.is_empty() && self.purge.is_empty()
    }

    /// The sites whose mail is still to be tried.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &str> {
        self.refresh.iter().map(String::as_str)
    }

    fn add(&mut self, refresh: Vec<String>, purge: Vec<String>) {
        for (list, new) in [(&mut self.refresh, refresh), (&mut self.purge, purge)] {
            let known: BTreeSet<String> = list.iter().cloned().collect();
            list.extend(new.into_iter().filter(|site| !known.contains(site)));
        }
    }
}

impl Engine {
    /// Sites that a refresh or purge has still to look after.
    pub fn flush_sites_left(&self) -> u64 {
        (self.background.refresh.len() + self.background.purge.len()) as u64
    }

    /// Begins to try the mail of some sites and to delete the logs of others. The answer counts what the
    /// first piece came to.
    pub(crate) fn begin_background(&mut self, refresh: Vec<String>, purge: Vec<String>) -> Answer {
        self.background.add(refresh, purge);
        Answer::ok(self.next_piece())
    }

    /// The next piece, when there is one.
    pub(crate) fn go_on_in_background(&mut self) {
        let released = self.next_piece();
        if released.total() > 0 {
            let answer = flush::Status::Ok;
            self.note(Note::Flush { of: FlushOf::Waiting, answer, released: released.released });
        }
    }

    fn next_piece(&mut self) -> Released {
        let mut released = Released::default();
        for _ in 0..SITES_AT_ONCE {
            if released.total() > MESSAGES_AT_ONCE {
                break;
            }
            if let Some(site) = self.background.refresh.pop_front() {
                released += self.release_site(&site, false);
                self.empty_log(&site);
            } else if let Some(site) = self.background.purge.pop_front() {
                if self.flush_log(&site).is_some_and(|times| times.empty_since.is_some()) {
                    self.delete_log(&site);
                }
            } else {
                break;
            }
        }
        released
    }
}
