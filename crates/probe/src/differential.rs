//! Commands, content and replies against an independent parser, smtp-proto: what both take means the same.
//! The first byte chooses which of the three.
//!
//! Left out, because that parser is known to differ there: whatever is quoted, address literals, source
//! routes and `<postmaster>`; content that begins with a dot, or holds a CR or LF on its own (it ends at
//! dot CR CR LF, which RFC 5321 4.1.1.4 does not); replies whose lines differ in their codes.

use mail::{BodyType, Notify, Ret};
use smtp::command::{Command, EtrnNode, MailFrom};
use smtp::data::{ContentLimits, ContentReader};
use smtp::reply::ReplyReader;
use smtp_proto::request::receiver::DataReceiver;
use smtp_proto::response::parser::ResponseReceiver;
use smtp_proto::{
    MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_RET_FULL, MAIL_RET_HDRS, MAIL_SMTPUTF8, RCPT_NOTIFY_DELAY,
    RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_SUCCESS, Request,
};

/// See the module head.
pub fn differential(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    match choice % 3 {
        0 => line(input),
        1 => content(input),
        _ => reply(input),
    }
}

fn line(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(ours) = Command::parse(input) else { return };
    let wire = format!("{text}\r\n");
    let Ok(theirs) = Request::parse(&mut wire.as_bytes().iter()) else { return };
    match (ours, theirs) {
        (Command::Mail(mail), Request::Mail { from }) => {
            if is_mailbox(mail.sender_text()) && !text.contains("<@") {
                assert_eq!(mail.sender_text(), from.address, "{text}");
            }
            parameters_of_mail(&mail, &from, text);
        }
        (Command::Rcpt(recipient), Request::Rcpt { to }) => {
            if is_mailbox(recipient.address.as_str()) && !text.contains("<@") {
                assert_eq!(recipient.address.as_str(), to.address, "{text}");
            }
            let flag = |bit: u64| to.flags & bit != 0;
            let theirs = Notify {
                success: flag(RCPT_NOTIFY_SUCCESS),
                failure: flag(RCPT_NOTIFY_FAILURE),
                delay: flag(RCPT_NOTIFY_DELAY),
            };
            assert_eq!(recipient.notify.unwrap_or(Notify::NEVER), theirs, "{text}");
        }
        (Command::Ehlo(ours), Request::Ehlo { host })
        | (Command::Helo(ours), Request::Helo { host })
        | (Command::Lhlo(ours), Request::Lhlo { host })
        | (Command::Etrn(EtrnNode::Domain(ours)), Request::Etrn { name: host }) => {
            // We drop white space at the end of a line; it is not part of any name.
            if is_plain(&ours) {
                assert_eq!(ours, host.trim_end_matches([' ', '\t']), "{text}");
            }
        }
        (Command::Bdat { bytes, last }, Request::Bdat { chunk_size, is_last }) => {
            assert_eq!((bytes, last), (chunk_size as u64, is_last), "{text}");
        }
        (ours, theirs) => assert_eq!(ours.verb().name(), verb_of(&theirs), "{text}"),
    }
}

/// Whether it holds nothing that the other parser takes for quotes or for an address literal.
fn is_plain(word: &str) -> bool {
    !word.contains(['"', '[', '\\'])
}

fn is_mailbox(word: &str) -> bool {
    is_plain(word) && (word.is_empty() || word.contains('@'))
}

fn parameters_of_mail(ours: &MailFrom, theirs: &smtp_proto::MailFrom<std::borrow::Cow<'_, str>>, text: &str) {
    let flag = |bit: u64| theirs.flags & bit != 0;
    assert_eq!(ours.size.unwrap_or(0), theirs.size as u64, "{text}");
    assert_eq!(ours.body == Some(BodyType::SevenBit), flag(MAIL_BODY_7BIT), "{text}");
    assert_eq!(ours.body == Some(BodyType::EightBitMime), flag(MAIL_BODY_8BITMIME), "{text}");
    assert_eq!(ours.smtputf8, flag(MAIL_SMTPUTF8), "{text}");
    assert_eq!(ours.ret == Some(Ret::Full), flag(MAIL_RET_FULL), "{text}");
    assert_eq!(ours.ret == Some(Ret::Headers), flag(MAIL_RET_HDRS), "{text}");
}

fn verb_of(request: &Request<std::borrow::Cow<'_, str>>) -> &'static str {
    match request {
        Request::Ehlo { .. } => "EHLO",
        Request::Helo { .. } => "HELO",
        Request::Lhlo { .. } => "LHLO",
        Request::Mail { .. } => "MAIL",
        Request::Rcpt { .. } => "RCPT",
        Request::Bdat { .. } => "BDAT",
        Request::Auth { .. } => "AUTH",
        Request::Noop { .. } => "NOOP",
        Request::Vrfy { .. } => "VRFY",
        Request::Expn { .. } => "EXPN",
        Request::Help { .. } => "HELP",
        Request::Etrn { .. } => "ETRN",
        Request::Data => "DATA",
        Request::Rset => "RSET",
        Request::Quit => "QUIT",
        Request::StartTls => "STARTTLS",
        _ => "none of ours",
    }
}

fn content(input: &[u8]) {
    let text = [b"x\r\n", input].concat();
    let mut ours = Vec::new();
    let mut reader = ContentReader::dotted(ContentLimits { bytes: 1 << 20, hops: u32::MAX });
    let progress = reader.read(&text, &mut ours);
    if reader.fault().is_some() || !progress.ended {
        return;
    }
    let (mut theirs, mut rest) = (Vec::new(), text.iter());
    assert!(DataReceiver::new().ingest(&mut rest, &mut theirs));
    assert_eq!(text.len() - rest.len(), progress.consumed);
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
}

fn reply(input: &[u8]) {
    let mut rest = input;
    let Ok(Some(ours)) = ReplyReader::new().read(&mut rest) else { return };
    let taken = &input[..input.len() - rest.len()];
    let codes: Vec<_> = taken.split(|&byte| byte == b'\n').filter_map(|line| line.get(..3)).collect();
    if taken.len() > 4000 || codes.windows(2).any(|pair| pair[0] != pair[1]) {
        return;
    }
    let mut left = input.iter();
    // It is stricter about what stands behind the code.
    if let Ok(theirs) = ResponseReceiver::default().parse(&mut left) {
        assert_eq!(ours.code, theirs.code);
        assert_eq!(taken.len(), input.len() - left.len(), "where the reply ends");
    }
}
