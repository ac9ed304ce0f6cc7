//! The codec against itself, against golden images, and against an independent reader of its layout.

use std::path::PathBuf;

use mail::{
    BodyType, Client, EnhancedStatus, Notify, Orcpt, Protocol, Recipient, Relay, Ret, Scope, Verdict,
};
use proptest::prelude::*;

use super::*;
use crate::{Attempt, Flags, Queue};

fn address(text: &str) -> mail::Address {
    text.parse().expect("an address")
}

/// One of everything.
fn envelope() -> Envelope {
    Envelope {
        sender: Some(address("\"quoted part\"@src.test")),
        recipients: vec![
            Recipient {
                address: address("jörg@bücher.example"),
                orcpt: Some(Orcpt { kind: "utf-8".to_owned(), address: "jörg@bücher.example".to_owned() }),
                notify: Some(Notify { success: true, failure: false, delay: true }),
            },
            Recipient { address: address("postmaster"), orcpt: None, notify: Some(Notify::NEVER) },
            Recipient { address: address("a@[IPv6:2001:db8::1]"), orcpt: None, notify: None },
        ],
        ret: Some(Ret::Headers),
        envid: Some("QQ314159".to_owned()),
        body: BodyType::EightBitMime,
        smtputf8: true,
        arrived: Time::from_millis(1_700_000_000_123),
        size: 4711,
        client: Client {
            address: Some("2001:db8::25".parse().expect("an address")),
            helo: "client.test".to_owned(),
            protocol: Protocol { lmtp: false, extended: true, tls: true, utf8: true },
        },
    }
}

fn summary() -> Summary {
    Summary {
        queue: Queue::Deferred,
        due: Time::NEVER,
        attempts: 3,
        null_sender: false,
        recipients: 3,
        unfinished: 2,
        sites: vec!["xn--bcher-kva.example".to_owned(), "[ipv6:2001:db8::1]".to_owned()],
        flags: Flags { warned: true, site_wait: true, failure_due: true, ..Flags::default() },
    }
}

fn record(position: u32) -> RecipientRecord {
    RecipientRecord {
        position,
        verdict: Verdict::Deferred,
        scope: Scope::Site,
        status: EnhancedStatus::new(4, 4, 1),
        text: "connect to mx.test: connection timed out".into(),
        relay: Some(Arc::new(Relay {
            host: "mx.test".to_owned(),
            address: Some("192.0.2.25".to_owned()),
            port: 25,
        })),
        time: Time::from_millis(1_700_000_100_000),
        attempts: 3,
        reported: false,
        earlier: Vec::new(),
    }
}

/// With everything that a record can hold.
fn full_record(position: u32) -> RecipientRecord {
    let attempt = |time, relay| Attempt {
        time: Time::from_millis(time),
        status: EnhancedStatus::new(4, 2, 2),
        text: "452 4.2.2 mailbox full (in reply to RCPT TO)".into(),
        relay,
    };
    let earlier = vec![attempt(1_700_000_000_200, record(0).relay), attempt(1_700_000_050_000, None)];
    RecipientRecord { verdict: Verdict::Bounced, reported: true, earlier, ..record(position) }
}

fn images() -> [(&'static str, Section); 3] {
    let plain = Envelope {
        sender: None,
        recipients: vec![Recipient { address: address("u@site.test"), orcpt: None, notify: None }],
        ret: None,
        envid: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        client: Client::default(),
        ..envelope()
    };
    [
        ("message-plain", encode_message(&plain, &Summary::default(), &[]).expect("encodes")),
        (
            "message-full",
            encode_message(&envelope(), &summary(), &[full_record(0), record(2)]).expect("encodes"),
        ),
        ("state", encode_state(&summary(), &[record(1)]).expect("encodes")),
    ]
}

/// `POSTRIDER_GOLDEN=write` makes the images anew, which is right only together with a new version.
#[test]
fn the_bytes_are_those_of_version_1() {
    for (name, section) in images() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/spool-v1").join(name);
        if std::env::var("POSTRIDER_GOLDEN").is_ok_and(|word| word == "write") {
            std::fs::write(&path, &section.bytes).expect("written");
        }
        let golden = std::fs::read(&path).expect("the golden image");
        assert_eq!(section.bytes, golden, "{name}");
    }
}

#[test]
fn values_survive() {
    let [_, (_, message), (_, state)] = images();
    let decoded = decode_message(&message.bytes).expect("decodes");
    assert_eq!((&*decoded.envelope, &decoded.summary), (&envelope(), &summary()));
    assert_eq!(decoded.recipients, [full_record(0), record(2)]);
    let decoded = decode_state(&state.bytes).expect("decodes");
    assert_eq!((decoded.summary, decoded.recipients), (summary(), vec![record(1)]));
    let known = decode_summary(summary_of(&message.bytes).expect("a summary")).expect("decodes");
    assert_eq!((known.arrived, known.size), (envelope().arrived, 4711));
}

