//! Commands: round trip, the refusals with their codes, and agreement with an independent parser.

use mail::{BodyType, Notify, Orcpt, Recipient, Ret};
use proptest::prelude::*;
use smtp::command::{Command, EtrnNode, MailFrom, Verb};

fn parse(line: &str) -> Command {
    Command::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[test]
fn every_command_is_read_and_printed_exactly() {
    for line in [
        "HELO mx.example.com",
        "EHLO [192.0.2.1]",
        "LHLO x",
        "MAIL FROM:<>",
        "MAIL FROM:<\"a b\\\"\"@b.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb",
        "RCPT TO:<Postmaster>",
        "RCPT TO:<jörg@bücher.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=utf-8;jörg@bücher.example",
        "RCPT TO:<a@[IPv6:2001:db8::1]> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@x.test",
        "DATA",
        "BDAT 0",
        "BDAT 18446744073709551615 LAST",
        "RSET",
        "VRFY some body",
        "EXPN list",
        "HELP",
        "HELP DATA",
        "NOOP",
        "NOOP whatever it is",
        "QUIT",
        "STARTTLS",
        "ETRN example.com",
        "ETRN @example.com",
        "ETRN #queue",
        "AUTH PLAIN AGEAYg==",
    ] {
        assert_eq!(parse(line).to_string(), line);
        assert_eq!(parse(line).verb(), Verb::of(line.as_bytes()).unwrap());
    }
}

#[test]
fn spelling_that_is_let_pass() {
    for (line, canonical) in [
        ("mail from: <a@b.test>  size=5", "MAIL FROM:<a@b.test> SIZE=5"),
        ("Rcpt To:<@r.test:a@b.test>", "RCPT TO:<a@b.test>"),
        ("data  ", "DATA"),
        ("QUIT \t", "QUIT"),
        ("bdat  5  last", "BDAT 5 LAST"),
        ("MAIL FROM:<a@b.test> SIZE=99999999999999999999", "MAIL FROM:<a@b.test> SIZE=18446744073709551615"),
    ] {
        assert_eq!(parse(line).to_string(), canonical);
    }
}

#[test]
fn every_refusal_has_its_code() {
    for (line, reply) in [
        ("", "500 5.5.2"),
        ("FOO bar", "500 5.5.2"),
        ("MAILFROM:<a@b.test>", "500 5.5.2"),
        ("NOOP \u{7}", "500 5.5.2"),
        ("EHLO ü", "500 5.5.2"),
        ("EHLO", "501 5.5.4"),
        ("EHLO a b", "501 5.5.4"),
        ("MAIL", "501 5.5.4"),
        ("MAIL TO:<a@b.test>", "501 5.5.4"),
        ("MAIL FROM:a@b.test", "501 5.1.7"),
        ("MAIL FROM:<a@b..test>", "501 5.1.7"),
        ("MAIL FROM:<a@b.test> SIZE", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> SIZE=-1", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> SIZE=1 SIZE=2", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> SMTPUTF8=1", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> RET=ALL", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> ENVID=", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> ENVID=a=b", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> BODY=BINARYMIME", "555 5.5.4"),
        ("MAIL FROM:<a@b.test> AUTH=<>", "555 5.5.4"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:<a@b.test", "501 5.1.3"),
        ("RCPT TO:<a@b.test> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("RCPT TO:<a@b.test> ORCPT=x", "501 5.5.4"),
        ("RCPT TO:<a@b.test> SIZE=1", "555 5.5.4"),
        ("DATA now", "501 5.5.4"),
        ("BDAT", "501 5.5.4"),
        ("BDAT x", "501 5.5.4"),
        ("BDAT 5 FIRST", "501 5.5.4"),
        ("BDAT 123456789012345678901", "501 5.5.4"),
        ("RSET x", "501 5.5.4"),
        ("VRFY", "501 5.5.4"),
        ("ETRN", "500 5.5.4"),
        ("ETRN a b", "500 5.5.4"),
    ] {
        let error = Command::parse(line.as_bytes()).expect_err(line);
        assert!(error.reply().one_line().starts_with(reply), "{line}: {}", error.reply().one_line());
    }
    assert!(Command::parse(b"NOOP \0").is_err());
    assert!(Command::parse(b"NOOP a\rb").is_err());
    assert!(Command::parse(b"MAIL FROM:<\xff@b.test>").is_err());
}

fn address() -> impl Strategy<Value = mail::Address> {
    prop_oneof![
        "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,12}@[a-zA-Z0-9]{1,8}(\\.[a-z]{2,4}){0,2}",
        "\"([ !#-\\[\\]-~]|\\\\[ -~]){0,12}\"@[a-z]{1,8}",
        "[a-zöü日]{1,6}@b(ü|a)cher\\.example",
        Just("postmaster".to_owned()),
        Just("a@[192.0.2.7]".to_owned()),
        Just("a@[IPv6:2001:db8::7]".to_owned()),
    ]
    .prop_filter_map("a mailbox", |text| text.parse().ok())
}

fn mail_command() -> impl Strategy<Value = Command> {
    let body = prop_oneof![Just(BodyType::SevenBit), Just(BodyType::EightBitMime)];
    let ret = prop_oneof![Just(Ret::Full), Just(Ret::Headers)];
    (
        prop::option::of(address()),
        any::<Option<u64>>(),
        prop::option::of(body),
        any::<bool>(),
        prop::option::of(ret),
        prop::option::of("[^\\p{Cc}]{1,20}"),
    )
        .prop_map(|(sender, size, body, smtputf8, ret, envid)| {
            Command::Mail(MailFrom { sender, size, body, smtputf8, ret, envid })
        })
}

fn rcpt_command() -> impl Strategy<Value = Command> {
    let notify = any::<(bool, bool, bool)>();
    (address(), prop::option::of(notify), prop::option::of("[^\\p{Cc}]{1,20}")).prop_map(
        |(address, notify, original)| {
            let notify = notify.map(|(success, failure, delay)| Notify { success, failure, delay });
            let orcpt = original.map(|address| Orcpt { kind: "rfc822".into(), address });
            Command::Rcpt(Recipient { address, orcpt, notify })
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let word = "[!-~]{1,20}";
    prop_oneof![
        mail_command(),
        rcpt_command(),
        word.prop_map(Command::Ehlo),
        (any::<u64>(), any::<bool>()).prop_map(|(bytes, last)| Command::Bdat { bytes, last }),
        "[!-~]([ -~]{0,20}[!-~])?".prop_map(Command::Noop),
        "[a-z.]{1,20}".prop_map(|name| Command::Etrn(EtrnNode::Domain(name))),
        "[a-z.]{0,20}".prop_map(|name| Command::Etrn(EtrnNode::Subdomains(name))),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(command in command()) {
        let line = command.to_string();
        prop_assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{}", line);
    }

    #[test]
    fn reading_never_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn what_is_read_prints_and_reads_back(
        line in "(MAIL FROM:|RCPT TO:|ETRN |BDAT |HELO )[ <>@a-z.\"\\\\=;0-9A-Z\\[\\]:-]{0,40}"
    ) {
        if let Ok(command) = Command::parse(line.as_bytes()) {
            prop_assert_eq!(Command::parse(command.to_string().as_bytes()), Ok(command));
        }
    }
}
