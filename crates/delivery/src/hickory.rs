//! The name service of the system, asked through hickory.
//!
//! DNSSEC is off: MX and address records are used as any mail system uses them. Answers are not cached here.
//! A name that leads to another without end has no records for now, and not for good: a mistake or a lie.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::resolver::{Found, Lookup, LookupError, Mx, Resolver};

/// The name servers of the system cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the name servers of the system cannot be read: {reason}")]
pub struct SystemResolverError {
    reason: String,
}

/// The resolver of the system: `/etc/resolv.conf` and `/etc/hosts` as they were when it was made.
pub struct SystemResolver {
    resolver: TokioResolver,
}

impl SystemResolver {
    /// Reads the configuration of the system.
    pub fn new() -> Result<SystemResolver, SystemResolverError> {
        let broken = |error: NetError| SystemResolverError { reason: error.to_string() };
        let mut builder = TokioResolver::builder_tokio().map_err(broken)?;
        // The cache in front of us holds negative answers, too, and has bounds we know.
        builder.options_mut().cache_size = 0;
        Ok(SystemResolver { resolver: builder.build().map_err(broken)? })
    }
}

impl SystemResolver {
    /// What was found. Hickory follows eight aliases and then says that the next name has no records; whether
    /// it has none, or is an alias itself, takes one more question.
    async fn or_why<T>(&self, found: Result<T, NetError>) -> Result<T, LookupError> {
        let error = match found {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        if let NetError::Dns(DnsError::NoRecordsFound(none)) = &error
            && none.response_code == ResponseCode::NoError
        {
            let last = none.query.name().clone();
            if self.resolver.lookup(last, RecordType::CNAME).await.is_ok() {
                return Err(LookupError::Temporary { reason: "one alias (CNAME) leads to another".into() });
            }
        }
        Err(classified(error))
    }
}

impl Resolver for SystemResolver {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Mx> {
        Box::pin(async move {
            let found = self.resolver.lookup(absolute(domain), RecordType::MX).await;
            let found = self.or_why(found).await?;
            let records = found.answers().iter().filter_map(|record| match &record.data {
                RData::MX(mx) => {
                    let host = mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                    Some(Mx { preference: mx.preference, host })
                }
                _ => None,
            });
            non_empty(records.collect(), found.valid_until())
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(async move {
            let found = self.resolver.lookup_ip(absolute(host)).await;
            let found = self.or_why(found).await?;
            non_empty(found.iter().collect(), found.valid_until())
        })
    }
}

impl std::fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemResolver")
    }
}

/// Fully qualified, so that no search list of the system is tried.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn non_empty<T>(records: Vec<T>, valid_until: Instant) -> Result<Found<T>, LookupError> {
    if records.is_empty() {
        return Err(LookupError::NoRecords { ttl: None });
    }
    Ok(Found { records, ttl: valid_until.saturating_duration_since(Instant::now()) })
}

fn classified(error: NetError) -> LookupError {
    match &error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            match none.response_code {
                ResponseCode::NXDomain => LookupError::NxDomain { ttl },
                ResponseCode::NoError => LookupError::NoRecords { ttl },
                code => LookupError::Temporary { reason: format!("name server answered {code}") },
            }
        }
        // The second is what a question says whose connection gave up waiting.
        NetError::Timeout | NetError::Message("receiver was canceled") => {
            LookupError::Temporary { reason: "no answer in time".into() }
        }
        other => LookupError::Temporary { reason: other.to_string() },
    }
}

/// A resolver that can answer nothing, for a system without name servers: mail to domains waits, mail to
/// addresses goes out.
#[derive(Clone, Debug)]
pub struct Unavailable {
    /// Why there is no name service.
    pub reason: String,
}

impl Resolver for Unavailable {
    fn mx<'a>(&'a self, _: &'a str) -> Lookup<'a, Mx> {
        Box::pin(async { Err(LookupError::Temporary { reason: self.reason.clone() }) })
    }

