//! Command lines: whatever is read prints, and what is printed reads back as the same.

use smtp::command::Command;

/// See the module head.
pub fn command(line: &[u8]) {
    if let Ok(command) = Command::parse(line) {
        let printed = command.to_string();
        assert_eq!(Command::parse(printed.as_bytes()), Ok(command), "{printed}");
    }
}
