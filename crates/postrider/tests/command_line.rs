//! The command line from outside, without an engine: usage, configuration, and a scripted engine behind
//! the control socket.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use control::{
    Answer, ChangedItem, ContentItem, EnvelopeItem, FlushItem, FlushResult, HelloItem, Item, MessageItem,
    QueueName, RecipientItem, RecipientStatus, RecordItem, SiteItem, StatusItem, VERSION, encode,
};

const ID: &str = "0D5QJK2B7X1ZC";

/// The program in an empty directory, under a name, with nothing of our environment.
fn command(directory: &Path, name: &str) -> Command {
    let program = directory.join(name);
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postrider"), &program).unwrap();
    }
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear().stdin(Stdio::null());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, "postrider").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, standard output, standard error.
fn seen(output: &Output) -> (i32, String, String) {
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn usage_errors_are_one_line_and_exit_2() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (&["queue", "lst"][..], "a similar subcommand exists: 'list'"),
        (&["queue", "hold"], "or --all for every message"),
        (&["queue", "show", "nonsense"], "not a queue id"),
        (&["queue", "list", "--site", "a b"], "is no site"),
        (&["queue", "list", "--queue", "defered"], "use incoming, active, deferred, hold or corrupt"),
        (&["queue", "list", "--older-than", "5 parsecs"], "unknown unit"),
        (&["trigger", "XYZ"], "is no trigger"),
        (&["flush"], "required"),
        (&["flush", "--all", "--refresh"], "cannot be used with"),
        (&["--no-such-option"], "unexpected argument"),
    ] {
        let (code, stdout, stderr) = seen(&run(directory.path(), arguments));
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("postrider: ") && stderr.contains(part), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn without_an_engine_the_exit_code_is_69() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["queue", "list"][..],
        &["queue", "delete", "--all"],
        &["flush", "a.test"],
        &["trigger", "D"],
        &["status"],
    ] {
        let (code, stdout, stderr) = seen(&run(directory.path(), arguments));
        assert_eq!((code, stdout.as_str()), (69, ""), "{arguments:?}");
        let expected =
            "postrider: the engine is not running: nobody answers on ./postrider-data/control.sock; ";
        assert!(stderr.starts_with(expected) && stderr.lines().count() == 1, "{stderr}");
    }
    // sendmail and mailq leave these to postqueue.
    for (name, arguments) in [
        ("mailq", &[][..]),
        ("sendmail", &["-bp"]),
        ("sendmail", &["-q"]),
        ("postqueue", &["-f"]),
        ("postqueue", &["-x"]),
    ] {
        let output = command(directory.path(), name).args(arguments).output().unwrap();
        let (code, _, stderr) = seen(&output);
        assert_eq!(code, 69, "{name} {arguments:?}");
        assert!(stderr.starts_with("postqueue: fatal: "), "{stderr}");
    }
}

#[test]
fn a_bad_configuration_is_told_line_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = "[smtp]\nlsiten = []\nmessage_size_limit = \"50mb\"\n\n[qmgr]\nqueue_directory = \"/x\"\n";
    std::fs::write(directory.path().join("postrider.toml"), file).unwrap();
    for arguments in [&["config", "check"][..], &["serve"], &["queue", "list"]] {
        let (code, stdout, stderr) = seen(&run(directory.path(), arguments));
        assert_eq!((code, stdout.as_str()), (78, ""));
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 3, "{stderr}");
        assert_eq!(
            lines[0],
            "postrider: ./postrider.toml:2:1: unknown key `lsiten` in [smtp]: did you mean `listen`?"
        );
        assert!(
            lines[1]
                .starts_with("postrider: ./postrider.toml:3:22: smtp.message_size_limit: bad value \"50mb\"")
        );
        assert!(
            lines[2].contains("postrider.toml:6:1") && lines[2].ends_with("set spool.directory"),
            "{stderr}"
        );
    }
}

