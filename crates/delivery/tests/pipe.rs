//! Pipes: what a program gets to see, and what its end means.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use delivery::{Job, Preparation, Program, TransportConfig};
use support::{agents, job, transport, word, words};

/// A transport that runs a script. Programs never run as root, so that tests that do give a user.
fn script(text: &str, arguments: &[&str]) -> TransportConfig {
    let text = text.replace('$', "$$");
    let argv = [&["/bin/sh", "-c", &text, "script"], arguments].concat();
    let user = testkit::engine::runs_as_root().then(|| "nobody".to_owned());
    let program = Program::parse(&argv).expect("a command").run_as(user);
    TransportConfig { program: Some(program), recipient_delimiter: "+".into(), ..transport("pipe") }
}

async fn said(job: Job) -> String {
    let report = agents().deliver(job).await;
    format!("{} {}", word(&report.outcomes[0]), report.outcomes[0].text)
}

#[tokio::test]
async fn a_program_gets_the_message_and_its_words() {
    let argv = ["${sender}", "${recipient}", "--size=${size}", "${queue_id}", "${nexthop}", "end"];
    let text = r#"printf '%s|' "$@"; cat | tr '\n' '/'"#;
    let job = job(script(text, &argv), "hop", &["a+x@x.test", "b@x.test"]);
    let (id, size) = (job.id, job.body.len());
    let report = agents().deliver(job).await;
    assert_eq!(words(&report.outcomes), ["Sent Recipient 2.0.0"; 2]);
    assert_eq!(
        &*report.outcomes[1].text,
        &format!(
            "delivered via pipe service (s@src.test|a+x@x.test|b@x.test|--size={size}|{id}|hop|end|\
             Subject: test//.a line with a dot/../.no end of line)"
        )
        .replace("/.no", "/./no")
    );
}

#[tokio::test]
async fn its_surroundings_are_clean() {
    let mut transport = script("pwd; env | sort | tr '\\n' ' '; ls /proc/self/fd | tr '\\n' ' '; id -u", &[]);
    if let Some(program) = &mut transport.program {
        program.directory = "/usr".into();
    }
    let said = said(job(transport, "", &["a@x.test"])).await;
    assert!(said.contains("(/usr ") && said.contains("PATH=/usr/local/bin:/usr/bin:/bin"), "{said}");
    for other in ["HOME", "CARGO", "USER="] {
        assert!(!said.contains(other), "{other}: {said}");
    }
    // The tests may themselves have been started with descriptors that every child gets.
    let plain = std::process::Command::new("/bin/ls").arg("/proc/self/fd").output().expect("ls runs");
    let inherited = String::from_utf8_lossy(&plain.stdout).replace('\n', " ");
    assert!(said.contains(&format!(" {inherited}")), "{said}: more than {inherited}");
    assert!(!said.ends_with(" 0)"), "{said}");
}

#[tokio::test]
async fn its_end_decides() {
    for (text, expected) in [
        ("exit 75", "Deferred Message 4.3.0 temporary failure"),
        ("exit 67", "Bounced Recipient 5.1.1 user unknown"),
        ("echo 4.2.2 mailbox full >&2; exit 1", "Deferred Message 4.2.2 mailbox full"),
        ("kill -9 $$", "Deferred Message 4.3.0 /bin/sh died of signal 9"),
        ("head -c 5; exit 0", "Sent Recipient 2.0.0 delivered via pipe service (Subje)"),
    ] {
        let said = said(job(script(text, &[]), "", &["a@x.test"])).await;
        assert!(said.starts_with(expected), "{text}: {said}");
    }
}

#[tokio::test]
async fn what_cannot_run_is_our_own_trouble() {
    let missing = Program::parse(&["/nonexistent/program"]).expect("a command");
    let user = testkit::engine::runs_as_root().then(|| "nobody".to_owned());
    let stranger = missing.clone().run_as(Some("no such user".into()));
    let root = missing.clone().run_as(Some("root".into()));
    for program in [None, Some(missing.run_as(user)), Some(stranger), Some(root)] {
        let transport = TransportConfig { program, ..transport("pipe") };
        let report = agents().deliver(job(transport, "", &["a@x.test"])).await;
        assert_eq!(word(&report.outcomes[0]), "Deferred Transport 4.3.5", "{}", report.outcomes[0].text);
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_its_children() {
    let mut transport = script("sleep 1000 & echo $!; exec >/dev/null 2>&1; wait", &[]);
    transport.time_limit = Duration::from_millis(500);
    let mut stuck = job(transport.clone(), "", &["a@x.test"]);
    // More than a pipe holds: the program never reads it.
    stuck.body = spool::Body::from_bytes(vec![b'x'; 1 << 20].into());
    assert_eq!(said(stuck).await, "Deferred Message 4.3.0 time limit exceeded by /bin/sh");

    // What it left behind is seen by its number, which a file keeps for us.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let file = folder.path().join("pid");
    let text = format!("sleep 1000 & echo $! >{}; wait", file.display());
    let transport = TransportConfig { time_limit: Duration::from_secs(2), ..script(&text, &[]) };
    assert!(said(job(transport, "", &["a@x.test"])).await.contains("time limit exceeded"));
    let pid = std::fs::read_to_string(file).expect("the program has begun");
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    let deadline = Instant::now() + testkit::engine::PATIENCE;
    while alive() {
        assert!(Instant::now() < deadline, "process {pid} goes on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn endless_output_is_read_and_dropped() {
    let text = "cat >/dev/null; head -c 1000000 /dev/zero | tr '\\0' 'x'; exit 0";
    let said = said(job(script(text, &[]), "", &["a@x.test"])).await;
    assert!(said.starts_with("Sent") && said.len() < 1200, "{}", said.len());
}

#[tokio::test]
async fn whoever_looks_like_an_option_is_refused_alone() {
    let report =
        agents().deliver(job(script("echo $*", &["${recipient}"]), "", &["-oQ@x.test", "b@x.test"])).await;
    assert_eq!(words(&report.outcomes), ["Bounced Recipient 5.1.3", "Sent Recipient 2.0.0"]);
    assert_eq!(&*report.outcomes[1].text, "delivered via pipe service (b@x.test)");
}

#[tokio::test]
async fn flags_put_lines_in_front() {
    let mut transport = script("cat | tr '\\n' '|'", &[]);
    if let Some(program) = &mut transport.program {
        program.preparation = Preparation::parse("FRD").expect("flags");
    }
    let one = said(job(transport.clone(), "", &["a@x.test"])).await;
    assert!(
        one.contains("(From s@src.test ")
            && one.contains("|Return-Path: <s@src.test>|Delivered-To: a@x.test|Subject: test|"),
        "{one}"
    );
    let two = said(job(transport, "", &["a@x.test", "b@x.test"])).await;
    assert!(two.starts_with("Deferred Transport 4.3.5"), "{two}");
}
