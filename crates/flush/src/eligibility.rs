//! Who may ask for which site.
//!
//! Promises: a client reaches eligible sites only, however it spells them; an operator reaches all.
//!
//! The record itself knows every site. Eligibility only decides which requests of clients are heard
//! and which sites have a log that an operator can look at.

use std::str::FromStr;

use mail::DomainList;

use crate::{Record, Request, Sites};

/// On whose word a request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Authority {
    /// An SMTP client that sent ETRN.
    Client,
    /// A caller of postqueue(1) or sendmail(1): reaches what a client reaches, as there, but is never
    /// held back for asking twice.
    User,
    /// Whoever may use the control socket.
    Operator,
}

/// `flush_ineligible_site`: what a client gets that asks for a site outside `fast_flush_domains`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum IneligibleSite {
    /// `reject`: the request is denied.
    #[default]
    Reject,
    /// `deliver-all`: all queued mail is tried, as Postfix did until 2001.
    DeliverAll,
}

/// A value that `flush_ineligible_site` does not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is neither reject nor deliver-all")]
pub struct UnknownChoice(
    /// The value as written.
    pub String,
);

impl FromStr for IneligibleSite {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<IneligibleSite, UnknownChoice> {
        match text {
            "reject" => Ok(IneligibleSite::Reject),
            "deliver-all" => Ok(IneligibleSite::DeliverAll),
            _ => Err(UnknownChoice(text.to_owned())),
        }
    }
}

/// What is to be done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ruling {
    /// What it says.
    Proceed,
    /// Try all queued mail.
    DeliverAll,
    /// Nothing.
    Deny,
}

/// `fast_flush_domains` and `flush_ineligible_site`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Eligibility {
    /// The sites that clients may ask for; an empty list switches that off.
    pub domains: DomainList,
    /// What they get for asking for another one.
    pub ineligible_site: IneligibleSite,
}

impl Eligibility {
    /// Whether the site has a log and may be asked for by clients.
    pub fn covers(&self, site: &str) -> bool {
        self.domains.matches(site)
    }

    /// What is to be done with a request. Clients and users may ask for sites and nothing else.
    pub fn judge(&self, authority: Authority, request: &Request) -> Ruling {
        match (authority, request) {
            (_, Request::Add { site, .. }) if !self.covers(site) => Ruling::Deny,
            (Authority::Operator, _) => Ruling::Proceed,
            (_, Request::SendSite(sites)) if self.covers(&sites.name) => Ruling::Proceed,
            (_, Request::SendSite(_)) => match self.ineligible_site {
                IneligibleSite::Reject => Ruling::Deny,
                IneligibleSite::DeliverAll => Ruling::DeliverAll,
            },
            (Authority::Client | Authority::User, _) => Ruling::Deny,
        }
    }

    /// The sites with waiting mail that the request reaches. A client that asks for subdomains reaches
    /// only those that it could have asked for by name.
    pub fn reached(&self, authority: Authority, sites: &Sites, record: &Record) -> Vec<String> {
        let own = (record.count(&sites.name) > 0).then_some(sites.name.as_str());
        let below = sites.subdomains.then(|| record.subdomains(&sites.name)).into_iter().flatten();
        let allowed = |site: &&str| authority == Authority::Operator || self.covers(site);
        own.into_iter().chain(below).filter(allowed).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::QueueId;

    fn eligibility(ineligible_site: IneligibleSite) -> Eligibility {
        let domains = DomainList::parse(&["!secret.example.com", "example.com"], true).unwrap();
        Eligibility { domains, ineligible_site }
    }

    fn send(site: &str) -> Request {
        Request::SendSite(Sites::parse(site).unwrap())
    }

    #[test]
    fn clients_reach_eligible_sites_and_operators_all() {
        use Authority::{Client, Operator, User};
        let rules = eligibility(IneligibleSite::Reject);
        let add = |site: &str| Request::Add { site: site.to_owned(), id: QueueId::from_u64(1) };
        for (authority, request, ruling) in [
            (Client, send("EXAMPLE.com."), Ruling::Proceed),
            (Client, send("sub.example.com"), Ruling::Proceed),
            (Client, send("secret.example.com"), Ruling::Deny),
            (Client, send("other.net"), Ruling::Deny),
            (Client, Request::Refresh, Ruling::Deny),
            (User, send("sub.example.com"), Ruling::Proceed),
            (User, send("other.net"), Ruling::Deny),
            (User, Request::Purge, Ruling::Deny),
            (Client, Request::SendFile(QueueId::from_u64(1)), Ruling::Deny),
            (Operator, send("other.net"), Ruling::Proceed),
            (Operator, Request::Purge, Ruling::Proceed),
            (Operator, add("other.net"), Ruling::Deny),
            (Operator, add("example.com"), Ruling::Proceed),
        ] {
            assert_eq!(rules.judge(authority, &request), ruling, "{authority:?} {request}");
        }
        let old = eligibility("deliver-all".parse().unwrap());
        assert_eq!(old.judge(Client, &send("other.net")), Ruling::DeliverAll);
        assert_eq!(old.judge(Client, &Request::Purge), Ruling::Deny);
        assert!("deliver_all".parse::<IneligibleSite>().is_err());
    }

    #[test]
    fn an_empty_list_switches_clients_off() {
        let off = Eligibility::default();
        assert_eq!(off.judge(Authority::Client, &send("example.com")), Ruling::Deny);
        assert_eq!(off.judge(Authority::Operator, &send("example.com")), Ruling::Proceed);
    }

    #[test]
    fn asking_for_subdomains_goes_around_no_rule() {
        let mut record = Record::new();
        for site in ["example.com", "a.example.com", "secret.example.com", "other.net"] {
            record.add(site, QueueId::from_u64(3));
        }
        let rules = eligibility(IneligibleSite::Reject);
        let sites = Sites::parse("@example.com").unwrap();
        assert_eq!(rules.reached(Authority::Client, &sites, &record), ["example.com", "a.example.com"]);
        assert_eq!(rules.reached(Authority::Operator, &sites, &record).len(), 3);
        let none = Sites::parse("nothing.example.com").unwrap();
        assert!(rules.reached(Authority::Operator, &none, &record).is_empty());
    }
}
