//! A mistake in the configuration is refused at its place; the defaults explain themselves.

use std::fs;

use testkit::engine::Setup;

use crate::place::{Place, expect_code};

fn setup(place: &Place) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_postrider"), place.folder.path())
}

#[test]
fn mistakes_are_named_with_file_line_and_column() {
    let place = Place::new();
    let file = place.folder.path().join("bad.toml");
    let cases = [
        ("[qmgr]\nminimal_backof_time = \"300s\"\n", "bad.toml:2:1", "minimal_backoff_time"),
        ("[qmgr]\n\nminimal_backoff_time = \"300 parsecs\"\n", "bad.toml:3:", "minimal_backoff_time"),
        ("[smtp]\nlisten = 25\n", "bad.toml:2:", "listen"),
        ("[smpt]\n", "bad.toml:1:", "smtp"),
        ("preset = \"qmail\"\n", "bad.toml:1:", "postfix"),
        ("[smtp]\ntls_certificate = \"none.pem\"\ntls_key = \"none.pem\"\n", "bad.toml:2:1", "none.pem"),
        (
            "[lmtp]\n\ntls_key = \"bad.toml\"\ntls_certificate = \"bad.toml\"\n",
            "bad.toml:4:1",
            "no certificate",
        ),
        ("[bounce]\nbounce_template_file = \"none.cf\"\n", "bad.toml:2:1", "none.cf"),
    ];
    for (text, position, word) in cases {
        fs::write(&file, text).expect("a file");
        for arguments in [["config", "check"].as_slice(), &["serve"]] {
            let arguments = [arguments, &["--config", "bad.toml"]].concat();
            let output = setup(&place).command(&arguments).output().expect("the program runs");
            expect_code(&output, &arguments, 78);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains(position) && error.contains(word), "{text:?}: {error}");
        }
    }
}

#[test]
fn a_mistake_on_the_command_line_is_refused_too() {
    let place = Place::new();
    let mut engine = setup(&place).with("qmgr.no_such_thing", "1").spawn().expect("the program runs");
    let (status, printed) = engine.wait_for_end("refuse to start").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(status.code(), Some(78), "{printed}");
    assert!(printed.contains("no_such_thing"), "{printed}");
}

#[test]
fn the_printed_defaults_are_a_valid_file() {
    let place = Place::new();
    let output = setup(&place).command(&["config", "defaults"]).output().expect("the program runs");
    expect_code(&output, &["config", "defaults"], 0);
    fs::write(place.folder.path().join("all.toml"), &output.stdout).expect("a file");
    let check = ["config", "check", "--config", "all.toml"];
    expect_code(&setup(&place).command(&check).output().expect("the program runs"), &check, 0);
}