    fn addresses<'a>(&'a self, _: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(async { Err(LookupError::Temporary { reason: self.reason.clone() }) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, OpCode};
    use hickory_resolver::proto::rr::rdata::{A, CNAME, MX};
    use hickory_resolver::proto::rr::{Name, Record};
    use tokio::net::UdpSocket;

    use super::*;

    /// A resolver that asks this server and no other.
    fn asking(server: SocketAddr) -> SystemResolver {
        let mut name_server = NameServerConfig::udp(server.ip());
        name_server.connections[0].port = server.port();
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.cache_size = 0;
        options.attempts = 1;
        options.timeout = Duration::from_millis(200);
        SystemResolver { resolver: builder.build().unwrap() }
    }

    fn answer(query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?.clone();
        let name = question.name().to_ascii();
        let mut response = Message::response(query.metadata.id, OpCode::Query);
        response.add_query(question.clone());
        let record = |data| Record::from_rdata(question.name().clone(), 300, data);
        let mx = |preference, host: &str| RData::MX(MX::new(preference, Name::from_ascii(host).unwrap()));
        let alias = |name: &str| record(RData::CNAME(CNAME(Name::from_ascii(name).unwrap())));
        match (name.as_str(), question.query_type()) {
            ("silent.test.", _) => return None,
            ("broken.test.", _) => response.metadata.response_code = ResponseCode::ServFail,
            ("nowhere.test.", _) => response.metadata.response_code = ResponseCode::NXDomain,
            ("null.test.", RecordType::MX) => drop(response.add_answer(record(mx(0, ".")))),
            ("two.test.", RecordType::MX) => {
                response.add_answer(record(mx(20, "B.two.test.")));
                response.add_answer(record(mx(10, "a.two.test.")));
            }
            ("round.test.", _) => drop(response.add_answer(alias("round.round.test."))),
            ("round.round.test.", _) => drop(response.add_answer(alias("round.test."))),
            // An alias of a name that has an address, and no MX record.
            ("alias.test.", RecordType::A | RecordType::MX) => {
                response.add_answer(alias("a.two.test."));
            }
            ("a.two.test.", RecordType::A) => {
                response.add_answer(record(RData::A(A::new(192, 0, 2, 1))));
            }
            _ => {}
        }
        response.to_vec().ok()
    }

    async fn name_server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                if let Some(response) = answer(&query[..length]) {
                    socket.send_to(&response, from).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_are_told_apart() {
        let resolver = asking(name_server().await);
        let two = resolver.mx("two.test").await.unwrap();
        assert!(two.ttl > Duration::from_secs(290) && two.ttl <= Duration::from_secs(300));
        let mut records = two.records;
        records.sort();
        let mx = |preference, host: &str| Mx { preference, host: host.into() };
        assert_eq!(records, [mx(10, "a.two.test"), mx(20, "b.two.test")]);
        assert_eq!(resolver.mx("null.test").await.unwrap().records, [mx(0, "")]);
        let found = resolver.addresses("a.two.test").await.unwrap();
        assert_eq!(found.records, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(matches!(resolver.mx("a.two.test").await, Err(LookupError::NoRecords { .. })));
        assert!(matches!(resolver.addresses("two.test").await, Err(LookupError::NoRecords { .. })));
        assert!(matches!(resolver.mx("nowhere.test").await, Err(LookupError::NxDomain { .. })));
        assert!(matches!(resolver.addresses("nowhere.test").await, Err(LookupError::NxDomain { .. })));
        assert!(matches!(resolver.mx("alias.test").await, Err(LookupError::NoRecords { .. })));
        assert_eq!(resolver.addresses("alias.test").await.unwrap().records, found.records);
        // An alias that leads back to itself was once a domain without mail, and mail to it was returned; and
        // no answer at all was once "receiver was canceled".
        for (name, why) in
            [("broken.test", "Server Failure"), ("silent.test", "no answer in time"), ("round.test", "alias")]
        {
            let temporary = |error| match error {
                LookupError::Temporary { reason } => assert!(reason.contains(why), "{name}: {reason}"),
                other => panic!("{name}: {other}"),
            };
            temporary(resolver.mx(name).await.unwrap_err());
            temporary(resolver.addresses(name).await.unwrap_err());
        }
    }
}
