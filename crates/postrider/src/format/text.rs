//! Text that came from mail, made fit for a line and a terminal; and JSON.

use std::borrow::Cow;

use serde::Serialize;

/// The text with `?` for every control character, line breaks included.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The same for running text: line breaks and tabs stay.
pub(crate) fn printable_lines(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\r' | '\t') { '?' } else { c };
    text.chars().map(shown).collect()
}

/// An address between angle brackets is read as one; the null sender is `<>`.
pub(super) fn mailbox(address: &str) -> Cow<'_, str> {
    if address.is_empty() { Cow::Borrowed("<>") } else { printable(address) }
}

/// `1 message`, `2 messages`.
pub(super) fn counted(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// One line of JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("items have text keys only")
}

/// One line of JSON with `kind` in front.
pub(crate) fn json_of_kind<T: Serialize>(kind: &str, value: &T) -> String {
    let mut object = serde_json::Map::new();
    object.insert("kind".to_owned(), kind.into());
    if let serde_json::Value::Object(fields) = serde_json::json!(value) {
        object.extend(fields);
    }
    json(&object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_to_a_terminal_are_not_passed_on() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a?[2Jb??c");
        assert_eq!(printable_lines("a\u{1b}[2J\n\tb"), "a?[2J\n\tb");
        assert_eq!(mailbox(""), "<>");
    }

    #[test]
    fn the_kind_stands_in_front() {
        let item = control::ProgressItem { done: 1, total: None };
        assert_eq!(json_of_kind("progress", &item), r#"{"kind":"progress","done":1,"total":null}"#);
    }
}