#[test]
fn the_configuration_explains_itself() {
    let directory = tempfile::tempdir().unwrap();
    let defaults = run(directory.path(), &["config", "defaults"]);
    std::fs::write(directory.path().join("d.toml"), &defaults.stdout).unwrap();
    let (code, stdout, _) = seen(&run(directory.path(), &["config", "check", "--config", "d.toml"]));
    assert_eq!((code, stdout.as_str()), (0, "the configuration is good (d.toml)\n"));
    let shown = command(directory.path(), "postrider")
        .env("POSTRIDER__QMGR__MINIMAL_BACKOFF_TIME", "60s")
        .args(["config", "show", "-o", "smtp.listen=[]"])
        .output()
        .unwrap();
    let stdout = text(&shown.stdout);
    let minimal = "minimal_backoff_time = \"60s\"  # environment POSTRIDER__QMGR__MINIMAL_BACKOFF_TIME";
    assert!(stdout.contains(minimal) && stdout.contains("listen = []  # -o smtp.listen"), "{stdout}");
    assert!(
        stdout.contains("directory = \"\"  # built-in default; that is \"./postrider-data\""),
        "{stdout}"
    );
    let json = text(&run(directory.path(), &["config", "show", "--json"]).stdout);
    let line = r#"{"key":"smtp.recipient_limit","value":"1000","origin":"built-in default"}"#;
    assert!(json.lines().any(|found| found == line), "{json}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in
        [&["--help"][..], &["queue", "--help"], &["queue", "list", "--help"], &["serve", "--help"]]
    {
        let (code, stdout, stderr) = seen(&run(directory.path(), arguments));
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(stdout.contains("Usage:"), "{stdout}");
    }
    let (code, stdout, _) = seen(&run(directory.path(), &["version"]));
    assert!(
        code == 0
            && stdout.starts_with(concat!("postrider ", env!("CARGO_PKG_VERSION"), "\nspool format 1\n"))
    );
}

/// An engine that answers the request after the greeting with these items.
fn engine(directory: &Path, items: Vec<Item>, count: u64) -> JoinHandle<String> {
    let data = directory.join("postrider-data");
    std::fs::create_dir_all(&data).unwrap();
    let socket = data.join("control.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut requests = BufReader::new(stream.try_clone().unwrap()).lines();
        let hello = Item::Hello(HelloItem { version: VERSION, program: "postrider test".to_owned() });
        requests.next().unwrap().unwrap();
        (&stream).write_all(&[encode(&Answer::item(hello)), encode(&Answer::done(0))].concat()).unwrap();
        let request = requests.next().unwrap().unwrap();
        let mut answer: Vec<u8> = items.into_iter().flat_map(|item| encode(&Answer::item(item))).collect();
        answer.extend(encode(&Answer::done(count)));
        (&stream).write_all(&answer).unwrap();
        request
    })
}

fn message() -> MessageItem {
    MessageItem {
        queue_name: QueueName::Deferred,
        queue_id: ID.to_owned(),
        arrival_time: 1_700_000_000,
        message_size: 2345,
        forced_expire: false,
        sender: "s@src.test".to_owned(),
        recipients: vec![RecipientItem {
            address: "b@b.test".to_owned(),
            delay_reason: Some("connect to b.test: refused".to_owned()),
            site: "b.test".to_owned(),
            transport: "smtp".to_owned(),
            status: RecipientStatus::Deferred,
            nexthop: None,
        }],
        next_attempt: Some(1_700_000_850),
        attempts: 2,
        reason: None,
    }
}

const MESSAGE_JSON: &str = concat!(
    r#"{"queue_name":"deferred","queue_id":"0D5QJK2B7X1ZC","arrival_time":1700000000,"#,
    r#""message_size":2345,"forced_expire":false,"sender":"s@src.test","recipients":["#,
    r#"{"address":"b@b.test","delay_reason":"connect to b.test: refused","site":"b.test","#,
    r#""transport":"smtp","status":"deferred"}],"next_attempt":1700000850,"attempts":2}"#
);

