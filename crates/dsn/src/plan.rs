//! Who is told: the sender, a postmaster, or nobody (RFC 3461 6.2, RFC 5321 6.1, `notify_classes`).
//!
//! Promises: a report never answers a report (the null sender), and what was sent to a postmaster from
//! `double_bounce_sender` is never reported on again; a recipient with NOTIFY=NEVER is in no report to
//! the sender; content is returned to the sender as RET asks and to a postmaster sparingly.

use mail::{Address, Envelope, Notify, Recipient, Ret};

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Delivery was given up.
    Failure,
    /// Delivery takes long.
    Delay,
    /// A delay that was reported is over (`confirm_delay_cleared`).
    DelayCleared,
    /// Delivered or relayed, as NOTIFY=SUCCESS asks.
    Success,
    /// The answer to a delivery check.
    Verify,
}

/// A class of `notify_classes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum NotifyClass {
    /// `bounce`: copies of failure reports, headers only; also [`NotifyClass::SecondBounce`].
    Bounce,
    /// `2bounce`: failure of a message from the null sender.
    SecondBounce,
    /// `data`: a session lost or refused while the content was passing.
    Data,
    /// `delay`: copies of delay reports.
    Delay,
    /// `policy`: a request that was refused by rule.
    Policy,
    /// `protocol`: a command out of place, malformed or unknown.
    Protocol,
    /// `resource`: mail not accepted or delivered for want of something of ours.
    Resource,
    /// `software`: mail not accepted or delivered because of a fault of ours.
    Software,
}

impl NotifyClass {
    const ALL: [(&'static str, NotifyClass); 8] = [
        ("bounce", NotifyClass::Bounce),
        ("2bounce", NotifyClass::SecondBounce),
        ("data", NotifyClass::Data),
        ("delay", NotifyClass::Delay),
        ("policy", NotifyClass::Policy),
        ("protocol", NotifyClass::Protocol),
        ("resource", NotifyClass::Resource),
        ("software", NotifyClass::Software),
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A word that is no class.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown class {0:?}: bounce, 2bounce, data, delay, policy, protocol, resource or software")]
pub struct UnknownClass(
    /// The word as written.
    pub String,
);

/// `notify_classes`: what postmasters want to hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct NotifyClasses(u8);

impl NotifyClasses {
    /// No class at all.
    pub const NONE: NotifyClasses = NotifyClasses(0);

    /// Reads class names separated by commas or blanks. `bounce` implies `2bounce`.
    pub fn parse(text: &str) -> Result<NotifyClasses, UnknownClass> {
        let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
        words
            .map(NotifyClasses::parse_one)
            .try_fold(NotifyClasses::NONE, |all, one| Ok(NotifyClasses(all.0 | one?)))
    }

    fn parse_one(word: &str) -> Result<u8, UnknownClass> {
        let found = NotifyClass::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        match found {
            Some((_, NotifyClass::Bounce)) => Ok(NotifyClass::Bounce.bit() | NotifyClass::SecondBounce.bit()),
            Some((_, class)) => Ok(class.bit()),
            None => Err(UnknownClass(word.to_owned())),
        }
    }

    /// Whether the class is among them.
    pub const fn contain(self, class: NotifyClass) -> bool {
        self.0 & class.bit() != 0
    }
}

impl Default for NotifyClasses {
    /// `resource, software`.
    fn default() -> NotifyClasses {
        NotifyClasses(NotifyClass::Resource.bit() | NotifyClass::Software.bit())
    }
}

/// The settings that say who besides the sender is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notices {
    /// `notify_classes`.
    pub classes: NotifyClasses,
    /// `double_bounce_sender`, completed with a domain of ours: the sender of everything to postmasters.
    pub double_bounce_sender: Address,
    /// `bounce_notice_recipient`.
    pub bounce_notice_recipient: Address,
    /// `2bounce_notice_recipient`.
    pub second_bounce_notice_recipient: Address,
    /// `delay_notice_recipient`.
    pub delay_notice_recipient: Address,
    /// `error_notice_recipient`, for the classes that are not about one message.
    pub error_notice_recipient: Address,
}

/// For whom a report is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Audience {
    /// The sender of the message.
    Sender,
    /// Whoever looks after the mail system.
    Postmaster,
}

/// One report that has to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// For whom it is written.
    pub audience: Audience,
    /// The report's envelope sender; nothing is the null sender.
    pub from: Option<Address>,
    /// The report's recipient.
    pub to: Address,
    /// Positions of the recipients to report on.
    pub recipients: Vec<u32>,
    /// What of the original it returns, if `bounce_size_limit` permits.
    pub returned: Ret,
}

/// Why nobody is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Silence {
    /// No recipient's NOTIFY asks for it.
    NotAsked,
    /// The sender is null, and `notify_classes` does not ask for it.
    NullSender,
    /// The message was itself for a postmaster (`undeliverable postmaster notification discarded`).
    PostmasterNotice,
}

/// What is to be done about some recipients of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Write these; at most one to the sender and one to a postmaster.
    Reports(Vec<Planned>),
    /// Tell nobody and go on as if told.
    Silent(Silence),
}

