//! The settings under which a peer may be measured, on top of what it needs to be comparable at all.
//!
//! Promises: the first of each list is the peer as it is shipped; none weakens what an acknowledgement
//! means, and none turns off the log. What was tried and never won is in docs/benchmarks.md and not here.
//!
//! Refuses: settings for `list-behind`. What is compared there is how two schedulers share a site, at the
//! same numbers; other numbers would be another policy, not more speed.

/// What a work asks of a peer, without the addresses of a [`Plan`](super::peer::Plan).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Mail is taken and kept.
    Keep,
    /// Mail goes to one next hop.
    Relay,
    /// A list goes to one next hop.
    List,
    /// Deferred mail is flushed.
    Backlog,
}

/// One way to set up a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As in the table.
    pub(crate) name: &'static str,
    /// Blocks of lines for its main configuration.
    pub(crate) blocks: &'static [&'static str],
}

impl Setting {
    const fn new(name: &'static str, blocks: &'static [&'static str]) -> Setting {
        Setting { name, blocks }
    }

    /// What is added to its main configuration.
    pub(crate) fn lines(&self) -> String {
        self.blocks.concat()
    }
}

/// As the peer comes.
pub(crate) const SHIPPED: Setting = Setting::new("shipped", &[]);

/// Postfix looks at fewer things in each message.
const LEAN: &str = "smtpd_relay_restrictions = permit_mynetworks, reject\n\
     receive_override_options = no_unknown_recipient_checks, no_header_body_checks, no_address_mappings, \
     no_milters\n\
     local_header_rewrite_clients =\n\
     smtputf8_enable = no\n\
     enable_original_recipient = no\n";
/// Fewer of its processes compete for the processors.
const FEW: &str = "default_process_limit = 20\n";
/// All of a backlog is in its memory at once.
const BROAD: &str = "qmgr_message_active_limit = 100000\nqmgr_message_recipient_limit = 100000\n";
/// A connection is closed after its message; among a thousand sites few are used again.
const UNCACHED: &str = "smtp_connection_cache_on_demand = no\n";

/// Those of Postfix for `task`.
pub(crate) fn postfix(task: Task) -> &'static [Setting] {
    const KEEP: &[Setting] = &[SHIPPED, Setting::new("lean", &[LEAN])];
    const RELAY: &[Setting] = &[
        SHIPPED,
        Setting::new("lean", &[LEAN]),
        Setting::new("few", &[FEW]),
        Setting::new("lean few", &[LEAN, FEW]),
    ];
    const BACKLOG: &[Setting] = &[
        SHIPPED,
        Setting::new("broad", &[BROAD]),
        Setting::new("uncached", &[BROAD, UNCACHED]),
        Setting::new("few", &[BROAD, FEW]),
    ];
    match task {
        Task::Keep => KEEP,
        Task::Relay => RELAY,
        Task::Backlog => BACKLOG,
        Task::List => &[],
    }
}

/// Exim keeps no log of its own for each message, and its spool in 62 folders.
const SPLIT: &str = "message_logs = false\nsplit_spool_directory = true\n";

/// Those of Exim for `task`.
pub(crate) fn exim(task: Task) -> &'static [Setting] {
    const TAKING: &[Setting] = &[SHIPPED, Setting::new("split", &[SPLIT])];
    match task {
        Task::Keep | Task::Relay => TAKING,
        Task::List | Task::Backlog => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_as_shipped_and_names_are_told_apart() {
        for task in [Task::Keep, Task::Relay, Task::Backlog, Task::List] {
            for list in [postfix(task), exim(task)] {
                assert!(list.first().is_none_or(|first| *first == SHIPPED), "{task:?}");
                let names: std::collections::BTreeSet<_> = list.iter().map(|one| one.name).collect();
                assert_eq!(names.len(), list.len(), "{task:?}");
                assert!(list.iter().all(|one| one.blocks.iter().all(|block| block.ends_with('\n'))));
            }
        }
    }
}