#[test]
fn listings_are_one_line_a_message() {
    let directory = tempfile::tempdir().unwrap();
    let asked = engine(directory.path(), vec![Item::Message(message())], 1);
    let (code, stdout, stderr) = seen(&run(directory.path(), &["queue", "list"]));
    assert_eq!((code, stderr.as_str(), stdout.lines().count()), (0, "", 1));
    assert!(stdout.starts_with("0D5QJK2B7X1ZC deferred     2345 ") && !stdout.contains('\u{1b}'), "{stdout}");
    assert!(stdout.ends_with(" 2 s@src.test -> b@b.test (connect to b.test: refused)\n"), "{stdout}");
    assert_eq!(asked.join().unwrap(), r#"{"list":{"selector":{}}}"#);

    let asked = engine(directory.path(), vec![Item::Message(message())], 1);
    let arguments =
        ["queue", "list", "--json", "--sender", "", "--site", "B.test", "--older-than", "1m", "--limit", "3"];
    let (code, stdout, _) = seen(&run(directory.path(), &arguments));
    assert_eq!((code, stdout), (0, format!("{MESSAGE_JSON}\n")));
    let selector = r#"{"list":{"selector":{"site":"b.test","sender":"","older_than":60000,"limit":3}}}"#;
    assert_eq!(asked.join().unwrap(), selector);
}

#[test]
fn nothing_matched_is_exit_1_only_when_something_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, code) in
        [(&["queue", "list"][..], 0), (&["queue", "list", "--all"], 0), (&["queue", "list", ID], 1)]
    {
        let asked = engine(directory.path(), Vec::new(), 0);
        let (found, stdout, stderr) = seen(&run(directory.path(), arguments));
        assert_eq!((found, stdout.as_str(), stderr.as_str()), (code, "", ""), "{arguments:?}");
        asked.join().unwrap();
    }
}

#[test]
fn changes_print_their_count() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, request, count, code) in [
        (
            &["queue", "hold", ID][..],
            r#"{"change":{"action":"hold","selector":{"ids":["0D5QJK2B7X1ZC"]},"dry_run":false}}"#,
            1,
            0,
        ),
        (
            &["queue", "delete", "--all", "--dry-run"],
            r#"{"change":{"action":"delete","selector":{"all":true},"dry_run":true}}"#,
            5,
            0,
        ),
        (
            &["queue", "expire", "--release", "--queue", "hold"],
            r#"{"change":{"action":"expire_release","selector":{"queues":["hold"]},"dry_run":false}}"#,
            0,
            1,
        ),
    ] {
        let asked = engine(directory.path(), Vec::new(), count);
        let (found, stdout, stderr) = seen(&run(directory.path(), arguments));
        assert_eq!((found, stdout, stderr.as_str()), (code, format!("{count}\n"), ""), "{arguments:?}");
        assert_eq!(asked.join().unwrap(), request);
    }
}