impl Notices {
    /// Who is told of something of this class that is not about one message (a session that went
    /// wrong, a record that was damaged), if anybody.
    pub fn recipient(&self, class: NotifyClass) -> Option<&Address> {
        let to = match class {
            NotifyClass::Bounce => &self.bounce_notice_recipient,
            NotifyClass::SecondBounce => &self.second_bounce_notice_recipient,
            NotifyClass::Delay => &self.delay_notice_recipient,
            NotifyClass::Data
            | NotifyClass::Policy
            | NotifyClass::Protocol
            | NotifyClass::Resource
            | NotifyClass::Software => &self.error_notice_recipient,
        };
        self.classes.contain(class).then_some(to)
    }

    /// Decides who is told that `kind` happened to the recipients at `positions`. Positions outside
    /// the envelope are passed over.
    pub fn plan(&self, kind: Kind, envelope: &Envelope, positions: &[u32]) -> Plan {
        let known = |position: &u32| envelope.recipients.get(*position as usize).map(|r| (*position, r));
        let concerned: Vec<(u32, &Recipient)> = positions.iter().filter_map(known).collect();
        let Some(sender) = &envelope.sender else { return self.plan_for_null_sender(kind, &concerned) };
        if same_mailbox(sender, &self.double_bounce_sender) {
            return Plan::Silent(Silence::PostmasterNotice);
        }
        let asked: Vec<u32> =
            concerned.iter().filter(|(_, r)| wants(kind, r.notify)).map(|(position, _)| *position).collect();
        let mut reports = Vec::new();
        if !asked.is_empty() {
            let returned =
                if kind == Kind::Failure { envelope.ret.unwrap_or(Ret::Full) } else { Ret::Headers };
            let to = sender.clone();
            reports.push(Planned { audience: Audience::Sender, from: None, to, recipients: asked, returned });
        }
        reports.extend(self.copy(kind, &concerned));
        if reports.is_empty() { Plan::Silent(Silence::NotAsked) } else { Plan::Reports(reports) }
    }

    fn plan_for_null_sender(&self, kind: Kind, concerned: &[(u32, &Recipient)]) -> Plan {
        let report = match kind {
            Kind::Failure if self.classes.contain(NotifyClass::SecondBounce) => {
                self.to_postmaster(&self.second_bounce_notice_recipient, concerned, Ret::Full)
            }
            Kind::Delay => self.copy(kind, concerned),
            _ => None,
        };
        report.map_or(Plan::Silent(Silence::NullSender), |report| Plan::Reports(vec![report]))
    }

    /// The postmaster's copy of a report. NOTIFY binds reports to the sender only.
    fn copy(&self, kind: Kind, concerned: &[(u32, &Recipient)]) -> Option<Planned> {
        let (class, to) = match kind {
            Kind::Failure => (NotifyClass::Bounce, &self.bounce_notice_recipient),
            Kind::Delay => (NotifyClass::Delay, &self.delay_notice_recipient),
            Kind::DelayCleared | Kind::Success | Kind::Verify => return None,
        };
        if self.classes.contain(class) { self.to_postmaster(to, concerned, Ret::Headers) } else { None }
    }

    fn to_postmaster(&self, to: &Address, concerned: &[(u32, &Recipient)], returned: Ret) -> Option<Planned> {
        let recipients: Vec<u32> = concerned.iter().map(|(position, _)| *position).collect();
        (!recipients.is_empty()).then(|| Planned {
            audience: Audience::Postmaster,
            from: Some(self.double_bounce_sender.clone()),
            to: to.clone(),
            recipients,
            returned,
        })
    }
}

/// Whether a recipient's NOTIFY lets the sender be told (RFC 3461 4.1 and 6.2; without NOTIFY
/// failures and delays are reported, successes are not).
fn wants(kind: Kind, notify: Option<Notify>) -> bool {
    match kind {
        Kind::Failure => notify.is_none_or(|notify| notify.failure),
        Kind::Delay | Kind::DelayCleared => notify.is_none_or(|notify| notify.delay),
        Kind::Success => notify.is_some_and(|notify| notify.success),
        Kind::Verify => true,
    }
}

