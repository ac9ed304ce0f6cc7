//! Addresses, domains and what is built from them: what is accepted is what was written, names one site
//! however it is spelled, and survives a trip through the commands that carry it.

use mail::{Address, DomainList, site_of_domain};
use smtp::command::Command;

/// See the module head.
pub fn address(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    site(text);
    if let Ok(list) = DomainList::parse(&text.split(' ').collect::<Vec<_>>(), true) {
        list.matches("a.test");
    }
    let Ok(address) = Address::parse(text) else { return };
    assert_eq!(address.as_str(), text);
    assert_eq!(Address::parse(address.as_str()), Ok(address.clone()));
    match (address.domain(), address.site()) {
        (Some(domain), Some(of_address)) => {
            assert_eq!(format!("{}@{domain}", address.local_part()), text);
            assert_eq!(site_of_domain(domain), Ok(of_address.clone()));
            assert_eq!(address.literal().is_some(), of_address.starts_with('['));
        }
        (None, None) => assert!(text.eq_ignore_ascii_case("postmaster")),
        other => panic!("domain and site: {other:?}"),
    }
    assert!(address.unquoted_local_part().len() <= address.local_part().len());
    for line in [format!("MAIL FROM:<{text}>"), format!("RCPT TO:<{text}> NOTIFY=NEVER")] {
        let carried = match Command::parse(line.as_bytes()) {
            Ok(Command::Mail(mail)) => mail.sender,
            Ok(Command::Rcpt(recipient)) => Some(recipient.address),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(carried, Some(address.clone()), "{line}");
    }
}

/// A site is a domain of its own, and its own site.
fn site(text: &str) {
    let Ok(site) = site_of_domain(text) else { return };
    assert_eq!(site_of_domain(&site), Ok(site.clone()));
    assert_eq!(site_of_domain(&site.to_ascii_uppercase()), Ok(site.clone()));
    assert!(
        site.is_ascii() && !site.contains(|c: char| c.is_ascii_uppercase() || c.is_control() || c == ' ')
    );
}
