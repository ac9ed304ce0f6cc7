//! The sending session against the receiving one: what goes in on one side comes out on the other, envelope
//! and content, and every recipient's outcome is what the receiver decided.

use std::sync::Arc;

use mail::{Address, BodyType, Client, Envelope, Notify, Orcpt, Recipient, Reply, Ret, Time, Verdict};
use proptest::prelude::*;
use smtp::client::{self, Content, DotStuffer, SessionOptions, StartTls};
use smtp::server::{self, Settings, Transaction};

/// What the receiver does with a recipient, by the first letter of its name.
fn decision(recipient: &Recipient) -> Option<Reply> {
    match recipient.address.as_str().as_bytes()[0] {
        b'n' => Some(Reply::new(550, "5.1.1".parse().ok(), "no")),
        b'l' => Some(Reply::new(450, "4.2.1".parse().ok(), "later")),
        _ => None,
    }
}

struct Receiver {
    session: server::Session,
    taken: Vec<(Transaction, Vec<u8>)>,
}

impl Receiver {
    fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.feed(bytes);
        loop {
            match self.session.poll() {
                server::Event::NeedInput | server::Event::Close => break,
                server::Event::Hello | server::Event::Mail => self.session.accept(),
                server::Event::Rcpt => match self.session.candidate().and_then(decision) {
                    Some(reply) => self.session.refuse(reply),
                    None => self.session.accept(),
                },
                server::Event::Data => self.session.begin_body(Vec::new()),
                server::Event::Message => {
                    self.taken.extend(self.session.take_message());
                    self.session.finish(&Reply::new(250, "2.0.0".parse().ok(), "taken"));
                }
                _ => {}
            }
        }
        std::mem::take(self.session.output())
    }
}

/// Sends the messages over one connection, in pieces of `cut` bytes both ways; what each side made of it.
fn exchange(
    messages: &[(Arc<Envelope>, Vec<u8>)],
    lmtp: bool,
    cut: usize,
) -> (Vec<client::Ending>, Vec<(Transaction, Vec<u8>)>) {
    let settings = Settings { lmtp, ..Settings::default() };
    let mut receiver = Receiver { session: server::Session::new(Arc::new(settings)), taken: Vec::new() };
    let options =
        SessionOptions { lmtp, hostname: "me.test".into(), start_tls: StartTls::WhenOffered, relay: None };
    let mut sender = client::Session::new(options);
    let mut endings = Vec::new();
    let mut rest = messages.iter();
    let mut current: Option<&(Arc<Envelope>, Vec<u8>)> = None;
    let mut replies = receiver.hear(b"");
    loop {
        replies.chunks(cut).for_each(|piece| sender.receive(piece));
        let mut wire = sender.output().to_vec();
        sender.output_sent();
        while let Some(event) = sender.poll_event() {
            if let client::Event::Finished(ending) = event {
                endings.push(ending);
            } else if event == client::Event::SendContent {
                let (_, content) = current.expect("content belongs to a message");
                let mut stuffer = DotStuffer::new();
                let mut slices = Vec::new();
                content.chunks(cut).for_each(|piece| stuffer.stuff(piece, &mut slices));
                wire.extend(slices.concat());
                wire.extend_from_slice(stuffer.end());
                sender.content_sent();
                continue;
            }
            let Some(next) = rest.next() else { return (endings, receiver.taken) };
            let (envelope, content) = next;
            let all = (0..envelope.recipients.len() as u32).collect();
            let content = Content { size: content.len() as u64, ..Content::default() };
            sender.send(Arc::clone(envelope), all, content);
            current = Some(next);
            wire.extend_from_slice(sender.output());
            sender.output_sent();
        }
        replies = wire.chunks(cut).flat_map(|piece| receiver.hear(piece)).collect();
    }
}

fn recipient() -> impl Strategy<Value = Recipient> {
    let address = prop_oneof![
        "[nlabc][a-z]{0,5}@[a-z]{1,6}\\.test",
        "\"[a-z @.<>,]{0,6}\"@x\\.test",
        Just("jörg@bücher.example".to_owned()),
        Just("a@[192.0.2.1]".to_owned()),
        Just("postmaster".to_owned()),
    ];
    let notify = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(success, failure, delay)| Notify {
        success,
        failure,
        delay,
    });
    let orcpt = "[^\\p{Cc}]{1,12}".prop_map(|address| Orcpt { kind: "rfc822".into(), address });
    (address, prop::option::of(notify), prop::option::of(orcpt)).prop_map(|(address, notify, orcpt)| {
        let address = Address::parse(&address).expect("the patterns make mailboxes");
        Recipient { address, notify, orcpt }
    })
}

fn message() -> impl Strategy<Value = (Arc<Envelope>, Vec<u8>)> {
    let sender = prop::option::of(Just(Address::parse("s@src.test").expect("a mailbox")));
    let ret = prop::option::of(prop::sample::select(vec![Ret::Full, Ret::Headers]));
    let body = prop::sample::select(vec![BodyType::SevenBit, BodyType::EightBitMime]);
    let content = "([a.é]{0,4}\r\n){0,6}[a.é]{0,3}";
    let recipients = prop::collection::vec(recipient(), 1..5);
    (sender, recipients, ret, prop::option::of("[!-~é ]{1,20}"), body, content).prop_map(
        |(sender, recipients, ret, envid, body, content)| {
            let envelope = Envelope {
                sender,
                recipients,
                ret,
                envid,
                body,
                smtputf8: true,
                arrived: Time::ZERO,
                size: content.len() as u64,
                client: Client::default(),
            };
            (Arc::new(envelope), content.into_bytes())
        },
    )
}

proptest! {
    #[test]
    fn envelopes_and_content_arrive_as_they_were_sent(
        messages in prop::collection::vec(message(), 1..4),
        lmtp: bool,
        cut in 1usize..200,
    ) {
        let (endings, taken) = exchange(&messages, lmtp, cut);
        prop_assert_eq!(endings.len(), messages.len());
        let mut taken = taken.into_iter();
        for ((envelope, content), ending) in messages.iter().zip(endings) {
            let accepted: Vec<&Recipient> =
                envelope.recipients.iter().filter(|one| decision(one).is_none()).collect();
            for (one, outcome) in envelope.recipients.iter().zip(&ending.outcomes) {
                let verdict = match decision(one).map(|reply| reply.code) {
                    Some(550) => Verdict::Bounced,
                    Some(_) => Verdict::Deferred,
                    None => Verdict::Sent,
                };
                prop_assert_eq!(outcome.verdict, verdict, "{:?}", outcome);
            }
            if accepted.is_empty() {
                continue;
            }
            let (transaction, got) = taken.next().expect("a message with recipients is taken");
            prop_assert_eq!(&transaction.mail.sender, &envelope.sender);
            prop_assert_eq!(transaction.mail.size, Some(content.len() as u64));
            prop_assert_eq!(transaction.mail.ret, envelope.ret);
            prop_assert_eq!(&transaction.mail.envid, &envelope.envid);
            prop_assert_eq!(transaction.mail.smtputf8, envelope.smtputf8);
            prop_assert_eq!(transaction.mail.body.unwrap_or_default(), envelope.body);
            prop_assert_eq!(transaction.recipients.iter().collect::<Vec<_>>(), accepted);
            let end: &[u8] = if content.is_empty() || content.ends_with(b"\r\n") { b"" } else { b"\r\n" };
            prop_assert_eq!(got, [content.as_slice(), end].concat());
        }
        prop_assert!(taken.next().is_none());
    }
}