fn same_mailbox(a: &Address, b: &Address) -> bool {
    a.local_part().eq_ignore_ascii_case(b.local_part()) && a.site() == b.site()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{BodyType, Client, Time};

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn notices(classes: &str) -> Notices {
        Notices {
            classes: NotifyClasses::parse(classes).unwrap(),
            double_bounce_sender: address("double-bounce@mail.test"),
            bounce_notice_recipient: address("bounces@mail.test"),
            second_bounce_notice_recipient: address("2bounces@mail.test"),
            delay_notice_recipient: address("delays@mail.test"),
            error_notice_recipient: address("errors@mail.test"),
        }
    }

    /// One recipient for each value of NOTIFY.
    fn envelope(sender: Option<&str>, notify: &[Option<&str>]) -> Envelope {
        let recipient = |notify: &Option<&str>| Recipient {
            address: address("u@x.test"),
            orcpt: None,
            notify: notify.map(|value| Notify::parse(value).unwrap()),
        };
        Envelope {
            sender: sender.map(address),
            recipients: notify.iter().map(recipient).collect(),
            ret: None,
            envid: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            arrived: Time::ZERO,
            size: 0,
            client: Client::default(),
        }
    }

    /// `to: positions` of each report.
    fn told(plan: &Plan) -> Vec<String> {
        let Plan::Reports(reports) = plan else { return vec![format!("{plan:?}")] };
        reports
            .iter()
            .map(|r| {
                let from = r.from.as_ref().map_or("<>", Address::as_str);
                format!("{from} {} {:?} {}", r.to, r.recipients, r.returned)
            })
            .collect()
    }

    const EVERY_NOTIFY: [Option<&str>; 5] =
        [None, Some("NEVER"), Some("FAILURE"), Some("DELAY"), Some("SUCCESS")];

    #[test]
    fn the_sender_hears_what_notify_asks_for() {
        let notices = notices("");
        let envelope = envelope(Some("s@src.test"), &EVERY_NOTIFY);
        for (kind, expected) in [
            (Kind::Failure, "<> s@src.test [0, 2] FULL"),
            (Kind::Delay, "<> s@src.test [0, 3] HDRS"),
            (Kind::DelayCleared, "<> s@src.test [0, 3] HDRS"),
            (Kind::Success, "<> s@src.test [4] HDRS"),
            (Kind::Verify, "<> s@src.test [0, 1, 2, 3, 4] HDRS"),
        ] {
            assert_eq!(told(&notices.plan(kind, &envelope, &[0, 1, 2, 3, 4, 9])), [expected], "{kind:?}");
        }
        let only_never = notices.plan(Kind::Failure, &envelope, &[1]);
        assert_eq!(only_never, Plan::Silent(Silence::NotAsked));
        let headers = Envelope { ret: Some(Ret::Headers), ..envelope };
        assert_eq!(told(&notices.plan(Kind::Failure, &headers, &[0])), ["<> s@src.test [0] HDRS"]);
    }

    #[test]
    fn postmasters_hear_what_their_classes_name() {
        let both = notices("bounce, delay");
        let normal = envelope(Some("s@src.test"), &EVERY_NOTIFY);
        assert_eq!(
            told(&both.plan(Kind::Failure, &normal, &[1, 2])),
            ["<> s@src.test [2] FULL", "double-bounce@mail.test bounces@mail.test [1, 2] HDRS"]
        );
        assert_eq!(
            told(&both.plan(Kind::Delay, &normal, &[1])),
            ["double-bounce@mail.test delays@mail.test [1] HDRS"]
        );
        assert_eq!(told(&both.plan(Kind::Success, &normal, &[4])), ["<> s@src.test [4] HDRS"]);
    }

    #[test]
    fn there_is_no_report_about_a_report() {
        let report = envelope(None, &[None]);
        for (classes, kind, expected) in [
            ("", Kind::Failure, "Silent(NullSender)"),
            ("delay", Kind::Failure, "Silent(NullSender)"),
            ("2bounce", Kind::Failure, "double-bounce@mail.test 2bounces@mail.test [0] FULL"),
            ("bounce", Kind::Failure, "double-bounce@mail.test 2bounces@mail.test [0] FULL"),
            ("bounce", Kind::Delay, "Silent(NullSender)"),
            ("delay", Kind::Delay, "double-bounce@mail.test delays@mail.test [0] HDRS"),
            ("bounce delay", Kind::Success, "Silent(NullSender)"),
        ] {
            assert_eq!(told(&notices(classes).plan(kind, &report, &[0])), [expected], "{classes} {kind:?}");
        }
        let notice = envelope(Some("Double-Bounce@MAIL.test"), &[None]);
        let everything = notices("bounce 2bounce delay");
        for kind in [Kind::Failure, Kind::Delay, Kind::Success] {
            assert_eq!(everything.plan(kind, &notice, &[0]), Plan::Silent(Silence::PostmasterNotice));
        }
    }

    #[test]
    fn errors_go_to_whoever_wants_their_class() {
        let notices = notices("bounce, policy");
        let to = |class| notices.recipient(class).map(Address::as_str);
        assert_eq!(to(NotifyClass::Policy), Some("errors@mail.test"));
        assert_eq!(to(NotifyClass::SecondBounce), Some("2bounces@mail.test"));
        assert_eq!(to(NotifyClass::Bounce), Some("bounces@mail.test"));
        assert_eq!((to(NotifyClass::Software), to(NotifyClass::Delay)), (None, None));
    }

    #[test]
    fn classes_are_read_strictly() {
        let classes = NotifyClasses::parse("Bounce,policy  data").unwrap();
        for (class, expected) in [
            (NotifyClass::Bounce, true),
            (NotifyClass::SecondBounce, true),
            (NotifyClass::Policy, true),
            (NotifyClass::Data, true),
            (NotifyClass::Software, false),
        ] {
            assert_eq!(classes.contain(class), expected, "{class:?}");
        }
        assert_eq!(NotifyClasses::parse("resource, software"), Ok(NotifyClasses::default()));
        assert_eq!(NotifyClasses::parse("bounces"), Err(UnknownClass("bounces".to_owned())));
    }
}