#[test]
fn reasons_are_cut_at_their_limit_on_a_character() {
    let long = RecipientRecord { text: format!("x{}", "é".repeat(1000)).into(), ..record(0) };
    let section = encode_state(&summary(), &[long]).expect("encodes");
    let decoded = decode_state(&section.bytes).expect("decodes");
    assert_eq!(decoded.recipients[0].text.len(), mail::limits::REASON_BYTES_MAX - 1);
}

#[test]
fn a_record_of_many_recipients_remembers_less_of_each() {
    for (count, kept) in [(10_000, 2), (20_000, 1), (20_001, 0)] {
        let records: Vec<_> = (0..count).map(full_record).collect();
        let decoded = decode_state(&encode_state(&summary(), &records).expect("encodes").bytes);
        let last = decoded.expect("decodes").recipients.pop().expect("a record");
        assert_eq!(last.earlier, full_record(0).earlier[2 - kept..], "{count}");
    }
}

#[test]
fn what_is_no_section_is_refused() {
    let [_, (_, message), _] = images();
    let bytes = message.bytes;
    for end in 0..bytes.len() {
        assert!(decode_message(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(decode_message(&longer), Err(CodecError::Trailing(1)));
    let mut version = bytes.clone();
    version[4] = 9;
    assert_eq!(decode_message(&version), Err(CodecError::Version(9)));
    // A length of a tebibyte must be refused, not allocated.
    let list = bytes.len() - 8 - 2 * 100;
    for place in list..bytes.len() - 8 {
        let mut huge = bytes.clone();
        huge[place..place + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
        let _ = decode_message(&huge);
    }
}

/// The other library reads and writes the same layout.
fn same_bytes<'b, T>(bytes: &'b [u8])
where
    T: bincode::Encode + bincode::BorrowDecode<'b, ()> + std::fmt::Debug + PartialEq,
    T: wincode::SchemaWrite<wincode::config::DefaultConfig, Src = T>,
    T: wincode::SchemaRead<'b, wincode::config::DefaultConfig, Dst = T>,
{
    let ours: T = decode(bytes).expect("decodes");
    assert_eq!(wincode::serialize(&ours).expect("serialises"), bytes);
    assert_eq!(wincode::deserialize::<T>(bytes).expect("deserialises"), ours);
}

fn compare(section: &Section, message: bool) {
    let (summary, rest) = split(&section.bytes).expect("two parts");
    same_bytes::<SummaryImage<'_>>(summary);
    if message { same_bytes::<MessageImage<'_>>(rest) } else { same_bytes::<StateImage<'_>>(rest) }
}

#[test]
fn another_library_agrees_on_the_golden_images() {
    let [(_, plain), (_, full), (_, state)] = images();
    compare(&plain, true);
    compare(&full, true);
    compare(&state, false);
}

proptest! {
    #[test]
    fn another_library_agrees(
        sites in proptest::collection::vec("[a-z]{1,8}\\.test", 0..4),
        numbers in any::<(i64, u32, u32, u32)>(),
        flags in any::<[bool; 7]>(),
        text in "\\PC{0,40}",
        positions in proptest::collection::vec(any::<u32>(), 0..4),
    ) {
        let summary = Summary {
            queue: Queue::Hold,
            due: Time::from_millis(numbers.0),
            attempts: numbers.1,
            recipients: numbers.2,
            unfinished: numbers.3,
            sites,
            null_sender: flags[0],
            flags: Flags {
                force_expire: flags[1],
                warned: flags[2],
                site_wait: flags[3],
                failure_due: flags[4],
                success_due: flags[5],
                deleted: flags[6],
            },
        };
        let text: Arc<str> = text.into();
        let record = |&position: &u32| RecipientRecord { text: text.clone(), ..record(position) };
        let records: Vec<_> = positions.iter().map(record).collect();
        let state = encode_state(&summary, &records).expect("encodes");
        compare(&state, false);
        let decoded = decode_state(&state.bytes).expect("decodes");
        prop_assert_eq!((&decoded.summary, &decoded.recipients), (&summary, &records));
        compare(&encode_message(&envelope(), &summary, &records).expect("encodes"), true);
    }

    #[test]
    fn decoding_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        place in 0usize..600,
        byte: u8,
    ) {
        let _ = (decode_message(&bytes), decode_state(&bytes), decode_summary(&bytes));
        let [_, (_, mut message), _] = images();
        let place = place % message.bytes.len();
        message.bytes[place] = byte;
        let _ = decode_message(&message.bytes);
    }
}
