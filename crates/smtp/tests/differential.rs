//! Commands and content against an independent parser, smtp-proto, where that one is known to be right:
//! no quoted local parts, no address literals, no `<postmaster>`, no ORCPT but `rfc822`, no content that
//! begins with a dot.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use mail::{BodyType, Notify, Orcpt, Recipient, Ret};
use proptest::prelude::*;
use smtp::command::{Command, EtrnNode, MailFrom};
use smtp::data::{ContentLimits, ContentReader};
use smtp_proto::request::receiver::DataReceiver;
use smtp_proto::{
    MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_RET_FULL, MAIL_RET_HDRS, MAIL_SMTPUTF8, RCPT_NOTIFY_DELAY,
    RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_NEVER, RCPT_NOTIFY_SUCCESS, Request,
};

/// What the other parser says, in our words.
fn theirs(line: &str) -> Command {
    let line = format!("{line}\r\n");
    let request = Request::parse(&mut line.as_bytes().iter()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
    match request {
        Request::Ehlo { host } => Command::Ehlo(host.into_owned()),
        Request::Helo { host } => Command::Helo(host.into_owned()),
        Request::Lhlo { host } => Command::Lhlo(host.into_owned()),
        Request::Mail { from } => {
            let flag = |bit: u64| from.flags & bit != 0;
            Command::Mail(MailFrom {
                sender: (!from.address.is_empty()).then(|| from.address.parse().unwrap()),
                size: (from.size > 0).then_some(from.size as u64),
                body: match (flag(MAIL_BODY_7BIT), flag(MAIL_BODY_8BITMIME)) {
                    (true, _) => Some(BodyType::SevenBit),
                    (_, true) => Some(BodyType::EightBitMime),
                    _ => None,
                },
                smtputf8: flag(MAIL_SMTPUTF8),
                ret: match (flag(MAIL_RET_FULL), flag(MAIL_RET_HDRS)) {
                    (true, _) => Some(Ret::Full),
                    (_, true) => Some(Ret::Headers),
                    _ => None,
                },
                envid: from.env_id.map(|envid| envid.into_owned()),
            })
        }
        Request::Rcpt { to } => {
            let flag = |bit: u64| to.flags & bit != 0;
            let notify = Notify {
                success: flag(RCPT_NOTIFY_SUCCESS),
                failure: flag(RCPT_NOTIFY_FAILURE),
                delay: flag(RCPT_NOTIFY_DELAY),
            };
            let given = flag(RCPT_NOTIFY_NEVER) || notify != Notify::NEVER;
            let orcpt =
                to.orcpt.map(|address| Orcpt { kind: "rfc822".into(), address: address.into_owned() });
            let address = to.address.parse().unwrap();
            Command::Rcpt(Recipient { address, orcpt, notify: given.then_some(notify) })
        }
        Request::Bdat { chunk_size, is_last } => Command::Bdat { bytes: chunk_size as u64, last: is_last },
        Request::Etrn { name } => Command::Etrn(EtrnNode::Domain(name.into_owned())),
        Request::Data => Command::Data,
        Request::Rset => Command::Rset,
        Request::Quit => Command::Quit,
        Request::StartTls => Command::StartTls,
        other => panic!("{line}: {other:?}"),
    }
}

fn path() -> impl Strategy<Value = String> {
    "[a-z0-9!#$%&'*/?^_`{|}~-]{1,10}(\\.[a-z]{1,4})?@[a-z][a-z0-9]{0,6}(\\.[a-z]{2,4}){0,2}"
}

fn line() -> impl Strategy<Value = String> {
    let envid = prop::option::of("[!-*,-<>-~]{1,20}");
    let mail = (path(), prop::option::of(1u32..), 0usize..3, any::<bool>(), 0usize..3, envid).prop_map(
        |(path, size, body, smtputf8, ret, envid)| {
            let mut line = format!("MAIL FROM:<{path}>");
            line.push_str(&size.map_or(String::new(), |size| format!(" SIZE={size}")));
            line.push_str(["", " BODY=7BIT", " BODY=8BITMIME"][body]);
            line.push_str(if smtputf8 { " SMTPUTF8" } else { "" });
            line.push_str(["", " RET=FULL", " RET=HDRS"][ret]);
            line.push_str(&envid.map_or(String::new(), |envid| format!(" ENVID={envid}")));
            line
        },
    );
    let notify = prop::sample::select(vec![
        "",
        " NOTIFY=NEVER",
        " NOTIFY=SUCCESS",
        " NOTIFY=FAILURE,DELAY",
        " NOTIFY=SUCCESS,FAILURE,DELAY",
    ]);
    let rcpt = (path(), notify, prop::option::of("[a-z]{1,8}(\\+2B|\\+3D)?@[a-z]{1,8}")).prop_map(
        |(path, notify, orcpt)| {
            let orcpt = orcpt.map_or(String::new(), |address| format!(" ORCPT=rfc822;{address}"));
            format!("RCPT TO:<{path}>{notify}{orcpt}")
        },
    );
    let plain = prop::sample::select(vec!["DATA", "RSET", "QUIT", "STARTTLS", "MAIL FROM:<>"]);
    prop_oneof![
        4 => mail,
        4 => rcpt,
        1 => plain.prop_map(String::from),
        1 => "(EHLO|HELO|LHLO|ETRN) [a-z0-9.-]{1,20}",
        1 => "BDAT [1-9][0-9]{0,8}( LAST)?",
    ]
}

proptest! {
    #[test]
    fn commands_mean_the_same(line in line()) {
        let ours = Command::parse(line.as_bytes());
        prop_assert_eq!(ours, Ok(theirs(&line)), "{}", line);
    }

    #[test]
    fn content_is_the_same(lines in prop::collection::vec("[a.]{0,4}", 1..8), pieces in 1usize..9) {
        let stuffed: Vec<String> =
            lines.iter().map(|l| if l.starts_with('.') { format!(".{l}") } else { l.clone() }).collect();
        let text = format!("x\r\n{}\r\n.\r\n", stuffed.join("\r\n"));
        let mut content = Vec::new();
        let mut reader = ContentReader::dotted(ContentLimits { bytes: 1 << 20, hops: 10 });
        let mut arriving = text.as_bytes().chunks(pieces);
        let ended = arriving.any(|piece| reader.read(piece, &mut content).ended);
        let mut other = Vec::new();
        let mut receiver = DataReceiver::new();
        let mut arriving = text.as_bytes().chunks(pieces);
        let other_ended = arriving.any(|piece| receiver.ingest(&mut piece.iter(), &mut other));
        prop_assert!(ended && other_ended);
        prop_assert_eq!(String::from_utf8(content), String::from_utf8(other));
    }
}
