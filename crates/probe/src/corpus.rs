//! A corpus as one file: each input on a line of its own, in quotes and escaped, the short ones first.
//!
//! Promises: what is printed reads back as the same inputs; a change to a corpus is a change that people can
//! read. Refuses: anything but lines of this kind.

/// Reads a corpus, or says in which line it is none.
pub fn parse(text: &str) -> Result<Vec<Vec<u8>>, usize> {
    (1..).zip(text.lines()).map(|(number, line)| unescaped(line).ok_or(number)).collect()
}

/// Prints a corpus; equal inputs once.
pub fn print(mut inputs: Vec<Vec<u8>>) -> String {
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    inputs.iter().map(|input| format!("\"{}\"\n", input.escape_ascii())).collect()
}

fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut input = Vec::with_capacity(rest.len());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            input.push(byte);
            continue;
        }
        let (&letter, behind) = rest.split_first()?;
        rest = behind;
        input.push(match letter {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'"' | b'\'' => letter,
            b'x' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                rest = behind;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let inputs = vec![Vec::new(), b" ".to_vec(), b"\"\\'".to_vec(), all];
        assert_eq!(parse(&print(inputs.clone())), Ok(inputs.clone()));
        let twice = [inputs.clone(), inputs.clone()].concat();
        assert_eq!(print(twice), print(inputs));
    }

    #[test]
    fn what_is_no_corpus_is_refused() {
        for wrong in ["x", "\"", "\"\\\"", "\"\\q\"", "\"\\x1\"", "\"\\xgg\""] {
            assert_eq!(parse(&format!("\"\"\n{wrong}\n")), Err(2), "{wrong}");
        }
    }
}
