//! A cache in front of a resolver: bounded, with negative answers, and with times to live of our own where
//! the answer names none or an absurd one.
//!
//! Promises: at most [`LOOKUPS_CACHED_MAX`] answers of each type; no answer is believed for more than a
//! day or for less than a second, so that a zero TTL cannot make every message of a mailing ask again.
//!
//! Known weakness: several deliveries that miss at the same instant all ask.

use std::net::IpAddr;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use crate::resolver::{Found, Lookup, LookupError, Mx, Resolver};

/// Most answers of each type that are remembered; when there are more, the outdated ones go, or all.
pub const LOOKUPS_CACHED_MAX: usize = 20_000;

const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// For negative answers without a SOA record; RFC 2308 5 has no default.
const NEGATIVE_TTL: Duration = Duration::from_secs(60);
/// RFC 2308 5 advises at most three hours; mail is corrected by people, who do not wait so long.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(900);
/// Long enough to spare a dead name server the questions of a whole burst.
const TEMPORARY_TTL: Duration = Duration::from_secs(5);

type Answer<T> = Result<Found<T>, LookupError>;

/// See the module head.
pub struct LookupCache<R> {
    resolver: R,
    mx: Answers<Mx>,
    addresses: Answers<IpAddr>,
}

impl<R: Resolver> LookupCache<R> {
    /// An empty cache in front of `resolver`.
    pub fn new(resolver: R) -> LookupCache<R> {
        LookupCache {
            resolver,
            mx: Answers::new(LOOKUPS_CACHED_MAX),
            addresses: Answers::new(LOOKUPS_CACHED_MAX),
        }
    }
}

/// The answers of one type by name, each with the instant up to which it is believed.
struct Answers<T> {
    known: DashMap<String, (Instant, Answer<T>)>,
    limit: usize,
}

impl<T: Clone> Answers<T> {
    fn new(limit: usize) -> Answers<T> {
        Answers { known: DashMap::new(), limit }
    }

    fn recall(&self, name: &str, now: Instant) -> Option<Answer<T>> {
        self.known.get(name).filter(|entry| entry.0 > now).map(|entry| entry.1.clone())
    }

    fn remember(&self, name: &str, answer: &Answer<T>, now: Instant) {
        if self.known.len() >= self.limit {
            self.known.retain(|_, entry| entry.0 > now);
        }
        if self.known.len() >= self.limit {
            self.known.clear();
        }
        self.known.insert(name.to_owned(), (now + believed(answer), answer.clone()));
    }

    async fn ask(&self, name: &str, lookup: Lookup<'_, T>) -> Answer<T> {
        if let Some(answer) = self.recall(name, Instant::now()) {
            return answer;
        }
        let answer = lookup.await;
        self.remember(name, &answer, Instant::now());
        answer
    }
}

/// How long an answer is believed.
fn believed<T>(answer: &Answer<T>) -> Duration {
    match answer {
        Ok(found) => found.ttl.clamp(TTL_MIN, TTL_MAX),
        Err(LookupError::NxDomain { ttl } | LookupError::NoRecords { ttl }) => {
            ttl.unwrap_or(NEGATIVE_TTL).clamp(TTL_MIN, NEGATIVE_TTL_MAX)
        }
        Err(LookupError::Temporary { .. }) => TEMPORARY_TTL,
    }
}

impl<R: Resolver> Resolver for LookupCache<R> {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Mx> {
        Box::pin(self.mx.ask(domain, self.resolver.mx(domain)))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(self.addresses.ask(host, self.resolver.addresses(host)))
    }
}

impl<R> std::fmt::Debug for LookupCache<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookupCache")
            .field("mx", &self.mx.known.len())
            .field("addresses", &self.addresses.known.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ttl: u64) -> Answer<Mx> {
        let mx = Mx { preference: 10, host: "mx.test".into() };
        Ok(Found { records: vec![mx], ttl: Duration::from_secs(ttl) })
    }

    #[test]
    fn answers_are_believed_for_a_while() {
        let start = Instant::now();
        let temporary = Err(LookupError::Temporary { reason: "SERVFAIL".into() });
        for (answer, seconds) in [
            (found(0), 1),
            (found(300), 300),
            (found(10_000_000), 86_400),
            (Err(LookupError::NxDomain { ttl: None }), 60),
            (Err(LookupError::NoRecords { ttl: Some(Duration::from_secs(100_000)) }), 900),
            (temporary, 5),
        ] {
            let answers = Answers::new(10);
            answers.remember("a.test", &answer, start);
            let end = start + Duration::from_secs(seconds);
            assert_eq!(answers.recall("a.test", end - Duration::from_millis(1)), Some(answer));
            assert_eq!(answers.recall("a.test", end), None);
            assert_eq!(answers.recall("b.test", start), None);
        }
    }

    #[test]
    fn the_cache_is_bounded_and_lets_outdated_answers_go_first() {
        let start = Instant::now();
        let answers = Answers::new(10);
        answers.remember("long.test", &found(1000), start);
        for number in 0..100 {
            let now = start + Duration::from_secs(2 * number);
            answers.remember(&format!("d{number}.test"), &found(1), now);
            assert!(answers.known.len() <= 10);
            assert!(answers.recall("long.test", now).is_some());
        }
        for number in 0..100 {
            answers.remember(&format!("e{number}.test"), &found(1000), start);
            assert!(answers.known.len() <= 10);
        }
    }
}
