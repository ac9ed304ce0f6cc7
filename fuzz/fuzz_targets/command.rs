//! Command lines: whatever is read prints, and what is printed reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::command::Command;

fuzz_target!(|line: &[u8]| {
    if let Ok(command) = Command::parse(line) {
        let printed = command.to_string();
        assert_eq!(Command::parse(printed.as_bytes()), Ok(command), "{printed}");
    }
});
