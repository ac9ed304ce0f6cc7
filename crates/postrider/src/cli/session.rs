//! What the commands share: the settings, the engine at the other end, the selection.

use std::io::{self, BufRead};

use control::{Client, Deadlines, IDS_PER_REQUEST_MAX, Selector};
use mail::{QueueId, Time, site_of_domain};

use super::args::SelectorArgs;
use super::failure::Failure;
use crate::config::{Settings, Sources};

/// Reads the settings.
pub(crate) fn settings(sources: &Sources) -> Result<Settings, Failure> {
    Ok(sources.load()?.settings)
}

/// Connects to the engine that the settings name.
pub(crate) fn engine(sources: &Sources) -> Result<Client, Failure> {
    Ok(Client::connect(&settings(sources)?.control.socket, Deadlines::default())?)
}

/// The machine's clock.
pub(crate) fn now() -> Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// Checks a queue id and gives it in its printed form.
pub(crate) fn queue_id(text: &str) -> Result<String, Failure> {
    let id: QueueId = text.parse().map_err(|error| Failure::usage(format!("\"{text}\": {error}")))?;
    Ok(id.to_string())
}

/// Checks a site and gives it as the engine spells it.
pub(crate) fn site(text: &str) -> Result<String, Failure> {
    site_of_domain(text).map_err(|error| {
        Failure::usage(format!("\"{text}\" is no site: {error}; write it as example.com or [192.0.2.1]"))
    })
}

impl SelectorArgs {
    /// The selection, checked; ids are read from standard input where `-` stands.
    pub(crate) fn selector(self) -> Result<Selector, Failure> {
        let mut ids = Vec::new();
        for id in &self.ids {
            match id.as_str() {
                "-" => ids.extend(ids_of_standard_input()?),
                id => ids.push(queue_id(id)?),
            }
        }
        // An empty list on standard input selects nothing, not everything.
        if ids.is_empty() && !self.ids.is_empty() {
            return Err(Failure::Told {
                code: super::failure::exit::NOTHING,
                text: "nothing matched: there is no queue id on standard input".to_owned(),
            });
        }
        Ok(Selector {
            ids,
            all: self.all,
            queues: self.queue,
            site: self.site.as_deref().map(site).transpose()?,
            sender: self.sender,
            recipient: self.recipient,
            older_than: self.older_than,
            newer_than: self.newer_than,
            min_attempts: self.min_attempts,
            reason: self.reason,
            transport: self.transport,
            limit: self.limit,
        })
    }
}

/// Queue ids, separated by blanks or line breaks.
pub(crate) fn ids_of_standard_input() -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::Told {
            code: super::failure::exit::IO,
            text: format!("cannot read queue ids from standard input: {error}"),
        })?;
        for word in line.split_whitespace() {
            ids.push(queue_id(word)?);
        }
    }
    Ok(ids)
}

/// The same selection in requests of bearable size, each id in one of them only. Whoever sends several takes
/// [`left_of`] the limit with each.
pub(crate) fn in_pieces(mut selector: Selector) -> Vec<Selector> {
    if selector.ids.len() <= IDS_PER_REQUEST_MAX {
        return vec![selector];
    }
    let mut ids = std::mem::take(&mut selector.ids);
    ids.sort_unstable();
    ids.dedup();
    let pieces = ids.chunks(IDS_PER_REQUEST_MAX);
    pieces.map(|ids| Selector { ids: ids.to_vec(), ..selector.clone() }).collect()
}

/// The selection with what is left of its limit when so many messages were taken already.
pub(crate) fn left_of(selector: Selector, taken: u64) -> Selector {
    Selector { limit: selector.limit.map(|limit| limit.saturating_sub(taken)), ..selector }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_are_checked_and_spelt_as_the_engine_does() {
        let args = SelectorArgs {
            ids: vec!["0d5qjk2b7x1zc".to_owned()],
            site: Some("Bücher.example".to_owned()),
            ..SelectorArgs::default()
        };
        let selector = args.selector().unwrap();
        assert_eq!(selector.ids, ["0D5QJK2B7X1ZC"]);
        assert_eq!(selector.site.as_deref(), Some("xn--bcher-kva.example"));
        let bad = SelectorArgs { ids: vec!["x".to_owned()], ..SelectorArgs::default() };
        assert_eq!(bad.selector().unwrap_err().code(), 2);
        let bad = SelectorArgs { site: Some("-".to_owned()), ..SelectorArgs::default() };
        assert_eq!(bad.selector().unwrap_err().code(), 2);
    }

    #[test]
    fn many_ids_go_in_several_requests() {
        let ids = (0..IDS_PER_REQUEST_MAX + 1).map(|n| n.to_string());
        let pieces = in_pieces(Selector::of_ids(ids.clone().chain(ids)));
        assert_eq!(pieces.iter().map(|piece| piece.ids.len()).collect::<Vec<_>>(), [IDS_PER_REQUEST_MAX, 1]);
        let limited = Selector { limit: Some(5), ..Selector::default() };
        assert_eq!(left_of(limited.clone(), 3).limit, Some(2), "the limit is one for all requests");
        assert_eq!(left_of(limited, 9).limit, Some(0));
        assert_eq!(in_pieces(Selector::everything()).len(), 1);
    }
}
