//! Maildirs: what is in the file, which folder it is in, and what happens where there is none.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use delivery::TransportConfig;
use mail::Verdict;
use support::{agents, job, transport, word, words};

fn creating() -> TransportConfig {
    TransportConfig { maildir_create: true, recipient_delimiter: "+".into(), ..transport("maildir") }
}

fn template(folder: &Path) -> String {
    format!("{}/${{domain}}/${{user}}", folder.display())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test]
async fn a_message_is_one_whole_file_in_new() {
    let root = tempfile::tempdir().unwrap();
    let job = job(creating(), &template(root.path()), &["U+lists@X.test", "v@x.test"]);
    let report = agents().deliver(job.clone()).await;
    assert_eq!(words(&report.outcomes), ["Sent Recipient 2.0.0"; 2]);
    assert_eq!(&*report.outcomes[0].text, "delivered to maildir");
    let maildir = root.path().join("x.test/u");
    let new = files(&maildir.join("new"));
    assert_eq!(new.len(), 1);
    assert_eq!(
        fs::read_to_string(&new[0]).unwrap(),
        "Return-Path: <s@src.test>\nDelivered-To: U+lists@X.test\n\
         Subject: test\n\n.a line with a dot\n..\n.\nno end of line"
    );
    assert!(files(&maildir.join("tmp")).is_empty() && files(&maildir.join("cur")).is_empty());
    assert_eq!(fs::metadata(&new[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&maildir).unwrap().permissions().mode() & 0o777, 0o700);

    // As after a crash between the delivery and its record.
    let again = agents().deliver(job).await;
    assert_eq!(&*again.outcomes[0].text, "delivered to maildir before");
    assert_eq!(files(&maildir.join("new")).len(), 1);
    assert!(files(&maildir.join("tmp")).is_empty());
}

#[tokio::test]
async fn without_a_mailbox_the_user_is_unknown_and_without_any_the_disk_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let deliver = async |nexthop: String| {
        let report = agents().deliver(job(transport("maildir"), &nexthop, &["u@x.test"])).await;
        word(&report.outcomes[0])
    };
    let missing = root.path().join("missing");
    assert_eq!(deliver(template(&missing)).await, "Deferred Transport 4.3.0");
    assert_eq!(deliver(template(root.path())).await, "Deferred Transport 4.3.0", "an empty mount point");
    fs::create_dir(root.path().join("other.test")).unwrap();
    assert_eq!(deliver(template(root.path())).await, "Bounced Recipient 5.1.1");
    assert_eq!(files(root.path()).len(), 1, "nothing was made");
    assert_eq!(deliver("mail/${user}".to_owned()).await, "Deferred Transport 4.3.5");

    let report = agents().deliver(job(creating(), &template(&missing), &["u@x.test"])).await;
    assert_eq!(word(&report.outcomes[0]), "Deferred Transport 4.3.0", "the shared part is never made");
}

#[tokio::test]
async fn one_recipient_costs_the_others_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("x.test/broken")).unwrap();
    fs::write(root.path().join("x.test/broken/new"), "no folder").unwrap();
    let recipients = ["\"../../etc\"@x.test", "broken@x.test", "good@x.test"];
    let report = agents().deliver(job(creating(), &template(root.path()), &recipients)).await;
    assert_eq!(
        words(&report.outcomes),
        ["Bounced Recipient 5.1.3", "Deferred Recipient 4.3.0", "Sent Recipient 2.0.0"]
    );
}

#[tokio::test]
async fn mail_that_was_there_before_loops() {
    let root = tempfile::tempdir().unwrap();
    let mut job = job(creating(), &template(root.path()), &["u@x.test"]);
    let content = "Delivered-To: u@x.test\r\nSubject: again\r\n\r\n";
    job.body = spool::Body::from_bytes(content.as_bytes().to_vec().into());
    let report = agents().deliver(job).await;
    assert_eq!(word(&report.outcomes[0]), "Bounced Recipient 5.4.6");
    assert_eq!(report.outcomes[0].verdict, Verdict::Bounced);
}
