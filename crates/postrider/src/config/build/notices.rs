//! `[bounce]`: who is told what, and in which words.
//!
//! Promises: every address is complete. Refuses: to read the file of the texts; whoever makes reports does.

use std::path::PathBuf;

use dsn::NotifyClasses;
use mail::Address;

use super::Builder;
use crate::config::settings::Bounce;

const SECTION: &str = "bounce";

impl Builder<'_> {
    /// Reads the section; addresses without a domain are at `hostname`.
    pub(super) fn bounce(&mut self, hostname: &str) -> Bounce {
        let classes = self.words(SECTION, "notify_classes").join(" ");
        let notify_classes = NotifyClasses::parse(&classes).unwrap_or_else(|error| {
            self.problem(SECTION, "notify_classes", error);
            NotifyClasses::default()
        });
        Bounce {
            notify_classes,
            bounce_notice_recipient: self.mailbox("bounce_notice_recipient", hostname),
            second_bounce_notice_recipient: self.mailbox("2bounce_notice_recipient", hostname),
            delay_notice_recipient: self.mailbox("delay_notice_recipient", hostname),
            error_notice_recipient: self.mailbox("error_notice_recipient", hostname),
            bounce_size_limit: self.size(SECTION, "bounce_size_limit"),
            bounce_template_file: self.optional(SECTION, "bounce_template_file").map(PathBuf::from),
        }
    }

    fn mailbox(&mut self, name: &str, hostname: &str) -> Address {
        let written = self.text(SECTION, name);
        let at = |host: &str| format!("{written}@{host}").parse::<Address>();
        let address = if written.contains('@') { written.parse() } else { at("localhost") };
        match address {
            // A bad host name is a problem of its own.
            Ok(address) if !written.contains('@') => at(hostname).unwrap_or(address),
            Ok(address) => address,
            Err(error) => {
                self.problem(SECTION, name, format!("\"{written}\": {error}"));
                "postmaster".parse().expect("RFC 5321 knows it without a domain")
            }
        }
    }
}