#[test]
fn ids_can_be_fed_back_on_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let asked = engine(directory.path(), Vec::new(), 2);
    let mut child = command(directory.path(), "postrider")
        .args(["queue", "requeue", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"0D5QJK2B7X1ZC\n0d5qjk2b7x1zd\n").unwrap();
    assert_eq!(seen(&child.wait_with_output().unwrap()).1, "2\n");
    assert!(asked.join().unwrap().contains(r#""ids":["0D5QJK2B7X1ZC","0D5QJK2B7X1ZD"]"#));
    let (code, _, stderr) = seen(&run(directory.path(), &["queue", "delete", "-"]));
    assert!(code == 1 && stderr.contains("no queue id on standard input"), "{stderr}");
}

fn content() -> Vec<Item> {
    let part = |headers, text: &str| Item::Content(ContentItem { headers, bytes: text.as_bytes().to_vec() });
    let record =
        RecordItem { address: "b@b.test".to_owned(), dsn: Some("4.4.1".to_owned()), ..RecordItem::default() };
    let envelope = EnvelopeItem { recipients: vec![record], ..EnvelopeItem::default() };
    vec![
        Item::Message(message()),
        Item::Envelope(envelope),
        part(true, "Subject: x\r\n"),
        part(false, "one\r"),
        part(false, "\ntwo\r\n"),
    ]
}

#[test]
fn a_message_is_shown_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let asked = engine(directory.path(), content(), 1);
    let (code, stdout, _) = seen(&run(directory.path(), &["queue", "show", ID]));
    assert_eq!(code, 0);
    assert!(
        stdout.starts_with("*** ENVELOPE RECORDS 0D5QJK2B7X1ZC ***\nqueue_id: 0D5QJK2B7X1ZC\n"),
        "{stdout}"
    );
    let tail = "*** MESSAGE CONTENTS 0D5QJK2B7X1ZC ***\nSubject: x\r\n\r\none\r\ntwo\r\n\
                *** MESSAGE FILE END 0D5QJK2B7X1ZC ***\n";
    assert!(stdout.ends_with(tail), "{stdout}");
    assert!(asked.join().unwrap().contains(r#""parts":{"envelope":true,"headers":true,"body":true}"#));

    let asked = engine(directory.path(), content()[3..].to_vec(), 1);
    assert_eq!(seen(&run(directory.path(), &["queue", "show", ID, "--body"])).1, "one\r\ntwo\r\n");
    asked.join().unwrap();

    let asked = engine(directory.path(), content()[2..].to_vec(), 1);
    let output = command(directory.path(), "postcat").args(["-bh", "-q", ID]).output().unwrap();
    assert_eq!(seen(&output), (0, "Subject: x\n\none\ntwo\n".to_owned(), String::new()));
    asked.join().unwrap();
}

#[test]
fn a_dump_says_what_each_line_is_about() {
    let directory = tempfile::tempdir().unwrap();
    let site = SiteItem { site: "b.test".to_owned(), window: 5, ..SiteItem::default() };
    let asked = engine(directory.path(), vec![Item::Message(message()), Item::Site(site)], 1);
    let (_, stdout, _) = seen(&run(directory.path(), &["queue", "dump"]));
    asked.join().unwrap();
    let kinds: Vec<&str> = stdout.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(kinds, [r#"{"kind":"message""#, r#"{"kind":"site""#]);
}

#[test]
fn a_flush_is_answered_with_the_truth() {
    let directory = tempfile::tempdir().unwrap();
    for (result, released, line, code) in [
        (FlushResult::Ok, 2, "b.test: 2 messages released\n", 0),
        (FlushResult::Ok, 500, "b.test: 500 messages released, 1500 sites still to come\n", 0),
        (FlushResult::Ok, 0, "b.test: no mail is waiting\n", 1),
        (FlushResult::Deny, 0, "b.test: not a site of fast_flush_domains\n", 77),
    ] {
        let item = Item::Flush(FlushItem {
            target: "b.test".to_owned(),
            result,
            released,
            already_active: 0,
            on_hold: 0,
            sites_left: (released == 500).then_some(1500),
            waiting: None,
            eligible: None,
            last_flushed: None,
            text: None,
        });
        let asked = engine(directory.path(), vec![item], released);
        assert_eq!(
            seen(&run(directory.path(), &["flush", "B.TEST"])),
            (code, line.to_owned(), String::new())
        );
        assert_eq!(asked.join().unwrap(), r#"{"flush":{"target":{"sites":["b.test"]}}}"#);
    }
}

#[test]
fn scripts_for_postfix_find_what_they_know() {
    let directory = tempfile::tempdir().unwrap();
    let asked = engine(directory.path(), vec![Item::Message(message())], 1);
    let output = command(directory.path(), "mailq").env("TZ", "UTC").output().unwrap();
    let expected = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n\
                    0D5QJK2B7X1ZC         2345 Tue Nov 14 22:13:20 s@src.test\n\
                    \x20                                                 (connect to b.test: refused)\n\
                    \x20                                              b@b.test\n\n\
                    -- 2 Kbytes in 1 Request.\n";
    assert_eq!(seen(&output), (0, expected.to_owned(), String::new()));
    assert!(asked.join().unwrap().contains(r#""queues":["incoming","active","deferred","hold"]"#));

    let asked = engine(directory.path(), Vec::new(), 0);
    let output = command(directory.path(), "sendmail").arg("-bp").output().unwrap();
    assert_eq!(seen(&output).1, "Mail queue is empty\n");
    asked.join().unwrap();

    let asked = engine(directory.path(), Vec::new(), 3);
    let output = command(directory.path(), "postsuper").args(["-d", "ALL", "deferred"]).output().unwrap();
    assert_eq!(seen(&output), (0, String::new(), "postsuper: Deleted: 3 messages\n".to_owned()));
    assert!(
        asked.join().unwrap().contains(r#""action":"delete","selector":{"all":true,"queues":["deferred"]}"#)
    );

    let asked = engine(directory.path(), Vec::new(), 0);
    let output = command(directory.path(), "postqueue").arg("-f").output().unwrap();
    assert_eq!(seen(&output).0, 0);
    assert_eq!(asked.join().unwrap(), r#"{"trigger":{"letters":"FADI"}}"#);
}

/// The lines and exit codes were compared with those of Postfix 3.7.
#[test]
fn postsuper_tells_of_each_message_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let changed = Item::Changed(ChangedItem { queue_id: ID.to_owned() });
    let asked = engine(directory.path(), vec![changed], 1);
    let output = command(directory.path(), "postsuper").args(["-h", ID, "-v"]).output().unwrap();
    let told = "postsuper: 0D5QJK2B7X1ZC: placed on hold\npostsuper: Placed on hold: 1 message\n";
    assert_eq!(seen(&output), (0, String::new(), told.to_owned()));
    let request = asked.join().unwrap();
    assert!(request.contains(r#""ids":["0D5QJK2B7X1ZC"]"#) && request.contains(r#""queues":["incoming","#));

    for (arguments, code, told) in [
        (&["-d", "4SVLCh0sf8z9HdB"][..], 0, "Deleted: 0 messages\n"),
        (
            &["-H", "a b"],
            0,
            "warning: invalid mail queue id: a b\npostsuper: Released from hold: 0 messages\n",
        ),
        (&["-d", "ALL", "corrupt"], 1, "fatal: invalid directory name: corrupt\n"),
        (&["-x"], 1, "fatal: invalid option -- 'x'; usage: postsuper "),
    ] {
        let data = directory.path().join("postrider-data");
        let _ = std::fs::remove_file(data.join("control.sock"));
        let listener = UnixListener::bind(data.join("control.sock")).unwrap();
        let greeting = std::thread::spawn(move || greet(&listener));
        let output = command(directory.path(), "postsuper").args(arguments).output().unwrap();
        let (found, _, stderr) = seen(&output);
        assert_eq!(found, code, "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(&format!("postsuper: {told}")), "{arguments:?}: {stderr}");
        drop(std::os::unix::net::UnixStream::connect(data.join("control.sock")));
        greeting.join().unwrap();
    }
}

/// A listing that is sent to `postsuper -d -` by mistake.
#[test]
fn postsuper_takes_one_id_a_line_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let asked = engine(directory.path(), vec![Item::Changed(ChangedItem { queue_id: ID.to_owned() })], 1);
    let mut child = command(directory.path(), "postsuper")
        .args(["-d", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = format!("0D5QJK2B7X1ZD  2345 Tue Nov 14 22:13:20 s@src.test\n{ID}\n4SVLCh0sf8z9HdB\n\n");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let (code, _, stderr) = seen(&child.wait_with_output().unwrap());
    let told = [
        "warning: invalid mail queue id: 0D5QJK2B7X1ZD  2345 Tue Nov 14 22:13:20 s@src.test",
        "warning: invalid mail queue id: ",
        "0D5QJK2B7X1ZC: removed",
        "Deleted: 1 message",
    ];
    assert_eq!((code, stderr), (0, told.map(|line| format!("postsuper: {line}\n")).concat()));
    assert!(asked.join().unwrap().contains(r#""ids":["0D5QJK2B7X1ZC"]"#));
}

/// Answers a greeting, if there is one.
fn greet(listener: &UnixListener) {
    let (stream, _) = listener.accept().unwrap();
    let Some(Ok(_)) = BufReader::new(stream.try_clone().unwrap()).lines().next() else { return };
    let hello = Item::Hello(HelloItem { version: VERSION, program: "postrider test".to_owned() });
    (&stream).write_all(&[encode(&Answer::item(hello)), encode(&Answer::done(0))].concat()).unwrap();
}

#[test]
fn postcat_has_the_records_of_postcat() {
    let directory = tempfile::tempdir().unwrap();
    let asked = engine(directory.path(), content(), 1);
    let output = command(directory.path(), "postcat").env("TZ", "UTC").args(["-q", ID]).output().unwrap();
    asked.join().unwrap();
    let expected = "*** ENVELOPE RECORDS 0D5QJK2B7X1ZC ***\n\
        message_size:            2345               0               1               0            2345               0\n\
        message_arrival_time: Tue Nov 14 22:13:20 2023\n\
        create_time: Tue Nov 14 22:13:20 2023\n\
        named_attribute: log_ident=0D5QJK2B7X1ZC\n\
        sender: s@src.test\n\
        original_recipient: b@b.test\n\
        recipient: b@b.test\n\
        *** MESSAGE CONTENTS 0D5QJK2B7X1ZC ***\nSubject: x\n\none\ntwo\n\
        *** HEADER EXTRACTED 0D5QJK2B7X1ZC ***\n\
        *** MESSAGE FILE END 0D5QJK2B7X1ZC ***\n";
    assert_eq!(seen(&output), (0, expected.to_owned(), String::new()));
    let output = command(directory.path(), "postcat").args(["-q", "nosuch"]).output().unwrap();
    let told = "postcat: fatal: open queue file nosuch: No such file or directory\n";
    assert_eq!(seen(&output), (1, String::new(), told.to_owned()));
    let output = command(directory.path(), "postcat").args(["-q", "no such"]).output().unwrap();
    let told = "postcat: fatal: bad mail queue ID: no such\n";
    assert_eq!(seen(&output), (1, String::new(), told.to_owned()));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let asked = engine(directory.path(), vec![Item::Message(message()); 5000], 5000);
    let mut child = command(directory.path(), "postrider")
        .args(["queue", "list", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first.trim_end(), MESSAGE_JSON);
    let (code, _, stderr) = seen(&child.wait_with_output().unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""));
    // The scripted engine may or may not have written everything before the program left.
    drop(asked.join());
}

#[test]
fn sendmail_hands_a_message_to_the_front_end() {
    let directory = tempfile::tempdir().unwrap();
    let front_end = testkit::plain::Sink::start().unwrap();
    let status =
        StatusItem { listen: vec![format!("smtp {}", front_end.address())], ..StatusItem::default() };
    let asked = engine(directory.path(), vec![Item::Status(status)], 0);
    let mut child = command(directory.path(), "sendmail")
        .args(["-ti", "-f", "me@src.test", "-F", "Me"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let message = b"To: Ann <ann@a.test>\nBcc: bob@b.test\nSubject: x\n\n.\nlast\n";
    child.stdin.take().unwrap().write_all(message).unwrap();
    assert_eq!(seen(&child.wait_with_output().unwrap()), (0, String::new(), String::new()));
    asked.join().unwrap();
    let received = front_end.wait_for(1).unwrap();
    let recipients: Vec<&str> = received[0].recipients.iter().map(String::as_str).collect();
    assert!(
        recipients[0].contains("<ann@a.test>") && recipients[1].contains("<bob@b.test>"),
        "{recipients:?}"
    );
    let content = text(&received[0].content);
    assert!(content.starts_with("From: \"Me\" <me@src.test>\r\nDate: "), "{content}");
    assert!(content.ends_with("To: Ann <ann@a.test>\r\nSubject: x\r\n\r\n.\r\nlast\r\n"), "{content}");

    let output = command(directory.path(), "sendmail").output().unwrap();
    let (code, _, stderr) = seen(&output);
    let told =
        "sendmail: fatal: Recipient addresses must be specified on the command line or via the -t option\n";
    assert_eq!((code, stderr.as_str()), (75, told));
    std::fs::remove_file(directory.path().join("postrider-data/control.sock")).unwrap();
    let output = command(directory.path(), "sendmail").arg("ann@a.test").output().unwrap();
    assert_eq!(seen(&output).0, 75, "no engine");
}
